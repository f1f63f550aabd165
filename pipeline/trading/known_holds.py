"""Bars over which a position of a grid's set is held, once it is known where it would end by itself.

What is left to look for is what depends on the set: its opposite signal, its time limit, and the breakers, which
look at its equity.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.trading.bitset import Bits, next_set, packed
from pipeline.trading.compiled import compiled
from pipeline.trading.core import decide, floor_of, start_day
from pipeline.trading.market import BUY, CLOSE, FUNDING, SELL, VOLATILITY, Market
from pipeline.trading.natural_exits import Exit, take_up
from pipeline.trading.records import Account, Position
from pipeline.trading.rules import Rules
from pipeline.trading.stretches import Signals, deadline
from pipeline.trading.tally import Tally, add_sums, held

Array = npt.NDArray[np.float64]


class Marks(NamedTuple):
    """What a symbol's positions are marked by.

    price, volatility: at each bar's close, those of the last real close, float64 [n]. funding: bars on which it is due.
    """

    price: Array
    volatility: Array
    funding: Bits


def marks_of(market: Market) -> Marks:
    """The marks of a market of one symbol."""
    numbers, filled = market.numbers[:, 0], market.filled[0]
    known = np.maximum.accumulate(np.where(filled, 0, np.arange(len(filled))))
    return Marks(numbers[CLOSE][known], numbers[VOLATILITY][known], packed(numbers[FUNDING] != 0))


@compiled()
def hold_known(
    tally: Tally,
    account: Account,
    position: Position,
    marks: Marks,
    signals: Signals,
    bar: int,
    end: int,
    rules: Rules,
    natural: Exit,
) -> int:
    """Live through the bars from `bar` on, `end` at most, that leave the position as it is, and tally their equity.

    natural: where the position would end by itself. Returns the first bar not lived through; an opposite signal at the
    close before it has been obeyed, unless it might open a position too.

    Levels and excursions stay as they are until that exit's bar, where they are brought up to date: they are looser
    than they would be, so nothing is reached before that would not be reached in truth.
    """
    start_day(account, bar, rules)
    end = min(end, natural.bar, deadline(account, position, bar, rules))
    if rules.pays_funding:
        end = next_set(marks.funding, bar, end)
    signal = next_set(signals.sell if position.side > 0 else signals.buy, bar, end)
    reverses = rules.trade_long and rules.trade_short
    end = signal if reverses else min(end, signal + 1)
    cash, qty, n = account.cash, position.qty, bar
    while n < end:
        start_day(account, n, rules)
        stop = min(end, account.next_day_bar)
        sums = held(cash, qty, marks.price, n, stop)
        best = cash + qty * (sums.top if qty > 0 else sums.bottom)
        worst = cash + qty * (sums.bottom if qty > 0 else sums.top)
        # If no breaker acts even with the best first and the worst last, then none does.
        ground = floor_of(account, rules)
        if rules.drawdown < np.inf:
            ground = max(ground, best * (1 - rules.drawdown))
        if not worst > ground:
            end = stop = breach(account, cash, qty, marks.price, n, stop, rules)
            if stop == n:
                break
            sums = held(cash, qty, marks.price, n, stop)
            best = cash + qty * (sums.top if qty > 0 else sums.bottom)
        account.day_peak = max(account.day_peak, best)
        add_sums(tally, cash, qty, marks.price, n, stop, sums)
        account.equity = tally.end
        n = stop
    if n == natural.bar:
        take_up(position, natural)
    if n > bar:
        position.mark, position.volatility = marks.price[n - 1], marks.volatility[n - 1]
        if n == signal + 1:
            decide(position, SELL if position.side > 0 else BUY, signal, rules)
    return n


@compiled()
def breach(account: Account, cash: float, qty: float, price: Array, first: int, stop: int, rules: Rules) -> int:
    """The first of the bars [first, stop) at whose close a breaker acts, or `stop`."""
    peak, floor = account.day_peak, floor_of(account, rules)
    for t in range(first, stop):
        equity = cash + qty * price[t]
        if equity > peak:
            peak = equity
            if rules.drawdown < np.inf:
                floor = max(floor, peak * (1 - rules.drawdown))
        elif equity <= floor:
            return t
    return stop
