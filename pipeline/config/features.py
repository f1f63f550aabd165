"""Section `features`: declared once, computed over a table and bar by bar."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.config.durations import Interval
from pipeline.config.section import OneOf, Section

Positive = Annotated[int, Field(gt=0)]
Window = Annotated[int, Field(gt=1)]


class FeatureSet(Section):
    """Options that every kind of feature has."""

    timeframe: Interval | None = Field(None, description="Compute on these longer bars, each used once it has closed.")
    prefix: str = Field("", description="Put before each name, with an underscore.")


class TalibFeatures(FeatureSet):
    """Functions of TA-Lib by name, over columns and periods."""

    functions: list[str] = Field(min_length=1)
    inputs: list[str] = Field([], description="Columns; by default those the function names itself (close, high …).")
    periods: list[int] = Field([], description="timeperiod; one column for each.")
    parameters: dict[str, Any] = Field({}, description="Other parameters: {fastperiod: 12, nbdevup: 2.5}.")
    relative: Literal["rel", "diff", "rel_diff"] | None = Field(None, description="Against another period.")
    relative_base: Literal["next", "last", "prev", "first"] = "next"
    percent: bool = False
    log: bool = False


class StatsFeatures(FeatureSet):
    """Rolling statistics: mean, std, skew, kurtosis, lsbm, fmax, area, slope."""

    functions: list[Literal["mean", "std", "skew", "kurtosis", "lsbm", "fmax", "area", "slope"]] = Field(min_length=1)
    inputs: list[str] = ["close"]
    windows: list[Positive] = Field(min_length=1)
    bias: bool = Field(True, description="Skew and kurtosis as population moments; false: sample-corrected.")


class ReturnFeatures(FeatureSet):
    """Returns, log returns, lags and differences over periods, and ratios of two columns."""

    functions: list[Literal["return", "log_return", "lag", "difference"]] = ["return"]
    inputs: list[str] = ["close"]
    periods: list[Positive] = []
    ratios: list[tuple[str, str]] = Field([], description="Pairs of columns: [high, low] makes high_low_ratio.")


class TimeFeatures(FeatureSet):
    """The clock: hour, day, session, hours to the next funding (00, 08, 16 UTC)."""

    fields: list[
        Literal["hour", "minute_of_day", "day_of_week", "day_of_month", "month", "session", "funding_hours"]
    ] = Field(min_length=1)
    cyclic: bool = Field(False, description="Sine and cosine instead of the number.")


class VolatilityFeatures(FeatureSet):
    """Estimators from open, high, low and close: parkinson, garman_klass, rogers_satchell, yang_zhang, realized."""

    functions: list[Literal["parkinson", "garman_klass", "rogers_satchell", "yang_zhang", "realized"]] = Field(
        min_length=1
    )
    windows: list[Window] = Field(min_length=1)


class VolumeProfileFeatures(FeatureSet):
    """Volume by price over a window: distance to the point of control, place in the value area."""

    functions: list[
        Literal["poc_distance", "value_area_position", "poc_share", "value_area_low", "value_area_high"]
    ] = ["poc_distance"]
    windows: list[Window] = Field(min_length=1)
    bins: int = Field(24, ge=2, le=500)


class IchimokuFeatures(FeatureSet):
    """The close against Ichimoku's lines and cloud, nothing shifted from the future."""

    tenkan: Positive = 9
    kijun: Positive = 26
    senkou_b: Positive = 52


class TakerFlowFeatures(FeatureSet):
    """Who was the aggressor: buy_share, imbalance, average_trade_size, volume_ratio."""

    functions: list[Literal["buy_share", "imbalance", "average_trade_size", "volume_ratio", "delta"]] = Field(
        min_length=1
    )
    windows: list[Positive] = Field(min_length=1)


class CrossSymbolFeatures(FeatureSet):
    """Against a reference symbol of merge.symbols: correlation, beta, return_spread."""

    reference: str
    functions: list[Literal["correlation", "beta", "return_spread"]] = Field(min_length=1)
    windows: list[Window] = Field(min_length=1)


class RankFeatures(FeatureSet):
    """Where the newest value stands in a window: rank, zscore, minmax, Bollinger's %B and bandwidth."""

    functions: list[Literal["rank", "zscore", "minmax", "percent_b", "bandwidth"]] = Field(min_length=1)
    inputs: list[str] = ["close"]
    windows: list[Window] = Field(min_length=1)


class DivergenceFeatures(FeatureSet):
    """New extremes of the price that an oscillator does not confirm: 1 bullish, -1 bearish, 0 neither."""

    oscillators: list[Literal["macd", "rsi", "cci"]] = Field(["macd"], min_length=1)
    windows: list[Window] = Field(min_length=1)
    confirm: Positive = Field(3, description="Bars on either side that make a swing point; it is known so much later.")


class ItblibFeatures(FeatureSet):
    """intelligent-trading-bot's own set: windows against a base window, in percent."""

    base_window: Window
    windows: list[Positive] = Field(min_length=1)


class CustomFeatures(FeatureSet):
    """A function of your own, given the last `lookback` bars."""

    function: str = Field(description="'package.module:function' or 'path/to/file.py:function'.")
    inputs: list[str] = ["close"]
    lookback: int = Field(gt=0, description="Bars that the value depends on; it sees no more.")
    names: list[str] = Field(min_length=1)
    parameters: dict[str, Any] = {}


class FeatureEntry(OneOf):
    """One entry of `features`."""

    talib: TalibFeatures | None = None
    stats: StatsFeatures | None = None
    returns: ReturnFeatures | None = None
    time: TimeFeatures | None = None
    volatility: VolatilityFeatures | None = None
    volume_profile: VolumeProfileFeatures | None = None
    ichimoku: IchimokuFeatures | None = None
    taker_flow: TakerFlowFeatures | None = None
    cross_symbol: CrossSymbolFeatures | None = None
    rank: RankFeatures | None = None
    divergence: DivergenceFeatures | None = None
    itblib: ItblibFeatures | None = None
    custom: CustomFeatures | None = None
