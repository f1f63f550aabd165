"""`pipeline predict`: scores of the trained bundle, with the rows it learned from marked."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import Layout, count_rows, read_table, write_table
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.stages.intervals import check_intervals, interval_columns
from pipeline.stages.reporting import Plan, Summary
from pipeline.stages.train import describe_scores


def plan(config: Config, layout: Layout) -> Plan:
    """Check that a bundle and features are there."""
    from pipeline.models.bundle import read_manifest

    manifest = read_manifest(layout.trained)
    _require_interval(config, layout, manifest)
    check_intervals(config, list(manifest["models"]))
    return Plan(
        "predict",
        [layout.trained, *(layout.features(symbol) for symbol in config.symbols)],
        [layout.predictions(symbol) for symbol in config.symbols],
        sum(count_rows(layout.features(symbol), "features") for symbol in config.symbols),
        [*manifest["models"], "in_sample"],
    )


def run(config: Config, layout: Layout) -> Summary:
    """Score every symbol, one in memory at a time; NaN where a feature is not finite."""
    import os

    from pipeline.models import bundle

    loaded = bundle.load(layout.trained)
    _require_interval(config, layout, loaded.manifest)
    threads = config.workers or os.cpu_count() or 1
    seen_until = _ms(loaded.manifest["train"]["label_end"])
    summary = Summary("predict", next="pipeline signals --set signals.predictions=predict, or pipeline predict-rolling")
    if _other_features(config, loaded.manifest):
        summary.warnings.append("the features are not those that the models learned from: run `pipeline train`")
    for symbol in config.symbols:
        times = candles.times_ms(read_table(layout.features(symbol), "features", ["open_time"]))
        keep = np.ones(len(times), bool)
        if config.predict.start:
            keep &= times >= utc_ms(config.predict.start)
        if config.predict.end:
            keep &= times < utc_ms(config.predict.end)
        if not keep.any():
            raise BadInput(f"{layout.features(symbol)}: no bar between predict.start and predict.end")
        matrix = np.empty((len(loaded.features), int(keep.sum())), np.float32)
        for j, name in enumerate(loaded.features):
            matrix[j] = candles.column(read_table(layout.features(symbol), "features", [name]), name)[keep]
        times = times[keep]
        finite = np.flatnonzero(np.isfinite(matrix).all(axis=0))
        scores = {}
        for name, model in loaded.models.items():
            scores[name] = np.full(len(times), np.nan)
            scores[name][finite] = model.predict_rows(matrix.T, finite, threads)
        for name, judge in loaded.second.items():
            first = {read: scores[read][finite] for read in judge.reads}
            scores[name] = np.full(len(times), np.nan)
            scores[name][finite] = judge.predict_rows(matrix.T, finite, first)
        in_sample = times <= seen_until
        # Errors on rows that the models learned from are too small to say anything of others.
        fresh = {name: np.where(in_sample, np.nan, scores[name]) for name in loaded.models}
        ranges, _ = interval_columns(config, layout, symbol, times, fresh)
        columns = {"open_time": candles.time_array(times), **scores, **ranges, "in_sample": in_sample}
        write_table(layout.predictions(symbol), pa.table(columns))
        summary.outputs.append(layout.predictions(symbol))
        summary.figures[f"{symbol} rows"] = len(times)
        summary.figures[f"{symbol} in sample"] = int(in_sample.sum())
        _describe(summary, config, layout, symbol, times, scores, in_sample)
    return summary


def _other_features(config: Config, manifest: Mapping[str, Any]) -> bool:
    from pipeline.features import custom_hashes

    declared = config.model_dump(mode="json", exclude_none=True)["features"]
    custom = {name: value for name, value in manifest.get("hashes", {}).items() if name.startswith("custom/")}
    return bool(manifest["config"].get("features") != declared or custom != custom_hashes(config))


def _require_interval(config: Config, layout: Layout, manifest: Mapping[str, Any]) -> None:
    if manifest["interval"] != config.interval:
        raise BadInput(
            f"{layout.trained}: learned from {manifest['interval']} bars, and these are {config.interval} bars",
            "run `pipeline train` again",
        )


def _describe(
    summary: Summary,
    config: Config,
    layout: Layout,
    symbol: str,
    times: npt.NDArray[np.int64],
    scores: dict[str, npt.NDArray[np.float64]],
    in_sample: npt.NDArray[np.bool_],
) -> None:
    # Figures of bars that the models learned from are shown only with the words "in sample".
    from pipeline.evaluation.scores import label_scores

    if not layout.labels(symbol).is_file():
        return
    labels = read_table(layout.labels(symbol), "labels")
    labelled = candles.times_ms(labels)
    place = np.searchsorted(labelled, times)
    if place[-1] >= len(labelled) or not np.array_equal(labelled[place], times):
        summary.warnings.append(f"{layout.labels(symbol)}: has other bars, so the scores are not judged by it")
        return
    for name, score in scores.items():
        label = name.rsplit("_", 1)[0]
        if label not in labels.schema.names:
            continue
        column = labels.column(label).combine_chunks()
        known = pc.is_valid(column).to_numpy(zero_copy_only=False)[place] & np.isfinite(score)
        is_bool = pa.types.is_boolean(column.type)
        values = pc.fill_null(column, False if is_bool else 0.0).to_numpy(zero_copy_only=False)[place]
        for mask, words in ((~in_sample, "out of sample"), (in_sample, "in sample: no evidence")):
            rows = known & mask
            if rows.any():
                shown = describe_scores(label_scores(values[rows], score[rows]))
                summary.figures[f"{symbol} {name}, {words}"] = shown


def _ms(moment: str) -> int:
    return round(dt.datetime.fromisoformat(moment).timestamp() * 1000)
