"""`pipeline cross-validate`: combinatorial purged cross-validation, a distribution of results instead of one number.

LightGBM's bins. Every group is tested in some split, so no row is training in all of them, and one binned dataset
cannot be made of training rows only. `cross_validation.bins: shared` makes it of all rows: a test row then has a part
in where values are rounded, not in what the trees learn; no label enters. `training` bins anew for each fit, from its
own training rows alone. docs/evaluation.md has the difference, measured.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import Layout, count_rows, replace_folder, write_json, write_table
from pipeline.config import Config, utc_ms
from pipeline.config.meta import second_columns
from pipeline.config.training import Algorithm
from pipeline.errors import BadInput
from pipeline.evaluation.combinatorial import Combination, combinations, group_edges, group_of, paths, training_rows
from pipeline.market import candles
from pipeline.models.samples import Samples
from pipeline.stages.intervals import check_intervals, interval_columns
from pipeline.stages.kept_scores import content_key, folder_of, keep, read_kept
from pipeline.stages.path_trading import PathLayout, distribution, trade_path
from pipeline.stages.reporting import Plan, Summary, progress
from pipeline.stages.samples import feature_columns, label_columns, read_samples
from pipeline.stages.second_stage import fit_second, judged_rows, second_labels, second_sections
from pipeline.stages.times import iso

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SECTIONS = ("symbols", "interval", "seed", "features", "labels", "train", "cross_validation")
# Metrics of a path whose spread is told.
SCORES = ("auc", "log_loss", "brier", "average_precision", "ece", "r2", "correlation", "rmse")


def plan(config: Config, layout: Layout) -> Plan:
    """Check that features and labels are there, and that there is a model to validate."""
    from pipeline.models.parameters import check_parameters

    if config.signals.predictions == "features":
        raise BadInput(
            "signals.predictions: features: there is no model to cross-validate", "`pipeline simulate` tries the rules"
        )
    check_parameters(config.train.algorithms)
    names, labels = feature_columns(config, layout), label_columns(config, layout)
    section = config.cross_validation
    splits, table = combinations(section.groups, section.test_groups), paths(section.groups, section.test_groups)
    inputs = [path(s) for s in config.symbols for path in (layout.features, layout.labels, layout.merged)]
    models = [f"{label}_{algorithm.name}" for label in labels for algorithm in config.train.algorithms]
    check_intervals(config, models)
    models += second_columns(config) if second_labels(config) else []
    return Plan(
        "cross-validate",
        inputs,
        [layout.cpcv],
        sum(count_rows(layout.features(symbol), "features") for symbol in config.symbols),
        [*models, "group", "split"],
        [f"{len(names)} features; {len(splits)} splits, {len(table)} paths, {len(splits) * len(models)} fits"],
    )


def run(config: Config, layout: Layout) -> Summary:
    """Fit and score every split, put the scores together to paths, trade each, and replace cpcv/.

    Splits whose models an interrupted run has fitted already are not fitted again.
    """
    from pipeline.features import window_lengths

    plan(config, layout)
    names, labels = feature_columns(config, layout), label_columns(config, layout)
    every = [*labels, *second_labels(config)]
    samples = read_samples(config, layout, names, every, window_lengths(config))
    section = config.cross_validation
    edges = _edges(config, samples)
    groups = group_of(samples.times, edges)
    splits = combinations(section.groups, section.test_groups)
    rows = {(one.number, label): _rows(config, samples, label, groups, one) for one in splits for label in every}
    table = paths(section.groups, section.test_groups)
    key = content_key(config, layout, ("cross_validation", *second_sections(config)), names, labels)
    kept = folder_of(layout.run / ".splits", key)
    scores = _fit_all(config, samples, groups, splits, table, rows, labels, kept)
    report: dict[str, Any] = {
        "interval": config.interval,
        "groups": section.groups,
        "test_groups": section.test_groups,
        "embargo_bars": config.bars(section.embargo),
        "bins": section.bins,
        "edges": [iso(int(edge)) for edge in edges],
        "splits": [_describe_split(samples, labels, groups, one, rows) for one in splits],
        "paths": [],
    }

    def fill(folder: Path) -> None:
        with progress("cross-validate: paths", len(table)) as advance:
            for number, of_group in enumerate(table):
                here = PathLayout.of(layout, folder / f"path-{number}")
                on_path = {name: values[number] for name, values in scores.items()}
                _write_scores(config, layout, here, samples, groups, of_group, on_path)
                judged = judged_rows(config, samples, on_path)
                found = {name: _score(samples, name, values, judged.get(name)) for name, values in on_path.items()}
                path = {"path": number, "splits": of_group.tolist(), "scores": found}
                report["paths"].append(path | trade_path(config, here))
                advance(1, f"path {number}")
        report["distribution"] = distribution(report["paths"], SCORES)
        write_json(folder / "paths.json", report)

    replace_folder(layout.cpcv, fill)
    shutil.rmtree(layout.run / ".splits", ignore_errors=True)
    _record(config, layout, report)
    return _summary(layout, report)


def _edges(config: Config, samples: Samples) -> Indices:
    section = config.cross_validation
    first, last = int(samples.times.min()), int(samples.times.max()) + samples.step_ms
    if section.start:
        first = max(first, first - (first - utc_ms(section.start)) // samples.step_ms * samples.step_ms)
    if section.end:
        last = min(last, utc_ms(section.end))
    bars = max((last - first) // samples.step_ms, 0)
    if bars < section.groups:
        raise BadInput(
            f"cross_validation: {bars:,} bars between {iso(first)} and {iso(last)} are too few for "
            f"{section.groups} groups",
            "choose another start or end, fewer groups, or download more bars",
        )
    return group_edges(first, last, samples.step_ms, section.groups)


def _rows(config: Config, samples: Samples, label: str, groups: Indices, split: Combination) -> Indices:
    target = samples.targets[label]
    end_ms = np.where(target.known, target.end_ms, samples.times) + samples.step_ms
    intervals = np.column_stack([samples.times, end_ms])
    embargo = config.bars(config.cross_validation.embargo) * samples.step_ms
    return np.flatnonzero(training_rows(intervals, groups, split.test, samples.trainable & target.known, embargo))


def _fit_all(
    config: Config,
    samples: Samples,
    groups: Indices,
    splits: list[Combination],
    table: Indices,
    rows: dict[tuple[int, str], Indices],
    labels: list[str],
    kept: Path,
) -> dict[str, Floats]:
    # Scores by model, [paths, n]; NaN outside of all groups.
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    from pipeline.models.fitting import binned_rows
    from pipeline.stages.window_fit import selects

    workers = config.workers or os.cpu_count() or 1
    wanted = [(one, label, a) for one in splits for label in labels for a in config.train.algorithms]
    scores = {f"{label}_{a.name}": np.full((len(table), len(groups)), np.nan) for _, label, a in wanted}
    missing = []
    for one, label, algorithm in wanted:
        name = f"{label}_{algorithm.name}"
        done = read_kept(kept, one.number, name, int(np.isin(groups, one.test).sum()))
        if done is None:
            missing.append((one, label, algorithm))
        else:
            _place(scores[name], done["score"], one, groups, table)
    second = list(second_columns(config))
    unjudged = [one for one in splits if not _read_judged(kept, one, groups, table, second, scores)]
    binned: dict[str, Any] = {}
    if (missing or unjudged) and config.cross_validation.bins == "shared" and not selects(config):
        seen = np.flatnonzero(samples.trainable & (groups >= 0))
        binned = binned_rows(samples, config.train.algorithms, seen, workers)
    tasks = (
        delayed(_fit_one)(
            config, samples, binned, label, algorithm, rows[one.number, label], groups, one,
            lambda values, number=one.number, name=f"{label}_{algorithm.name}": keep(
                kept, number, name, {"score": values}
            ),
        )
        for one, label, algorithm in missing
    )  # fmt: skip
    with threadpool_limits(1, user_api="blas"), progress("cross-validate", len(missing)) as advance:
        results = Parallel(workers, prefer="threads", return_as="generator")(tasks)
        for (one, label, algorithm), values in zip(missing, results, strict=True):
            _place(scores[f"{label}_{algorithm.name}"], values, one, groups, table)
            advance(1, f"split {one.number}")
    if unjudged:
        _judge(config, samples, binned, groups, unjudged, table, rows, scores, kept)
    return scores


def _read_judged(
    kept: Path, split: Combination, groups: Indices, table: Indices, second: list[str], scores: dict[str, Floats]
) -> bool:
    # Whether there is nothing left to do for the second stage of a split, after what is kept has been put in place.
    if not second:
        return True
    done = read_kept(kept, split.number, "second", int(np.isin(groups, split.test).sum()))
    for name in second:
        scores.setdefault(name, np.full((len(table), len(groups)), np.nan))
        if done is not None:
            _place(scores[name], done[name], split, groups, table)
    return done is not None


def _judge(
    config: Config,
    samples: Samples,
    binned: dict[str, Any],
    groups: Indices,
    splits: list[Combination],
    table: Indices,
    rows: dict[tuple[int, str], Indices],
    scores: dict[str, Floats],
    kept: Path,
) -> None:
    # The second stage of each split, from its training groups alone.
    with progress("cross-validate: second stage", len(splits)) as advance:
        for one in splits:
            tested = np.isin(groups, one.test)
            allowed = {label: chosen for (split, label), chosen in rows.items() if split == one.number}
            region = ~tested & (groups >= 0)
            test = np.flatnonzero(tested)
            path = np.argmax(table == one.number, axis=0)[groups[test]]
            for name, judge in fit_second(config, samples, binned, allowed, region, f"split {one.number}").items():
                first = {read: scores[read][path, test] for read in judge.reads}
                scores[name][path, test] = judge.predict_rows(samples.features, test, first)
            keep(kept, one.number, "second", {name: scores[name][path, test] for name in second_columns(config)})
            advance(1, f"split {one.number}")


def _fit_one(
    config: Config,
    samples: Samples,
    shared: dict[str, Any],
    label: str,
    algorithm: Algorithm,
    rows: Indices,
    groups: Indices,
    split: Combination,
    keep_them: Callable[[Floats], None],
) -> Floats:
    from pipeline.models.fitting import binned_rows, check_target
    from pipeline.stages.window_fit import columns_of, fit_window, select_features, selects

    where = f"split {split.number}"
    check_target(label, samples.targets[label].values[rows], samples.targets[label].is_bool, where)
    columns = columns_of(select_features(config, samples, label, rows, where))
    binned = shared.get(algorithm.name)
    if binned is None and not selects(config):
        binned = binned_rows(samples, [algorithm], rows, 1).get(algorithm.name)
    model = fit_window(config, samples, binned, label, algorithm, rows, columns, where)
    values = model.predict_rows(samples.features, np.flatnonzero(np.isin(groups, split.test)))
    keep_them(values)
    return values


def _place(scores: Floats, values: Floats, split: Combination, groups: Indices, table: Indices) -> None:
    # Each tested group of a split belongs to one path.
    tested = groups[np.isin(groups, split.test)]
    for group in split.test:
        path = int(np.flatnonzero(table[:, group] == split.number)[0])
        scores[path, groups == group] = values[tested == group]


def _write_scores(
    config: Config,
    layout: Layout,
    here: PathLayout,
    samples: Samples,
    groups: Indices,
    of_group: Indices,
    scores: dict[str, Floats],
) -> None:
    for number, symbol in enumerate(config.symbols):
        rows = np.flatnonzero((samples.symbols == number) & (groups >= 0))
        if not len(rows):
            raise BadInput(f"cross_validation: {symbol} has no bar between start and end")
        columns: dict[str, Any] = {"open_time": candles.time_array(samples.times[rows])}
        own = {name: values[rows] for name, values in scores.items()}
        first = {name: values for name, values in own.items() if name not in second_columns(config)}
        ranges, _ = interval_columns(config, layout, symbol, samples.times[rows], first)
        columns |= own | ranges
        columns |= {"group": groups[rows].astype(np.int32), "split": of_group[groups[rows]].astype(np.int32)}
        write_table(here.rolling(symbol), pa.table(columns))


def _score(samples: Samples, name: str, values: Floats, inside: npt.NDArray[np.bool_] | None = None) -> dict[str, Any]:
    from pipeline.evaluation.scores import label_scores

    target = samples.targets[name.rsplit("_", 1)[0]]
    rows = target.known & np.isfinite(values)
    rows = rows if inside is None else rows & inside
    return label_scores(target.values[rows] > 0 if target.is_bool else target.values[rows], values[rows])


def _describe_split(
    samples: Samples, labels: list[str], groups: Indices, split: Combination, rows: dict[tuple[int, str], Indices]
) -> dict[str, Any]:
    outside = ~np.isin(groups, split.test) & (groups >= 0) & samples.trainable
    used = {label: len(rows[split.number, label]) for label in labels}
    legal = {label: int((outside & samples.targets[label].known).sum()) for label in labels}
    return {
        "split": split.number,
        "test_groups": list(split.test),
        "train_rows": used,
        "purged": {label: legal[label] - used[label] for label in labels},
        "test_rows": int(np.isin(groups, split.test).sum()),
    }


def _record(config: Config, layout: Layout, report: dict[str, Any]) -> None:
    # Each model of each split is a fit; its score is that of the paths it is on, so none is told for it alone.
    from pipeline.stages.trials import record

    inputs = [path(symbol) for symbol in config.symbols for path in (layout.features, layout.labels)]
    models = list(report["paths"][0]["scores"])
    rows: list[tuple[dict[str, Any], int, str, float | None]] = [
        ({"model": name, "split": one["split"], "groups": report["groups"]}, 1, "auc", None)
        for one in report["splits"]
        for name in models
    ]
    record(config, layout, "fold", (*SECTIONS, *second_sections(config)), inputs, rows, report["edges"][-1])


def _summary(layout: Layout, report: dict[str, Any]) -> Summary:
    summary = Summary("cross-validate", [layout.cpcv / "paths.json"], next="pipeline output")
    summary.figures["splits, paths"] = f"{len(report['splits'])}, {len(report['paths'])}"
    summary.figures["range"] = f"{report['edges'][0][:10]} to {report['edges'][-1][:10]}"
    summary.figures["purged"] = max(count for one in report["splits"] for count in one["purged"].values())
    for name, spreads in report["distribution"]["scores"].items():
        metric = "auc" if "auc" in spreads else "r2"
        summary.figures[name] = f"{metric.upper()} {_range(spreads[metric])}"
    for metric in ("sharpe", "total_return", "max_drawdown"):
        if (found := report["distribution"]["trading"].get(metric)) is not None:
            summary.figures[metric.replace("_", " ")] = _range(found, ".4g" if metric == "sharpe" else "+.2%")
    if not report["distribution"]["trading"]:
        summary.warnings.append("signals.steps is empty: the paths are scored, not traded")
    return summary


def _range(found: dict[str, float | None], shape: str = ".4g") -> str:
    if found["median"] is None:
        return "not defined on any path"
    median, low, high = (format(found[key], shape) for key in ("median", "p5", "p95"))
    return f"{median} (5-95 % of the paths: {low} to {high})"
