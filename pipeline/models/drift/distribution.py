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

    def distance(self, counts: npt.NDArray[np.int64]) -> float:
        """Kolmogorov-Smirnov distance of a window, as its rows in each of the m + 1 cells between the edges."""
        return float(ks_distance(self.shares, np.cumsum(counts)[:-1] / counts.sum()))

    def stability(self, counts: npt.NDArray[np.int64]) -> float:
        """Population stability index of a window, over about ten bins."""
        cuts = np.arange(_PSI_STEP - 1, len(self.edges), _PSI_STEP) if len(self.edges) > _PSI_STEP else slice(None)
        expected = np.diff(self.shares[cuts], prepend=0.0, append=1.0)
        actual = np.diff((np.cumsum(counts)[:-1] / counts.sum())[cuts], prepend=0.0, append=1.0)
        return float(psi(expected, actual))

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


def cells(edges: Floats, values: Floats) -> npt.NDArray[np.int64]:
    """Which cell between the edges each value [n] lies in: 0 up to the first edge, m above the last."""
    return np.searchsorted(edges, values, side="left").astype(np.int64)


def learn(values: Floats, windows: Sequence[slice]) -> tuple[Distribution, Floats]:
    """The distribution of a column [n], and the ratios [w] of its windows' distances to what the others' usually are.

    windows: of neighbouring rows, at least two. The usual distance allows for each window being part of the whole.
    """
    ordered = np.sort(values)
    edges = np.unique(ordered[np.linspace(0, len(values) - 1, POINTS + 2).astype(np.int64)[1:-1]].astype(np.float64))
    shares = np.searchsorted(ordered, edges, side="right") / len(values)
    place = cells(edges, values)
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
