"""The complete grid: gaps are found, counted and filled flat, and real bars stay as they were."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import START_MS, bars, random_walk
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.market import cleaning, grid
from pipeline.market.candles import COLUMNS, PRICES, SCHEMA, column, times_ms

MINUTE = 60_000
present = st.sets(st.integers(0, 80), min_size=1, max_size=60).map(sorted)


@given(present)
@settings(max_examples=80)
def test_filling_makes_a_complete_grid_and_keeps_real_bars(rows: list[int]) -> None:
    table = bars(random_walk(81), filled=False).take(rows)
    start, end = START_MS + rows[0] * MINUTE, START_MS + 100 * MINUTE
    filled = grid.fill(table, "1m", start, end)
    assert times_ms(filled).tolist() == list(range(start, end, MINUTE))
    real = ~filled["is_filled"].to_numpy()
    assert filled.filter(real).drop_columns(["is_filled"]).cast(SCHEMA).equals(table.cast(SCHEMA))
    assert int((~real).sum()) == filled.num_rows - len(rows)


@given(present)
@settings(max_examples=80)
def test_filled_bars_are_flat_at_the_last_close_without_volume(rows: list[int]) -> None:
    table = bars(random_walk(81), filled=False).take(rows)
    filled = grid.fill(table, "1m", START_MS + rows[0] * MINUTE, START_MS + 100 * MINUTE)
    last = np.nan
    for bar in filled.to_pylist():
        if bar["is_filled"]:
            assert {bar[name] for name in PRICES} == {last}
            assert {bar[name] for name in COLUMNS if name not in PRICES} == {0.0}
        last = bar["close"]


@given(present, st.integers(0, 80), st.data())
@settings(max_examples=60)
def test_the_future_changes_nothing_before_it(rows: list[int], cut: int, data: st.DataObject) -> None:
    table = bars(random_walk(81), filled=False).take(rows)
    other = bars(random_walk(81, seed=data.draw(st.integers(1, 9))), filled=False)
    later = sorted(data.draw(st.sets(st.integers(0, 80))))
    changed = {**{r: table.slice(i, 1) for i, r in enumerate(rows) if r < cut}}
    mixed = [*changed.values(), *(other.slice(r, 1) for r in later if r >= cut)]
    if not changed:
        return
    start, end = START_MS + rows[0] * MINUTE, START_MS + 100 * MINUTE
    before = max(cut - rows[0], 0)
    one, two = (grid.fill(t, "1m", start, end).slice(0, before) for t in (table, pa.concat_tables(mixed)))
    assert one.equals(two)


@given(present)
@settings(max_examples=60)
def test_gaps_account_for_every_missing_bar(rows: list[int]) -> None:
    times = START_MS + MINUTE * np.array(rows, np.int64)
    found = grid.gaps(times, MINUTE)
    missing = [t for gap in found for t in range(gap["start"], gap["end"], MINUTE)]
    assert missing == sorted(set(range(int(times[0]), int(times[-1]), MINUTE)) - set(times.tolist()))
    assert [gap["bars"] for gap in found] == [(gap["end"] - gap["start"]) // MINUTE for gap in found]


def test_a_gap_at_the_start_is_filled_from_the_bar_before() -> None:
    table = bars([100, 101, 102, 103, 104], filled=False).take([0, 1, 4])
    filled = grid.fill(table, "1m", START_MS + 2 * MINUTE, START_MS + 5 * MINUTE)
    assert column(filled, "close").tolist() == [101, 101, 104]


def test_nothing_is_made_up_before_the_first_bar() -> None:
    with pytest.raises(BadInput, match="no bar at or before 2023-12-31T23:59Z to fill from; the first is 2024"):
        grid.fill(bars([1, 2], filled=False), "1m", START_MS - MINUTE, START_MS + MINUTE)


def test_bars_off_the_grid_are_not_dropped_in_silence() -> None:
    with pytest.raises(BadInput, match="not on the 1m grid"):
        grid.fill(bars([1, 2], start_ms=START_MS + 7, filled=False), "1m", START_MS, START_MS + MINUTE)


def test_the_outages_of_april_2021_are_found(real_data: Path) -> None:
    raw = pq.read_table(real_data / "spot" / "BTCUSDT_1h.parquet")
    found = grid.gaps(times_ms(cleaning.clean(raw, "1h", "BTCUSDT_1h")), 3_600_000)
    assert len(found) == 28
    assert {"start": 1_618_884_000_000, "end": 1_618_891_200_000, "bars": 2} in found  # 2021-04-20 02:00, 03:00
