"""Exits inside a bar, and stops that follow the price."""

import numpy as np

from pipeline.trading.compiled import compiled
from pipeline.trading.costs import slippage
from pipeline.trading.filters import round_level
from pipeline.trading.positions import close_position, close_some, pay_slip, see
from pipeline.trading.records import (
    BREAK_EVEN,
    LIQUIDATION,
    TAKE_PROFIT,
    TRAILING_STOP,
    Account,
    Position,
    Trade,
)
from pipeline.trading.rules import OHLC, RANDOM, STOP_FIRST, TARGET_FIRST, Rules


@compiled()
def touch_levels(
    account: Account,
    position: Position,
    trade: Trade,
    symbol: int,
    bar: int,
    open_: float,
    high: float,
    low: float,
    mark_open: float,
    mark_high: float,
    mark_low: float,
    volume: float,
    volatility: float,
    rules: Rules,
) -> None:
    """Fill liquidation, stop or target if the bar reached them; otherwise note the bar's extremes.

    trade: the next free row of the ledger.
    A stop is a market order: it fills at its level, or at the open if the price had jumped past it,
    less slippage. A target is a resting limit order: it fills at its level, as maker. Stop and target look at the last
    price, liquidation at the mark price. It comes before both if the bar opens beyond it; inside the bar, where nothing
    tells the order of the two prices, the level that is nearer to the entry comes first, and a target last. It takes
    the margin at the mark's level: never more than to the price at which all of it is lost.
    """
    side = position.side
    best, worst = (high, low) if side > 0 else (low, high)
    mark_worst = mark_low if side > 0 else mark_high
    hit_stop = side * (worst - position.stop) <= 0
    hit_target = side * (best - position.target) >= 0
    if not hit_stop and not hit_target and side * (mark_worst - position.liquidation) > 0:
        see(position, best, worst)
        return
    stop_at_open = side * (open_ - position.stop) <= 0
    target_at_open = side * (open_ - position.target) >= 0
    if side * (mark_open - position.liquidation) <= 0 or (
        side * (mark_worst - position.liquidation) <= 0
        and (not hit_stop or side * (position.liquidation - position.stop) > 0)
    ):
        lost = position.entry_price * (1 - side / rules.leverage)
        price = side * max(min(side * mark_open, side * position.liquidation), side * lost)
        see(position, price, price)
        close_position(account, position, trade, symbol, bar, price, rules.liquidation_fee, LIQUIDATION, rules)
        return
    if not hit_stop and not hit_target:
        see(position, best, worst)
        return
    if hit_stop and hit_target and not stop_at_open and not target_at_open:
        account.ambiguous_bars += 1
        stopped = stop_comes_first(side, bar, rules)
    else:
        stopped = stop_at_open or (hit_stop and not target_at_open)
    qty = abs(position.qty)
    if stopped:
        level = open_ if stop_at_open else position.stop
        see(position, level, level)
        reason = position.stop_reason
        qty = min(qty, rules.participation * volume / level) if rules.participation < np.inf else qty
        slip = slippage(qty * level, volume, volatility, rules)
        pay_slip(account, position, qty * level, slip, rules)
        fee, price = rules.taker_fee, level * (1 - side * slip)
    else:
        # How far it went against us before the target is not known: the bar's worst is assumed,
        # within the stop that was not hit first.
        see(position, position.target, open_ if target_at_open else worst if not hit_stop else position.stop)
        reason = TAKE_PROFIT
        qty = min(qty, rules.participation * volume / position.target) if rules.participation < np.inf else qty
        fee, price = rules.maker_fee, position.target
    if qty < abs(position.qty):
        close_some(account, position, qty, price, fee)
        if stopped and position.leave == 0:
            # What the bar could not take goes at the next open.
            position.leave = reason
            position.leave_bar = bar + 1
    else:
        close_position(account, position, trade, symbol, bar, price, fee, reason, rules)


@compiled(inline="always")
def follow(position: Position, close: float, atr: float, tick: float, rules: Rules) -> None:
    """Move the stop at a close: it follows the best price or the close, or to the entry price; it never loosens.

    tick: that it is placed on. Rounding keeps the order of prices: what lies beyond a stop on a tick stays beyond it.
    """
    side = position.side
    gain = side * (position.best / position.entry_price - 1)
    if gain >= rules.trail_after:
        level = position.best * (1 - side * rules.trailing_stop)
        if rules.trail_atr > 0 and atr > 0:
            level = (close if rules.trail_from_close else position.best) - side * rules.trail_atr * atr
        elif rules.trail_from_close:
            level = close * (1 - side * rules.trailing_stop)
        if side * (level - position.stop) > 0:
            position.stop = round_level(level, side, tick)
            position.stop_reason = TRAILING_STOP
    if gain >= rules.break_even_after:
        level = position.entry_price * (1 + side * rules.break_even_offset)
        if side * (level - position.stop) > 0:
            position.stop = round_level(level, side, tick)
            position.stop_reason = BREAK_EVEN


@compiled(inline="always")
def stop_comes_first(side: int, bar: int, rules: Rules) -> bool:
    """Whether a bar that touches both is taken to reach the stop before the target."""
    if rules.path == STOP_FIRST:
        return True
    if rules.path == TARGET_FIRST:
        return False
    up_first = rules.path == OHLC
    if rules.path == RANDOM:
        up_first = coin(bar, rules.seed)
    return up_first == (side < 0)


@compiled(inline="always")
def coin(bar: int, seed: int) -> bool:
    """Heads or tails for a bar: the same for the same seed, whatever else has happened.

    Source: the finaliser of splitmix64, Steele et al. (2014).
    """
    x = np.uint64(bar) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) & np.uint64(1)) == np.uint64(1)
