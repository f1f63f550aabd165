"""Records of the order desk: what the journal keeps of orders, lists, fills, protection and plans, and how it is read.

Decimals are text, so that none is rounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline.exchange.port import Request
from pipeline.trading.execution import Plan, from_record, to_record
from pipeline.trading.orders import Fill, Intent, Order

# Records of the desk; a journal holds others as well.
KINDS = (
    "INTENT", "SENT", "OUTCOME", "FILL", "CANCEL", "HALT", "RESUME",
    "PROTECT", "UNPROTECT", "LEAVE", "STAY", "WORK", "WORKED",
)  # fmt: skip


@dataclass(frozen=True)
class Protection:
    """What is to rest on the exchange for as long as a position is held.

    bundle, open_time_ms: of the entry, for the names of the orders. stop: price at which it is left; stop_limit: limit
    of the stop, None for a stop that is a market order; target: price at which it is left with a gain, None for none.
    side: of the orders that protect, SELL for a long position.
    """

    bundle: str
    open_time_ms: int
    stop: Decimal
    target: Decimal | None = None
    stop_limit: Decimal | None = None
    side: str = "SELL"


@dataclass
class Work:
    """A plan that is being worked, by the id of its intent, of which the children are attempts.

    expires_ms: after this an entry is given up, 0 for never. live: client id of the child that may be filled or whose
    outcome is not settled; empty for none.
    """

    intent: Intent
    plan: Plan
    reduce_only: bool
    expires_ms: int = 0
    children: int = 0
    live: str = ""

    @property
    def id(self) -> str:
        """Name of the work: the client id of its intent, which its first child has as well."""
        return self.intent.client_order_id


def intent_record(order: Order, request: Request, base: str = "", list_id: str = "", work: str = "") -> dict[str, Any]:
    """An order as the record INTENT keeps it.

    base: asset that is bought or sold; list_id: of the list that it is sent with; work: id of the plan it is part of.
    """
    return {
        "id": order.client_order_id,
        **_intent(order.intent),
        "side": order.side,
        "qty": str(order.qty),
        "kind": order.kind,
        "price": _text(order.price),
        "stop_price": _text(request.stop_price),
        "tif": request.tif,
        "reduce_only": order.reduce_only,
        "base": base,
        "list": list_id,
        "work": work,
    }


def order_of(body: Mapping[str, Any]) -> tuple[Order, Request]:
    """The order of a record INTENT or LEAVE, and the request that it leads to."""
    price = _decimal(body["price"])
    order = Order(
        intent_of(body), body["side"], Decimal(body["qty"]), body["kind"], price, bool(body["reduce_only"])
    )  # fmt: skip
    request = Request(
        order.symbol, order.side, order.kind, order.qty, order.client_order_id, price, _decimal(body["stop_price"]),
        body["tif"],
    )  # fmt: skip
    return order, request


def fill_record(client_order_id: str, fill: Fill, fee_price: Decimal | None = None) -> dict[str, Any]:
    """A fill as the record FILL keeps it. fee_price: what the fee's asset costs in the quote asset, if it is a third
    one whose price is known."""
    body = {
        "id": client_order_id,
        "trade_id": fill.trade_id,
        "qty": str(fill.qty),
        "price": str(fill.price),
        "fee": str(fill.fee),
        "fee_asset": fill.fee_asset,
    }
    return body if fee_price is None else body | {"fee_price": str(fee_price)}


def fill_of(body: Mapping[str, Any]) -> Fill:
    """The fill of a record FILL."""
    return Fill(
        int(body["trade_id"]), Decimal(body["qty"]), Decimal(body["price"]), Decimal(body["fee"]), body["fee_asset"]
    )


def protect_record(symbol: str, wanted: Protection) -> dict[str, Any]:
    """A protection as the record PROTECT keeps it."""
    return {
        "symbol": symbol,
        "bundle": wanted.bundle,
        "bar": wanted.open_time_ms,
        "side": wanted.side,
        "stop": str(wanted.stop),
        "stop_limit": _text(wanted.stop_limit),
        "target": _text(wanted.target),
    }


def protection_of(body: Mapping[str, Any]) -> Protection:
    """The protection of a record PROTECT."""
    return Protection(
        body["bundle"], int(body["bar"]), Decimal(body["stop"]), _decimal(body["target"]),
        _decimal(body["stop_limit"]), body["side"],
    )  # fmt: skip


def work_record(work: Work) -> dict[str, Any]:
    """A plan that begins, as the record WORK keeps it."""
    return {
        "id": work.id,
        **_intent(work.intent),
        "reduce_only": work.reduce_only,
        "expires": work.expires_ms,
        "plan": to_record(work.plan),
    }


def work_of(body: Mapping[str, Any]) -> Work:
    """The plan of a record WORK. Raises BadInput: it is damaged."""
    return Work(intent_of(body), from_record(body["plan"]), bool(body["reduce_only"]), int(body["expires"]))


def intent_of(body: Mapping[str, Any]) -> Intent:
    """The intent in a record."""
    return Intent(body["bundle"], body["symbol"], int(body["bar"]), body["leg"], int(body["attempt"]))


def _intent(intent: Intent) -> dict[str, Any]:
    return {
        "bundle": intent.bundle,
        "symbol": intent.symbol,
        "bar": intent.open_time_ms,
        "leg": intent.leg,
        "attempt": intent.attempt,
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
