"""What the order desk wants done, and what it is told of it: values between the pure part and the world.

Effects are carried out one after another in the order given; a `Write` is on disk before the next one begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.exchange.port import Request


@dataclass(frozen=True)
class Write:
    """Append a record to the journal."""

    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Send:
    """Send an order that cannot be accepted later than `window_ms` after; tell the desk with `replied` or `failed`."""

    request: Request
    window_ms: int


@dataclass(frozen=True)
class Cancel:
    """Cancel an order; tell the desk with `cancel_replied` or `cancel_failed`."""

    symbol: str
    client_order_id: str


@dataclass(frozen=True)
class Find:
    """Ask for one order, not before a time; tell the desk with `found`."""

    symbol: str
    client_order_id: str
    not_before_ms: int


@dataclass(frozen=True)
class AskFills:
    """Ask for our fills after a trade id; tell the desk with `fills`."""

    symbol: str
    after_trade_id: int


@dataclass(frozen=True)
class AskOpen:
    """Ask for the open orders of a symbol; tell the desk with `open_orders`."""

    symbol: str


@dataclass(frozen=True)
class Alert:
    """Tell the user."""

    code: str
    text: str


Effect = Write | Send | Cancel | Find | AskFills | AskOpen | Alert
