"""Merged bars made one by one equal the merge stage's table."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import START_MS
from live.batch import LAYOUT, MODELS, config, write_downloads

from pipeline.artifacts import read_table
from pipeline.config import interval_ms
from pipeline.errors import BadInput
from pipeline.live.merging import Arrivals, Bar, MergeStream
from pipeline.market import candles
from pipeline.market.candles import COLUMNS
from pipeline.stages.runner import run_stage

FIVE = 300_000
MERGE = {"symbols": ["BTCUSDT", "ETHUSDT"], "timeframes": ["1h", "4h", "15m"], "funding": True, "max_filled": 0.5}
DECLARED = config(MODELS, merge=MERGE)


def downloaded(symbol: str, interval: str, market: str = "spot") -> dict[int, dict[str, float]]:
    """The raw rows by open time."""
    folder = LAYOUT.bars("synthetic", market, symbol, interval)
    table = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])
    names = [name for name in table.column_names if name != "open_time"]
    columns = [candles.column(table, name).tolist() for name in names]
    return {
        time: dict(zip(names, row, strict=True))
        for time, row in zip(candles.times_ms(table).tolist(), zip(*columns, strict=True), strict=True)
    }


class Feed:
    """What came in for each bar, as the exchange would have told it."""

    def __init__(self, symbol: str, native: str | None) -> None:
        self.symbol, self.native = symbol, native
        self.bars = {other: downloaded(other, "5m") for other in ("BTCUSDT", "ETHUSDT")}
        self.hours = downloaded(symbol, native) if native else {}
        self.rates = {time: row["funding_rate"] for time, row in downloaded(symbol, "funding", "um").items()}

    def arrived(self, time: int) -> Arrivals:
        higher: dict[str, Bar | None] = {}
        if self.native:
            higher[self.native] = self.hours.get(time + FIVE - interval_ms(self.native))
        others = {other: rows.get(time) for other, rows in self.bars.items() if other != self.symbol}
        published = [(at, rate) for at, rate in self.rates.items() if time < at <= time + FIVE]
        return Arrivals(self.bars[self.symbol].get(time), others, higher, published)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    names = [name for name in table.column_names if name not in ("open_time", "is_filled")]
    values = zip(*(candles.column(table, name).tolist() for name in names), strict=True)
    flags, times = table.column("is_filled").to_pylist(), candles.times_ms(table).tolist()
    return [
        {name: np.float64(v).tobytes() for name, v in zip(names, row, strict=True)} | {"filled": f, "time": t}
        for row, f, t in zip(values, flags, times, strict=True)
    ]


def streamed(symbol: str, table: pa.Table, cut: int, native: str | None, stop: int) -> list[dict[str, Any]]:
    stream = MergeStream(DECLARED, symbol, table.slice(0, cut), [native] if native else [])
    feed, made = Feed(symbol, native), []
    for time in candles.times_ms(table)[cut:stop].tolist():
        # A rehearsal before each bar changes nothing.
        assert stream.peek(dict.fromkeys(COLUMNS, 7.0)).open_time_ms == time
        bar = stream.update(time, feed.arrived(time))
        values = {name: np.float64(value).tobytes() for name, value in bar.values.items()}
        made.append(values | {"filled": bar.filled, "time": bar.open_time_ms})
    return made


@pytest.mark.parametrize("native", [None, "1h"])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_every_row_from_any_cut_on(workspace: Path, native: str | None, symbol: str) -> None:
    # The second symbol begins inside an hour, and its 4-hour bar is cut off.
    write_downloads(DECLARED, 700, late=41, native=native)
    run_stage("merge", DECLARED, LAYOUT)
    table = read_table(LAYOUT.merged(symbol), "merge")
    expected = rows(table)
    n = table.num_rows
    assert sum(row["filled"] for row in expected) > 20
    for cut in (1, 2, 7, 48, 100, 165, 203, 215, 229):
        stop = n if cut == 7 else min(cut + 60, n)
        assert streamed(symbol, table, cut, native, stop) == expected[cut:stop], cut


def test_a_reference_that_has_not_begun_is_unknown(workspace: Path) -> None:
    write_downloads(DECLARED, 200, late=90)
    run_stage("merge", DECLARED, LAYOUT)
    table = read_table(LAYOUT.merged("BTCUSDT"), "merge")
    made = streamed("BTCUSDT", table, 80, None, 100)
    known = [not np.isnan(np.frombuffer(row["ETHUSDT_close"])[0]) for row in made]
    assert known == [False] * 10 + [True] * 10


def test_a_bar_that_does_not_follow_is_refused_and_changes_nothing(workspace: Path) -> None:
    write_downloads(DECLARED, 100)
    run_stage("merge", DECLARED, LAYOUT)
    table = read_table(LAYOUT.merged("BTCUSDT"), "merge")
    stream, feed = MergeStream(DECLARED, "BTCUSDT", table.slice(0, 50)), Feed("BTCUSDT", None)
    time = START_MS + 50 * FIVE
    for wrong in (time - FIVE, time + FIVE):
        with pytest.raises(BadInput, match="after 2024-01-01T04:05Z"):
            stream.update(wrong, feed.arrived(wrong))
    bar = stream.update(time, feed.arrived(time))
    assert np.float64(bar.values["15m_volume"]).tobytes() == rows(table)[50]["15m_volume"]


def test_history_that_cannot_be_gone_on_from_is_refused(workspace: Path) -> None:
    write_downloads(DECLARED, 200)
    run_stage("merge", DECLARED, LAYOUT)
    table = read_table(LAYOUT.merged("BTCUSDT"), "merge")
    with pytest.raises(BadInput, match="inside the 4h bar of 2024-01-01T04:00Z"):
        MergeStream(DECLARED, "BTCUSDT", table.slice(60, 20))
    with pytest.raises(BadInput, match="no column '1h_open'"):
        MergeStream(DECLARED, "BTCUSDT", table.drop_columns(["1h_open"]))
    with pytest.raises(BadInput, match="no rows"):
        MergeStream(DECLARED, "BTCUSDT", table.slice(0, 0))


def test_a_rate_counts_from_the_close_that_knows_it(workspace: Path) -> None:
    write_downloads(DECLARED, 200)
    run_stage("merge", DECLARED, LAYOUT)
    table = read_table(LAYOUT.merged("BTCUSDT"), "merge")
    stream = MergeStream(DECLARED, "BTCUSDT", table.slice(0, 50))
    own = dict.fromkeys(COLUMNS, 1.0)
    time = START_MS + 50 * FIVE
    late, now = (time + FIVE + 1, 0.5), (time + FIVE, 0.25)
    assert stream.update(time, Arrivals(own, rates=[now, late])).values["funding_rate"] == 0.25
    # A rate that is older than the one known does not replace it.
    assert stream.update(time + FIVE, Arrivals(own, rates=[(time, 0.75)])).values["funding_rate"] == 0.25
    assert stream.update(time + 2 * FIVE, Arrivals(own, rates=[late])).values["funding_rate"] == 0.5
