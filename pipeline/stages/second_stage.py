"""The second stage: how likely is the trade of a first-stage signal to be right?

Meta-labelling. The first stage's models make signals; the second learns, from the bars that had one, whether the
trade was right. It must not learn from scores that the first stage gives rows it was trained on, which are far too
good. So each training window is parted; each part is scored by first-stage models of the other parts, purged on both
sides, and signals and second-stage rows come from these scores alone.
Source: López de Prado, Advances in Financial Machine Learning (2018), 3.6 and 7.4.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Config
from pipeline.config.meta import second_columns
from pipeline.config.training import Algorithm
from pipeline.errors import BadInput
from pipeline.models.fitting import Fitted
from pipeline.models.samples import Samples, Target
from pipeline.models.second import SecondModel, joined

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def second_labels(config: Config) -> list[str]:
    """Labels of the second stage; none without a section `meta`.

    Raises BadInput: there is a section `meta` and no `meta` label, or sizes read a probability that nothing makes, or
    the signals that it would learn from need intervals, which the scores inside a training window do not have.
    """
    columns = second_columns(config)
    if columns and any(step.kind == "abstain" for step in config.signals.steps):
        raise BadInput(
            "signals.steps: abstain: the second stage cannot learn from signals that abstain",
            "leave out one of the two: `sizing.probability.floor` abstains as well",
        )
    if config.meta is not None and not columns:
        raise BadInput("meta: the second stage has no label to learn", "add one: labels: - meta: {horizon: 4h}")
    if config.sizing.probability is not None and not columns:
        raise BadInput("sizing.probability: there is no second stage to ask", "add a section meta and a `meta` label")
    return [label for label, _ in columns.values()]


def second_sections(config: Config) -> tuple[str, ...]:
    """Sections of the config that the second stage depends on besides the first's: which bars have a signal."""
    return ("meta", "signals") if config.meta is not None else ()


def first_columns(config: Config, names: list[str]) -> list[str]:
    """First-stage scores that the signals read, and the second stage with them, in order.

    names: of all first-stage scores. Raises BadInput: a step reads another column.
    """
    from pipeline.signals import check_columns

    return check_columns(config.signals, names, "the first-stage scores")


def sides(config: Config, samples: Samples, scores: Mapping[str, Floats], inside: Flags) -> npt.NDArray[np.int8]:
    """Side that the signals of these scores ask for at each sample: 1 buy, -1 sell, 0 neither, both, or outside.

    scores: [n] by name; what `signals` would make of them over the bars from the first sample inside to the last.
    """
    from pipeline.signals import compute

    result = np.zeros(len(samples.times), np.int8)
    for symbol in np.unique(samples.symbols[inside]):
        rows = np.flatnonzero(inside & (samples.symbols == symbol))
        place = samples.rows[rows] - samples.rows[rows[0]]
        bars = int(place[-1]) + 1
        columns = {}
        for name, values in scores.items():
            columns[name] = np.full(bars, np.nan)
            columns[name][place] = values[rows]
        made = compute(config.signals, columns, np.zeros(bars, np.bool_))
        result[rows] = made["buy_signal"][place].astype(np.int8) - made["sell_signal"][place].astype(np.int8)
    return result


@dataclass(frozen=True)
class TrainedSecond:
    """A second-stage model of the bundle, what the manifest tells of it, and the last bar that its labels look at."""

    model: SecondModel
    facts: dict[str, Any]
    label_end_ms: int


def train_second(
    config: Config, samples: Samples, binned: dict[str, Any], allowed: Mapping[str, Indices], region: Flags
) -> dict[str, TrainedSecond]:
    """The second-stage models of a bundle, by score column, each tried on the last part of its rows beforehand.

    Raises BadInput: a side has too few signals, or they were all right or all wrong.
    """
    from pipeline.evaluation.scores import label_scores
    from pipeline.models.fitting import check_target
    from pipeline.stages.window_fit import held_out

    assert config.meta is not None
    where = "the training range"
    reads, scores = _first_stage(config, samples, binned, allowed, region, where)
    side = sides(config, samples, scores, region)
    found = {}
    for name, (label, wanted) in second_columns(config).items():
        learned = second_samples(samples, label, allowed[label][side[allowed[label]] == wanted], scores)
        target = learned.targets[label]
        check_target(label, target.values, True, f"the signals of {where}")
        validation = None
        parts = held_out(learned, label, np.arange(len(target.values)), config.train.validation)
        if parts is not None:
            early, late = parts
            tried = _fit(config, second_samples(learned, label, early, {}), label, where)
            if tried is not None:
                assert isinstance(learned.features, np.ndarray)
                validation = label_scores(target.values[late] > 0, tried.predict(learned.features[late]))
        model = _fit(config, learned, label, where)
        assert model is not None
        algorithm = config.meta.algorithm
        facts = {
            "label": label,
            "side": "long" if wanted > 0 else "short",
            "algorithm": algorithm.name,
            "kind": algorithm.kind,
            "objective": "classification",
            "rounds": model.rounds,
            "rows": len(target.values),
            "base_rate": float(target.values.mean()),
            "validation": validation,
            "importance": model.importance(learned.names),
        }
        found[name] = TrainedSecond(SecondModel(model, tuple(reads)), facts, int(target.end_ms.max()))
    return found


