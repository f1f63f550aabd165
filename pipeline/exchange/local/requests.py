"""What a client sends, read and refused in the exchange's order and words, before it reaches the engine."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from pipeline.exchange.local.errors import (
    BAD_COMBINATION,
    CLIENT_ID,
    UNKNOWN_SYMBOL,
    ApiError,
    either,
    empty,
    illegal,
    invalid,
    missing,
    not_required,
    rejected,
    too_precise,
)
from pipeline.exchange.local.instruments import ORDER_TYPES, Instrument
from pipeline.exchange.local.numbers import ONE, ZERO
from pipeline.exchange.local.orders import STOPS
from pipeline.trading.filters import floor_to

_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_CLIENT_ID = re.compile(r"[a-zA-Z0-9\-_]{1,36}")
_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")
_TIF = ("GTC", "IOC", "FOK")
# What each type must have, and what it may have, beside symbol, side and type.
_MUST = {
    "LIMIT": ("timeInForce", "quantity", "price"),
    "LIMIT_MAKER": ("quantity", "price"),
    "MARKET": (),
    "STOP_LOSS": ("quantity",),
    "TAKE_PROFIT": ("quantity",),
    "STOP_LOSS_LIMIT": ("timeInForce", "quantity", "price"),
    "TAKE_PROFIT_LIMIT": ("timeInForce", "quantity", "price"),
}
_MAY = {
    "LIMIT": ("icebergQty",),
    "LIMIT_MAKER": ("icebergQty",),
    "MARKET": ("quantity", "quoteOrderQty"),
    "STOP_LOSS": ("stopPrice", "trailingDelta"),
    "TAKE_PROFIT": ("stopPrice", "trailingDelta"),
    "STOP_LOSS_LIMIT": ("stopPrice", "trailingDelta", "icebergQty"),
    "TAKE_PROFIT_LIMIT": ("stopPrice", "trailingDelta", "icebergQty"),
}
_TAKES = {kind: frozenset(_MUST[kind] + _MAY[kind]) for kind in _MUST}
_CHECKED = ("timeInForce", "quantity", "quoteOrderQty", "price", "stopPrice", "trailingDelta", "icebergQty")
_AMOUNTS = ("quantity", "quoteOrderQty", "price", "stopPrice", "icebergQty")
# All that an order may be given, of which the orders of a list have names of their own.
_PARAMETERS = ("side", "type", "timeInForce", *_AMOUNTS, "trailingDelta", "strategyId", "strategyType")


class Params:
    """Parameters of one request; each is read once, and what nobody read is refused at the end."""

    def __init__(self, raw: Mapping[str, str]) -> None:
        self.raw = raw
        self.seen: set[str] = set()

    def text(self, name: str) -> str | None:
        """A parameter as it was sent; None if it was not."""
        self.seen.add(name)
        return self.raw.get(name)

    def required(self, name: str) -> str:
        """A parameter that must be there. Raises ApiError -1102."""
        self.seen.add(name)
        value = self.raw.get(name)
        if not value:
            raise missing(name)
        return value

    def optional(self, name: str) -> str | None:
        """A parameter that may be left out. Raises ApiError -1105: it is there and empty."""
        self.seen.add(name)
        value = self.raw.get(name)
        if value == "":
            raise empty(name)
        return value

    def number(self, name: str) -> Decimal | None:
        """A decimal. Raises ApiError: -1105 if empty, -1100 for any other character, a sign or an exponent."""
        self.seen.add(name)
        value = self.raw.get(name)
        if value is None:
            return None
        if value == "":
            raise empty(name)
        if not _NUMBER.fullmatch(value):
            raise illegal(name)
        return Decimal(value)

    def integer(self, name: str, default: int | None = None, least: int = 0, most: int = (1 << 63) - 1) -> int | None:
        """A whole number. Raises ApiError: -1105 if empty, -1100 for what is none, -1130 outside [least, most]."""
        self.seen.add(name)
        value = self.raw.get(name)
        if value is None:
            return default
        if value == "":
            raise empty(name)
        if not _INTEGER.fullmatch(value):
            raise illegal(name, "^[0-9]{1,20}$")
        if not least <= int(value) <= most:
            raise invalid(name)
        return int(value)

    def choice(
        self, name: str, allowed: Iterable[str], default: str | None = None, refusal: tuple[int, str] | None = None
    ) -> str:
        """One of some words.

        refusal: code and words for another one, without them -1130. Raises ApiError; -1102 for an empty one without a
        default, -1105 with one.
        """
        value = self.optional(name) if default is not None else self.required(name)
        if value is None:
            return default or ""
        if value not in allowed:
            raise invalid(name) if refusal is None else ApiError(*refusal)
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """`true` or `false`."""
        value = self.optional(name)
        if value is None:
            return default
        if value.lower() not in ("true", "false"):
            raise illegal(name, "true|false")
        return value.lower() == "true"

    def client_id(self, name: str) -> str | None:
        """An order's id as the client gives it. Raises ApiError -1100: a character or length that is not allowed."""
        value = self.optional(name)
        if value is not None and not _CLIENT_ID.fullmatch(value):
            raise illegal(name, CLIENT_ID)
        return value

    def symbol(self, instruments: Mapping[str, Instrument]) -> Instrument:
        """The symbol. Raises ApiError -1102, -1100, -1121."""
        name = self.required("symbol")
        if not _SYMBOL.fullmatch(name):
            raise illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
        if name not in instruments:
            raise ApiError(*UNKNOWN_SYMBOL)
        return instruments[name]

    def done(self) -> None:
        """Refuse what was sent but not read. Raises ApiError -1104."""
        if not self.seen >= self.raw.keys():
            read = len(self.seen & self.raw.keys())
            raise ApiError(
                -1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(self.raw)}'."
            )


