"""Stretches of bars in which a core of one symbol has nothing to decide, lived through at the speed of the memory.

`simulation` and `grid` call the core's `step` only where something can happen; these functions pass
over the bars between. They must leave exactly the state and equity that `step` on each bar would
leave (a test holds it): when the core learns a new rule that can act on a bar, that bar must end a
stretch here.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.trading.bitset import Bits, next_set
from pipeline.trading.compiled import compiled
from pipeline.trading.core import floor_of, start_day
from pipeline.trading.exits import follow
from pipeline.trading.filters import round_level
from pipeline.trading.market import (
    ATR,
    CLOSE,
    FILLED,
    FUNDING,
    HIGH,
    LOW,
    MARK_HIGH,
    MARK_LOW,
    TICK,
    VOLATILITY,
    Market,
)
from pipeline.trading.records import TRAILING_STOP, Account, Position
from pipeline.trading.rules import DAY_MS, Rules

Array = npt.NDArray[np.float64]
# Bars whose extremes are known together.
CHUNK = 16


class Signals(NamedTuple):
    """Bars with a buy and with a sell signal, as `bitset.packed`."""

    buy: Bits
    sell: Bits


class Chunks(NamedTuple):
    """What of a symbol's bars lets a position pass CHUNK of them at a time.

    highest, lowest: of the real bars' prices, float64 [n // CHUNK]; infinite where funding is due, to be looked at
    bar by bar. top, bottom: of the last real close at each bar, likewise. mark_highest, mark_lowest: of the price that
    liquidates.
    """

    highest: Array
    lowest: Array
    top: Array
    bottom: Array
    mark_highest: Array
    mark_lowest: Array


def chunks_of(market: Market) -> Chunks:
    """The chunks of a market of one symbol."""
    numbers, filled = market.numbers[:, 0], market.filled[0]
    n = len(filled)
    known = np.maximum.accumulate(np.where(filled, 0, np.arange(n)))
    marks, due = numbers[CLOSE][known], numbers[FUNDING] != 0

    def chunked(values: Array) -> Array:
        return values[: n // CHUNK * CHUNK].reshape(-1, CHUNK)

    def extremes(high: Array, low: Array) -> tuple[Array, Array]:
        most = np.where(due, np.inf, np.where(filled, -np.inf, high))
        least = np.where(due, -np.inf, np.where(filled, np.inf, low))
        return chunked(most).max(axis=1), chunked(least).min(axis=1)

    last = extremes(numbers[HIGH], numbers[LOW])
    mark = extremes(market.marks[MARK_HIGH, 0], market.marks[MARK_LOW, 0]) if market.has_marks else last
    return Chunks(*last, chunked(marks).max(axis=1), chunked(marks).min(axis=1), *mark)


@compiled(inline="always")
def idle(account: Account, position: Position) -> bool:
    """Whether no order waits and no breaker is at work."""
    return position.enter == 0 and position.leave == 0 and (account.halted == 0 or position.side == 0)


@compiled(inline="always")
def barred_until(account: Account, position: Position, bar: int, rules: Rules) -> int:
    """The first bar at whose close the account's own state lets a flat core enter again."""
    until = max(account.resume_bar, position.exit_bar + rules.cool_down)
    if account.halted != 0 and bar < account.next_day_bar:
        until = max(until, account.next_day_bar)
    return until


@compiled(inline="always")
def flat_until(signals: Signals, bar: int, end: int, rules: Rules) -> int:
    """The first bar from `bar` on, `end` at most, at whose close a flat core may order an entry."""
    until = end
    if rules.trade_long:
        until = next_set(signals.buy, bar, until)
    if rules.trade_short:
        until = next_set(signals.sell, bar, until)
    return until


