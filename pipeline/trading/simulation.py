"""A strategy over history, one symbol or many that share the cash: the core's step, looped."""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pipeline.trading.borrowed import borrowed
from pipeline.trading.core import finish, start_day, step
from pipeline.trading.market import BUY, SELL, SIGNALS, Market
from pipeline.trading.reasons import COUNT
from pipeline.trading.records import TRADE, new_account, new_positions
from pipeline.trading.rules import Rules
from pipeline.trading.stretches import NextSignals, flat_until, hold_until, idle, next_true

Array = npt.NDArray[np.float64]
# Ledger rows for each bar and symbol: a position can be left at the open, and the next one inside the bar.
EXITS_PER_BAR = 2


@dataclass(frozen=True)
class Simulation:
    """What came of it: equity at each close [n], trades TRADE [m], and how the core was left.

    account: record ACCOUNT [1]. positions: POSITION [symbols]. refused: signals of flat symbols by what became
    of them, int64 [reasons.COUNT]; index 0 counts those traded.
    """

    equity: Array
    trades: np.ndarray
    account: np.ndarray
    positions: np.ndarray
    refused: npt.NDArray[np.int64]

    @property
    def ambiguous_bars(self) -> int:
        """Bars that reached stop and target of one position."""
        return int(self.account["ambiguous_bars"][0])


def simulate(market: Market, rules: Rules, cash: float) -> Simulation:
    """Trade the market's signals, starting with `cash`; what is open at the end is closed."""
    symbols, n = market.shape
    account, positions, refused = new_account(cash), new_positions(symbols), np.zeros(COUNT, np.int64)
    if symbols == 1:
        # One position closes and the next one opens on a bar: a ledger row for each bar and one is enough.
        trades = np.empty(n + 2, TRADE)
        signals = NextSignals(next_true(market.signal[0] & BUY != 0), next_true(market.signal[0] & SELL != 0))
        equity = _run_one(market, signals, rules.record(), account[0], positions, trades, refused)
    else:
        trades = np.empty(EXITS_PER_BAR * symbols * min(n, 1 << 16) + 2 * symbols, TRADE)
        equity, trades = _run_all(market, rules.record(), account[0], positions, trades, refused)
    return Simulation(equity, trades[: account["trades"][0]].copy(), account, positions, refused)


def quantities(trades: np.ndarray, symbol: int, bars: int) -> Array:
    """Quantity of a symbol held at each close [bars], negative if short; parts left early count to the end."""
    qty = np.zeros(bars)
    for trade in trades[trades["symbol"] == symbol]:
        qty[trade["entry_bar"] : trade["exit_bar"]] = trade["side"] * trade["qty"]
    return qty


@numba.njit(cache=True, nogil=True)
def _run_one(market, signals, rules, account, positions, trades, refused):  # type: ignore[no-untyped-def]
    n = market.numbers.shape[2]
    result, signal = np.empty(n), np.zeros(1, np.uint8)
    equity, now = borrowed(result), borrowed(signal)
    market = Market(
        borrowed(market.numbers), borrowed(market.flags), borrowed(market.filters), borrowed(market.correlation)
    )
    signals = NextSignals(borrowed(signals.buy), borrowed(signals.sell))
    positions, trades, refused = borrowed(positions), borrowed(trades), borrowed(refused)
    position = positions[0]
    t = 0
    while t < n:
        if idle(account, position):
            if position.side == 0:
                until = flat_until(signals, t, n, rules)
                equity[t:until] = account.cash
            else:
                until = hold_until(account, position, market, signals, t, n, rules, equity, None)
            t = until
            if t == n:
                break
        now[0] = market.flags[SIGNALS, 0, t]
        equity[t] = step(account, positions, trades, refused, now, t, t, market, rules)
        t += 1
    if n:
        start_day(account, n - 1, rules)
        equity[n - 1] = finish(account, positions, trades, refused, n - 1, n - 1, market, rules)
    return result


@numba.njit(cache=True, nogil=True)
def _run_all(market, rules, account, positions, trades, refused):  # type: ignore[no-untyped-def]
    _, symbols, n = market.numbers.shape
    equity = np.empty(n)
    now = np.zeros(symbols, np.uint8)
    for t in range(n):
        if account.trades + EXITS_PER_BAR * symbols > len(trades) - symbols:
            longer = np.empty(2 * len(trades), trades.dtype)
            longer[: len(trades)] = trades
            trades = longer
        for s in range(symbols):
            now[s] = market.flags[SIGNALS, s, t]
        equity[t] = step(account, positions, trades, refused, now, t, t, market, rules)
    if n:
        equity[n - 1] = finish(account, positions, trades, refused, n - 1, n - 1, market, rules)
    return equity, trades
