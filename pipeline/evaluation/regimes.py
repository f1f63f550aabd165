"""How an account did in each kind of market: calm or wild, rising or falling.

A day's kind is what the month before it was, known on its morning. Only where calm ends and wild begins is taken from
the whole history, as thirds of its days: this describes what happened, and nothing may be chosen by it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.daily import daily_returns
from pipeline.evaluation.significance import annual_sharpe

Array = npt.NDArray[np.float64]
DAYS_BEFORE = 30
FEWEST_DAYS = 3 * DAYS_BEFORE


def by_regime(times_ms: npt.NDArray[np.int64], equity: Array, held: Array) -> dict[str, dict[str, Any]]:
    """Days, return and annual Sharpe ratio of an account and the return of holding, in each kind of market.

    times_ms: open times [n] of bars. equity, held: at their closes [n], of the account and of buy & hold.
    Returns {} for less than 90 days, or if one of them was used up; days of the first month have no kind.
    """
    own, market = daily_returns(times_ms, equity), daily_returns(times_ms, held)
    if own is None or market is None or len(own) < FEWEST_DAYS:
        return {}
    before = np.lib.stride_tricks.sliding_window_view(market, DAYS_BEFORE)[:-1]
    own, market = own[DAYS_BEFORE:], market[DAYS_BEFORE:]
    spread, rose = before.std(axis=1), np.prod(1 + before, axis=1) > 1
    low, high = np.quantile(spread, [1 / 3, 2 / 3])
    kinds = {
        "calm": spread < low, "between": (spread >= low) & (spread <= high), "wild": spread > high, "rising": rose,
        "falling": ~rose,
    }  # fmt: skip
    return {
        name: {
            "days": int(days.sum()),
            "total_return": float(np.prod(1 + own[days]) - 1),
            "sharpe": annual_sharpe(own[days]),
            "buy_and_hold": float(np.prod(1 + market[days]) - 1),
        }
        for name, days in kinds.items()
    }
