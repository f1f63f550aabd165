"""Sections `signals` and `simulate`: from scores to decisions to money."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.durations import Length
from pipeline.config.section import Date, Fraction, OneOf, Section


class Combine(Section):
    """One score from an up-score and a down-score."""

    columns: list[str] = Field(min_length=2, max_length=2, description="Up, then down.")
    name: str = "trade_score"
    combine: Literal["difference", "relative", "larger"] = "difference"
    coefficient: float = 1.0
    constant: float = 0.0


class Smooth(Section):
    """Average of columns, optionally cut at a point threshold, then smoothed over time."""

    columns: list[str] = Field(min_length=1)
    name: str = "trade_score"
    point_threshold: float | None = None
    window: int | float | None = Field(None, gt=0, description="Whole: simple window; with a decimal point: span.")


class Threshold(Section):
    """buy_signal where score ≥ buy, sell_signal where score ≤ sell."""

    column: str = "trade_score"
    buy: float
    sell: float

    @model_validator(mode="after")
    def _apart(self) -> "Threshold":
        if self.sell >= self.buy:
            raise ValueError(f"sell ({self.sell}) must be below buy ({self.buy}); otherwise one bar is both")
        return self


class Condition(Section):
    """One comparison of a column with a number or another column."""

    column: str
    op: Literal[">", ">=", "<", "<=", "crosses_above", "crosses_below"]
    value: float | str
    weight: float = Field(1.0, gt=0)


class RuleSet(Section):
    """A score from conditions, in place of a model: 1 where all of `long` hold, -1 where all of `short` do."""

    long: list[Condition] = []
    short: list[Condition] = []
    require: Literal["all", "any", "share"] = Field("all", description="`share`: the weighted part of them that holds.")
    name: str = "trade_score"

    @model_validator(mode="after")
    def _some(self) -> "RuleSet":
        if not self.long and not self.short:
            raise ValueError("give at least one condition under long or short")
        return self


class Abstain(Section):
    """No score, and so no signal, where a model's interval is too wide or not known; needs `intervals`."""

    column: str = Field("trade_score", description="Score to pass on.")
    models: list[str] = Field(min_length=1, description="Models whose intervals are looked at: {label}_{algorithm}.")
    max_width: float = Field(gt=0, description="Widest interval, high less low, at which the score is believed.")
    name: str = "sure_score"


class SignalStep(OneOf):
    """One step of `signals.steps`."""

    combine: Combine | None = None
    smooth: Smooth | None = None
    rules: RuleSet | None = None
    abstain: Abstain | None = None
    threshold: Threshold | None = None


class Signals(Section):
    """How scores become buy_signal and sell_signal."""

    predictions: Literal["rolling", "predict", "features"] = Field(
        "rolling", description="Walk-forward scores, the bundle's, or no model at all: the steps read the features."
    )
    steps: list[SignalStep] = []


class Costs(Section):
    """What trading costs, as fractions of the notional unless the name says otherwise."""

    taker_fee: Fraction = 0.001
    maker_fee: Fraction = 0.001
    slippage_bps: float = Field(1.0, ge=0, description="Paid on each market order, in hundredths of a percent.")
    spread_bps: float = Field(0.0, ge=0, description="Full spread; half of it is paid on each market order.")
    slippage_volatility: float = Field(0.0, ge=0, description="Times a bar's forecast volatility, on top.")
    impact: float = Field(0.0, ge=0, description="Y of the square-root law Y·σ·√(Q/V), on top.")
    participation: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Largest share of a bar's volume that one order fills; entries lapse for the rest.",
    )
    latency_bars: int = Field(0, ge=0, le=100, description="Bars that an order takes longer to reach the market.")
    liquidation_fee: Fraction = 0.0125


