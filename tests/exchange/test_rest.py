"""The REST API as clients see it: every route, its weight and headers, and what is refused by its path alone."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from exchange.servers import MINUTE, START, Rest, exchange, forgive, signature, stamped

from pipeline.exchange.local.rest import PUBLIC_ROUTES, SIGNED_ROUTES
from pipeline.testing import LocalExchange

OCO = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.1", "aboveType": "LIMIT_MAKER", "abovePrice": "90000",
       "belowType": "STOP_LOSS", "belowStopPrice": "20000"}  # fmt: skip
WORKING = {"symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingQuantity": "0.1",
           "workingPrice": "20000", "workingTimeInForce": "GTC", "pendingSide": "SELL",
           "pendingQuantity": "0.1"}  # fmt: skip
OTO = WORKING | {"pendingType": "MARKET"}
OTOCO = WORKING | {"pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "90000", "pendingBelowType": "STOP_LOSS",
                   "pendingBelowStopPrice": "15000"}  # fmt: skip
# What each route needs at least, its weight, and a look at its answer.
PUBLIC: dict[str, tuple[dict[str, str], int, Any]] = {
    "/api/v3/ping": ({}, 1, lambda r: r == {}),
    "/api/v3/time": ({}, 1, lambda r: r["serverTime"] > 0),
    "/api/v3/exchangeInfo": ({}, 20, lambda r: [s["symbol"] for s in r["symbols"]] == ["BTCUSDT", "ETHUSDT"]),
    "/api/v3/klines": ({"symbol": "BTCUSDT", "interval": "1m"}, 2, lambda r: r[-1][0] == START),
    "/api/v3/uiKlines": ({"symbol": "BTCUSDT", "interval": "1m"}, 2, lambda r: len(r) == 500),
    "/api/v3/depth": ({"symbol": "BTCUSDT"}, 5, lambda r: float(r["bids"][0][0]) < float(r["asks"][0][0])),
    "/api/v3/trades": ({"symbol": "BTCUSDT"}, 25, lambda r: len(r) == 500),
    "/api/v3/historicalTrades": ({"symbol": "BTCUSDT"}, 25, lambda r: len(r) == 500),
    "/api/v3/aggTrades": ({"symbol": "BTCUSDT"}, 4, lambda r: len(r) == 500),
    "/api/v3/avgPrice": ({"symbol": "BTCUSDT"}, 2, lambda r: r["mins"] == 5),
    "/api/v3/ticker/price": ({"symbol": "BTCUSDT"}, 2, lambda r: r["symbol"] == "BTCUSDT"),
    "/api/v3/ticker/bookTicker": ({"symbol": "BTCUSDT"}, 2, lambda r: float(r["bidPrice"]) < float(r["askPrice"])),
    "/api/v3/ticker/24hr": ({"symbol": "BTCUSDT"}, 2, lambda r: float(r["highPrice"]) >= float(r["lowPrice"])),
    "/api/v3/ticker": ({"symbol": "BTCUSDT"}, 4, lambda r: r["symbol"] == "BTCUSDT"),
    "/api/v3/ticker/tradingDay": ({"symbol": "BTCUSDT"}, 4, lambda r: r["openTime"] == START),
    "/api/v3/executionRules": ({}, 2, lambda r: len(r["symbolRules"]) == 2),
    "/api/v3/referencePrice": ({"symbol": "BTCUSDT"}, 2, lambda r: r["code"] == -2043),
    "/sapi/v1/system/status": ({}, 1, lambda r: r["status"] == 0),
}
# In this order: later ones use what earlier ones made. Successes that place or cancel weigh nothing.
SIGNED: list[tuple[str, str, dict[str, str], int, Any]] = [
    ("POST", "/api/v3/order/test", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}, 1,
     lambda r: r == {}),
    ("POST", "/api/v3/order", {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
                               "quantity": "0.1", "price": "20000", "newClientOrderId": "one"}, 0,
     lambda r: r["status"] == "NEW"),
    ("GET", "/api/v3/order", {"symbol": "BTCUSDT", "origClientOrderId": "one"}, 4,
     lambda r: r["clientOrderId"] == "one"),
    ("GET", "/api/v3/openOrders", {"symbol": "BTCUSDT"}, 6, lambda r: len(r) == 1),
    ("POST", "/api/v3/order/cancelReplace",
     {"symbol": "BTCUSDT", "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrigClientOrderId": "one", "side": "BUY",
      "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "21000", "newClientOrderId": "two"}, 0,
     lambda r: r["cancelResult"] == r["newOrderResult"] == "SUCCESS"),
    ("DELETE", "/api/v3/order", {"symbol": "BTCUSDT", "origClientOrderId": "two"}, 0,
     lambda r: r["status"] == "CANCELED"),
    ("POST", "/api/v3/orderList/oco", OCO | {"listClientOrderId": "list"}, 0, lambda r: len(r["orders"]) == 2),
    ("GET", "/api/v3/orderList", {"origClientOrderId": "list"}, 4, lambda r: r["listOrderStatus"] == "EXECUTING"),
    ("GET", "/api/v3/openOrderList", {}, 6, lambda r: len(r) == 1),
    ("DELETE", "/api/v3/orderList", {"symbol": "BTCUSDT", "listClientOrderId": "list"}, 0,
     lambda r: r["listOrderStatus"] == "ALL_DONE"),
    ("POST", "/api/v3/orderList/oto", OTO, 0, lambda r: len(r["orders"]) == 2),
    ("POST", "/api/v3/orderList/otoco", OTOCO, 0, lambda r: len(r["orders"]) == 3),
    ("DELETE", "/api/v3/openOrders", {"symbol": "BTCUSDT"}, 0, lambda r: len(r) == 2),
    ("GET", "/api/v3/allOrderList", {}, 20, lambda r: len(r) == 3),
    ("GET", "/api/v3/allOrders", {"symbol": "BTCUSDT"}, 20, lambda r: len(r) == 9),
    ("GET", "/api/v3/account", {}, 20, lambda r: {b["asset"] for b in r["balances"]} == {"BTC", "ETH", "USDT"}),
    ("GET", "/api/v3/account/commission", {"symbol": "BTCUSDT"}, 20, lambda r: r["symbol"] == "BTCUSDT"),
    ("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT"}, 20, lambda r: r == []),
    ("GET", "/api/v3/rateLimit/order", {}, 40, lambda r: [one["count"] for one in r] == [9, 9]),
    ("GET", "/api/v3/myFilters", {"symbol": "BTCUSDT"}, 40, lambda r: "symbolFilters" in r),
    ("GET", "/sapi/v1/asset/tradeFee", {}, 1, lambda r: len(r) == 2),
    ("GET", "/sapi/v1/account/apiRestrictions", {}, 1, lambda r: r["enableWithdrawals"] is False),
]  # fmt: skip


@pytest.fixture(scope="module")
def local() -> Iterator[LocalExchange]:
    with exchange(("BTCUSDT", "ETHUSDT")) as running:
        yield running


@pytest.fixture
def rest(local: LocalExchange) -> Rest:
    forgive(local)
    return Rest(local)


def used(response: Any) -> int:
    return int(response.headers["X-MBX-USED-WEIGHT-1M"])


def test_every_route_is_tried() -> None:
    assert PUBLIC.keys() == PUBLIC_ROUTES.keys()
    assert {(method, path) for method, path, *_ in SIGNED} == SIGNED_ROUTES.keys()


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_route_answers_and_weighs_what_is_documented(rest: Rest, path: str) -> None:
    params, weight, looks_right = PUBLIC[path]
    reply = rest.ask(path, **params)
    assert looks_right(reply.json()), reply.text
    assert used(reply) == weight


def test_the_signed_routes_answer_and_weigh_what_is_documented(rest: Rest) -> None:
    for method, path, params, weight, looks_right in SIGNED:
        before = used(rest.ask("/api/v3/time"))
        reply = rest.signed(method, path, **params)
        assert reply.status_code == 200 and looks_right(reply.json()), f"{method} {path}: {reply.text}"
        assert used(reply) - before == weight, f"{method} {path}"


def test_failures_weigh_and_successes_of_orders_do_not(rest: Rest) -> None:
    assert used(rest.rest_order()) == 0
    refused = rest.rest_order(quantity="0")
    assert refused.status_code == 400 and used(refused) == 1


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "100"}, 5),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "101"}, 25),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "501"}, 50),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "5000"}, 250),
        ("/api/v3/ticker/price", {}, 4),
        ("/api/v3/ticker/price", {"symbols": '["BTCUSDT"]'}, 4),
        ("/api/v3/ticker/bookTicker", {}, 4),
        ("/api/v3/ticker/24hr", {}, 80),
        ("/api/v3/ticker/24hr", {"symbols": '["BTCUSDT","ETHUSDT"]'}, 2),
        ("/api/v3/ticker", {"symbols": '["BTCUSDT","ETHUSDT"]'}, 8),
    ],
)
def test_weight_grows_with_what_is_asked_for(rest: Rest, path: str, params: dict[str, str], weight: int) -> None:
    assert used(rest.ask(path, **params)) == weight


def test_a_query_for_the_trades_of_one_order_and_one_for_all_open_orders_weigh_their_own(rest: Rest) -> None:
    assert used(rest.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT", orderId="1")) == 5
    assert used(rest.signed("GET", "/api/v3/openOrders")) == 5 + 80
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1", "computeCommissionRates": "true"}
    assert used(rest.signed("POST", "/api/v3/order/test", **order)) == 5 + 80 + 20


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v3/nothing", 404),
        ("GET", "/fapi/v9/ping", 404),
        ("GET", "/api/v3/klines/", 404),
        ("GET", "/api/v3//klines", 404),
        ("POST", "/api/v3/klines", 405),
        ("PUT", "/api/v3/order", 405),
        ("HEAD", "/api/v3/ping", 405),
        ("GET", "/api/v3/order/test", 405),
        ("POST", "/api/v3/userDataStream", 410),
        ("PUT", "/api/v3/userDataStream", 410),
    ],
)
def test_paths_and_methods_that_there_are_not(rest: Rest, method: str, path: str, status: int) -> None:
    assert rest.send(method, path).status_code == status


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("symbol=BTCUSDT&interval=1m&symbol=BTCUSDT", (400, -1101)),
        ("symbol=BTCUSDT&interval=1m&color=red", (400, -1104)),
        ("symbol=BTCUSDT&interval=1m&timestamp=1", (400, -1104)),
        ("symbol=BTCUSDT&interval=", (400, -1102)),
        ("interval=1m", (400, -1102)),
        ("symbol=BTC%FFUSDT&interval=1m", (400, -1100)),
        ("symbol=btcusdt&interval=1m", (400, -1100)),
        ("symbol=XRPUSDT&interval=1m", (400, -1121)),
        ("symbol=BTCUSDT&interval=7m", (400, -1120)),
        ("symbol=BTCUSDT&interval=1m&limit=x", (400, -1100)),
        ("&&symbol=BTCUSDT&&interval=1m&limit=1&", (200, None)),
        ("symbol=%42TCUSDT&interval=1m&limit=1", (200, None)),
    ],
)
def test_parameters_of_a_question(rest: Rest, query: str, expected: tuple[int, int | None]) -> None:
    reply = rest.send("GET", "/api/v3/klines", query)
    found = reply.json()
    assert (reply.status_code, found["code"] if isinstance(found, dict) else None) == expected


def test_a_parameter_of_the_query_is_used_before_the_same_one_of_the_body(rest: Rest) -> None:
    query = f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.1&timestamp={stamped({})['timestamp']}"
    body = "quantity=0.2"
    both = f"{query}&signature={signature(rest.local.secret, query + body)}"
    reply = rest.send("POST", "/api/v3/order", both, body, key=rest.local.key)
    assert reply.json()["executedQty"] == "0.10000000", reply.text


def test_order_counts_are_told_where_orders_are_made(rest: Rest) -> None:
    first, second = rest.rest_order(), rest.rest_order()
    assert [one.headers["X-MBX-ORDER-COUNT-10S"] for one in (first, second)] == ["1", "2"]
    assert second.headers["X-MBX-ORDER-COUNT-1D"] == "2"
    query = rest.signed("GET", "/api/v3/order", symbol="BTCUSDT", orderId=first.json()["orderId"])
    assert "X-MBX-ORDER-COUNT-10S" not in query.headers
    assert rest.rest_order(quantity="0").status_code == 400
    assert [one["count"] for one in rest.signed("GET", "/api/v3/rateLimit/order").json()] == [2, 2]


def test_a_filled_order_is_not_counted(rest: Rest) -> None:
    assert rest.buy().json()["status"] == "FILLED"
    assert [one["count"] for one in rest.signed("GET", "/api/v3/rateLimit/order").json()] == [0, 0]


def test_klines_by_start_end_and_limit(rest: Rest) -> None:
    def opens(**bounds: Any) -> list[int]:
        return [row[0] for row in rest.ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", **bounds).json()]

    assert opens(limit=3) == [START - 2 * MINUTE, START - MINUTE, START]
    assert opens(startTime=START - 9 * MINUTE, limit=2) == [START - 9 * MINUTE, START - 8 * MINUTE]
    assert opens(endTime=START - 9 * MINUTE, limit=2) == [START - 10 * MINUTE, START - 9 * MINUTE]
    assert opens(startTime=START - 9 * MINUTE + 1, endTime=START - 7 * MINUTE) == [
        START - 8 * MINUTE,
        START - 7 * MINUTE,
    ]
    assert opens(startTime=START + MINUTE) == []


def test_the_bar_that_goes_on_is_shown_and_changes_until_it_closes() -> None:
    with exchange() as local:
        rest = Rest(local)
        row = rest.ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1).json()[0]
        assert (row[0], row[6], float(row[5])) == (START, START + MINUTE - 1, 0.0)
        local.step()
        closed, going = rest.ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=2).json()
        assert (closed[0], going[0]) == (START, START + MINUTE)
        assert float(closed[5]) > 0


def test_the_client_of_python_binance_trades_and_reads(rest: Rest) -> None:
    client = rest.local.client()
    order = client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="1000")
    assert order["status"] == "FILLED" and sum(float(f["qty"]) for f in order["fills"]) == float(order["executedQty"])
    assert client.get_order(symbol="BTCUSDT", orderId=order["orderId"])["status"] == "FILLED"
    assert client.get_my_trades(symbol="BTCUSDT", orderId=order["orderId"])[0]["orderId"] == order["orderId"]
    assert float(client.get_asset_balance("BTC")["free"]) > 0
    assert client.get_system_status()["status"] == 0
    assert client.response.headers["x-mbx-used-weight-1m"]


def test_the_archive_is_served_from_the_same_bars() -> None:
    with exchange(bars=3000) as local:
        rest = Rest(local)
        path = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-01.zip"
        assert rest.send("GET", path).status_code == 404
        local.step(2900)  # A day after the day has ended.
        found, total = rest.send("GET", path), rest.send("GET", f"{path}.CHECKSUM")
        assert found.content[:2] == b"PK"
        assert total.text == f"{hashlib.sha256(found.content).hexdigest()}  BTCUSDT-1h-2024-01-01.zip\n"
        assert rest.send("GET", path.replace("BTCUSDT", "XRPUSDT")).status_code == 404
