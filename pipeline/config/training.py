"""Sections `train`, `predict` and `predict_rolling`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.config.calibration import Calibration
from pipeline.config.durations import Length
from pipeline.config.section import Date, Fraction, Section
from pipeline.config.selection import Selection
from pipeline.config.weighting import Weights


class Algorithm(Section):
    """One model family, trained for each label; its column is {label}_{name}."""

    name: str = Field(pattern=r"[a-zA-Z][a-zA-Z0-9]*")
    kind: Literal["lightgbm", "linear"] = "lightgbm"
    objective: Literal["auto", "classification", "regression"] = "auto"
    rounds: int = Field(200, gt=0, description="Boosting rounds (lightgbm) or iterations (linear).")
    early_stopping: int | None = Field(None, gt=0, description="Stop after so many rounds without progress.")
    class_weight: Literal["balanced"] | None = None
    params: dict[str, Any] = Field({}, description="Passed on: LightGBM's or the linear model's own parameters.")


class Train(Section):
    """What to learn, from which rows."""

    labels: list[str] = Field([], description="Label columns; all of them if empty.")
    features: list[str] = Field(["*"], description="Feature columns or patterns (`close_*`).")
    exclude: list[str] = Field([], description="Patterns of features to leave out.")
    algorithms: list[Algorithm] = Field([Algorithm(name="lgbm")], min_length=1)
    start: Date | None = None
    end: Date | None = Field(None, description="Train on bars before this; what follows is out of sample in `predict`.")
    length: Length | None = Field(None, description="Train on the last so many bars only.")
    validation: Fraction = Field(0.1, description="Last part, purged, held out for early stopping and for figures.")
    max_filled_in_window: Fraction = Field(0.5, description="Leave out rows whose look-back is made up beyond this.")
    weights: Weights = Weights()
    selection: Selection = Selection()
    calibration: Calibration = Calibration()

    @model_validator(mode="after")
    def _judged_on_a_later_part(self) -> "Train":
        if self.selection.method == "permutation" and self.validation == 0:
            raise ValueError("selection: permutation is judged on the validation part; give validation a share above 0")
        if self.selection.method == "none" and self.selection.sizes:
            raise ValueError("selection.sizes: needs a method that ranks the features: mrmr, permutation or shadow")
        return self


class Predict(Section):
    """Scores of the trained bundle."""

    start: Date | None = None
    end: Date | None = None


class PredictRolling(Section):
    """Walk-forward: predict each block with models trained only on what came before it."""

    start: Date | None = Field(None, description="First bar predicted; by default after the first train_length.")
    end: Date | None = None
    train_length: Length = Field("90d", description="Bars before each block to train on (first block's, if expanding).")
    window: Literal["sliding", "expanding"] = "sliding"
    prediction_size: Length = Field("7d", description="Bars predicted by one set of models.")
    steps: int | None = Field(None, gt=0, description="Number of blocks; as many as there are, if absent.")
    embargo: Length = Field(0, description="Extra bars left out between training and prediction.")
    null_paths: int = Field(
        1, ge=0, le=20, description="Paths of shuffled signs on which the first block is tried again; 0 leaves it out."
    )
