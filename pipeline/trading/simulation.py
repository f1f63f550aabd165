"""One strategy over one symbol's history: the core's step, looped."""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from pipeline.trading.core import finish, step
from pipeline.trading.records import TRADE, new_state
from pipeline.trading.rules import Rules


class Bars(NamedTuple):
    """Price arrays float64 [n] of a complete grid, and which of its bars are made up, bool [n]."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    filled: np.ndarray


@dataclass(frozen=True)
class Simulation:
    """What came of it: per bar at its close, equity, cash and quantity [n]; the trades, TRADE [m]."""

    equity: np.ndarray
    cash: np.ndarray
    qty: np.ndarray
    trades: np.ndarray
    ambiguous_bars: int


def simulate(bars: Bars, buy: np.ndarray, sell: np.ndarray, rules: Rules, cash: float) -> Simulation:
    """Trade the signals `buy` and `sell`, bool [n], on the bars, starting with `cash`."""
    state = new_state(cash)
    trades = np.empty(len(bars.close), TRADE)
    equity, held_cash, qty = _run(bars, buy, sell, rules, state[0], trades)
    return Simulation(equity, held_cash, qty, trades[: state["trades"][0]].copy(), int(state["ambiguous_bars"][0]))


@numba.njit(cache=True, nogil=True)
def _run(bars, buy, sell, rules, state, trades):  # type: ignore[no-untyped-def]
    n = len(bars.close)
    equity, cash, qty = np.empty(n), np.empty(n), np.empty(n)
    for t in range(n):
        equity[t] = step(
            state,
            trades,
            t,
            bars.open[t],
            bars.high[t],
            bars.low[t],
            bars.close[t],
            bars.filled[t],
            buy[t],
            sell[t],
            rules,
        )
        cash[t] = state.cash
        qty[t] = state.qty
    if n:
        equity[n - 1] = finish(state, trades, n - 1, bars.close[n - 1], rules)
        cash[n - 1] = state.cash
        qty[n - 1] = 0.0
    return equity, cash, qty
