"""The mark price from its source to the merged table, and what happens where there is none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from market.exchange import MINUTE, Exchange, running

from pipeline.artifacts import Layout, read_json, read_table, write_table
from pipeline.config import Config, utc_ms
from pipeline.config.sources import SyntheticSource
from pipeline.errors import BadInput, MissingInput
from pipeline.market import candles, marks, synthetic
from pipeline.market.candles import PRICES, column, time_array, times_ms
from pipeline.stages import download, merge

LAYOUT = Layout("test")
START, FEBRUARY, NOON = utc_ms("2024-01-30"), utc_ms("2024-02-01"), utc_ms("2024-02-02T12:00")


@pytest.fixture
def exchange(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """A futures exchange at noon of 2024-02-02; its archive has January's mark price, and none of the bars."""
    with running() as exchange:
        exchange.now_ms = NOON + 30_000
        exchange.publish_marks("2024-01", START, FEBRUARY)
        monkeypatch.setattr("pipeline.market.binance._now_ms", lambda: exchange.now_ms)
        monkeypatch.setattr("pipeline.stages.download._now_ms", lambda: exchange.now_ms)
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield exchange


def config(exchange: Exchange | None = None, max_filled: float = 0.2, **section: Any) -> Config:
    if exchange:
        urls = dict.fromkeys(("archive_url", "api_url", "futures_api_url"), exchange.url)
        section = {"start": "2024-01-30", "binance": {"retries": 1, **urls}, **section}
    return Config.model_validate(
        {"name": "test", "download": {"market": "um", **section}, "merge": {"max_filled": max_filled}}
    )


def stored(venue: str = "binance") -> pa.Table:
    folder = LAYOUT.bars(venue, "um", "BTCUSDT", "1m-mark")
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def merged() -> pa.Table:
    return read_table(LAYOUT.merged("BTCUSDT"), "merge")


@pytest.mark.parametrize("header", [True, False])
def test_it_comes_from_the_archive_and_the_rest_by_rest(exchange: Exchange, header: bool) -> None:
    exchange.publish_marks("2024-01", START, FEBRUARY, header)
    summary = download.run(config(exchange), LAYOUT)
    table = stored()
    assert table.schema == marks.SCHEMA
    assert np.array_equal(times_ms(table), np.arange(START, NOON, MINUTE))
    expected = [float(value) for value in exchange.mark_row(START)[1:5]]  # type: ignore[arg-type]
    assert [column(table, name)[0] for name in PRICES] == expected
    folder = LAYOUT.bars("binance", "um", "BTCUSDT", "1m-mark")
    (source,) = read_json(folder / "2024-01.json", "download")["sources"]
    path = "/data/futures/um/monthly/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    assert source["url"].endswith(path) and len(source["sha256"]) == 64
    assert {p for p in exchange.paths() if p.startswith("/fapi/v1/mark")} == {"/fapi/v1/markPriceKlines"}
    assert summary.figures["BTCUSDT 1m-mark: rows"] == len(table) and not summary.warnings
    exchange.requests.clear()
    download.run(config(exchange), LAYOUT)
    assert not [p for p in exchange.paths() if p.endswith((".zip", "Klines"))], "nothing is asked for twice"


def test_a_file_that_does_not_match_its_checksum_is_refused(exchange: Exchange) -> None:
    path = "/data/futures/um/monthly/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    exchange.files[f"{path}.CHECKSUM"] = b"0" * 64 + b"  x.zip\n"
    with pytest.raises(BadInput, match=r"markPriceKlines.*its \.CHECKSUM says 0000"):
        download.run(config(exchange), LAYOUT)


def test_bars_of_trades_are_not_taken_for_it(exchange: Exchange) -> None:
    exchange.mark_row = exchange.row  # type: ignore[method-assign]
    with pytest.raises(BadInput, match=r"bar of 2024-02-01T00:00Z has volume \(10\), mark prices have none"):
        download.run(config(exchange), LAYOUT)


