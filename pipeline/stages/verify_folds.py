"""The leak detector's checks of what was learnt and traded: overlap, shuffled labels, and stability of the past."""

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Layout, read_json, read_table, write_table
from pipeline.errors import BadInput
from pipeline.evaluation.leaks import overlap, prefix, shuffled_labels
from pipeline.evaluation.leaks.findings import Finding
from pipeline.market import candles
from pipeline.models.samples import Samples
from pipeline.stages.times import iso
from pipeline.stages.verify_kept import Effort, Kept, scratch
from pipeline.stages.verify_tables import compare_made
from pipeline.stages.worlds import World, changed, layout_in, make_world, quick

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def check_overlap(kept: Kept) -> Iterator[Finding]:
    """Check 5 on every fold of folds.json, and on what the bundle's models learned from."""
    from pipeline.features import window_lengths
    from pipeline.stages.samples import feature_columns, label_columns, read_samples
    from pipeline.stages.second_stage import second_labels

    config, layout = kept.config, kept.layout
    names, labels = feature_columns(config, layout), label_columns(config, layout)
    every = [*labels, *second_labels(config)]
    samples = read_samples(config, layout, names, every, window_lengths(config))
    if kept.rolling:
        yield from _folds(kept, samples, labels, every)
    if kept.bundle:
        yield from _bundle(kept, samples, every)


def _folds(kept: Kept, samples: Samples, labels: list[str], every: list[str]) -> Iterator[Finding]:
    # labels: whose rows folds.json counts; every: with those of the second stage.
    from pipeline.stages import blocks

    config = kept.config
    embargo = config.bars(config.predict_rolling.embargo)
    assert kept.folds is not None
    tested = _tested(kept)
    walked = {block.number: block for block in blocks.make_blocks(config, samples)}
    for fold in kept.folds["folds"]:
        number = int(fold["fold"])
        train = (_ms(fold["train_start"]), _ms(fold["train_end"]))
        test = (_ms(fold["test_start"]), _ms(fold["test_end"]))
        scored = tested.get(number, np.empty(0, np.int64))
        outside = int(np.count_nonzero((scored < test[0]) | (scored >= test[1])))
        note = "rows were scored that do not lie in the test block of folds.json" if outside else ""
        yield Finding("overlap", "fold", f"test rows fold {number}", (), len(scored), outside, 0, note)
        legal = 0
        for label in every:
            rows = np.flatnonzero(samples.trainable & samples.targets[label].known)
            intervals = samples.intervals(label, rows)
            inside = (samples.times[rows] >= train[0]) & (samples.times[rows] < train[1])
            guarded = np.array([[test[0] - embargo * samples.step_ms, test[1]]])
            if label in labels:
                legal = max(legal, int(np.count_nonzero(inside & ~overlap.overlapping(intervals, guarded))))
            if number in walked:
                used = blocks.block_rows(samples, label, walked[number], embargo).rows
                outcomes = _outcomes(samples, label, scored)
                yield overlap.training_rows(label, number, samples.intervals(label, used), outcomes)
        yield overlap.declared(fold, "folds.json", legal, (train[0], test[0]), (train[1], test[1]))


def _tested(kept: Kept) -> dict[int, Ints]:
    # Times of the rows that each fold really scored.
    found: dict[int, list[Ints]] = {}
    for symbol in kept.config.symbols:
        table = read_table(kept.layout.rolling(symbol), "predict-rolling", ["open_time", "fold"])
        times, folds = candles.times_ms(table), table.column("fold").to_numpy()
        for number in np.unique(folds):
            found.setdefault(int(number), []).append(times[folds == number])
    return {number: np.concatenate(parts) for number, parts in found.items()}


def _outcomes(samples: Samples, label: str, times: Ints) -> Ints:
    # Intervals of the test rows: their own bar, and the whole of their label's where it is known.
    rows = np.flatnonzero(np.isin(samples.times, times))
    intervals = np.column_stack([samples.times[rows], samples.times[rows] + samples.step_ms])
    known = samples.targets[label].known[rows]
    intervals[known] = samples.intervals(label, rows[known])
    return intervals


def _bundle(kept: Kept, samples: Samples, labels: list[str]) -> Iterator[Finding]:
    # What counts as out of sample, by the bundle's manifest and in the predictions, against its training rows.
    from pipeline.models.bundle import read_manifest
    from pipeline.stages.train import training_rows

    after = _ms(read_manifest(kept.layout.trained)["train"]["label_end"]) + samples.step_ms
    times = [np.array([after], np.int64)]
    for symbol in kept.config.symbols if kept.predicted else ():
        table = read_table(kept.layout.predictions(symbol), "predict", ["open_time", "in_sample"])
        times.append(candles.times_ms(table)[~table.column("in_sample").to_numpy()])
    first = int(np.concatenate(times).min())
    test = np.array([[first, np.iinfo(np.int64).max]])
    for label in labels:
        used = samples.intervals(label, training_rows(kept.config, samples, label))
        met = overlap.overlapping(used, test)
        note = f"training labels reach past {candles.iso(first)}, which counts as out of sample" if met.any() else ""
        yield Finding("overlap", "fold", f"{label} bundle", (), len(used), int(met.sum()), 0, note)


