"""Higher timeframes: made of lower bars, and seen only once they have closed."""

import numpy as np
import pytest
from builders import START_MS, bars, random_walk
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.market.candles import COLUMNS, column, times_ms
from pipeline.market.timeframes import last_closed, resample, take

MINUTE, HOUR = 60_000, 3_600_000


def test_an_hour_is_its_first_open_extremes_last_close_and_sums() -> None:
    table = bars(random_walk(120))
    times, hours = resample({n: column(table, n) for n in COLUMNS}, times_ms(table), MINUTE, HOUR)
    assert times.tolist() == [START_MS, START_MS + HOUR]
    second = slice(60, 120)
    assert hours["open"][1] == column(table, "open")[60]
    assert hours["high"][1] == column(table, "high")[second].max()
    assert hours["low"][1] == column(table, "low")[second].min()
    assert hours["close"][1] == column(table, "close")[119]
    assert hours["trades"].tolist() == [6000, 6000]


@given(st.sets(st.integers(0, 300), min_size=1, max_size=60))
@settings(max_examples=50)
def test_resampling_keeps_totals_and_extremes_whatever_is_missing(minutes: set[int]) -> None:
    table = bars(random_walk(301)).take(sorted(minutes))
    times, hours = resample({n: column(table, n) for n in COLUMNS}, times_ms(table), MINUTE, HOUR)
    assert times.tolist() == sorted({START_MS + m // 60 * HOUR for m in minutes})
    assert hours["high"].max() == column(table, "high").max()
    assert hours["low"].min() == column(table, "low").min()
    assert hours["volume"].sum() == pytest.approx(column(table, "volume").sum())


def test_nothing_is_made_of_nothing() -> None:
    times, hours = resample({"close": np.zeros(0)}, np.zeros(0, np.int64), MINUTE, HOUR)
    assert len(times) == len(hours["close"]) == 0


def test_a_higher_interval_must_be_a_multiple() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        resample({"close": np.ones(2)}, np.array([0, 7]), 7, 10)


def test_an_hour_is_seen_by_the_bar_that_closes_with_it_and_not_before() -> None:
    hours = START_MS + HOUR * np.arange(3)
    five = START_MS + 5 * MINUTE * np.arange(24)
    rows = last_closed(five, 5 * MINUTE, hours, HOUR)
    assert rows.tolist() == [-1] * 11 + [0] * 12 + [1]


@given(st.sets(st.integers(0, 40), min_size=1, max_size=20), st.integers(1, 12), st.sampled_from([5, 15, 60]))
@settings(max_examples=60)
def test_the_last_closed_bar_is_the_one_a_clock_would_tell(slots: set[int], start: int, minutes: int) -> None:
    higher = START_MS + minutes * MINUTE * np.array(sorted(slots), np.int64)
    base = START_MS + MINUTE * np.arange(start, start + 200, dtype=np.int64)
    rows = last_closed(base, MINUTE, higher, minutes * MINUTE)
    for time, row in zip(base.tolist(), rows.tolist(), strict=True):
        closed = [i for i, t in enumerate(higher.tolist()) if t + minutes * MINUTE <= time + MINUTE]
        assert row == (closed[-1] if closed else -1)


def test_what_is_not_known_yet_is_nan() -> None:
    np.testing.assert_array_equal(take(np.array([1.0, 2.0]), np.array([-1, 0, 1, 1])), [np.nan, 1, 2, 2])
