"""Cleaning: what is normalised, what is refused, and what the refusal shows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from builders import START_MS, bars, random_walk
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.market import cleaning
from pipeline.market.candles import COLUMNS, SCHEMA, column, times_ms

MINUTE = 60_000


def raw(n: int = 20, **changes: Any) -> pa.Table:
    """Good one-minute bars with integer times, some columns replaced."""
    table = bars(random_walk(n), filled=False)
    table = table.set_column(0, "open_time", pa.array(times_ms(table)))
    for name, values in changes.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table


def with_value(name: str, row: int, value: float | None) -> pa.Table:
    values = column(raw(), name).tolist()
    values[row] = value
    return raw(**{name: pa.array(values, pa.float64())})


def test_good_bars_pass_unchanged() -> None:
    cleaned = cleaning.clean(raw(), "1m", "x.csv")
    assert cleaned.schema == SCHEMA
    assert cleaned.equals(bars(random_walk(20), filled=False).cast(SCHEMA))


@pytest.mark.parametrize(
    ("factor", "kind"),
    [
        (1e-3, pa.int64()),
        (1, pa.int64()),
        (1e3, pa.int64()),
        (1e6, pa.int64()),
        (1e-3, pa.float64()),
        (1, pa.float64()),
    ],
)
def test_any_unit_of_time_is_understood(factor: float, kind: pa.DataType) -> None:
    times = [int(t * factor) if factor < 1 else t * int(factor) for t in times_ms(raw()).tolist()]
    cleaned = cleaning.clean(raw(open_time=pa.array(times, pa.int64()).cast(kind)), "1m", "x.csv")
    assert times_ms(cleaned).tolist() == times_ms(raw()).tolist()


def test_units_may_change_inside_a_file_as_the_archive_did_in_2025() -> None:
    times = times_ms(raw()).copy()
    times[10:] *= 1000
    assert times_ms(cleaning.clean(raw(open_time=times), "1m", "x.csv")).tolist() == times_ms(raw()).tolist()


@given(st.permutations(list(range(20))), st.lists(st.integers(0, 19), max_size=10))
@settings(max_examples=40)
def test_order_and_identical_duplicates_do_not_matter(order: list[int], again: list[int]) -> None:
    shuffled = raw().take([*order, *again])
    assert cleaning.clean(shuffled, "1m", "x.csv").equals(cleaning.clean(raw(), "1m", "x.csv"))


@given(st.integers(0, 19), st.sampled_from(["close", "volume", "trades", "taker_buy_quote_volume"]))
@settings(max_examples=25)
def test_conflicting_duplicates_are_shown_with_both_rows(row: int, name: str) -> None:
    other = raw().slice(row, 1)
    value = column(other, "high")[0] if name == "close" else column(other, name)[0] + 1
    other = other.set_column(other.schema.get_field_index(name), name, pa.array([float(value)]))
    with pytest.raises(BadInput) as error:
        cleaning.clean(pa.concat_tables([raw(), other]), "1m", "x.csv")
    assert "x.csv: two different bars at 2024-01-01T00:" in error.value.message
    assert f"row {row + 1}: open" in error.value.message
    assert "row 21: open" in error.value.message


def test_a_duplicate_stored_before_the_bar_closed_is_named() -> None:
    early = raw().slice(5, 1).set_column(5, "volume", pa.array([1.0]))
    with pytest.raises(BadInput) as error:
        cleaning.clean(pa.concat_tables([raw(), early]), "1m", "x.csv")
    assert error.value.hint.startswith("row 21 looks like the same bar stored before it closed")


@pytest.mark.parametrize("name", ["open", "high", "low", "close", "volume"])
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1.0])
def test_impossible_values_name_source_row_time_and_column(name: str, value: float | None) -> None:
    with pytest.raises(BadInput) as error:
        cleaning.clean(with_value(name, 7, value), "1m", "x.csv")
    assert error.value.message.startswith(f"x.csv: row 8 (2024-01-01T00:07Z): {name} = ")


@pytest.mark.parametrize("name", ["open", "high", "low", "close"])
def test_a_price_of_zero_is_refused_and_a_volume_of_zero_is_not(name: str) -> None:
    cleaning.clean(with_value("volume", 7, 0.0), "1m", "x.csv")
    with pytest.raises(BadInput, match=f"row 8 .*{name} = 0 must be above zero"):
        cleaning.clean(with_value(name, 7, 0.0), "1m", "x.csv")


@pytest.mark.parametrize(("name", "value"), [("high", 1.0), ("low", 1e6), ("open", 1e6), ("close", 1.0)])
def test_prices_that_do_not_enclose_each_other_are_refused(name: str, value: float) -> None:
    with pytest.raises(BadInput, match=r"x\.csv: row 8 \(2024-01-01T00:07Z\): (high|open|close) = "):
        cleaning.clean(with_value(name, 7, value), "1m", "x.csv")


def test_columns_that_a_source_lacks_are_zero_and_reported() -> None:
    table = raw().drop_columns(["trades"]).set_column(6, "quote_volume", pa.nulls(20, pa.float64()))
    assert cleaning.absent_columns(table) == ["quote_volume", "trades"]
    cleaned = cleaning.clean(table, "1m", "x.csv")
    assert cleaned.column("trades").to_pylist() == cleaned.column("quote_volume").to_pylist() == [0.0] * 20


@pytest.mark.parametrize("name", ["open_time", "open", "volume"])
def test_a_missing_column_is_named_with_the_key_that_maps_it(name: str) -> None:
    with pytest.raises(BadInput, match=f"x.csv: no column '{name}'") as error:
        cleaning.clean(raw().drop_columns([name]), "1m", "x.csv")
    assert "download.file.columns" in error.value.hint


def test_text_in_a_column_of_numbers_is_refused() -> None:
    with pytest.raises(BadInput, match=r"x\.csv: column 'volume' holds something that is not a number.*n/a"):
        cleaning.clean(raw(volume=["n/a"] * 20), "1m", "x.csv")


@pytest.mark.parametrize("time", [None, float("nan"), float("inf"), 0.0, 12.5, -1.0, 1e300])
def test_a_time_that_is_none_is_refused_with_its_row(time: float | None) -> None:
    times = times_ms(raw()).astype(float).tolist()
    times[3] = time
    with pytest.raises(BadInput, match=r"x\.csv: row 4"):
        cleaning.clean(raw(open_time=pa.array(times, pa.float64())), "1m", "x.csv")


@pytest.mark.parametrize("time", [0, -(10**15), 10**17])
def test_a_timestamp_of_another_age_is_refused_with_its_row(time: int) -> None:
    times = pa.array([START_MS, time], pa.timestamp("ms"))
    with pytest.raises(BadInput, match=r"x\.csv: row 2: open_time .* is not the time of a bar"):
        cleaning.clean(raw(2, open_time=times), "1m", "x.csv")


@given(st.integers(0, 19), st.integers(-29_999, 29_999).filter(bool))
@settings(max_examples=40)
def test_bars_off_the_grid_are_refused_or_snapped_if_near(row: int, off: int) -> None:
    times = times_ms(raw()).copy()
    times[row] += off
    table = raw(open_time=times)
    with pytest.raises(BadInput, match=f"row {row + 1}: open_time .*not on the 1m grid"):
        cleaning.clean(table, "1m", "x.csv")
    if abs(off) < MINUTE // 4:
        assert cleaning.clean(table, "1m", "x.csv", snap=True).equals(cleaning.clean(raw(), "1m", "x.csv"))
    else:
        with pytest.raises(BadInput, match="too far from the 1m grid"):
            cleaning.clean(table, "1m", "x.csv", snap=True)


@pytest.mark.parametrize(("found", "asked"), [("5m", "1m"), ("1m", "5m"), ("1h", "1m"), ("15m", "5m")])
def test_another_interval_is_named_beside_the_one_asked_for(found: str, asked: str) -> None:
    steps = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}
    with pytest.raises(BadInput, match=f"holds {found} bars, not {asked}"):
        cleaning.clean(bars(random_walk(50), step_ms=steps[found] * MINUTE, filled=False), asked, "x.csv")


def test_absent_minutes_are_no_other_interval() -> None:
    keep = np.sort(np.random.default_rng(1).permutation(200)[:140])
    assert cleaning.clean(raw(200).take(keep), "1m", "x.csv").num_rows == 140


def test_no_rows_stay_no_rows() -> None:
    assert cleaning.clean(raw().slice(0, 0), "1m", "x.csv").equals(SCHEMA.empty_table())


def test_the_input_is_left_as_it_was() -> None:
    table = raw().take(list(range(19, -1, -1)))
    before = table.to_pydict()
    cleaning.clean(table, "1m", "x.csv")
    assert table.to_pydict() == before
    assert pc.min(table["open_time"]).as_py() == START_MS
    assert set(COLUMNS) < set(table.column_names)
