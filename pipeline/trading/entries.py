"""Entries of one bar: ranked, asked against every rule, cut to every cap, or counted under what refused them."""

import numpy as np
import numpy.typing as npt

from pipeline.trading.compiled import compiled
from pipeline.trading.filters import step_floor
from pipeline.trading.market import (
    ATR,
    CLOSE,
    MAX_QTY,
    MIN_QTY,
    REFUSE_LONG,
    REFUSE_SHORT,
    RIGHT_LONG,
    RIGHT_SHORT,
    SCORE,
    STEP,
    VOLATILITY,
    Market,
)  # fmt: skip
from pipeline.trading.market import MIN_NOTIONAL as SMALLEST
from pipeline.trading.reasons import (
    COOL_DOWN,
    COOLING_DOWN,
    CORRELATED_EXPOSURE,
    HALTED,
    MIN_NOTIONAL,
    MISSING_INPUT,
    NO_CASH,
    NO_EDGE,
    OPEN_POSITIONS,
    ORDER_NOTIONAL,
    ORDER_QTY,
    ORDERS_PER_DAY,
    SYMBOL_EXPOSURE,
    TOTAL_EXPOSURE,
    TRADED,
)
from pipeline.trading.records import Account, Position
from pipeline.trading.rules import ANY_PROBABILITY, DAY_MS, KELLY, Rules
from pipeline.trading.sizing import trust, wanted

Positions = npt.NDArray
# Share of the equity below which an order is not worth its name: what rounding leaves of an exhausted limit.
DUST = 1e-6
Counts = npt.NDArray[np.int64]


@compiled(inline="always")
def grant_entries(
    account: Account,
    positions: Positions,
    refused: Counts,
    bar: int,
    at: int,
    market: Market,
    rules: Rules,
) -> None:
    """Grant or refuse an entry to each symbol that asks for one, the strongest score first, equal ones by name.

    refused: counts by reason, added to.
    """
    while True:
        chosen, strongest = -1, -1.0
        for s in range(len(positions)):
            if positions[s].ask != 0:
                strength = abs(market.numbers[SCORE, s, at])
                strength = 0.0 if np.isnan(strength) else strength
                if strength > strongest:
                    chosen, strongest = s, strength
        if chosen < 0:
            return
        refused[_enter(account, positions, chosen, positions[chosen].ask, bar, at, market, rules)] += 1
        positions[chosen].ask = 0


@compiled(inline="always")
def _enter(
    account: Account, positions: Positions, s: int, side: int, bar: int, at: int, market: Market, rules: Rules
) -> int:
    # Order an entry, or say why not.
    position = positions[s]
    if account.halted != 0:
        return HALTED
    if bar < account.resume_bar:
        return COOLING_DOWN
    gate = market.flags[REFUSE_LONG, s, at] if side > 0 else market.flags[REFUSE_SHORT, s, at]
    if gate != 0:
        return gate
    if bar - position.exit_bar < rules.cool_down or (position.side != 0 and rules.cool_down > 0):
        return COOL_DOWN
    taken, gross = 0, 0.0
    for j in range(len(positions)):
        other = positions[j]
        # Our own symbol's position is being closed: a reversal takes its place.
        if j != s and (other.side != 0 or other.enter != 0):
            taken += 1
            gross += exposure(other)
    if taken >= rules.open_positions:
        return OPEN_POSITIONS
    if account.entries_today >= rules.entries_per_day:
        return ORDERS_PER_DAY
    price, atr = market.numbers[CLOSE, s, at], market.numbers[ATR, s, at]
    if not set_distances(position, price, atr, rules):
        return MISSING_INPUT
    size = wanted(
        account, market.numbers[VOLATILITY, s, at], min(position.stop_distance, position.trail_distance), rules
    )
    if not size > 0:
        return NO_EDGE if rules.sizing == KELLY else NO_CASH if not account.equity > 0 else MISSING_INPUT
    if rules.probability != ANY_PROBABILITY:
        right = market.numbers[RIGHT_LONG, s, at] if side > 0 else market.numbers[RIGHT_SHORT, s, at]
        if np.isnan(right):
            return MISSING_INPUT
        size *= trust(right, rules)
        if not size > 0:
            return NO_EDGE
    size, bound = capped(account, positions, s, side, size, price, gross, market, rules)
    # Less than one lot, or than the exchange takes, is no order.
    filters = market.filters
    qty = step_floor(size / (1 + rules.taker_fee) / price, filters[s, STEP])
    if filters[s, MAX_QTY] > 0 and qty > filters[s, MAX_QTY]:
        qty = filters[s, MAX_QTY]
        size = qty * price * (1 + rules.taker_fee)
    if qty < filters[s, MIN_QTY] or not qty * price > max(filters[s, SMALLEST] * (1 - 1e-12), DUST * account.equity):
        return bound if bound != TRADED else MIN_NOTIONAL
    position.enter = side
    position.spend = size
    position.enter_bar = bar + 1 + rules.latency
    account.entries_today += 1
    return TRADED


