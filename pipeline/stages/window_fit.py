"""What one training window yields: the features chosen in it, the rounds found in it, the model fitted on it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Config
from pipeline.config.training import Algorithm
from pipeline.errors import BadInput
from pipeline.models.fitting import Fitted
from pipeline.models.samples import Samples
from pipeline.models.selection import Selected
from pipeline.stages.calibrating import calibrated

Indices = npt.NDArray[np.int64]


def held_out(samples: Samples, label: str, rows: Indices, share: float) -> tuple[Indices, Indices] | None:
    """The last share of the rows, in time, and those before it whose outcome was known by then.

    None if the share is 0 or either part would have no rows.
    """
    from pipeline.evaluation.splits import purge

    times = samples.times[rows]
    count = int(len(rows) * share)
    if count == 0:
        return None
    boundary = np.partition(times, len(times) - count)[len(times) - count]
    late = rows[times >= boundary]
    early = rows[times < boundary]
    test = np.array([[boundary, samples.times[rows].max() + samples.step_ms]])
    early = early[purge(samples.intervals(label, early), test)] if len(early) else early
    return (early, late) if len(early) else None


def selects(config: Config) -> bool:
    """Whether models learn from features chosen in each window, and so need the features themselves."""
    if config.train.selection.method == "none":
        return False
    # Asked before there are threads: while this is imported, sklearn is not to be had by another one.
    import pipeline.models.lightgbm  # noqa: F401

    return True


def select_features(config: Config, samples: Samples, label: str, rows: Indices, where: str) -> Selected | None:
    """The features that one label's models get, chosen from the rows of one training window; None: all of them.

    rows: of the window, purged. where: names the window in errors.
    Raises BadInput: the window is too short, or has nothing to learn.
    """
    from pipeline.models.fitting import check_target
    from pipeline.models.selection import select

    section = config.train.selection
    if section.method == "none":
        return None
    target = samples.targets[label]
    check_target(label, target.values[rows], target.is_bool, where)
    parts = held_out(samples, label, rows, config.train.validation)
    if section.method == "permutation" and parts is None:
        raise BadInput(f"train.selection: {where} has no validation part to judge features of '{label}' on")
    late = np.isin(rows, parts[1]) if parts else np.zeros(len(rows), bool)
    overlap = ~late & ~np.isin(rows, parts[0]) if parts else late
    features = samples.features[rows]
    return select(features, target.values[rows], target.is_bool, late, overlap, section, config.seed)


def columns_of(selected: Selected | None) -> Indices | None:
    """Positions of the features chosen; None: all."""
    return None if selected is None else selected.columns


def fit_window(
    config: Config,
    samples: Samples,
    binned: Any,
    label: str,
    algorithm: Algorithm,
    rows: Indices,
    columns: Indices | None,
    where: str,
) -> Fitted:
    """The model of one training window: its last part says how many rounds are best and how scores come true, then all
    of it is learned from.

    binned: the shared dataset, or None where columns are chosen. columns: from `select_features` on the same rows.
    where: names the window in errors.
    Raises BadInput: there is too little, or nothing, to learn.
    """
    from pipeline.models.fitting import check_target, fit, is_classification

    classification = is_classification(algorithm, label, samples)
    check_target(label, samples.targets[label].values[rows], classification, where)
    rounds = None
    if algorithm.early_stopping is not None:
        parts = held_out(samples, label, rows, config.train.validation)
        if parts is not None:
            early, late = parts
            check_target(label, samples.targets[label].values[early], classification, where)
            tried = fit(samples, binned, label, algorithm, early, config.seed, validation=late, columns=columns)
            rounds = tried.rounds
    model = fit(samples, binned, label, algorithm, rows, config.seed, rounds=rounds, columns=columns)
    return calibrated(config, samples, binned, label, algorithm, rows, columns, model, where)
