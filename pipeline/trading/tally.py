"""Sums over bars and trades, from which the metrics of a parameter set follow without its equity curve."""

from typing import Protocol

import numba
import numpy as np

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


@numba.njit(cache=True)
def begin(tally: Tally, equity: float) -> None:
    """Start a part from so much equity; all sums are zero already."""
    tally.start = tally.end = tally.lowest = tally.peak = tally.trough = equity


@numba.njit(cache=True, error_model="numpy")
def add_bar(tally: Tally, equity: float) -> None:
    """Add the equity at one more close. (`stretches.hold_until` does the same over many bars.)"""
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


@numba.njit(cache=True)
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
