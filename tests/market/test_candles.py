"""The bar table's own small functions."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.market import candles


@given(st.lists(st.integers(0, 4_000_000_000_000), max_size=20))
def test_times_survive_the_way_into_a_table_and_back(times: list[int]) -> None:
    table = pa.table({"open_time": candles.time_array(np.array(times, np.int64))})
    assert candles.times_ms(table).tolist() == times


def test_microseconds_become_milliseconds() -> None:
    table = pa.table({"open_time": pa.array([1_704_067_200_000_000], pa.timestamp("us", "UTC"))})
    assert candles.times_ms(table).tolist() == [1_704_067_200_000]


def test_nulls_in_a_column_become_nan() -> None:
    values = candles.column(pa.table({"x": pa.array([1, None, 3], pa.int64())}), "x")
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, [1, np.nan, 3])


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (1_704_067_200_000, "2024-01-01T00:00Z"),
        (1_704_067_261_000, "2024-01-01T00:01:01Z"),
        (1_704_067_200_007, "2024-01-01T00:00:00.007Z"),
    ],
)
def test_a_time_is_shown_as_short_as_it_can_be(time: int, text: str) -> None:
    assert candles.iso(time) == text
