"""The archive's tree made from a replayed market: the project's own client reads it, and it is as the real one."""

import hashlib
import io
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import bars, random_walk
from market.exchange import running

from pipeline.config.sources import BinanceSource
from pipeline.exchange.local.archive import archive_file
from pipeline.exchange.local.history import DAY, Series, aggregate, from_table, kline
from pipeline.market import candles
from pipeline.market.archive import Archive
from pipeline.market.conflicts import differing

QUARTER = 900_000
DEC_2024, JAN_2025, FEB_2025 = 1_733_011_200_000, 1_735_689_600_000, 1_738_368_000_000
FOREVER = 1 << 60


def market(start: int = DEC_2024 - 9 * DAY, end: int = FEB_2025 + 9 * DAY, hole: tuple[int, int] = (0, 0)) -> pa.Table:
    """Bars of 15 minutes from a week before December 2024 to a week after January 2025, but for a hole."""
    n = (end - start) // QUARTER
    table = bars(np.round(random_walk(n), 2), step_ms=QUARTER, start_ms=start, filled=False)
    times = candles.times_ms(table)
    return table.filter(pa.array((times < hole[0]) | (times >= hole[1])))


def path(interval: str, period: str, market: str = "spot") -> str:
    kind = "monthly" if len(period) == 7 else "daily"
    return f"data/{market}/{kind}/klines/BTCUSDT/{interval}/BTCUSDT-{interval}-{period}.zip"


def made(series: Series, name: str, until_ms: int = FOREVER) -> bytes | None:
    return archive_file({"BTCUSDT": series}, name, until_ms)


def lines(packed: bytes | None) -> list[str]:
    assert packed is not None
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        (name,) = archive.namelist()
        return archive.read(name).decode().splitlines()


def save(root: Path, series: Series, *names: str) -> None:
    for name in names:
        for one in (name, f"{name}.CHECKSUM"):
            content = made(series, one)
            assert content is not None
            (root / one).parent.mkdir(parents=True, exist_ok=True)
            (root / one).write_bytes(content)


def expected(series: Series, interval: str, start: int, end: int) -> pa.Table:
    """What a client should have read: every kline of a span, as the REST API would give it."""
    rows = [kline(row, interval) for row in aggregate(series, series.at(start), series.at(end), interval)]
    columns = {"open_time": candles.time_array(np.array([row[0] for row in rows]))}
    for name, field in zip(candles.COLUMNS, (1, 2, 3, 4, 5, 7, 8, 9, 10), strict=True):
        columns[name] = pa.array([float(row[field]) for row in rows])
    return pa.table(columns, candles.SCHEMA)


@pytest.mark.parametrize("folder", ["spot", "um"])
@pytest.mark.parametrize("interval", ["15m", "1h", "1d"])
@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("2024-12", DEC_2024, JAN_2025),
        ("2025-01", JAN_2025, FEB_2025),
        ("2024-12-31", JAN_2025 - DAY, JAN_2025),
        ("2025-01-01", JAN_2025, JAN_2025 + DAY),
    ],
)
def test_the_client_reads_back_the_same_bars(
    tmp_path: Path, folder: str, interval: str, period: str, start: int, end: int
) -> None:
    series = from_table(market(hole=(JAN_2025 - 7_200_000, JAN_2025 + 3_600_000)), "15m")
    save(tmp_path / "tree", series, path(interval, period, "futures/um" if folder == "um" else "spot"))
    archive = Archive(BinanceSource(archive_url=(tmp_path / "tree").as_uri()), folder, tmp_path / "partial")
    found = archive.bars("BTCUSDT", interval, period)
    assert found is not None
    assert found[0].equals(expected(series, interval, start, end))


def test_the_client_downloads_it_over_http_and_verifies_its_checksum(tmp_path: Path) -> None:
    series = from_table(market(), "15m")
    options = BinanceSource(retries=0)
    with running() as server:
        archive = Archive(options.model_copy(update={"archive_url": server.url}), "spot", tmp_path)
        address = urlsplit(archive.url("BTCUSDT", "15m", "2025-01")).path
        for name in (address, f"{address}.CHECKSUM"):
            content = made(series, name.removeprefix("/"))
            assert content is not None
            server.files[name] = content
        found = archive.bars("BTCUSDT", "15m", "2025-01")
        assert found is not None
        table, digest = found
        assert table.num_rows == 31 * 96
        assert archive.checksum(f"{server.url}{address}") == digest == hashlib.sha256(server.files[address]).hexdigest()
        assert archive.bars("BTCUSDT", "15m", "2025-02") is None


def test_days_and_their_month_do_not_contradict_each_other(tmp_path: Path) -> None:
    series = from_table(market(), "15m")
    days = [f"2025-01-{day:02d}" for day in range(1, 32)]
    save(tmp_path, series, path("30m", "2025-01"), *(path("30m", day) for day in days))
    archive = Archive(BinanceSource(archive_url=tmp_path.as_uri()), "spot", tmp_path / "partial")
    pieces = [archive.bars("BTCUSDT", "30m", period) for period in ("2025-01", *days)]
    month, *daily = [piece[0] for piece in pieces if piece is not None]
    joined = pa.concat_tables(daily)
    assert joined["open_time"].equals(month["open_time"])
    assert len(differing(joined.drop(["open_time"]), month.drop(["open_time"]))) == 0


def test_the_same_file_is_the_same_bytes_and_its_checksum_names_it() -> None:
    series = from_table(market(), "15m")
    name = path("15m", "2024-12")
    first, second = made(series, name), made(series, name, FOREVER - 1)
    assert first is not None and first == second
    assert made(series, f"{name}.CHECKSUM") == (
        f"{hashlib.sha256(first).hexdigest()}  BTCUSDT-15m-2024-12.zip\n".encode()
    )
    assert zipfile.ZipFile(io.BytesIO(first)).namelist() == ["BTCUSDT-15m-2024-12.csv"]


