"""Bookkeeping: a position is opened, added to its excursions, reduced, closed into the ledger."""

from pipeline.trading.compiled import compiled
from pipeline.trading.filters import round_level
from pipeline.trading.records import STOP_LOSS, TRAILING_STOP, Account, Position, Trade
from pipeline.trading.rules import Rules


@compiled(inline="always")
def open_position(
    account: Account,
    position: Position,
    bar: int,
    side: int,
    qty: float,
    price: float,
    slip: float,
    tick: float,
    rules: Rules,
) -> None:
    """Enter at a fill price. slip: fraction of the price before it that the fill paid. tick: of stop and target."""
    fee = qty * price * rules.taker_fee
    position.side = side
    position.qty = side * qty
    position.entry_price = price
    position.entry_fee = fee
    position.entry_bar = bar
    position.best = position.worst = position.mark = price
    position.exit_qty = position.exit_value = position.exit_fee = position.funding = 0.0
    account.cash -= position.qty * price + fee
    account.fees += fee
    position.spread = position.slippage = 0.0
    pay_slip(account, position, qty * price / (1 + side * slip), slip, rules)
    position.target = round_level(price * (1 + side * position.target_distance), side, tick)
    # A trailing stop that starts at once stands where it is nearer than the stop-loss.
    trails = rules.trail_after <= 0 and position.trail_distance < position.stop_distance
    distance = position.trail_distance if trails else position.stop_distance
    position.stop = round_level(price * (1 - side * distance), side, tick)
    position.stop_reason = TRAILING_STOP if trails else STOP_LOSS
    # Isolated margin: the level at which what is left of it no longer covers the maintenance.
    position.liquidation = price * (1 - side / rules.leverage) / (1 - side * rules.maintenance)


@compiled(inline="always")
def pay_slip(account: Account, position: Position, value: float, slip: float, rules: Rules) -> None:
    """Note what slippage and spread have cost; they are in the prices already. value: before them."""
    spread, rest = value * rules.half_spread, value * (slip - rules.half_spread)
    position.spread += spread
    position.slippage += rest
    account.spread += spread
    account.slippage += rest


@compiled(inline="always")
def see(position: Position, best: float, worst: float) -> None:
    """Widen the excursions of an open position."""
    if position.side * (best - position.best) > 0:
        position.best = best
    if position.side * (worst - position.worst) < 0:
        position.worst = worst


@compiled(inline="always")
def close_some(account: Account, position: Position, qty: float, price: float, fee_rate: float) -> None:
    """Take off part of a position; the rest stays open."""
    fee = qty * price * fee_rate
    account.cash += position.side * qty * price - fee
    account.fees += fee
    position.qty -= position.side * qty
    position.exit_qty += qty
    position.exit_value += qty * price
    position.exit_fee += fee


@compiled()
def close_position(
    account: Account,
    position: Position,
    trade: Trade,
    symbol: int,
    bar: int,
    price: float,
    fee_rate: float,
    reason: int,
    rules: Rules,
) -> None:
    """Leave with all that is left, and write the trade to the ledger's next row, `trade`."""
    side, last = position.side, abs(position.qty)
    exit_fee = last * price * fee_rate
    fees = position.entry_fee + exit_fee + position.exit_fee
    qty = last + position.exit_qty
    price_paid = (position.exit_value + last * price) / qty if position.exit_qty > 0 else price
    pnl = side * qty * (price_paid - position.entry_price) - fees - position.funding
    account.cash += position.qty * price - exit_fee
    account.fees += exit_fee
    trade.symbol = symbol
    trade.side = side
    trade.entry_bar = position.entry_bar
    trade.exit_bar = bar
    trade.entry_price = position.entry_price
    trade.exit_price = price_paid
    trade.qty = qty
    trade.fees = fees
    trade.pnl = pnl
    trade.return_ = pnl / (qty * position.entry_price)
    trade.reason = reason
    trade.mae = side * (position.worst / position.entry_price - 1)
    trade.mfe = side * (position.best / position.entry_price - 1)
    trade.spread = position.spread
    trade.slippage = position.slippage
    trade.funding = position.funding
    account.trades += 1
    if pnl > 0:
        account.wins += 1
        account.win_returns += trade.return_
        account.losses_in_a_row = 0
    else:
        account.losses += 1
        account.loss_returns -= trade.return_
        account.losses_in_a_row += 1
        if account.losses_in_a_row >= rules.losses_in_a_row:
            account.losses_in_a_row = 0
            account.resume_bar = bar + rules.pause
            account.halts += 1
    position.side = 0
    position.qty = 0.0
    position.leave = 0
    position.exit_bar = bar
