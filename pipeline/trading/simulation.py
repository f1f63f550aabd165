"""A strategy over history, one symbol or many that share the cash: the core's step, looped."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.trading.bitset import packed
from pipeline.trading.compiled import compiled
from pipeline.trading.core import finish, start_day, step
from pipeline.trading.market import BUY, SELL, SIGNALS, Market
from pipeline.trading.reasons import COUNT
from pipeline.trading.records import TRADE, new_account, new_positions
from pipeline.trading.rules import Rules
from pipeline.trading.stretches import Signals, flat_until, hold_until, idle

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
    equity, now = np.empty(n), np.zeros(symbols, np.uint8)
    # For one symbol a ledger row for each bar and one is enough: a position closes and the next one opens on a bar.
    trades = np.empty(n + 2 if symbols == 1 else EXITS_PER_BAR * symbols * (min(n, 1 << 16) + 1), TRADE)
    if symbols == 1:
        signals = Signals(packed(market.signal[0] & BUY != 0), packed(market.signal[0] & SELL != 0))
        _run_one(market, signals, rules.array(), account, positions, trades, refused, now, equity)
    else:
        bar = _run_all(market, rules.record(), account[0], positions, trades, refused, now, equity, 0)
        while bar < n:
            trades = np.concatenate([trades, np.empty_like(trades)])
            bar = _run_all(market, rules.record(), account[0], positions, trades, refused, now, equity, bar)
    return Simulation(equity, trades[: account["trades"][0]].copy(), account, positions, refused)


def quantities(trades: np.ndarray, symbol: int, bars: int) -> Array:
    """Quantity of a symbol held at each close [bars], negative if short; parts left early count to the end."""
    qty = np.zeros(bars)
    for trade in trades[trades["symbol"] == symbol]:
        qty[trade["entry_bar"] : trade["exit_bar"]] = trade["side"] * trade["qty"]
    return qty


@compiled(nogil=True)
def _run_one(market, signals, ruled, accounts, positions, trades, refused, now, equity):  # type: ignore[no-untyped-def]
    # Arrays of one ACCOUNT and one RULES, as of `step_once`.
    n = len(equity)
    rules, account, position = ruled[0], accounts[0], positions[0]
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


@compiled(nogil=True)
def _run_all(market, rules, account, positions, trades, refused, now, equity, bar):  # type: ignore[no-untyped-def]
    # From `bar` on, until the ledger is full; the first bar not lived through.
    n, symbols = len(equity), len(positions)
    while bar < n and account.trades + EXITS_PER_BAR * symbols <= len(trades) - symbols:
        for s in range(symbols):
            now[s] = market.flags[SIGNALS, s, bar]
        equity[bar] = step(account, positions, trades, refused, now, bar, bar, market, rules)
        bar += 1
    if n and bar == n:
        equity[n - 1] = finish(account, positions, trades, refused, n - 1, n - 1, market, rules)
    return bar
