"""The merge stage on hand-made downloads: a complete grid, and nothing in it that was not known yet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from builders import START_MS, bars, random_walk
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import TIME, Layout, read_json, read_table, sha256_file, write_table
from pipeline.config import Config
from pipeline.config.sources import FileSource
from pipeline.errors import BadInput, MissingInput
from pipeline.market import cleaning, files, merging
from pipeline.market.candles import COLUMNS, PRICES, SCHEMA, column, iso, time_array, times_ms
from pipeline.stages import merge

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
FIVE = 5 * MINUTE


def config(source: str = "synthetic", download: dict[str, Any] | None = None, **section: Any) -> Config:
    return Config.model_validate(
        {"name": "test", "interval": "5m", "download": {"source": source, **(download or {})}, "merge": section}
    )


def candle_bars(n: int, seed: int = 0, *, step_ms: int = FIVE, start_ms: int = START_MS) -> pa.Table:
    return bars(random_walk(n, seed), step_ms=step_ms, start_ms=start_ms, filled=False).cast(SCHEMA)


def download(table: pa.Table, symbol: str = "BTCUSDT", interval: str = "5m", market: str = "spot") -> None:
    """Monthly files, as the download stage leaves them."""
    months = pc.strftime(table["open_time"], format="%Y-%m")
    for month in months.unique().to_pylist():
        path = Layout("test").bars("synthetic", market, symbol, interval) / f"{month}.parquet"
        write_table(path, table.filter(pc.equal(months, month)))


def merged(settings: Config | None = None) -> pa.Table:
    merge.run(settings or config(), Layout("test"))
    return read_table(Layout("test").merged("BTCUSDT"), "merge")


def test_a_complete_download_comes_out_as_it_went_in(workspace: Path) -> None:
    # Ten days that cross a month's border.
    table = candle_bars(2880, start_ms=START_MS - 5 * DAY)
    download(table)
    result = merged()
    assert result.column_names == ["open_time", *COLUMNS, "is_filled"]
    assert result.drop_columns(["is_filled"]).cast(SCHEMA).equals(table)
    assert not any(result["is_filled"].to_pylist())
    assert read_json(Layout("test").gaps, "merge") == {
        "BTCUSDT": {"rows": 2880, "filled": 0, "share": 0.0, "zero_volume": 0, "gaps": []}
    }


def test_gaps_are_filled_counted_and_listed(workspace: Path) -> None:
    table = candle_bars(100)
    volume = column(table, "volume").copy()
    volume[60] = 0
    table = table.set_column(5, SCHEMA.field("volume"), pa.array(volume))
    download(table.take([i for i in range(100) if i not in (10, 40, 41)]))
    summary = merge.run(config(), Layout("test"))
    result = read_table(Layout("test").merged("BTCUSDT"), "merge")
    assert np.flatnonzero(result["is_filled"].to_numpy()).tolist() == [10, 40, 41]
    assert [column(result, name)[41] for name in PRICES] == [column(table, "close")[39]] * 4
    assert read_json(Layout("test").gaps, "merge")["BTCUSDT"] == {
        "rows": 100,
        "filled": 3,
        "share": 0.03,
        "zero_volume": 1,
        "gaps": [
            {"start": "2024-01-01T00:50Z", "end": "2024-01-01T00:55Z", "bars": 1},
            {"start": "2024-01-01T03:20Z", "end": "2024-01-01T03:30Z", "bars": 2},
        ],
    }
    assert summary.figures["filled"] == "3 (3.00%)"
    assert summary.figures["longest gap"] == "2 bars of BTCUSDT, 2024-01-01T03:20Z to 2024-01-01T03:30Z"


def test_too_many_made_up_bars_are_refused_and_the_old_table_stays(workspace: Path) -> None:
    download(candle_bars(100))
    before = merged()
    download(candle_bars(100).take([*range(30), *range(70, 100)]))
    with pytest.raises(BadInput, match=r"BTCUSDT: 40\.0% of the 100 bars are missing .*longest gap is 40 bars from"):
        merge.run(config(), Layout("test"))
    assert read_table(Layout("test").merged("BTCUSDT"), "merge").equals(before)
    assert merged(config(max_filled=0.5)).num_rows == 100


def test_the_range_is_half_open_and_begins_and_ends_with_real_bars(workspace: Path) -> None:
    download(candle_bars(100))
    result = merged(config(start=iso(START_MS + HOUR), end=iso(START_MS + 2 * HOUR)))
    assert times_ms(result).tolist() == [START_MS + HOUR + i * FIVE for i in range(12)]
    wide = config(start="2023-12-31", end="2024-01-05")
    summary = merge.run(wide, Layout("test"))
    assert read_table(Layout("test").merged("BTCUSDT"), "merge").num_rows == 100
    assert "bars begin at 2024-01-01T00:00Z, later than asked for" in summary.warnings[0]
    assert "bars end at 2024-01-01T08:20Z, earlier than asked for" in summary.warnings[1]


def test_the_range_of_the_download_counts_unless_merge_has_its_own(workspace: Path) -> None:
    download(candle_bars(100))
    asked = {"start": iso(START_MS + HOUR), "end": iso(START_MS + 2 * HOUR)}
    assert merged(config(download=asked)).num_rows == 12
    assert merged(config(download=asked, end=iso(START_MS + 3 * HOUR))).num_rows == 24


def test_a_gap_at_the_start_is_filled_from_what_came_before(workspace: Path) -> None:
    download(candle_bars(200).take([*range(10), *range(15, 200)]))
    result = merged(config(start=iso(START_MS + 12 * FIVE)))
    assert times_ms(result)[0] == START_MS + 12 * FIVE
    assert result["is_filled"].to_pylist()[:4] == [True, True, True, False]
    assert column(result, "close")[0] == column(candle_bars(200), "close")[9]


def test_what_closed_before_the_start_is_known_at_the_start(workspace: Path) -> None:
    download(candle_bars(2880, start_ms=START_MS - 5 * DAY))
    result = merged(config(start=iso(START_MS), timeframes=["1h", "1d"]))
    assert times_ms(result)[0] == START_MS
    assert np.isfinite(column(result, "1d_close")).all() and np.isfinite(column(result, "1h_close")).all()


def test_a_reference_symbol_stands_beside_with_its_prefix(workspace: Path) -> None:
    other = candle_bars(80, seed=1, start_ms=START_MS + 10 * FIVE)
    download(candle_bars(100))
    download(other.take([i for i in range(80) if i != 50]), "ETHUSDT")
    result = merged(config(symbols=["ETHUSDT"]))
    assert result.column_names[-9:] == [f"ETHUSDT_{name}" for name in COLUMNS]
    close = column(result, "ETHUSDT_close")
    assert np.isnan(close[:10]).all()
    expected = column(other, "close").copy()
    expected[50] = expected[49]
    np.testing.assert_array_equal(close[10:90], expected)
    np.testing.assert_array_equal(close[90:], expected[-1])
    assert column(result, "ETHUSDT_volume")[60] == 0


def test_an_hour_enters_with_the_bar_that_closes_it(workspace: Path) -> None:
    table = candle_bars(36)
    download(table)
    hour = column(merged(config(timeframes=["1h"])), "1h_close")
    assert np.isnan(hour[:11]).all()
    np.testing.assert_array_equal(hour[11:23], column(table, "close")[11])
    np.testing.assert_array_equal(hour[23:35], column(table, "close")[23])


def test_downloaded_hours_are_preferred_and_stale_ones_are_not_used(workspace: Path) -> None:
    download(candle_bars(36))
    hours = candle_bars(3, seed=9, step_ms=HOUR)
    download(hours, interval="1h")
    both = config(timeframes=["1h"])
    assert column(merged(both), "1h_close")[35] == column(hours, "close")[2]
    download(hours.slice(0, 2), interval="1h")
    summary = merge.run(both, Layout("test"))
    result = read_table(Layout("test").merged("BTCUSDT"), "merge")
    assert column(result, "1h_close")[35] == column(candle_bars(36), "close")[35]
    assert "downloaded 1h bars end at 2024-01-01T02:00Z" in summary.warnings[0]


def test_the_first_hour_is_left_out_if_its_beginning_is(workspace: Path) -> None:
    download(candle_bars(36, start_ms=START_MS + FIVE))
    hour = column(merged(config(timeframes=["1h"])), "1h_open")
    assert np.isnan(hour[:22]).all() and np.isfinite(hour[22:]).all()


def test_a_reference_that_is_flat_where_the_symbol_trades_is_told(workspace: Path) -> None:
    download(candle_bars(100).take([i for i in range(100) if i not in (50, 51)]))
    # Not listed yet for 5 bars, the exchange's outage at 50 and 51, missing at 60, delisted from 70 on.
    download(candle_bars(100, 1).take([*range(5, 50), *range(52, 60), *range(61, 70)]), "ETHUSDT")
    (note,) = merge.run(config(symbols=["ETHUSDT"]), Layout("test")).warnings
    assert note == (
        "BTCUSDT: 31 bars of ETHUSDT are missing where BTCUSDT has them, so ETHUSDT is flat there,"
        " at most 30 in a row, 2024-01-01T05:50Z to 2024-01-01T08:20Z"
    )


def test_a_funding_rate_that_was_not_followed_by_the_next_is_told(workspace: Path) -> None:
    download(candle_bars(400), market="um")
    times = START_MS + 8 * HOUR * np.array([0, 1, 3])
    rates = pa.table({"open_time": time_array(times), "funding_rate": [0.1, 0.2, 0.3]})
    write_table(Layout("test").bars("synthetic", "um", "BTCUSDT", "funding") / "2024-01.parquet", rates)
    settings = config(download={"market": "um", "funding": True, "mark_price": False}, funding=True)
    (note,) = merge.run(settings, Layout("test")).warnings
    # Rates of 16 h and of 32 h are missing: 95 bars closed after 16 h and before 24 h, 16 after 32 h.
    assert "more than 8 hours old on 111 bars, the first at 2024-01-01T16:05Z, the last at 2024-01-02T09:20Z" in note


def test_funding_is_the_last_rate_known_at_the_close(workspace: Path) -> None:
    market = {"market": "um", "funding": True}
    download(candle_bars(24), market="um")
    rates = pa.table(
        # The second rate is published seven milliseconds after a bar has closed.
        {"open_time": time_array(np.array([START_MS + HOUR, START_MS + HOUR + FIVE + 7])), "funding_rate": [0.1, 0.2]}
    )
    write_table(Layout("test").bars("synthetic", "um", "BTCUSDT", "funding") / "2024-01.parquet", rates)
    rate = column(merged(config(download=market, funding=True)), "funding_rate")
    assert np.isnan(rate[:11]).all()
    assert rate[11:15].tolist() == [0.1, 0.1, 0.2, 0.2]


@given(st.sets(st.integers(0, 119), min_size=30), st.integers(30, 118), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_changing_the_future_changes_no_earlier_value(rows: set[int], cut: int, seed: int) -> None:
    def columns(table: pa.Table) -> dict[str, np.ndarray]:
        kept = table.take(sorted(rows))
        hours = merging.resampled(kept, "5m", "1h")
        return merging.aligned(hours, "1h", times, "5m") | {
            f"same_{name}": values for name, values in merging.aligned(kept, "5m", times, "5m").items()
        }

    times = START_MS + FIVE * np.arange(120, dtype=np.int64)
    table, other = candle_bars(120), candle_bars(120, seed)
    one, two = columns(table), columns(pa.concat_tables([table.slice(0, cut), other.slice(cut)]))
    for name in one:
        np.testing.assert_array_equal(one[name][:cut], two[name][:cut])


def test_the_same_input_gives_the_same_bytes(workspace: Path) -> None:
    download(candle_bars(300).take([*range(100), *range(120, 300)]))
    everything = config(timeframes=["15m", "1h"], symbols=["BTCUSDT"])
    path = Layout("test").merged("BTCUSDT")
    merge.run(everything, Layout("test"))
    first = sha256_file(path)
    merge.run(everything, Layout("test"))
    assert sha256_file(path) == first


def test_the_plan_tells_what_would_come_out_and_writes_nothing(workspace: Path) -> None:
    download(candle_bars(100))
    plan = merge.plan(config(timeframes=["1h"]), Layout("test"))
    assert plan.rows == 100
    assert plan.columns == merged(config(timeframes=["1h"])).column_names[1:]
    assert plan.notes == ["1h bars are made of the 5m bars"]
    assert plan.outputs == [Path("data/test/merged/BTCUSDT.parquet"), Path("data/test/merged/gaps.json")]


def test_missing_downloads_are_named(workspace: Path) -> None:
    with pytest.raises(MissingInput, match="data/raw/synthetic/spot/BTCUSDT/5m: no downloaded bars") as error:
        merge.plan(config(), Layout("test"))
    assert "pipeline download" in error.value.hint
    assert not Path("data/test").exists()
    download(candle_bars(100))
    with pytest.raises(MissingInput, match="ETHUSDT/5m"):
        merge.plan(config(symbols=["ETHUSDT"]), Layout("test"))
    with pytest.raises(MissingInput, match="BTCUSDT/funding"):
        merge.plan(config(funding=True), Layout("test"))


def test_a_range_without_bars_tells_where_there_are_some(workspace: Path) -> None:
    download(candle_bars(100))
    with pytest.raises(BadInput, match="no 5m bars of BTCUSDT between 2030") as error:
        merge.run(config(start="2030-01-01", end="2031-01-01"), Layout("test"))
    assert "2024-01-01T00:00Z to 2024-01-01T08:15Z" in error.value.hint


@pytest.mark.parametrize("damage", ["cut off", "no column", "bad row", "off the grid"])
def test_damaged_downloads_are_refused(workspace: Path, damage: str) -> None:
    table = candle_bars(100)
    path = Layout("test").bars("synthetic", "spot", "BTCUSDT", "5m") / "2024-01.parquet"
    if damage == "no column":
        table = table.drop_columns(["trades"])
    if damage == "bad row":
        table = table.set_column(4, SCHEMA.field("close"), pa.array([-1.0] * 100))
    if damage == "off the grid":
        table = table.set_column(0, pa.field("open_time", TIME), time_array(times_ms(table) + 2000))
    write_table(path, table)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="BTCUSDT/5m"):
        merge.run(config(), Layout("test"))
    assert not Layout("test").merged("BTCUSDT").exists()
    if damage == "off the grid":
        assert times_ms(merged(config(on_misaligned="snap")))[0] == START_MS


def test_several_symbols_each_get_their_own_range(workspace: Path) -> None:
    download(candle_bars(100))
    download(candle_bars(50, 1, start_ms=START_MS + HOUR), "ETHUSDT")
    both = Config.model_validate({**config().model_dump(), "symbols": ["BTCUSDT", "ETHUSDT"]})
    summary = merge.run(both, Layout("test"))
    assert summary.figures["rows"] == 150
    assert times_ms(read_table(Layout("test").merged("ETHUSDT"), "merge"))[0] == START_MS + HOUR
    assert set(read_json(Layout("test").gaps, "merge")) == {"BTCUSDT", "ETHUSDT"}


@pytest.mark.slow
def test_real_hours_with_outages_become_a_complete_grid(real_data: Path, workspace: Path) -> None:
    path = str(real_data / "spot" / "{symbol}_{interval}.parquet")
    table = files.read(FileSource(path=path), "parquet", "BTCUSDT", "1h", 0, 1 << 60)
    download(table, interval="1h")
    hourly = Config.model_validate({**config(timeframes=["4h", "1d"]).model_dump(), "interval": "1h"})
    result = merged(hourly)
    told = read_json(Layout("test").gaps, "merge")["BTCUSDT"]
    assert result.num_rows == told["rows"] == (times_ms(table)[-1] - times_ms(table)[0]) // HOUR + 1
    assert told["filled"] == sum(gap["bars"] for gap in told["gaps"]) == result.num_rows - table.num_rows
    assert len(told["gaps"]) == 28
    assert {"start": "2021-04-20T02:00Z", "end": "2021-04-20T04:00Z", "bars": 2} in told["gaps"]
    assert cleaning.clean(result, "1h", "merged").num_rows == result.num_rows
    # The day seen at noon is yesterday's.
    day, close = column(result, "1d_close"), column(result, "close")
    noon = int(np.searchsorted(times_ms(result), 1_700_049_600_000))  # 2023-11-15T12:00Z
    assert day[noon] == close[noon - 13]
