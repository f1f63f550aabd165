"""Orders, fills and balances in the exchange's words: replies of REST and events of the user data stream.

Each function raises KeyError, TypeError, ValueError or ArithmeticError if a field is missing or makes no sense.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pipeline.exchange.port import (
    AccountChange,
    AccountLimits,
    ListRequest,
    Permissions,
    Quote,
    Report,
    Request,
    Traded,
)
from pipeline.trading.orders import Fill

# What a malformed message leads to.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, ArithmeticError, AttributeError)
_PRICED = ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")


def order_params(request: Request) -> dict[str, str]:
    """Parameters of `POST order`; amounts written out, since the exchange takes no exponents."""
    params = {
        "symbol": request.symbol,
        "side": request.side,
        "type": request.kind,
        "quantity": plain(request.qty),
        "newClientOrderId": request.client_order_id,
        "newOrderRespType": "FULL",
    }
    if request.price is not None:
        params["price"] = plain(request.price)
    if request.stop_price is not None:
        params["stopPrice"] = plain(request.stop_price)
    tif = request.tif or ("GTC" if request.kind in _PRICED else None)
    return params | ({"timeInForce": tif} if tif else {})


def list_params(request: ListRequest) -> dict[str, str]:
    """Parameters of `POST orderList/oco`, `oto` or `otoco`; each order has its own name, and the list has one.

    Of a pair, the limit of a sell is above the market and its stop below; those of a buy are the other way round.
    """
    params = {
        "symbol": request.symbol,
        "listClientOrderId": request.list_client_order_id,
        "newOrderRespType": "FULL",
    }
    first = request.legs[0]
    if request.working is None:
        shared = {"side": first.side, "quantity": plain(first.qty)}
    else:
        shared = {"pendingSide": first.side, "pendingQuantity": plain(first.qty)}
        params |= _leg_params(request.working, "working")
        params |= {"workingSide": request.working.side, "workingQuantity": plain(request.working.qty)}
    for leg in request.legs:
        params |= _leg_params(leg, _place(leg, request))
    return params | shared


def list_path(request: ListRequest) -> str:
    """Where such a list is sent."""
    if request.working is None:
        return "orderList/oco"
    return "orderList/oto" if len(request.legs) == 1 else "orderList/otoco"


def _place(leg: Request, request: ListRequest) -> str:
    """What the parameters of a leg begin with."""
    if len(request.legs) == 1:
        return "pending"
    is_stop = leg.kind in ("STOP_LOSS", "STOP_LOSS_LIMIT")
    where = "above" if is_stop == (leg.side == "BUY") else "below"
    return where if request.working is None else f"pending{where.capitalize()}"


def _leg_params(leg: Request, place: str) -> dict[str, str]:
    """Parameters of one order of a list, without its side and quantity."""
    own = order_params(leg)
    names = {"type": "Type", "newClientOrderId": "ClientOrderId", "price": "Price", "stopPrice": "StopPrice",
             "timeInForce": "TimeInForce"}  # fmt: skip
    return {f"{place}{name}": own[key] for key, name in names.items() if key in own}


def plain(value: Decimal) -> str:
    """A decimal without exponent and without zeros at the end: `0.00001`."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def placed(reply: Mapping[str, Any]) -> Report:
    """The reply to an order, with the fills of that moment."""
    fills = tuple(
        Fill(
            int(fill["tradeId"]),
            Decimal(fill["qty"]),
            Decimal(fill["price"]),
            Decimal(fill["commission"]),
            str(fill["commissionAsset"]),
        )
        for fill in reply.get("fills", ())
    )
    return _report(reply, str(reply["clientOrderId"]), fills, int(reply["transactTime"]))


def cancelled(reply: Mapping[str, Any]) -> Report:
    """The reply to a cancel, which has an id of its own."""
    return _report(reply, str(reply["origClientOrderId"]), (), int(reply.get("transactTime", 0)))


def placed_list(reply: Mapping[str, Any]) -> list[Report]:
    """The orders of the reply to a list."""
    return [placed(one) for one in reply["orderReports"]]


def cancelled_list(reply: Mapping[str, Any]) -> list[Report]:
    """The orders of the reply to the cancel of a list: those that were live."""
    return [cancelled(one) for one in reply["orderReports"]]


def listed(reply: Mapping[str, Any]) -> list[str]:
    """Names of the orders of a list that was asked for."""
    return [str(one["clientOrderId"]) for one in reply["orders"]]


def found(reply: Mapping[str, Any]) -> Report:
    """An order that was asked for."""
    return _report(reply, str(reply["clientOrderId"]), (), int(reply.get("updateTime", 0)))


