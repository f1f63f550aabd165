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


def calibration_parts(
    config: Config, samples: Samples, label: str, rows: Indices, where: str
) -> list[tuple[Indices, Indices]]:
    """Pairs of the rows that a model of the curve learns from, and those whose scores the curve is fitted on.

    One pair of the window's beginning and its last part; or as many as there are folds, each a block of the window and
    all that does not overlap it. rows: of the training window, purged of what is tested. where: names the window in
    errors.
    Raises BadInput: a part has too few rows, or one outcome only.
    """
    from pipeline.models.fitting import check_target
    from pipeline.stages.window_fit import held_out

    section = config.train.calibration
    if section.folds is not None:
        parts = _blocks(samples, label, rows, section.folds)
    else:
        last = held_out(samples, label, rows, section.share)
        if last is None:
            raise BadInput(
                f"train.calibration.share: {section.share:g} of {where} leaves one of its two parts without rows of "
                f"'{label}'"
            )
        parts = [last]
    for learned, scored in parts:
        for part, which in ((learned, "beside"), (scored, "in")):
            check_target(label, samples.targets[label].values[part], True, f"{where}, {which} the part to calibrate on")
    return parts


def _blocks(samples: Samples, label: str, rows: Indices, folds: int) -> list[tuple[Indices, Indices]]:
    from pipeline.evaluation.splits import purge

    times, ends = samples.times[rows], samples.targets[label].end_ms[rows] + samples.step_ms
    edges = np.quantile(times, np.linspace(0, 1, folds + 1), method="inverted_cdf")
    number = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, folds - 1)
    parts = []
    for fold in range(folds):
        scored, others = rows[number == fold], rows[number != fold]
        span = np.array([[times[number == fold].min(), ends[number == fold].max()]])
        parts.append((others[purge(samples.intervals(label, others), span)], scored))
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

    The curve is that of models like it, with as many rounds, which learned from the window less the part that they
    score; the model itself keeps what it learned from all of it. No row outside of the window is looked at.
    rows, columns: of `model`. where: names the window in errors.
    Raises BadInput: as `calibration_parts`.
    """
    from pipeline.models import calibration
    from pipeline.models.fitting import fit

    method = config.train.calibration.method
    if method == "none" or not model.classification:
        return model
    scores, outcomes = [], []
    for learned, scored in calibration_parts(config, samples, label, rows, where):
        trial = fit(samples, binned, label, algorithm, learned, config.seed, rounds=model.rounds, columns=columns)
        scores.append(trial.predict_rows(samples.features, scored))
        outcomes.append(samples.targets[label].values[scored] > 0)
    return replace(model, curve=calibration.fit(method, np.concatenate(scores), np.concatenate(outcomes)))


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
