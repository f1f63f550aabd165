"""The leak detector's checks of whole tables: truncation, future noise, and the online form."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.artifacts import Layout, read_table, write_table
from pipeline.errors import BadInput
from pipeline.evaluation.leaks import online, prefix, truncation
from pipeline.evaluation.leaks.comparing import Question, compare
from pipeline.evaluation.leaks.findings import Check, Finding
from pipeline.market import candles
from pipeline.stages.verify_kept import Effort, Kept, cut_times, scratch
from pipeline.stages.worlds import World, changed, fresh_custom_modules, inside, layout_in, make_world, quick

if TYPE_CHECKING:
    from pipeline.models.bundle import Bundle


def check_worlds(kept: Kept, effort: Effort) -> Iterator[Finding]:
    """Checks 1 and 2 on whole tables: bars, features, labels, predictions of the bundle, and signals."""
    seed = kept.config.seed
    for cut in cut_times(kept, effort.prefixes, seed + 1, in_gap=False):
        with scratch() as folder:
            yield from _made_again(kept, make_world(kept.known_by(cut), kept.layout, folder, cut), "truncation")
    for number, cut in enumerate(cut_times(kept, effort.noises, seed + 2, in_gap=True)):
        with scratch() as folder:
            yield from _made_again(
                kept, make_world(kept.known_by(cut), kept.layout, folder, cut, seed + number), "future noise"
            )


def _made_again(kept: Kept, world: World, check: Check) -> Iterator[Finding]:
    bundle = kept.predicted and kept.bundle
    stages = [*(["labels"] if kept.labelled else []), "features", *(["predict"] if bundle else [])]
    world.run(stages)
    if kept.source == "rolling":
        _copy_scores(kept, world)
    world.run(["signals"])
    for symbol in world.config.symbols:
        yield from _compare_symbol(kept, world, symbol, check, bundle)


def compare_made(kept: Kept, world: World, symbol: str, check: Check) -> Iterator[Finding]:
    """What the config makes of bars alone, in a world and in the files: merged bars, features and labels."""
    bars = _past(world, world.layout.merged(symbol), "merge")
    yield from compare(Question(check, "bars", symbol), kept.bars(symbol), bars, kept.bars(symbol).schema.names[1:])
    whole = read_table(kept.layout.features(symbol), "features")
    again = _past(world, world.layout.features(symbol), "features")
    yield from compare(Question(check, "feature", symbol), whole, again, kept.features)
    if kept.labelled:
        whole = read_table(kept.layout.labels(symbol), "labels")
        again = _past(world, world.layout.labels(symbol), "labels")
        yield from truncation.settled_labels(whole, again, kept.labels, symbol, check)


def _past(world: World, path: Path, stage: str) -> pa.Table:
    return changed(read_table(path, stage), world.config.step_ms, world.cut_ms, None)


def _compare_symbol(kept: Kept, world: World, symbol: str, check: Check, bundle: bool) -> Iterator[Finding]:
    yield from compare_made(kept, world, symbol, check)
    if bundle:
        whole = read_table(kept.layout.predictions(symbol), "predict")
        names = [name for name in whole.schema.names if name not in ("open_time", "in_sample")]
        again = _past(world, world.layout.predictions(symbol), "predict")
        yield from compare(Question(check, "prediction", symbol), whole, again, names)
    whole = read_table(kept.layout.signals(symbol), "signals")
    again = _past(world, world.layout.signals(symbol), "signals")
    yield from compare(Question(check, "signal", symbol), whole, again, kept.signals)
    if kept.source != "rolling" and check == "truncation":
        yield from prefix.columns(whole, again, "signal", kept.signals, symbol)


def _copy_scores(kept: Kept, world: World) -> None:
    # Signals are tried by themselves here: on the scores that there are, cut or disturbed as the bars are.
    for symbol in world.config.symbols:
        table = read_table(kept.layout.rolling(symbol), "predict-rolling")
        part = changed(table, kept.config.step_ms, world.cut_ms, world.noise)
        # A gap at the very end is not filled, so the world's bars can end before the cut.
        last = candles.times_ms(read_table(world.layout.merged(symbol), "merge", ["open_time"]))[-1]
        write_table(world.layout.rolling(symbol), part.filter(pa.array(candles.times_ms(part) <= last)))


def check_windows(kept: Kept, effort: Effort) -> Iterator[Finding]:
    """Check 1 at many rows: features that depend on a window, from nothing but that window."""
    from pipeline.features import compute, feature_names, lookback_bars

    config = truncation.windowed(quick(kept.config))
    if config is None:
        return
    custom = any(entry.custom for entry in config.features)
    length, names = lookback_bars(config), feature_names(config)
    count = effort.custom_windows if custom else effort.windows
    for number, symbol in enumerate(kept.config.symbols):
        bars = kept.bars(symbol)
        whole = read_table(kept.layout.features(symbol), "features")
        around = np.flatnonzero(candles.column(bars, "volume") == 0)
        filled = bars.column("is_filled").to_numpy()
        share = max(count // len(kept.config.symbols), 3)
        for row in truncation.cut_rows(filled, length - 1, share, config.seed + number, around):
            part = bars.slice(row + 1 - length, length)
            with scratch() as folder:
                if custom:
                    _write_window(kept, symbol, part, layout_in(kept.layout, folder))
                with inside(folder), fresh_custom_modules(config):
                    again = compute(config, part).slice(length - 1, 1)
            yield from compare(Question("truncation", "feature", symbol), whole, again, names)


def _write_window(kept: Kept, symbol: str, bars: pa.Table, layout: Layout) -> None:
    # For a custom feature that reads them where the project has them.
    from pipeline.labels import compute

    write_table(layout.merged(symbol), bars)
    if kept.labelled:
        try:
            write_table(layout.labels(symbol), compute(kept.config, bars))
        except BadInput:
            return  # the window is shorter than a horizon: nothing was known of any label


def check_online(kept: Kept, effort: Effort) -> Iterator[Finding]:
    """Check 3: features, scores and signals bar by bar, each span opened anew as after a restart."""
    from pipeline.features import lookback_bars

    config = quick(kept.config)
    for number, symbol in enumerate(config.symbols):
        bars, whole = kept.bars(symbol), read_table(kept.layout.features(symbol), "features")
        n = bars.num_rows
        length = min(effort.streamed // len(config.symbols) + 1, n // 4)
        filled = bars.column("is_filled").to_numpy()
        first = min(max(lookback_bars(config), 1), n - length - 1)
        starts = truncation.cut_rows(filled[: n - length], first, effort.spans - 1, config.seed + 3 + number)
        spans = sorted({*starts[: effort.spans - 1], n - length})
        with fresh_custom_modules(config):
            yield from online.features(config, bars, whole, [(s, s + length) for s in spans], symbol)
        if kept.bundle:
            yield from _online_scores(kept, whole, spans, length, symbol)
        yield from _online_signals(kept, bars, symbol, effort.signal_rows)


def _online_scores(kept: Kept, features: pa.Table, spans: list[int], length: int, symbol: str) -> Iterator[Finding]:
    from pipeline.live.scoring import row_scorer
    from pipeline.models import bundle

    loaded = bundle.load(kept.layout.trained)
    names = loaded.features
    scorers = {name: row_scorer(model, len(names)) for name, model in loaded.models.items()}
    for start in spans:
        part = features.slice(start, length)
        whole = _scored(kept, loaded, part, symbol)
        own, times = candles.times_ms(part), candles.times_ms(whole)
        part = part.filter(pa.array((own >= times[0]) & (own <= times[-1])))
        if part.num_rows:
            yield from online.scores(scorers, part, whole, names, symbol)


def _scored(kept: Kept, loaded: "Bundle", features: pa.Table, symbol: str) -> pa.Table:
    # Scores of a table of rows: the file's, or where `predict` has not run, by the same call that it makes.
    if kept.predicted:
        return read_table(kept.layout.predictions(symbol), "predict")
    matrix = np.column_stack([candles.column(features, name).astype(np.float32) for name in loaded.features])
    known = np.flatnonzero(np.isfinite(matrix).all(axis=1))
    columns: dict[str, Any] = {"open_time": features.column("open_time")}
    for name, model in loaded.models.items():
        columns[name] = np.full(len(matrix), np.nan)
        columns[name][known] = model.predict_rows(matrix, known)
    return pa.table(columns)


def _online_signals(kept: Kept, bars: pa.Table, symbol: str, rows: int) -> Iterator[Finding]:
    _, predictions = kept.predictions(symbol)
    whole = read_table(kept.layout.signals(symbol), "signals").slice(0, rows)
    times = candles.times_ms(whole)
    own, grid = candles.times_ms(predictions), candles.times_ms(bars)
    place = np.searchsorted(own, times)
    there = place < len(own)
    there[there] = own[place[there]] == times[there]
    # Bars without a prediction have none, as in the signals stage.
    names = [n for n in predictions.schema.names if n not in ("open_time", "fold", "in_sample")]
    given = {n: np.where(there, candles.column(predictions, n)[np.minimum(place, len(own) - 1)], np.nan) for n in names}
    filled = bars.column("is_filled").to_numpy()[np.searchsorted(grid, times)]
    table = pa.table({"open_time": whole.column("open_time"), **given})
    kept_columns = whole.select([n for n in whole.schema.names if n != "in_sample"])
    yield from online.signals(kept.config, table, filled, kept_columns, len(times) // 2, symbol)
