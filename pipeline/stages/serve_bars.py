"""Merged bars up to the moment: the file's, and what has closed since, from the exchange."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.artifacts import Layout, read_rows, read_schema, read_table
from pipeline.config import Config, interval_ms
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.stages.times import iso

if TYPE_CHECKING:
    from pipeline.exchange.port import Exchange


@dataclass(frozen=True)
class _Stored:
    # A symbol's file: how many bars of it open before a time, and when the first and the last of these do.
    path: Path
    rows: int
    first_ms: int
    last_ms: int

    def last(self, rows: int, columns: Sequence[str]) -> pa.Table:
        return read_rows(self.path, "merge", slice(max(self.rows - rows, 0), self.rows), columns)


class MergedBars(Mapping[str, pa.Table]):
    """What a strategy reads of merged bars, by symbol; read anew each time, so that one symbol's are in memory at once.

    tails: the newest bars with all columns, as many as the next ones are merged with.
    """

    def __init__(self, config: Config, stored: Mapping[str, _Stored], tails: Mapping[str, pa.Table]) -> None:
        from pipeline.live.strategy import columns_of

        self.tails = tails
        self._columns = list(dict.fromkeys(["open_time", *columns_of(config)]))
        self._stored = stored
        self._step_ms = config.step_ms

    def __getitem__(self, symbol: str) -> pa.Table:
        return self.last(symbol, self._rows(symbol))

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def first_ms(self, symbol: str) -> int:
        """When the first bar opens."""
        return self._stored[symbol].first_ms

    def last_ms(self, symbol: str) -> int:
        """When the newest bar opens."""
        return int(candles.times_ms(self.tails[symbol])[-1])

    def last(self, symbol: str, rows: int) -> pa.Table:
        """The newest bars."""
        stored, tail = self._stored[symbol], self.tails[symbol]
        since = self._rows(symbol) - stored.rows
        if not since:
            return stored.last(rows, self._columns)
        newest = tail.select(self._columns).slice(tail.num_rows - min(since, rows))
        return pa.concat_tables([stored.last(rows - since, self._columns), newest]) if rows > since else newest

    def _rows(self, symbol: str) -> int:
        stored = self._stored[symbol]
        return stored.rows + (self.last_ms(symbol) - stored.last_ms) // self._step_ms


def fetched_of(config: Config) -> tuple[str, ...]:
    # As the merge stage: bars of higher intervals come from where they were downloaded, else from our own bars.
    return tuple(name for name in config.merge.timeframes if name in config.download.also_intervals)


async def merged_until(config: Config, layout: Layout, exchange: "Exchange", until_ms: int) -> MergedBars:
    """Merged bars of all symbols up to those that open before a time: the file's, and what has closed since."""
    from pipeline.live.following import extended

    step, fetched = config.step_ms, fetched_of(config)
    stored = {symbol: _before(layout.merged(symbol), until_ms) for symbol in config.symbols}
    # Bars of a higher interval that is not fetched are made of the own bars since it opened.
    parts = max([interval_ms(name) // step for name in config.merge.timeframes if name not in fetched], default=1)
    tails = {symbol: one.last(parts, read_schema(one.path, "merge").names) for symbol, one in stored.items()}
    begin = min(one.last_ms + step for one in stored.values())
    if begin < until_ms:
        names = dict.fromkeys([*config.symbols, *config.merge.symbols])
        bars = {name: await _bars(exchange, name, config.interval, begin, until_ms) for name in names}
        for symbol, tail in tails.items():
            higher = {
                interval: await _bars(exchange, symbol, interval, begin - interval_ms(interval), until_ms)
                for interval in fetched
            }
            tails[symbol] = extended(config, symbol, tail, bars, higher, until_ms)
    return MergedBars(config, stored, tails)


async def _bars(
    exchange: "Exchange", symbol: str, interval: str, begin: int, end: int
) -> dict[int, Mapping[str, float]]:
    from pipeline.exchange.port import Refused

    try:
        found = await exchange.bars(symbol, interval, begin, end)
    except Refused as error:
        raise BadInput(f"{symbol}: the exchange says: {error}", "does it list this symbol?") from None
    return {bar.open_time_ms: bar.values for bar in found}


def _before(path: Path, until_ms: int) -> _Stored:
    times = candles.times_ms(read_table(path, "merge", ["open_time"]))
    rows = int(np.searchsorted(times, until_ms))
    if not rows:
        raise BadInput(
            f"{path}: has no bars before {iso(until_ms)}",
            "run `pipeline download` and `pipeline merge` for an earlier start",
        )
    return _Stored(path, rows, int(times[0]), int(times[rows - 1]))
