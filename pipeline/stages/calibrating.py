"""Calibration inside a training window: its last part, purged from the rest, says how often a score comes true."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Config
from pipeline.config.training import Algorithm
from pipeline.errors import BadInput
from pipeline.models.fitting import Fitted
from pipeline.models.samples import Samples
from pipeline.stages.blocks import Block

Indices = npt.NDArray[np.int64]


def calibrates(config: Config) -> bool:
    """Whether scores of yes-or-no labels are calibrated."""
    return config.train.calibration.method != "none"


def calibration_rows(
    config: Config, samples: Samples, label: str, rows: Indices, where: str
) -> tuple[Indices, Indices]:
    """The rows that the curve's model learns from, and the later ones whose scores the curve is fitted on.

    rows: of the training window, purged of what is tested. where: names the window in errors.
    Raises BadInput: either part has too few rows, or one outcome only.
    """
    from pipeline.models.fitting import check_target
    from pipeline.stages.window_fit import held_out

    share = config.train.calibration.share
    parts = held_out(samples, label, rows, share)
    if parts is None:
        raise BadInput(
            f"train.calibration.share: {share:g} of {where} leaves one of its two parts without rows of '{label}'"
        )
    for part, which in zip(parts, ("before", "in"), strict=True):
        check_target(label, samples.targets[label].values[part], True, f"{where}, {which} the part to calibrate on")
    return parts


def calibrated(
    config: Config,
    samples: Samples,
    binned: Any,
    label: str,
    algorithm: Algorithm,
    rows: Indices,
    columns: Indices | None,
    model: Fitted,
    where: str,
) -> Fitted:
    """The window's model with a curve, if one is asked for and its label is a yes or no.

    The curve is that of a model like it, with as many rounds, which learned from the window less its last part; the
    model itself keeps what it learned from all of it. No row outside of the window is looked at.
    rows, columns: of `model`. where: names the window in errors.
    Raises BadInput: as `calibration_rows`.
    """
    from pipeline.models import calibration
    from pipeline.models.fitting import fit

    method = config.train.calibration.method
    if method == "none" or not model.classification:
        return model
    early, late = calibration_rows(config, samples, label, rows, where)
    trial = fit(samples, binned, label, algorithm, early, config.seed, rounds=model.rounds, columns=columns)
    scores = trial.predict_rows(samples.features, late)
    return replace(model, curve=calibration.fit(method, scores, samples.targets[label].values[late] > 0))


def add_uncalibrated(
    report: dict[str, Any], samples: Samples, blocks: Sequence[Block], before: Mapping[str, npt.NDArray[np.float64]]
) -> None:
    """Add to folds.json how good the scores [n] were before calibration: `uncalibrated` beside those after it."""
    from pipeline.evaluation.scores import classification_scores

    everywhere = np.zeros(len(samples.times), bool)
    insides = [(samples.times >= block.start) & (samples.times < block.stop) for block in blocks]
    for inside in insides:
        everywhere |= inside
    for name, scores in before.items():
        target = samples.targets[name.rsplit("_", 1)[0]]
        for inside, kept in [*zip(insides, (fold["scores"][name] for fold in report["folds"]), strict=True),
                             (everywhere, report["pooled"][name])]:  # fmt: skip
            rows = inside & target.known & np.isfinite(scores)
            found = classification_scores(target.values[rows] > 0, scores[rows])
            kept["uncalibrated"] = {key: found[key] for key in ("ece", "log_loss", "brier", "auc")}
