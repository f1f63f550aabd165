"""Returns by day: what Sharpe ratios are judged by, since a thousand minutes are not a thousand pieces of evidence."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
DAY_MS = 86_400_000


def daily_returns(times_ms: npt.NDArray[np.int64], equity: Array) -> Array | None:
    """Returns of UTC days [days] of an equity curve; 365 make a year in a market that never closes.

    times_ms: open times [n] of bars of a day at most. equity: at their closes [n]; the first is what the returns start
    from. First and last day may be partial. None if the equity is used up: there is no return after that.
    """
    if equity.min(initial=np.inf) <= 0:
        return None
    day = times_ms[1:] // DAY_MS
    ends = np.flatnonzero(np.append(day[1:] != day[:-1], True)) if len(day) else np.empty(0, np.int64)
    closes = equity[np.append(0, ends + 1)]
    return np.asarray(closes[1:] / closes[:-1] - 1)
