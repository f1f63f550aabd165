"""Market streams: what each tells, how a socket chooses among them, and that bars and books agree with REST."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest
from builders import bars, random_walk
from exchange.servers import MINUTE, START, Rest, Socket, exchange, forgive

from pipeline.exchange.local import server as server_module
from pipeline.market import candles
from pipeline.testing import LocalExchange, Setup


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalExchange]:
    with exchange(("BTCUSDT", "ETHUSDT"), bars=20_000) as running:
        yield running


@pytest.fixture
def local(shared: LocalExchange) -> LocalExchange:
    forgive(shared)
    return shared


async def step(local: LocalExchange, bars: int = 1) -> None:
    await asyncio.to_thread(local.step, bars)


async def heard(local: LocalExchange, path: str, bars: int = 1) -> list[Any]:
    """What a socket is told while the market goes on."""
    async with Socket(local, path) as socket:
        await socket.call("LIST_SUBSCRIPTIONS")
        await step(local, bars)
        return await socket.waiting()


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# Choosing streams


def test_a_raw_socket_gets_bare_events_and_a_combined_one_their_stream(local: LocalExchange) -> None:
    raw = run(heard(local, "/ws/btcusdt@kline_1m"))
    assert {one["e"] for one in raw} == {"kline"}
    both = run(heard(local, "/stream?streams=btcusdt@kline_1m/ethusdt@trade"))
    assert {one["stream"] for one in both} == {"btcusdt@kline_1m", "ethusdt@trade"}
    assert {one["data"]["s"] for one in both} == {"BTCUSDT", "ETHUSDT"}


def test_several_raw_streams_share_a_path(local: LocalExchange) -> None:
    assert {one["s"] for one in run(heard(local, "/ws/btcusdt@trade/ethusdt@trade"))} == {"BTCUSDT", "ETHUSDT"}


def test_subscriptions_come_and_go(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, "/ws") as socket:
            assert await socket.call("SUBSCRIBE", ["btcusdt@trade", "ethusdt@trade"]) == {"result": None, "id": 2}
            listed = await socket.call("LIST_SUBSCRIPTIONS")
            assert sorted(listed["result"]) == ["btcusdt@trade", "ethusdt@trade"]
            assert (await socket.call("UNSUBSCRIBE", ["ethusdt@trade"]))["result"] is None
            await step(local)
            assert {one["s"] for one in await socket.waiting()} == {"BTCUSDT"}
            assert (await socket.call("UNSUBSCRIBE", ["btcusdt@trade"]))["result"] is None
            await step(local)
            assert await socket.waiting() == []

    run(talk())


def test_the_combined_property_can_be_asked_for_and_changed(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, "/ws/btcusdt@trade") as socket:
            assert (await socket.call("GET_PROPERTY", ["combined"]))["result"] is False
            assert (await socket.call("SET_PROPERTY", ["combined", True]))["result"] is None
            assert (await socket.call("GET_PROPERTY", ["combined"]))["result"] is True
            await step(local)
            assert {one["stream"] for one in await socket.waiting()} == {"btcusdt@trade"}

    run(talk())


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("{", 3),
        ("[1]", 1),
        ('"a"', 1),
        ({"id": True, "method": "LIST_SUBSCRIPTIONS"}, 1),
        ({"id": 1.5, "method": "LIST_SUBSCRIPTIONS"}, 1),
        ({"id": [], "method": "LIST_SUBSCRIPTIONS"}, 1),
        ({"id": 1}, 2),
        ({"id": 1, "method": "DANCE", "params": []}, 2),
        ({"id": 1, "method": ["SUBSCRIBE"], "params": []}, 2),
        ({"id": 1, "method": "SUBSCRIBE", "params": "btcusdt@trade"}, 1),
        ({"id": 1, "method": "SUBSCRIBE", "params": [1]}, 2),
        ({"id": 1, "method": "SUBSCRIBE", "params": ["btcusdt@trade", "btcusdt@nothing"]}, 2),
        ({"id": 1, "method": "SUBSCRIBE", "params": ["xrpusdt@trade"]}, 2),
        ({"id": 1, "method": "SUBSCRIBE", "params": ["btcusdt@kline_7m"]}, 2),
        ({"id": 1, "method": "SUBSCRIBE", "params": ["btcusdt@trade"] * 2001}, 1),
        ({"id": 1, "method": "SET_PROPERTY", "params": ["combined", "yes"]}, 2),
        ({"id": 1, "method": "SET_PROPERTY", "params": ["color", True]}, 2),
    ],
)
def test_a_wrong_request_is_answered_and_changes_nothing(local: LocalExchange, message: Any, error: int) -> None:
    async def talk() -> None:
        async with Socket(local, "/ws") as socket:
            await socket.send(message)
            assert (await socket.next())["error"]["code"] == error
            assert (await socket.call("LIST_SUBSCRIPTIONS"))["result"] == []

    run(talk())


@pytest.mark.parametrize("path", ["/ws/btcusdt@nothing", "/ws/BTCUSDT@trade", "/stream?streams=xrpusdt@kline_1m"])
def test_an_unknown_stream_in_the_address_is_told_and_closes_the_socket(local: LocalExchange, path: str) -> None:
    async def talk() -> None:
        async with Socket(local, path) as socket:
            assert "unknown stream" in (await socket.next())["error"]["msg"]
            assert await socket.closed() == 1008

    run(talk())


def test_a_number_in_the_address_names_the_socket_and_no_stream(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, "/ws/0") as socket:
            assert (await socket.call("SUBSCRIBE", ["btcusdt@trade"]))["result"] is None
            assert (await socket.call("LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@trade"]

    run(talk())


def test_a_socket_that_says_too_much_is_closed(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, "/ws") as socket:
            for _ in range(6):
                await socket.send({"id": 1, "method": "LIST_SUBSCRIPTIONS"})
            assert await socket.closed() == 1008

    run(talk())


# Bars


def closes(messages: list[Any], interval: str, symbol: str = "BTCUSDT") -> list[Any]:
    found = [one.get("data", one)["k"] for one in messages if one.get("data", one)["e"] == "kline"]
    return [k for k in found if k["x"] and k["i"] == interval and k["s"] == symbol]


def as_row(k: dict[str, Any]) -> list[Any]:
    return [k[name] for name in "tohlcvTqnVQ"] + ["0"]


def test_each_bar_of_each_interval_closes_once_and_equals_rest() -> None:
    intervals = ("1m", "3m", "5m", "15m", "1h")
    with exchange(bars=200) as local:
        path = "/stream?streams=" + "/".join(f"btcusdt@kline_{one}" for one in intervals)
        messages = run(heard(local, path, 125))
        rest = Rest(local)
        for interval in intervals:
            told = [as_row(k) for k in closes(messages, interval)]
            rows = rest.ask("/api/v3/klines", symbol="BTCUSDT", interval=interval, startTime=START).json()
            closed = [row for row in rows if row[6] < START + 125 * MINUTE]
            assert told == closed, interval
            assert len(told) == 125 * MINUTE // {"1h": 60 * MINUTE}.get(interval, int(interval[:-1] or 0) * MINUTE)


def test_an_open_bar_grows_to_what_it_closes_as(local: LocalExchange) -> None:
    told = [one["k"] for one in run(heard(local, "/ws/btcusdt@kline_1m"))]
    first = [k for k in told if k["t"] == told[0]["t"]]
    assert [k["x"] for k in first] == [False] * (len(first) - 1) + [True]
    for before, after in itertools.pairwise(first):
        assert float(before["h"]) <= float(after["h"]) and float(before["l"]) >= float(after["l"])
        assert float(before["v"]) <= float(after["v"]) and before["o"] == after["o"]
    assert not told[-1]["x"] and told[-1]["t"] == told[0]["t"] + MINUTE


def with_gap(folder: Path, missing: Callable[[int], bool]) -> LocalExchange:
    """A market of three hours from which minutes are missing."""
    table = bars(random_walk(400), start_ms=START - 200 * MINUTE, filled=False)
    keep = [not missing((int(t) - START) // MINUTE) for t in candles.times_ms(table)]
    pq.write_table(table.filter(keep), folder / "BTCUSDT_1m.parquet")
    return LocalExchange(Setup(data=folder, start_ms=START))


def test_a_longer_bar_whose_last_minutes_are_missing_closes_when_the_next_bar_opens(tmp_path: Path) -> None:
    with with_gap(tmp_path, lambda minute: minute in (3, 4, 5, 6, 12, 20, 21, 22, 23, 24)) as local:
        messages = run(heard(local, "/stream?streams=btcusdt@kline_1m/btcusdt@kline_5m", 40))
        told = [as_row(k) for k in closes(messages, "5m")]
        rows = Rest(local).ask("/api/v3/klines", symbol="BTCUSDT", interval="5m", startTime=START).json()
        assert told == rows[: len(told)] and len(told) == 9
        assert [(row[0] - START) // MINUTE for row in told] == [0, 5, 10, 15, 25, 30, 35, 40, 45]


# Books


class Book:
    """A book kept by the documented rules. Raises AssertionError when a difference does not follow."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.id = snapshot["lastUpdateId"]
        self.bids = dict(map(tuple, snapshot["bids"]))
        self.asks = dict(map(tuple, snapshot["asks"]))
        self.started = False

    def take(self, diff: dict[str, Any]) -> None:
        if diff["u"] <= self.id:
            return
        assert diff["U"] <= self.id + 1 <= diff["u"] if not self.started else diff["U"] == self.id + 1
        self.started, self.id = True, diff["u"]
        for side, levels in ((self.bids, diff["b"]), (self.asks, diff["a"])):
            for price, size in levels:
                if float(size):
                    side[price] = size
                else:
                    side.pop(price, None)

    def equals(self, snapshot: dict[str, Any]) -> bool:
        return (self.bids, self.asks) == (dict(map(tuple, snapshot["bids"])), dict(map(tuple, snapshot["asks"])))


