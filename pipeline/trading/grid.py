"""Many pairs of thresholds over one symbol's history, with the same core.

Of each pair only sums are kept, separately for the bars before and from `split` on; what they amount
to is for `pipeline.evaluation`. Nothing before `split` depends on anything after it.
"""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt

from pipeline.trading.core import finish, step
from pipeline.trading.records import TRADE, new_state
from pipeline.trading.rules import Rules
from pipeline.trading.simulation import Bars

Array = npt.NDArray[np.float64]

# Sums over one part of the history. A trade counts in the part in which it was closed.
TALLY = np.dtype(
    [
        ("start", "f8"),  # equity that the part starts from, and ends with
        ("end", "f8"),
        ("lowest", "f8"),
        ("returns", "f8"),  # sums over the returns per bar: of them, their squares, the negative ones' squares
        ("squares", "f8"),
        ("downside_squares", "f8"),
        ("peak", "f8"),
        ("max_drawdown", "f8"),
        ("trades", "i8"),
        ("wins", "i8"),
        ("gains", "f8"),
        ("losses", "f8"),
    ]
)
# Bars summarised by one minimum and maximum of the score, by which flat stretches are skipped.
BLOCK = 64


def scan_thresholds(
    bars: Bars, score: Array, buys: Array, sells: Array, rules: Rules, cash: float, split: int, workers: int
) -> np.ndarray:
    """Tallies TALLY [len(buys), len(sells), 2] of trading `score ≥ buy` and `score ≤ sell` on the bars.

    score: float64 [n], NaN where there is no signal. split: first bar of the second part.
    workers: threads, one for each buy threshold in turn. Pairs with sell ≥ buy stay zero.
    """
    score = np.where(bars.filled, np.nan, score)
    blocks = -(-len(score) // BLOCK)
    padded = np.full(blocks * BLOCK, np.nan)
    padded[: len(score)] = score
    shaped = padded.reshape(blocks, BLOCK)
    highest = np.where(np.isnan(shaped), -np.inf, shaped).max(axis=1, initial=-np.inf)
    lowest = np.where(np.isnan(shaped), np.inf, shaped).min(axis=1, initial=np.inf)
    tallies = np.zeros((len(buys), len(sells), 2), TALLY)

    def row(i: int) -> None:
        trades = np.empty(len(score), TRADE)
        for j, sell in enumerate(sells):
            if sell < buys[i]:
                state = new_state(cash)
                _tally(bars, score, highest, lowest, buys[i], sell, rules, split, state[0], trades, tallies[i, j])

    with ThreadPoolExecutor(max_workers=workers) as pool:
        list(pool.map(row, range(len(buys))))
    return tallies


@numba.njit(cache=True, nogil=True)
def _tally(bars, score, highest, lowest, buy, sell, rules, split, state, trades, parts):  # type: ignore[no-untyped-def]
    n = len(score)
    equity = state.cash
    for part in range(2):
        first, stop = (0, min(split, n)) if part == 0 else (min(split, n), n)
        tally = parts[part]
        tally.start = equity
        tally.lowest = equity
        tally.peak = equity
        seen = state.trades
        t = first
        while t < stop:
            if state.side == 0 and state.enter == 0:
                t = next_signal(score, highest, lowest, t, buy, sell, rules.trade_long, rules.trade_short)
                if t >= stop:
                    break
            value = score[t]
            last = equity
            equity = step(
                state, trades, t, bars.open[t], bars.high[t], bars.low[t], bars.close[t],
                bars.filled[t], value >= buy, value <= sell, rules,
            )  # fmt: skip
            if t == n - 1:
                equity = finish(state, trades, t, bars.close[t], rules)
            if equity != last:
                change = equity / last - 1
                tally.returns += change
                tally.squares += change * change
                if change < 0:
                    tally.downside_squares += change * change
                if equity > tally.peak:
                    tally.peak = equity
                else:
                    tally.max_drawdown = min(tally.max_drawdown, equity / tally.peak - 1)
                    tally.lowest = min(tally.lowest, equity)
            t += 1
        tally.end = equity
        for k in range(seen, state.trades):
            pnl = trades[k].pnl
            tally.trades += 1
            if pnl > 0:
                tally.wins += 1
                tally.gains += pnl
            else:
                tally.losses += pnl


@numba.njit(cache=True)
def next_signal(
    score: Array, highest: Array, lowest: Array, t: int, buy: float, sell: float, trade_long: bool, trade_short: bool
) -> int:
    """The first bar from t on whose score would enter a position; the number of bars if there is none.

    highest, lowest: of the score in blocks of BLOCK bars.
    """
    n = len(score)
    while t < n:
        block = t // BLOCK
        if (trade_long and highest[block] >= buy) or (trade_short and lowest[block] <= sell):
            for u in range(t, min((block + 1) * BLOCK, n)):
                if (trade_long and score[u] >= buy) or (trade_short and score[u] <= sell):
                    return u
        t = (block + 1) * BLOCK
    return n
