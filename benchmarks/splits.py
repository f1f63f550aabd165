"""Purging: 100,000 random cases held to brute force, and a long history against purgedcv."""

import sys
import time
from pathlib import Path

import numpy as np
from measure import report

from pipeline.evaluation.splits import purge

sys.path.append(str(Path(__file__).parent.parent / "tests" / "evaluation"))

CASES, ROWS, HORIZON = 100_000, 100_000, 288


def cases() -> None:
    """The random cases of tests/evaluation/test_splits.py, timed."""
    from test_splits import _brute_force, _intervals

    rng = np.random.default_rng(0)
    _brute_force(_intervals(rng, 3, 5), _intervals(rng, 3, 5), 1)  # compiled
    start, wrong, lost = time.perf_counter(), 0, 0
    for _ in range(CASES):
        train, test = _intervals(rng, rng.integers(1, 12), 14), _intervals(rng, rng.integers(1, 5), 14)
        embargo = int(rng.integers(0, 6))
        ours, wanted = purge(train, test, embargo), _brute_force(train, test, embargo)
        wrong += int((ours & ~wanted).any())
        lost += int((~ours & wanted).any())
    report("100,000 random cases, with brute force", time.perf_counter() - start, 180, 1, of="limit")
    print(f"{'':<44} {wrong} with a leak, {lost} that lost a legal sample")


def long_history() -> None:
    """A fifth of 100,000 rows tested, labels of up to 288 bars: our purge against the library's."""
    import pandas as pd
    import purgedcv

    rng = np.random.default_rng(1)
    ends = np.arange(ROWS) + rng.integers(1, HORIZON, ROWS)
    intervals = np.column_stack([np.arange(ROWS), ends])
    minute = pd.date_range("2024-01-01", periods=ROWS + HORIZON, freq="min")
    splitter = purgedcv.PurgedKFold(
        5, prediction_times=pd.Series(minute[:ROWS]), evaluation_times=pd.Series(minute[ends])
    )
    start = time.perf_counter()
    theirs = [(np.sort(train), test) for train, test in splitter.split(np.zeros((ROWS, 1)))]
    peer = time.perf_counter() - start
    start = time.perf_counter()
    ours = []
    for _, test in theirs:
        others = np.setdiff1d(np.arange(ROWS), test)
        ours.append(others[purge(intervals[others], intervals[test])])
    own = time.perf_counter() - start
    same = all(np.array_equal(a, b) for a, (b, _) in zip(ours, theirs, strict=True))
    report("five folds of 100,000 rows", own, peer, 1, of="purgedcv")
    print(f"{'':<44} the same rows: {same}")


if __name__ == "__main__":
    cases()
    long_history()
