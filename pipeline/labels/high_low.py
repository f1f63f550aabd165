"""`highlow`: the extremes of the next bars, relative to the close."""

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.labels import HighLow
from pipeline.labels.column import LabelColumn

Floats = npt.NDArray[np.float64]


def names(spec: HighLow, horizons: list[int]) -> list[str]:
    """Per horizon: high_max_h, low_min_h, high_to_low_h, then high_{θ}_h and low_{θ}_h per threshold."""
    result = []
    for h in horizons:
        result += [f"high_max_{h}", f"low_min_{h}", f"high_to_low_{h}"]
        result += [f"{side}_{threshold:g}_{h}" for threshold in spec.thresholds for side in ("high", "low")]
    return result


def compute(spec: HighLow, horizons: list[int], close: Floats, high: Floats, low: Floats) -> list[LabelColumn]:
    """In the order of `names`; all unknown on the last h rows.

    high_max_h = 100·(max(high[t+1…t+h])/close − 1), low_min_h likewise with the minimum of low.
    high_to_low_h = 2·up/(up+down) − 1 with up = max(high_max_h, 0), down = max(−low_min_h, 0); null if
    the price did not move at all. high_{θ}_h: high_max_h ≥ θ; low_{θ}_h: low_min_h ≤ −θ.
    Source: intelligent-trading-bot, `highlow`.
    """
    n = len(close)
    columns = []
    for h in horizons:
        end = np.arange(n, dtype=np.int64) + h
        known = end < n
        top = 100 * (future_max(high, h) / close - 1)
        bottom = 100 * (-future_max(-low, h) / close - 1)
        up, down = np.maximum(top, 0), np.maximum(-bottom, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            balance = 2 * up / (up + down) - 1
        columns += [LabelColumn(top, known, end), LabelColumn(bottom, known, end)]
        columns.append(LabelColumn(balance, known & np.isfinite(balance), end))
        for threshold in spec.thresholds:
            columns.append(LabelColumn(top >= abs(threshold), known, end))
            columns.append(LabelColumn(bottom <= -abs(threshold), known, end))
    return columns


@compiled()
def future_max(values: Floats, horizon: int) -> Floats:
    """max(values[t+1…t+horizon]) for each t [n]; NaN on the last `horizon` rows."""
    n = values.shape[0]
    result = np.full(n, np.nan)
    queue = np.empty(n, np.int64)  # positions whose values fall, largest first
    head = tail = 0
    for j in range(1, n):
        while tail > head and values[queue[tail - 1]] <= values[j]:
            tail -= 1
        queue[tail] = j
        tail += 1
        t = j - horizon
        if t >= 0:
            while queue[head] <= t:
                head += 1
            result[t] = values[queue[head]]
    return result
