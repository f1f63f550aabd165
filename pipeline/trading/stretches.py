"""Stretches of bars in which the core has nothing to decide, lived through at the speed of the memory.

`simulation` and `grid` call the core's `step` only where something can happen; these functions pass
over the bars between. They must leave exactly the state and equity that `step` on each bar would
leave (a test holds it): when the core learns a new rule that can act on a bar, that bar must end a
stretch here.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from pipeline.trading.records import TRAILING_STOP, State
from pipeline.trading.rules import Rules
from pipeline.trading.tally import Tally

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]


class Bars(NamedTuple):
    """Price arrays float64 [n] of a complete grid, and which of its bars are made up, bool [n]."""

    open: Array
    high: Array
    low: Array
    close: Array
    filled: npt.NDArray[np.bool_]

    def part(self, rows: slice) -> "Bars":
        """The same of some rows."""
        return Bars(self.open[rows], self.high[rows], self.low[rows], self.close[rows], self.filled[rows])


class NextSignals(NamedTuple):
    """For each bar, the first bar at or after it with a buy or sell signal; n if there is none. int32 [n]."""

    buy: Index
    sell: Index


@numba.njit(cache=True, nogil=True)
def next_true(flags: npt.NDArray[np.bool_]) -> Index:
    """For each of n flags the index of the first True one at or after it; n if there is none."""
    n = len(flags)
    index = np.empty(n, np.int32)
    following = n
    for t in range(n - 1, -1, -1):
        if flags[t]:
            following = t
        index[t] = following
    return index


@numba.njit(cache=True, error_model="numpy", inline="always")
def flat_until(signals: NextSignals, bar: int, end: int, rules: Rules) -> int:
    """The first bar from `bar` on, `end` at most, at whose close a flat core may order an entry."""
    until = end
    if rules.trade_long:
        until = min(until, signals.buy[bar])
    if rules.trade_short:
        until = min(until, signals.sell[bar])
    return until


@numba.njit(cache=True, error_model="numpy")
def hold_until(
    state: State,
    bars: Bars,
    signals: NextSignals,
    bar: int,
    end: int,
    rules: Rules,
    equity: Array | None,
    tally: Tally | None,
) -> int:
    """Live through the bars from `bar` on, `end` at most, that leave an open position as it is.

    Ends before a bar with the opposite signal, at the time limit, that reaches stop or target, or is
    made up. The equity at each close passed is written to `equity` or added to `tally`; the other
    one is None. Returns the first bar not lived through.
    """
    end = min(end, signals.sell[bar] if state.side > 0 else signals.buy[bar], state.entry_bar + rules.max_bars - 1)
    # A short position is a long one in prices of opposite sign.
    side = float(state.side)
    best_prices, worst_prices = (bars.high, bars.low) if state.side > 0 else (bars.low, bars.high)
    # Locals, because the compiler cannot know that writing equity leaves the state alone.
    cash, qty, stop, target = state.cash, state.qty, side * state.stop, side * state.target
    best, worst = side * state.best, side * state.worst
    keep = 1 - side * rules.trailing_stop
    if tally is not None:
        last, peak, trough, deepest, lowest = tally.end, tally.peak, tally.trough, tally.max_drawdown, tally.lowest
        returns, squares, downside = tally.returns, tally.squares, tally.downside_squares
    t = bar
    while t < end:
        high, low = side * best_prices[t], side * worst_prices[t]
        if low <= stop or high >= target or bars.filled[t]:
            break
        best = high if high > best else best
        worst = low if low < worst else worst
        level = best * keep
        stop = level if level > stop else stop
        value = cash + qty * bars.close[t]
        if equity is not None:
            equity[t] = value
        if tally is not None:
            change = value / last - 1
            last = value
            returns += change
            squares += change * change
            if change < 0:
                downside += change * change
            if value > peak:
                # One division for each drawdown, not for each bar.
                deepest = min(deepest, trough / peak - 1)
                lowest = min(lowest, trough)
                peak = trough = value
            trough = value if value < trough else trough
        t += 1
    state.best, state.worst = side * best, side * worst
    if side * stop != state.stop:
        state.stop = side * stop
        state.stop_reason = TRAILING_STOP
    if tally is not None:
        tally.end, tally.peak, tally.trough = last, peak, trough
        tally.max_drawdown, tally.lowest = min(deepest, trough / peak - 1), min(lowest, trough)
        tally.returns, tally.squares, tally.downside_squares = returns, squares, downside
    return t
