"""Files of the user's own: every shape that is met in the wild, and every way to be unusable."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import START_MS, bars, random_walk

from pipeline.config import utc_ms
from pipeline.config.sources import FileSource
from pipeline.errors import BadInput, MissingInput
from pipeline.market import files, grid
from pipeline.market.candles import SCHEMA, column, times_ms

FOREVER = (0, 1 << 60)
HEADER = "open_time,open,high,low,close,volume\n"
ROWS = [f"{START_MS + 60_000 * i},100,101,99,100.5,{10 + i}\n" for i in range(12)]


def read(path: Path | str, kind: Any = "csv", interval: str = "1m", **settings: Any) -> pa.Table:
    return files.read(FileSource(path=str(path), **settings), kind, "BTCUSDT", interval, *FOREVER)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "BTCUSDT.csv"
    path.write_text(HEADER + "".join(ROWS))
    return path


def test_plain_gzipped_and_zipped_are_the_same(plain: Path) -> None:
    table = read(plain)
    assert table.schema == SCHEMA and table.num_rows == 12
    zipped, gzipped = plain.with_suffix(".zip"), plain.with_name("BTCUSDT.csv.gz")
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(plain, "bars.csv")
    gzipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert read(zipped).equals(table)
    assert read(gzipped).equals(table)


def test_the_range_is_half_open(plain: Path) -> None:
    source = FileSource(path=str(plain))
    table = files.read(source, "csv", "BTCUSDT", "1m", START_MS + 60_000, START_MS + 180_000)
    assert times_ms(table).tolist() == [START_MS + 60_000, START_MS + 120_000]
    assert files.read(source, "csv", "BTCUSDT", "1m", 0, 1).num_rows == 0


def test_names_in_the_path_are_filled_and_overlapping_files_joined(tmp_path: Path) -> None:
    for number, rows in enumerate((ROWS[5:], ROWS[:7])):
        (tmp_path / f"BTCUSDT-1m-{number}.csv").write_text(HEADER + "".join(rows))
    (tmp_path / "ETHUSDT-1m-0.csv").write_text("not to be read")
    table = read(tmp_path / "{symbol}-{interval}-*.csv")
    assert times_ms(table).tolist() == [START_MS + 60_000 * i for i in range(12)]


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(HEADER + "".join(ROWS))
    (tmp_path / "2.csv").write_text(HEADER + ROWS[3].replace(",13", ",14"))
    with pytest.raises(BadInput, match=r"1\.csv … .*2\.csv together: two different bars at 2024-01-01T00:03Z"):
        read(tmp_path / "*.csv")


def test_binance_files_without_a_header_are_known_by_their_twelve_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{START_MS},100,101,99,100.5,10,{START_MS + 59_999},1005,7,4,402,0\n")
    row = read(path).to_pylist()[0]
    assert (row["quote_volume"], row["trades"], row["taker_buy_volume"], row["taker_buy_quote_volume"]) == (
        1005.0,
        7.0,
        4.0,
        402.0,
    )


@pytest.mark.parametrize(
    ("stamps", "settings"),
    [
        (["2024-01-01 00:00:00", "2024-01-01 00:01:00"], {}),
        (["2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z"], {}),
        (["2024-01-01 03:00", "2024-01-01 03:01"], {"utc_offset": "3h"}),
        (["2024-01-01 03:00", "2024-01-01 03:01"], {"utc_offset": 3}),
        ([START_MS // 1000, START_MS // 1000 + 60], {}),
        ([START_MS * 1000, (START_MS + 60_000) * 1000], {"timestamp_unit": "us"}),
        ([START_MS // 1000, START_MS // 1000 + 60], {"timestamp_unit": "s"}),
    ],
)
def test_clocks_of_every_kind_come_out_in_utc(tmp_path: Path, stamps: list[Any], settings: dict[str, Any]) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HEADER + "".join(f"{t},1,2,1,1,5\n" for t in stamps))
    assert times_ms(read(path, **settings)).tolist() == [START_MS, START_MS + 60_000]


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_a_wrong_unit_of_time_is_refused(plain: Path, unit: str) -> None:
    with pytest.raises(BadInput, match=r"BTCUSDT\.csv: row 1: open_time .* is not the time of a bar") as error:
        read(plain, timestamp_unit=unit)
    assert "download.file.timestamp_unit" in error.value.hint


def test_columns_are_mapped_and_the_delimiter_is_configurable(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"when;first;H;L;last;amount;n\n{START_MS};1;3;1;2;5;9\n")
    names = {"open_time": "when", "open": "first", "close": "last", "volume": "amount", "trades": "n"}
    row = read(path, delimiter=";", columns=names).to_pylist()[0]
    assert (row["open"], row["high"], row["close"], row["trades"]) == (1.0, 3.0, 2.0, 9.0)


def test_another_delimiter_than_the_one_given_is_thought_of(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("open_time;open;high;low;close;volume\n2024-01-01T00:00:00Z;1;2;0,5;1,5;3\n")
    with pytest.raises(BadInput, match=r"x\.csv: cannot be read") as error:
        read(tmp_path / "x.csv")
    assert "download.file.delimiter, now ','" in error.value.hint


def test_a_parquet_file_gives_back_the_bars_it_was_made_of(tmp_path: Path) -> None:
    table = bars(random_walk(30), filled=False).cast(SCHEMA)
    pq.write_table(table, tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", "parquet").equals(table)


def test_a_missing_file_is_named_with_the_key(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"BTCUSDT\.csv: no such file") as error:
        read(tmp_path / "{symbol}.csv")
    assert "download.file.path" in error.value.hint


def test_a_parquet_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    pq.write_table(bars(random_walk(3000)), tmp_path / "x.parquet")
    content = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"x\.parquet: cannot be read") as error:
        read(tmp_path / "x.parquet", "parquet")
    assert "cut off" in error.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "x.csv: is empty"),
        ("x.csv", HEADER.encode(), "x.csv: has no rows"),
        ("x.csv", b"1,2,3\n", "no header line, and 3 columns"),
        ("x.csv", HEADER.encode() + b"1,2\n", "x.csv: cannot be read: CSV parse error"),
        ("x.csv", b"open_time,open,high,low,close\n1,2,3,4,5\n", "x.csv: no column 'volume'"),
        ("x.csv", HEADER.encode() + b"yesterday,1,2,1,1,5\n", "open_time holds 'yesterday'"),
        ("x.csv", (HEADER + ROWS[0] + ROWS[1].replace("100.5", "x")).encode(), "column 'close' holds something"),
        ("x.csv.gz", gzip.compress((HEADER + "".join(ROWS)).encode())[:-20], r"x.csv.gz: cannot be read"),
        ("x.zip", b"PK nonsense", "x.zip: cannot be read"),
    ],
)
def test_unusable_files_are_named_with_what_is_wrong(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read(tmp_path / name)


def test_the_wrong_kind_of_file_is_told_to_the_user(tmp_path: Path, plain: Path) -> None:
    pq.write_table(bars([1, 2]), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match="cannot be read") as error:
        read(plain, "parquet")
    assert error.value.hint == "set download.source: csv"
    with pytest.raises(BadInput) as error:
        read(tmp_path / "x.parquet", "csv")
    assert error.value.hint == "set download.source: parquet"
    # Bytes of such a file can be commands to a terminal.
    assert error.value.message.isprintable() and "\ufffd" not in error.value.message


def test_a_mapped_column_that_is_not_there_names_the_key(plain: Path) -> None:
    with pytest.raises(BadInput, match=r"no column 'n', which download\.file\.columns\.trades names"):
        read(plain, columns={"trades": "n"})


@pytest.mark.parametrize(
    ("file", "interval", "rows", "found"),
    [
        ("spot/BTCUSDT_1m.parquet", "1m", 450_905, 13),
        ("spot/BTCUSDT_5m.parquet", "5m", 105_408, 0),
        ("spot/BTCUSDT_15m.parquet", "15m", 61_341, 0),
        ("spot/BTCUSDT_1h.parquet", "1h", 64_524, 28),
        ("spot/ETHUSDT_1m.parquet", "1m", 314_460, 6),
        ("bitfinex/BTCUSD_1m_2018.parquet", "1m", 520_499, 3992),
    ],
)
def test_real_parquet_files_are_read_whole(real_data: Path, file: str, interval: str, rows: int, found: int) -> None:
    table = read(real_data / file, "parquet", interval)
    step = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000}[interval]
    assert table.num_rows == rows
    assert len(grid.gaps(times_ms(table), step)) == found


def test_real_csv_files_agree_with_the_parquet_of_the_same_minutes(real_data: Path) -> None:
    table = read(real_data / "spot_fullcols_csv" / "BTCUSDT-1m_2021-07-01_15.csv.gz")
    assert table.num_rows == 20_161
    assert times_ms(table)[0] == utc_ms("2021-07-01T15:42")
    assert (column(table, "taker_buy_volume") > 0).mean() > 0.99
    archive = real_data / "vision" / "data" / "spot" / "daily" / "klines" / "BTCUSDT" / "1m"
    for path in sorted(archive.glob("BTCUSDT-1m-2021-07-0[2-5].zip")):
        other = read(path)
        rows = np.searchsorted(times_ms(table), times_ms(other))
        # The last row of a source may have been stored before it closed; these are inner days.
        np.testing.assert_array_equal(column(table, "close")[rows], column(other, "close"))


def test_the_dirty_file_is_refused_with_both_rows(real_data: Path) -> None:
    with pytest.raises(BadInput, match="two different bars at 2021-10-16T21:25Z") as error:
        read(real_data / "spot_fullcols_csv" / "BTCUSDT-1m_2021-10-11_21_DIRTY_32dups.csv.gz")
    assert "32 such times" in error.value.message
    assert "row 8486: open 60980.92" in error.value.message
    assert "row 8487: open 60980.92" in error.value.message
    assert "before it closed" in error.value.hint
