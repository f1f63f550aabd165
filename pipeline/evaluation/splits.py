"""Splits that do not leak: interval-exact purging, and walk-forward blocks."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Intervals = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One step of a walk-forward: row positions, half-open.

    number: 0, 1, … train, test: (start, stop); train stops where test starts, before any purging.
    """

    number: int
    train: tuple[int, int]
    test: tuple[int, int]


def purge(train: Intervals, test: Intervals, embargo: int = 0) -> npt.NDArray[np.bool_]:
    """Mask of the training samples that may be kept next to test samples.

    A sample is dropped if its interval overlaps any test interval, or starts within `embargo` after
    one; all intervals are half-open, in one unit (positions or milliseconds).

    train: start and end, int64 [n, 2], start < end. test: the same [m, 2], sorted by start.
    embargo: dropped as well after each test interval.
    Returns bool [n], True = keep.
    Raises ValueError: an interval is empty or reversed (names the first), test is unsorted, embargo < 0.
    Source: López de Prado, Advances in Financial Machine Learning (2018), 7.4.
    """
    train, test = np.asarray(train, np.int64).reshape(-1, 2), np.asarray(test, np.int64).reshape(-1, 2)
    for name, intervals in (("train", train), ("test", test)):
        wrong = np.flatnonzero(intervals[:, 0] >= intervals[:, 1])
        if wrong.size:
            start, end = intervals[wrong[0]]
            raise ValueError(f"{name} interval {wrong[0]} is empty or reversed: [{start}, {end})")
    if embargo < 0:
        raise ValueError(f"embargo must not be negative, found {embargo}")
    if len(test) == 0:
        return np.ones(len(train), dtype=bool)
    if np.any(np.diff(test[:, 0]) < 0):
        raise ValueError("test intervals must be sorted by start")
    # Of the test intervals that start before a sample ends, the one that reaches furthest decides.
    furthest = np.maximum.accumulate(test[:, 1] + embargo)
    before = np.searchsorted(test[:, 0], train[:, 1], side="left")
    keep: npt.NDArray[np.bool_] = (before == 0) | (furthest[np.maximum(before, 1) - 1] <= train[:, 0])
    return keep


def walk_forward(
    n_rows: int,
    first_test: int,
    train_length: int,
    prediction_size: int,
    steps: int | None = None,
    window: Literal["sliding", "expanding"] = "sliding",
) -> list[Fold]:
    """Consecutive test blocks, each with the rows before it to train on.

    n_rows: rows there are. first_test: position of the first row to predict.
    train_length: rows before a block to train on; if expanding, those before the first block.
    prediction_size: rows of a block; the last one may be shorter. steps: blocks at most.
    Raises ValueError: a size is not positive, or there is nothing before or in the first block.
    """
    if train_length < 1 or prediction_size < 1:
        raise ValueError("train_length and prediction_size must be at least 1")
    if first_test < 1 or first_test >= n_rows:
        raise ValueError(f"the first block would start at row {first_test} of {n_rows}")
    starts = range(first_test, n_rows, prediction_size)[:steps]
    anchor = max(0, first_test - train_length)
    return [
        Fold(
            number,
            (anchor if window == "expanding" else max(0, start - train_length), start),
            (start, min(start + prediction_size, n_rows)),
        )
        for number, start in enumerate(starts)
    ]
