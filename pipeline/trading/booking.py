"""Fills that an exchange reports, booked into the core's records by the functions of the fill model."""

import numpy as np

from pipeline.trading.compiled import compiled
from pipeline.trading.positions import close_position, close_some, open_position, see


@compiled()
def book_entry(
    accounts: np.ndarray, positions: np.ndarray, s: int, bar: int, side: int, qty: float, price: float, fee: float,
    rules: np.ndarray,
) -> None:  # fmt: skip
    """A fill that opens a position, or adds to the one that it has opened.

    accounts, positions: as of `core.step_once`. s: the symbol's place. qty: base asset received, > 0, after a fee taken
    from it. price: of the fill. fee: in the quote asset. Levels follow the mean price until they have moved.
    """
    account, position = accounts[0], positions[s]
    if position.side == 0:
        # Levels as they are: what is placed of them is rounded where it is sent, by the exchange's own filters.
        open_position(account, position, bar, side, qty, price, 0.0, 0.0, rules[0])
        # What was paid instead of what the config expects.
        more = fee - position.entry_fee
    else:
        before = abs(position.qty)
        mean = (before * position.entry_price + qty * price) / (before + qty)
        moved = mean / position.entry_price
        position.stop *= moved
        position.target *= moved
        position.liquidation *= moved
        position.entry_price = mean
        position.qty += side * qty
        account.cash -= side * qty * price
        see(position, price, price)
        more = fee
    position.entry_fee += more
    account.fees += more
    account.cash -= more


@compiled()
def book_exit(
    accounts: np.ndarray, positions: np.ndarray, trades: np.ndarray, row: int, s: int, bar: int, qty: float,
    price: float, fee: float, reason: int, dust: float, rules: np.ndarray,
) -> bool:  # fmt: skip
    """A fill that reduces a position; whether it has closed it, and the trade stands in `trades[row]`.

    qty: base asset given away, > 0. reason: code of `records.EXIT_REASONS`. dust: base asset up to which what is left
    cannot be sold: it is written off.
    """
    account, position = accounts[0], positions[s]
    if position.side == 0:
        return False
    rate = fee / (qty * price)
    see(position, price, price)
    left = abs(position.qty) - qty
    if left > dust:
        close_some(account, position, qty, price, rate)
        return False
    position.qty = position.side * qty
    close_position(account, position, trades[row], s, bar, price, rate, reason, rules[0])
    return True
