"""What an order must pass before it is accepted: state of the symbol, filters, prices, balance."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import NO_BALANCE, ApiError, rejected
from pipeline.exchange.local.exchange_filters import MAX_ASSET
from pipeline.exchange.local.matching import Pit
from pipeline.exchange.local.numbers import ZERO, ratio, times
from pipeline.exchange.local.orders import STOPS, Order
from pipeline.exchange.local.requests import Ticket
from pipeline.trading.filters import Book, Proposal, floor_to

if TYPE_CHECKING:
    from pipeline.exchange.local.engine import Engine


# Filters that count what the account has, which come after those that look at the order alone.
_COUNTED = ("MAX_POSITION", "MAX_NUM_ORDERS", "MAX_NUM_ALGO_ORDERS")
_FLAGS = (
    ("quote_qty", "quoteOrderQtyMarketAllowed", "Quote order qty market orders are not support for this symbol."),
    ("trailing", "allowTrailingStop", "Trailing stop orders are not supported for this symbol."),
    ("iceberg", "icebergAllowed", "Iceberg orders are not supported for this symbol."),
)


def check(engine: "Engine", account: Account, ticket: Ticket) -> None:
    """Refuse an order that the symbol's state, its filters or the exchange's forbid, in the exchange's order.

    Raises ApiError: -1013, -1111, -2010.
    """
    check_symbol(engine, account, ticket)
    check_exchange(engine, account, [ticket])


def check_symbol(engine: "Engine", account: Account, ticket: Ticket, ahead: Sequence[Ticket] = ()) -> None:
    """The part of it that is the symbol's. ahead: orders of its list before it.

    Raises ApiError: -1013, -1111, -2010.
    """
    pit = engine.pits[ticket.symbol]
    if not account.can_trade:
        raise rejected("This action is disabled on this account.")
    if pit.instrument.status != "TRADING":
        raise rejected("Market is closed.")
    for name, flag, words in _FLAGS:
        if getattr(ticket, name) and not pit.instrument.entry.get(flag, True):
            raise rejected(words)
    own = [order for order in engine.open_orders(account) if order.symbol == ticket.symbol]
    stops, buys = _counted(own, ahead)
    base = account.balance(pit.instrument.base)
    qty = _quantity(engine, account, ticket)
    if not qty and ticket.quote_qty:
        raise rejected("Order book liquidity is less than LOT_SIZE filter minimum quantity.")
    proposal = Proposal(ticket.side, qty, ticket.price or None, ticket.stop_price or None)
    book = Book(engine.average_price(ticket.symbol), len(own) + len(ahead), stops, base.free + base.locked + buys)
    rules = pit.instrument.rules
    # Its numbers were looked at when they were read.
    violation = rules.filtered(proposal, book)
    failed = "" if violation is None else violation.filter
    if violation is not None and (violation.code != -1013 or failed in ("PRICE_FILTER", "LOT_SIZE")):
        raise ApiError(violation.code, violation.message)
    if ticket.iceberg and not rules.lots.holds(ticket.iceberg):
        raise _failure("LOT_SIZE")
    if not failed or failed in _COUNTED:
        _check_iceberg(pit, ticket)
        _check_trailing(pit, ticket)
    if failed:
        raise _failure(failed)
    # A trailing stop may come without a stop price, by which the shared filters know an algo order.
    if ticket.kind in STOPS and 0 < rules.max_stop_orders <= stops:
        raise _failure("MAX_NUM_ALGO_ORDERS")
    _check_icebergs(pit, ticket, own, ahead)


def check_exchange(engine: "Engine", account: Account, tickets: Sequence[Ticket], lists: int = 0) -> None:
    """Refuse orders that would be too many on the whole exchange, or too much of an asset in one of them.

    lists: how many they are. Raises ApiError -1013.
    """
    if engine.filters.are_there:
        failed = engine.filters.exceeded(engine.open_orders(account), tickets, lists)
        if failed:
            raise _failure(failed)
    if account.max_asset:
        for ticket in tickets:
            _check_assets(engine, account, ticket)


def _check_assets(engine: "Engine", account: Account, ticket: Ticket) -> None:
    """The base asset is counted by quantity, the quote asset by notional, which is as in NOTIONAL without a price."""
    instrument = engine.instruments[ticket.symbol]
    qty = _quantity(engine, account, ticket)
    notional = ticket.quote_qty or qty * (ticket.price or engine.average_price(ticket.symbol))
    for asset, amount in ((instrument.base, qty), (instrument.quote, notional)):
        if amount > account.max_asset.get(asset, amount):
            raise _failure(MAX_ASSET)


def _quantity(engine: "Engine", account: Account, ticket: Ticket) -> Decimal:
    """Quantity of an order; what the book gives for it if it is an amount of the quote asset."""
    if not ticket.quote_qty:
        return ticket.qty
    return sum((qty for _, qty in engine.pits[ticket.symbol].plan(draft(engine, account, ticket))), ZERO)


def _counted(own: Sequence[Order], ahead: Sequence[Ticket]) -> tuple[int, Decimal]:
    """How many of some orders are stops, and the quantity that those on the book may still buy."""
    stops, buys = 0, ZERO
    for order in own:
        stops += order.is_stop
        if order.side == "BUY":
            buys += order.remaining
    for ticket in ahead:
        stops += ticket.kind in STOPS
    return stops, buys


def _failure(name: str) -> ApiError:
    return ApiError(-1013, f"Filter failure: {name}")


def _check_iceberg(pit: Pit, ticket: Ticket) -> None:
    if not ticket.iceberg:
        return
    if ticket.iceberg > ticket.qty:
        raise rejected("IcebergQty exceeds QTY.")
    most = pit.instrument.number("ICEBERG_PARTS", "limit")
    if most and ticket.qty > ticket.iceberg * most:
        raise _failure("ICEBERG_PARTS")


def _check_icebergs(pit: Pit, ticket: Ticket, own: Sequence[Order], ahead: Sequence[Ticket]) -> None:
    if not ticket.iceberg:
        return
    most = pit.instrument.number("MAX_NUM_ICEBERG_ORDERS", "maxNumIcebergOrders")
    if 0 < most <= sum(order.iceberg > 0 for order in own) + sum(one.iceberg > 0 for one in ahead):
        raise _failure("MAX_NUM_ICEBERG_ORDERS")


def _check_trailing(pit: Pit, ticket: Ticket) -> None:
    if not ticket.trailing:
        return
    above = (ticket.side == "BUY") == ticket.kind.startswith("STOP_LOSS")
    word = "Above" if above else "Below"
    least, most = (pit.instrument.number("TRAILING_DELTA", f"{edge}Trailing{word}Delta") for edge in ("min", "max"))
    if not least <= ticket.trailing <= (most or ticket.trailing):
        raise _failure("TRAILING_DELTA")


def check_unused(engine: "Engine", account: Account, tickets: list[Ticket]) -> None:
    """Refuse a client order id that a live order has, or that is there twice. Raises ApiError -2010."""
    ids = [ticket.client_id for ticket in tickets if ticket.client_id]
    if not ids:
        return
    symbol = tickets[0].symbol
    if len(set(ids)) < len(ids) or any(engine.live_by_client_id(account, one, symbol) for one in ids):
        raise rejected("Duplicate order sent.")


def check_market(pit: Pit, order: Order) -> None:
    """Refuse a stop that the price has reached, and a maker order that would take. Raises ApiError -2010."""
    if order.stop_price and not order.trailing and pit.is_reached(order):
        raise rejected("Order would trigger immediately.")
    if order.kind == "LIMIT_MAKER" and pit.crosses(order.side, order.price):
        raise rejected("Order would immediately match and take.")


def market_quantity(pit: Pit, account: Account, order: Order) -> Decimal:
    """Quantity of a market order, which may be given as an amount of the quote asset.

    Where the book is too thin for that amount, the rest is counted at its last price: the order expires with it open.
    Raises ApiError -2010: the account cannot pay for it.
    """
    plan = pit.plan(order)
    if order.side == "SELL":
        asset, paid = pit.instrument.base, max(order.qty, sum((qty for _, qty in plan), ZERO))
    else:
        asset, paid = pit.instrument.quote, sum((times(price, qty) for price, qty in plan), ZERO)
    if account.balance(asset).free < paid:
        raise rejected(NO_BALANCE)
    if not order.quote_qty or not plan:
        return order.qty
    left = order.quote_qty - sum((price * qty for price, qty in plan), ZERO)
    rest = floor_to(ratio(max(left, ZERO), plan[-1][0]), pit.instrument.rules.lots.step)
    return sum((qty for _, qty in plan), rest)


def draft(engine: "Engine", account: Account, ticket: Ticket) -> Order:
    """An order that is not placed."""
    return Order(
        0,
        account.key,
        ticket.symbol,
        ticket.client_id or "",
        ticket.side,
        ticket.kind,
        ticket.tif,
        ticket.qty,
        engine.now,
        ticket.price,
        ticket.stop_price,
        ticket.quote_qty,
        ticket.iceberg,
        ticket.trailing,
        strategy_id=ticket.strategy_id,
        strategy_type=ticket.strategy_type,
        update_time=engine.now,
    )


def cost(pit: Pit, order: Order | Ticket, qty: Decimal) -> tuple[str, Decimal]:
    """Asset and amount that an order of a quantity reserves."""
    if order.side == "SELL":
        return pit.instrument.base, qty
    return pit.instrument.quote, times(order.price or order.stop_price or pit.price, qty)
