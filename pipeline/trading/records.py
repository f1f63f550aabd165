"""The records the trading core works on: its state, and a closed trade.

Each is declared once, as a class that names the fields for readers and type checkers, and used as the
plain numpy record of the same fields: compiled code changes it in place, and it can be stored as it is.
"""

from typing import Protocol

import numpy as np

# Why a position was closed; the code of a reason is its place in this tuple. 0: still open.
EXIT_REASONS = ("", "signal", "stop_loss", "take_profit", "trailing_stop", "max_bars", "end")
SIGNAL, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, MAX_BARS, END = range(1, 7)


class State(Protocol):
    """What the core knows at the close of a bar. Prices as paid: slippage and half spread included."""

    cash: float  # quote asset; a short position's proceeds included
    qty: float  # base asset held; negative if short
    side: int  # 1 long, -1 short, 0 flat
    entry_price: float
    entry_fee: float
    entry_bar: int
    stop: float  # level at which the position is stopped
    stop_reason: int  # STOP_LOSS or TRAILING_STOP: why it stands there
    target: float  # level at which its profit is taken
    best: float  # best price since entry, seen from the position
    worst: float
    enter: int  # order for the next open: side to enter, 0 none
    leave: int  # order for the next open: reason to close, 0 none
    trades: int  # closed so far: the next free row of the ledger
    ambiguous_bars: int  # bars that reached stop and target


class Trade(Protocol):
    """A closed trade; bars are counted from the start of the data."""

    side: int
    entry_bar: int
    exit_bar: int
    entry_price: float
    exit_price: float
    qty: float
    fees: float
    pnl: float  # after fees
    return_: float  # pnl / (qty · entry_price)
    reason: int
    mae: float  # worst and best excursion, fractions of the entry price: mae ≤ 0 ≤ mfe
    mfe: float


def record_type(fields: type) -> np.dtype:
    """The numpy record of a class's fields: float64 and int64."""
    return np.dtype([(name, "f8" if kind is float else "i8") for name, kind in fields.__annotations__.items()])


STATE = record_type(State)
TRADE = record_type(Trade)


def new_state(cash: float) -> np.ndarray:
    """A flat state [1] with so much cash and no order."""
    state = np.zeros(1, STATE)
    state["cash"] = cash
    return state
