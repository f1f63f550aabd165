"""Sums over bars and trades, from which the metrics of a parameter set follow without its equity curve."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.trading.compiled import compiled
from pipeline.trading.records import record_type


class Tally(Protocol):
    """Sums over one part of the history. A trade counts in the part in which it was closed."""

    start: float  # equity that the part starts from, and ends with
    end: float
    lowest: float
    peak: float  # the highest equity so far, and the lowest since
    trough: float
    max_drawdown: float  # ≤ 0
    returns: float  # sum of the returns per bar, of their squares, and of the negative ones' squares
    squares: float
    downside_squares: float
    trades: int
    wins: int
    gains: float
    losses: float  # ≤ 0


TALLY = record_type(Tally)


@compiled()
def begin(tally: Tally, equity: float) -> None:
    """Start a part from so much equity; all sums are zero already."""
    tally.start = tally.end = tally.lowest = tally.peak = tally.trough = equity


@compiled()
def add_bar(tally: Tally, equity: float) -> None:
    """Add the equity at one more close."""
    change = equity / tally.end - 1
    tally.end = equity
    tally.returns += change
    tally.squares += change * change
    if change < 0:
        tally.downside_squares += change * change
    if equity > tally.peak:
        tally.peak = tally.trough = equity
    elif equity < tally.trough:
        tally.trough = equity
        tally.lowest = min(tally.lowest, equity)
        tally.max_drawdown = min(tally.max_drawdown, equity / tally.peak - 1)


@compiled()
def add_hold(tally: Tally, cash: float, qty: float, marks: npt.NDArray[np.float64], first: int, stop: int) -> None:
    """Add the equity at the closes of bars [first, stop), over which a position was held unchanged.

    marks: price of a bar's close. Equal to `add_bar` on each of the bars, to the last bit.
    """
    last, peak, trough = tally.end, tally.peak, tally.trough
    deepest, lowest = tally.max_drawdown, tally.lowest
    returns, squares, downside = tally.returns, tally.squares, tally.downside_squares
    for t in range(first, stop):
        value = cash + qty * marks[t]
        change = value / last - 1
        last = value
        returns += change
        square = change * change
        squares += square
        # Adding 0 is faster than a branch that is taken every other time.
        downside += square if change < 0 else 0.0
        if value > peak:
            # One division for each drawdown, not for each bar.
            deepest = min(deepest, trough / peak - 1)
            lowest = min(lowest, trough)
            peak = trough = value
        trough = value if value < trough else trough
    tally.end, tally.peak, tally.trough = last, peak, trough
    tally.max_drawdown, tally.lowest = min(deepest, trough / peak - 1), min(lowest, trough)
    tally.returns, tally.squares, tally.downside_squares = returns, squares, downside


@compiled()
def add_trades(tally: Tally, trades: np.ndarray, count: int) -> None:
    """Add the first `count` closed trades of a ledger."""
    for k in range(count):
        pnl = trades[k].pnl
        tally.trades += 1
        if pnl > 0:
            tally.wins += 1
            tally.gains += pnl
        else:
            tally.losses += pnl
