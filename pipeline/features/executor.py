"""Runs the blocks of a config: over a table into one matrix, or bar by bar."""

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config, interval_ms
from pipeline.errors import BadInput
from pipeline.features.family import FAMILIES, Columns, Floats, Placed, Stream, Times
from pipeline.features.higher import HigherBar, higher_bars
from pipeline.features.straight import Rows, Straight
from pipeline.features.talib_functions import TalibStream
from pipeline.market import candles


def place(config: Config) -> list[Placed]:
    """All blocks of a config with their final names.

    Raises BadInput: names the entry and what is wrong with it, or a name that is made twice.
    """
    placed: list[Placed] = []
    seen: dict[str, str] = {}
    for number, entry in enumerate(config.features):
        where = f"features[{number}]"
        spec = entry.spec
        timeframe = getattr(spec, "timeframe", None)
        if timeframe and (interval_ms(timeframe) % config.step_ms or interval_ms(timeframe) <= config.step_ms):
            raise BadInput(f"{where}.{entry.kind}.timeframe: {timeframe} is not a longer multiple of {config.interval}")
        prefix = "_".join(part for part in (timeframe, getattr(spec, "prefix", "")) if part)
        try:
            blocks = FAMILIES[entry.kind](spec)
        except BadInput as error:
            raise BadInput(f"{where}.{error.message}", error.hint) from error.__cause__
        for block in blocks:
            names = [f"{prefix}_{name}" if prefix else name for name in block.names]
            for name in names:
                if name in seen:
                    raise BadInput(
                        f"{where}: feature '{name}' is made twice, first by {seen[name]}", "set a prefix on one"
                    )
                seen[name] = where
            placed.append(Placed(block, names, timeframe, f"{where}.{entry.kind}"))
    return placed


def required_columns(placed: Sequence[Placed]) -> list[str]:
    """Bar columns that the blocks read, sorted."""
    return sorted({name for one in placed for name in one.block.inputs})


