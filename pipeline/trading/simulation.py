"""One strategy over one symbol's history: the core's step, looped."""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pipeline.trading.core import finish, step
from pipeline.trading.records import TRADE, new_state
from pipeline.trading.rules import Rules
from pipeline.trading.stretches import Bars, NextSignals, flat_until, hold_until, next_true

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Simulation:
    """What came of it: the equity at each close [n], and the trades, TRADE [m]."""

    equity: Array
    trades: np.ndarray
    ambiguous_bars: int


def simulate(bars: Bars, buy: Flags, sell: Flags, rules: Rules, cash: float) -> Simulation:
    """Trade the signals `buy` and `sell`, bool [n], on the bars, starting with `cash`."""
    state = new_state(cash)
    trades = np.empty(len(bars.close), TRADE)
    equity = _run(bars, NextSignals(next_true(buy), next_true(sell)), rules, state[0], trades)
    return Simulation(equity, trades[: state["trades"][0]].copy(), int(state["ambiguous_bars"][0]))


def positions(simulation: Simulation, close: Array) -> tuple[Array, Array]:
    """Cash and quantity held at each close, both [n]: cash + quantity · close is the equity."""
    qty = np.zeros(len(close))
    for trade in simulation.trades:
        qty[trade["entry_bar"] : trade["exit_bar"]] = trade["side"] * trade["qty"]
    return simulation.equity - qty * close, qty


@numba.njit(cache=True, nogil=True)
def _run(bars, signals, rules, state, trades):  # type: ignore[no-untyped-def]
    n = len(bars.close)
    equity = np.empty(n)
    t = 0
    while t < n:
        if state.enter == 0 and state.leave == 0:
            if state.side == 0:
                until = flat_until(signals, t, n, rules)
                equity[t:until] = state.cash
            else:
                until = hold_until(state, bars, signals, t, n, rules, equity, None)
            t = until
            if t == n:
                break
        equity[t] = step(
            state, trades, t, bars.open[t], bars.high[t], bars.low[t], bars.close[t], bars.filled[t],
            signals.buy[t] == t, signals.sell[t] == t, rules,
        )  # fmt: skip
        t += 1
    if n:
        equity[n - 1] = finish(state, trades, n - 1, bars.close[n - 1], rules)
    return equity
