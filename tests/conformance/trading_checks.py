"""What must hold of orders and order lists, in the exchange's own field names.

`ask(name, **params)` calls the client; names are the methods of the WebSocket API.
"""

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import Any

from market_checks import SYMBOL, Ask, near
from session import Absent, Refused, Session

_QTY = "0.01"


class Prices:
    """Prices around the market, on the tick of the symbol."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        entry = next(one for one in ask("exchangeInfo")["symbols"] if one["symbol"] == SYMBOL)
        self._tick = Decimal(next(one for one in entry["filters"] if one["filterType"] == "PRICE_FILTER")["tickSize"])

    def at(self, factor: str) -> str:
        """The last price times a factor."""
        last = Decimal(self._ask("ticker.price", symbol=SYMBOL)["price"])
        return format((last * Decimal(factor)).quantize(self._tick.normalize(), ROUND_DOWN), "f")


def refused(code: int, function: Callable[[], Any], words: str = "") -> None:
    """Whether the exchange refuses with a code. Raises AssertionError: it does not, or with another one."""
    try:
        reply = function()
    except Refused as error:
        assert error.code == code and words in error.message, f"{error} instead of {code} {words}"
        return
    raise AssertionError(f"accepted, instead of {code}: {reply}")


def check_orders(session: Session, ask: Ask) -> None:
    """Single orders of each type, from placing to the end."""
    prices = Prices(ask)

    def place(side: str, kind: str, **params: Any) -> Any:
        return ask("order.place", symbol=SYMBOL, side=side, type=kind, newOrderRespType="FULL", **params)

    def get(order_id: int) -> Any:
        return ask("order.status", symbol=SYMBOL, orderId=order_id)

    def rests(reply: dict[str, Any], kind: str, price: str, stop: str = "0") -> None:
        assert (reply["status"], reply["type"], reply["symbol"]) == ("NEW", kind, SYMBOL)
        assert near(reply["price"], price) and near(reply["origQty"], _QTY) and float(reply["executedQty"]) == 0
        assert reply["orderListId"] == -1 and reply["fills"] == []
        order = get(reply["orderId"])
        assert (order["status"], order["type"], order["clientOrderId"]) == ("NEW", kind, reply["clientOrderId"])
        assert near(order["stopPrice"], stop) and near(order["price"], price)

    def limit() -> None:
        price = prices.at("0.9")
        reply = place("BUY", "LIMIT", timeInForce="GTC", quantity=_QTY, price=price, newClientOrderId="a-limit_1")
        rests(reply, "LIMIT", price)
        assert reply["clientOrderId"] == "a-limit_1" and reply["timeInForce"] == "GTC"
        locked = next(row for row in session.state()["accounts"][0]["balances"] if row["asset"] == "USDT")["locked"]
        assert near(locked, float(price) * float(_QTY))

    def filled(reply: dict[str, Any], side: str) -> None:
        assert (reply["status"], reply["type"], reply["side"]) == ("FILLED", "MARKET", side)
        assert near(sum(float(fill["qty"]) for fill in reply["fills"]), reply["executedQty"])
        paid = sum(float(fill["qty"]) * float(fill["price"]) for fill in reply["fills"])
        assert near(paid, reply["cummulativeQuoteQty"], 1e-5)
        fee = sum(float(fill["commission"]) for fill in reply["fills"])
        assert near(fee, 0.001 * (float(reply["executedQty"]) if side == "BUY" else paid), 1e-6)
        assert {fill["commissionAsset"] for fill in reply["fills"]} == {"BTC" if side == "BUY" else "USDT"}

    def market() -> None:
        before = session.balances()
        reply = place("BUY", "MARKET", quantity=_QTY)
        filled(reply, "BUY")
        after = session.balances()
        assert near(reply["executedQty"], _QTY) and near(after["BTC"] - before["BTC"], 0.999 * float(_QTY), 1e-8)
        assert near(before["USDT"] - after["USDT"], reply["cummulativeQuoteQty"], 1e-8)
        filled(place("SELL", "MARKET", quantity=_QTY), "SELL")

    def market_by_quote() -> None:
        reply = place("BUY", "MARKET", quoteOrderQty="500")
        filled(reply, "BUY")
        assert 450 < float(reply["cummulativeQuoteQty"]) <= 500 and near(reply["origQuoteOrderQty"], 500)

    def maker() -> None:
        price = prices.at("0.95")
        rests(place("BUY", "LIMIT_MAKER", quantity=_QTY, price=price), "LIMIT_MAKER", price)
        refused(-2010, lambda: place("BUY", "LIMIT_MAKER", quantity=_QTY, price=prices.at("1.05")), "immediately match")

    def stop(kind: str, factor: str, past: str) -> Callable[[], None]:
        def run() -> None:
            params = {"timeInForce": "GTC", "price": prices.at(factor)} if kind.endswith("LIMIT") else {}
            level = prices.at(factor)
            reply = place("SELL", kind, quantity=_QTY, stopPrice=level, **params)
            rests(reply, kind, params.get("price", "0"), level)
            assert get(reply["orderId"])["isWorking"] is False
            params = {"timeInForce": "GTC", "price": prices.at(past)} if kind.endswith("LIMIT") else {}
            late = lambda: place("SELL", kind, quantity=_QTY, stopPrice=prices.at(past), **params)  # noqa: E731
            refused(-2010, late, "trigger immediately")

        return run

    def trailing() -> None:
        reply = place("SELL", "STOP_LOSS", quantity=_QTY, trailingDelta=200)
        assert (reply["status"], reply["type"]) == ("NEW", "STOP_LOSS")
        order = get(reply["orderId"])
        assert order["trailingDelta"] == 200 and order["status"] == "NEW" and order["trailingTime"] > 0
        refused(-1013, lambda: place("SELL", "STOP_LOSS", quantity=_QTY, trailingDelta=1), "TRAILING_DELTA")

    def test() -> None:
        good = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": _QTY}
        assert not ask("order.test", **good, price=prices.at("0.9"))
        rates = ask("order.test", **good, price=prices.at("0.9"), computeCommissionRates="true")
        assert rates["standardCommissionForOrder"] == {"maker": "0.00080000", "taker": "0.00100000"}
        refused(-1013, lambda: ask("order.test", **good | {"quantity": "0.0001"}, price=prices.at("0.9")), "NOTIONAL")
        assert session.state()["orders"] == []

    def resting(factor: str = "0.9", **params: Any) -> Any:
        return place("BUY", "LIMIT", timeInForce="GTC", quantity=_QTY, price=prices.at(factor), **params)

    def status() -> None:
        made = resting(newClientOrderId="asked-for")
        by_id, by_name = get(made["orderId"]), ask("order.status", symbol=SYMBOL, origClientOrderId="asked-for")
        assert by_id == by_name and by_id["isWorking"] is True and by_id["time"] <= by_id["updateTime"]
        assert (by_id["side"], by_id["timeInForce"], by_id["selfTradePreventionMode"]) == ("BUY", "GTC", "NONE")

    def open_orders() -> None:
        assert ask("openOrders.status", symbol=SYMBOL) == []
        made = [resting(), resting("0.8")]
        for told in (ask("openOrders.status", symbol=SYMBOL), ask("openOrders.status")):
            assert [one["orderId"] for one in told] == [one["orderId"] for one in made]
        assert told[0]["status"] == "NEW" and near(told[0]["origQty"], _QTY)

    def cancel() -> None:
        made = resting(newClientOrderId="to-be-canceled")
        told = ask("order.cancel", symbol=SYMBOL, orderId=made["orderId"], newClientOrderId="the-cancel")
        assert (told["origClientOrderId"], told["clientOrderId"]) == ("to-be-canceled", "the-cancel")
        assert told["status"] == "CANCELED" and told["orderId"] == made["orderId"]
        assert get(made["orderId"])["status"] == "CANCELED" and session.state()["orders"] == []

    def cancel_all() -> None:
        made = [resting(), resting("0.8")]
        told = ask("openOrders.cancelAll", symbol=SYMBOL)
        assert {one["orderId"] for one in told} == {one["orderId"] for one in made}
        assert {one["status"] for one in told} == {"CANCELED"} and session.state()["orders"] == []
        refused(-2011, lambda: ask("openOrders.cancelAll", symbol=SYMBOL))

    def replace() -> None:
        made = resting()
        new = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": _QTY}
        told = ask("order.cancelReplace", **new, price=prices.at("0.8"), cancelReplaceMode="STOP_ON_FAILURE",
                   cancelOrderId=made["orderId"], newOrderRespType="RESULT")  # fmt: skip
        assert (told["cancelResult"], told["newOrderResult"]) == ("SUCCESS", "SUCCESS")
        assert told["cancelResponse"]["orderId"] == made["orderId"] and told["newOrderResponse"]["status"] == "NEW"
        assert [one["orderId"] for one in session.state()["orders"]] == [told["newOrderResponse"]["orderId"]]
        refused(-2022, lambda: ask("order.cancelReplace", **new, price=prices.at("0.8"), cancelOrderId=made["orderId"],
                                   cancelReplaceMode="STOP_ON_FAILURE"))  # fmt: skip

    def all_orders() -> None:
        made = [resting()["orderId"], place("BUY", "MARKET", quantity=_QTY)["orderId"]]
        told = ask("allOrders", symbol=SYMBOL, orderId=made[0])
        assert [(one["orderId"], one["status"]) for one in told] == [(made[0], "NEW"), (made[1], "FILLED")]
        assert [one["orderId"] for one in ask("allOrders", symbol=SYMBOL, limit=1)] == made[1:]

    def my_trades() -> None:
        made = place("BUY", "MARKET", quantity=_QTY)
        told = ask("myTrades", symbol=SYMBOL, orderId=made["orderId"])
        assert [(one["id"], one["qty"]) for one in told] == [(one["tradeId"], one["qty"]) for one in made["fills"]]
        assert {one["orderId"] for one in told} == {made["orderId"]}
        assert all(one["isBuyer"] and not one["isMaker"] and one["orderListId"] == -1 for one in told)
        assert near(sum(float(one["quoteQty"]) for one in told), made["cummulativeQuoteQty"])

    def first_to_fill(made: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The one of two orders that the market reaches first: as placed, and as it is then."""
        now: list[Any] = []

        def reached() -> bool:
            now[:] = [(one, get(one["orderId"])) for one in made]
            return any(order["status"] == "FILLED" for _, order in now)

        session.step_until(reached)
        placed, order = next((one, order) for one, order in now if order["status"] == "FILLED")
        assert near(order["executedQty"], _QTY) and order["updateTime"] > order["time"]
        return placed, order

    def fills_later() -> None:
        sides = (("BUY", "0.9995"), ("SELL", "1.0005"))
        made = [place(side, "LIMIT", timeInForce="GTC", quantity=_QTY, price=prices.at(f)) for side, f in sides]
        placed, order = first_to_fill(made)
        paid = float(placed["price"]) * float(_QTY)
        assert near(order["cummulativeQuoteQty"], paid)
        trades = ask("myTrades", symbol=SYMBOL, orderId=placed["orderId"])
        assert all(one["isMaker"] and near(one["price"], placed["price"]) for one in trades)
        fee = 0.0008 * (float(_QTY) if placed["side"] == "BUY" else paid)
        assert near(sum(float(one["commission"]) for one in trades), fee, 1e-7)

    def triggers_later() -> None:
        sides = (("SELL", "0.999"), ("BUY", "1.001"))
        levels = {side: prices.at(factor) for side, factor in sides}
        made = [place(side, "STOP_LOSS", quantity=_QTY, stopPrice=level) for side, level in levels.items()]
        placed, order = first_to_fill(made)
        price, level = float(order["cummulativeQuoteQty"]) / float(_QTY), float(levels[placed["side"]])
        assert order["isWorking"] is True
        assert price < level * 1.0001 if placed["side"] == "SELL" else price > level * 0.9999

    for operation, function in (
        ("LIMIT", limit),
        ("MARKET by quantity", market),
        ("MARKET by quote amount", market_by_quote),
        ("LIMIT_MAKER", maker),
        ("STOP_LOSS", stop("STOP_LOSS", "0.95", "1.05")),
        ("STOP_LOSS_LIMIT", stop("STOP_LOSS_LIMIT", "0.95", "1.05")),
        ("TAKE_PROFIT", stop("TAKE_PROFIT", "1.05", "0.95")),
        ("TAKE_PROFIT_LIMIT", stop("TAKE_PROFIT_LIMIT", "1.05", "0.95")),
        ("trailing stop", trailing),
        ("order test", test),
        ("get order", status),
        ("open orders", open_orders),
        ("cancel", cancel),
        ("cancel all", cancel_all),
        ("cancelReplace", replace),
        ("all orders", all_orders),
        ("my trades", my_trades),
        ("limit order fills later", fills_later),
        ("stop triggers later", triggers_later),
    ):
        session.check(operation, function)