def test_spot_is_stamped_in_microseconds_from_2025_on_and_futures_never() -> None:
    series = from_table(market(), "15m")
    old, new = lines(made(series, path("15m", "2024-12"))), lines(made(series, path("15m", "2025-01")))
    assert old[0].split(",")[::6] == ["1733011200000", "1733012099999"]
    assert new[0].split(",")[::6] == ["1735689600000000", "1735690499999999"]
    assert all(len(line.split(",")) == 12 for line in old + new)
    header, row, *_ = lines(made(series, path("15m", "2025-01", "futures/um")))
    assert header.startswith("open_time,open,high,low,close,volume,close_time,quote_volume,count,")
    assert row.split(",")[::6] == ["1735689600000", "1735690499999"]


def test_weeks_belong_to_the_month_in_which_they_open() -> None:
    series = from_table(market(), "15m")
    opens = [int(line.split(",")[0]) for line in lines(made(series, path("1w", "2024-12")))]
    mondays = [DEC_2024 + day * DAY for day in (1, 8, 15, 22, 29)]
    assert opens == mondays
    # The last week closes on the fifth of January.
    assert made(series, path("1w", "2024-12"), JAN_2025 + 5 * DAY - 1) is None
    assert made(series, path("1w", "2024-12"), JAN_2025 + 5 * DAY) is not None


def test_a_month_as_one_kline() -> None:
    (row,) = lines(made(from_table(market(), "15m"), path("1mo", "2024-12")))
    fields = row.split(",")
    assert (fields[0], fields[6], fields[5]) == (str(DEC_2024), str(JAN_2025 - 1), f"{31 * 96 * 10:.8f}")


@pytest.mark.parametrize(
    "name",
    [
        path("5m", "2024-12"),  # shorter than the bars
        path("1M", "2024-12"),  # its name in the archive is 1mo
        path("7m", "2024-12"),
        path("3d", "2024-12-03"),
        path("1w", "2024-12-02"),
        path("1mo", "2024-12-01"),
        path("15m", "2024-13"),
        path("15m", "2024-02-30"),
        path("15m", "2024-12").replace("monthly", "daily"),
        path("15m", "2024-12-01").replace("daily", "monthly"),
        path("15m", "2024-12").replace("BTCUSDT", "ETHUSDT"),
        path("15m", "2024-12").replace("BTCUSDT/", "ETHUSDT/"),
        path("15m", "2024-12", "futures/cm"),
        path("15m", "2024-12").replace("klines", "trades"),
        "data/../secret",
        "",
    ],
)
def test_what_the_archive_does_not_have(name: str) -> None:
    assert made(from_table(market(), "15m"), name) is None
    assert made(from_table(market(), "15m"), f"{name}.CHECKSUM") is None


def test_a_period_is_published_only_once_it_is_over_and_if_the_bars_cover_it() -> None:
    series = from_table(market(start=DEC_2024 + QUARTER), "15m")
    assert made(series, path("15m", "2024-12")) is None
    assert made(series, path("15m", "2024-12-01")) is None
    assert made(series, path("15m", "2024-12-02")) is not None
    assert made(series, path("15m", "2025-01"), FEB_2025 - 1) is None
    assert made(series, path("15m", "2025-01"), FEB_2025) is not None
    assert made(series, path("15m", "2025-02")) is None
    assert made(series, path("15m", "2025-02-09")) is not None
    assert made(series, path("15m", "2025-02-10")) is None


def test_a_day_without_any_bar_has_no_file_but_its_month_has() -> None:
    series = from_table(market(hole=(JAN_2025 + DAY, JAN_2025 + 2 * DAY)), "15m")
    assert made(series, path("15m", "2025-01-02")) is None
    assert len(lines(made(series, path("15m", "2025-01")))) == 30 * 96


@pytest.mark.parametrize("day", ["2021-05-19", "2021-07-04", "2021-10-19"])
def test_real_files_are_made_again_to_the_letter(real_data: Path, tmp_path: Path, day: str) -> None:
    tree = real_data / "vision"
    name = path("1m", day)
    archive = Archive(BinanceSource(archive_url=tree.as_uri()), "spot", tmp_path)
    found = archive.bars("BTCUSDT", "1m", day)
    assert found is not None
    assert lines(made(from_table(found[0], "1m"), name)) == lines((tree / name).read_bytes())


def test_real_months_are_read_back_to_the_last_bit(real_data: Path, tmp_path: Path) -> None:
    table = candles_of(real_data / "spot" / "BTCUSDT_5m.parquet")
    save(tmp_path, from_table(table, "5m"), *(path("5m", f"2024-{month:02d}") for month in (1, 6, 12)))
    archive = Archive(BinanceSource(archive_url=tmp_path.as_uri()), "spot", tmp_path / "partial")
    for month in (1, 6, 12):
        found = archive.bars("BTCUSDT", "5m", f"2024-{month:02d}")
        assert found is not None
        times = candles.times_ms(found[0])
        mine = table.slice(int(np.searchsorted(candles.times_ms(table), times[0])), len(times))
        for column in ("open", "high", "low", "close", "volume"):
            assert np.array_equal(candles.column(found[0], column), candles.column(mine, column)), column


def candles_of(parquet: Path) -> pa.Table:
    table = pq.read_table(parquet)
    columns = {"open_time": candles.time_array(table["open_time"].to_numpy())}
    return pa.table(columns | {name: table[name] for name in candles.COLUMNS if name in table.column_names})
