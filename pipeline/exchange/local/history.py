"""Bars of one symbol as the exchange knows them, and what it tells of them: klines of any interval, statistics."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import interval_ms
from pipeline.market import candles

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# One kline: open time, prices, volumes and counts. `first_trade` is the id of its first trade.
Row = tuple[int, float, float, float, float, float, float, int, float, float, int]

DAY = 86_400_000
_WEEK_OFFSET = 3 * DAY  # 1970-01-01 was a Thursday, weeks begin on Mondays
_NAMES = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
INTERVALS = (*("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"),)


@dataclass
class Series:
    """Closed bars [n] of one symbol, ascending by open time; minutes that the source lacks are absent."""

    interval: str
    open_time: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    taker_buy_volume: Floats
    taker_buy_quote_volume: Floats
    trades: Ints
    first_trade: Ints

    @property
    def step(self) -> int:
        """Length of a bar in ms."""
        return _length(self.interval)

    def __len__(self) -> int:
        return len(self.open_time)

    def at(self, time_ms: int) -> int:
        """Position of the first bar that opens at or after a time."""
        return int(np.searchsorted(self.open_time, time_ms))

    def row(self, i: int) -> Row:
        """One bar."""
        return (
            int(self.open_time[i]),
            float(self.open[i]),
            float(self.high[i]),
            float(self.low[i]),
            float(self.close[i]),
            float(self.volume[i]),
            float(self.quote_volume[i]),
            int(self.trades[i]),
            float(self.taker_buy_volume[i]),
            float(self.taker_buy_quote_volume[i]),
            int(self.first_trade[i]),
        )


# Asked for several times in each moment of the market.
_length = cache(interval_ms)


def from_table(table: pa.Table, interval: str) -> Series:
    """A series of a table of `candles.SCHEMA`. What a source does not tell is made up from close and volume."""
    n = len(table)
    columns = {
        name: np.asarray(candles.column(table, name), np.float64) if name in table.schema.names else np.zeros(n)
        for name in (*_NAMES, "trades")
    }
    # Columns that a source does not have are zero or null throughout.
    known = {name: np.nan_to_num(values) for name, values in columns.items() if np.nansum(values) > 0}
    volume = known.setdefault("volume", np.zeros(n))
    quote = known.setdefault("quote_volume", volume * columns["close"])
    known.setdefault("taker_buy_volume", volume / 2)
    known.setdefault("taker_buy_quote_volume", quote / 2)
    counts = known.pop("trades", np.ceil(quote / 1000))
    columns = {name: known[name] for name in _NAMES}
    trades = np.maximum(counts, volume > 0).astype(np.int64)
    first = np.concatenate(([0], np.cumsum(trades)[:-1])) if n else np.empty(0, np.int64)
    return Series(interval, candles.times_ms(table).astype(np.int64), **columns, trades=trades, first_trade=first)


def bucket(time_ms: int, interval: str) -> int:
    """Open time of the kline of an interval that holds a time."""
    if interval == "1M":
        month = np.datetime64(time_ms, "ms").astype("datetime64[M]")
        return int(month.astype("datetime64[ms]").astype(np.int64))
    step = step_of(interval)
    offset = _WEEK_OFFSET if interval == "1w" else 0
    return (time_ms + offset) // step * step - offset


def bucket_end(open_ms: int, interval: str) -> int:
    """When the kline that opens at a time closes, exclusive."""
    if interval == "1M":
        month = np.datetime64(open_ms, "ms").astype("datetime64[M]") + np.timedelta64(1, "M")
        return int(month.astype("datetime64[ms]").astype(np.int64))
    return open_ms + step_of(interval)


@cache
def step_of(interval: str) -> int:
    """Length of an interval in ms; the longest ones have theirs in days."""
    if interval == "1s":
        return 1000
    days = {"3d": 3, "1w": 7, "1M": 30}
    return days[interval] * DAY if interval in days else interval_ms(interval)


def aggregate(series: Series, start: int, end: int, interval: str) -> list[Row]:
    """Bars [start, end) of a series as klines of a longer interval, or of its own."""
    if start >= end:
        return []
    if interval == series.interval:
        return [series.row(i) for i in range(start, end)]
    times = series.open_time[start:end]
    if interval == "1M":
        keys = times.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    else:
        step, offset = step_of(interval), _WEEK_OFFSET if interval == "1w" else 0
        keys = (times + offset) // step * step - offset
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    last = np.append(first[1:], len(keys)) - 1

    def part(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values[start:end]

    columns = (
        keys[first],
        part(series.open)[first],
        np.maximum.reduceat(part(series.high), first),
        np.minimum.reduceat(part(series.low), first),
        part(series.close)[last],
        np.add.reduceat(part(series.volume), first),
        np.add.reduceat(part(series.quote_volume), first),
        np.add.reduceat(part(series.trades), first),
        np.add.reduceat(part(series.taker_buy_volume), first),
        np.add.reduceat(part(series.taker_buy_quote_volume), first),
        part(series.first_trade)[first],
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def merged(a: Row, b: Row) -> Row:
    """One kline of two that follow each other."""
    return (
        a[0],
        a[1],
        max(a[2], b[2]),
        min(a[3], b[3]),
        b[4],
        *(x + y for x, y in zip(a[5:10], b[5:10], strict=True)),  # type: ignore[return-value]
        a[10],
    )


def kline(row: Row, interval: str) -> list[Any]:
    """A kline as `GET /api/v3/klines` gives it."""
    return [
        row[0],
        *(f"{value:.8f}" for value in row[1:6]),
        bucket_end(row[0], interval) - 1,
        f"{row[6]:.8f}",
        row[7],
        f"{row[8]:.8f}",
        f"{row[9]:.8f}",
        "0",
    ]
