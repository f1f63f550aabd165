"""Stretches of bars in which a core of one symbol has nothing to decide, lived through at the speed of the memory.

`simulation` and `grid` call the core's `step` only where something can happen; these functions pass
over the bars between. They must leave exactly the state and equity that `step` on each bar would
leave (a test holds it): when the core learns a new rule that can act on a bar, that bar must end a
stretch here.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from pipeline.trading.core import floor_of, start_day
from pipeline.trading.exits import follow
from pipeline.trading.market import ATR, CLOSE, FILLED, FUNDING, HIGH, LOW, VOLATILITY, Market
from pipeline.trading.records import TRAILING_STOP, Account, Position
from pipeline.trading.rules import DAY_MS, Rules
from pipeline.trading.tally import Tally

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]


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
def idle(account: Account, position: Position) -> bool:
    """Whether no order waits and no breaker is at work."""
    return position.enter == 0 and position.leave == 0 and (account.halted == 0 or position.side == 0)


@numba.njit(cache=True, error_model="numpy", inline="always")
def barred_until(account: Account, position: Position, bar: int, rules: Rules) -> int:
    """The first bar at whose close the account's own state lets a flat core enter again."""
    until = max(account.resume_bar, position.exit_bar + rules.cool_down)
    if account.halted != 0 and bar < account.next_day_bar:
        until = max(until, account.next_day_bar)
    return until


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
    account: Account,
    position: Position,
    market: Market,
    signals: NextSignals,
    bar: int,
    end: int,
    rules: Rules,
    equity: Array | None,
    tally: Tally | None,
) -> int:
    """Live through the bars from `bar` on, `end` at most, that leave an open position as it is.

    Ends before a bar with the opposite signal, at the time limit or the session's end, that reaches stop,
    target, liquidation or a breaker, on which funding is due, or that is made up. The equity at each close
    passed is written to `equity` or added to `tally`; the other one is None. Returns the first bar not
    lived through.
    """
    start_day(account, bar, rules)
    end = min(
        end, signals.sell[bar] if position.side > 0 else signals.buy[bar], position.entry_bar + rules.max_bars - 1
    )
    # The breakers' anchors move with the UTC day, whose first bar is left to the core.
    end = min(end, account.next_day_bar)
    if rules.session_flatten:
        since = rules.origin_ms + bar * rules.step_ms - account.day * DAY_MS
        end = min(end, bar + max(0, -((since + rules.step_ms - rules.session_end_ms) // rules.step_ms)))
    side, n = position.side, bar
    plain = rules.trail_atr <= 0 and not rules.trail_from_close and rules.trail_after <= 0
    plain = plain and rules.break_even_after == np.inf
    # A short position is a long one in prices of opposite sign.
    sign = float(side)
    numbers, filled = market.numbers, market.flags
    up, down = (HIGH, LOW) if side > 0 else (LOW, HIGH)
    # Locals, because the compiler cannot know that writing equity leaves the state alone.
    cash, qty, target = account.cash, position.qty, sign * position.target
    stop, liquidation = sign * position.stop, sign * position.liquidation
    best, worst = sign * position.best, sign * position.worst
    keep = 1 - sign * rules.trailing_stop
    value, peak_of_day, moved = account.equity, account.day_peak, False
    floor, falls, fall = floor_of(account, rules), rules.drawdown < np.inf, 1 - rules.drawdown
    if tally is not None:
        last, peak, trough, deepest, lowest = tally.end, tally.peak, tally.trough, tally.max_drawdown, tally.lowest
        returns, squares, downside = tally.returns, tally.squares, tally.downside_squares
    pays = rules.pays_funding != 0
    while n < end:
        high, low = sign * numbers[up, 0, n], sign * numbers[down, 0, n]
        if low <= stop or high >= target or low <= liquidation or filled[FILLED, 0, n] != 0:
            break
        if pays and numbers[FUNDING, 0, n] != 0:
            break
        after = cash + qty * numbers[CLOSE, 0, n]
        if after > peak_of_day:
            peak_of_day = after
            if falls:
                floor = max(floor, after * fall)
        elif after <= floor:
            break
        value = after
        best = high if high > best else best
        worst = low if low < worst else worst
        if plain:
            level = best * keep
            if level > stop:
                stop = level
                moved = True
        else:
            position.best, position.stop = sign * best, sign * stop
            follow(position, numbers[CLOSE, 0, n], numbers[ATR, 0, n], rules)
            stop = sign * position.stop
        if equity is not None:
            equity[n] = value
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
        n += 1
    if n > bar:
        position.best, position.worst, position.mark = sign * best, sign * worst, numbers[CLOSE, 0, n - 1]
        position.stop = sign * stop
        position.volatility = numbers[VOLATILITY, 0, n - 1]
        if moved:
            position.stop_reason = TRAILING_STOP
        account.equity, account.day_peak = value, peak_of_day
    if tally is not None:
        tally.end, tally.peak, tally.trough = last, peak, trough
        tally.max_drawdown, tally.lowest = min(deepest, trough / peak - 1), min(lowest, trough)
        tally.returns, tally.squares, tally.downside_squares = returns, squares, downside
    return n