class Ticket(NamedTuple):
    """An order as it was asked for; amounts are 0 if not given."""

    symbol: str
    side: str
    kind: str
    tif: str
    qty: Decimal
    quote_qty: Decimal
    price: Decimal
    stop_price: Decimal
    trailing: int
    iceberg: Decimal
    client_id: str | None
    strategy_id: int | None = None
    strategy_type: int | None = None


def reply_kind(p: Params, default: str) -> str:
    """`newOrderRespType`. Raises ApiError."""
    return p.choice("newOrderRespType", ("ACK", "RESULT", "FULL"), default)


def ticket(
    p: Params,
    instrument: Instrument,
    prefix: str = "",
    fixed: Mapping[str, str] | None = None,
    kinds: tuple[str, ...] = ORDER_TYPES,
) -> Ticket:
    """Read one order of a request. Raises ApiError, in the exchange's order of checks.

    prefix: of the parameters of an order in a list, `above` or `pendingBelow`. fixed: names of parameters that the
    orders of the list share. kinds: the types that are allowed here.
    """
    names = {**_names(prefix), **fixed} if fixed else _names(prefix)
    rules = instrument.rules
    side = p.choice(names["side"], ("BUY", "SELL"), refusal=(-1117, "Invalid side."))
    kind = p.choice(names["type"], ORDER_TYPES, refusal=(-1116, "Invalid orderType."))
    for one in _MUST[kind]:
        p.required(names[one])
    amounts = {one: p.number(names[one]) for one in _AMOUNTS if one != "quoteOrderQty" or not prefix}
    for one, value in amounts.items():
        if value is not None:
            places = rules.base_precision if one in ("quantity", "icebergQty") else rules.quote_precision
            decimals = p.raw[names[one]].partition(".")[2]
            if len(decimals) > places and value != floor_to(value, _unit(places)):
                raise too_precise(names[one])
    trailing = p.integer(names["trailingDelta"], least=1)
    tif = p.optional(names["timeInForce"])
    if tif is not None and tif not in _TIF:
        raise ApiError(-1115, "Invalid timeInForce.")
    id_name = "newClientOrderId" if not prefix else f"{prefix}ClientOrderId"
    client_id = p.client_id(id_name)
    strategy_id = p.integer(names["strategyId"])
    strategy_type = p.integer(names["strategyType"])
    if strategy_type is not None and strategy_type < 1_000_000:
        raise ApiError(-1134, "strategyType was less than 1000000.")
    mode = p.optional("selfTradePreventionMode")
    if mode is not None and mode not in ("NONE", *instrument.entry["allowedSelfTradePreventionModes"]):
        raise ApiError(-1013, "This symbol does not allow the specified self-trade prevention mode.")
    if kind not in kinds or kind not in instrument.entry["orderTypes"]:
        raise ApiError(-1116, "Invalid orderType.")
    given: dict[str, object] = {**amounts, "trailingDelta": trailing, "timeInForce": tif}
    _shape(kind, given, names)
    return Ticket(
        instrument.symbol,
        side,
        kind,
        tif or "GTC",
        amounts["quantity"] or ZERO,
        amounts.get("quoteOrderQty") or ZERO,
        amounts["price"] or ZERO,
        amounts["stopPrice"] or ZERO,
        trailing or 0,
        amounts["icebergQty"] or ZERO,
        client_id,
        strategy_id,
        strategy_type,
    )