@compiled(inline="always")
def deadline(account: Account, position: Position, bar: int, rules: Rules) -> int:
    """The first bar from `bar` on at whose close the time limit or the session's end makes a position leave."""
    until = position.entry_bar + rules.max_bars - 1
    if rules.session_flatten:
        since = rules.origin_ms + bar * rules.step_ms - account.day * DAY_MS
        until = min(until, bar + max(0, -((since + rules.step_ms - rules.session_end_ms) // rules.step_ms)))
    return until


@compiled()
def hold_until(
    account: Account,
    position: Position,
    market: Market,
    signals: Signals,
    bar: int,
    end: int,
    rules: Rules,
    equity: Array | None,
    chunks: Chunks | None,
) -> int:
    """Live through the bars from `bar` on, `end` at most, that leave an open position as it is.

    Ends before a bar with the opposite signal, at the time limit or the session's end, that reaches stop,
    target, liquidation or a breaker, or on which funding is due. The equity at each close passed is written to
    `equity`; where that is None, `chunks` lets many bars be passed at a time. Returns the first bar not lived
    through.
    """
    start_day(account, bar, rules)
    # The breakers' anchors move with the UTC day, whose first bar is left to the core.
    end = min(end, deadline(account, position, bar, rules), account.next_day_bar)
    end = next_set(signals.sell if position.side > 0 else signals.buy, bar, end)
    side, n = position.side, bar
    plain = rules.trail_atr <= 0 and not rules.trail_from_close and rules.trail_after <= 0
    plain = plain and rules.break_even_after == np.inf
    # A short position is a long one in prices of opposite sign.
    sign = float(side)
    numbers, filled = market.numbers, market.flags
    up, down = (HIGH, LOW) if side > 0 else (LOW, HIGH)
    # What liquidates: the mark price, or the last one, which is read anyway.
    margin = numbers[down, 0]
    if market.marks.shape[2] > 0:
        margin = market.marks[MARK_LOW if side > 0 else MARK_HIGH, 0]
    # Locals, because the compiler cannot know that writing equity leaves the state alone.
    cash, qty, target = account.cash, position.qty, sign * position.target
    stop, liquidation = sign * position.stop, sign * position.liquidation
    best, worst = sign * position.best, sign * position.worst
    keep, tick = 1 - sign * rules.trailing_stop, market.filters[0, TICK]
    value, peak_of_day, moved = account.equity, account.day_peak, False
    floor, falls, fall = floor_of(account, rules), rules.drawdown < np.inf, 1 - rules.drawdown
    pays = rules.pays_funding != 0
    if chunks is not None:
        highest, lowest = (chunks.highest, chunks.lowest) if side > 0 else (chunks.lowest, chunks.highest)
        top, bottom = (chunks.top, chunks.bottom) if side > 0 else (chunks.bottom, chunks.top)
        mark_lowest = chunks.mark_lowest if side > 0 else chunks.mark_highest
    while n < end:
        # The compiler leaves out a branch on None only where nothing else is asked.
        if chunks is not None:  # noqa: SIM102
            if plain and n % CHUNK == 0 and n + CHUNK <= end:
                # All at once, if none of them could matter even if the best came first and the worst last.
                c = n // CHUNK
                high, low = sign * highest[c], sign * lowest[c]
                most = high if high > best else best
                level = most * keep
                level = sign * round_level(sign * level, side, tick) if level > stop else stop
                ceiling = max(peak_of_day, cash + qty * top[c])
                ground = max(floor, ceiling * fall) if falls else floor
                safe = sign * mark_lowest[c] > liquidation
                if low > level and high < target and safe and cash + qty * bottom[c] > ground:
                    moved = moved or level > stop
                    best, stop, peak_of_day, floor = most, level, ceiling, ground
                    worst = low if low < worst else worst
                    n += CHUNK
                    continue
        if pays and numbers[FUNDING, 0, n] != 0:
            break
        if filled[FILLED, 0, n] == 0:
            high, low = sign * numbers[up, 0, n], sign * numbers[down, 0, n]
            if low <= stop or high >= target or sign * margin[n] <= liquidation:
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
                    stop = sign * round_level(sign * level, side, tick)
                    moved = True
            else:
                position.best, position.stop = sign * best, sign * stop
                follow(position, numbers[CLOSE, 0, n], numbers[ATR, 0, n], tick, rules)
                stop = sign * position.stop
        if equity is not None:
            equity[n] = value
        n += 1
    last = n - 1
    while last >= bar and filled[FILLED, 0, last] != 0:
        last -= 1
    if last >= bar:
        position.best, position.worst, position.mark = sign * best, sign * worst, numbers[CLOSE, 0, last]
        position.stop = sign * stop
        position.volatility = numbers[VOLATILITY, 0, last]
        if moved:
            position.stop_reason = TRAILING_STOP
        account.equity, account.day_peak = cash + qty * position.mark, peak_of_day
    return n
