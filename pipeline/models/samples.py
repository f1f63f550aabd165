"""The rows that models learn from and score: features of all symbols in one matrix, with their labels."""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from pipeline.models.weights import Weighting

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """One label over the rows of a `Samples`.

    values: float64 [n] (0 and 1 for a bool label). known: bool [n]. end_ms: int64 [n], open_time of the
    bar that decided it. is_bool: whether the label is a yes or no.
    """

    values: Floats
    known: npt.NDArray[np.bool_]
    end_ms: npt.NDArray[np.int64]
    is_bool: bool


class SomeRows:
    """Some rows of a feature matrix, addressed by their positions in the whole; the others are not kept.

    features: the whole, float32 [n, k]. rows: ascending positions [m] of those to keep.
    """

    def __init__(self, features: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> None:
        self._values = features[rows]
        self._rows = rows

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Rows [p, k] at positions [p]. Raises KeyError: one of them was not kept."""
        place = np.searchsorted(self._rows, rows)
        if np.any(place == len(self._rows)) or np.any(self._rows[place] != rows):
            raise KeyError("rows that were not kept")
        return self._values[place]


@dataclass(frozen=True)
class Samples:
    """Rows whose features are all finite, symbol after symbol.

    features: float32 [n, k], stored feature after feature (Fortran order), as LightGBM bins them.
    times: open_time in ms, int64 [n]. symbols: index into the symbols, int32 [n]. rows: position in the
    symbol's table, int64 [n]. trainable: bool [n], not made up nor looking back on too many made-up bars.
    step_ms: bar length. excluded: reason → number of rows left out of training. weighting: of the rows of each fit.
    """

    names: list[str]
    features: npt.NDArray[np.float32] | SomeRows
    times: npt.NDArray[np.int64]
    symbols: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    trainable: npt.NDArray[np.bool_]
    targets: dict[str, Target]
    step_ms: int
    excluded: dict[str, int] = field(default_factory=dict)
    weighting: Weighting = field(default_factory=Weighting)

    def intervals(self, label: str, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Half-open time intervals [m, 2] in ms that a label's samples touch: from their own bar to the
        end of the bar that decided them."""
        return np.column_stack([self.times[chosen], self.targets[label].end_ms[chosen] + self.step_ms])

    def keeping(self, rows: npt.NDArray[np.bool_]) -> "Samples":
        """The same with the features of some rows only, mask [n]: binned rows train without the others."""
        assert isinstance(self.features, np.ndarray)
        return replace(self, features=SomeRows(self.features, np.flatnonzero(rows)))
