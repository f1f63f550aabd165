"""Correlation of the symbols' returns, known at the start of each UTC day."""

import numpy as np
import numpy.typing as npt

from pipeline.trading.rules import DAY_MS

Array = npt.NDArray[np.float64]
WINDOW_DAYS, LEAST_DAYS = 90, 20


def daily_correlation(
    close: Array, origin_ms: int, step_ms: int, *, window: int = WINDOW_DAYS, shrink: float = 0.3
) -> Array:
    """Matrices [days, symbols, symbols], each from the daily returns of the `window` days before.

    close: [symbols, n] on a complete grid whose bar 0 opens at origin_ms; NaN before a symbol's first bar.
    shrink: weight of the prior, which is perfect correlation: with few days to learn from, positions are
    taken to add up. Until 20 days are known, it is the prior alone.
    Source: the shrinkage idea of Ledoit & Wolf (2004), with the cautious target and a fixed weight.
    """
    symbols, n = close.shape
    days = (origin_ms + np.arange(n) * step_ms) // DAY_MS
    last = np.flatnonzero(np.append(np.diff(days) > 0, True))
    ends = close[:, last]
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = np.diff(np.log(ends), axis=1)
    result = np.ones((len(last), symbols, symbols))
    for day in range(len(last)):
        # The first return ends on day 1; on day d those up to day d − 1 are known.
        known = returns[:, max(0, day - 1 - window) : max(0, day - 1)]
        known = known[:, np.isfinite(known).all(axis=0)]
        if symbols == 1 or known.shape[1] < LEAST_DAYS or np.any(known.std(axis=1) == 0):
            continue
        result[day] = (1 - shrink) * np.corrcoef(known) + shrink
        np.fill_diagonal(result[day], 1.0)
    return result
