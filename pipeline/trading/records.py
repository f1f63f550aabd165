"""The records the trading core works on: its state, and a closed trade.

Plain numpy records: compiled code changes them in place, and they can be stored as they are.
"""

import numpy as np

# Why a position was closed; the code of a reason is its place in this tuple. 0: still open.
EXIT_REASONS = ("", "signal", "stop_loss", "take_profit", "trailing_stop", "max_bars", "end")
SIGNAL, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, MAX_BARS, END = range(1, 7)

STATE = np.dtype(
    [
        ("cash", "f8"),  # quote asset; a short position's proceeds included
        ("qty", "f8"),  # base asset held; negative if short
        ("side", "i8"),  # 1 long, -1 short, 0 flat
        ("entry_price", "f8"),
        ("entry_fee", "f8"),
        ("entry_bar", "i8"),
        ("stop", "f8"),  # level at which the position is stopped, and why it stands there
        ("stop_reason", "i8"),
        ("target", "f8"),
        ("best", "f8"),  # best and worst price since entry, seen from the position
        ("worst", "f8"),
        ("enter", "i8"),  # order for the next open: side to enter, 0 none
        ("leave", "i8"),  # order for the next open: reason to close, 0 none
        ("trades", "i8"),  # closed so far: the next free row of the ledger
        ("ambiguous_bars", "i8"),  # bars that touched stop and target
    ]
)

TRADE = np.dtype(
    [
        ("side", "i8"),
        ("entry_bar", "i8"),
        ("exit_bar", "i8"),
        ("entry_price", "f8"),  # as paid: slippage and half spread included
        ("exit_price", "f8"),
        ("qty", "f8"),
        ("fees", "f8"),
        ("pnl", "f8"),  # after fees
        ("return_", "f8"),  # pnl / (qty · entry_price)
        ("reason", "i8"),
        ("mae", "f8"),  # worst and best excursion, fractions of the entry price: mae ≤ 0 ≤ mfe
        ("mfe", "f8"),
    ]
)


def new_state(cash: float) -> np.ndarray:
    """A flat state [1] with so much cash and no order."""
    state = np.zeros(1, STATE)
    state["cash"] = cash
    return state
