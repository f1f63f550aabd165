"""Combinatorial purged cross-validation: the right splits and paths, nothing leaks, nothing legal is lost."""

from collections import Counter
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.combinatorial import combinations, group_edges, group_of, paths, spread, training_rows
from pipeline.evaluation.splits import purge


# reference_values.json, "cpcv"; AFML 12.3 for 6 and 2.
@pytest.mark.parametrize(("groups", "test", "splits", "ways"), [(6, 2, 15, 5), (3, 2, 3, 2), (5, 2, 10, 4)])
def test_there_are_as_many_splits_and_paths_as_the_book_says(groups: int, test: int, splits: int, ways: int) -> None:
    assert len(combinations(groups, test)) == splits
    assert paths(groups, test).shape == (ways, groups)


@given(st.integers(2, 9), st.data())
def test_every_score_of_every_split_is_on_exactly_one_path(groups: int, data: st.DataObject) -> None:
    test = data.draw(st.integers(1, groups - 1))
    splits, table = combinations(groups, test), paths(groups, test)
    assert len(splits) == comb(groups, test) and len(table) == comb(groups, test) * test // groups
    used = Counter((int(split), group) for path in table for group, split in enumerate(path))
    assert used == Counter((one.number, group) for one in splits for group in one.test)
    assert max(used.values()) == 1


def _brute_force(
    intervals: np.ndarray, groups: np.ndarray, test: tuple[int, ...], known: np.ndarray, embargo: int
) -> list[bool]:
    keep = []
    for i, (start, end) in enumerate(intervals):
        legal = bool(known[i]) and groups[i] >= 0 and groups[i] not in test
        for j, (held_start, held_end) in enumerate(intervals):
            if groups[j] in test:
                legal = legal and not (start < held_end + embargo and held_start < end)
        keep.append(legal)
    return keep


@settings(max_examples=300)
@given(st.integers(0, 100_000), st.integers(2, 7), st.data())
def test_training_rows_equal_brute_force_on_both_sides_of_every_group(
    seed: int, count: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(count, 60))
    # Of two symbols, as in one table: not sorted by time.
    times = np.concatenate([np.sort(rng.choice(90, n, replace=False)), np.sort(rng.choice(90, n, replace=False))])
    known = rng.random(2 * n) < 0.9
    intervals = np.column_stack([times, times + np.where(known, rng.integers(1, 15, 2 * n), 1)])
    edges = group_edges(0, 90, 1, count)
    groups = group_of(times, edges)
    test = data.draw(st.sampled_from(combinations(count, data.draw(st.integers(1, count - 1))))).test
    embargo = int(rng.integers(0, 6))
    found = training_rows(intervals, groups, test, known, embargo)
    assert found.tolist() == _brute_force(intervals, groups, test, known, embargo)


def test_training_rows_equal_an_independent_library() -> None:
    pd = pytest.importorskip("pandas")
    purgedcv = pytest.importorskip("purgedcv")
    rng = np.random.default_rng(1)
    for _ in range(20):
        n = 66
        ends = np.arange(n) + rng.integers(1, 9, n)
        day = pd.date_range("2024-01-01", periods=n + 10, freq="D")
        oracle = purgedcv.CombinatorialPurgedCV(
            6, 2, prediction_times=pd.Series(day[:n]), evaluation_times=pd.Series(day[ends])
        )
        intervals = np.column_stack([np.arange(n), ends])
        groups = group_of(np.arange(n), group_edges(0, n, 1, 6))
        theirs = [np.sort(train).tolist() for train, _ in oracle.split(np.zeros((n, 1)))]
        ours = [
            np.flatnonzero(training_rows(intervals, groups, one.test, np.ones(n, bool))).tolist()
            for one in combinations(6, 2)
        ]
        assert sorted(theirs) == sorted(ours)


@given(st.integers(2, 12), st.integers(0, 500), st.integers(-5, 5))
def test_groups_cover_the_range_in_equal_parts(groups: int, more: int, first: int) -> None:
    bars = groups + more
    edges = group_edges(first, first + 3 * bars, 3, groups)
    assert edges[0] == first and edges[-1] == first + 3 * bars
    sizes = np.diff(edges) // 3
    assert sizes.sum() == bars and sizes.max() - sizes.min() <= 1
    found = group_of(np.arange(first - 3, first + 3 * bars + 3, 3), edges)
    assert found[0] == found[-1] == -1
    assert np.array_equal(np.bincount(found[1:-1]), sizes)


def test_a_test_group_between_two_training_groups_is_purged_before_and_embargoed_after() -> None:
    times = np.arange(9)
    intervals = np.column_stack([times, times + 2])
    kept = training_rows(intervals, times // 3, (1,), np.ones(9, bool), embargo=1)
    # 2 ends inside the group; 6 starts before the last test label has ended, at 7, and 7 within the embargo.
    assert np.flatnonzero(kept).tolist() == [0, 1, 8]
    assert purge(intervals[:3], intervals[3:6]).tolist() == [True, True, False]


def test_the_spread_leaves_out_what_is_not_defined() -> None:
    assert spread(np.array([1.0, np.nan, 3.0])) == pytest.approx({"mean": 2.0, "p5": 1.1, "median": 2.0, "p95": 2.9})
    assert set(spread(np.array([np.nan])).values()) == {None}


@pytest.mark.parametrize(("groups", "test"), [(1, 1), (5, 5), (5, 0), (0, 0)])
def test_impossible_groups_are_refused(groups: int, test: int) -> None:
    with pytest.raises(ValueError, match="cannot be tested"):
        combinations(groups, test)
    with pytest.raises(ValueError, match="3 bars cannot be parted into 4"):
        group_edges(0, 30, 10, 4)