def test_a_source_without_it_is_told_and_leaves_the_last_price(exchange: Exchange) -> None:
    exchange.files.clear()
    exchange.marks = False
    summary = download.run(config(exchange), LAYOUT)
    assert summary.figures["rows"] == (NOON - START) // MINUTE
    (warning,) = summary.warnings
    assert "binance has no mark price of this range; the last price" in warning
    summary = merge.run(config(exchange), LAYOUT)
    assert not set(marks.COLUMNS) & set(merged().column_names)
    assert "no mark price was downloaded; the last price" in summary.warnings[0]
    with pytest.raises(BadInput, match="no mark price of BTCUSDT"):
        download.run(config(exchange, mark_price=True), LAYOUT)
    with pytest.raises(MissingInput, match="1m-mark: no downloaded bars"):
        merge.run(config(exchange, mark_price=True), LAYOUT)
    assert not merge.run(config(exchange, mark_price=False), LAYOUT).warnings


def test_it_stands_beside_the_bars_and_the_last_price_where_it_is_missing(exchange: Exchange) -> None:
    download.run(config(exchange), LAYOUT)
    path = LAYOUT.bars("binance", "um", "BTCUSDT", "1m-mark") / "2024-02.parquet"
    part = pq.read_table(path)
    write_table(path, part.take([k for k in range(len(part)) if k not in (3, 4, 5, 60, 70)]))
    # Where there is no bar there need be no mark price.
    own = path.parent.with_name("1m") / path.name
    bars = pq.read_table(own)
    write_table(own, bars.take([k for k in range(len(bars)) if k != 70]))
    summary = merge.run(config(exchange), LAYOUT)
    (warning,) = [one for one in summary.warnings if "mark price" in one]
    assert "mark price of 4 bars is missing" in warning and "the first that of 2024-02-01T00:03Z, at most 3" in warning
    table = merged()
    assert table.column_names[-4:] == list(marks.COLUMNS) == merge.plan(config(exchange), LAYOUT).columns[-4:]
    assert summary.figures["columns"] == len(table.column_names)
    row = int(np.searchsorted(times_ms(table), FEBRUARY + 3 * MINUTE))
    for name, mark in zip(PRICES, marks.COLUMNS, strict=True):
        assert column(table, mark)[row] == column(table, name)[row]
        assert column(table, mark)[row - 1] == column(part, name)[2] != column(table, name)[row - 1]
    with pytest.raises(BadInput, match=r"mark price of 4 bars is missing .* merge\.max_filled is 0%"):
        merge.run(config(exchange, max_filled=0.0003, mark_price=True), LAYOUT)


def test_its_clock_may_be_a_little_off(exchange: Exchange) -> None:
    download.run(config(exchange), LAYOUT)
    exact = merge.run(config(exchange), LAYOUT) and merged()
    path = LAYOUT.bars("binance", "um", "BTCUSDT", "1m-mark") / "2024-02.parquet"
    part = pq.read_table(path)
    write_table(path, part.set_column(0, "open_time", time_array(times_ms(part) + 700)))
    with pytest.raises(BadInput, match=r"1m-mark.*grid"):
        merge.run(config(exchange), LAYOUT)
    strict = config(exchange)
    merge.run(strict.model_copy(update={"merge": strict.merge.model_copy(update={"on_misaligned": "snap"})}), LAYOUT)
    assert merged().select(list(marks.COLUMNS)).equals(exact.select(list(marks.COLUMNS)))


def test_it_is_fetched_for_what_is_traded_alone(workspace: Path) -> None:
    source = {"source": "synthetic", "start": "2024-01-30", "end": "2024-01-31", "also_symbols": ["ETHUSDT"]}
    download.run(config(**source), LAYOUT)
    found = {path.parent.name for path in LAYOUT.raw.rglob("1m-mark")}
    assert found == {"BTCUSDT"} and LAYOUT.bars("synthetic", "um", "ETHUSDT", "1m").is_dir()


def test_without_a_row_of_it_the_last_price_stands_everywhere(exchange: Exchange) -> None:
    download.run(config(exchange), LAYOUT)
    merge.run(config(exchange), LAYOUT)
    columns, missing = marks.beside(marks.SCHEMA.empty_table(), merged())
    assert missing.all()
    for name, mark in zip(PRICES, marks.COLUMNS, strict=True):
        assert np.array_equal(columns[mark], column(merged(), name))


