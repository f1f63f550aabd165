"""`pipeline predict-rolling`: every block scored by models that were trained only on what came before it."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import Layout, count_rows, write_json, write_table
from pipeline.config import Config
from pipeline.config.meta import second_columns
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.models.samples import Samples
from pipeline.models.selection import Selected
from pipeline.stages.blocks import Block, Scorer, block_rows, make_blocks, scorers
from pipeline.stages.calibrating import add_uncalibrated, calibrates
from pipeline.stages.fold_selection import add_selection, choose_by_block
from pipeline.stages.intervals import Coverage, add_coverage, check_intervals, interval_columns
from pipeline.stages.kept_scores import content_key, folder_of, keep, read_kept
from pipeline.stages.null_run import null_auc
from pipeline.stages.reporting import Plan, Summary, progress
from pipeline.stages.samples import feature_columns, label_columns, read_samples
from pipeline.stages.second_stage import fit_second, judged_rows, second_labels, second_sections
from pipeline.stages.times import iso
from pipeline.stages.train import describe_scores
from pipeline.stages.window_fit import fit_window, selects

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# Not a score of the config's: a column of them ends so while they are compared.
UNCALIBRATED = " uncalibrated"


def plan(config: Config, layout: Layout) -> Plan:
    """Check that features and labels are there and long enough for one block."""
    from pipeline.models.parameters import check_parameters

    check_parameters(config.train.algorithms)
    names, labels = feature_columns(config, layout), label_columns(config, layout)
    rows = sum(count_rows(layout.features(symbol), "features") for symbol in config.symbols)
    inputs = [path(s) for s in config.symbols for path in (layout.features, layout.labels, layout.merged)]
    outputs = [*(layout.rolling(symbol) for symbol in config.symbols), layout.folds]
    columns = [f"{label}_{a.name}" for label in labels for a in config.train.algorithms]
    check_intervals(config, columns)
    columns += second_columns(config) if second_labels(config) else []
    return Plan("predict-rolling", inputs, outputs, rows, [*columns, "fold"], [f"{len(names)} features"])


def run(config: Config, layout: Layout) -> Summary:
    """Walk forward over all blocks; blocks that an interrupted run has finished are not computed again."""
    from pipeline.features import window_lengths

    names, labels = feature_columns(config, layout), label_columns(config, layout)
    samples = read_samples(config, layout, names, [*labels, *second_labels(config)], window_lengths(config))
    blocks = make_blocks(config, samples)
    key = content_key(config, layout, ("predict_rolling", *second_sections(config)), names, labels)
    kept = folder_of(layout.run / ".folds", key)
    tests = {b.number: np.flatnonzero((samples.times >= b.start) & (samples.times < b.stop)) for b in blocks}
    wanted = scorers(config, labels)
    second = second_columns(config)
    scores, missing = _finished(samples, [*wanted, *second], tests, kept)
    chosen = choose_by_block(config, samples, labels, blocks, kept)
    if missing:
        binned, samples = _binned(config, samples, blocks[0])
        left = [(block, name) for block in blocks for name in missing.get(block.number, []) if name in wanted]
        _walk(config, samples, binned, wanted, chosen, left, scores, tests, kept)
        unjudged = [block for block in blocks if second.keys() & set(missing.get(block.number, []))]
        _judge(config, samples, binned, unjudged, labels, scores, tests, kept)
    by_size = {name: scores.pop(name) for name, scorer in wanted.items() if scorer.size is not None}
    before = {name: scores.pop(f"{name}{UNCALIBRATED}") for name in wanted if f"{name}{UNCALIBRATED}" in scores}
    report = _report(config, samples, labels, blocks, scores)
    add_uncalibrated(report, samples, blocks, {name: before[name] for name in scores if name in before})
    if chosen:
        add_selection(report, config, samples, wanted, chosen, by_size)
    null, no_null = null_auc(config, layout, names, labels, blocks[0].start, blocks[0].stop)
    for name, pooled in report["pooled"].items():
        if null.get(name) is not None:
            pooled["null_auc"] = null[name]
    summary = Summary("predict-rolling", next="pipeline signals", warnings=[no_null] if no_null else [])
    folds = _fold_numbers(samples, blocks)
    coverage: list[dict[str, Coverage]] = []
    for number, symbol in enumerate(config.symbols):
        rows = np.flatnonzero((samples.symbols == number) & (folds >= 0))
        own = {name: values[rows] for name, values in scores.items()}
        ranges, covered = interval_columns(
            config, layout, symbol, samples.times[rows], {name: own[name] for name in wanted if name in own}
        )
        columns = {"open_time": candles.time_array(samples.times[rows]), **own, **ranges, "fold": folds[rows]}
        write_table(layout.rolling(symbol), pa.table(columns))
        coverage.append(covered)
        summary.outputs.append(layout.rolling(symbol))
    summary.figures |= add_coverage(report, coverage)
    write_json(layout.folds, report)
    _record(config, layout, report)
    summary.outputs.append(layout.folds)
    shutil.rmtree(layout.run / ".folds", ignore_errors=True)
    summary.figures["folds"] = len(blocks)
    summary.figures["rows"] = int((folds >= 0).sum())
    summary.figures["range"] = f"{iso(blocks[0].start)[:10]} to {iso(blocks[-1].stop)[:10]}"
    for name, pooled in report["pooled"].items():
        base = f", base rate {pooled['base_rate']:.2%}" if pooled.get("base_rate") is not None else ""
        null_words = f", {pooled['null_auc']:.4f} without direction" if "null_auc" in pooled else ""
        summary.figures[name] = f"{describe_scores(pooled)} out of fold{null_words}{base}"
    return summary


def _record(config: Config, layout: Layout, report: dict[str, Any]) -> None:
    from pipeline.stages.trials import record

    inputs = [path(symbol) for symbol in config.symbols for path in (layout.features, layout.labels)]
    sections = ("symbols", "interval", "seed", "features", "labels", "train", "predict_rolling")
    rows = [
        ({"model": name, "fold": fold["fold"]}, 1, "auc", scores.get("auc"))
        for fold in report["folds"]
        for name, scores in fold["scores"].items()
    ]
    record(config, layout, "fold", (*sections, *second_sections(config)), inputs, rows, report["folds"][-1]["test_end"])


def _finished(
    samples: Samples, names: Iterable[str], tests: dict[int, Indices], kept: Path
) -> tuple[dict[str, Floats], dict[int, list[str]]]:
    # Scores so far, and what is still missing by fold.
    scores = {name: np.full(len(samples.times), np.nan) for name in names}
    missing: dict[int, list[str]] = {}
    for number, test in tests.items():
        for name in names:
            done = read_kept(kept, number, name, len(test))
            if done is None:
                missing.setdefault(number, []).append(name)
            else:
                _put(scores, name, test, done)
    return scores, missing


def _put(scores: dict[str, Floats], name: str, rows: Indices, values: dict[str, Floats]) -> None:
    for kind, own in values.items():
        column = name if kind == "score" else f"{name}{kind}"
        if column not in scores:
            scores[column] = np.full(len(scores[name]), np.nan)
        scores[column][rows] = own


def _binned(config: Config, samples: Samples, block: Block) -> tuple[dict[str, Any], Samples]:
    # Binned rows, and the samples with no more features than are still needed.
    from pipeline.models.fitting import binned_rows, learns_from_bins

    if selects(config):
        return {}, samples
    # Bins come from the first window only: what lies after it is the future of the first block.
    first = np.flatnonzero(samples.trainable & (samples.times >= block.train_start) & (samples.times < block.start))
    if not len(first):
        raise BadInput(
            "predict_rolling: the first training window has no usable row", "start later or download more bars"
        )
    algorithms = config.train.algorithms
    binned = binned_rows(samples, algorithms, first, config.workers or os.cpu_count() or 1)
    # The curves of calibration are fitted on scores of training rows.
    if learns_from_bins(algorithms) and not calibrates(config) and config.meta is None:
        samples = samples.keeping(samples.times >= block.start)
    return binned, samples


def _walk(
    config: Config,
    samples: Samples,
    binned: dict[str, Any],
    columns: dict[str, Scorer],
    chosen: dict[tuple[int, str], Selected],
    missing: list[tuple[Block, str]],
    scores: dict[str, Floats],
    tests: dict[int, Indices],
    kept: Path,
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    def score(task: tuple[Block, str]) -> dict[str, Floats]:
        block, name = task
        return _score_block(
            config, samples, binned.get(columns[name].algorithm.name), columns[name], block,
            chosen.get((block.number, columns[name].label)), tests[block.number],
            lambda values: keep(kept, block.number, name, values),
        )  # fmt: skip

    limits, pool = threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(config.workers or os.cpu_count() or 1)
    with limits, pool, progress("predict-rolling", len(missing)) as advance:
        results = pool.map(score, missing)
        for (block, name), values in zip(missing, results, strict=True):
            _put(scores, name, tests[block.number], values)
            advance(1, f"fold {block.number}")


def _score_block(
    config: Config,
    samples: Samples,
    binned: Any,
    scorer: Scorer,
    block: Block,
    selected: Selected | None,
    test: Indices,
    keep: Callable[[dict[str, Floats]], None],
) -> dict[str, Floats]:
    rows = block_rows(samples, scorer.label, block, config.bars(config.predict_rolling.embargo)).rows
    columns = None
    if selected is not None:
        columns = selected.columns if scorer.size is None else selected.best(scorer.size)
    where = f"fold {block.number}"
    model = fit_window(config, samples, binned, scorer.label, scorer.algorithm, rows, columns, where)
    values = {"score": model.uncalibrated().predict_rows(samples.features, test)}
    if model.curve is not None:
        values = {"score": model.curve.apply(values["score"]), UNCALIBRATED: values["score"]}
    keep(values)
    return values


def _judge(
    config: Config,
    samples: Samples,
    binned: dict[str, Any],
    blocks: list[Block],
    labels: list[str],
    scores: dict[str, Floats],
    tests: dict[int, Indices],
    kept: Path,
) -> None:
    # The second stage of each block, from the block's own training window.
    every, embargo = [*labels, *second_labels(config)], config.bars(config.predict_rolling.embargo)
    with progress("predict-rolling: second stage", len(blocks)) as advance:
        for block in blocks:
            allowed = {label: block_rows(samples, label, block, embargo).rows for label in every}
            region = (samples.times >= block.train_start) & (samples.times < block.start)
            models = fit_second(config, samples, binned, allowed, region, f"fold {block.number}")
            test = tests[block.number]
            for name in second_columns(config):
                values = np.full(len(test), np.nan)
                if (judge := models.get(name)) is not None:
                    first = {read: scores[read][test] for read in judge.reads}
                    values = judge.predict_rows(samples.features, test, first)
                scores[name][test] = values
                keep(kept, block.number, name, {"score": values})
            advance(1, f"fold {block.number}")


def _fold_numbers(samples: Samples, blocks: list[Block]) -> npt.NDArray[np.int32]:
    folds = np.full(len(samples.times), -1, np.int32)
    for block in blocks:
        folds[(samples.times >= block.start) & (samples.times < block.stop)] = block.number
    return folds


def _report(
    config: Config, samples: Samples, labels: list[str], blocks: list[Block], scores: dict[str, Floats]
) -> dict[str, Any]:
    from pipeline.evaluation.scores import label_scores

    embargo = config.bars(config.predict_rolling.embargo)
    # Of the second stage only the bars that have a signal are judged.
    judged = judged_rows(config, samples, scores)

    def scored(name: str, inside: npt.NDArray[np.bool_]) -> dict[str, Any]:
        target = samples.targets[name.rsplit("_", 1)[0]]
        rows = inside & target.known & np.isfinite(scores[name]) & judged.get(name, True)
        return label_scores(target.values[rows] > 0 if target.is_bool else target.values[rows], scores[name][rows])

    folds, everywhere = [], np.zeros(len(samples.times), bool)
    for block in blocks:
        inside = (samples.times >= block.start) & (samples.times < block.stop)
        everywhere |= inside
        used = {label: block_rows(samples, label, block, embargo) for label in labels}
        folds.append(
            {
                "fold": block.number,
                "train_start": iso(block.train_start),
                "train_end": iso(block.start),
                "test_start": iso(block.start),
                "test_end": iso(block.stop),
                "train_rows": max(len(rows.rows) for rows in used.values()),
                "purged": max(rows.purged for rows in used.values()),
                "embargoed": max(rows.embargoed for rows in used.values()),
                "test_rows": int(inside.sum()),
                "scores": {name: scored(name, inside) for name in scores},
            }
        )
    pooled = {name: scored(name, everywhere) for name in scores}
    return {"interval": config.interval, "features": len(samples.names), "folds": folds, "pooled": pooled}