@pytest.mark.parametrize("name", ["depth", "depth@100ms"])
def test_a_snapshot_and_the_differences_after_it_are_the_book_of_rest(local: LocalExchange, name: str) -> None:
    async def follow() -> None:
        # Another listener to the other rate must not take differences away from this one.
        async with (
            Socket(local, "/ws/btcusdt@depth/btcusdt@depth@100ms"),
            Socket(local, f"/ws/btcusdt@{name}") as socket,
        ):
            rest = Rest(local)
            await step(local)
            book = Book(rest.ask("/api/v3/depth", symbol="BTCUSDT", limit=5000).json())
            for _ in range(20):
                await step(local)
                for diff in await socket.waiting(0.05):
                    book.take(diff)
                now = rest.ask("/api/v3/depth", symbol="BTCUSDT", limit=5000).json()
                assert book.id == now["lastUpdateId"] and book.equals(now)

    run(follow())


def test_a_book_can_be_kept_by_who_comes_later_or_comes_back(local: LocalExchange) -> None:
    async def follow() -> None:
        rest = Rest(local)
        for _ in range(3):
            await step(local, 3)
            async with Socket(local, "/ws/btcusdt@depth") as socket:
                await socket.call("LIST_SUBSCRIPTIONS")
                book = Book(rest.ask("/api/v3/depth", symbol="BTCUSDT", limit=5000).json())
                await step(local, 2)
                for diff in await socket.waiting():
                    book.take(diff)
                assert book.equals(rest.ask("/api/v3/depth", symbol="BTCUSDT", limit=5000).json())

    run(follow())


