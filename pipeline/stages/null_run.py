"""The walk-forward's first block once more, on bars without direction: the null beside each score."""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import Layout, read_table, write_table
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.evaluation.null_model import without_direction
from pipeline.market import candles, merging
from pipeline.models.samples import Samples
from pipeline.stages.samples import read_samples

# Enough to learn what there is; more would cost more than it tells.
MAX_TRAINING_BARS, MAX_TEST_BARS = 60_000, 20_000


def null_auc(
    config: Config, layout: Layout, names: list[str], labels: list[str], start: int, stop: int
) -> tuple[dict[str, float | None], str]:
    """AUC by model on the bars of a block, [start, stop) in ms, and those before it, with signs of returns shuffled.

    The same features, labels, algorithms and purge; the mean over `predict_rolling.null_paths` paths. None where the
    label is a number or has one class. Symbols whose features are not known before the block are left out.
    Returns besides why there is none, if there is none although it was asked for.
    """
    from pipeline.features import feature_names
    from pipeline.labels import label_names

    if not (set(names) <= set(feature_names(config)) and set(labels) <= set(label_names(config))):
        return {}, ""  # columns that the config does not make cannot be made on other bars
    found: dict[str, list[float]] = {}
    for path in range(config.predict_rolling.null_paths):
        with tempfile.TemporaryDirectory(prefix="null-") as folder:
            try:
                scores = _one_path(config, layout, Path(folder), names, labels, (start, stop), path)
            except BadInput as error:
                # The bars about one block can be too few for a horizon for which all bars are enough.
                return {}, f"no null model beside the scores: {error.message}"
            for name, auc in scores.items():
                found.setdefault(name, []).extend([] if auc is None else [auc])
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}, ""


def _one_path(
    config: Config, layout: Layout, folder: Path, names: list[str], labels: list[str], block: tuple[int, int], path: int
) -> dict[str, float | None]:
    from pipeline.features import lookback_bars, window_bars, window_lengths
    from pipeline.stages import features
    from pipeline.stages import labels as label_stage

    start, stop = block
    first = start - (MAX_TRAINING_BARS + lookback_bars(config)) * config.step_ms
    warm = start - window_bars(config) * config.step_ms
    stop = min(stop, start + MAX_TEST_BARS * config.step_ms)
    shuffled = Layout(layout.name, layout.raw, folder / "data", folder / "MODELS")
    for symbol in config.symbols:
        table = read_table(layout.merged(symbol), "merge")
        times = table.column("open_time").to_numpy().astype("datetime64[ms]").astype(np.int64)
        rows = slice(int(np.searchsorted(times, first)), int(np.searchsorted(times, stop)))
        part = table.slice(rows.start, rows.stop - rows.start)
        if part.num_rows and times[rows.start] < warm:
            write_table(shuffled.merged(symbol), null_path(config, part, path))
    symbols = [symbol for symbol in config.symbols if shuffled.merged(symbol).is_file()]
    if not symbols:
        raise BadInput("no symbol has features before the first block")
    config = config.model_copy(update={"symbols": symbols})
    features.run(config, shuffled)
    label_stage.run(config, shuffled)
    samples = read_samples(config, shuffled, names, labels, window_lengths(config))
    return _scores(config, samples, labels, start, stop)


def null_path(config: Config, table: pa.Table, path: int) -> pa.Table:
    """Merged bars without direction; those of `merge.timeframes` are made of the new bars, as merge does."""
    table = without_direction(table, config.seed + path)
    times = candles.times_ms(table)
    for interval in config.merge.timeframes:
        higher = merging.resampled(table, config.interval, interval)
        for name, values in merging.aligned(higher, interval, times, config.interval).items():
            place = table.schema.get_field_index(f"{interval}_{name}")
            table = table.set_column(place, f"{interval}_{name}", pa.array(values))
    return table


def _scores(config: Config, samples: Samples, labels: list[str], start: int, stop: int) -> dict[str, float | None]:
    from pipeline.evaluation.scores import classification_scores
    from pipeline.evaluation.splits import purge
    from pipeline.models.fitting import binned_rows, fit, is_classification
    from pipeline.stages.window_fit import selects

    result: dict[str, float | None] = {}
    past = np.flatnonzero(samples.trainable & (samples.times < start))
    later = samples.times >= start
    if not len(past):
        return result
    binned = {} if selects(config) else binned_rows(samples, config.train.algorithms, past, 0)
    for label in labels:
        target = samples.targets[label]
        rows = np.flatnonzero(samples.trainable & target.known & (samples.times < start))
        rows = rows[purge(samples.intervals(label, rows), np.array([[start, stop]]))]
        test = np.flatnonzero(later & target.known)
        columns = _columns(config, samples, label, rows)
        for algorithm in config.train.algorithms:
            name = f"{label}_{algorithm.name}"
            result[name] = None
            y = target.values[rows]
            if not target.is_bool or not is_classification(algorithm, label, samples) or len(np.unique(y)) < 2:
                continue
            model = fit(samples, binned.get(algorithm.name), label, algorithm, rows, config.seed, columns=columns)
            auc = classification_scores(target.values[test] > 0, model.predict_rows(samples.features, test))["auc"]
            result[name] = None if auc is None else float(auc)
    return result


def _columns(config: Config, samples: Samples, label: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    # Features chosen on these bars too; all of them where nothing can be learned, which is left out below.
    from pipeline.models.fitting import MIN_ROWS
    from pipeline.stages.window_fit import columns_of, select_features

    y = samples.targets[label].values[rows]
    if len(rows) < MIN_ROWS or y.min() == y.max():
        return None
    return columns_of(select_features(config, samples, label, rows, "the first block"))
