"""The download stage against a small Binance on loopback, the real archive's files, and simulated markets."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from market.exchange import DAY, MINUTE, Exchange, running

from pipeline.artifacts import Layout, exclusive, read_json
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput, ExchangeError
from pipeline.market import candles
from pipeline.stages import download, merge

LAYOUT = Layout("test")
START = utc_ms("2024-01-30")


@pytest.fixture
def exchange(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """An exchange at noon of 2024-02-02: January by month, the first of February by day, the rest by REST."""
    with running() as exchange:
        exchange.now_ms = utc_ms("2024-02-02T12:00:30")
        exchange.publish("2024-01", START, utc_ms("2024-02-01"))
        exchange.publish("2024-02-01", utc_ms("2024-02-01"), utc_ms("2024-02-02"))
        monkeypatch.setattr("pipeline.market.binance._now_ms", lambda: exchange.now_ms)
        monkeypatch.setattr("pipeline.stages.download._now_ms", lambda: exchange.now_ms)
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield exchange


def config(exchange: Exchange | None = None, binance: dict[str, Any] | None = None, **section: Any) -> Config:
    if exchange:
        urls = dict.fromkeys(("archive_url", "api_url", "futures_api_url"), exchange.url)
        section = {"start": "2024-01-30", **section}
        binance = {"retries": 2, **urls, **(binance or {})}
    section["binance"] = binance or {}
    return Config.model_validate({"name": "test", "symbols": section.pop("symbols", ["BTCUSDT"]), "download": section})


def folder(symbol: str = "BTCUSDT", venue: str = "binance", interval: str = "1m") -> Path:
    return LAYOUT.bars(venue, "spot", symbol, interval)


def times(path: Path | None = None) -> np.ndarray:
    return np.concatenate([candles.times_ms(pq.read_table(p)) for p in sorted((path or folder()).glob("*.parquet"))])


def provenance(month: str) -> Any:
    return read_json(folder() / f"{month}.json", "download")


def test_months_come_from_the_archive_the_last_days_from_rest_and_no_bar_is_open(exchange: Exchange) -> None:
    summary = download.run(config(exchange), LAYOUT)
    assert np.array_equal(times(), np.arange(START, utc_ms("2024-02-02T12:00"), MINUTE))
    assert [s["url"].partition("/data/")[2] for s in provenance("2024-01")["sources"]] == [
        "spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    ]
    kinds = [("sha256" in s, s["rows"]) for s in provenance("2024-02")["sources"]]
    assert kinds == [(True, 1440), (False, 720)]
    assert summary.figures["rows"] == 2 * 1440 + 1440 + 720
    # January in full was asked of nobody: its month begins before the range.
    assert provenance("2024-01")["complete"] and not provenance("2024-02")["complete"]


def test_a_second_run_asks_only_for_what_is_new(exchange: Exchange) -> None:
    download.run(config(exchange), LAYOUT)
    before = (folder() / "2024-01.parquet").read_bytes()
    exchange.requests.clear()
    exchange.now_ms += 3 * MINUTE
    summary = download.run(config(exchange), LAYOUT)
    assert set(exchange.paths()) == {"/api/v3/time", "/api/v3/klines"}
    assert times()[-1] == utc_ms("2024-02-02T12:02")
    assert summary.figures["months"] == "1 extended, 1 kept"
    assert (folder() / "2024-01.parquet").read_bytes() == before
    assert len(provenance("2024-02")["sources"]) == 2


def test_what_is_complete_needs_no_network(exchange: Exchange) -> None:
    download.run(config(exchange, end="2024-02-01"), LAYOUT)
    exchange.requests.clear()
    download.run(config(exchange, end="2024-02-01"), LAYOUT)
    assert exchange.requests == []


def test_many_small_runs_store_what_one_run_stores(exchange: Exchange) -> None:
    exchange.missing = set(range(utc_ms("2024-02-02T03:00"), utc_ms("2024-02-02T05:00"), MINUTE))
    exchange.now_ms = utc_ms("2024-02-02T02:30:10")
    for _ in range(12):
        download.run(config(exchange), LAYOUT)
        exchange.now_ms += 47 * MINUTE
    download.run(config(exchange), LAYOUT)
    many = [pq.read_table(path) for path in sorted(folder().glob("*.parquet"))]
    gaps = provenance("2024-02")["gaps"]
    shutil.rmtree(LAYOUT.raw)
    download.run(config(exchange), LAYOUT)
    assert [pq.read_table(path) for path in sorted(folder().glob("*.parquet"))] == many
    assert (
        gaps
        == provenance("2024-02")["gaps"]
        == [{"start": "2024-02-02T03:00Z", "end": "2024-02-02T05:00Z", "bars": 120}]
    )


def test_a_bar_that_the_exchange_is_late_with_is_asked_for_again(exchange: Exchange) -> None:
    late = utc_ms("2024-02-02T11:59")
    exchange.missing = {late}
    download.run(config(exchange), LAYOUT)
    assert times()[-1] == late - MINUTE
    exchange.missing = set()
    exchange.now_ms += MINUTE
    download.run(config(exchange), LAYOUT)
    assert list(times()[-2:]) == [late, late + MINUTE]


def test_a_file_published_anew_is_noticed_and_read_again(exchange: Exchange) -> None:
    download.run(config(exchange, end="2024-02-01"), LAYOUT)
    old = candles.column(pq.read_table(folder() / "2024-01.parquet"), "close")
    exchange.price = 200.0
    exchange.publish("2024-01", START, utc_ms("2024-02-01"))
    assert download.run(config(exchange, end="2024-02-01"), LAYOUT).figures["months"] == "1 kept"
    summary = download.run(config(exchange, end="2024-02-01", recheck=True), LAYOUT)
    assert summary.figures["months"] == "1 republished"
    new = candles.column(pq.read_table(folder() / "2024-01.parquet"), "close")
    assert np.array_equal(new, old + 100)
    assert download.run(config(exchange, end="2024-02-01", recheck=True), LAYOUT).figures["months"] == "1 kept"


def test_sources_that_disagree_are_shown_side_by_side(exchange: Exchange) -> None:
    exchange.now_ms = utc_ms("2024-02-02T00:30:10")
    del exchange.files["/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02-01.zip"]
    download.run(config(exchange, end="2024-02-01T12:00"), LAYOUT)
    exchange.price = 300.0
    with pytest.raises(BadInput, match=r"two different bars at 2024-02-01T11:59Z[^\0]*close 10[^\0]*close 30"):
        download.run(config(exchange), LAYOUT)
    assert times()[-1] == utc_ms("2024-02-01T11:59")


def test_the_archive_wins_over_what_rest_had_told_and_the_summary_says_so(exchange: Exchange) -> None:
    path = "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02-01.zip"
    day = exchange.files.pop(path)
    download.run(config(exchange, end="2024-02-01T12:00"), LAYOUT)
    exchange.files[path] = day
    changed = folder() / "2024-02.parquet"
    exchange.price = 103.0
    exchange.publish("2024-02-01", utc_ms("2024-02-01"), utc_ms("2024-02-02"))
    summary = download.run(config(exchange, end="2024-02-02"), LAYOUT)
    found = candles.column(pq.read_table(changed), "open")
    assert found.min() == 103.0, "all of them are the archive's"
    assert len(times()) == 3 * 1440 and (np.diff(times()) == MINUTE).all()
    (warning,) = summary.warnings
    assert "BTCUSDT 1m: 720 bars differ between the archive and another source; the archive's were kept" in warning
    assert "The largest difference is 2.94%: at 2024-02-01T00:0" in warning
    assert summary.figures["months"] == "1 extended, 1 kept"
    assert download.run(config(exchange, end="2024-02-02"), LAYOUT).warnings == []


def test_rest_does_not_change_what_the_archive_has_told(exchange: Exchange) -> None:
    download.run(config(exchange, end="2024-02-02"), LAYOUT)
    before = pq.read_table(folder() / "2024-02.parquet")
    exchange.price = 300.0
    summary = download.run(config(exchange), LAYOUT)
    assert pq.read_table(folder() / "2024-02.parquet").slice(0, 1440) == before
    (warning,) = summary.warnings
    assert "1 bar differs" in warning and "at 2024-02-01T23:59Z low is 1" in warning and "in the archive, 3" in warning


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(exchange: Exchange) -> None:
    path = "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    exchange.faults[path] = ["truncate", "500", "429"]
    download.run(config(exchange, {"retries": 3}, end="2024-02-01"), LAYOUT)
    ranges = [headers.get("Range") for p, headers in exchange.requests if p == path]
    assert ranges[0] is None and len(set(ranges[1:])) == 1 and ranges[1].startswith("bytes=")
    assert len(times()) == 2880
    assert list((LAYOUT.raw / ".partial").iterdir()) == []


def test_a_later_run_resumes_what_an_earlier_one_could_not_finish(exchange: Exchange) -> None:
    path = "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    exchange.faults[path] = ["truncate", "500", "500"]
    with pytest.raises(ExchangeError, match="HTTP 500"):
        download.run(config(exchange, end="2024-02-01"), LAYOUT)
    assert not list(folder().glob("*"))
    exchange.requests.clear()
    download.run(config(exchange, end="2024-02-01"), LAYOUT)
    assert exchange.requests[0][1].get("Range", "").startswith("bytes=")
    assert len(times()) == 2880


def test_a_file_that_never_fits_its_checksum_is_refused_after_a_second_try(exchange: Exchange) -> None:
    path = "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    exchange.files[f"{path}.CHECKSUM"] = b"0" * 64 + b"  BTCUSDT-1m-2024-01.zip\n"
    with pytest.raises(BadInput, match=r"BTCUSDT-1m-2024-01.zip: SHA-256 is .*CHECKSUM says 0000"):
        download.run(config(exchange, end="2024-02-01"), LAYOUT)
    assert exchange.paths().count(path) == 2
    assert not list(folder().glob("*"))


def test_a_partial_file_of_an_older_version_is_fetched_afresh(exchange: Exchange) -> None:
    path = "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    exchange.faults[path] = ["truncate", "500", "500"]
    with pytest.raises(ExchangeError):
        download.run(config(exchange, end="2024-02-01"), LAYOUT)
    exchange.price = 200.0
    exchange.publish("2024-01", START, utc_ms("2024-02-01"))
    download.run(config(exchange, end="2024-02-01"), LAYOUT)
    assert candles.column(pq.read_table(folder() / "2024-01.parquet"), "low").min() == 199


def test_months_before_the_listing_are_passed_over_quickly(exchange: Exchange) -> None:
    exchange.listed_ms = START
    download.run(config(exchange, start="2022-06-01"), LAYOUT)
    daily = [path for path in exchange.paths() if "/daily/" in path and "2024-02" not in path]
    # One month of days was looked for; then the listing was asked for.
    assert len(daily) == 30 and all("1m-2022-06-" in path for path in daily)
    assert times()[0] == START
    assert provenance("2023-12")["complete"] and provenance("2023-12")["rows"] == 0
    exchange.requests.clear()
    download.run(config(exchange, start="2022-06-01"), LAYOUT)
    assert not [path for path in exchange.paths() if "/data/" in path]


def test_daily_files_alone_are_enough_when_rest_is_down(exchange: Exchange) -> None:
    for day in (START, START + DAY):
        exchange.publish(candles.iso(day)[:10], day, day + DAY)
    del exchange.files["/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"]
    download.run(config(exchange, {"api_url": "http://127.0.0.1:9"}, end="2024-02-01"), LAYOUT)
    assert len(times()) == 2880


def test_microseconds_of_newer_archives_become_milliseconds(exchange: Exchange) -> None:
    exchange.publish("2024-01", START, utc_ms("2024-02-01"), micro=True)
    download.run(config(exchange, end="2024-02-01"), LAYOUT)
    assert np.array_equal(times(), np.arange(START, utc_ms("2024-02-01"), MINUTE))


def test_an_unknown_symbol_is_named(exchange: Exchange) -> None:
    with pytest.raises(BadInput, match=r"no 1m bars of BTCUSD .*there is no symbol 'BTCUSD'"):
        download.run(config(exchange, symbols=["BTCUSD"]), LAYOUT)


def test_an_unreachable_exchange_is_said_so_and_what_came_is_kept(exchange: Exchange) -> None:
    dead = config(exchange, {"api_url": "http://127.0.0.1:9", "retries": 0}, end="2024-01-31T12:00", start="2024-01-29")
    exchange.publish("2024-01-30", START, START + DAY)
    del exchange.files["/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"]
    with pytest.raises(ExchangeError, match=r"cannot be reached: .*refused") as error:
        download.run(dead, LAYOUT)
    assert error.value.exit_code == 3
    assert len(times()) == 1440


def test_rate_limits_are_waited_for(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr("time.sleep", naps.append)
    exchange.faults["/api/v3/klines"] = ["429", "500", "html"]
    download.run(config(exchange, {"archive": False, "retries": 4}, start="2024-02-02"), LAYOUT)
    # python-binance takes a page of HTML for an invalid reply; each is tried again.
    assert naps[:3] == [7.0, 1.0, 2.0]
    assert len(times()) == 720
    naps.clear()
    exchange.weight = 5999
    exchange.now_ms += 5 * MINUTE
    download.run(config(exchange, {"archive": False}, start="2024-02-02"), LAYOUT)
    assert naps and all(0 < nap <= 61 for nap in naps)


def test_an_archive_without_rest_says_what_it_does_not_have(exchange: Exchange) -> None:
    summary = download.run(config(exchange, {"rest": False}, end="2024-02-02T12:00"), LAYOUT)
    assert times()[-1] == utc_ms("2024-02-01T23:59")
    assert summary.warnings == [
        "BTCUSDT 1m: the source does not have 720 bars of the range, or not yet: 2024-02-02T00:00Z to 2024-02-02T12:00Z"
    ]
    # "none" alone beside that warning would be read as a complete series.
    assert summary.figures["gaps"] == "none in what the source has"


def test_without_a_start_the_last_thirty_days_come(exchange: Exchange) -> None:
    exchange.files.clear()
    download.run(config(exchange, start=None), LAYOUT)
    assert times()[0] == utc_ms("2024-01-03") and len(times()) == 30 * 1440 + 720


def test_funding_hours_are_rounded_down_and_their_stamps_kept(exchange: Exchange) -> None:
    january = "calc_time,funding_interval_hours,last_funding_rate\n" + "".join(
        f"{t + 7},8,0.0002\n" for t in range(START, utc_ms("2024-02-01"), 8 * 3_600_000)
    )
    exchange.put("/data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip", january.encode())
    download.run(config(exchange, {"archive": True}, market="um", funding=True), LAYOUT)
    rates = [pq.read_table(LAYOUT.bars("binance", "um", "BTCUSDT", "funding") / f"2024-0{m}.parquet") for m in (1, 2)]
    hours = np.concatenate([candles.times_ms(rate) for rate in rates])
    assert np.array_equal(hours, np.arange(START, utc_ms("2024-02-02T12:00"), 8 * 3_600_000))
    assert rates[0]["funding_time"].to_pylist()[0].microsecond == 7000
    assert rates[0]["funding_rate"].to_pylist()[0] == 0.0002 and rates[1]["funding_rate"].to_pylist()[0] == 0.0001


def test_a_killed_download_is_finished_by_the_next(workspace: Path) -> None:
    with running() as exchange:
        for month in range(1, 13):
            start, end = utc_ms(f"2022-{month:02}-01"), utc_ms(f"2022-{month:02}-02")
            exchange.publish(f"2022-{month:02}", start, end)
        file = workspace / "killed.yaml"
        file.write_text(
            "download: {start: '2022-01-01', end: '2023-01-01',"
            f" binance: {{archive_url: '{exchange.url}', rest: false, parallel: 1}}}}\n"
        )
        command = [str(Path(sys.executable).with_name("pipeline")), "download", "-c", str(file)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, cwd=workspace, env=environment, stderr=subprocess.DEVNULL)
        for _ in range(3000):
            if len(list(folder().glob("*.json"))) >= 3 or process.poll() is not None:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 1 <= len(list(folder().glob("*.json"))) <= 12
        finished = subprocess.run(command, cwd=workspace, env=environment, check=False, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert len(times()) == 12 * 1440
        assert not [path for path in folder().iterdir() if path.name.startswith(".")]


def test_a_damaged_month_is_fetched_again(exchange: Exchange) -> None:
    download.run(config(exchange), LAYOUT)
    path = folder() / "2024-01.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    download.run(config(exchange), LAYOUT)
    assert path.read_bytes() == whole


def test_a_dry_run_names_the_months_and_asks_nobody(exchange: Exchange) -> None:
    plan = download.plan(config(exchange), LAYOUT)
    assert [path.name for path in plan.outputs] == ["2024-01.parquet", "2024-02.parquet"]
    assert exchange.requests == [] and not LAYOUT.raw.exists()


def test_synthetic_months_do_not_depend_on_the_range_asked_for(workspace: Path) -> None:
    section: dict[str, Any] = {"source": "synthetic", "synthetic": {"seed": 3, "outages_per_year": 50}}
    for start, end in itertools.pairwise(("2023-01-10", "2023-01-20T07:31", "2023-03-05", "2023-04-02")):
        download.run(config(start="2023-01-10", end=end, **section), LAYOUT)
        assert start
    parts = [pq.read_table(path) for path in sorted(folder(venue="synthetic").glob("*.parquet"))]
    shutil.rmtree(LAYOUT.raw)
    download.run(config(start="2023-01-10", end="2023-04-02", **section), LAYOUT)
    assert [pq.read_table(path) for path in sorted(folder(venue="synthetic").glob("*.parquet"))] == parts


def test_a_synthetic_market_with_other_settings_replaces_the_old_one(workspace: Path) -> None:
    section: dict[str, Any] = {"source": "synthetic", "start": "2023-01-01", "end": "2023-02-01"}
    download.run(config(**section), LAYOUT)
    first = pq.read_table(folder(venue="synthetic") / "2023-01.parquet")
    summary = download.run(config(**section, synthetic={"seed": 8}), LAYOUT)
    assert summary.figures["months"] == "1 made anew"
    assert pq.read_table(folder(venue="synthetic") / "2023-01.parquet") != first


def test_files_of_ones_own_are_stored_and_read_again_when_they_change(workspace: Path) -> None:
    def write(close: str) -> None:
        rows = [f"{START + i * MINUTE},10,11,9,{close},1" for i in range(50)]
        Path("bars.csv").write_text("open_time,open,high,low,close,volume\n" + "\n".join(rows) + "\n")

    own = config(source="csv", file={"path": "bars.csv"}, start="2024-01-30", end="2024-02-05")
    write("10")
    download.run(own, LAYOUT)
    assert len(times(folder(venue="file"))) == 50
    write("10.5")
    download.run(own, LAYOUT)
    assert set(candles.column(pq.read_table(folder(venue="file") / "2024-01.parquet"), "close")) == {10.5}


def test_funding_stamped_in_another_zone_is_the_same_as_in_utc(workspace: Path, real_data: Path) -> None:
    Path("bars.csv").write_text(
        "open_time,open,high,low,close,volume\n" + "".join(f"{START + i * MINUTE},10,11,9,10,1\n" for i in range(5))
    )

    def rates(**file: object) -> list[Any]:
        shutil.rmtree(LAYOUT.raw, ignore_errors=True)
        section = {"source": "csv", "market": "um", "funding": True, "file": {"path": "bars.csv"}, "funding_file": file}
        funding = {"start": "2020-01-01", "end": "2024-02-01"}
        download.run(config(**section, **funding), LAYOUT)
        folder = LAYOUT.bars("file", "um", "BTCUSDT", "funding")
        return [row for p in sorted(folder.glob("*.parquet")) for row in pq.read_table(p).to_pylist()]

    utc = rates(path=str(real_data / "funding" / "BTCUSDT_funding_2020_2023.parquet"))
    local = rates(path=str(real_data / "funding" / "orig_BTC.csv"), utc_offset="3h")
    assert len(utc) == 4383
    assert [(r["open_time"], r["funding_rate"]) for r in local] == [(r["open_time"], r["funding_rate"]) for r in utc]
    assert {r["open_time"].hour for r in utc} == {0, 8, 16}


def test_two_downloads_of_one_symbol_do_not_meet(exchange: Exchange) -> None:
    with (
        exclusive(LAYOUT.raw / ".locks" / "binance-spot-BTCUSDT.lock", "another"),
        pytest.raises(BadInput, match="already running"),
    ):
        download.run(config(exchange), LAYOUT)


@pytest.mark.slow
def test_the_real_archive_over_loopback_reads_as_from_disk(workspace: Path, real_data: Path) -> None:
    with running() as exchange:
        exchange.serve_tree(real_data / "vision")
        section = {"start": "2021-10-11", "end": "2021-10-21"}
        for url in (exchange.url, (real_data / "vision").as_uri()):
            archive = {"archive_url": url, "rest": False}
            summary = download.run(config(binance=archive, **section), LAYOUT)
            assert summary.figures["rows"] == 10 * 1440 and summary.figures["gaps"] == "none"
            stored = pq.read_table(folder() / "2021-10.parquet")
            assert stored.schema == candles.SCHEMA
            shutil.rmtree(LAYOUT.raw)
        futures = {"market": "um", "start": "2023-08-01", "end": "2023-11-01", "symbols": ["NEARUSDT"]}
        archive = {"archive_url": exchange.url, "rest": False}
        full = config(binance=archive, **futures)
        assert download.run(full, LAYOUT).figures["rows"] == 92 * 1440
        assert merge.run(full, LAYOUT).figures["rows"] == 92 * 1440
