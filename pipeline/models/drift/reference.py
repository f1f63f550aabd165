"""What a bundle remembers of its training range, so that drift is seen without the training data.

Edges and shares of each feature, how far the range's own windows usually are from the whole, and each model's scores
and errors on rows that it had not seen.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.models.drift.calibration_drift import Gap
from pipeline.models.drift.distribution import LEAST_WINDOWS, Distribution, learn, together
from pipeline.models.drift.monitor import stride_of

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_LEAST_MEANS = 10
_LAGS = 3


@dataclass(frozen=True)
class Windows:
    """Rows of the training range that are looked at, [n] ascending positions, and windows of them.

    window_bars: bars of a window. slices: of `rows`, each of one symbol and at least half full.
    """

    window_bars: int
    rows: Indices
    slices: Sequence[slice]

    @property
    def stride(self) -> int:
        """Bars between two that are looked at."""
        return stride_of(self.window_bars)


def training_windows(rows: Indices, times: Indices, symbols: Indices, step_ms: int, window_bars: int) -> Windows:
    """Windows of the training rows [n], each of one symbol.

    times: open_time in ms [n], symbols [n], symbol after symbol and ascending within each. A range too short for four
    windows is cut into four shorter ones, and no window is longer than that.
    """
    span = int(times.max() - times.min()) // step_ms + 1
    window_bars = max(min(window_bars, span // LEAST_WINDOWS), 1)
    stride = stride_of(window_bars)
    # By the clock, so that gaps do not shift what is looked at.
    looked = (times // step_ms) % stride == 0
    rows, times, symbols = rows[looked], times[looked], symbols[looked]
    number = (times - times.min()) // (window_bars * step_ms) if len(times) else times
    change = np.flatnonzero((np.diff(number) != 0) | (np.diff(symbols) != 0)) + 1
    edges = [0, *change.tolist(), len(rows)]
    full = window_bars / stride
    slices = [slice(a, b) for a, b in itertools.pairwise(edges) if b - a >= full / 2 and b - a >= 2]
    return Windows(window_bars, rows, slices)


def feature_reference(features: npt.NDArray[np.float32], names: Sequence[str], windows: Windows) -> dict[str, Any]:
    """`window_bars`, `stride`, `features` and `together` of the manifest's `drift`.

    features: float32 [.., k], of which the windows' rows are read one column at a time.
    """
    kept: dict[str, Any] = {"window_bars": windows.window_bars, "stride": windows.stride, "features": {}}
    ratios = []
    if len(windows.slices) >= LEAST_WINDOWS:
        for j, name in enumerate(names):
            distribution, ratio = learn(features[windows.rows, j].astype(np.float64), windows.slices)
            kept["features"][name] = distribution.json()
            ratios.append(ratio)
    return kept | {"together": asdict(together(ratios)) if ratios else None}


def score_reference(seen: Floats, windows: Windows, held_out: Floats) -> dict[str, Any] | None:
    """A model's scores: their distribution on held-out rows [m], in time; None if there are too few.

    seen: scores of the windows' rows, which say how much a window usually differs. A model's scores of rows that it
    learned from are spread wider than others, so their own distribution is no reference.
    """
    if len(windows.slices) < LEAST_WINDOWS or len(held_out) < windows.window_bars:
        return None
    usual, _ = learn(seen, windows.slices)
    itself, _ = learn(held_out, [slice(0, len(held_out) // 2), slice(len(held_out) // 2, len(held_out))])
    # The held-out part is a window as well, only longer: it differs by chance too.
    wider = math.sqrt(1 + windows.window_bars / len(held_out))
    return Distribution(itself.edges, itself.shares, usual.usual * wider, usual.windows).json()


def gap_reference(scores: Floats, outcomes: Floats, rows: int) -> dict[str, Any] | None:
    """A model's errors on held-out rows [m] in time, in means over `rows` of them; None if there are too few means."""
    count = len(scores) // rows
    if count < _LEAST_MEANS:
        return None
    error = (outcomes - scores)[: count * rows].reshape(count, rows)
    gap, loss = error.mean(axis=1), (error**2).mean(axis=1)
    return Gap(float(gap.mean()), _spread(gap), count, float(loss.mean()), _spread(loss), rows).json()


def _spread(means: Floats) -> float:
    # The standard deviation that independent means would need for the mean of many to vary as much as it does here
    # (Newey & West 1987): an outcome that reaches into the next mean makes neighbours alike.
    centred = means - means.mean()
    variance = float(np.mean(centred**2)) * len(means) / (len(means) - 1)
    lags = [float(np.mean(centred[k:] * centred[:-k])) * (1 - k / (_LAGS + 1)) for k in range(1, _LAGS + 1)]
    return math.sqrt(max(variance + 2 * sum(lags), variance))
