"""Section `train.selection`: which features a model gets, chosen inside each training window."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Section


class Selection(Section):
    """How features are chosen. It happens inside every training window anew, never on all data."""

    method: Literal["none", "mrmr", "permutation", "shadow"] = "none"
    keep: int | None = Field(None, gt=0, description="Features to keep at most; all that pass the threshold if absent.")
    threshold: float | None = Field(
        None,
        gt=0,
        description="Evidence that a feature needs. mrmr: standard deviations above labels shifted in time (4); "
        "permutation: t value of the loss it saves (2); shadow: share of rounds in which it beats every shadow (0.75).",
    )
    sizes: list[Annotated[int, Field(gt=0)]] = Field(
        [], max_length=20, description="predict-rolling also scores with so many of the best features: what more cost."
    )
    max_rows: int = Field(20_000, ge=500, description="Rows of a window that are looked at, evenly spaced.")
