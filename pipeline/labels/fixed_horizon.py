"""`fixed_horizon`: the return over the next bars, or whether it exceeds a threshold."""

import numpy as np
import numpy.typing as npt

from pipeline.config.labels import FixedHorizon
from pipeline.labels.column import LabelColumn


def names(spec: FixedHorizon, horizons: list[int]) -> list[str]:
    """`return_h`, `log_return_h`, or `up_h` where a threshold makes it a yes or no."""
    stem = "up" if spec.threshold is not None else "log_return" if spec.log else "return"
    return [f"{stem}_{h}" for h in horizons]


def compute(spec: FixedHorizon, horizons: list[int], close: npt.NDArray[np.float64]) -> list[LabelColumn]:
    """close[t+h]/close[t] − 1 (or its logarithm), or whether that exceeds the threshold; last h unknown."""
    n = len(close)
    columns = []
    for h in horizons:
        end = np.arange(n, dtype=np.int64) + h
        ratio = np.ones(n)
        ratio[: n - h] = close[h:] / close[: n - h]
        change = np.log(ratio) if spec.log else ratio - 1
        columns.append(LabelColumn(change if spec.threshold is None else change > spec.threshold, end < n, end))
    return columns
