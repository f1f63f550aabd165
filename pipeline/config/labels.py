"""Section `labels`: what the models learn to predict."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.durations import Length
from pipeline.config.section import OneOf, Section


class HighLow(Section):
    """Future extremes over a horizon: high_max_h, low_min_h (percent), thresholded, high_to_low_h."""

    horizons: list[Length] = Field(min_length=1)
    thresholds: list[float] = Field([], description="Percent; adds high_{t}_{h} and low_{t}_{h}.")


class HighLow2(Section):
    """Does price cross +threshold before −threshold·tolerance within the horizon?"""

    function: Literal["high", "low"] = "high"
    thresholds: list[float] = Field(min_length=1, description="Percent of the close.")
    tolerance: float = Field(0.2, ge=0, description="Share of the threshold that the price may move against.")
    horizon: Length
    tie: Literal["failure", "success"] = Field("failure", description="Both crossed in one bar counts as …")
    names: list[str] = Field([], description="One per threshold; made from function and threshold if absent.")

    @model_validator(mode="after")
    def _one_name_each(self) -> "HighLow2":
        if self.names and len(self.names) != len(self.thresholds):
            raise ValueError(f"{len(self.names)} names for {len(self.thresholds)} thresholds; give one per threshold")
        return self


class TopBot2(Section):
    """Is this bar near a local top or bottom from which the price moved by `level` on both sides?"""

    function: Literal["top", "bot"] = "top"
    level: float = Field(gt=0, description="Fraction of the price that it must move away: 0.02.")
    tolerances: list[float] = Field(min_length=1, description="Fractions of `level` that still count as near.")
    column: str = "close"
    names: list[str] = []


class FixedHorizon(Section):
    """Return over the next `horizon` bars: the number, or its sign beyond a threshold."""

    horizons: list[Length] = Field(min_length=1)
    threshold: float | None = Field(None, ge=0, description="Fraction; with it the label is bool (return > threshold).")
    log: bool = False


class TripleBarrier(Section):
    """Which comes first: profit-take, stop-loss (in multiples of volatility) or the time limit?"""

    horizon: Length
    profit_take: float = Field(2.0, ge=0, description="Multiple of volatility; 0 switches it off.")
    stop_loss: float = Field(1.0, ge=0, description="Multiple of volatility; 0 switches it off.")
    volatility_span: Length = Field(100, description="Span of the exponential standard deviation of returns.")
    min_return: float = Field(0.0, ge=0, description="Smallest distance of a barrier, as a fraction.")
    events: Literal["all", "cusum"] = "all"
    cusum: float = Field(1.0, gt=0, description="CUSUM filter threshold in multiples of volatility.")
    side: Literal["long", "short"] = "long"
    output: Literal["bool", "return", "class"] = Field(
        "bool", description="Profit first? / return at touch / −1, 0, 1."
    )
    tie: Literal["failure", "success"] = "failure"
    name: str = "triple_barrier"


class Meta(Section):
    """Is a trade entered at this close right: does it earn more than it costs, by the triple barrier?"""

    horizon: Length
    profit_take: float = Field(2.0, ge=0, description="Multiple of volatility; 0 switches it off.")
    stop_loss: float = Field(2.0, ge=0, description="Multiple of volatility; 0 switches it off.")
    volatility_span: Length = Field(100, description="Span of the exponential standard deviation of returns.")
    min_return: float = Field(0.0, ge=0, description="Smallest distance of a barrier, as a fraction.")
    cost: float = Field(0.002, ge=0, lt=1, description="What entry and exit cost together, as a fraction.")
    side: Literal["long", "short", "both"] = Field("long", description="Adds {name}_long, {name}_short, or both.")
    tie: Literal["failure", "success"] = "failure"
    name: str = "right"


class LabelEntry(OneOf):
    """One entry of `labels`."""

    highlow: HighLow | None = None
    highlow2: HighLow2 | None = None
    topbot2: TopBot2 | None = None
    fixed_horizon: FixedHorizon | None = None
    triple_barrier: TripleBarrier | None = None
    meta: Meta | None = None
