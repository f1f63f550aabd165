"""The order's life: an explicit table of states, and orders as values that only fills and the table change."""

import functools
import hashlib
import json
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from pipeline.errors import PipelineError


class State(StrEnum):
    """Where an order stands. UNKNOWN: a reply was lost; it counts as live until it is resolved."""

    INTENT = "INTENT"
    SENT = "SENT"
    OPEN = "OPEN"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"


class Event(StrEnum):
    """What happens to an order.

    `abandon`: an intent that was never sent. `acknowledge`: it is live, says a reply, the user stream or a query;
    `acknowledge part`: the same of an order with fills. `prove absent`: the exchange does not know it, and
    timestamp + recvWindow + margin have passed.
    """

    SEND = "send"
    ABANDON = "abandon"
    ACKNOWLEDGE = "acknowledge"
    ACKNOWLEDGE_PART = "acknowledge part"
    REJECT = "reject"
    FILL = "fill"
    FILL_ALL = "fill all"
    CANCEL = "cancel"
    EXPIRE = "expire"
    LOSE_REPLY = "lose reply"
    PROVE_ABSENT = "prove absent"


_LIVE = (State.SENT, State.OPEN, State.PARTIALLY_FILLED, State.UNKNOWN)
_ENDED = (State.FILLED, State.CANCELED, State.EXPIRED)
TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.INTENT, Event.SEND): State.SENT,
    (State.INTENT, Event.ABANDON): State.CANCELED,
    (State.SENT, Event.ACKNOWLEDGE): State.OPEN,
    (State.SENT, Event.REJECT): State.REJECTED,
    (State.UNKNOWN, Event.ACKNOWLEDGE): State.OPEN,
    (State.UNKNOWN, Event.ACKNOWLEDGE_PART): State.PARTIALLY_FILLED,
    (State.UNKNOWN, Event.REJECT): State.REJECTED,
    (State.UNKNOWN, Event.PROVE_ABSENT): State.REJECTED,
    (State.OPEN, Event.ACKNOWLEDGE): State.OPEN,
    (State.PARTIALLY_FILLED, Event.ACKNOWLEDGE_PART): State.PARTIALLY_FILLED,
    **{(state, Event.FILL): State.PARTIALLY_FILLED for state in _LIVE},
    **{(state, Event.FILL_ALL): State.FILLED for state in _LIVE},
    **{(state, Event.CANCEL): State.CANCELED for state in _LIVE},
    **{(state, Event.EXPIRE): State.EXPIRED for state in _LIVE},
    **{(state, Event.LOSE_REPLY): State.UNKNOWN for state in _LIVE},
    # A fill that overtakes the word about the end of an order is booked all the same: position truth is fills.
    (State.CANCELED, Event.FILL): State.CANCELED,
    (State.CANCELED, Event.FILL_ALL): State.FILLED,
    (State.EXPIRED, Event.FILL): State.EXPIRED,
    (State.EXPIRED, Event.FILL_ALL): State.FILLED,
    # So is the fill of an order that was thought absent: it was placed after all, and may be live.
    (State.REJECTED, Event.FILL): State.UNKNOWN,
    (State.REJECTED, Event.FILL_ALL): State.FILLED,
    # The user stream may tell the end before the reply comes, or is lost; and both tell it.
    **{(state, Event.ACKNOWLEDGE): state for state in _ENDED},
    **{(state, Event.ACKNOWLEDGE_PART): state for state in _ENDED},
    **{(state, Event.LOSE_REPLY): state for state in (*_ENDED, State.REJECTED)},
    (State.CANCELED, Event.CANCEL): State.CANCELED,
    (State.EXPIRED, Event.EXPIRE): State.EXPIRED,
    (State.REJECTED, Event.REJECT): State.REJECTED,
}


_RECONCILE = "reconcile the symbol before anything else is sent"


class IllegalTransition(PipelineError):
    """An event that cannot happen to an order in its state: our books are wrong, and the symbol is halted."""


@dataclass(frozen=True)
class Fill:
    """One execution. trade_id: unique within the symbol; fee in fee_asset."""

    trade_id: int
    qty: Decimal
    price: Decimal
    fee: Decimal = Decimal(0)
    fee_asset: str = ""


@dataclass(frozen=True)
class Intent:
    """Why an order exists: the bundle and bar that decided, the leg (entry, exit, stop …), and the attempt at it."""

    bundle: str
    symbol: str
    open_time_ms: int
    leg: str = "entry"
    attempt: int = 0

    @property
    def client_order_id(self) -> str:
        """The id of the order that this intent leads to."""
        return client_order_id(self.bundle, self.symbol, self.open_time_ms, self.leg, self.attempt)

    @property
    def bar(self) -> tuple[str, int]:
        """The bundle and the bar that decided."""
        return self.bundle, self.open_time_ms


