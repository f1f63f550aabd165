"""Where a position that enters at a bar would end if nobody left it: the same for all sets of thresholds.

Prices, and with them stop and target, do not depend on how much is bought, as long as no cost and no fill does. So
each bar of entry is followed once, by the core's own functions, instead of once for each of thousands of sets.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.trading.compiled import compiled
from pipeline.trading.core import fill
from pipeline.trading.entries import set_distances
from pipeline.trading.exits import follow
from pipeline.trading.market import ATR, CLOSE, FAILS, TICK, VOLATILITY, Market
from pipeline.trading.reasons import COUNT
from pipeline.trading.records import TRADE, Position, new_account, new_positions, record_type
from pipeline.trading.rules import NO_LIMIT, Rules
from pipeline.trading.stretches import Chunks, Signals, hold_until


class Exit(Protocol):
    """Up to which bar a position can be left alone, 0 if that is not known; and what it then has become."""

    bar: int
    stop: float
    stop_reason: int
    best: float
    worst: float


EXIT = record_type(Exit)
LONG, SHORT = 0, 1

Flags = npt.NDArray[np.bool_]
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def natural_exits(
    market: Market, chunks: Chunks, entries: tuple[Flags, Flags], rules: Rules, reach: int, spread: Map
) -> np.ndarray:
    """Records EXIT [2, n] by side and bar of entry; all 0 if the rules make exits depend on the size.

    market: of one symbol. entries: signals to go long and to go short that might be followed. reach: bars over which
    a position is followed at most. spread: a pool of threads' `map`.
    """
    n = market.shape[1]
    exits = np.zeros((2, n), EXIT)
    if rules.latency or rules.participation < np.inf or rules.impact or market.flags[FAILS].any():
        return exits
    # Stops and costs as they are; no end of a day, no time limit, no breaker, and all the cash.
    alone = Rules()._replace(
        **{name: getattr(rules, name) for name in (
            "trade_long", "trade_short", "taker_fee", "maker_fee", "slip", "half_spread", "slip_volatility",
            "stop_loss", "take_profit", "trailing_stop", "stop_atr", "target_atr", "trail_atr", "trail_from_close",
            "trail_after", "break_even_after", "break_even_offset", "path", "seed", "leverage", "maintenance",
        )}
    )  # fmt: skip
    # Of the filters only the tick bears on where a position ends.
    filters = np.zeros_like(market.filters)
    filters[:, TICK] = market.filters[:, TICK]
    bare = market._replace(filters=filters)
    silent = np.zeros(n // 64 + 1, np.uint64)

    def follow_part(part: tuple[int, int, int]) -> None:
        account, positions = np.repeat(new_account(1.0), 2), np.repeat(new_positions(1), 2)
        account["next_day_bar"] = NO_LIMIT
        books = np.empty(2, TRADE), np.zeros(COUNT, np.int64)
        side, first, stop = part
        _follow(
            bare, chunks, entries[side], 1 - 2 * side, first, stop, alone.record(), reach, account, positions,
            Signals(silent, silent), books, exits[side],
        )  # fmt: skip

    parts = [
        (side, first, min(first + (1 << 16), n - 1))
        for side, traded in ((LONG, rules.trade_long), (SHORT, rules.trade_short))
        if traded
        for first in range(0, n - 1, 1 << 16)
    ]
    list(spread(follow_part, parts))
    return exits


@compiled(nogil=True)
def _follow(market, chunks, entries, side, first, stop, rules, reach, accounts, positions, silent, books, exits):  # type: ignore[no-untyped-def]
    # Of each array the second record is as new, the first is used.
    trades, refused = books
    account, position = accounts[0], positions[0]
    one = (position,)
    last = market.numbers.shape[2] - 1
    for t in range(first, stop):
        if not entries[t]:
            continue
        accounts[0], positions[0] = accounts[1], positions[1]
        position.mark, position.volatility = market.numbers[CLOSE, 0, t], market.numbers[VOLATILITY, 0, t]
        if not set_distances(position, position.mark, market.numbers[ATR, 0, t], rules):
            continue
        position.enter, position.spend, position.enter_bar = side, account.cash, t + 1
        # As `step` does, without its decisions: they are not this position's.
        fill(account, one, trades, refused, t + 1, t + 1, market, rules)
        if position.side == 0:
            continue
        close, atr = market.numbers[CLOSE, 0, t + 1], market.numbers[ATR, 0, t + 1]
        follow(position, close, atr, market.filters[0, TICK], rules)
        end = min(t + 2 + reach, last)
        bar = hold_until(account, position, market, silent, t + 2, end, rules, None, chunks)
        record = exits[t + 1]
        record.bar, record.stop, record.stop_reason = bar, position.stop, position.stop_reason
        record.best, record.worst = position.best, position.worst


@compiled(inline="always")
def take_up(position: Position, natural: Exit) -> None:
    """Bring a position's levels up to date, at the bar up to which it has been followed."""
    position.stop, position.stop_reason = natural.stop, natural.stop_reason
    position.best, position.worst = natural.best, natural.worst
