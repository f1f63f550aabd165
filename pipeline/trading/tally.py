"""Sums over bars and trades, from which the metrics of a parameter set follow without its equity curve."""

from typing import NamedTuple, Protocol

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


Array = npt.NDArray[np.float64]
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


class Held(NamedTuple):
    """Sums over closes at which a position was held unchanged: of the returns since the close before each, of their
    squares, of the negative ones' squares; and the highest and the lowest mark."""

    returns: float
    squares: float
    downside_squares: float
    top: float
    bottom: float


# The one place where the compiler may add in the order that suits the processor's vectors, six times as fast.
@compiled(fastmath={"reassoc"})
def held(cash: float, qty: float, marks: Array, first: int, stop: int) -> Held:
    """What holding `qty` beside `cash` over the closes of bars [first, stop) amounts to; there is one at least."""
    before, after = marks[first - 1 : stop - 1], marks[first:stop]
    returns = squares = downside = 0.0
    # Prices are not negative, so their bits are in the order of their values, and vectors compare those of integers.
    top = bottom = np.float64(after[0]).view(np.int64)
    for k in range(len(after)):
        change = (cash + qty * after[k]) / (cash + qty * before[k]) - 1
        returns += change
        square = change * change
        squares += square
        downside += square if change < 0 else 0.0
        bits = np.float64(after[k]).view(np.int64)
        top, bottom = max(top, bits), min(bottom, bits)
    return Held(returns, squares, downside, np.int64(top).view(np.float64), np.int64(bottom).view(np.float64))


@compiled()
def add_held(tally: Tally, cash: float, qty: float, marks: Array, first: int, stop: int) -> None:
    """Add the equity at the closes of bars [first, stop), over which a position was held unchanged.

    marks: price of a bar's close; that of `first - 1` gives the equity at which the tally stands. There is one bar at
    least. Equal to `add_bar` on each of them: to the last bit but for the three sums of returns, whose order differs.
    """
    add_sums(tally, cash, qty, marks, first, stop, held(cash, qty, marks, first, stop))


@compiled(inline="always")
def add_sums(tally: Tally, cash: float, qty: float, marks: Array, first: int, stop: int, sums: Held) -> None:
    """`add_held` with what `held` says of these bars."""
    worst, best = (sums.bottom, sums.top) if qty > 0 else (sums.top, sums.bottom)
    if cash + qty * best > tally.peak:
        _add_path(tally, cash, qty, marks, first, stop)
    elif cash + qty * worst < tally.trough:
        _fall_to(tally, cash + qty * worst)
    tally.returns += sums.returns
    tally.squares += sums.squares
    tally.downside_squares += sums.downside_squares
    tally.end = cash + qty * marks[stop - 1]


@compiled()
def _add_path(tally: Tally, cash: float, qty: float, marks: Array, first: int, stop: int) -> None:
    # Peaks and the drawdowns between them, in their order.
    peak, trough = tally.peak, tally.trough
    for t in range(first, stop):
        value = cash + qty * marks[t]
        if value > peak:
            # One division for each drawdown, not for each bar.
            tally.max_drawdown = min(tally.max_drawdown, trough / peak - 1)
            tally.lowest = min(tally.lowest, trough)
            peak = trough = value
        trough = value if value < trough else trough
    tally.peak = peak
    _fall_to(tally, trough)


@compiled(inline="always")
def _fall_to(tally: Tally, trough: float) -> None:
    tally.trough = trough
    tally.lowest = min(tally.lowest, trough)
    tally.max_drawdown = min(tally.max_drawdown, trough / tally.peak - 1)


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
