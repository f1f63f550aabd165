"""Many pairs of thresholds over one symbol's history, with the same core.

Of each pair only sums are kept, separately for the bars before and from `split` on; what they amount
to is for `pipeline.evaluation`. Nothing before `split` depends on anything after it.
"""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt

from pipeline.trading.core import finish, step
from pipeline.trading.records import STATE, TRADE
from pipeline.trading.rules import Rules
from pipeline.trading.stretches import Bars, NextSignals, flat_until, hold_until, next_true
from pipeline.trading.tally import TALLY, add_bar, add_trades, begin

Array = npt.NDArray[np.float64]


# Bars that all pairs live through before any goes on: their prices stay in the processor's cache.
BLOCK = 4096
# Next-signal indices held at a time, in values: 64 MiB of int32.
MAX_INDEX = 1 << 24


def scan_thresholds(
    bars: Bars, score: Array, pairs: tuple[Array, Array], rules: Rules, cash: float, *, split: int, workers: int
) -> np.ndarray:
    """Tallies TALLY [n_buy, n_sell, 2] of trading `score ≥ buy` and `score ≤ sell` for all pairs of thresholds.

    score: float64 [n], NaN where there is no signal. pairs: buy and sell thresholds; pairs with
    sell ≥ buy are passed over and stay zero. split: first bar of the second part. workers: threads.
    """
    buys, sells = pairs
    score = np.where(bars.filled, np.nan, score)
    tallies = np.zeros((len(buys), len(sells), 2), TALLY)
    chunk = max(1, MAX_INDEX // max(1, len(score)))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for first in range(0, len(sells), chunk):
            some = sells[first : first + chunk]
            index = np.empty((len(some), len(score)), np.int32)
            for j, sell in enumerate(some):
                index[j] = next_true(score <= sell)

            def row(i: int, first: int = first, some: Array = some, index: np.ndarray = index) -> None:
                states = np.zeros(len(some), STATE)
                states["cash"] = cash
                valid = some < buys[i]
                part = tallies[i, first : first + len(some)]
                _scan(bars, next_true(score >= buys[i]), index, valid, rules, split, states, part)

            list(pool.map(row, range(len(buys))))
    return tallies


@numba.njit(cache=True, nogil=True)
def _scan(bars, next_buy, next_sell, valid, rules, split, states, tallies):  # type: ignore[no-untyped-def]
    # All sell thresholds of one buy threshold, block of bars by block of bars.
    n = len(next_buy)
    trades = np.empty(BLOCK + 1, TRADE)
    for part in range(2):
        part_start, part_stop = (0, split) if part == 0 else (split, n)
        for j in range(len(valid)):
            begin(tallies[j, part], states[j].cash if part == 0 else tallies[j, 0].end)
        for first in range(part_start, part_stop, BLOCK):
            stop = min(first + BLOCK, part_stop)
            for j in range(len(valid)):
                if valid[j]:
                    signals = NextSignals(next_buy, next_sell[j])
                    states[j].trades = 0
                    _live(bars, signals, rules, first, stop, states[j], trades, tallies[j, part])
                    add_trades(tallies[j, part], trades, states[j].trades)


@numba.njit(cache=True, error_model="numpy")
def _live(bars, signals, rules, first, stop, state, trades, tally):  # type: ignore[no-untyped-def]
    last = len(bars.close) - 1
    t = first
    while t < stop:
        if state.enter == 0 and state.leave == 0:
            if state.side == 0:
                t = flat_until(signals, t, stop, rules)
            else:
                # Not past the last bar, at whose close the position is settled.
                t = hold_until(state, bars, signals, t, min(stop, last), rules, None, tally)
            if t == stop:
                break
        equity = step(
            state, trades, t, bars.open[t], bars.high[t], bars.low[t], bars.close[t], bars.filled[t],
            signals.buy[t] == t, signals.sell[t] == t, rules,
        )  # fmt: skip
        if t == last:
            equity = finish(state, trades, t, bars.close[t], rules)
        add_bar(tally, equity)
        t += 1
