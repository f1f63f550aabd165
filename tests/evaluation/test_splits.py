"""Splits: nothing leaks and nothing legal is lost."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from pipeline.evaluation.splits import purge, walk_forward


@njit
def _brute_force(train: np.ndarray, test: np.ndarray, embargo: int) -> np.ndarray:
    keep = np.ones(len(train), np.bool_)
    for i in range(len(train)):
        for j in range(len(test)):
            if train[i, 0] < test[j, 1] + embargo and test[j, 0] < train[i, 1]:
                keep[i] = False
    return keep


def _intervals(rng: np.random.Generator, cases: int, longest: int, most: int) -> list[np.ndarray]:
    # For each case some, up to so many, sorted by start. All are drawn at once, and what is too much sorts to the end.
    counts = rng.integers(1, most + 1, cases)
    start = np.where(np.arange(most) < counts[:, None], rng.integers(0, 60, (cases, most)), 60)
    start.sort(axis=1)
    intervals = np.stack([start, start + rng.integers(1, longest + 1, start.shape)], axis=2)
    return [one[:count] for one, count in zip(intervals, counts.tolist(), strict=True)]


def test_purging_equals_brute_force_on_100_000_random_cases():
    rng, cases = np.random.default_rng(0), 100_000
    embargoes = rng.integers(0, 6, cases).tolist()
    drawn = zip(_intervals(rng, cases, 14, 11), _intervals(rng, cases, 14, 4), embargoes, strict=True)
    some = 0
    for train, test, embargo in drawn:
        keep = _brute_force(train, test, embargo)
        assert purge(train, test, embargo).tobytes() == keep.tobytes(), (train, test, embargo)
        some += 0 < keep.sum() < len(keep)
    assert some > cases // 3, "most are of all or none, and prove little"


def test_purging_equals_an_independent_library():
    pd = pytest.importorskip("pandas")
    purgedcv = pytest.importorskip("purgedcv")
    rng = np.random.default_rng(1)
    for _ in range(50):
        n = 60
        ends = np.arange(n) + rng.integers(1, 9, n)
        day = pd.date_range("2024-01-01", periods=n + 10, freq="D")
        splitter = purgedcv.PurgedKFold(4, prediction_times=pd.Series(day[:n]), evaluation_times=pd.Series(day[ends]))
        intervals = np.column_stack([np.arange(n), ends])
        for train, test in splitter.split(np.zeros((n, 1))):
            others = np.setdiff1d(np.arange(n), test)
            assert np.array_equal(others[purge(intervals[others], intervals[test])], np.sort(train))


def test_an_interval_that_only_touches_the_test_is_kept():
    assert purge(np.array([[0, 5], [10, 12]]), np.array([[5, 10]])).tolist() == [True, True]
    assert purge(np.array([[0, 6], [9, 12]]), np.array([[5, 10]])).tolist() == [False, False]
    assert purge(np.array([[10, 12], [12, 13]]), np.array([[5, 10]]), embargo=2).tolist() == [False, True]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([[3, 3]], [[5, 6]], r"train interval 0 is empty or reversed: \[3, 3\)"),
        ([[1, 2]], [[5, 4]], "test interval 0"),
        ([[1, 2]], [[5, 6], [3, 4]], "sorted"),
    ],
)
def test_wrong_intervals_are_refused(train, test, message):
    with pytest.raises(ValueError, match=message):
        purge(np.array(train), np.array(test))


@settings(max_examples=200)
@given(
    n=st.integers(2, 500),
    data=st.data(),
    length=st.integers(1, 200),
    size=st.integers(1, 100),
    steps=st.none() | st.integers(1, 5),
    window=st.sampled_from(["sliding", "expanding"]),
)
def test_blocks_follow_each_other_and_training_always_ends_where_they_start(n, data, length, size, steps, window):
    first = data.draw(st.integers(1, n - 1))
    folds = walk_forward(n, first, length, size, steps, window)
    assert [f.number for f in folds] == list(range(len(folds)))
    assert folds[0].test[0] == first
    for before, after in itertools.pairwise(folds):
        assert before.test[1] == after.test[0]
    for fold in folds:
        assert 0 <= fold.train[0] < fold.train[1] == fold.test[0] < fold.test[1] <= n
        assert fold.test[1] - fold.test[0] <= size
        if window == "sliding":
            assert fold.train[1] - fold.train[0] <= length
    if steps is None:
        assert folds[-1].test[1] == n
