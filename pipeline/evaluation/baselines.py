"""What a strategy must beat: holding the asset, and entering at random. (Staying flat earns 0 by definition.)

A period here starts from its first bar's close, as an equity curve does: the first possible fill is
the open of the second bar.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.trading.bars import Bars
from pipeline.trading.market import market_of, signals_of
from pipeline.trading.rules import Rules
from pipeline.trading.simulation import Simulation, simulate

Array = npt.NDArray[np.float64]


class Holdings(NamedTuple):
    """What a strategy's trades have in common with their random rivals: bars held and side (±1), int64 [m]."""

    bars: npt.NDArray[np.int64]
    sides: npt.NDArray[np.int64]


def buy_and_hold(bars: Bars, rules: Rules, cash: float) -> Simulation:
    """Buying with all the cash at the first real open, holding, and selling at the last close, after costs."""
    always = np.ones(len(bars.close), np.bool_)
    only_costs = Rules(taker_fee=rules.taker_fee, slip=rules.slip, half_spread=rules.half_spread, step_ms=rules.step_ms)
    return simulate(market_of(bars, signals_of(always, ~always)), only_costs, cash)


def holdings(
    entry_bars: npt.NDArray[np.int64],
    exit_bars: npt.NDArray[np.int64],
    sides: npt.NDArray[np.int64],
    start: int,
    stop: int,
) -> Holdings:
    """Bars held within [start, stop) by trades that were open there; at least one bar each."""
    first = np.maximum(entry_bars, start)
    last = np.minimum(np.maximum(exit_bars, entry_bars + 1), stop)
    inside = first < last
    return Holdings((last - first)[inside], sides[inside])


def random_growth(bars: Bars, held: Holdings, rules: Rules, share: float, n: int, seed: int) -> Array:
    """Growth factors [n] of the equity of n strategies that enter at random.

    share: part of the equity, fees included, that each trade takes. Each makes the same trades in number,
    length and side as the strategy, in random order, one at a time, with random waits between them, uniform in
    the time that is left; market orders at the opens, with costs, no stops.
    """
    n_bars = len(bars.close)
    # A fill in a made-up bar waits for the next real one; past the end there is the last close.
    price = np.append(bars.open, bars.close[-1])
    price[:-1] = price[_next_real(bars.filled)]
    lengths, sides = held.bars.copy(), held.sides.copy()
    while lengths.sum() > n_bars - 1:  # trades shorter than a bar count as one; rarely that is too many
        lengths, sides = lengths[:-1], sides[:-1]
    if len(lengths) == 0:
        return np.ones(n)
    # Seeds far apart: streams of the generator whose seeds are neighbours are not independent.
    seeds = np.random.default_rng(seed).integers(0, 1 << 32, n, dtype=np.uint32)
    fees, slip, m = rules.taker_fee, rules.slip, len(lengths)
    draws, choices, order = np.random.RandomState(), np.arange(m, 1, -1), np.arange(m)
    growth = np.empty(n)
    for i, own in enumerate(seeds):
        draws.seed(own)
        swaps, waits = draws.randint(0, choices), draws.exponential(1.0, m + 1)
        growth[i] = _growth(price, lengths, sides, order, swaps, waits, n_bars - 1, share / (1 + fees), fees, slip)
    return growth


def p_value(actual: float, random: Array) -> float:
    """Share of random strategies that did as well or better, the actual one counted among them."""
    return float((1 + np.count_nonzero(random >= actual)) / (1 + len(random)))


def _next_real(filled: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    # Index of the first real bar at or after each bar; n if there is none.
    index = np.where(filled, len(filled), np.arange(len(filled)))
    return np.asarray(np.minimum.accumulate(index[::-1])[::-1])


@compiled(nogil=True)
def _growth(price, lengths, sides, order, swaps, waits, bars, share, fee, slip):  # type: ignore[no-untyped-def]
    # Of one strategy. order: of the trades, shuffled anew. swaps: which of the first m, m - 1 … 2 comes last of them.
    m = len(lengths)
    free = bars - lengths.sum()
    for j in range(m - 1, 0, -1):
        k = swaps[m - 1 - j]
        order[j], order[k] = order[k], order[j]
    # Exponential waits, scaled to the free bars: sorted uniform points without sorting.
    total = 0.0
    for j in range(m + 1):
        total += waits[j]
    waited, held = 0.0, 0
    factor = 1.0
    for j in range(m):
        waited += waits[j]
        entry = 1 + held + int(np.floor(waited / total * (free + 1)))
        held += lengths[order[j]]
        side = sides[order[j]]
        paid = price[entry] * (1 + side * slip)
        got = price[entry + lengths[order[j]]] * (1 - side * slip)
        change = side * (got / paid - 1) - fee * (1 + got / paid)
        factor *= max(0.0, 1 + share * change)
    return factor
