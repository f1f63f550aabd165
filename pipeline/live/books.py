"""Our books: what the journal says, added up. The same function reads a record back that has just been written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.port import Request
from pipeline.trading.orders import Event, Fill, Intent, Order, State, apply, book, is_live

ZERO = Decimal(0)


@dataclass
class Entry:
    """An order with what is known of its way to the exchange.

    sent_ms, window_ms: when it was sent, and for how long it could be accepted; 0 if it was not. after: the last trade
    of the symbol that was booked by then. told: quantity that the exchange has said was filled when it ended.
    cancelled: whether a cancel has been sent.
    """

    order: Order
    request: Request
    sent_ms: int = 0
    window_ms: int = 0
    after: int = -1
    told: Decimal = ZERO
    cancelled: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether no more fills can come, and none is missing."""
        return not is_live(self.order.state) and self.order.filled >= self.told


@dataclass
class Books:
    """Orders by client id, and for each symbol its last trade id and why it is halted, if it is."""

    entries: dict[str, Entry] = field(default_factory=dict)
    last_trade: dict[str, int] = field(default_factory=dict)
    halted: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, body: Mapping[str, Any]) -> None:
        """Book a record. Raises BadInput: its kind is unknown; IllegalTransition: it contradicts those before."""
        if kind == "INTENT":
            order, request = _order(body)
            self.entries[order.client_order_id] = Entry(order, request)
        elif kind == "SENT":
            entry = self.entries[body["id"]]
            entry.order = apply(entry.order, Event.SEND)
            entry.sent_ms, entry.window_ms, entry.after = int(body["time"]), int(body["window"]), int(body["after"])
        elif kind == "OUTCOME":
            entry = self.entries[body["id"]]
            entry.order = apply(entry.order, Event(body["event"]))
            entry.told = max(entry.told, Decimal(body.get("executed", "0")))
        elif kind == "FILL":
            entry = self.entries[body["id"]]
            entry.order = book(entry.order, _fill(body))
            symbol = entry.order.symbol
            self.last_trade[symbol] = max(self.last_trade.get(symbol, -1), int(body["trade_id"]))
        elif kind == "CANCEL":
            self.entries[body["id"]].cancelled = True
        elif kind == "HALT":
            self.halted[str(body["symbol"])] = str(body["reason"])
        elif kind == "RESUME":
            self.halted.pop(str(body["symbol"]), None)
        else:
            raise BadInput(f"journal: a record of an unknown kind: {kind}", "it was written by a newer version")

    def of(self, symbol: str) -> list[Entry]:
        """Entries of a symbol, oldest first."""
        return [entry for entry in self.entries.values() if entry.order.symbol == symbol]

    def live(self) -> list[Entry]:
        """Entries that may still be filled."""
        return [entry for entry in self.entries.values() if is_live(entry.order.state)]

    def unresolved(self, symbol: str) -> list[Entry]:
        """Entries of which we do not know whether the exchange has them."""
        return [one for one in self.of(symbol) if one.order.state in (State.SENT, State.UNKNOWN)]

    def position(self, symbol: str) -> Decimal:
        """Base asset bought less sold: the sum of all fills, each counted once."""
        return sum((_signed(e.order) * e.order.filled for e in self.of(symbol)), ZERO)

    def exposure(self, symbol: str) -> Decimal:
        """The largest position that live orders could lead to, unresolved ones counted as live."""
        held = self.position(symbol)
        coming = [_signed(e.order) * e.order.remaining for e in self.of(symbol) if is_live(e.order.state)]
        most = held + sum((one for one in coming if one > 0), ZERO)
        least = held + sum((one for one in coming if one < 0), ZERO)
        return max(abs(held), abs(most), abs(least))


def books_of(records: Iterable[tuple[str, Mapping[str, Any]]]) -> Books:
    """The books that a journal tells; an intent that was never sent is abandoned by `desk.recover`."""
    books = Books()
    for kind, body in records:
        if kind in KINDS:
            books.add(kind, body)
    return books


# Records of the desk; a journal holds others as well.
KINDS = ("INTENT", "SENT", "OUTCOME", "FILL", "CANCEL", "HALT", "RESUME")


def intent_record(order: Order, request: Request) -> dict[str, Any]:
    """An order as the record INTENT keeps it."""
    intent = order.intent
    return {
        "id": order.client_order_id,
        "bundle": intent.bundle,
        "symbol": intent.symbol,
        "bar": intent.open_time_ms,
        "leg": intent.leg,
        "attempt": intent.attempt,
        "side": order.side,
        "qty": str(order.qty),
        "kind": order.kind,
        "price": None if order.price is None else str(order.price),
        "stop_price": None if request.stop_price is None else str(request.stop_price),
        "tif": request.tif,
        "reduce_only": order.reduce_only,
    }


def fill_record(client_order_id: str, fill: Fill) -> dict[str, Any]:
    """A fill as the record FILL keeps it."""
    return {
        "id": client_order_id,
        "trade_id": fill.trade_id,
        "qty": str(fill.qty),
        "price": str(fill.price),
        "fee": str(fill.fee),
        "fee_asset": fill.fee_asset,
    }


def _order(body: Mapping[str, Any]) -> tuple[Order, Request]:
    intent = Intent(body["bundle"], body["symbol"], int(body["bar"]), body["leg"], int(body["attempt"]))
    price = None if body["price"] is None else Decimal(body["price"])
    stop = None if body["stop_price"] is None else Decimal(body["stop_price"])
    order = Order(intent, body["side"], Decimal(body["qty"]), body["kind"], price, bool(body["reduce_only"]))
    request = Request(
        order.symbol, order.side, order.kind, order.qty, order.client_order_id, price, stop, body["tif"]
    )  # fmt: skip
    return order, request


def _fill(body: Mapping[str, Any]) -> Fill:
    return Fill(
        int(body["trade_id"]), Decimal(body["qty"]), Decimal(body["price"]), Decimal(body["fee"]), body["fee_asset"]
    )


def _signed(order: Order) -> int:
    return 1 if order.side == "BUY" else -1