def judged_rows(config: Config, samples: Samples, scores: Mapping[str, Floats]) -> dict[str, Flags]:
    """Samples whose signal asks for the side that a second-stage column judges, bool [n] by column.

    scores: of both stages, [n] by name, NaN outside of what was predicted.
    """
    columns = second_columns(config)
    if not columns:
        return {}
    first = {name: scores[name] for name in first_columns(config, [name for name in scores if name not in columns])}
    inside = np.isfinite(next(iter(first.values()))) & samples.trainable
    side = sides(config, samples, first, inside)
    return {name: side == wanted for name, (_, wanted) in columns.items()}


def fit_second(
    config: Config, samples: Samples, binned: dict[str, Any], allowed: Mapping[str, Indices], region: Flags, where: str
) -> dict[str, SecondModel]:
    """Second-stage models of one training window, by score column; a side with too few signals has none.

    binned: the first stage's datasets by algorithm. allowed: rows that a model of each label may learn from, purged
    against what is predicted. region: samples of the window, bool [n]. where: names the window in errors.
    """
    reads, scores = _first_stage(config, samples, binned, allowed, region, where)
    side = sides(config, samples, scores, region)
    found = {}
    for name, (label, wanted) in second_columns(config).items():
        rows = allowed[label][side[allowed[label]] == wanted]
        model = _fit(config, second_samples(samples, label, rows, scores), label, where)
        if model is not None:
            found[name] = SecondModel(model, tuple(reads))
    return found


def second_samples(samples: Samples, label: str, rows: Indices, scores: Mapping[str, Floats]) -> Samples:
    """The rows that the second stage learns from: features and scores of these samples, and one label."""
    target = samples.targets[label]
    return replace(
        samples,
        names=[*samples.names, *scores],
        features=joined(samples.features[rows], [values[rows] for values in scores.values()]),
        times=samples.times[rows],
        symbols=samples.symbols[rows],
        rows=samples.rows[rows],
        trainable=samples.trainable[rows],
        targets={label: Target(target.values[rows], target.known[rows], target.end_ms[rows], target.is_bool)},
    )


def _first_stage(
    config: Config, samples: Samples, binned: dict[str, Any], allowed: Mapping[str, Indices], region: Flags, where: str
) -> tuple[list[str], dict[str, Floats]]:
    # Scores that the signals read, out of fold.
    labels = [label for label in allowed if label not in second_labels(config)]
    models = {f"{label}_{a.name}": (label, a) for label in labels for a in config.train.algorithms}
    reads = first_columns(config, list(models))
    return reads, _out_of_fold(config, samples, binned, {name: models[name] for name in reads}, allowed, region, where)


def _fit(config: Config, learned: Samples, label: str, where: str) -> Fitted | None:
    from pipeline.models.fitting import MIN_ROWS, binned_rows
    from pipeline.stages.window_fit import fit_window

    assert config.meta is not None
    y = learned.targets[label].values
    if len(y) < MIN_ROWS or y.min() == y.max():
        return None
    algorithm = config.meta.algorithm
    binned = binned_rows(learned, [algorithm], None, 1).get(algorithm.name)
    return fit_window(config, learned, binned, label, algorithm, np.arange(len(y)), None, where)


def _out_of_fold(
    config: Config,
    samples: Samples,
    binned: dict[str, Any],
    first: Mapping[str, tuple[str, Algorithm]],
    allowed: Mapping[str, Indices],
    region: Flags,
    where: str,
) -> dict[str, Floats]:
    # First-stage scores of the region [n], each part's by models of the others; NaN outside.
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    assert config.meta is not None
    groups = _parts(samples, region, config.meta.folds)
    wanted = [(name, part) for name in first for part in range(config.meta.folds)]
    with threadpool_limits(1, user_api="blas"):
        found = Parallel(config.workers or os.cpu_count() or 1, prefer="threads")(
            delayed(_score_part)(
                config, samples, binned.get(first[name][1].name), *first[name], groups, part, allowed, where
            )
            for name, part in wanted
        )
    scores = {name: np.full(len(samples.times), np.nan) for name in first}
    for (name, part), values in zip(wanted, found, strict=True):
        scores[name][groups == part] = values
    return scores


def _parts(samples: Samples, region: Flags, folds: int) -> Indices:
    # Part of each sample of the region, of equal numbers of bars; -1 outside.
    from pipeline.evaluation.combinatorial import group_of

    times = np.unique(samples.times[region])
    edges = np.append(times[[len(times) * part // folds for part in range(folds)]], times[-1] + 1)
    return np.where(region, group_of(samples.times, edges), -1)


def _score_part(
    config: Config,
    samples: Samples,
    binned: Any,
    label: str,
    algorithm: Algorithm,
    groups: Indices,
    part: int,
    allowed: Mapping[str, Indices],
    where: str,
) -> Floats:
    from pipeline.evaluation.combinatorial import training_rows
    from pipeline.stages.window_fit import columns_of, fit_window, select_features

    assert config.meta is not None
    target = samples.targets[label]
    legal = np.zeros(len(samples.times), np.bool_)
    legal[allowed[label]] = True
    end_ms = np.where(target.known, target.end_ms, samples.times) + samples.step_ms
    spans = np.column_stack([samples.times, end_ms])
    embargo = config.bars(config.meta.embargo) * samples.step_ms
    rows = np.flatnonzero(training_rows(spans, groups, (part,), legal, embargo))
    where = f"{where}, without part {part} of the second stage's {config.meta.folds}"
    columns = columns_of(select_features(config, samples, label, rows, where))
    model = fit_window(config, samples, binned, label, algorithm, rows, columns, where)
    return model.predict_rows(samples.features, np.flatnonzero(groups == part))
