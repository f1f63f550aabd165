"""The order's life: an explicit table of states, and orders as values that only fills and the table change."""

import hashlib
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
    """What happens to an order. `abandon`: an intent that was never sent; `prove_absent`: the exchange does not know
    it, and timestamp + recvWindow + margin have passed."""

    SEND = "send"
    ABANDON = "abandon"
    ACKNOWLEDGE = "acknowledge"
    REJECT = "reject"
    FILL = "fill"
    FILL_ALL = "fill all"
    CANCEL = "cancel"
    EXPIRE = "expire"
    LOSE_REPLY = "lose reply"
    PROVE_ABSENT = "prove absent"


_LIVE = (State.SENT, State.OPEN, State.PARTIALLY_FILLED, State.UNKNOWN)
TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.INTENT, Event.SEND): State.SENT,
    (State.INTENT, Event.ABANDON): State.CANCELED,
    (State.SENT, Event.ACKNOWLEDGE): State.OPEN,
    (State.SENT, Event.REJECT): State.REJECTED,
    (State.UNKNOWN, Event.ACKNOWLEDGE): State.OPEN,
    (State.UNKNOWN, Event.REJECT): State.REJECTED,
    (State.UNKNOWN, Event.PROVE_ABSENT): State.REJECTED,
    (State.OPEN, Event.ACKNOWLEDGE): State.OPEN,
    (State.PARTIALLY_FILLED, Event.ACKNOWLEDGE): State.PARTIALLY_FILLED,
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
}


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
class Order:
    """An order and its fills. side: BUY or SELL; price: None for a market order; leg: entry, exit, stop or target."""

    client_order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal | None = None
    leg: str = "entry"
    state: State = State.INTENT
    fills: tuple[Fill, ...] = ()

    @property
    def filled(self) -> Decimal:
        """Quantity filled: the sum of the fills, whatever the state says."""
        return sum((fill.qty for fill in self.fills), Decimal(0))

    @property
    def remaining(self) -> Decimal:
        """Quantity that may still be filled: 0 once the order has ended."""
        return self.qty - self.filled if is_live(self.state) or self.state == State.INTENT else Decimal(0)

    @property
    def average_price(self) -> Decimal | None:
        """Mean price of the fills, None without any."""
        if not self.filled:
            return None
        return sum((fill.qty * fill.price for fill in self.fills), Decimal(0)) / self.filled


def is_live(state: State) -> bool:
    """Whether an order in this state may still be filled, and so counts for the exposure."""
    return state in _LIVE


def apply(order: Order, event: Event) -> Order:
    """The order after an event other than a fill. Raises IllegalTransition."""
    if (order.state, event) not in TRANSITIONS:
        raise IllegalTransition(
            f"order {order.client_order_id}: '{event.value}' cannot happen to an order that is {order.state.value}",
            "reconcile the symbol before anything else is sent",
        )
    return replace(order, state=TRANSITIONS[order.state, event])


def book(order: Order, fill: Fill) -> Order:
    """The order with one more fill; a fill that is booked already changes nothing.

    Raises IllegalTransition: the state allows no fill, or the fills would exceed the quantity.
    """
    if any(known.trade_id == fill.trade_id for known in order.fills):
        return order
    total = order.filled + fill.qty
    if fill.qty <= 0 or total > order.qty:
        raise IllegalTransition(
            f"order {order.client_order_id}: fill {fill.trade_id} of {fill.qty} would make {total} of {order.qty}",
            "reconcile the symbol before anything else is sent",
        )
    after = apply(order, Event.FILL_ALL if total == order.qty else Event.FILL)
    return replace(after, fills=(*order.fills, fill))


def client_order_id(bundle: str, symbol: str, open_time_ms: int, leg: str, attempt: int) -> str:
    """The id of an intent: the same intent has the same id for ever, and no other has it.

    leg: entry, exit, stop …. 36 characters at most of `[A-Za-z0-9_-]`: symbol, bar and leg in clear as far as
    they fit, then a hash of everything (64 bits).
    """
    whole = "\x1f".join([bundle, symbol, str(open_time_ms), leg, str(attempt)])
    digest = hashlib.sha256(whole.encode()).hexdigest()[:16]
    clear = re.sub(r"[^A-Za-z0-9]", "", f"{symbol[:8]}{_base36(open_time_ms // 1000)}")[:14]
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