@compiled(inline="always")
def exposure(position: Position) -> float:
    """Notional of a position, and of an entry that is on its way, without sign."""
    return abs(position.qty) * position.mark + (position.spend if position.enter != 0 else 0.0)


@compiled(inline="always")
def set_distances(position: Position, price: float, atr: float, rules: Rules) -> bool:
    """Distances of stop, target and trailing stop for an entry decided now; False if the ATR is not known."""
    if (rules.stop_atr > 0 or rules.target_atr > 0 or rules.trail_atr > 0) and not (atr > 0 and price > 0):
        return False
    position.stop_distance = rules.stop_atr * atr / price if rules.stop_atr > 0 else rules.stop_loss
    position.target_distance = rules.target_atr * atr / price if rules.target_atr > 0 else rules.take_profit
    position.trail_distance = rules.trail_atr * atr / price if rules.trail_atr > 0 else rules.trailing_stop
    return True


@compiled(inline="always")
def capped(
    account: Account,
    positions: Positions,
    s: int,
    side: int,
    size: float,
    price: float,
    gross: float,
    market: Market,
    rules: Rules,
) -> tuple[float, int]:
    """An amount cut to what the limits leave, and the limit that cut it last; TRADED if none did.

    gross: exposure of the other symbols. Positions that this order is to replace are taken as closed.
    """
    equity, bound = account.equity, TRADED
    if size > rules.order_notional:
        size, bound = rules.order_notional, ORDER_NOTIONAL
    if size > rules.order_qty * price:
        size, bound = rules.order_qty * price, ORDER_QTY
    if size > rules.symbol_exposure * equity:
        size, bound = rules.symbol_exposure * equity, SYMBOL_EXPOSURE
    if size > rules.total_exposure * equity - gross:
        size, bound = rules.total_exposure * equity - gross, TOTAL_EXPOSURE
    if rules.correlated_exposure < np.inf:
        # Alone, a symbol is its own portfolio.
        alone = rules.correlated_exposure * max(equity, 0.0)
        room = correlated_room(account, positions, s, side, market, rules) if len(positions) > 1 else alone
        if size > room:
            size, bound = room, CORRELATED_EXPOSURE
    if size > rules.leverage * equity - gross:
        size, bound = rules.leverage * equity - gross, NO_CASH
    return max(size, 0.0), bound


@compiled()
def correlated_room(account: Account, positions: Positions, s: int, side: int, market: Market, rules: Rules) -> float:
    """The largest amount x for which √(wᵀCw) stays within the limit, w the signed shares of the equity.

    Solves w² + 2bw + c = limit² for the symbol's own share w, C having ones on its diagonal.
    """
    if not account.equity > 0:
        return 0.0
    day = min(max(account.day - rules.origin_ms // DAY_MS, 0), len(market.correlation) - 1)
    matrix = market.correlation[day]
    b = c = 0.0
    for i in range(len(positions)):
        if i == s:
            continue
        own = _share(account, positions[i])
        b += own * matrix[i, s] * side
        for j in range(len(positions)):
            if j != s:
                c += own * matrix[i, j] * _share(account, positions[j])
    limit = rules.correlated_exposure
    root = b * b - c + limit * limit
    return max(0.0, np.sqrt(root) - b) * account.equity if root > 0 else 0.0


@compiled(inline="always")
def _share(account: Account, position: Position) -> float:
    waiting = position.enter * position.spend if position.enter != 0 else 0.0
    return (position.qty * position.mark + waiting) / account.equity