def test_partial_books_and_best_prices_are_those_of_rest(local: LocalExchange) -> None:
    path = "/stream?streams=btcusdt@depth5/btcusdt@depth10@100ms/btcusdt@bookTicker"
    last = {one["stream"]: one["data"] for one in run(heard(local, path))}
    rest = Rest(local)
    for count, name in ((5, "depth5"), (10, "depth10@100ms")):
        assert last[f"btcusdt@{name}"] == rest.ask("/api/v3/depth", symbol="BTCUSDT", limit=count).json()
    best, shown = rest.ask("/api/v3/ticker/bookTicker", symbol="BTCUSDT").json(), last["btcusdt@bookTicker"]
    assert [shown[name] for name in "sbBaA"] == [
        best[n] for n in ("symbol", "bidPrice", "bidQty", "askPrice", "askQty")
    ]


def test_best_prices_of_all_symbols_in_one_stream(local: LocalExchange) -> None:
    assert {one["s"] for one in run(heard(local, "/ws/!bookTicker"))} == {"BTCUSDT", "ETHUSDT"}


# Trades and statistics


def test_trades_lie_in_their_bar(local: LocalExchange) -> None:
    told = run(heard(local, "/stream?streams=btcusdt@trade/btcusdt@aggTrade", 5))
    rows = {row[0]: row for row in Rest(local).ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=10).json()}
    trades = [one["data"] for one in told if one["data"]["e"] == "trade"]
    assert len(trades) == 15 == sum(one["data"]["e"] == "aggTrade" for one in told)
    assert [one["t"] for one in trades] == sorted({one["t"] for one in trades})
    for trade in trades:
        row = rows[trade["T"] // MINUTE * MINUTE]
        assert float(row[3]) <= float(trade["p"]) <= float(row[2])
        assert float(trade["q"]) > 0 and isinstance(trade["m"], bool)


def test_tickers_are_those_of_rest(local: LocalExchange) -> None:
    path = "/stream?streams=btcusdt@miniTicker/btcusdt@ticker/!miniTicker@arr/!ticker@arr/btcusdt@avgPrice"
    last = {one["stream"]: one["data"] for one in run(heard(local, path))}
    rest = Rest(local)
    row = rest.ask("/api/v3/ticker/24hr", symbol="BTCUSDT").json()
    names = {"c": "lastPrice", "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume", "q": "quoteVolume"}
    more = {"p": "priceChange", "P": "priceChangePercent", "w": "weightedAvgPrice", "x": "prevClosePrice",
            "Q": "lastQty", "b": "bidPrice", "B": "bidQty", "a": "askPrice", "A": "askQty", "O": "openTime",
            "C": "closeTime", "F": "firstId", "L": "lastId", "n": "count"}  # fmt: skip
    mini, full = last["btcusdt@miniTicker"], last["btcusdt@ticker"]
    assert {key: mini[key] for key in names} == {key: row[name] for key, name in names.items()}
    assert {key: full[key] for key in names | more} == {key: row[name] for key, name in (names | more).items()}
    assert mini in last["!miniTicker@arr"] and full in last["!ticker@arr"] and len(last["!ticker@arr"]) == 2
    assert last["btcusdt@avgPrice"]["w"] == rest.ask("/api/v3/avgPrice", symbol="BTCUSDT").json()["price"]


# Keeping alive


def test_a_ping_is_answered_with_its_payload(local: LocalExchange) -> None:
    async def talk() -> None:
        async with Socket(local, "/ws") as socket:
            await socket.ws.ping(b"hello")
            message = await socket.ws.receive(5)
            assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"hello")

    run(talk())


