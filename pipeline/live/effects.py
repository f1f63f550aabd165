"""What the order desk wants done, and what it is told of it: values between the pure part and the world.

All `Write`s of a turn are on disk before its other effects begin, which they do in the order given. Requests may be
under way at the same time. Where an answer does not come (`Unclear`), or nothing was executed (`Unavailable`,
`Barred`), each effect says below what the desk is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.exchange.port import ListRequest, Request


@dataclass(frozen=True)
class Write:
    """Append a record to the journal. Nothing is told."""

    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class TestOrder:
    """Let the exchange check an order (`Exchange.test`).

    Tell the desk with `tested`; `refused` after Refused; `untested` if there was no answer.
    """

    request: Request


@dataclass(frozen=True)
class Send:
    """Send an order that cannot be accepted later than `window_ms` after `sent_ms` (`Exchange.place`): from then on its
    absence is proof, however long the disk took to write down that it is sent.

    Tell the desk with `replied`; `refused` after Refused; `lost` after Unclear; `unsent` after Unavailable, and if
    nothing is left of the window.
    """

    request: Request
    window_ms: int
    sent_ms: int


@dataclass(frozen=True)
class SendList:
    """Send orders as one (`Exchange.place_list`).

    Tell the desk with `replied_list`; else as after `Send`, with the id of the list: `refused`, `lost`, `unsent`.
    """

    request: ListRequest
    window_ms: int
    sent_ms: int


@dataclass(frozen=True)
class Cancel:
    """Cancel an order (`Exchange.cancel`).

    Tell the desk with `replied`; `cancel_refused` after Refused or Unavailable; `lost` after Unclear.
    """

    symbol: str
    client_order_id: str


@dataclass(frozen=True)
class CancelList:
    """Cancel what is live of a list (`Exchange.cancel_list`).

    Tell the desk with `replied_list`; `cancel_refused` with the id of the list after Refused or Unavailable; `lost`
    with the id of the list after Unclear.
    """

    symbol: str
    list_client_order_id: str


@dataclass(frozen=True)
class Find:
    """Ask for one order, not before a time (`Exchange.find`). Tell the desk with `found`; ask again if it fails."""

    symbol: str
    client_order_id: str
    not_before_ms: int


@dataclass(frozen=True)
class FindList:
    """Ask for a list, not before a time (`Exchange.find_list`). Tell the desk with `found_list`; again if it fails."""

    symbol: str
    list_client_order_id: str
    not_before_ms: int


@dataclass(frozen=True)
class AskFills:
    """Ask for our fills after a trade id (`Exchange.fills`). Tell the desk with `fills`; ask again if it fails."""

    symbol: str
    after_trade_id: int


@dataclass(frozen=True)
class AskOpen:
    """Ask for a symbol's open orders (`Exchange.open_orders`). Tell the desk with `open_orders`; again if it fails."""

    symbol: str


@dataclass(frozen=True)
class Alert:
    """Tell the user. Nothing is told back.

    code: not_clear, refused, halted, unprotected (a position has no stop on the exchange, and what is done about it),
    or nothing_to_sell.
    """

    code: str
    text: str


Effect = Write | TestOrder | Send | SendList | Cancel | CancelList | Find | FindList | AskFills | AskOpen | Alert
