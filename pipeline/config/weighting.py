"""Section `train.weights`: which training rows count how much."""

from pydantic import Field

from pipeline.config.durations import Length
from pipeline.config.section import Fraction, OneOf, Section


class Decay(OneOf):
    """Older rows count less: down a straight line to `linear`, or by half for each `half_life`."""

    linear: Fraction | None = Field(None, description="Weight of the oldest row, where the newest has 1.")
    half_life: Length | None = Field(None, description="Bars in which the weight falls to half.")


class Weights(Section):
    """Weights of training rows. All off: every row counts the same."""

    uniqueness: bool = Field(
        False, description="Rows whose outcome spans the same bars as other rows' share those bars' weight."
    )
    bootstraps: int = Field(
        0, ge=0, le=100, description="Sequential bootstraps; a row weighs as often as they draw it, on average."
    )
    decay: Decay | None = None