class Exits(Section):
    """When a position is closed besides the opposite signal. Fractions of the entry price."""

    stop_loss: float | None = Field(None, gt=0, lt=1)
    stop_atr: float | None = Field(None, gt=0, description="Stop at so many ATR from the entry.")
    take_profit: float | None = Field(None, gt=0)
    take_profit_atr: float | None = Field(None, gt=0)
    trailing_stop: float | None = Field(None, gt=0, lt=1)
    trailing_atr: float | None = Field(None, gt=0, description="Trails so many ATR behind trailing_from.")
    trailing_from: Literal["best", "close"] = Field("best", description="`best`: the best price so far (chandelier).")
    trailing_after: float = Field(0.0, ge=0, description="The trailing stop starts once the profit has reached this.")
    break_even_after: float | None = Field(None, gt=0, description="Profit that moves the stop to the entry price.")
    break_even_offset: float = Field(0.0, ge=0, description="So far beyond the entry price, to pay for the fees.")
    atr: str | None = Field(None, description="Feature column of the ATR in units of the price.")
    max_bars: Length | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Exits":
        used = [n for n in ("stop_atr", "take_profit_atr", "trailing_atr") if getattr(self, n) is not None]
        if used and self.atr is None:
            raise ValueError(f"{used[0]} needs atr: the feature column with the ATR, such as high_low_close_ATR_14")
        if self.stop_loss is not None and self.stop_atr is not None:
            raise ValueError("stop_loss and stop_atr contradict each other; give one")
        if self.take_profit is not None and self.take_profit_atr is not None:
            raise ValueError("take_profit and take_profit_atr contradict each other; give one")
        if self.trailing_stop is not None and self.trailing_atr is not None:
            raise ValueError("trailing_stop and trailing_atr contradict each other; give one")
        if self.break_even_after is not None and self.break_even_offset >= self.break_even_after:
            raise ValueError("break_even_offset must be below break_even_after, or the stop lies beyond the price")
        return self


class Filters(Section):
    """The exchange's rules of a symbol; 0 where there is none. Live they are read from the exchange."""

    tick_size: float = Field(0.0, ge=0, description="Stops and targets are rounded to it as live: no worse for us.")
    step_size: float = Field(0.0, ge=0)
    min_qty: float = Field(0.0, ge=0)
    max_qty: float | None = Field(None, gt=0)
    min_notional: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> "Filters":
        if self.max_qty is not None and self.max_qty < max(self.min_qty, self.step_size):
            raise ValueError(f"max_qty ({self.max_qty:g}) is below min_qty or step_size: no order could be sent")
        return self


class GridAxis(Section):
    """Values from `start` to `stop`, `n` of them, ends included."""

    start: float
    stop: float
    n: int = Field(gt=0, le=1000)


class Grid(Section):
    """Threshold search: chosen on the first part of the data, reported on the rest."""

    buy: GridAxis
    sell: GridAxis
    stop_loss: list[float] = Field([], max_length=50, description="Tried in place of simulate.exits.stop_loss.")
    take_profit: list[float] = Field([], max_length=50)
    trailing_stop: list[float] = Field([], max_length=50)
    fraction: list[float] = Field([], max_length=50, description="Tried in place of sizing.fraction.")
    select_on: float = Field(
        0.5, gt=0, lt=1, description="Share of the rows, from the start, that thresholds are chosen on."
    )
    metric: Literal["total_return", "sharpe", "sortino", "calmar", "profit_factor"] = "sharpe"
    min_trades: int = Field(10, ge=0, description="Parameter sets with fewer trades in the first part do not qualify.")
    use: bool = Field(True, description="Trade with the thresholds chosen instead of those of `signals`.")

    @model_validator(mode="after")
    def _some_pair(self) -> "Grid":
        if min(self.sell.start, self.sell.stop) >= max(self.buy.start, self.buy.stop):
            raise ValueError("every sell threshold is at or above every buy threshold; no pair can be traded")
        for name in ("stop_loss", "take_profit", "trailing_stop", "fraction"):
            if any(not value > 0 for value in getattr(self, name)):
                raise ValueError(f"{name}: every value must be above 0")
        return self


class Simulate(Section):
    """Trading the signals on history."""

    start: Date | None = None
    end: Date | None = None
    initial_cash: float = Field(10_000, gt=0, description="In the quote asset; shared by all symbols.")
    direction: Literal["long", "short", "both"] = "long"
    leverage: float = Field(1.0, ge=1, le=125, description="Futures: isolated margin of 1/leverage of the notional.")
    maintenance_margin: Fraction = Field(0.004, description="Futures: share of the notional; below it, liquidation.")
    funding: bool = Field(False, description="Futures: pay and receive the merged funding_rate.")
    costs: Costs = Costs()
    exits: Exits = Exits()
    filters: dict[str, Filters] = Field({}, description="By symbol; `default` for those not listed.")
    ambiguous: Literal["stop_first", "target_first", "ohlc", "olhc", "random"] = Field(
        "stop_first", description="Which came first where one bar touches both: by rule, by the path assumed, by seed."
    )
    grid: Grid | None = None
    stress: bool = Field(False, description="Also run the stress table; `simulate --stress` does the same.")
    random_entries: int = Field(1000, ge=0, description="Random strategies of equal exposure to compare with.")


class Output(Section):
    """The report."""

    title: str = ""
    chart_bars: int = Field(2000, gt=100, description="Candles drawn at most; longer history is resampled.")
    png: bool = True
