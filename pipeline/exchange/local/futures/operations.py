"""What an account can do with its orders on the futures market, by names like those of spot.

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api
"""

from collections.abc import Callable
from typing import Any

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import NO_SUCH_ORDER, UNKNOWN_ORDER, ApiError, missing
from pipeline.exchange.local.futures import checks, requests, views
from pipeline.exchange.local.futures.engine import FuturesEngine
from pipeline.exchange.local.futures.orders import AlgoOrder, Fill, FuturesOrder
from pipeline.exchange.local.history import DAY
from pipeline.exchange.local.operations import Operation
from pipeline.exchange.local.requests import Params

Run = Callable[[FuturesEngine, Account, Params], Any]
_CANCELED = {"code": 200, "msg": "The operation of cancel all open order is done."}


def _reply_kind(p: Params) -> str:
    return p.choice("newOrderRespType", ("ACK", "RESULT"), "ACK")


def place(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """A new order in the book."""
    request = requests.order(p, p.symbol(engine.instruments))
    reply = _reply_kind(p)
    p.done()
    return engine.submit(account, request).answer(reply)


def test(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """A new order that is only looked at."""
    request = requests.order(p, p.symbol(engine.instruments))
    _reply_kind(p)
    p.done()
    checks.check(engine, account, request)
    return engine.draft(account, request).answer("ACK")


def status(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """One order."""
    order = _find(engine, account, p)
    p.done()
    if order is None:
        raise ApiError(*NO_SUCH_ORDER)
    return order.futures_view()


def open_order(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """One order, if it is open."""
    order = _find(engine, account, p)
    p.done()
    if order is None or not order.is_live:
        raise ApiError(*NO_SUCH_ORDER)
    return order.futures_view()


def cancel(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Cancel one order."""
    order = _find(engine, account, p)
    p.done()
    if order is None or not order.is_live:
        raise ApiError(*UNKNOWN_ORDER)
    engine.end(order, "CANCELED")
    return order.answer("RESULT")


def cancel_all(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Cancel all open orders of a symbol, if there are any."""
    symbol = p.symbol(engine.instruments).symbol
    p.done()
    for order in engine.open_orders(account):
        if order.symbol == symbol:
            engine.end(order, "CANCELED")
    return dict(_CANCELED)


def open_orders(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Open orders of a symbol, or of all."""
    symbol = p.symbol(engine.instruments).symbol if "symbol" in p.raw else None
    p.done()
    own = (one for one in engine.open_orders(account) if isinstance(one, FuturesOrder))
    return [one.futures_view() for one in own if symbol in (None, one.symbol)]


def all_orders(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Orders of a symbol, oldest first: from an id on, in a span of at most a week, or the latest."""
    symbol = p.symbol(engine.instruments).symbol
    first, (start, end), limit = p.integer("orderId"), span(p), _limit(p)
    p.done()
    rows = [
        one.futures_view()
        for one in engine.orders.values()
        if one.account == account.key and one.symbol == symbol and isinstance(one, FuturesOrder)
        and (first is None or one.id >= first) and start <= one.time <= end
    ]  # fmt: skip
    return rows[:limit] if first is not None or start > 0 else rows[-limit:]


def user_trades(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Fills of a symbol, oldest first."""
    symbol = p.symbol(engine.instruments).symbol
    order_id, first, (start, end), limit = p.integer("orderId"), p.integer("fromId"), span(p), _limit(p)
    p.done()
    rows = [
        one.futures_view()
        for one in engine.trades[symbol]
        if isinstance(one, Fill) and engine.orders[one.order_id].account == account.key
        and order_id in (None, one.order_id) and (first is None or one.id >= first) and start <= one.time <= end
    ]  # fmt: skip
    return rows[:limit] if first is not None or start > 0 else rows[-limit:]


# Conditional orders


def place_algo(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """A new conditional order."""
    request = requests.conditional(p, p.symbol(engine.instruments))
    _reply_kind(p)
    p.done()
    return engine.submit_algo(account, request).algo_view(full=False)


def algo_status(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """One conditional order."""
    order = _find_algo(engine, account, p)
    p.done()
    if order is None:
        raise ApiError(*NO_SUCH_ORDER)
    return order.algo_view(full=True)


def cancel_algo(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Cancel one conditional order; one that has placed its order is beyond that."""
    order = _find_algo(engine, account, p)
    p.done()
    if order is None or order.status != "NEW":
        raise ApiError(*UNKNOWN_ORDER)
    engine.end_algo(order, "CANCELED")
    return order.algo_view(full=False) | {"code": "200", "msg": "success"}


def cancel_all_algos(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Cancel all conditional orders of a symbol that wait."""
    symbol = p.symbol(engine.instruments).symbol
    p.done()
    for order in engine.open_algos(account):
        if order.symbol == symbol:
            engine.end_algo(order, "CANCELED")
    return dict(_CANCELED)


def open_algos(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Conditional orders that wait."""
    symbol = p.symbol(engine.instruments).symbol if "symbol" in p.raw else None
    p.choice("algoType", ("CONDITIONAL",), "CONDITIONAL")
    number = p.integer("algoId")
    p.done()
    return [
        one.algo_view(full=True)
        for one in engine.open_algos(account)
        if symbol in (None, one.symbol) and number in (None, one.id)
    ]


def all_algos(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Conditional orders of a symbol, oldest first."""
    symbol = p.symbol(engine.instruments).symbol
    first, (start, end), limit = p.integer("algoId"), span(p), _limit(p)
    p.integer("page")
    p.done()
    rows = [
        one.algo_view(full=True)
        for one in engine.algos.values()
        if one.account == account.key and one.symbol == symbol
        and (first is None or one.id >= first) and start <= one.time <= end
    ]  # fmt: skip
    return rows[:limit] if first is not None or start > 0 else rows[-limit:]


def _find(engine: FuturesEngine, account: Account, p: Params) -> FuturesOrder | None:
    symbol = p.symbol(engine.instruments).symbol
    number, client_id = p.integer("orderId"), requests.client_id(p, "origClientOrderId")
    if number is None and client_id is None:
        raise missing("orderId")
    found = engine.orders.get(number) if number is not None else (
        engine.by_client_id(account, client_id or "", symbol)
    )  # fmt: skip
    if not isinstance(found, FuturesOrder) or found.account != account.key or found.symbol != symbol:
        return None
    return found if client_id in (None, found.client_id) else None


def _find_algo(engine: FuturesEngine, account: Account, p: Params) -> AlgoOrder | None:
    p.text("symbol")
    number, client_id = p.integer("algoId"), requests.client_id(p, "clientAlgoId")
    if number is None and client_id is None:
        raise missing("algoId")
    own = [one for one in engine.algos.values() if one.account == account.key]
    matching = (one for one in reversed(own) if number in (None, one.id) and client_id in (None, one.client_id))
    return next(matching, None)


def _limit(p: Params) -> int:
    return p.integer("limit", 500, 1, 1000) or 500


def span(p: Params) -> tuple[int, int]:
    """Start and end time. Raises ApiError: more than a week."""
    start, end = p.integer("startTime"), p.integer("endTime")
    if start is not None and end is not None and end - start > 7 * DAY:
        raise ApiError(-4166, "Search window is restricted to recent 7 days only.")
    return start or 0, 1 << 62 if end is None else end


OPERATIONS = {
    one.name: one
    for one in (
        Operation("order.place", place, 0, True, 1),
        Operation("order.test", test, 0),
        Operation("order.status", status, 1),
        Operation("openOrder.status", open_order, 1),
        Operation("order.cancel", cancel, 1, True),
        Operation("openOrders.cancelAll", cancel_all, 1, True),
        Operation("openOrders.status", open_orders, 1, weight_without_symbol=40),
        Operation("allOrders", all_orders, 5),
        Operation("userTrades", user_trades, 5),
        Operation("algoOrder.place", place_algo, 0, True, 1),
        Operation("algoOrder.status", algo_status, 1),
        Operation("algoOrder.cancel", cancel_algo, 1, True),
        Operation("openAlgoOrders.cancelAll", cancel_all_algos, 1, True),
        Operation("openAlgoOrders.status", open_algos, 1, weight_without_symbol=40),
        Operation("allAlgoOrders", all_algos, 5),
        Operation("leverage", views.leverage, 1, True),
        Operation("marginType", views.margin_type, 1),
        Operation("positionSide.get", views.position_side, 30),
        Operation("positionSide.set", views.change_position_side, 1),
        Operation("multiAssetsMargin.get", views.multi_assets, 30),
        Operation("multiAssetsMargin.set", views.change_multi_assets, 1),
        Operation("positionMargin", views.position_margin, 1, True),
        Operation("leverageBracket", views.leverage_bracket, 1),
        Operation("balance.v2", views.balance, 5),
        Operation("balance.v3", views.balance, 5),
        Operation("account.v2", views.account_v2, 5),
        Operation("account.v3", views.account_v3, 5),
        Operation("positionRisk.v2", views.position_risk_v2, 5),
        Operation("positionRisk.v3", views.position_risk_v3, 5),
        Operation("income", views.income, 30),
        Operation("commissionRate", views.commission_rate, 20),
        Operation("accountConfig", views.account_config, 5),
        Operation("symbolConfig", views.symbol_config, 5),
    )
}


def call(engine: FuturesEngine, account: Account, name: str, raw: dict[str, str]) -> Any:
    """Run an operation; what may change something is written to the journal. Raises ApiError."""
    operation = OPERATIONS[name]
    if not operation.changes:
        return operation.run(engine, account, Params(raw))
    return engine.request(account, name, raw, lambda: operation.run(engine, account, Params(raw)))
