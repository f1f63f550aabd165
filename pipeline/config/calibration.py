"""Section `train.calibration`: from scores to probabilities that come true as often as they say."""

from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class Calibration(Section):
    """How the scores of yes-or-no labels become probabilities; numbers are left alone."""

    method: Literal["none", "isotonic", "sigmoid", "venn_abers"] = Field(
        "none", description="A monotone step, a logistic curve (Platt), or Venn-Abers; fitted inside the training rows."
    )
    share: float = Field(
        0.2, gt=0, lt=1, description="Last part of the training rows, purged, whose scores the curve is fitted on."
    )
    folds: int | None = Field(
        None, ge=2, description="Instead of the last part: so many blocks of the window, each scored by the others."
    )
