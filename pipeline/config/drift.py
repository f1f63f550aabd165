"""Section `drift`: when the market has left what the models were trained on."""

from pydantic import Field

from pipeline.config.durations import Length
from pipeline.config.section import Section


class Drift(Section):
    """What `pipeline drift` and live trading look at, and how sure they have to be."""

    window: Length = Field("7d", description="Newest bars that are compared with the training range.")
    level: float = Field(
        0.005, gt=0, lt=0.5, description="Chance of a false alarm at one look, over all features and models together."
    )
    psi: float = Field(0.25, ge=0, description="A feature must also have moved this far (population stability index).")
    adwin_delta: float = Field(0.002, gt=0, lt=1, description="ADWIN's chance of a false cut, on the models' loss.")
    page_hinkley: float = Field(
        25.0, gt=0, description="Excess loss that is too much, in standard deviations of the held-out loss."
    )
