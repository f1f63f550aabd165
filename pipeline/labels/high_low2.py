"""`highlow2`: does the price move by a threshold one way before a smaller one the other way?"""

import numpy as np
import numpy.typing as npt

from pipeline.config.labels import HighLow2
from pipeline.labels.column import LabelColumn
from pipeline.labels.crossing import LOWER, NEITHER, UPPER, first_crossing

Floats = npt.NDArray[np.float64]


def names(spec: HighLow2, horizon: int) -> list[str]:
    """The names given, or function, threshold and horizon: `high_1.5_120`."""
    return spec.names or [f"{spec.function}_{threshold:g}_{horizon}" for threshold in spec.thresholds]


def compute(spec: HighLow2, horizon: int, close: Floats, high: Floats, low: Floats) -> list[LabelColumn]:
    """One bool label per threshold θ (percent), tolerance τ, horizon h.

    With c = close[t]: True if high[t+k] > c·(1+θ/100) for some k ≤ h (both strict) and no earlier bar
    had low < c·(1−θ·τ/100); mirrored for `low`. A bar that crosses both counts as `tie` says. False is
    known as soon as the other side is crossed first, else after h bars; unknown if the data end before.
    Source: intelligent-trading-bot, `highlow2`; its ties are successes and its last rows False.
    """
    n = len(close)
    columns = []
    for threshold in spec.thresholds:
        theta = abs(threshold)
        away, against = theta / 100, theta * spec.tolerance / 100
        if spec.function == "high":
            over, under, wanted = 1 + away, 1 - against, UPPER
        else:
            over, under, wanted = 1 + against, 1 - away, LOWER
        end, which = first_crossing(close, high, low, over, under, horizon)
        success = (which & wanted) != NEITHER if spec.tie == "success" else which == wanted
        known = which != NEITHER
        known[: max(n - horizon, 0)] = True
        columns.append(LabelColumn(success, known, end))
    return columns
