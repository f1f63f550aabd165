"""The checks themselves, on small tables."""

import numpy as np
import pyarrow as pa
import pytest
from builders import START_MS, bars, random_walk
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.leaks import future_noise, overlap, shuffled_labels, truncation
from pipeline.evaluation.leaks.comparing import Question, bits_changed, compare
from pipeline.evaluation.leaks.findings import Finding, merged, table
from pipeline.market.candles import COLUMNS, time_array, times_ms

QUESTION = Question("truncation", "feature", "BTCUSDT")
intervals = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=12).map(
    lambda pairs: np.array([(start, start + length) for start, length in pairs], np.int64).reshape(-1, 2)
)


@given(intervals, intervals)
def test_overlap_equals_comparing_each_interval_with_each(train: np.ndarray, test: np.ndarray) -> None:
    plain = [any(a < end and start < b for start, end in test) for a, b in train]
    assert overlap.overlapping(train, test).tolist() == plain


def test_nan_equals_nan_and_zero_is_not_minus_zero() -> None:
    quiet, other = np.array([0x7FF8000000000000, 0xFFF8000000000001], np.uint64).view(np.float64)
    left = pa.chunked_array([[quiet, 0.0, 1.0, 2.0]])
    right = pa.chunked_array([[other, -0.0, np.nextafter(1.0, 2.0), 2.0]])
    assert bits_changed(left, right).tolist() == [0, 1, 1, 0]


def test_null_equals_null_alone() -> None:
    left = pa.chunked_array([pa.array([True, None, None, False])])
    right = pa.chunked_array([pa.array([None, None, False, False])])
    assert bits_changed(left, right).tolist() == [1, 0, 1, 0]


def test_columns_of_other_types_differ_on_every_row() -> None:
    assert bits_changed(pa.chunked_array([[1.0, 2.0]]), pa.chunked_array([pa.array([1.0, 2.0], pa.float32())])).all()


def test_rows_that_only_one_table_has_differ() -> None:
    kept = pa.table({"open_time": time_array(np.array([0, 60_000])), "x": [1.0, 2.0]})
    again = pa.table({"open_time": time_array(np.array([60_000, 120_000])), "x": [2.0, 2.0]})
    (found,) = compare(QUESTION, kept, again, ["x"])
    assert (found.rows, found.differing) == (2, 1) and "00:02" in found.note


@pytest.mark.parametrize("lacking", ["kept", "again"])
def test_column_that_only_one_table_has_does_not_pass(lacking: str) -> None:
    times = time_array(np.array([0, 60_000]))
    with_, without = pa.table({"open_time": times, "x": [1.0, 2.0]}), pa.table({"open_time": times})
    pair = (without, with_) if lacking == "kept" else (with_, without)
    (found,) = compare(QUESTION, *pair, ["x"])
    assert not found.passed


@given(st.integers(1, 99), st.integers(0, 2**32 - 1))
def test_noise_changes_every_bar_of_the_future_and_none_of_the_past(row: int, seed: int) -> None:
    whole = bars(random_walk(100))
    future = np.arange(100) >= row
    other = future_noise.perturbed(whole, future, seed)
    for name in COLUMNS:
        same = whole.column(name).to_numpy() == other.column(name).to_numpy()
        assert same[:row].all() and not same[row:].any()
    high, low, close = (other.column(name).to_numpy() for name in ("high", "low", "close"))
    assert (low <= close).all() and (close <= high).all() and (low > 0).all()


def labels(values: list[bool | None], ends: list[int | None]) -> pa.Table:
    times = START_MS + 60_000 * np.arange(len(values))
    end = [None if one is None else START_MS + 60_000 * one for one in ends]
    return pa.table(
        {
            "open_time": time_array(times),
            "up": pa.array(values, pa.bool_()),
            "up_end": pa.array(end, pa.int64()).cast(pa.timestamp("ms", tz="UTC")),
        }
    )


