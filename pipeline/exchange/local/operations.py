"""What an account can do and ask, by the names of the WebSocket API; REST calls the same functions.

Each takes the engine, the account and the parameters less the signature's, and returns what the exchange answers.
Source: https://developers.binance.com/docs/binance-spot-api-docs/websocket-api
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipeline.exchange.local import lists, placing, requests
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.errors import BAD_COMBINATION, NO_SUCH_ORDER, UNKNOWN_ORDER, ApiError, either
from pipeline.exchange.local.exchange_filters import asset_rows
from pipeline.exchange.local.history import DAY
from pipeline.exchange.local.numbers import text
from pipeline.exchange.local.orders import Order, OrderList
from pipeline.exchange.local.requests import Params

Run = Callable[[Engine, Account, Params], Any]
E = TypeVar("E", bound=Engine)


@dataclass(frozen=True)
class Operation(Generic[E]):
    """Something that an account of an engine may call.

    orders: how many of its order limit it uses; changes: whether it may change anything, so that it is written to the
    journal; weight_without_symbol: if it differs.
    """

    name: str
    run: Callable[[E, Account, Params], Any]
    weight: int
    changes: bool = False
    orders: int = 0
    weight_without_symbol: int = 0

    def cost(self, raw: dict[str, str]) -> int:
        """Weight of a call."""
        if self.weight_without_symbol and "symbol" not in raw:
            return self.weight_without_symbol
        return self.weight


def place(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """A new order."""
    instrument = p.symbol(engine.instruments)
    ticket = requests.ticket(p, instrument)
    reply = requests.reply_kind(p, "FULL" if ticket.kind in ("LIMIT", "MARKET") else "ACK")
    p.done()
    return engine.place(account, ticket).placed(reply)


def test(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """A new order that is only looked at."""
    instrument = p.symbol(engine.instruments)
    ticket = requests.ticket(p, instrument)
    requests.reply_kind(p, "ACK")
    wants_rates = p.flag("computeCommissionRates")
    p.done()
    placing.check(engine, account, ticket)
    if not wants_rates:
        return {}
    return {
        "standardCommissionForOrder": {"maker": text(account.maker), "taker": text(account.taker)},
        "specialCommissionForOrder": {"maker": "0.00000000", "taker": "0.00000000"},
        "taxCommissionForOrder": {"maker": "0.00000000", "taker": "0.00000000"},
        "discount": _discount(),
    }


def status(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """One order."""
    symbol = p.symbol(engine.instruments).symbol
    order = _find(engine, account, symbol, p.integer("orderId"), p.text("origClientOrderId"))
    p.done()
    if order is None:
        raise ApiError(*NO_SUCH_ORDER)
    return order.view()


def cancel(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """Cancel one order, and with it the list that it belongs to."""
    symbol = p.symbol(engine.instruments).symbol
    order_id, client_id = p.integer("orderId"), p.text("origClientOrderId")
    cancel_id = p.client_id("newClientOrderId") or engine.client_id()
    restriction = p.text("cancelRestrictions")
    p.done()
    return _canceled(engine, account, symbol, order_id, client_id, cancel_id, restriction)


def _canceled(
    engine: Engine,
    account: Account,
    symbol: str,
    order_id: int | None,
    client_id: str | None,
    cancel_id: str,
    restriction: str | None,
) -> dict[str, Any]:
    if order_id is None and client_id is None:
        raise either("origClientOrderId", "orderId")
    if engine.instruments[symbol].status not in ("TRADING", "CANCEL_ONLY"):
        raise ApiError(-2011, "Market is closed.")
    order = _find(engine, account, symbol, order_id, client_id)
    if order is None or not order.is_live:
        raise ApiError(*UNKNOWN_ORDER)
    wanted = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}
    if restriction is not None:
        if restriction not in wanted:
            raise ApiError(-1145, "Invalid cancelRestrictions")
        if order.status != wanted[restriction]:
            raise ApiError(-2011, "Order was not canceled due to cancel restrictions.")
    if order.list_id >= 0:
        lists.cancel(engine, engine.lists[order.list_id], cancel_id)
    else:
        engine.end(order, "CANCELED", cancel_id)
    return order.canceled(cancel_id)


def cancel_all(engine: Engine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Cancel all open orders of a symbol."""
    symbol = p.symbol(engine.instruments).symbol
    p.done()
    live = [order for order in engine.open_orders(account) if order.symbol == symbol]
    if not live:
        raise ApiError(*UNKNOWN_ORDER)
    replies = []
    for order in live:
        if not order.is_live:
            continue
        cancel_id = engine.client_id()
        if order.list_id >= 0:
            replies.append(lists.cancel(engine, engine.lists[order.list_id], cancel_id))
        else:
            engine.end(order, "CANCELED", cancel_id)
            replies.append(order.canceled(cancel_id))
    return replies


