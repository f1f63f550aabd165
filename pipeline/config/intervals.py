"""Section `intervals`: within what range an outcome will lie, however the market changes."""

from pydantic import Field, model_validator

from pipeline.config.section import Section


class Intervals(Section):
    """Adaptive conformal intervals around scores: columns `{label}_{algorithm}_low` and `_high`."""

    coverage: float = Field(0.9, gt=0, lt=1, description="Share of the outcomes that shall lie inside.")
    rate: float = Field(0.01, ge=0, lt=1, description="How fast misses widen it; 0 for a plain rolling window.")
    window: int = Field(500, gt=1, description="Newest outcomes whose errors it is made of.")
    least: int = Field(100, gt=1, description="Outcomes before there is an interval.")
    models: list[str] = Field([], description="`{label}_{algorithm}`; all of them if empty.")

    @model_validator(mode="after")
    def _reachable(self) -> "Intervals":
        if self.least > self.window:
            raise ValueError(f"least ({self.least}) is more than the window ({self.window}) ever holds")
        return self
