"""What one parameter set of a search is worth, on the blocks that it has been tried on so far."""

import math

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.significance import DAYS_A_YEAR, sharpe_ratio

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

DAY_MS = 86_400_000


def returns_by_day(times_ms: Times, equity: Floats) -> tuple[Times, Floats]:
    """Days (UTC, since the epoch) and what the equity made on each, from its last bar to the last bar of the day.

    times_ms: open times of consecutive bars [n]. equity: at their closes [n]; the first is what it starts from.
    """
    days = times_ms // DAY_MS
    last = np.flatnonzero(np.append(days[1:] != days[:-1], True))
    ends = equity[last]
    before = np.concatenate([equity[:1], ends[:-1]])
    return days[last], np.divide(ends, before, out=np.ones(len(ends)), where=before > 0) - 1


def sharpe_or_zero(returns: Floats) -> float:
    """Sharpe ratio of daily returns in a market that never closes; 0 if they do not vary."""
    ratio = sharpe_ratio(returns)
    return 0.0 if ratio is None else ratio * math.sqrt(DAYS_A_YEAR)


def worth(sharpe: float, trades: int, min_trades: float) -> float:
    """What the sampler is to make of a Sharpe ratio: few trades say nothing good, and the fewer the less.

    A set with too few trades lies below 0 however well they went, or one lucky trade would win the search.
    """
    if trades >= min_trades:
        return sharpe
    return min(sharpe, 0.0) - (1 - trades / min_trades)


def skill(y: Floats, p: Floats, yes_or_no: bool) -> float:
    """Share of the loss saved that knowing nothing but the mean would have: log loss, or squared error for numbers.

    Comparable between labels of different base rates, which the loss itself is not. 0 where there is one class only.
    """
    from pipeline.evaluation.scores import log_loss

    if not len(y):
        return 0.0
    if not yes_or_no:
        spread = float(np.mean((y - y.mean()) ** 2))
        return 1 - float(np.mean((y - p) ** 2)) / spread if spread > 0 else 0.0
    outcome = y > 0
    base = log_loss(outcome, np.full(len(y), float(outcome.mean())))
    return 1 - log_loss(outcome, p) / base if 0 < outcome.mean() < 1 else 0.0
