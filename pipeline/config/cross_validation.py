"""Section `cross_validation`: combinatorial purged cross-validation."""

from math import comb
from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.durations import Length
from pipeline.config.section import Date, Section

MOST_SPLITS = 1000


class CrossValidation(Section):
    """Groups of bars, all choices of a few of them to test on, and the paths that their scores make."""

    groups: int = Field(6, ge=2, le=20, description="Groups of equal length that the history is parted into.")
    test_groups: int = Field(2, ge=1, le=10, description="Groups tested at a time; the others are trained on.")
    embargo: Length = Field(0, description="Bars left out of training after the last label of each test group.")
    bins: Literal["shared", "training"] = Field(
        "shared", description="LightGBM's bins: made once of all rows, or for each split of its training rows alone."
    )
    start: Date | None = None
    end: Date | None = None

    @model_validator(mode="after")
    def _some_left(self) -> "CrossValidation":
        if self.test_groups >= self.groups:
            raise ValueError(f"test_groups ({self.test_groups}) must be below groups ({self.groups})")
        splits = comb(self.groups, self.test_groups)
        if splits > MOST_SPLITS:
            raise ValueError(f"{splits:,} splits, each with fits of its own, are too many; choose fewer groups")
        return self
