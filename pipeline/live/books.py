"""Our books: what the journal says, added up. The same function reads a record back that has just been written."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.port import Request
from pipeline.live.records import KINDS, Protection, Work, fill_of, order_of, protection_of, work_of
from pipeline.trading.execution import Ended, Filled, from_record, next_action
from pipeline.trading.orders import Event, Fill, Order, State, apply, book, is_live

ZERO = Decimal(0)
# Legs that protect a position.
GUARDS = ("stop", "target")
# Orders of a symbol that have ended and are kept in memory; of older ones, only their names, so many of all symbols.
KEPT, NAMES_KEPT = 500, 20_000


@dataclass
class Entry:
    """An order with what is known of its way to the exchange.

    sent_ms, window_ms: when it was sent, and for how long it could be accepted; 0 if it was not. after: the last trade
    of the symbol that was booked by then. told: quantity that the exchange has said was filled when it ended.
    cancelled: whether a cancel has been sent. base: asset that it buys or sells, empty if it is not known. list_id,
    work: of the list and of the plan that it is part of, empty for none.
    """

    order: Order
    request: Request
    sent_ms: int = 0
    window_ms: int = 0
    after: int = -1
    told: Decimal = ZERO
    cancelled: bool = False
    base: str = ""
    list_id: str = ""
    work: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether no more fills can come, and none is missing."""
        return not is_live(self.order.state) and self.order.filled >= self.told

    @property
    def coming(self) -> Decimal:
        """Quantity of which we may be told that it was filled: open, or filled as the exchange said when it ended."""
        return self.order.remaining if is_live(self.order.state) else max(self.told - self.order.filled, ZERO)

    @property
    def has_ended(self) -> bool:
        """Whether it is over and settled; an intent that was not sent yet is not."""
        return self.is_settled and self.order.state != State.INTENT

    @property
    def is_unresolved(self) -> bool:
        """Whether we do not know that the exchange has it."""
        return self.order.state in (State.SENT, State.UNKNOWN)