def _shape(kind: str, given: Mapping[str, object], names: Mapping[str, str]) -> None:
    """Whether a type has what it must have, and nothing that it does not take."""
    if kind in STOPS and given["stopPrice"] is None and given["trailingDelta"] is None:
        raise either(names["stopPrice"], names["trailingDelta"])
    if kind == "MARKET":
        qty, quote_qty = given["quantity"], given.get("quoteOrderQty")
        if qty is None and quote_qty is None:
            raise either(names["quantity"], "quoteOrderQty") if "quoteOrderQty" in given else missing(names["quantity"])
        if qty is not None and quote_qty is not None:
            raise ApiError(-1128, BAD_COMBINATION)
    takes = _TAKES[kind]
    for one in _CHECKED:
        if one not in takes and given.get(one) is not None:
            raise not_required(names[one])
    if given["icebergQty"] and kind != "LIMIT_MAKER" and given["timeInForce"] != "GTC":
        raise ApiError(-1013, "Iceberg orders must be GTC.")
    for one in ("quantity", "quoteOrderQty", "price", "stopPrice"):
        amount = given.get(one)
        if amount is not None and not amount:
            raise ApiError(-1013, f"Invalid {'price' if one in ('price', 'stopPrice') else 'quantity'}.")


@cache
def _unit(places: int) -> Decimal:
    """The smallest amount of so many decimals."""
    return ONE.scaleb(-places)


@cache
def _names(prefix: str) -> dict[str, str]:
    """Names of an order's parameters: `pendingPrice` is the price of a list's pending order."""
    return {one: f"{prefix}{one[0].upper()}{one[1:]}" if prefix else one for one in _PARAMETERS}


def check_prices(above: Ticket, below: Ticket, last: Decimal) -> None:
    """Whether the legs of an OCO lie on their sides of the market. Raises ApiError -2010, -1013.

    One leg is a limit or take-profit, the other a stop-loss; a trailing leg without a stop price has no level yet.
    """
    kinds = {above.kind, below.kind}
    losses = [one for one in (above, below) if one.kind.startswith("STOP_LOSS")]
    if len(losses) != 1 or not kinds <= {"LIMIT_MAKER", *STOPS}:
        raise rejected("Unsupported order combination")
    wrong = rejected("The relationship of the prices for the orders is not correct.")
    if (losses[0] is above) != (above.side == "BUY"):
        raise wrong
    for leg, is_above in ((above, True), (below, False)):
        level = leg.price if leg.kind == "LIMIT_MAKER" else leg.stop_price
        if level and (level <= last if is_above else level >= last):
            raise wrong
