"""Many pairs of thresholds over one symbol's history, with the same core.

Of each pair only sums are kept, separately for the bars before and from `split` on; what they amount
to is for `pipeline.evaluation`. Nothing before `split` depends on anything after it.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.trading.bitset import Bits, is_set, packed
from pipeline.trading.compiled import compiled
from pipeline.trading.core import finish, step
from pipeline.trading.known_holds import hold_known, marks_of
from pipeline.trading.market import BUY, REFUSE_LONG, REFUSE_SHORT, SELL, Market
from pipeline.trading.natural_exits import LONG, SHORT, natural_exits
from pipeline.trading.reasons import COUNT
from pipeline.trading.records import TRADE, new_account, new_positions
from pipeline.trading.rules import Rules
from pipeline.trading.stretches import Signals, barred_until, chunks_of, flat_until, hold_until, idle
from pipeline.trading.tally import TALLY, add_bar, add_held, add_trades, begin

Array = npt.NDArray[np.float64]

# Bars that all pairs live through before any goes on: their prices stay in the processor's cache.
BLOCK = 4096
# Up to so many bars after each entry it is looked up beforehand where a position would end: as many for each pair that
# may use it, so that few pairs do not wait for more than they would have looked at themselves.
REACH, REACH_OF_PAIR = 4096, 16


class Codes(NamedTuple):
    """What the pairs of one buy threshold see of the score, as `bitset.packed`.

    above: signals to buy; long: those that no gate refuses. below, short: the same to sell, one row for each pair.
    """

    above: Bits
    long: Bits
    below: npt.NDArray[np.uint64]
    short: npt.NDArray[np.uint64]


def scan_thresholds(
    market: Market, pairs: tuple[Array, Array], rules: Rules, cash: float, *, split: int, workers: int
) -> np.ndarray:
    """Tallies TALLY [n_buy, n_sell, 2] of trading `score ≥ buy` and `score ≤ sell` for all pairs of thresholds.

    market: of one symbol; its score is NaN where there is no signal, its own signals are not looked at.
    pairs: buy and sell thresholds; pairs with sell ≥ buy are passed over and stay zero. split: first bar of
    the second part. workers: threads.
    """
    buys, sells = pairs
    score = np.where(market.filled[0], np.nan, market.score[0])
    may_buy, may_sell = (market.flags[gate, 0] == 0 for gate in (REFUSE_LONG, REFUSE_SHORT))
    below = _rows([packed(score <= sell) for sell in sells])
    short = _rows([packed((score <= sell) & may_sell) for sell in sells]) if rules.trade_short else below
    tallies = np.zeros((len(buys), len(sells), 2), TALLY)
    record, chunks, marks = rules.record(), chunks_of(market), marks_of(market)
    entries = (score >= buys.min(initial=np.inf)) & may_buy, (score <= sells.max(initial=-np.inf)) & may_sell
    reach = min(REACH, REACH_OF_PAIR * tallies[:, :, 0].size)

    def row(i: int) -> None:
        accounts, positions = np.repeat(new_account(cash), len(sells)), new_positions(len(sells)).reshape(-1, 1)
        books = np.empty(BLOCK + 2, TRADE), np.zeros(COUNT, np.int64), np.zeros(1, np.uint8)
        codes = Codes(packed(score >= buys[i]), packed((score >= buys[i]) & may_buy), below, short)
        valid = sells < buys[i]
        _scan(market, chunks, marks, exits, codes, valid, record, split, accounts, positions, books, tallies[i])

    with ThreadPoolExecutor(max_workers=workers) as pool:
        exits = natural_exits(market, chunks, entries, rules, reach, pool.map)
        list(pool.map(row, range(len(buys))))
    return tallies


def _rows(bits: list[Bits]) -> npt.NDArray[np.uint64]:
    return np.array(bits, np.uint64).reshape(len(bits), -1)


@compiled(nogil=True)
def _scan(market, chunks, marks, exits, codes, valid, rules, split, accounts, positions, books, tallies):  # type: ignore[no-untyped-def]
    # All sell thresholds of one buy threshold, block of bars by block of bars.
    n = market.numbers.shape[2]
    for part in range(2):
        part_start, part_stop = (0, split) if part == 0 else (split, n)
        for j in range(len(valid)):
            begin(tallies[j, part], accounts[j].cash if part == 0 else tallies[j, 0].end)
        for first in range(part_start, part_stop, BLOCK):
            bars = (first, min(first + BLOCK, part_stop))
            for j in range(len(valid)):
                if valid[j]:
                    seen = Signals(codes.above, codes.below[j]), Signals(codes.long, codes.short[j])
                    own = accounts[j], positions[j], tallies[j, part]
                    _live(market, chunks, marks, exits, seen, rules, bars, own, books)


@compiled()
def _live(market, chunks, marks, exits, seen, rules, bars, own, books):  # type: ignore[no-untyped-def]
    signals, entries = seen
    account, positions, tally = own
    trades, refused, now = books
    # A tuple: the compiler knows that it is of one, and drops the core's loops over the symbols.
    one = (positions[0],)
    account.trades = 0
    last = market.numbers.shape[2] - 1
    position = positions[0]
    t, stop = bars
    while t < stop:
        if idle(account, position):
            if position.side == 0:
                # What is refused on the way is not counted here.
                t = min(stop, max(t, barred_until(account, position, t, rules)))
                if t < stop:
                    t = flat_until(entries, t, stop, rules)
            else:
                natural = exits[LONG if position.side > 0 else SHORT, position.entry_bar]
                # Not past the last bar, at whose close the position is settled.
                if t <= natural.bar:
                    t = hold_known(tally, account, position, marks, signals, t, min(stop, last), rules, natural)
                else:
                    since = t
                    t = hold_until(account, position, market, signals, since, min(stop, last), rules, None, chunks)
                    if since < t:
                        add_held(tally, account.cash, position.qty, marks.price, since, t)
            if t == stop:
                break
        now[0] = (BUY if is_set(signals.buy, t) else 0) | (SELL if is_set(signals.sell, t) else 0)
        equity = step(account, one, trades, refused, now, t, t, market, rules)
        if t == last:
            equity = finish(account, one, trades, refused, t, t, market, rules)
        add_bar(tally, equity)
        t += 1
    add_trades(tally, trades, account.trades)