def check_prefix(kept: Kept, effort: Effort) -> Iterator[Finding]:
    """Check 6 on walk-forward predictions and the signals made of them: all of it again, without the last data."""
    assert kept.folds is not None
    config, folds = kept.config, kept.folds["folds"]
    last = folds[min(effort.folds, len(folds) - 1)]
    start, stop = _ms(last["test_start"]), _ms(last["test_end"])
    # In the middle of a block: one that is not whole yet is predicted as well.
    cut = start + max((stop - start) // (2 * config.step_ms), 1) * config.step_ms
    with scratch() as folder:
        world = make_world(kept.known_by(cut), kept.layout, folder, cut)
        world.run(["labels", "features", "predict-rolling", *(["signals"] if kept.source == "rolling" else [])])
        for symbol in world.config.symbols:
            yield from compare_made(kept, world, symbol, "truncation")
            whole = read_table(kept.layout.rolling(symbol), "predict-rolling")
            again = read_table(world.layout.rolling(symbol), "predict-rolling")
            names = [name for name in whole.schema.names if name != "open_time"]
            yield from prefix.columns(whole, again, "prediction", names, symbol)
            if kept.source == "rolling":
                whole = read_table(kept.layout.signals(symbol), "signals")
                again = read_table(world.layout.signals(symbol), "signals")
                yield from prefix.columns(whole, again, "signal", kept.signals, symbol)


def check_trades(kept: Kept) -> Iterator[Finding]:
    """Check 6 on thresholds and trades: the simulation again with the last bars missing, and with others in place."""
    config, simulation = kept.config, kept.layout.simulation
    metrics = read_json(simulation / "metrics.json", "simulate")
    start, bars = _ms(metrics["period"]["start"]), int(metrics["period"]["bars"])
    grid = config.simulate.grid
    split = round(bars * grid.select_on) if grid else round(bars * 0.5)
    after = max((bars - split) // 10, 2)
    # Every symbol shares in the cash, so all of them have to have begun.
    for symbol in config.symbols:
        first = int(candles.times_ms(read_table(kept.layout.signals(symbol), "signals", ["open_time"]))[0])
        after = max(after, (first - start) // config.step_ms + 3 - split)
    for noise, shown in ((None, min(split + after, bars)), (config.seed + 1, split)):
        cut = start + shown * config.step_ms
        with scratch() as folder:
            there = shown if noise is None else bars
            yield from _compare_trades(kept, _simulated(kept, folder, cut, noise, split, there), cut)


def _simulated(kept: Kept, folder: Path, cut: int, noise: int | None, split: int, bars: int) -> Layout:
    from pipeline.trading.gates import gate_columns

    config, layout = quick(kept.config), layout_in(kept.layout, folder)
    paths = [(kept.layout.merged, layout.merged, "merge"), (kept.layout.signals, layout.signals, "signals")]
    if gate_columns(config.risk) or config.simulate.exits.atr is not None:
        paths.append((kept.layout.features, layout.features, "features"))
    for symbol in config.symbols:
        for path, copy, stage in paths:
            write_table(copy(symbol), changed(read_table(path(symbol), stage), config.step_ms, cut, noise))
    if config.simulate.grid is not None:
        # The selection part stays the same bars, whatever share of the history they are.
        grid = config.simulate.grid.model_copy(update={"select_on": split / bars})
        simulate = config.simulate.model_copy(update={"grid": grid})
        config = config.model_copy(update={"simulate": simulate})
    World(config, layout, folder, cut, noise, False).run(["simulate"])
    return layout


def _compare_trades(kept: Kept, other: Layout, cut: int) -> Iterator[Finding]:
    mine, theirs = kept.layout.simulation, other.simulation
    used = [read_json(folder / "metrics.json", "simulate")["thresholds"]["used"] for folder in (mine, theirs)]
    names = [(name, float(value), float(used[1].get(name, np.nan))) for name, value in used[0].items()]
    grids = [_table(folder / "grid.parquet") for folder in (mine, theirs)]
    yield from prefix.choices(grids[0], grids[1], names)
    trades = [_table(folder / "trades.parquet") for folder in (mine, theirs)]
    if trades[0] is not None and trades[1] is not None:
        # What was still open at the cut was closed by it.
        yield prefix.trades(trades[0], trades[1], cut - kept.config.step_ms)


def _table(path: Path) -> pa.Table | None:
    return pq.read_table(path) if path.is_file() else None


def check_shuffled(kept: Kept, effort: Effort) -> Iterator[Finding]:
    """Check 4: the walk-forward on a part of the bars, with labels that belong to others."""
    assert kept.folds is not None
    config, layout = kept.config, kept.layout
    start, step = _ms(kept.folds["folds"][0]["test_start"]), config.step_ms
    first, stop = start - effort.training_bars * step, start + effort.test_bars * step
    labels = {symbol: _part(layout.labels(symbol), "labels", first, stop) for symbol in config.symbols}
    names = [name for name in kept.labels if name in next(iter(labels.values())).schema.names]
    block = _block(labels.values(), names, step)
    rounds: dict[str, list[shuffled_labels.Chance]] = {}
    rows: dict[str, int] = {}
    for number in range(effort.shuffles):
        with scratch() as folder:
            world = _shuffled_world(kept, folder, labels, names, block, (first, start, stop), number)
            try:
                world.run(["predict-rolling"])
            except BadInput as error:
                note = f"not tried: {error.message}"
                yield Finding("shuffled labels", "prediction", "all", tuple(config.symbols), 0, 0, 0, note)
                return
            for symbol in config.symbols:
                for name, scores, values in _out_of_fold(world, symbol, names):
                    rows[name] = rows.get(name, 0) + len(scores)
                    one = shuffled_labels.chance(scores, values, block, config.seed + number)
                    rounds.setdefault(name, []).extend([] if one is None else [one])
    for name, found in rounds.items():
        yield shuffled_labels.finding(name, rows[name] if found else 0, found)


def _shuffled_world(
    kept: Kept, folder: Path, labels: dict[str, pa.Table], names: list[str], block: int,
    range_ms: tuple[int, int, int], number: int,
) -> World:  # fmt: skip
    config, layout = quick(kept.config), layout_in(kept.layout, folder)
    first, start, stop = range_ms
    for place, symbol in enumerate(config.symbols):
        for path, copy, stage in (
            (kept.layout.merged, layout.merged, "merge"),
            (kept.layout.features, layout.features, "features"),
        ):
            write_table(copy(symbol), _part(path(symbol), stage, first, stop))
        seed = config.seed + 1000 * number + place
        write_table(layout.labels(symbol), shuffled_labels.shuffled(labels[symbol], names, block, seed))
    rolling = config.predict_rolling.model_copy(
        update={
            "start": iso(start),
            "end": None,
            "train_length": (start - first) // config.step_ms,
            "prediction_size": max((stop - start) // config.step_ms // 2, 1),
            "steps": 2,
            "window": "sliding",
        }
    )
    return World(config.model_copy(update={"predict_rolling": rolling}), layout, folder, stop, None, False)


def _part(path: Path, stage: str, first: int, stop: int) -> pa.Table:
    table = read_table(path, stage)
    rows = np.searchsorted(candles.times_ms(table), [first, stop])
    return table.slice(int(rows[0]), int(rows[1] - rows[0]))


def _block(tables: Iterable[pa.Table], names: list[str], step: int) -> int:
    # Several times as long as an outcome takes, so that neighbours stay neighbours; and many of them all the same.
    horizons, rows = [10], []
    for table in tables:
        rows.append(table.num_rows)
        for name in names:
            ends = pc.fill_null(table.column(f"{name}_end").cast(pa.int64()), 0).to_numpy()
            known = pc.is_valid(table.column(name)).to_numpy()
            if known.any():
                horizons.append(int(np.median((ends - candles.times_ms(table))[known]) // step))
    return max(min(5 * max(horizons), min(rows) // 40), 1)


def _out_of_fold(world: World, symbol: str, names: list[str]) -> Iterator[tuple[str, Floats, Floats]]:
    scores = read_table(world.layout.rolling(symbol), "predict-rolling")
    labels = read_table(world.layout.labels(symbol), "labels")
    place = np.searchsorted(candles.times_ms(labels), candles.times_ms(scores))
    for column in scores.schema.names:
        label = column.rsplit("_", 1)[0]
        if label not in names or column == "fold":
            continue
        values = candles.column(labels.select([label]).cast(pa.schema([(label, pa.float64())])), label)[place]
        score = candles.column(scores, column)
        known = np.isfinite(values) & np.isfinite(score)
        yield column, score[known], values[known]


def _ms(moment: str) -> int:
    return round(dt.datetime.fromisoformat(moment).timestamp() * 1000)
