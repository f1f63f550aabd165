"""Combinatorial purged cross-validation: every choice of test groups once, put together to many histories.

Of N groups of bars, k are tested at a time and the others trained on, less what overlaps: C(N, k) splits. Each group
is scored in k·C(N, k)/N of them, so the scores make that many paths, each a whole history scored out of sample: a
distribution of the result instead of one number.
Source: López de Prado, Advances in Financial Machine Learning (2018), chapter 12.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.splits import Intervals, purge

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Combination:
    """One split. number: 0, 1, … test: groups that are tested, ascending; the others are trained on."""

    number: int
    test: tuple[int, ...]


def combinations(groups: int, test_groups: int) -> list[Combination]:
    """All splits of `groups` groups with `test_groups` of them tested, in the order of itertools.combinations.

    Raises ValueError: there are fewer than two groups, or none is left to train on or to test.
    """
    if groups < 2 or not 0 < test_groups < groups:
        raise ValueError(f"{test_groups} of {groups} groups cannot be tested with others to train on")
    chosen = itertools.combinations(range(groups), test_groups)
    return [Combination(number, test) for number, test in enumerate(chosen)]


def paths(groups: int, test_groups: int) -> Indices:
    """The split that scores each group on each path, int64 [paths, groups]: no split scores a group on two paths.

    Path p takes of each group the p-th split in which the group is tested.
    """
    splits = combinations(groups, test_groups)
    return np.array([[one.number for one in splits if group in one.test] for group in range(groups)], np.int64).T


def group_edges(first: int, stop: int, step: int, groups: int) -> Indices:
    """Times at which groups begin, and the end of the last, int64 [groups + 1], on the grid first, first + step, ….

    The groups have equal numbers of bars, but for one bar.
    Raises ValueError: there are fewer bars than groups.
    """
    bars = (stop - first) // step
    if bars < groups:
        raise ValueError(f"{bars} bars cannot be parted into {groups} groups")
    return first + step * np.array([bars * group // groups for group in range(groups + 1)], np.int64)


def group_of(times: Indices, edges: Indices) -> Indices:
    """Group of each time, −1 outside of all."""
    found = np.searchsorted(edges, times, side="right") - 1
    return np.where((found >= 0) & (found < len(edges) - 1), found, -1)


def training_rows(
    intervals: Intervals, groups: Indices, test: tuple[int, ...], known: npt.NDArray[np.bool_], embargo: int = 0
) -> npt.NDArray[np.bool_]:
    """Mask [n] of the samples that a split may learn from.

    A sample outside the test groups is dropped if its interval overlaps that of any sample inside one, on either side
    of it, or starts within `embargo` after the end of one. Samples that are not known are never learnt from, but what
    they touch counts where they are tested.

    intervals: half-open [n, 2], each sample's own bar to the end of the bar that decides it; where not known, its own
    bar. groups: of each sample [n], −1 for none. embargo: in the unit of the intervals.
    """
    tested = np.isin(groups, test)
    mask = known & ~tested & (groups >= 0)
    held = intervals[tested]
    rows = np.flatnonzero(mask)
    mask[rows] = purge(intervals[rows], held[np.argsort(held[:, 0], kind="stable")], embargo)
    return mask


def spread(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Mean, median, 5th and 95th percentile of a metric over the paths that have it; None if none has."""
    values = values[np.isfinite(values)]
    names = ("mean", "p5", "median", "p95")
    if not len(values):
        return dict.fromkeys(names)
    found = [float(values.mean()), *(float(q) for q in np.quantile(values, [0.05, 0.5, 0.95]))]
    return dict(zip(names, found, strict=True))
