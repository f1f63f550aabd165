"""The bars that `serve` starts on: the file's and the exchange's, read a symbol at a time."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from builders import START_MS, bars, random_walk

from pipeline.artifacts import Layout, read_rows, write_table
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.exchange.port import ClosedBar
from pipeline.live.merging import MergeStream
from pipeline.live.strategy import columns_of
from pipeline.market.candles import COLUMNS, column, times_ms
from pipeline.market.timeframes import resample
from pipeline.stages import serve_bars
from pipeline.stages.serve_bars import merged_until

MINUTE = 60_000
CONFIG: dict[str, Any] = {
    "name": "t",
    "symbols": ["AAA", "BBB"],
    "interval": "1m",
    "features": [{"returns": {"functions": ["return"], "inputs": ["close", "1h_close"], "periods": [3]}}],
    "merge": {"timeframes": ["1h"]},
    "signals": {
        "predictions": "features",
        "steps": [{"threshold": {"column": "close_return_3", "buy": 0.002, "sell": -0.002}}],
    },
}


def whole(symbol: str, n: int = 500) -> pa.Table:
    """Merged bars as the merge stage has them, with the hour that has closed beside each."""
    table = bars(random_walk(n, len(symbol) + ord(symbol[0]), 0.004))
    times = times_ms(table)
    opens, hours = resample({name: column(table, name) for name in COLUMNS}, times, MINUTE, 60 * MINUTE)
    place = np.searchsorted(opens + 60 * MINUTE, times + MINUTE, side="right") - 1
    for name in COLUMNS:
        table = table.append_column(f"1h_{name}", pa.array(np.where(place >= 0, hours[name][place], np.nan)))
    return table


class Exchange:
    """Has the bars of all minutes."""

    async def bars(self, symbol: str, interval: str, begin: int, end: int) -> list[ClosedBar]:
        assert interval == "1m"
        table = whole(symbol)
        rows = [row for row in table.to_pylist() if begin <= row["open_time"].timestamp() * 1000 < end]
        return [
            ClosedBar(symbol, int(row["open_time"].timestamp() * 1000), {name: row[name] for name in COLUMNS})
            for row in rows
        ]


def merged(folder: Path, stored: int, until: int) -> serve_bars.MergedBars:
    layout = Layout("t", data=folder)
    for symbol in CONFIG["symbols"]:
        write_table(layout.merged(symbol), whole(symbol).slice(0, stored), row_group=100)
    config = Config.model_validate(CONFIG)
    return asyncio.run(merged_until(config, layout, Exchange(), START_MS + until * MINUTE))  # type: ignore[arg-type]


def bits(table: pa.Table) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(table.column(name).to_numpy()).tobytes() for name in table.column_names}


@pytest.mark.parametrize(
    ("stored", "until"),
    [(500, 500), (500, 321), (300, 300), (300, 301), (250, 485), (30, 45), (30, 500)],
    ids=["all", "before the end", "whole groups", "one more", "hours more", "first hour", "from the first hour on"],
)
def test_they_are_those_of_the_file_and_what_has_closed_since(tmp_path: Path, stored: int, until: int) -> None:
    made = merged(tmp_path, stored, until)
    config = Config.model_validate(CONFIG)
    names = list(dict.fromkeys(["open_time", *columns_of(config)]))
    assert list(made) == ["AAA", "BBB"]
    for symbol in made:
        expected = whole(symbol).slice(0, until)
        assert bits(made[symbol]) == bits(expected.select(names))
        assert bits(made.last(symbol, 70)) == bits(made[symbol].slice(max(0, until - 70)))
        assert bits(made.last(symbol, 10_000)) == bits(made[symbol])
        assert (made.first_ms(symbol), made.last_ms(symbol)) == (START_MS, START_MS + (until - 1) * MINUTE)
        # What the next bar is merged with.
        tail, stream = made.tails[symbol], MergeStream(config, symbol, expected)
        assert bits(tail) == bits(expected.slice(until - tail.num_rows).select(tail.column_names))
        assert vars(MergeStream(config, symbol, tail)._timeframes[0]) == vars(stream._timeframes[0])


def test_one_symbol_is_read_at_a_time_and_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = merged(tmp_path, 500, 500)
    read: list[str] = []

    def counting(path: Path, *rest: Any) -> pa.Table:
        read.append(path.stem)
        return read_rows(path, *rest)

    monkeypatch.setattr(serve_bars, "read_rows", counting)
    assert "AAA" in made and "CCC" not in made and len(made) == 2
    assert read == []
    assert made.get("BBB") is not None
    assert read == ["BBB"]


def test_no_bars_before_the_start_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no bars before"):
        merged(tmp_path, 500, 0)


@pytest.mark.parametrize("rows", [slice(0, 500), slice(99, 101), slice(200, 300), slice(499, 500), slice(7, 7)])
def test_some_rows_of_a_file(tmp_path: Path, rows: slice) -> None:
    table = whole("AAA").select(["open_time", "close"])
    write_table(tmp_path / "a.parquet", table, row_group=100)
    found = read_rows(tmp_path / "a.parquet", "merge", rows, ["close"])
    assert found.column("close").to_pylist() == table.column("close").to_pylist()[rows]


def test_rows_of_a_column_that_is_not_there(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", whole("AAA"))
    with pytest.raises(BadInput, match="no column 'wick'"):
        read_rows(tmp_path / "a.parquet", "merge", slice(0, 1), ["wick"])
