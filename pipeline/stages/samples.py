"""Reads features, labels and made-up bars into the rows that models learn from."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Layout, read_schema, read_table
from pipeline.config import Config
from pipeline.config.meta import first_labels
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.models.samples import Samples, Target
from pipeline.models.weights import Weighting


def feature_columns(config: Config, layout: Layout) -> list[str]:
    """Feature columns that `train.features` and `train.exclude` choose, in the table's order.

    Raises BadInput: none is left.
    """
    present = [
        name for name in read_schema(layout.features(config.symbols[0]), "features").names if name != "open_time"
    ]
    wanted, excluded = config.train.features, config.train.exclude
    chosen = [
        name
        for name in present
        if any(fnmatch.fnmatchcase(name, p) for p in wanted) and not any(fnmatch.fnmatchcase(name, p) for p in excluded)
    ]
    if not chosen:
        raise BadInput(f"train.features {wanted} without train.exclude {excluded}: no feature column is left")
    return chosen


def label_columns(config: Config, layout: Layout) -> list[str]:
    """Label columns to learn. Raises BadInput: `train.labels` names one that the table does not have."""
    path = layout.labels(config.symbols[0])
    names = read_schema(path, "labels").names
    present = [name for name in names if f"{name}_end" in names]
    for label in config.train.labels:
        if label not in present:
            raise BadInput(f"{path}: no label '{label}'", f"it has: {', '.join(present)}; run `pipeline labels` again")
    return list(config.train.labels) or first_labels(config, present)


def read_samples(
    config: Config, layout: Layout, names: list[str], labels: list[str], windows: Sequence[int]
) -> Samples:
    """All rows of all symbols whose features are finite, with their labels.

    windows: bars that features are made of; rows at which too large a share of any is made up do not train.
    Columns are read one at a time into one matrix, so that they are in memory once.
    Raises BadInput: features and bars do not have the same rows, or a feature is never finite.
    """
    finite = [_finite_rows(layout.features(symbol), names) for symbol in config.symbols]
    total = sum(int(mask.sum()) for mask in finite)
    features = np.empty((len(names), total), np.float32)
    parts: list[dict[str, npt.NDArray]] = []
    targets: dict[str, list[Target]] = {label: [] for label in labels}
    start = 0
    for number, (symbol, mask) in enumerate(zip(config.symbols, finite, strict=True)):
        rows = np.flatnonzero(mask)
        file = pq.ParquetFile(layout.features(symbol))
        for j, name in enumerate(names):
            features[j, start : start + len(rows)] = _column(file, name)[rows]
        times = candles.times_ms(read_table(layout.features(symbol), "features", ["open_time"]))
        made_up, dominated = _filled(layout.merged(symbol), times, windows, config.train.max_filled_in_window)
        parts.append(
            {
                "times": times[rows],
                "symbols": np.full(len(rows), number, np.int32),
                "rows": rows,
                "made_up": made_up[rows],
                "dominated": dominated[rows],
            }
        )
        for label, target in _read_targets(layout.labels(symbol), labels, times, rows).items():
            targets[label].append(target)
        start += len(rows)
    joined = {key: _joined([part.pop(key) for part in parts]) for key in list(parts[0])}
    # Arrow keeps what it has freed; the fits that follow need it.
    pa.default_memory_pool().release_unused()
    return Samples(
        names,
        features.T,
        joined["times"],
        joined["symbols"],
        joined["rows"],
        ~joined["made_up"] & ~joined["dominated"],
        {label: _join(target) for label, target in targets.items()},
        config.step_ms,
        {
            "warming up": sum(len(mask) for mask in finite) - total,
            "made up": int(joined["made_up"].sum()),
            "look back on made-up bars": int((joined["dominated"] & ~joined["made_up"]).sum()),
        },
        _weighting(config),
    )


def _weighting(config: Config) -> Weighting:
    weights = config.train.weights
    oldest, half_life = (None, None) if weights.decay is None else (weights.decay.linear, weights.decay.half_life)
    half_life_ms = None if half_life is None else config.bars(half_life) * config.step_ms
    return Weighting(weights.uniqueness, weights.bootstraps, oldest, half_life_ms)


def _finite_rows(path: Path, names: list[str]) -> npt.NDArray[np.bool_]:
    missing = [name for name in names if name not in read_schema(path, "features").names]
    if missing:
        raise BadInput(f"{path}: no feature '{missing[0]}'", "run `pipeline features` again")
    file = pq.ParquetFile(path)
    mask = np.ones(file.metadata.num_rows, bool)
    for name in names:
        known = np.isfinite(_column(file, name))
        if not known.any():
            raise BadInput(
                f"{path}: feature '{name}' has no value on any row", "its window is longer than the data: shorten it"
            )
        mask &= known
    if not mask.any():
        raise BadInput(
            f"{path}: no row has all {len(names)} features", "the data are shorter than the longest look-back"
        )
    return mask


def _column(file: pq.ParquetFile, name: str) -> npt.NDArray[np.float32]:
    column = file.read([name], use_threads=False).column(name).combine_chunks()
    return pc.cast(column, pa.float32()).to_numpy(zero_copy_only=False)


def _filled(
    path: Path, times: npt.NDArray[np.int64], windows: Sequence[int], limit: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    # Made-up rows, and rows at which one of the windows holds a larger share of made-up rows than `limit`: after an
    # outage the short ones hold nothing else, however small its share of the longest.
    bars = read_table(path, "merge", ["open_time", "is_filled"])
    if bars.num_rows != len(times) or not np.array_equal(candles.times_ms(bars), times):
        raise BadInput(
            f"{path}: has other rows than its features", "run `pipeline features` and `pipeline labels` again"
        )
    made_up = bars.column("is_filled").combine_chunks().to_numpy(zero_copy_only=False).astype(bool)
    count = np.concatenate([[0], np.cumsum(made_up)])
    dominated = np.zeros(len(times), np.bool_)
    for window in sorted({min(length, len(times)) for length in windows}):
        first = np.maximum(np.arange(len(times)) + 1 - window, 0)
        dominated |= (count[1:] - count[first]) / window > limit
    return made_up, dominated


def _read_targets(
    path: Path, labels: list[str], times: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> dict[str, Target]:
    targets = {}
    for label in labels:
        table = read_table(path, "labels", ["open_time", label, f"{label}_end"])
        if table.num_rows != len(times) or not np.array_equal(candles.times_ms(table), times):
            raise BadInput(f"{path}: has other rows than the features", "run `pipeline labels` again")
        column = table.column(label).combine_chunks()
        known = pc.is_valid(column).to_numpy(zero_copy_only=False)
        is_bool = pa.types.is_boolean(column.type)
        number = pc.fill_null(pc.cast(pc.cast(column, pa.int8()) if is_bool else column, pa.float64()), 0.0)
        end = pc.fill_null(pc.cast(table.column(f"{label}_end").combine_chunks(), pa.int64()), 0)
        targets[label] = Target(
            number.to_numpy(zero_copy_only=False)[rows], known[rows], end.to_numpy(zero_copy_only=False)[rows], is_bool
        )
    return targets


def _joined(arrays: list[npt.NDArray]) -> npt.NDArray:
    # Without a copy where there is one symbol.
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _join(targets: list[Target]) -> Target:
    return Target(
        _joined([t.values for t in targets]),
        _joined([t.known for t in targets]),
        _joined([t.end_ms for t in targets]),
        targets[0].is_bool,
    )
