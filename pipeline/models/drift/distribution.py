"""What a column looked like in training, and how far from that a window of it usually is.

Features depend on their past: a week of them is a handful of independent values, not two thousand, and by the textbook
every week has drifted. So the yardstick is the training range itself: the distance that its own windows have from the
whole. A window has drifted if its distance is too large for that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.models.drift.ks import ks_distance
from pipeline.models.drift.psi import psi

Floats = npt.NDArray[np.float64]
POINTS = 50
# Rows of a window that are looked at; its neighbours say nearly the same.
ROWS = 700
LEAST_WINDOWS = 4
# In place of a cell, for a value that is not known.
UNKNOWN = 255
# Every fifth point: about ten bins, as is the custom for PSI.
_PSI_STEP = 5
# The distance's scale is learnt from few windows, hence Student's t; the distance is bounded, hence a lighter tail
# than with one degree of freedom a window. On stationary columns of any persistence it keeps its level (tests).
_DEGREES_A_WINDOW = 3


@dataclass(frozen=True)
class Distribution:
    """A column in training.

    edges: ascending points [m]. shares: part of the rows at or below each [m]. usual: root mean square of the
    distances of the training range's windows from the whole. windows: how many there were.
    """

    edges: Floats
    shares: Floats
    usual: float
    windows: int

    def p_value(self, distance: float) -> float:
        """How often a window of an unchanged column is at least this far away."""
        from scipy.special import stdtr

        return float(2 * stdtr(_DEGREES_A_WINDOW * self.windows, -distance / self.usual))

    def json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "edges": self.edges.tolist(), "shares": self.shares.tolist(), "usual": self.usual, "windows": self.windows
        }  # fmt: skip

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Distribution":
        """Of what `json` gave. Raises KeyError, TypeError or ValueError: it is damaged."""
        edges, shares = np.array(kept["edges"], np.float64), np.array(kept["shares"], np.float64)
        return cls(edges, shares, float(kept["usual"]), int(kept["windows"]))


class Distributions:
    """Several columns at once: a window of all of them against training.

    columns: k of them, which may have different numbers of edges.
    """

    def __init__(self, columns: Sequence[Distribution]) -> None:
        most = max((len(column.edges) for column in columns), default=1)
        # Edges that a column does not have lie beyond all values, where both shares are 1.
        self._edges, self._shares = np.full((len(columns), most), np.inf), np.ones((len(columns), most))
        cuts = []
        for k, column in enumerate(columns):
            count = len(column.edges)
            self._edges[k, :count], self._shares[k, :count] = column.edges, column.shares
            every = _PSI_STEP if count > _PSI_STEP else 1
            cuts.append(list(range(every - 1, count, every)))
        # A bin between a cut and itself is empty in both, and adds nothing.
        longest = max((len(own) for own in cuts), default=0)
        self._cuts = np.array([own + own[-1:] * (longest - len(own)) for own in cuts], np.int64).reshape(-1, longest)

    def cells(self, row: Floats) -> npt.NDArray[np.int64]:
        """Which cell between its edges each value [k] lies in: 0 up to the first edge, m above the last."""
        return np.asarray((row[:, None] > self._edges).sum(axis=1))

    def compare(self, window: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """How many values of each column are known [k], their Kolmogorov-Smirnov distance and their PSI, over ten bins.

        window: cells [rows, k], UNKNOWN for a value that is not. Figures of a column without any value are NaN.
        """
        count = window.shape[1]
        cells = np.where(window == UNKNOWN, self._edges.shape[1] + 1, window.astype(np.int64))
        places = self._edges.shape[1] + 2
        counts = np.bincount((cells + np.arange(count) * places).ravel(), minlength=count * places)
        counts = counts.reshape(count, places)[:, :-1]
        known = counts.sum(axis=1)
        with np.errstate(invalid="ignore"):
            actual = np.cumsum(counts, axis=1)[:, :-1] / known[:, None]
        at = np.take_along_axis
        bins = (np.diff(at(values, self._cuts, 1), prepend=0.0, append=1.0) for values in (self._shares, actual))
        return known, ks_distance(self._shares, actual), psi(*bins)


@dataclass(frozen=True)
class Together:
    """How far all columns are from training at once: the mean of distance / usual, of the training range's windows.

    mean, spread: of its logarithm. Columns move together, so the windows themselves say how much that varies.
    """

    mean: float
    spread: float
    windows: int

    def p_value(self, ratios: Sequence[float]) -> float:
        """How often the columns of an unchanged market are as far away on average as these ratios [k]."""
        from scipy.special import stdtr

        x = (np.log(np.mean(ratios)) - self.mean) / (self.spread * np.sqrt(1 + 1 / self.windows))
        return float(stdtr(self.windows - 1, -x))


def learn(values: Floats, windows: Sequence[slice]) -> tuple[Distribution, Floats]:
    """The distribution of a column [n], and the ratios [w] of its windows' distances to what the others' usually are.

    windows: of neighbouring rows, at least two. The usual distance allows for each window being part of the whole.
    """
    ordered = np.sort(values)
    edges = np.unique(ordered[np.linspace(0, len(values) - 1, POINTS + 2).astype(np.int64)[1:-1]].astype(np.float64))
    shares = np.searchsorted(ordered, edges, side="right") / len(values)
    place = np.searchsorted(edges, values, side="left")
    found = [np.bincount(place[window], minlength=len(edges) + 1) for window in windows]
    distances = np.array([ks_distance(shares, np.cumsum(counts)[:-1] / counts.sum()) for counts in found])
    count = len(distances)
    part_of_whole = np.sqrt((1 + 1 / count) / (1 - 1 / count))
    squares = distances**2
    # A column that never changes is as far from itself as rounding is.
    usual = max(float(np.sqrt(squares.mean()) * part_of_whole), 1e-6)
    others = np.maximum(np.sqrt((squares.sum() - squares) / (count - 1)), 1e-6)
    return Distribution(edges, shares, usual, count), distances / others


def together(ratios: Sequence[Floats]) -> Together:
    """Of the ratios [w] that `learn` gave for each column."""
    level = np.log(np.maximum(np.mean(np.array(ratios), axis=0), 1e-6))
    return Together(float(level.mean()), max(float(level.std(ddof=1)), 1e-6), len(level))
