"""One choice of features by any of the methods, from the rows of one training window and nothing else."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.selection import Selection
from pipeline.models.selection import clustered_importance, mrmr, shadow
from pipeline.models.selection.evidence import Evidence

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_THRESHOLD = {"mrmr": 4.0, "permutation": 2.0, "shadow": 0.75}


@dataclass(frozen=True)
class Selected:
    """Features in the order of their worth, and how many of them are kept.

    ranking: all columns [k], best first. kept: at least 1. passed: how many met the threshold; 0 says that the one
    that is kept is no better than noise.
    """

    ranking: tuple[int, ...]
    kept: int
    passed: int

    @property
    def columns(self) -> Indices:
        """Positions of the features that are kept, ascending."""
        return self.best(self.kept)

    def best(self, count: int) -> Indices:
        """Positions of the first `count` features of the ranking, ascending."""
        return np.array(sorted(self.ranking[:count]), np.int64)


def select(
    features: npt.NDArray[np.float32],
    y: Floats,
    classification: bool,
    late: npt.NDArray[np.bool_],
    overlap: npt.NDArray[np.bool_],
    section: Selection,
    seed: int,
) -> Selected:
    """Choose among the columns of one training window.

    features: [n, k], rows in time order symbol by symbol, all of them from the window. y: labels [n]. late: the last
    part of the window [n], which `permutation` is judged on; overlap: rows whose outcome reaches into it [n].
    Raises ValueError: `permutation` without a late part, or a method that is none.
    """
    stride = -(-len(features) // section.max_rows)
    x, y, late, overlap = features[::stride], y[::stride], late[::stride], overlap[::stride]
    if section.method == "mrmr":
        found = mrmr.evidence(x, y, classification, seed)
    elif section.method == "permutation":
        found = clustered_importance.evidence(x, y, classification, ~late & ~overlap, late, seed)
    elif section.method == "shadow":
        found = shadow.evidence(x, y, classification, seed)
    else:
        raise ValueError(f"'{section.method}' chooses nothing")
    return _cut(found, section)


def _cut(found: Evidence, section: Selection) -> Selected:
    # Those that pass come first, in the order of the ranking; the others follow in theirs.
    needed = section.threshold if section.threshold is not None else _THRESHOLD[section.method]
    passing = found.strength >= needed
    ranking = [*(j for j in found.ranking if passing[j]), *(j for j in found.ranking if not passing[j])]
    passed = int(passing.sum())
    kept = max(1, min(passed, section.keep or passed))
    return Selected(tuple(int(j) for j in ranking), kept, passed)
