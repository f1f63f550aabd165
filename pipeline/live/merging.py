"""The merge stage bar by bar: the complete grid, and beside each bar what else was known when it closed."""

import math
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.config import Config, interval_ms
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.market.candles import COLUMNS, PRICES
from pipeline.market.merging import extra_names
from pipeline.market.timeframes import resample

# A bar's own columns by name, `candles.COLUMNS`.
Bar = Mapping[str, float]


class MergedBar(NamedTuple):
    """A row of the merged table: its columns by name, NaN where not known yet, and whether the bar is made up."""

    open_time_ms: int
    values: Mapping[str, float]
    filled: bool


class Arrivals(NamedTuple):
    """What came in for one bar of the grid, until it closed.

    own: the symbol's bar, None if the exchange has none. others: the reference symbols' bars of the same time.
    higher: bars of higher intervals that closed with it, by interval. rates: funding rates by the time they were
    published at, ms.
    """

    own: Bar | None
    others: Mapping[str, Bar | None] = MappingProxyType({})
    higher: Mapping[str, Bar | None] = MappingProxyType({})
    rates: Iterable[tuple[int, float]] = ()


class MergeStream:
    """Merged bars of one symbol, equal to the merge stage's table to the last bit.

    history: the merged table so far. fetched: higher intervals whose bars are given (the merge stage reads them where
    they were downloaded); the others are made of the symbol's own bars, as there.
    Raises BadInput: the history is empty, lacks a column, or begins inside a higher bar that is still open.
    """

    def __init__(self, config: Config, symbol: str, history: pa.Table, fetched: Collection[str] = ()) -> None:
        merge = config.merge
        self._symbol, self._step_ms, self._references = symbol, config.step_ms, list(merge.symbols)
        times = candles.grid_times_ms(history, self._step_ms)
        extras = extra_names(merge.symbols, merge.timeframes, merge.funding)
        if missing := [name for name in (*COLUMNS, "is_filled", *extras) if name not in history.column_names]:
            raise BadInput(f"{symbol}: the merged bars have no column '{missing[0]}'", "run `pipeline merge` again")
        self._time = int(times[-1])
        last = {name: float(candles.column(history.slice(history.num_rows - 1), name)[0]) for name in extras}
        self._close = float(candles.column(history, "close")[-1])
        self._extras = last
        self._rate_ms = -1
        self._timeframes = [
            _Timeframe(interval, interval_ms(interval), self._step_ms, interval in fetched)
            for interval in merge.timeframes
        ]
        # Whether a bar has nothing beside it.
        self._is_alone = not extras
        for one in self._timeframes:
            if not one.fetched:
                one.open_on(history, times, math.isfinite(last[f"{one.interval}_close"]), symbol)

    def update(self, open_time_ms: int, arrived: Arrivals) -> MergedBar:
        """The merged bar of the next time of the grid.

        Raises BadInput: the time is not the next one. Such a call changes nothing.
        """
        if open_time_ms != self._time + self._step_ms:
            raise BadInput(f"{self._symbol}: a bar of {candles.iso(open_time_ms)} after {candles.iso(self._time)}")
        self._time = open_time_ms
        if self._is_alone and arrived.own is not None:
            self._close = arrived.own["close"]
            return MergedBar(open_time_ms, arrived.own, False)
        filled = arrived.own is None
        values = _flat(self._close) if arrived.own is None else {name: arrived.own[name] for name in COLUMNS}
        self._close = values["close"]
        held = self._extras
        for other in self._references:
            bar = arrived.own if other == self._symbol else arrived.others.get(other)
            _hold(held, other, bar)
        for one in self._timeframes:
            one.add(held, open_time_ms, arrived)
        for published, rate in arrived.rates:
            if self._rate_ms <= published <= open_time_ms + self._step_ms and "funding_rate" in held:
                self._rate_ms, held["funding_rate"] = published, rate
        return MergedBar(open_time_ms, values | held, filled)

    def peek(self, own: Bar) -> MergedBar:
        """Something like the next merged bar, by the code that makes it; nothing changes. Higher intervals stay."""
        twin = copy(self)
        twin._extras, twin._timeframes, twin._references = dict(self._extras), [], []
        return twin.update(self._time + self._step_ms, Arrivals(own))


class _Timeframe:
    # A higher interval: the bars of which its current one is made, unless it is fetched.
    def __init__(self, interval: str, length_ms: int, step_ms: int, fetched: bool) -> None:
        self.interval, self.fetched = interval, fetched
        self._length_ms, self._step_ms = length_ms, step_ms
        self._bars: list[tuple[int, Bar]] = []
        self._whole = True

    def open_on(self, history: pa.Table, times: np.ndarray, known: bool, symbol: str) -> None:
        # The open bar's parts. The merge stage leaves out a first bar whose beginning it does not have.
        begin = (int(times[-1]) + self._step_ms) // self._length_ms * self._length_ms
        if times[0] > begin:
            if known:
                raise BadInput(
                    f"{symbol}: the merged bars begin at {candles.iso(int(times[0]))}, inside the {self.interval} bar"
                    f" of {candles.iso(begin)} that is still open",
                    "give bars from its start on",
                )
            self._whole = False
        rows = np.flatnonzero((times >= begin) & ~history.column("is_filled").to_numpy())
        columns = {name: candles.column(history, name) for name in COLUMNS} if len(rows) else {}
        for row in rows:
            self._bars.append((int(times[row]), {name: float(columns[name][row]) for name in COLUMNS}))

    def add(self, held: dict[str, float], open_time_ms: int, arrived: Arrivals) -> None:
        if arrived.own is not None and not self.fetched:
            self._bars.append((open_time_ms, arrived.own))
        if (open_time_ms + self._step_ms) % self._length_ms:
            return
        bar = arrived.higher.get(self.interval) if self.fetched else self._made()
        _hold(held, self.interval, bar)
        self._bars, self._whole = [], True

    def _made(self) -> Bar | None:
        if not self._bars or not self._whole:
            return None
        # By the table's own function, whose sums depend on how many numbers are added at a time.
        columns = {name: np.array([bar[name] for _, bar in self._bars]) for name in COLUMNS}
        times = np.array([time for time, _ in self._bars], np.int64)
        _, made = resample(columns, times, self._step_ms, self._length_ms)
        return {name: float(values[0]) for name, values in made.items()}


def _flat(close: float) -> dict[str, float]:
    return {name: close if name in PRICES else 0.0 for name in COLUMNS}


def _hold(held: dict[str, float], prefix: str, bar: Bar | None) -> None:
    # A missing bar is flat at the close before; before the first one nothing is known.
    if bar is None:
        close = held[f"{prefix}_close"]
        if math.isnan(close):
            return
        bar = _flat(close)
    for name in COLUMNS:
        held[f"{prefix}_{name}"] = bar[name]


def bars_of(table: pa.Table, names: list[str]) -> list[MergedBar]:
    """The rows of a merged table with some of their columns."""
    times, filled = candles.times_ms(table).tolist(), table.column("is_filled").to_pylist()
    columns = [candles.column(table, name).tolist() for name in names]
    rows = zip(*columns, strict=True) if columns else (() for _ in times)
    return [
        MergedBar(time, dict(zip(names, row, strict=True)), made)
        for time, made, row in zip(times, filled, rows, strict=True)
    ]
