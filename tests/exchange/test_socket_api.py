"""The WebSocket API: the same answers as REST, its refusals, and the user data stream."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from exchange.servers import Rest, Socket, exchange, forgive, signature, stamped

from pipeline.testing import LocalExchange

PATH = "/ws-api/v3"
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
LIMIT = MARKET | {"quantity": "0.1", "type": "LIMIT", "timeInForce": "GTC", "price": "20000"}


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalExchange]:
    with exchange(("BTCUSDT", "ETHUSDT")) as running:
        yield running


@pytest.fixture
def local(shared: LocalExchange) -> LocalExchange:
    forgive(shared)
    return shared


def call(local: LocalExchange, method: str, params: Any = None) -> Any:
    """One request over a socket of its own."""

    async def talk() -> Any:
        async with Socket(local, PATH) as socket:
            return await socket.call(method, params)

    return asyncio.run(talk())


def signed(local: LocalExchange, method: str, **params: Any) -> Any:
    async def talk() -> Any:
        async with Socket(local, PATH) as socket:
            return await socket.signed(method, **params)

    return asyncio.run(talk())


def code(reply: dict[str, Any]) -> tuple[int, int]:
    return reply["status"], reply["error"]["code"]


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("klines", "klines", {"symbol": "BTCUSDT", "interval": "5m", "limit": 3}),
        ("depth", "depth", {"symbol": "BTCUSDT", "limit": 5}),
        ("avgPrice", "avgPrice", {"symbol": "BTCUSDT"}),
        ("ticker.price", "ticker/price", {"symbols": ["BTCUSDT", "ETHUSDT"]}),
        ("ticker.book", "ticker/bookTicker", {}),
        ("ticker.24hr", "ticker/24hr", {"symbol": "BTCUSDT"}),
        ("trades.aggregate", "aggTrades", {"symbol": "BTCUSDT", "limit": 3}),
    ],
)
def test_market_data_are_those_of_rest(local: LocalExchange, method: str, path: str, params: dict[str, Any]) -> None:
    reply = call(local, method, params)
    asked = {name: str(value).replace("'", '"') for name, value in params.items()}
    assert reply["status"] == 200 and reply["id"] == 2
    assert reply["result"] == Rest(local).ask(f"/api/v3/{path}", **asked).json()


def test_rate_limits_are_left_out_of_replies_where_the_request_or_the_connection_says_so(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, PATH) as socket:
            silent = {"symbol": "BTCUSDT", "returnRateLimits": False}
            assert (await socket.call("avgPrice", silent)).keys() == {"id", "status", "result"}
            assert "rateLimits" not in await socket.call("avgPrice", silent | {"symbol": "NOSUCHUSDT"})
            assert "rateLimits" in await socket.call("ping")
            assert "rateLimits" not in await socket.signed("account.status", returnRateLimits="false")
        async with Socket(local, f"{PATH}?returnRateLimits=false") as socket:
            assert "rateLimits" not in await socket.call("ping")
            assert "rateLimits" in await socket.call("ping", {"returnRateLimits": True})

    asyncio.run(talk())


def test_each_reply_tells_the_weight_that_is_used(local: LocalExchange) -> None:
    async def talk() -> list[int]:
        async with Socket(local, PATH) as socket:
            replies = [
                await socket.call("ping"),
                await socket.call("klines", {"symbol": "BTCUSDT", "interval": "1m"}),
                await socket.call("depth", {"symbol": "BTCUSDT", "limit": 5000}),
                await socket.signed("order.place", **LIMIT),
                await socket.signed("order.place", **(LIMIT | {"quantity": "0"})),
            ]
            rules = [next(one for one in r["rateLimits"] if one["rateLimitType"] == "REQUEST_WEIGHT") for r in replies]
            return [one["count"] for one in rules]

    # Two for the connection; a success of an order costs nothing.
    assert asyncio.run(talk()) == [3, 5, 255, 255, 256]


def test_order_counts_are_those_of_the_account_that_asks() -> None:
    accounts = [{"key": "first-key", "secret": "a"}, {"key": "second-key", "secret": "b"}]
    with exchange(scenario={"accounts": accounts}) as local:
        for _ in range(2):
            signed(local, "order.place", **LIMIT)

        async def as_second() -> Any:
            async with Socket(local, PATH) as socket:
                whole = stamped(LIMIT) | {"apiKey": "second-key"}
                payload = "&".join(f"{name}={value}" for name, value in sorted(whole.items()))
                return await socket.call("order.place", whole | {"signature": signature("b", payload)})

        rules = asyncio.run(as_second())["rateLimits"]
        assert [one["count"] for one in rules if one["rateLimitType"] == "ORDERS"] == [1, 1]


def test_an_order_is_placed_asked_for_and_canceled(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, PATH) as socket:
            placed = (await socket.signed("order.place", **LIMIT))["result"]
            found = (await socket.signed("order.status", symbol="BTCUSDT", orderId=placed["orderId"]))["result"]
            assert found["status"] == "NEW" and found["clientOrderId"] == placed["clientOrderId"]
            ended = (await socket.signed("order.cancel", symbol="BTCUSDT", orderId=placed["orderId"]))["result"]
            assert ended["status"] == "CANCELED"
            again = await socket.signed("order.cancel", symbol="BTCUSDT", orderId=placed["orderId"])
            assert code(again) == (400, -2011)

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("method", "status", "number"),
    [
        ("dance", 404, -1000),
        ("userDataStream.subscribe", 400, -4056),
        ("session.logon", 400, -4056),
        ("session.logout", 400, -4062),
        ("klines", 400, -1102),
        ("order.place", 400, -1102),
        (7, 400, -1102),
        (None, 400, -1102),
    ],
)
def test_refused_methods(local: LocalExchange, method: Any, status: int, number: int) -> None:
    reply = call(local, method)
    assert code(reply) == (status, number)
    assert reply["id"] == 2 and reply["rateLimits"]


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("{", -1135),
        ("[]", -1135),
        ("1", -1135),
        ("[" * 20_000, -1135),
        ({"id": 1, "method": "klines", "params": []}, -1100),
        ({"id": 1, "method": "klines", "params": {"symbol": {"a": 1}}}, -1100),
        ({"id": 1, "method": "ticker.price", "params": {"symbols": [[]]}}, -1100),
        ({"id": 1, "method": "order.place", "params": {"symbol": "\ud800"}}, -1100),
        ({"id": 1, "method": "order.place", "params": {"apiKey": "\ud800"}}, -1100),
        ({"id": {}, "method": "dance"}, -1000),
    ],
)
def test_malformed_requests_are_answered_and_the_socket_stays(local: LocalExchange, message: Any, number: int) -> None:
    async def talk() -> None:
        async with Socket(local, PATH) as socket:
            await socket.send(message)
            assert (await socket.next())["error"]["code"] == number
            assert (await socket.call("ping"))["result"] == {}

    asyncio.run(talk())


def test_too_much_weight_is_told_with_the_time_to_come_back_and_then_banned() -> None:
    with exchange(scenario={"limits": {"weight_per_minute": 21, "warnings": 1}}) as local:

        async def talk() -> list[Any]:
            async with Socket(local, PATH) as socket:
                return [await socket.call("exchangeInfo", {"symbol": "BTCUSDT"}) for _ in range(3)]

        first, second, third = asyncio.run(talk())
        assert code(first) == (429, -1003) and code(third) == (418, -1003)
        assert second["error"]["data"]["retryAfter"] > second["error"]["data"]["serverTime"] > 1e12
        # A banned address gets no socket at all.
        assert Rest(local).send("GET", PATH).status_code == 418


# User data


async def subscribed(socket: Socket) -> int:
    reply = await socket.signed("userDataStream.subscribe.signature")
    return int(reply["result"]["subscriptionId"])


async def after(socket: Socket, count: int) -> list[Any]:
    return [await socket.next() for _ in range(count)]


def test_an_accounts_events_come_to_who_subscribed(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, PATH) as socket, Socket(local, PATH) as stranger:
            number = await subscribed(socket)
            order = await asyncio.to_thread(lambda: Rest(local).buy(quantity="0.001").json())
            told = await after(socket, 3)
            assert {one["subscriptionId"] for one in told} == {number}
            new, trade, position = [one["event"] for one in told]
            assert (new["e"], new["x"], new["X"]) == ("executionReport", "NEW", "NEW")
            assert (trade["x"], trade["X"], trade["i"], trade["z"]) == (
                "TRADE",
                "FILLED",
                order["orderId"],
                "0.00100000",
            )
            assert position["e"] == "outboundAccountPosition" and {one["a"] for one in position["B"]} == {"BTC", "USDT"}
            assert await stranger.waiting() == []

    asyncio.run(talk())


def test_one_subscription_of_an_account_on_a_socket(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, PATH) as socket:
            number = await subscribed(socket)
            assert code(await socket.signed("userDataStream.subscribe.signature")) == (400, -2035)
            assert (await socket.call("session.subscriptions"))["result"] == [{"subscriptionId": number}]
            assert code(await socket.call("userDataStream.unsubscribe", {"subscriptionId": 99})) == (400, -2036)
            assert (await socket.call("userDataStream.unsubscribe", {"subscriptionId": number}))["status"] == 200
            assert code(await socket.call("userDataStream.unsubscribe")) == (400, -2036)
            await asyncio.to_thread(Rest(local).buy)
            assert await socket.waiting() == []
            assert await subscribed(socket) == number + 1

    asyncio.run(talk())


def test_fills_of_resting_orders_are_told_when_the_market_reaches_them(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, PATH) as socket:
            await subscribed(socket)
            best = float(Rest(local).ask("/api/v3/ticker/bookTicker", symbol="BTCUSDT").json()["bidPrice"])
            await asyncio.to_thread(lambda: Rest(local).rest_order(quantity="0.01", price=f"{best * 0.9995:.2f}"))
            await after(socket, 2)
            for _ in range(30):
                await asyncio.to_thread(local.step)
                told = [one["event"] for one in await socket.waiting(0.02)]
                if told:
                    break
            report = told[0]
            assert (report["e"], report["x"], report["m"]) == ("executionReport", "TRADE", True)
            assert float(report["L"]) == float(report["p"])

    asyncio.run(talk())


@pytest.mark.parametrize(("order", "first"), [("before", "event"), ("after", "result")])
def test_events_come_before_or_after_the_reply(order: str, first: str) -> None:
    with exchange(scenario={"reports": order}) as local:

        async def talk() -> None:
            async with Socket(local, PATH) as socket:
                await subscribed(socket)
                await socket.send({"id": 9, "method": "order.place", "params": socket.sign(**MARKET)})
                told = await after(socket, 4)
                kinds = ["result" if "result" in one else "event" for one in told]
                assert kinds[0] == first and kinds.count("event") == 3

        asyncio.run(talk())


def test_events_come_at_random_and_the_same_way_with_the_same_seed() -> None:
    async def orders(local: LocalExchange) -> list[bool]:
        async with Socket(local, PATH) as socket:
            await subscribed(socket)
            early = []
            for _ in range(12):
                await socket.send({"id": 9, "method": "order.place", "params": socket.sign(**MARKET)})
                early.append("event" in (await after(socket, 4))[0])
            return early

    runs = []
    for seed in (1, 1, 2):
        with exchange(scenario={"reports": "random"}, seed=seed) as local:
            runs.append(asyncio.run(orders(local)))
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {True, False}


def test_python_binance_trades_over_the_socket_and_hears_of_it() -> None:
    from binance import AsyncClient, BinanceSocketManager

    async def talk(local: LocalExchange) -> list[Any]:
        client = await type("C", (AsyncClient,), local.attributes()).create(local.key, local.secret)
        client.ws_api._ws_kwargs = {"proxy": None}
        socket = BinanceSocketManager(client).user_socket()
        await socket.__aenter__()
        try:
            order = await client.ws_create_order(**MARKET)
            assert order["status"] == "FILLED"
            found = await client.ws_get_order(symbol="BTCUSDT", orderId=order["orderId"])
            assert found["executedQty"] == "0.00100000"
            return [await asyncio.wait_for(socket.recv(), 60) for _ in range(3)]
        finally:
            # Closed from below: the client's own way waits ten seconds for a message.
            await client.ws_api.ws.close()
            await client.session.close()

    with exchange() as local:
        told = asyncio.run(talk(local))
    assert [one["e"] for one in told] == ["executionReport", "executionReport", "outboundAccountPosition"]