def check_lists(session: Session, ask: Ask) -> None:
    """Order lists."""
    prices = Prices(ask)

    def oco(above: str = "1.05", below: str = "0.95", **params: Any) -> Any:
        legs = {"aboveType": "LIMIT_MAKER", "abovePrice": prices.at(above)}
        legs |= {"belowType": "STOP_LOSS", "belowStopPrice": prices.at(below)}
        return ask("orderList.place.oco", symbol=SYMBOL, side="SELL", quantity=_QTY, **legs, **params)

    def leg(order: dict[str, Any]) -> Any:
        return ask("order.status", symbol=SYMBOL, orderId=order["orderId"])

    def place_oco() -> None:
        told = oco(listClientOrderId="an-oco")
        assert (told["contingencyType"], told["listOrderStatus"]) == ("OCO", "EXECUTING")
        assert told["listStatusType"] == "EXEC_STARTED" and told["listClientOrderId"] == "an-oco"
        assert {one["type"] for one in told["orderReports"]} == {"LIMIT_MAKER", "STOP_LOSS"}
        assert {one["orderListId"] for one in told["orderReports"]} == {told["orderListId"]}
        assert {one["orderId"] for one in told["orders"]} == {one["orderId"] for one in told["orderReports"]}
        assert {leg(one)["status"] for one in told["orders"]} == {"NEW"}
        refused(-2010, lambda: oco("0.95", "0.9"), "relationship of the prices")

    def oto(**params: Any) -> Any:
        working = {"workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC", "workingQuantity": _QTY}
        pending = {"pendingType": "LIMIT_MAKER", "pendingSide": "SELL", "pendingQuantity": _QTY}
        levels = {"workingPrice": prices.at("0.9"), "pendingPrice": prices.at("1.2")}
        return ask("orderList.place.oto", symbol=SYMBOL, **working, **pending, **levels, **params)

    def place_oto() -> None:
        told = oto()
        assert (told["contingencyType"], told["listOrderStatus"]) == ("OTO", "EXECUTING")
        assert [one["status"] for one in told["orderReports"]] == ["NEW", "PENDING_NEW"]
        assert [leg(one)["status"] for one in told["orders"]] == ["NEW", "PENDING_NEW"]

    def otoco(price: str, **params: Any) -> Any:
        working = {"workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC", "workingQuantity": _QTY}
        pending = {"pendingSide": "SELL", "pendingQuantity": _QTY}
        pending |= {"pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": prices.at("1.2")}
        pending |= {"pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": prices.at("0.8")}
        return ask("orderList.place.otoco", symbol=SYMBOL, workingPrice=price, **working, **pending, **params)

    def place_otoco() -> None:
        waits = otoco(prices.at("0.9"))
        assert waits["contingencyType"] == "OTO" and len(waits["orders"]) == 3
        assert sorted(leg(one)["status"] for one in waits["orders"]) == ["NEW", "PENDING_NEW", "PENDING_NEW"]
        session.clear()
        starts = otoco(prices.at("1.01"))
        assert sorted(leg(one)["status"] for one in starts["orders"]) == ["FILLED", "NEW", "NEW"]
        by_type = {one["type"]: one for one in starts["orderReports"]}
        assert set(by_type) == {"LIMIT", "LIMIT_MAKER", "STOP_LOSS"}

    def query() -> None:
        made = oco(listClientOrderId="looked-up")
        by_id = ask("orderList.status", orderListId=made["orderListId"])
        by_name = ask("orderList.status", origClientOrderId="looked-up")
        assert by_id == by_name and by_id["listOrderStatus"] == "EXECUTING"
        assert by_id["orders"] == made["orders"]

    def open_lists() -> None:
        assert ask("openOrderLists.status") == []
        made = oco()
        assert [one["orderListId"] for one in ask("openOrderLists.status")] == [made["orderListId"]]

    def all_lists() -> None:
        made = [oco()["orderListId"], oto()["orderListId"]]
        told = ask("allOrderLists", fromId=made[0])
        assert [one["orderListId"] for one in told] == made
        assert [one["contingencyType"] for one in told] == ["OCO", "OTO"]

    def cancel() -> None:
        made = oco()
        told = ask("orderList.cancel", symbol=SYMBOL, orderListId=made["orderListId"])
        assert (told["listStatusType"], told["listOrderStatus"]) == ("ALL_DONE", "ALL_DONE")
        assert [one["status"] for one in told["orderReports"]] == ["CANCELED", "CANCELED"]
        assert session.state()["orders"] == []

    def one_ends_other() -> None:
        made = oco("1.004", "0.996")
        session.step_until(lambda: session.state()["orders"] == [])
        ends = sorted((leg(one)["status"], float(leg(one)["executedQty"])) for one in made["orders"])
        assert ends == [("EXPIRED", 0.0), ("FILLED", float(_QTY))], ends

    for operation, function in (
        ("OCO", place_oco),
        ("OTO", place_oto),
        ("OTOCO", place_otoco),
        ("query list", query),
        ("open lists", open_lists),
        ("all lists", all_lists),
        ("cancel list", cancel),
        ("one OCO leg ends the other", one_ends_other),
    ):
        session.check(operation, function)