@dataclass
class Books:
    """Orders by client id, and for each symbol its last trade id and why it is halted, if it is.

    lists: client ids of the orders of a list, by its id. protections: what is to rest on the exchange while a symbol is
    held. leaving: the order that leaves a position once nothing protects it any more. works: plans being worked.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    last_trade: dict[str, int] = field(default_factory=dict)
    halted: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    protections: dict[str, Protection] = field(default_factory=dict)
    leaving: dict[str, tuple[Order, Request]] = field(default_factory=dict)
    works: dict[str, Work] = field(default_factory=dict)
    # The last trade of others that a person knew of when a symbol was resumed: they are listed for ever.
    looked_at: dict[str, int] = field(default_factory=dict)
    # How many stops a position has had, by symbol, bundle and bar of its entry.
    stops: dict[tuple[str, str, int], int] = field(default_factory=dict)
    # Sums of fills, so that what was long ago need not be added up again, nor remembered.
    _position: dict[str, Decimal] = field(default_factory=dict)
    _base_fees: dict[str, Decimal] = field(default_factory=dict)
    _of: dict[str, dict[str, Entry]] = field(default_factory=dict)
    _open: dict[str, dict[str, Entry]] = field(default_factory=dict)
    _ended: dict[str, deque[str]] = field(default_factory=dict)
    _forgotten: dict[str, None] = field(default_factory=dict)

    def add(self, kind: str, body: Mapping[str, Any]) -> None:
        """Book a record. Raises BadInput: its kind is unknown; IllegalTransition: it contradicts those before."""
        if kind not in KINDS:
            raise BadInput(f"journal: a record of an unknown kind: {kind}", "it was written by a newer version")
        getattr(self, f"_{kind.lower()}")(body)

    # Questions

    def of(self, symbol: str) -> list[Entry]:
        """Entries of a symbol, oldest first, without those that ended long ago."""
        return list(self._of.get(symbol, {}).values())

    def open(self, symbol: str) -> list[Entry]:
        """Entries of a symbol that are not over and settled, oldest first."""
        return list(self._open.get(symbol, {}).values())

    def all_open(self) -> list[Entry]:
        """The same of all symbols."""
        return [entry for of in self._open.values() for entry in of.values()]

    def live(self) -> list[Entry]:
        """Entries that may still be filled."""
        return [entry for entry in self.all_open() if is_live(entry.order.state)]

    def unresolved(self, symbol: str) -> list[Entry]:
        """Entries of which we do not know whether the exchange has them."""
        return [entry for entry in self.open(symbol) if entry.is_unresolved]

    def guards(self, symbol: str) -> list[Entry]:
        """Stops and targets that are not over and settled."""
        return [entry for entry in self.open(symbol) if entry.order.leg in GUARDS]

    def works_of(self, symbol: str) -> list[Work]:
        """Plans of a symbol that are being worked."""
        return [work for work in self.works.values() if work.intent.symbol == symbol]

    def symbols(self) -> list[str]:
        """Symbols of which something is open or wanted."""
        open_ = [symbol for symbol, entries in self._open.items() if entries]
        works = [work.intent.symbol for work in self.works.values()]
        return list(dict.fromkeys([*open_, *self.protections, *self.leaving, *works]))

    def is_ours(self, client_order_id: str) -> bool:
        """Whether an order is one of ours, if we remember it or not."""
        return client_order_id in self.entries or client_order_id in self._forgotten

    def position(self, symbol: str) -> Decimal:
        """Base asset bought less sold: the sum of all fills, each counted once."""
        return self._position.get(symbol, ZERO)

    def held(self, symbol: str) -> Decimal:
        """Base asset that can be sold: bought less sold less the fees that were taken in it; negative for a short."""
        return self.position(symbol) - self._base_fees.get(symbol, ZERO)

    def exposure(self, symbol: str) -> Decimal:
        """The largest position that live orders could lead to, unresolved ones counted as live; exits end positions."""
        held = self.position(symbol)
        coming = [
            _signed(e.order) * e.order.remaining
            for e in self.open(symbol)
            if is_live(e.order.state) and not e.order.reduce_only
        ]
        most = held + sum((one for one in coming if one > 0), ZERO)
        least = held + sum((one for one in coming if one < 0), ZERO)
        return max(abs(held), abs(most), abs(least))

    # Records

    def _intent(self, body: Mapping[str, Any]) -> None:
        order, request = order_of(body)
        name, symbol = order.client_order_id, order.symbol
        entry = Entry(order, request, base=body["base"], list_id=body["list"], work=body["work"])
        self.entries[name] = entry
        self._of.setdefault(symbol, {})[name] = entry
        self._open.setdefault(symbol, {})[name] = entry
        if order.leg == "stop":
            key = (symbol, order.intent.bundle, order.intent.open_time_ms)
            number = max(self.stops.get(key, 0), order.intent.attempt + 1)
            # Those of positions that are over are not needed any more.
            self.stops = {one: n for one, n in self.stops.items() if one[0] != symbol or one[2] >= key[2]}
            self.stops[key] = number
        if entry.list_id:
            self.lists.setdefault(entry.list_id, []).append(name)
        if symbol in self.leaving and self.leaving[symbol][0].client_order_id == name:
            del self.leaving[symbol]
        if entry.work in self.works:
            work = self.works[entry.work]
            work.plan, work.live, work.children = from_record(body["plan"]), name, work.children + 1

    def _sent(self, body: Mapping[str, Any]) -> None:
        for name in self.lists.get(body["id"], [body["id"]]):
            entry = self.entries[name]
            entry.order = apply(entry.order, Event.SEND)
            entry.sent_ms, entry.window_ms, entry.after = int(body["time"]), int(body["window"]), int(body["after"])

    def _outcome(self, body: Mapping[str, Any]) -> None:
        entry = self.entries[body["id"]]
        entry.order = apply(entry.order, Event(body["event"]))
        entry.told = max(entry.told, Decimal(body.get("executed", "0")))
        self._moved(entry)

    def _fill(self, body: Mapping[str, Any]) -> None:
        entry, fill = self.entries[body["id"]], fill_of(body)
        before = entry.order
        entry.order = book(before, fill)
        symbol = before.symbol
        self.last_trade[symbol] = max(self.last_trade.get(symbol, -1), fill.trade_id)
        if entry.order is not before:
            self._position[symbol] = self.position(symbol) + _signed(before) * fill.qty
            if _in_base(fill, entry):
                self._base_fees[symbol] = self._base_fees.get(symbol, ZERO) + fill.fee
            if entry.work in self.works:
                work = self.works[entry.work]
                work.plan = next_action(work.plan, Filled(fill.qty))[0]
        self._moved(entry)

    def _cancel(self, body: Mapping[str, Any]) -> None:
        for name in self.lists.get(body["id"], [body["id"]]):
            entry = self.entries[name]
            entry.cancelled = True
            if "plan" in body and entry.work in self.works:
                self.works[entry.work].plan = from_record(body["plan"])

    def _halt(self, body: Mapping[str, Any]) -> None:
        self.halted[str(body["symbol"])] = str(body["reason"])

    def _resume(self, body: Mapping[str, Any]) -> None:
        symbol = str(body["symbol"])
        self.halted.pop(symbol, None)
        self.looked_at[symbol] = max(int(body.get("trade", -1)), self.looked_at.get(symbol, -1))

    def _protect(self, body: Mapping[str, Any]) -> None:
        self.protections[str(body["symbol"])] = protection_of(body)

    def _unprotect(self, body: Mapping[str, Any]) -> None:
        self.protections.pop(str(body["symbol"]), None)

    def _leave(self, body: Mapping[str, Any]) -> None:
        self.leaving[str(body["symbol"])] = order_of(body)

    def _stay(self, body: Mapping[str, Any]) -> None:
        self.leaving.pop(str(body["symbol"]), None)

    def _work(self, body: Mapping[str, Any]) -> None:
        work = work_of(body)
        self.works[work.id] = work

    def _worked(self, body: Mapping[str, Any]) -> None:
        self.works.pop(str(body["id"]), None)

    # What follows from them

    def _moved(self, entry: Entry) -> None:
        """After an order changed: whether it is over, and if so, what that means for its plan."""
        name, symbol = entry.order.client_order_id, entry.order.symbol
        if not entry.has_ended:
            # It may have been thought absent, and be there after all.
            self._open[symbol][name] = entry
            return
        if self._open[symbol].pop(name, None) is None:
            return
        work = self.works.get(entry.work)
        if work is not None and work.live == name:
            work.plan, work.live = next_action(work.plan, Ended())[0], ""
        ended = self._ended.setdefault(symbol, deque())
        ended.append(name)
        while len(ended) > KEPT:
            self._forget(ended.popleft())

    def _forget(self, name: str) -> None:
        entry = self.entries.get(name)
        if entry is None or not entry.has_ended:
            return
        del self.entries[name], self._of[entry.order.symbol][name]
        if entry.list_id in self.lists:
            self.lists[entry.list_id].remove(name)
            if not self.lists[entry.list_id]:
                del self.lists[entry.list_id]
        self._forgotten[name] = None
        if len(self._forgotten) > NAMES_KEPT:
            del self._forgotten[next(iter(self._forgotten))]


def books_of(records: Iterable[tuple[str, Mapping[str, Any]]]) -> Books:
    """The books that a journal tells; an intent that was never sent is abandoned by `desk.recover`."""
    books = Books()
    for kind, body in records:
        if kind in KINDS:
            books.add(kind, body)
    return books


def _signed(order: Order) -> int:
    return 1 if order.side == "BUY" else -1


def _in_base(fill: Fill, entry: Entry) -> bool:
    """Whether a fee was taken in the asset that is traded; its symbol says so if nothing else does."""
    if not fill.fee or not fill.fee_asset:
        return False
    return fill.fee_asset == entry.base if entry.base else entry.order.symbol.startswith(fill.fee_asset)
