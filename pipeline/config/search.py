"""Section `optimize`: what `pipeline optimize` varies, and what it looks for."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.durations import duration_ms
from pipeline.config.section import Date, Section

Number = int | float


class Axis(Section):
    """The values of one key: from `low` to `high`, both included, or one of `choices`."""

    low: Number | None = Field(None, description="Whole numbers at both ends: only whole numbers are tried.")
    high: Number | None = None
    log: bool = Field(False, description="Even on a logarithmic scale.")
    step: Number | None = Field(None, gt=0, description="Only low, low + step, low + 2 step …")
    choices: list[Any] | None = Field(None, min_length=2, description="Values of any kind, lists too.")

    @model_validator(mode="after")
    def _one_kind(self) -> "Axis":
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("give either choices, or low and high")
            if any(self.choices[i] in self.choices[:i] for i in range(len(self.choices))):
                raise ValueError("choices: a value is given twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.step is not None:
            raise ValueError("log and step contradict each other; give one")
        if self.log and self.low <= 0:
            raise ValueError(f"log: low ({self.low:g}) must be above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def holds(self, value: Any) -> bool:
        """Whether a value is one that would be tried."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None and self.high is not None
        inside = self.low <= value <= self.high
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return inside and abs(steps - round(steps)) < 1e-9 and (not self.whole or isinstance(value, int))


class Optimize(Section):
    """The search: keys of this config and their values, tried on inner folds; the last bars are kept out of it."""

    space: dict[str, Axis] = Field(
        {},
        description="Key as --set writes it → its values: `train.algorithms.0.params.num_leaves: {low: 7, high: 63}`.",
    )
    objective: Literal["sharpe", "log_loss"] = Field(
        "sharpe", description="Of daily returns after costs, or the share of the base rate's log loss that is saved."
    )
    trials: int = Field(50, gt=0, description="In all, over all runs of this study.")
    timeout: str | None = Field(None, description="Begin no trial after so long: '2h'.")
    folds: int = Field(4, ge=2, le=50, description="Inner blocks that each trial is walked forward over.")
    start: Date | None = Field(None, description="First bar of the first inner block; by default after train_length.")
    holdout: float = Field(0.2, gt=0, lt=0.9, description="Last share of the bars, looked at once, after the search.")
    min_trades: int = Field(20, ge=1, description="With fewer over all inner blocks a Sharpe ratio says nothing.")
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: int = Field(10, ge=1, description="Random trials before the sampler learns from them.")
    pruning: bool = Field(True, description="End a trial after a block if it is below the median of the others there.")

    @field_validator("timeout")
    @classmethod
    def _duration(cls, value: str | None) -> str | None:
        if value is not None:
            duration_ms(value)
        return value
