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


class SignalStep(OneOf):
    """One step of `signals.steps`."""

    combine: Combine | None = None
    smooth: Smooth | None = None
    threshold: Threshold | None = None


class Signals(Section):
    """How scores become buy_signal and sell_signal."""

    predictions: Literal["rolling", "predict"] = Field("rolling", description="Walk-forward scores, or the bundle's.")
    steps: list[SignalStep] = []


class Costs(Section):
    """What trading costs, as fractions of the notional unless the name says otherwise."""

    taker_fee: Fraction = 0.001
    maker_fee: Fraction = 0.001
    slippage_bps: float = Field(1.0, ge=0, description="Paid on each fill, in hundredths of a percent.")
    spread_bps: float = Field(0.0, ge=0, description="Full spread; half of it is paid on each fill.")


class Exits(Section):
    """When a position is closed besides the opposite signal. Fractions of the entry price."""

    stop_loss: float | None = Field(None, gt=0, lt=1)
    take_profit: float | None = Field(None, gt=0)
    trailing_stop: float | None = Field(None, gt=0, lt=1)
    max_bars: Length | None = None


class GridAxis(Section):
    """Values from `start` to `stop`, `n` of them, ends included."""

    start: float
    stop: float
    n: int = Field(gt=0, le=1000)


class Grid(Section):
    """Threshold search: chosen on the first part of the data, reported on the rest."""

    buy: GridAxis
    sell: GridAxis
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
        return self


class Simulate(Section):
    """Trading the signals on history."""

    start: Date | None = None
    end: Date | None = None
    initial_cash: float = Field(10_000, gt=0, description="In the quote asset.")
    direction: Literal["long", "short", "both"] = "long"
    fraction: Fraction = Field(1.0, description="Share of the equity put into one position.")
    costs: Costs = Costs()
    exits: Exits = Exits()
    ambiguous: Literal["stop_first", "target_first"] = Field("stop_first", description="Both levels inside one bar.")
    grid: Grid | None = None
    random_entries: int = Field(1000, ge=0, description="Random strategies of equal exposure to compare with.")


class Output(Section):
    """The report."""

    title: str = ""
    chart_bars: int = Field(2000, gt=100, description="Candles drawn at most; longer history is resampled.")
    png: bool = True