@dataclass(frozen=True)
class Order:
    """An order and its fills.

    side: BUY or SELL; kind: the exchange's type; price: None for a market order; seen: the exchange has told of it, so
    that it cannot be absent.
    """

    intent: Intent
    side: str
    qty: Decimal
    kind: str = "MARKET"
    price: Decimal | None = None
    reduce_only: bool = False
    state: State = State.INTENT
    fills: tuple[Fill, ...] = ()
    seen: bool = False

    @property
    def client_order_id(self) -> str:
        """Its name at the exchange."""
        return self.intent.client_order_id

    @property
    def symbol(self) -> str:
        """What is traded."""
        return self.intent.symbol

    @property
    def leg(self) -> str:
        """Its part in a position: entry, exit, stop or target."""
        return self.intent.leg

    @property
    def filled(self) -> Decimal:
        """Quantity filled: the sum of the fills, whatever the state says."""
        return sum((fill.qty for fill in self.fills), Decimal(0))

    @property
    def remaining(self) -> Decimal:
        """Quantity that may still be filled: 0 once the order has ended."""
        return self.qty - self.filled if is_live(self.state) or self.state == State.INTENT else Decimal(0)

    @property
    def quote_filled(self) -> Decimal:
        """Quote asset that the fills exchanged, before fees."""
        return sum((fill.qty * fill.price for fill in self.fills), Decimal(0))

    @property
    def average_price(self) -> Decimal | None:
        """Mean price of the fills, None without any."""
        if not self.filled:
            return None
        return self.quote_filled / self.filled


def is_live(state: State) -> bool:
    """Whether an order in this state may still be filled, and so counts for the exposure."""
    return state in _LIVE


def apply(order: Order, event: Event) -> Order:
    """The order after an event other than a fill; fills are booked with `book`. Raises IllegalTransition."""
    name = f"order {order.client_order_id}"
    if event in (Event.FILL, Event.FILL_ALL):
        raise IllegalTransition(
            f"{name}: the word '{event.value}' fills nothing", "book the fills with their trade ids"
        )
    if order.seen and order.state == State.UNKNOWN and event in (Event.REJECT, Event.PROVE_ABSENT):
        raise IllegalTransition(f"{name}: '{event.value}' cannot happen to an order that was live", _RECONCILE)
    if event in (Event.ACKNOWLEDGE, Event.ACKNOWLEDGE_PART):
        return _moved(replace(order, seen=True), Event.ACKNOWLEDGE_PART if order.fills else Event.ACKNOWLEDGE)
    return _moved(order, event)


def book(order: Order, fill: Fill) -> Order:
    """The order with one more fill; a fill that is booked already changes nothing.

    Raises IllegalTransition: the state allows no fill, the fills would exceed the quantity, or a trade id is told again
    with another quantity or price.
    """
    known = next((one for one in order.fills if one.trade_id == fill.trade_id), None)
    if known is not None:
        if (known.qty, known.price) != (fill.qty, fill.price):
            raise IllegalTransition(
                f"order {order.client_order_id}: fill {fill.trade_id} of {known.qty} at {known.price} is told again as "
                f"{fill.qty} at {fill.price}",
                _RECONCILE,
            )
        return order
    total = order.filled + fill.qty
    if not 0 < fill.qty <= order.qty - order.filled:
        raise IllegalTransition(
            f"order {order.client_order_id}: fill {fill.trade_id} of {fill.qty} would make {total} of {order.qty}",
            _RECONCILE,
        )
    after = _moved(order, Event.FILL_ALL if total == order.qty else Event.FILL)
    return replace(after, fills=(*order.fills, fill), seen=True)


def _moved(order: Order, event: Event) -> Order:
    if (order.state, event) not in TRANSITIONS:
        raise IllegalTransition(
            f"order {order.client_order_id}: '{event.value}' cannot happen to an order that is {order.state.value}",
            _RECONCILE,
        )
    return replace(order, state=TRANSITIONS[order.state, event])


@functools.lru_cache(maxsize=4096)
def client_order_id(bundle: str, symbol: str, open_time_ms: int, leg: str, attempt: int) -> str:
    """The id of an intent: the same intent has the same id for ever, and no other has it.

    leg: entry, exit, stop …. 36 characters at most of `[A-Za-z0-9_-]`: symbol, bar and leg in clear as far as
    they fit, then a hash of everything (64 bits). The exchange keeps ids apart only among live orders.
    """
    # As JSON, no two intents are written alike, whatever their texts contain.
    whole = json.dumps([bundle, symbol, open_time_ms, leg, attempt])
    digest = hashlib.sha256(whole.encode()).hexdigest()[:16]
    clear = re.sub(r"[^A-Za-z0-9]", "", f"{symbol[:8]}{_base36(max(open_time_ms, 0) // 1000)}")[:14]
    return f"{clear}-{re.sub(r'[^A-Za-z0-9]', '', leg)[:2]}{attempt % 100}-{digest}"[:36]


def _base36(value: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while True:
        value, digit = divmod(value, 36)
        text = digits[digit] + text
        if not value:
            return text


def position_status(qty: Decimal, orders: tuple[Order, ...]) -> str:
    """The position in words: SOLD, BUYING, BOUGHT or SELLING. qty: what is held; orders: of the symbol."""
    legs = {order.leg for order in orders if is_live(order.state)}
    if "exit" in legs and qty != 0:
        return "SELLING"
    if "entry" in legs:
        return "BUYING"
    return "BOUGHT" if qty != 0 else "SOLD"


def diagram() -> str:
    """The table as a mermaid state diagram, for the documentation."""
    merged: dict[tuple[State, State], list[str]] = {}
    for (state, event), after in TRANSITIONS.items():
        merged.setdefault((state, after), []).append(event.value)
    lines = ["stateDiagram-v2", f"    [*] --> {State.INTENT.value}"]
    lines += [f"    {a.value} --> {b.value}: {', '.join(events)}" for (a, b), events in merged.items()]
    ended = [state for state in State if state not in _LIVE and state is not State.INTENT]
    return "\n".join([*lines, *(f"    {state.value} --> [*]" for state in ended)])