def check_refusals(session: Session, ask: Ask, stranger: Ask | None) -> None:
    """Whether refusals arrive as what they are. stranger: the same client with another secret, if it can be had."""
    prices = Prices(ask)

    def place(qty: str, factor: str = "0.9") -> Any:
        return ask("order.place", symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity=qty,
                   price=prices.at(factor))  # fmt: skip

    def signature() -> None:
        if stranger is None:
            raise Absent
        refused(-1022, lambda: stranger("account.status"), "Signature")

    def filters() -> None:
        refused(-1013, lambda: place("0.0001"), "NOTIONAL")
        refused(-1013, lambda: place("9999"), "LOT_SIZE")

    def account_filter() -> None:
        refused(-1013, lambda: place("110"), "MAX_ASSET")

    def unknown_order() -> None:
        refused(-2013, lambda: ask("order.status", symbol=SYMBOL, orderId=999_999), "does not exist")
        refused(-2011, lambda: ask("order.cancel", symbol=SYMBOL, orderId=999_999), "Unknown order")

    for operation, function in (
        ("insufficient balance", lambda: refused(-2010, lambda: place("90"), "insufficient balance")),
        ("unknown symbol", lambda: refused(-1121, lambda: ask("klines", symbol="NOSUCHUSDT", interval="5m"))),
        ("bad signature", signature),
        ("filter failure", filters),
        ("failure of an account's filter", account_filter),
        ("unknown order", unknown_order),
    ):
        session.check(operation, function)