def test_the_server_pings_and_closes_who_does_not_answer_or_has_been_open_for_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def talk(answers: bool) -> int | None:
        async with Socket(local, "/ws") as socket:
            for _ in range(40):
                message = await socket.ws.receive(5)
                if message.type == aiohttp.WSMsgType.PING and answers:
                    await socket.ws.pong(message.data)
                elif message.type != aiohttp.WSMsgType.PING:
                    return int(message.data) if message.type == aiohttp.WSMsgType.CLOSE else socket.ws.close_code
            return None

    monkeypatch.setattr(server_module, "_PING_SECONDS", 0.02)
    monkeypatch.setattr(server_module, "_PONG_SECONDS", 0.3)
    monkeypatch.setattr(server_module, "_MESSAGES_PER_SECOND", 1000)
    with exchange() as local:
        assert run(talk(answers=False)) == 1001
        assert run(talk(answers=True)) is None
        monkeypatch.setattr(server_module, "_DAY_SECONDS", 0.1)
        assert run(talk(answers=True)) == 1001


def test_python_binance_follows_bars() -> None:
    from binance import AsyncClient, BinanceSocketManager

    async def follow(local: LocalExchange) -> list[int]:
        client = await type("C", (AsyncClient,), local.attributes()).create(local.key, local.secret)
        manager = type("M", (BinanceSocketManager,), {"STREAM_URL": f"{local.streams_url}/"})(client)
        manager.ws_kwargs = {"proxy": None}
        seen: list[int] = []
        socket = manager.kline_socket("BTCUSDT", "1m")
        await socket.__aenter__()
        try:
            await step(local, 5)
            while len(seen) < 5:
                message = await asyncio.wait_for(socket.recv(), 60)
                seen += [message["k"]["t"]] if message["k"]["x"] else []
        finally:
            # It waits ten seconds for a message before it closes.
            await asyncio.gather(socket.__aexit__(None, None, None), step(local))
            await client.session.close()
        return seen

    with exchange() as local:
        assert run(follow(local)) == [START + i * MINUTE for i in range(5)]