WHOLE = labels([True, False, True, False, None], [1, 3, 4, 4, None])


@pytest.mark.parametrize(
    ("again", "differing"),
    [
        (labels([True, None, None], [1, None, None]), 0),  # the second is decided after the cut
        (labels([True, True, None], [1, 4, None]), 0),  # likewise, on other data
        (labels([None, None, None], [None, None, None]), 1),  # the first was decided by then, and is not known
        (labels([False, None, None], [1, None, None]), 1),  # … or is another
        (labels([True, False, None], [1, 2, None]), 1),  # the second pretends to be decided already
        (labels([True, None, True], [1, None, 1]), 1),  # the third is known before its own bar
    ],
)
def test_labels_that_were_decided_by_the_cut_stay(again: pa.Table, differing: int) -> None:
    (found,) = truncation.settled_labels(WHOLE, again, ["up"], "BTCUSDT", "truncation")
    assert found.differing == differing


def test_shuffled_labels_are_the_same_ones_elsewhere_with_neighbours_kept_together() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(50) < 0.4, 40).tolist()
    values[7] = values[1999] = None
    whole = labels(values, [None if v is None else i for i, v in enumerate(values)])
    mixed = shuffled_labels.shuffled(whole, ["up"], 80, seed=1)
    known = [v for v in mixed.column("up").to_pylist() if v is not None]
    assert [i for i, v in enumerate(mixed.column("up").to_pylist()) if v is None] == [7, 1999]
    assert sorted(known) == sorted(v for v in values if v is not None)
    assert known != [v for v in values if v is not None]
    assert np.count_nonzero(np.diff(known)) < 100
    assert mixed.column("up_end").equals(whole.column("up_end"))


def test_chance_is_chance_and_knowledge_is_not() -> None:
    def one(seed: int, knowledge: float) -> shuffled_labels.Chance:
        rng = np.random.default_rng(seed)
        values = np.repeat(rng.random(150) < 0.3, 20).astype(float)
        scores = np.convolve(rng.normal(size=3000), np.ones(20) / 20, "same") + knowledge * values
        found = shuffled_labels.chance(scores, values, 40, seed)
        assert found is not None
        return found

    luck = [shuffled_labels.finding("up", 3000, [one(seed, 0.0), one(seed + 999, 0.0)]) for seed in range(100)]
    assert all(found.passed for found in luck)
    assert not shuffled_labels.finding("up", 3000, [one(1, 0.3), one(2, 0.3)]).passed


def test_labels_that_do_not_vary_are_not_judged() -> None:
    assert shuffled_labels.chance(np.arange(1000.0), np.ones(1000), 10, 0) is None


def test_findings_of_symbols_and_cuts_become_one_line_each() -> None:
    findings = [
        Finding("truncation", "feature", "rsi", ("AAA",), 10, 0),
        Finding("truncation", "feature", "rsi", ("BBB",), 10, 2, 7, "BBB: first at noon"),
        Finding("truncation", "feature", "sma", ("AAA",), 10, 0),
        Finding("online", "feature", "rsi", ("AAA",), 5, 0),
    ]
    together = merged(findings)
    assert together[0] == Finding("truncation", "feature", "rsi", ("AAA", "BBB"), 20, 2, 7, "BBB: first at noon")
    lines = table(together).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["truncation", "sma"], ["truncation", "rsi"], ["online", "rsi"]]
    assert "FAIL" in lines[2] and "first at noon" in lines[2]


def test_cuts_fall_into_gaps_too() -> None:
    filled = np.zeros(10_000, bool)
    filled[7_000:7_003] = True
    rows = truncation.cut_rows(filled, 100, 12, seed=0)
    assert len(rows) == 12 and min(rows) >= 100 and set(rows) & {6_999, 7_000, 7_001, 7_002}
    assert times_ms(bars([1.0, 2.0]))[1] == START_MS + 60_000