def test_files_bring_it_in_columns_of_their_own(workspace: Path) -> None:
    def write(last: str, names: str = "mark_open,mark_high,mark_low,mark_close") -> None:
        lines = [f"{START + k * MINUTE},10,11,9,10,1,10,10.5,9.5,10.1" for k in range(9)]
        lines.append(f"{START + 9 * MINUTE},10,11,9,10,1,{last}")
        Path("bars.csv").write_text("\n".join([f"open_time,open,high,low,close,volume,{names}", *lines]) + "\n")

    def run(**file: Any) -> None:
        source = {"source": "csv", "mark_price": True, "file": {"path": "bars.csv", **file}}
        download.run(config(**source), LAYOUT)
        merge.run(config(**source), LAYOUT)

    write("10,10.6,9.4,10.2")
    run()
    assert [column(merged(), name)[-1] for name in marks.COLUMNS] == [10, 10.6, 9.4, 10.2]
    write("10,10.7,9.4,10.2", "a,b,c,d")
    run(columns=dict(zip(marks.COLUMNS, "abcd", strict=True)))
    assert column(merged(), "mark_high")[-1] == 10.7
    with pytest.raises(BadInput, match="no column 'mark_open' of the mark price"):
        run()
    for bad, says in (
        ("nan,10,9,10", "row 10 .*open = nan is missing or not a finite number"),
        ("10,10.6,-1,10", "low = -1 must be above zero"),
        ("10,9.5,9.4,10", "open = 10 is outside"),
        ("10,9.3,9.4,9.35", "high = 9.3 is below low"),
    ):
        write(bad)
        with pytest.raises(BadInput, match=rf"bars.csv \(mark price\): {says}|bars.csv \(mark price\): row 10.*{says}"):
            run()


def test_a_table_whose_mark_price_cannot_be_is_refused_by_its_first_bar() -> None:
    n = 6
    times = START + MINUTE * np.arange(n)
    good = {"mark_open": np.full(n, 10.0), "mark_high": np.full(n, 11.0), "mark_low": np.full(n, 9.0)}
    real = np.array([True] * 5 + [False])
    marks.check(good, real, times)
    for name, value in (
        ("mark_open", np.nan),
        ("mark_low", -1.0),
        ("mark_high", 8.0),
        ("mark_low", 0.0),
        ("mark_low", 10.5),
        ("mark_high", np.inf),
        ("mark_high", 9.5),
    ):
        bad = good | {name: np.r_[good[name][:2], value, value, good[name][4:]]}
        with pytest.raises(BadInput, match=r"^2 bars have no possible mark price, the first that of 2024-01-30T00:02Z"):
            marks.check(bad, real, times)
        marks.check(bad, real & (np.arange(n) > 3), times)


def test_the_synthetic_one_is_smoother_than_the_last_price_and_the_same_in_pieces() -> None:
    source = SyntheticSource()
    begin, end = utc_ms("2024-01-31T12:00"), utc_ms("2024-02-01T12:00")
    last = synthetic.bars(source, "BTCUSDT", "1m", begin, end)
    whole = synthetic.marks(source, "BTCUSDT", "1m", begin, end)
    assert whole.schema == marks.SCHEMA and np.array_equal(times_ms(whole), times_ms(last))
    parts = [
        synthetic.marks(source, "BTCUSDT", "1m", a, b)
        for a, b in ((begin, begin + 60_000 * 777), (begin + 60_000 * 777, end))
    ]
    assert pa.concat_tables(parts).combine_chunks().equals(whole)
    assert marks.clean(whole, "1m", "synthetic").equals(whole)
    (high, low), (last_high, last_low) = ([column(t, n) for n in ("high", "low")] for t in (whole, last))
    assert (high - low).mean() < 0.8 * (last_high - last_low).mean()
    assert np.abs(column(whole, "close") / column(last, "close") - 1).max() < 0.02
    own, others = column(whole, "close"), column(last, "close")
    # Each month begins by itself.
    mean = (others[2:] + others[1:-1] + others[:-2]) / 3
    assert own[2:720] == pytest.approx(mean[:718], rel=1e-6)
    hours = synthetic.marks(source, "BTCUSDT", "1h", begin, end)
    assert column(hours, "high")[0] == high[:60].max() and column(hours, "close")[0] == column(whole, "close")[59]
    assert times_ms(hours)[0] == candles.times_ms(pa.table({"open_time": time_array(times_ms(whole)[:1])}))[0]
