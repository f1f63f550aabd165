"""The records the trading core works on: the account, a symbol's position, a closed trade.

Each is declared once, as a class that names the fields for readers and type checkers, and used as the
plain numpy record of the same fields: compiled code changes it in place, and it can be stored as it is.
"""

from typing import Protocol

import numpy as np

# Why a position was closed; the code of a reason is its place in this tuple. 0: still open.
EXIT_REASONS = (
    "",
    "signal",
    "stop_loss",
    "take_profit",
    "trailing_stop",
    "max_bars",
    "end",
    "break_even",
    "liquidation",
    "session_end",
    "breaker",
)
SIGNAL, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, MAX_BARS, END, BREAK_EVEN, LIQUIDATION, SESSION_END, BREAKER = range(
    1, 11
)
LONG_AGO = -(1 << 40)


class Account(Protocol):
    """What all symbols share, at the close of a bar. Amounts in the quote asset."""

    cash: float  # short positions' proceeds included, long ones' cost taken off: equity = cash + Σ qty · mark
    equity: float
    day: int  # UTC day since the epoch, the first bar of the next one, the equity at its start, its highest since
    next_day_bar: int
    day_start: float
    day_peak: float
    entries_today: int
    halted: int  # the breaker that has stopped trading, 0 if none: latched until the reset
    resume_bar: int  # no entries before this bar
    losses_in_a_row: int
    wins: int  # closed trades, with the sums of their returns, for Kelly's fraction
    losses: int
    win_returns: float
    loss_returns: float
    trades: int  # closed so far: the next free row of the ledger
    ambiguous_bars: int  # bars that reached stop and target
    halts: int
    fees: float
    spread: float
    slippage: float
    funding: float


class Position(Protocol):
    """One symbol's position and orders at the close of a bar. Prices as paid: slippage and half spread included."""

    qty: float  # base asset held; negative if short
    side: int  # 1 long, -1 short, 0 flat
    entry_price: float
    entry_fee: float
    entry_bar: int
    mark: float  # last real close, and the volatility forecast at it: what a fill after it may know
    volatility: float
    stop: float  # level at which the position is stopped
    stop_reason: int  # why it stands there: STOP_LOSS, TRAILING_STOP or BREAK_EVEN
    target: float  # level at which its profit is taken
    liquidation: float
    best: float  # best price since entry, seen from the position
    worst: float
    ask: int  # side that this bar's signal asks to enter, while the entries of the bar are granted
    enter: int  # waiting order: side to enter, 0 none; the amount to spend, its distances, and when it may fill
    spend: float
    stop_distance: float
    target_distance: float
    trail_distance: float
    enter_bar: int
    leave: int  # waiting order: reason to close, 0 none, and when it may fill
    leave_bar: int
    exit_bar: int  # of the last exit
    exit_qty: float  # filled so far of an exit that takes several bars, its value and fees
    exit_value: float
    exit_fee: float
    spread: float  # costs of this position so far, beside the fees
    slippage: float
    funding: float


class Trade(Protocol):
    """A closed trade; bars are counted from the start of the data."""

    symbol: int
    side: int
    entry_bar: int
    exit_bar: int
    entry_price: float
    exit_price: float
    qty: float
    fees: float
    pnl: float  # after fees and funding
    return_: float  # pnl / (qty · entry_price)
    reason: int
    mae: float  # worst and best excursion, fractions of the entry price: mae ≤ 0 ≤ mfe
    mfe: float
    spread: float  # in the prices already
    slippage: float
    funding: float  # paid; negative if received


def record_type(fields: type) -> np.dtype:
    """The numpy record of a class's fields: float64 and int64."""
    return np.dtype([(name, "f8" if kind is float else "i8") for name, kind in fields.__annotations__.items()])


ACCOUNT = record_type(Account)
POSITION = record_type(Position)
TRADE = record_type(Trade)


def new_account(cash: float) -> np.ndarray:
    """An account [1] with so much cash."""
    account = np.zeros(1, ACCOUNT)
    account["cash"] = account["equity"] = account["day_start"] = account["day_peak"] = cash
    account["day"] = account["next_day_bar"] = account["resume_bar"] = LONG_AGO
    return account


def new_positions(symbols: int) -> np.ndarray:
    """Flat positions [symbols] without orders."""
    positions = np.zeros(symbols, POSITION)
    positions["exit_bar"] = LONG_AGO
    return positions


def halt(account: np.ndarray, breaker: int) -> None:
    """Stop trading from outside: a code of `reasons.BREAKERS`; positions are left from the next step on."""
    account["halted"] = breaker
    account["halts"] += 1


def reset(account: np.ndarray) -> None:
    """Take up trading again after a breaker: a person's decision. The day's anchors start anew."""
    account["halted"] = 0
    account["day_start"] = account["day_peak"] = account["equity"]
    account["losses_in_a_row"] = 0
    account["resume_bar"] = LONG_AGO
