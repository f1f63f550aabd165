"""The mark price of the replayed market: made up with a synthetic one, read where the data have it."""

import glob
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.sources import FileSource, SyntheticSource
from pipeline.errors import BadInput
from pipeline.exchange.local.history import Series
from pipeline.exchange.local.matching import Pit
from pipeline.exchange.local.timeline import POINTS
from pipeline.market import candles, files, marks, synthetic


def load(data: Path | None, series: Mapping[str, Series], market: SyntheticSource) -> dict[str, Series]:
    """The mark price at the bars of each symbol that has one; the bar's own prices where it has a hole.

    data: as of `sources.load`; None for the synthetic `market`. Raises BadInput: a file cannot be used.
    """
    found = {}
    for symbol, bars in series.items():
        if data is None:
            begin, end = int(bars.open_time[0]), int(bars.open_time[-1]) + bars.step
            table: pa.Table | None = synthetic.marks(market, symbol, bars.interval, begin, end)
        else:
            table = _read(data, symbol, bars.interval)
        if table is not None:
            found[symbol] = beside(bars, table)
    return found


def beside(bars: Series, table: pa.Table) -> Series:
    """A table of the mark price (`marks.SCHEMA`) at the bars of a series."""
    own = pa.table(
        [candles.time_array(bars.open_time), *(pa.array(getattr(bars, name)) for name in candles.PRICES)],
        names=["open_time", *candles.PRICES],
    )
    columns, _ = marks.beside(table, own)
    open_, high, low, close = (columns[name] for name in marks.COLUMNS)
    none, no_trades = np.zeros(len(bars)), np.zeros(len(bars), np.int64)
    return replace(
        bars, open=open_, high=high, low=low, close=close, volume=none, quote_volume=none, taker_buy_volume=none,
        taker_buy_quote_volume=none, trades=no_trades, first_trade=no_trades,
    )  # fmt: skip


def follow(pit: Pit, mark: Pit, turns: tuple[float, float, float]) -> bool:
    """Bring the mark price to where its market is in a bar; False if none is going on.

    turns: where the market's price goes inside the bar: the mark price goes to its own high where that goes to its.
    """
    if pit.points is None or mark.points is None:
        if mark.points is not None:
            mark.end()
        return False
    before, after = (round(points[4] * POINTS) for points in (mark.points, pit.points))
    _, high, low, close = mark.bar[1:5]
    way = (high, low, close) if turns[0] > turns[1] else (low, high, close)
    for to in way[before:after]:
        mark.go(to, 1 / POINTS)
    return True


def _read(data: Path, symbol: str, interval: str) -> pa.Table | None:
    # As data/raw has it, one file of a symbol, or the archive's zips; None if the folder has none of them.
    if not data.is_dir():
        return None
    name = marks.series_of(interval)
    for pattern in (f"{symbol}_{name}.parquet", f"**/{symbol}/{name}/*.parquet"):
        if paths := sorted(data.glob(pattern)):
            table = pa.concat_tables([pq.read_table(path).select(marks.SCHEMA.names) for path in paths])
            return marks.clean(table, interval, str(paths[0].parent))
    pattern = f"**/markPriceKlines/{symbol}/{interval}/*.zip"
    if not any(data.glob(pattern)):
        return None
    source = FileSource(path=str(Path(glob.escape(str(data))) / pattern))
    try:
        return marks.of_klines(files.read(source, "csv", symbol, interval, 0, 1 << 62), f"{data}: {symbol}")
    except BadInput as error:
        raise BadInput(f"mark price: {error.message}", error.hint) from None
