"""What protects a position on the exchange, and what has to be done about it: decisions over the books, no effects."""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum

from pipeline.exchange.port import ListRequest, Request
from pipeline.live.books import ZERO, Books, Entry
from pipeline.live.records import Protection
from pipeline.trading.filters import SymbolFilters
from pipeline.trading.orders import Intent, Order, client_order_id, is_live


class Cover(Enum):
    """How a position is protected: as wanted, not (yet), or in a way that has to be taken away first.

    WAIT: something is on its way, and its outcome has to be known first. PARTLY: a leg is being filled, or the entry
    that brings its own protection; it may end by itself within moments.
    """

    RIGHT = "right"
    NONE = "none"
    WRONG = "wrong"
    WAIT = "wait"
    PARTLY = "partly"


@dataclass(frozen=True)
class Guard:
    """Orders that protect, to be sent as one: a lone stop, or a stop with a target. They are orders of a position."""

    orders: tuple[tuple[Order, Request], ...]
    list_id: str = ""

    @property
    def request(self) -> Request | ListRequest:
        """What is sent."""
        legs = tuple(request for order, request in self.orders if order.reduce_only)
        entries = [request for order, request in self.orders if not order.reduce_only]
        if not self.list_id:
            return legs[0]
        return ListRequest(legs[0].symbol, self.list_id, legs, entries[0] if entries else None)


def sellable(books: Books, symbol: str, rules: SymbolFilters, *, market: bool = False) -> Decimal:
    """Quantity of a position, in whole lots, that no live exit is about to take: what may be protected or sold."""
    held = books.held(symbol)
    leaving = sum((one.coming for one in books.open(symbol) if one.order.reduce_only and one.order.leg == "exit"), ZERO)
    return rules.floor_qty(max(abs(held) - leaving, ZERO), market=market)


def coverable(books: Books, symbol: str, wanted: Protection, rules: SymbolFilters) -> Decimal:
    """Quantity that a protection has to be for; 0 for a position on its other side, or too small to be sold."""
    if (books.held(symbol) > 0) != (wanted.side == "SELL"):
        return ZERO
    qty = sellable(books, symbol, rules, market=wanted.stop_limit is None)
    return qty if qty * min(wanted.stop, wanted.target or wanted.stop) >= rules.min_notional else ZERO


def cover(books: Books, symbol: str, wanted: Protection, qty: Decimal, step: Decimal) -> Cover:
    """How the orders that protect a symbol fit what is wanted for a quantity. step: of the symbol's lots."""
    guards = books.guards(symbol)
    if not guards:
        return Cover.RIGHT if qty == 0 else Cover.NONE
    if any(one.is_unresolved or one.cancelled or not is_live(one.order.state) for one in guards):
        return Cover.WAIT
    bringing = [one for one in books.open(symbol) if one.list_id == guards[0].list_id != "" and one not in guards]
    if bringing:
        # The pair comes to life when the entry is filled whole.
        return Cover.PARTLY if bringing[0].order.filled else Cover.RIGHT
    stop = next((one for one in guards if one.order.leg == "stop"), None)
    target = next((one for one in guards if one.order.leg == "target"), None)
    if stop is None or (target is not None and target.order.filled):
        # A target that is filled in part has ended its stop.
        return Cover.PARTLY
    if stop.order.kind == "MARKET":
        return Cover.WAIT
    is_wanted = (
        stop.request.stop_price == wanted.stop
        and stop.request.price == wanted.stop_limit
        and (None if target is None else target.request.price) == wanted.target
        and _fits(stop, qty, books, step)
    )
    return Cover.RIGHT if is_wanted else Cover.WRONG


def _fits(stop: Entry, qty: Decimal, books: Books, step: Decimal) -> bool:
    """Whether a stop is for a quantity; one that came with its entry leaves room for the fee."""
    if stop.order.remaining == qty:
        return True
    if stop.order.filled:
        # It has been triggered, and goes on; what is left of it may be too little for a new one.
        return stop.order.remaining <= abs(books.held(stop.order.symbol))
    came = any(books.entries[name].order.leg not in ("stop", "target") for name in books.lists.get(stop.list_id, []))
    return came and qty * (1 - 2 * FEE_ROOM) - step <= stop.order.remaining < qty


# Share of an entry that its fee may take from what is bought, at most.
FEE_ROOM = Decimal("0.002")


def guard(books: Books, symbol: str, wanted: Protection, qty: Decimal) -> Guard:
    """The orders that are wanted for a quantity, under names that none had before."""
    attempt = _attempts(books, symbol, wanted)
    stop = _leg(symbol, wanted, "stop", attempt, qty)
    if wanted.target is None:
        return Guard((stop,))
    target = _leg(symbol, wanted, "target", attempt, qty)
    return Guard((stop, target), client_order_id(wanted.bundle, symbol, wanted.open_time_ms, "list", attempt))


def with_entry(order: Order, request: Request, wanted: Protection, qty: Decimal, books: Books) -> Guard:
    """An entry that brings its protection, for the quantity that is left of it after its fee."""
    made = guard(books, order.symbol, wanted, qty)
    intent = order.intent
    name = client_order_id(intent.bundle, intent.symbol, intent.open_time_ms, "list", 1000 + intent.attempt)
    return Guard(((order, request), *made.orders), name)


def market_exit(books: Books, symbol: str, wanted: Protection, qty: Decimal) -> tuple[Order, Request]:
    """A market order in place of a stop that the market has passed already."""
    intent = Intent(wanted.bundle, symbol, wanted.open_time_ms, "stop", _attempts(books, symbol, wanted))
    order = Order(intent, wanted.side, qty, reduce_only=True)
    return order, Request(symbol, wanted.side, "MARKET", qty, order.client_order_id)


def _leg(symbol: str, wanted: Protection, leg: str, attempt: int, qty: Decimal) -> tuple[Order, Request]:
    if leg == "target":
        kind, price, stop_price = "LIMIT_MAKER", wanted.target, None
    else:
        kind = "STOP_LOSS" if wanted.stop_limit is None else "STOP_LOSS_LIMIT"
        price, stop_price = wanted.stop_limit, wanted.stop
    intent = Intent(wanted.bundle, symbol, wanted.open_time_ms, leg, attempt)
    order = Order(intent, wanted.side, qty, kind, price, reduce_only=True)
    return order, Request(symbol, wanted.side, kind, qty, order.client_order_id, price, stop_price)


def _attempts(books: Books, symbol: str, wanted: Protection) -> int:
    """How many stops a position has had: the number of the next one."""
    return books.stops.get((symbol, wanted.bundle, wanted.open_time_ms), 0)


def rounded(wanted: Protection, rules: SymbolFilters) -> Protection:
    """A protection with its prices on ticks, none of them looser."""
    away = "BUY" if wanted.side == "SELL" else "SELL"
    limit, target = wanted.stop_limit, wanted.target
    return replace(
        wanted,
        stop=rules.round_price(wanted.stop, wanted.side),
        stop_limit=None if limit is None else rules.round_price(limit, away),
        target=None if target is None else rules.round_price(target, wanted.side),
    )


def loosens(wanted: Protection, stop: Decimal) -> bool:
    """Whether a stop price protects no better than the one that is wanted already."""
    return stop <= wanted.stop if wanted.side == "SELL" else stop >= wanted.stop