def _report(reply: Mapping[str, Any], name: str, fills: tuple[Fill, ...], time_ms: int) -> Report:
    executed = Decimal(reply["executedQty"])
    return Report(str(reply["symbol"]), name, str(reply["status"]), executed, int(reply["orderId"]), fills, time_ms)


def traded(row: Mapping[str, Any]) -> tuple[int, Fill]:
    """A row of `myTrades`: the exchange's number of the order, and the fill."""
    fill = Fill(
        int(row["id"]),
        Decimal(row["qty"]),
        Decimal(row["price"]),
        Decimal(row["commission"]),
        str(row["commissionAsset"]),
    )
    return int(row["orderId"]), fill


def price(reply: Mapping[str, Any]) -> Decimal:
    """The last price, of `ticker/price`."""
    found = Decimal(reply["price"])
    if not (found.is_finite() and found > 0):
        raise ValueError("a price that is none")
    return found


def held(account: Mapping[str, Any]) -> dict[str, tuple[Decimal, Decimal]]:
    """Free and locked by asset, of `account`."""
    return {str(row["asset"]): (Decimal(row["free"]), Decimal(row["locked"])) for row in account["balances"]}


def event(message: Mapping[str, Any]) -> Report | AccountChange | None:
    """An event of the user data stream; None for those that tell nothing that another does not."""
    if message["e"] == "executionReport":
        return _executed(message)
    if message["e"] == "outboundAccountPosition":
        rows = message["B"]
        return AccountChange({str(r["a"]): (Decimal(r["f"]), Decimal(r["l"])) for r in rows}, int(message["E"]))
    return None


def event_key(message: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What an execution report is known by when it is told twice; None for other events."""
    if message.get("e") != "executionReport":
        return None
    return tuple(message.get(key) for key in ("s", "i", "I", "x", "X", "t", "z"))


def _executed(message: Mapping[str, Any]) -> Report:
    fills: tuple[Fill, ...] = ()
    if message["x"] == "TRADE":
        fills = (
            Fill(
                int(message["t"]),
                Decimal(message["l"]),
                Decimal(message["L"]),
                Decimal(message["n"]),
                str(message["N"] or ""),
            ),
        )
    # After a cancel, `c` is the cancel's own id and `C` the order's.
    name = str(message["C"] or message["c"])
    return Report(
        str(message["s"]), name, str(message["X"]), Decimal(message["z"]), int(message["i"]), fills, int(message["T"])
    )


def permitted(reply: Any) -> Permissions:
    """What `account/apiRestrictions` says of a key."""
    return Permissions(
        reply["enableSpotAndMarginTrading"] is True,
        reply["enableWithdrawals"] is not False,
        reply["ipRestrict"] is True,
    )


def commission(reply: Any) -> tuple[Decimal, Decimal]:
    """Fees as maker and taker, fractions: all that `account/commission` adds up, without discounts."""
    parts = [reply[kind] for kind in ("standardCommission", "specialCommission", "taxCommission") if kind in reply]
    maker, taker = (sum((Decimal(part[side]) for part in parts), Decimal(0)) for side in ("maker", "taker"))
    return maker, taker


def limits(reply: Any) -> AccountLimits:
    """What `myFilters` says of an account."""
    counts = {row["filterType"]: row for row in reply["exchangeFilters"]}

    def count(kind: str, key: str) -> int:
        return int(counts[kind][key]) if kind in counts else 0

    return AccountLimits(
        count("EXCHANGE_MAX_NUM_ORDERS", "maxNumOrders"),
        count("EXCHANGE_MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders"),
        count("EXCHANGE_MAX_NUM_ORDER_LISTS", "maxNumOrderLists"),
        {str(row["asset"]): Decimal(row["limit"]) for row in reply["assetFilters"] if row["filterType"] == "MAX_ASSET"},
    )


def quoted(event: Any) -> Quote | Traded | None:
    """A best price, or a trade, None if it is neither."""
    if event.get("e") == "aggTrade":
        return Traded(event["s"], Decimal(event["q"]))
    if "b" in event and "a" in event and "s" in event:
        return Quote(event["s"], Decimal(event["b"]), Decimal(event["a"]))
    return None


def weight_limit(reply: Any) -> int:
    """Request weight that is allowed in a minute; 0 if the exchange does not say."""
    rules = [rule for rule in reply["rateLimits"] if rule["rateLimitType"] == "REQUEST_WEIGHT"]
    return next((int(rule["limit"]) for rule in rules if rule["interval"] == "MINUTE"), 0)
