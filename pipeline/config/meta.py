"""Section `meta`: a second-stage model that says how likely the signal's trade is right."""

from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.config.durations import Length
from pipeline.config.labels import Meta
from pipeline.config.section import Section
from pipeline.config.training import Algorithm

if TYPE_CHECKING:
    from pipeline.config.model import Config


class SecondStage(Section):
    """Trained on bars with a signal, from features and out-of-fold scores of the first stage."""

    algorithm: Algorithm = Algorithm(name="second")
    folds: int = Field(
        4, ge=2, le=20, description="Parts of each training window whose first-stage scores come from the other parts."
    )
    embargo: Length = Field(0, description="Bars left out of training after each of these parts.")


def meta_label(config: "Config") -> Meta | None:
    """The config's `meta` label, the first if there are several."""
    return next((entry.meta for entry in config.labels if entry.meta is not None), None)


def second_columns(config: "Config") -> dict[str, tuple[str, int]]:
    """Score columns of the second stage: their label and the side, 1 or -1, whose trades they judge; {} without one."""
    label = meta_label(config)
    if config.meta is None or label is None:
        return {}
    sides = [side for side, wanted in (("long", 1), ("short", -1)) if label.side in (side, "both")]
    return {
        f"{label.name}_{side}_{config.meta.algorithm.name}": (f"{label.name}_{side}", 1 if side == "long" else -1)
        for side in sides
    }


def first_labels(config: "Config", labels: list[str]) -> list[str]:
    """Those of the labels that first-stage models learn unless `train.labels` says otherwise: all but `meta` ones."""
    meta = {f"{e.meta.name}_{side}" for e in config.labels if e.meta is not None for side in ("long", "short")}
    return [name for name in labels if name not in meta]