def read_columns(placed: Sequence[Placed], table: pa.Table, step_ms: int) -> tuple[dict[str, Floats], Times]:
    """The bar columns as contiguous float64.

    Raises BadInput: the bars are no complete grid of the interval; a column is missing, or not finite after its
    first value (TA-Lib would go on with wrong numbers after it).
    """
    times = candles.grid_times_ms(table, step_ms)
    columns: dict[str, Floats] = {}
    for one in placed:
        for name in one.block.inputs:
            if name in columns:
                continue
            if name not in table.schema.names:
                near = difflib.get_close_matches(name, table.schema.names, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"it has: {', '.join(table.schema.names)}"
                raise BadInput(f"{one.where}: the merged table has no column '{name}'", hint)
            values = np.ascontiguousarray(candles.column(table, name))
            hole = _first_hole(values)
            if hole is not None:
                at = np.datetime64(int(times[hole]), "ms")
                raise BadInput(f"column '{name}' is not a finite number at {at}Z", "run `pipeline merge` again")
            columns[name] = values
    return columns, times


def _first_hole(values: Floats) -> int | None:
    # Row of the first value that is not finite although one before it is.
    finite = np.isfinite(values)
    if finite.all():
        return None
    first = int(finite.argmax()) if finite.any() else len(values)
    holes = np.flatnonzero(~finite[first:])
    return first + int(holes[0]) if holes.size else None


def compute(config: Config, table: pa.Table, threads: int | None = None) -> pa.Table:
    """All features over a bar table.

    table: open_time and the columns that the features need, on a complete grid [n].
    threads: TA-Lib and the compiled windows let go of the interpreter; the result does not depend on it.
    Returns open_time and float32 columns [n], views of one matrix; NaN while warming up.
    """
    names = [name for one in place(config) for name in one.names]
    matrix = values(config, table, np.float32, threads)
    return pa.table(
        [candles.time_array(candles.times_ms(table)), *(pa.array(row) for row in matrix)], names=["open_time", *names]
    )


def values(config: Config, table: pa.Table, dtype: type[np.floating], threads: int | None = None) -> npt.NDArray:
    """`compute` as one matrix [k, n]: float64 as the features are computed, float32 as they are kept."""
    placed = place(config)
    columns, times = read_columns(placed, table, config.step_ms)
    matrix = np.empty((sum(len(one.names) for one in placed), len(times)), dtype)
    higher = {one.timeframe: None for one in placed if one.timeframe}
    tables: dict[str | None, tuple[dict[str, Floats], Times]] = {None: (columns, times)}
    lagged: dict[str, npt.NDArray[np.int64]] = {}
    for timeframe in higher:
        assert timeframe is not None
        length = interval_ms(timeframe)
        wanted = {name for one in placed if one.timeframe == timeframe for name in one.block.inputs}
        opens, grouped = higher_bars({n: columns[n] for n in sorted(wanted)}, times, config.step_ms, length)
        tables[timeframe] = (grouped, opens)
        lagged[timeframe] = np.searchsorted(opens + length, times + config.step_ms, side="right") - 1

    starts = {timeframe: _first_rows(own) for timeframe, (own, _) in tables.items()}

    def fill(job: tuple[Placed, int]) -> None:
        one, row = job
        own, own_times = tables[one.timeframe]
        start = max((starts[one.timeframe][name] for name in one.block.inputs), default=0)
        part = {name: own[name][start:] for name in one.block.inputs}
        made = one.block.batch(part, own_times[start:])
        for offset, value in enumerate(made):
            target = matrix[row + offset]
            if one.timeframe is None:
                target[:start] = np.nan
                target[start:] = value
                continue
            full = np.full(len(own_times) + 1, np.nan, dtype)  # the last one answers for "none closed yet"
            full[start:-1] = value
            target[:] = full[lagged[one.timeframe]]

    rows = np.cumsum([0, *(len(one.names) for one in placed)]).tolist()
    jobs = list(zip(placed, rows, strict=False))
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        list(pool.map(fill, jobs))
    return matrix


def _first_rows(columns: Columns) -> dict[str, int]:
    # Row from which each column is known; the number of rows if it never is.
    result = {}
    for name, values in columns.items():
        if not len(values) or np.isfinite(values[0]):
            result[name] = 0
            continue
        finite = np.isfinite(values)
        result[name] = int(finite.argmax()) if finite.any() else len(finite)
    return result


class _Lane:
    # The blocks of one timeframe, each opened at the first row at which its inputs are known.
    def __init__(self, placed: Sequence[Placed], columns: Columns, times: Times) -> None:
        self.placed = placed
        self._streams: list[Stream | None] = []
        starts = _first_rows(columns)
        for one in placed:
            start = max((starts[name] for name in one.block.inputs), default=0)
            part = {name: columns[name][start:] for name in one.block.inputs}
            waiting = bool(one.block.inputs) and start == len(times)
            self._streams.append(None if waiting else one.block.stream(part, times[start:]))

    def straight(self) -> Straight | None:
        """All blocks as instructions, once they are open; they are to be updated by these from then on."""
        streams = [stream for stream in self._streams if stream is not None]
        is_open = len(streams) == len(self.placed) and all(
            stream.is_open for stream in streams if isinstance(stream, TalibStream)
        )
        widths = [len(one.names) for one in self.placed]
        return Straight(streams, required_columns(self.placed), widths) if is_open else None

    def update(self, bar: Mapping[str, float], time_ms: int) -> list[float]:
        """Values of all blocks after a closed bar."""
        result: list[float] = []
        for number, (one, stream) in enumerate(zip(self.placed, self._streams, strict=True)):
            if stream is None:
                if not all(np.isfinite(bar[name]) for name in one.block.inputs):
                    result += [np.nan] * len(one.names)
                    continue
                empty = {name: np.empty(0) for name in one.block.inputs}
                self._streams[number] = one.block.stream(empty, np.empty(0, np.int64))
            result += self._streams[number].update(bar, time_ms)  # type: ignore[union-attr]
        return result


class FeatureStream:
    """Features bar by bar, equal to `compute` over all bars to the last bit.

    history: merged bars from the same first bar that the batch features started at (the origin).
    last_ms: open time of the last bar, which is set by whoever makes the features of the next one by `straight`.
    Raises BadInput: as `compute`; later, if a bar does not follow the one before it, or lacks a number that was known
    before. A bar that is refused changes nothing: the right one can follow.
    """

    def __init__(self, config: Config, history: pa.Table) -> None:
        placed = place(config)
        columns, times = read_columns(placed, history, config.step_ms)
        self._step_ms = config.step_ms
        self.last_ms = int(times[-1])
        # Columns that the features read, and whether a number of them has been seen.
        self._known = {name: bool(np.isfinite(columns[name]).any()) for name in required_columns(placed)}
        self._lanes: list[tuple[str | None, _Lane, HigherBar | None]] = []
        self._held: list[Sequence[float] | Floats] = []
        for timeframe in dict.fromkeys(one.timeframe for one in placed):
            members = [one for one in placed if one.timeframe == timeframe]
            self._held.append([np.nan] * sum(len(one.names) for one in members))
            if timeframe is None:
                self._lanes.append((None, _Lane(members, columns, times), None))
                continue
            # All but the newest higher bars open the streams; the newest one and what follows are replayed.
            length = interval_ms(timeframe)
            names = sorted({name for one in members for name in one.block.inputs})
            opens, grouped = higher_bars({n: columns[n] for n in names}, times, config.step_ms, length)
            done = max(len(opens) - 1, 0)
            lane = _Lane(members, {n: v[:done] for n, v in grouped.items()}, opens[:done])
            self._lanes.append((timeframe, lane, HigherBar(names, config.step_ms, length)))
            since = opens[done - 1] + length if done else int(times[0])
            for row in range(int(np.searchsorted(times, since)), len(times)):
                self._feed(len(self._lanes) - 1, {n: float(columns[n][row]) for n in names}, int(times[row]))
        self.names = [name for one in placed for name in one.names]
        owners = [lane for one in placed for lane in [one.timeframe] * len(one.names)]
        lanes = [timeframe for timeframe, _, _ in self._lanes]
        self._into = [np.array([k for k, owner in enumerate(owners) if owner == lane]) for lane in lanes]
        self._base = lanes.index(None) if None in lanes else None
        # The base lane's instructions, and where among others' they are carried out.
        self.straight: Straight | None = None
        self.seat: tuple[Rows, npt.NDArray[np.int64]] | None = None
        self._straighten()

    def update(self, bar: Mapping[str, float], open_time_ms: int) -> npt.NDArray[np.float32]:
        """Features [k] after a closed bar; the bar has to be the next of the grid."""
        return self.update_exactly(bar, open_time_ms).astype(np.float32)

    def update_exactly(self, bar: Mapping[str, float], open_time_ms: int) -> Floats:
        """`update` before the features are rounded to float32."""
        if open_time_ms != self.last_ms + self._step_ms:
            raise BadInput(f"a bar of {open_time_ms} does not follow {self.last_ms} at steps of {self._step_ms} ms")
        # Before any block has taken the bar: TA-Lib's handles are of no more use after one that they refuse.
        if self._is_whole(bar):
            if self.straight is None:
                self._known = dict.fromkeys(self._known, True)
        else:
            known = {name: math.isfinite(bar.get(name, math.nan)) for name in self._known}
            for name, before in self._known.items():
                if before and not known[name]:
                    raise BadInput(f"column '{name}' is not a finite number at {candles.iso(open_time_ms)}")
            self._known = known
        made = None
        if self.straight is not None and self.seat is not None:
            rows, place_ = self.seat
            made = rows.update(place_, np.array([[bar[name] for name in self.straight.columns]]))[0]
        return self.finished(made, bar, open_time_ms)

    def finished(self, made: Floats | None, bar: Mapping[str, float], open_time_ms: int) -> Floats:
        """Features [k] of a bar of which the instructions, if there are any, have made theirs."""
        self.last_ms = open_time_ms
        for number in range(len(self._lanes)):
            if number == self._base and made is not None and self.straight is not None:
                self.straight.finish(made, bar, open_time_ms)
                self._held[number] = made
            else:
                self._feed(number, bar, open_time_ms)
        if self.straight is None:
            self._straighten()
        if made is not None and len(self._lanes) == 1:
            return made
        result = np.empty(len(self.names))
        for into, held in zip(self._into, self._held, strict=True):
            result[into] = held
        return result

    @property
    def is_whole(self) -> bool:
        """Whether all features are made by instructions."""
        return self.straight is not None and len(self._lanes) == 1 and not self.straight.instructions.places

    def takes(self, bar: Mapping[str, float], open_time_ms: int) -> bool:
        """Whether a bar is the next one and has all its numbers."""
        return open_time_ms == self.last_ms + self._step_ms and self._is_whole(bar)

    def _is_whole(self, bar: Mapping[str, float]) -> bool:
        # One number that is not finite makes the sum another. That of numbers too large is looked at more closely.
        try:
            return math.isfinite(sum([bar[name] for name in self._known]))
        except KeyError:
            return False

    def _straighten(self) -> None:
        # Once all columns are known and all streams open, neither is asked again.
        if self._base is not None and all(self._known.values()):
            self.straight = self._lanes[self._base][1].straight()
            if self.straight is not None:
                self.seat = Rows([self.straight]), np.zeros(1, np.int64)

    def _feed(self, number: int, bar: Mapping[str, float], time_ms: int) -> None:
        _, lane, building = self._lanes[number]
        if building is None:
            self._held[number] = lane.update(bar, time_ms)
            return
        closed = building.add(bar, time_ms)
        if closed is not None:
            self._held[number] = lane.update(*closed)
