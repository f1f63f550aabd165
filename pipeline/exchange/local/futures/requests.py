"""What a client sends to the futures API, read and refused in its order and words, before it reaches the engine."""

import re
from dataclasses import dataclass
from decimal import Decimal

from pipeline.exchange.local.errors import ApiError, missing, not_required
from pipeline.exchange.local.futures.orders import CONDITIONAL
from pipeline.exchange.local.futures.rules import KINDS, TIMES_IN_FORCE
from pipeline.exchange.local.instruments import Instrument
from pipeline.exchange.local.numbers import ZERO
from pipeline.exchange.local.requests import Params

_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
WRONG_ENDPOINT = (
    -4120,
    "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
)
POSITION_SIDE = (-4061, "Order's position side does not match user's setting.")


@dataclass(frozen=True, slots=True)
class Request:
    """An order as it was asked for; amounts are 0 if not given. trigger: price that a conditional one waits for, or
    that activates a trailing one; callback: percent that a trailing one allows."""

    symbol: str
    side: str
    kind: str
    tif: str
    qty: Decimal
    price: Decimal
    trigger: Decimal
    callback: Decimal
    reduce_only: bool
    close_position: bool
    client_id: str | None
    working_type: str


def client_id(p: Params, name: str) -> str | None:
    """An order's id as the client gives it. Raises ApiError -4015."""
    value = p.text(name)
    if value is not None and not _CLIENT_ID.fullmatch(value):
        raise ApiError(-4015, "Client order id is not valid.")
    return value


def order(p: Params, instrument: Instrument) -> Request:
    """An order for the book. Raises ApiError; -4120 for conditional ones."""
    side, kind = _side_and_kind(p)
    if kind in CONDITIONAL:
        raise ApiError(*WRONG_ENDPOINT)
    qty, price = p.number("quantity"), p.number("price")
    tif = _tif(p)
    reduce_only = p.flag("reduceOnly")
    identity = client_id(p, "newClientOrderId")
    for name in ("stopPrice", "activationPrice", "callbackRate"):
        if p.text(name) is not None:
            raise not_required(name)
    close = p.flag("closePosition")
    working = _rest(p)
    if close:
        raise ApiError(-4136, f"Target strategy invalid for orderType '{kind}',closePosition 'true'.")
    if qty is None:
        raise missing("quantity")
    if kind == "LIMIT":
        if price is None:
            raise missing("price")
        if tif is None:
            raise missing("timeInForce")
    elif price is not None:
        raise not_required("price")
    elif tif is not None:
        raise not_required("timeinforce")
    return Request(
        instrument.symbol, side, kind, tif or "GTC", qty, price or ZERO, ZERO, ZERO, reduce_only, False, identity,
        working,
    )  # fmt: skip


def conditional(p: Params, instrument: Instrument) -> Request:
    """A conditional order. Raises ApiError: -4120 for others."""
    p.choice("algoType", ("CONDITIONAL",))
    side, kind = _side_and_kind(p)
    if kind not in CONDITIONAL:
        raise ApiError(-1116, "Invalid orderType.")
    qty, price, trigger = p.number("quantity"), p.number("price"), p.number("triggerPrice")
    activation, callback = p.number("activatePrice"), p.number("callbackRate")
    if activation is None:
        # The name that the old endpoint had; clients still send it.
        activation = p.number("activationPrice")
    tif = _tif(p)
    reduce_only, close = p.flag("reduceOnly"), p.flag("closePosition")
    identity = client_id(p, "clientAlgoId")
    working = _rest(p)
    _check_levels(kind, price, trigger, callback)
    _check_quantity(kind, qty, reduce_only, close)
    return Request(
        instrument.symbol, side, kind, tif or "GTC", qty or ZERO, price or ZERO, trigger or activation or ZERO,
        callback or ZERO, reduce_only or close, close, identity, working,
    )  # fmt: skip


def _check_levels(kind: str, price: Decimal | None, trigger: Decimal | None, callback: Decimal | None) -> None:
    """Whether a conditional order has the prices of its kind, and no others."""
    if kind == "TRAILING_STOP_MARKET":
        if callback is None:
            raise missing("callbackrate")
        if not Decimal("0.1") <= callback <= 10 or callback * 100 % 1:
            raise ApiError(-2007, "Invalid callBack rate.")
        if trigger is not None:
            raise not_required("triggerprice")
    elif trigger is None or trigger <= 0:
        raise missing("triggerprice")
    if (kind in ("STOP", "TAKE_PROFIT")) != (price is not None):
        raise missing("price") if price is None else not_required("price")


def _check_quantity(kind: str, qty: Decimal | None, reduce_only: bool, close: bool) -> None:
    """Whether it has a quantity, or closes the position, whatever its size."""
    if close:
        if kind not in ("STOP_MARKET", "TAKE_PROFIT_MARKET"):
            raise ApiError(-4136, f"Target strategy invalid for orderType '{kind}',closePosition 'true'.")
        if qty is not None:
            raise ApiError(-4137, "Quantity must be zero with closePosition equals true.")
        if reduce_only:
            raise not_required("reduceonly")
    elif qty is None:
        raise missing("quantity")


def _side_and_kind(p: Params) -> tuple[str, str]:
    side = p.choice("side", ("BUY", "SELL"), refusal=(-1117, "Invalid side."))
    if p.choice("positionSide", ("BOTH", "LONG", "SHORT"), "BOTH", (-1116, "Invalid positionSide.")) != "BOTH":
        raise ApiError(*POSITION_SIDE)
    return side, p.choice("type", KINDS, refusal=(-1116, "Invalid orderType."))


def _tif(p: Params) -> str | None:
    tif = p.text("timeInForce")
    if tif is not None and tif not in TIMES_IN_FORCE:
        raise ApiError(-1115, "Invalid timeInForce.")
    return tif


def _rest(p: Params) -> str:
    """What no order here makes use of, and the working type."""
    if p.flag("priceProtect"):
        raise ApiError(-1130, "priceProtect is not supported by the local exchange.")
    for name in ("priceMatch", "selfTradePreventionMode"):
        if p.text(name) not in (None, "NONE", "EXPIRE_MAKER"):
            raise ApiError(-1130, f"{name} is not supported by the local exchange.")
    if p.text("goodTillDate") not in (None, "0"):
        raise ApiError(-1130, "goodTillDate is not supported by the local exchange.")
    return p.choice("workingType", ("MARK_PRICE", "CONTRACT_PRICE"), "CONTRACT_PRICE")