def cancel_replace(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """Cancel an order and place another. Raises ApiError -2021 or -2022 with both outcomes if one of them fails."""
    instrument = p.symbol(engine.instruments)
    mode = p.choice("cancelReplaceMode", ("STOP_ON_FAILURE", "ALLOW_FAILURE"))
    order_id, client_id = p.integer("cancelOrderId"), p.text("cancelOrigClientOrderId")
    cancel_id = p.client_id("cancelNewClientOrderId") or engine.client_id()
    restriction = p.text("cancelRestrictions")
    p.text("orderRateLimitExceededMode")
    if order_id is None and client_id is None:
        raise either("cancelOrigClientOrderId", "cancelOrderId")
    ticket = requests.ticket(p, instrument)
    reply = requests.reply_kind(p, "FULL" if ticket.kind in ("LIMIT", "MARKET") else "ACK")
    p.done()
    placing.check(engine, account, ticket)
    data: dict[str, Any] = {
        "cancelResult": "FAILURE",
        "newOrderResult": "NOT_ATTEMPTED",
        "cancelResponse": None,
        "newOrderResponse": None,
    }
    try:
        data["cancelResponse"] = _canceled(
            engine, account, instrument.symbol, order_id, client_id, cancel_id, restriction
        )
        data["cancelResult"] = "SUCCESS"
    except ApiError as error:
        data["cancelResponse"] = error.body()
        if mode == "STOP_ON_FAILURE":
            raise ApiError(-2022, "Order cancel-replace failed.", 400, data) from None
    try:
        data["newOrderResponse"] = engine.place(account, ticket).placed(reply)
        data["newOrderResult"] = "SUCCESS"
    except ApiError as error:
        data["newOrderResponse"] = error.body()
        data["newOrderResult"] = "FAILURE"
    if data["cancelResult"] == data["newOrderResult"] == "SUCCESS":
        return data
    if data["cancelResult"] == data["newOrderResult"] == "FAILURE":
        raise ApiError(-2022, "Order cancel-replace failed.", 400, data)
    raise ApiError(-2021, "Order cancel-replace partially failed.", 409, data)


def open_orders(engine: Engine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Open orders of a symbol, or of all."""
    symbol = p.symbol(engine.instruments).symbol if "symbol" in p.raw else None
    p.done()
    return [order.view() for order in engine.open_orders(account) if symbol in (None, order.symbol)]


def all_orders(engine: Engine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Orders of a symbol, oldest first: from an id on, in a span of at most a day, or the latest."""
    symbol = p.symbol(engine.instruments).symbol
    first, (start, end), limit = p.integer("orderId"), _span(p), _limit(p)
    p.done()
    own = [order for order in engine.orders.values() if order.account == account.key and order.symbol == symbol]
    rows = [o.view() for o in own if (first is None or o.id >= first) and start <= o.time <= end]
    return rows[:limit] if first is not None or start > 0 else rows[-limit:]


def my_trades(engine: Engine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Fills of a symbol, oldest first."""
    symbol = p.symbol(engine.instruments).symbol
    order_id, first, (start, end), limit = p.integer("orderId"), p.integer("fromId"), _span(p), _limit(p)
    p.done()
    if (order_id is not None or first is not None) and ("startTime" in p.raw or "endTime" in p.raw):
        raise ApiError(-1128, BAD_COMBINATION)
    rows = [
        trade.view()
        for trade in engine.trades[symbol]
        if engine.orders[trade.order_id].account == account.key
        and order_id in (None, trade.order_id)
        and (first is None or trade.id >= first)
        and start <= trade.time <= end
    ]
    return rows[:limit] if first is not None or start > 0 else rows[-limit:]


def place_list(kind: str) -> Run:
    """Placing an order list of a kind: oco, oto or otoco."""
    return lambda engine, account, p: lists.place(engine, account, kind, p)


def list_status(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """One order list."""
    found = _find_list(engine, account, p.integer("orderListId"), p.text("origClientOrderId"))
    p.done()
    if found is None:
        raise ApiError(-2018, "Order list does not exist.")
    return found.view()


def cancel_list(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """Cancel an order list."""
    symbol = p.symbol(engine.instruments).symbol
    found = _find_list(engine, account, p.integer("orderListId"), p.text("listClientOrderId"))
    cancel_id = p.client_id("newClientOrderId") or engine.client_id()
    p.done()
    if found is None or found.symbol != symbol or found.status != "EXECUTING":
        raise ApiError(*UNKNOWN_ORDER)
    return lists.cancel(engine, found, cancel_id)


def open_lists(engine: Engine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Order lists that are going on."""
    p.done()
    return [one.view() for one in _lists(engine, account) if one.status == "EXECUTING"]


def all_lists(engine: Engine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Order lists, oldest first."""
    first, (start, end), limit = p.integer("fromId"), _span(p), _limit(p)
    p.done()
    rows = [
        o.view() for o in _lists(engine, account) if (first is None or o.id >= first) and start <= o.time <= end
    ]  # fmt: skip
    return rows[:limit] if first is not None or start > 0 else rows[-limit:]


def account_status(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """Balances, fees and permissions."""
    omit_zero = p.flag("omitZeroBalances")
    p.done()
    for instrument in engine.instruments.values():
        account.balance(instrument.base)
        account.balance(instrument.quote)
    return {
        "makerCommission": int(account.maker * 10_000),
        "takerCommission": int(account.taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": text(account.maker),
            "taker": text(account.taker),
            "buyer": "0.00000000",
            "seller": "0.00000000",
        },
        "canTrade": account.can_trade,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": account.update_time,
        "accountType": "SPOT",
        "balances": account.rows(omit_zero),
        "permissions": ["SPOT"],
        "uid": account.uid,
    }


def commission(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """Fees of a symbol."""
    symbol = p.symbol(engine.instruments).symbol
    p.done()
    none = {"maker": "0.00000000", "taker": "0.00000000", "buyer": "0.00000000", "seller": "0.00000000"}
    return {
        "symbol": symbol,
        "standardCommission": none | {"maker": text(account.maker), "taker": text(account.taker)},
        "specialCommission": none,
        "taxCommission": none,
        "discount": _discount(),
    }


def my_filters(engine: Engine, account: Account, p: Params) -> dict[str, Any]:
    """Filters that concern the account on a symbol: the exchange's, the symbol's, and those of its two assets."""
    instrument = p.symbol(engine.instruments)
    p.done()
    return {
        "exchangeFilters": engine.filters.rows(),
        "symbolFilters": instrument.entry["filters"],
        "assetFilters": asset_rows(account, instrument.base, instrument.quote),
    }


def _discount() -> dict[str, Any]:
    return {
        "enabledForAccount": False,
        "enabledForSymbol": False,
        "discountAsset": "BNB",
        "discount": "0.00000000",
    }


def _find(
    engine: Engine, account: Account, symbol: str, order_id: int | None, client_id: str | None
) -> Order | None:  # fmt: skip
    if order_id is None and client_id is None:
        raise either("origClientOrderId", "orderId")
    if order_id is None:
        return engine.by_client_id(account, client_id or "", symbol)
    order = engine.orders.get(order_id)
    if order is None or order.account != account.key or order.symbol != symbol:
        return None
    return order if client_id in (None, order.client_id) else None


def _lists(engine: Engine, account: Account) -> Iterable[OrderList]:
    return (one for one in engine.lists.values() if one.account == account.key)


def _find_list(engine: Engine, account: Account, list_id: int | None, client_id: str | None) -> OrderList | None:
    if list_id is None and client_id is None:
        raise ApiError(-1128, f"{BAD_COMBINATION} Recommendation: 'orderListId' should also be sent.")
    matching = (one for one in reversed(list(_lists(engine, account))) if list_id in (None, one.id))
    return next((one for one in matching if client_id in (None, one.client_id)), None)


def _limit(p: Params) -> int:
    return p.integer("limit", 500, 1, 1000) or 500


def _span(p: Params) -> tuple[int, int]:
    start, end = p.integer("startTime"), p.integer("endTime")
    if start is not None and end is not None and end - start > DAY:
        raise ApiError(-1127, "More than 24 hours between startTime and endTime.")
    return start or 0, 1 << 62 if end is None else end


OPERATIONS = {
    one.name: one
    for one in (
        Operation("order.place", place, 1, True, 1),
        Operation("order.test", test, 1),
        Operation("order.status", status, 4),
        Operation("order.cancel", cancel, 1, True),
        Operation("order.cancelReplace", cancel_replace, 1, True, 1),
        Operation("openOrders.status", open_orders, 6, weight_without_symbol=80),
        Operation("openOrders.cancelAll", cancel_all, 1, True),
        Operation("allOrders", all_orders, 20),
        Operation("orderList.place.oco", place_list("oco"), 1, True, 2),
        Operation("orderList.place.oto", place_list("oto"), 1, True, 2),
        Operation("orderList.place.otoco", place_list("otoco"), 1, True, 3),
        Operation("orderList.status", list_status, 4),
        Operation("orderList.cancel", cancel_list, 1, True),
        Operation("openOrderLists.status", open_lists, 6),
        Operation("allOrderLists", all_lists, 20),
        Operation("account.status", account_status, 20),
        Operation("account.commission", commission, 20),
        Operation("myTrades", my_trades, 20),
        Operation("myFilters", my_filters, 40),
    )
}


def call(engine: Engine, account: Account, name: str, raw: dict[str, str]) -> Any:
    """Run an operation; what may change something is written to the journal. Raises ApiError."""
    operation = OPERATIONS[name]
    if not operation.changes:
        return operation.run(engine, account, Params(raw))
    return engine.request(account, name, raw, lambda: operation.run(engine, account, Params(raw)))
