"""Each fault of the menu does what its words say, seen from a client."""

import ast
import asyncio
import socket as sockets
import threading
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from exchange.servers import MINUTE, START, Rest, Socket, address, code, exchange, inside
from pydantic import ValidationError

from pipeline.errors import BadInput
from pipeline.exchange.local.faults import KINDS, At, Fault, Faults
from pipeline.exchange.local.journal import read
from pipeline.exchange.local.running import make
from pipeline.exchange.local.scenario import Scenario, load
from pipeline.testing import LocalExchange

API = "/ws-api/v3"


def fault(local: LocalExchange, kind: str, **args: Any) -> int:
    return local.fault(kind, **args)


async def step(local: LocalExchange, bars: int = 1) -> None:
    await asyncio.to_thread(local.step, bars)


def closed(messages: list[Any]) -> list[int]:
    """Minutes since the start of the bars that were told as closed."""
    return [(one["k"]["t"] - START) // MINUTE for one in messages if one.get("e") == "kline" and one["k"]["x"]]


def shown(local: LocalExchange, count: int, interval: str = "1m") -> list[Any]:
    rows = Rest(local).ask("/api/v3/klines", symbol="BTCUSDT", interval=interval, startTime=START).json()
    return [(row[0] - START) // MINUTE for row in rows][:count]


async def bars_under(local: LocalExchange, kind: str, **args: Any) -> list[Any]:
    """Closed-bar messages of five bars, of which the third is hit."""
    async with Socket(local, "/ws/btcusdt@kline_1m") as socket:
        await socket.call("LIST_SUBSCRIPTIONS")
        fault(local, kind, at=At(bar=2), **args)
        await step(local, 5)
        return await socket.waiting()


# Market streams


@pytest.mark.parametrize(("mode", "expected"), [("clean", 1001), ("server", 1011), ("rst", 1006)])
def test_dropped_market_sockets_can_be_opened_again(mode: str, expected: int) -> None:
    async def talk() -> None:
        async with Socket(local, "/ws/btcusdt@trade") as first, Socket(local, API) as other:
            fault(local, "ws_drop", mode=mode)
            assert await first.closed() == expected
            assert (await other.call("ping"))["status"] == 200
        async with Socket(local, "/ws/btcusdt@trade") as second:
            await second.call("LIST_SUBSCRIPTIONS")
            await step(local)
            assert len(await second.waiting()) == 3

    with exchange() as local:
        asyncio.run(talk())


def test_a_half_open_socket_says_nothing_not_even_pong_and_then_goes_on() -> None:
    async def talk() -> None:
        async with Socket(local, "/ws/btcusdt@trade") as muted:
            await muted.call("LIST_SUBSCRIPTIONS")
            fault(local, "ws_half_open", seconds=0.5)
            await muted.ws.ping(b"there?")
            await step(local)
            with pytest.raises(TimeoutError):
                await muted.ws.receive(0.2)
            async with Socket(local, "/ws/btcusdt@trade") as fresh:
                await fresh.call("LIST_SUBSCRIPTIONS")
                await step(local)
                assert len(await fresh.waiting()) == 3
            await asyncio.sleep(0.4)
            await step(local)
            assert len(await muted.waiting()) == 3

    with exchange() as local:
        asyncio.run(talk())


def refused(local: LocalExchange) -> bool:
    with sockets.socket() as one:
        one.settimeout(2)
        return one.connect_ex(address(local)) != 0


def comes_back(local: LocalExchange, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while refused(local):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_outage_breaks_and_refuses_connections_and_ends_on_the_same_port() -> None:
    with exchange() as local:
        rest, port = Rest(local), address(local)[1]
        assert rest.ask("/api/v3/ping").ok
        # Asked for over the wire: the reply still comes.
        assert rest.emu("fault", kind="outage", args={"seconds": 0.4}).json() == {"id": 1}
        time.sleep(0.1)
        assert refused(local)
        with pytest.raises(requests.ConnectionError):
            rest.ask("/api/v3/ping")
        comes_back(local)
        assert rest.ask("/api/v3/ping").ok and address(local)[1] == port


def test_outages_that_overlap_end_together() -> None:
    with exchange() as local:
        fault(local, "outage", seconds=0.2)
        fault(local, "outage", seconds=0.6)
        fault(local, "outage", seconds=0.1)
        time.sleep(0.4)
        assert refused(local)
        comes_back(local)
        fault(local, "outage", seconds=0.1)
        time.sleep(0.05)
        assert refused(local)
        comes_back(local)
        assert Rest(local).ask("/api/v3/ping").ok


def test_an_outage_ends_as_soon_as_its_port_is_free_again() -> None:
    with exchange() as local:
        where = address(local)
        fault(local, "outage", seconds=0.1)
        with sockets.socket() as thief:
            while thief.connect_ex(where) == 0:
                time.sleep(0.01)
        with sockets.socket() as thief:
            thief.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
            thief.bind(where)
            thief.listen()
            time.sleep(0.3)
        comes_back(local)
        assert Rest(local).ask("/api/v3/ping").ok


def test_a_step_into_an_outage_is_answered() -> None:
    with exchange() as local:
        fault(local, "outage", at=At(bar=2), seconds=0.2)
        # Long enough for the connection to be broken on the way.
        assert Rest(local).emu("step", bars=250).json()["bar"] == 250
        time.sleep(0.05)
        comes_back(local)
        assert Rest(local).emu("step").json()["bar"] == 251


def test_closed_bars_twice_late_and_open_again() -> None:
    with exchange() as local:
        assert closed(asyncio.run(bars_under(local, "kline_duplicate"))) == [0, 1, 2, 2, 3, 4]
    with exchange(("BTCUSDT", "ETHUSDT")) as local:
        assert closed(asyncio.run(bars_under(local, "kline_out_of_order", where="BTCUSDT"))) == [0, 1, 3, 2, 4]
    with exchange() as local:
        told = [(one["k"]["t"], one["k"]["x"]) for one in asyncio.run(bars_under(local, "kline_late_open"))]
        at = told.index((START + 2 * MINUTE, True))
        assert told[at + 1] == (START + 2 * MINUTE, False)


def test_a_closed_bar_that_is_not_told_is_in_rest() -> None:
    with exchange() as local:
        assert closed(asyncio.run(bars_under(local, "kline_missing"))) == [0, 1, 3, 4]
        assert shown(local, 5) == [0, 1, 2, 3, 4]


def test_a_bar_that_is_missing_is_missing_everywhere() -> None:
    with exchange() as local:
        assert closed(asyncio.run(bars_under(local, "bar_missing"))) == [0, 1, 3, 4]
        assert shown(local, 4) == [0, 1, 3, 4]
    with exchange() as local:
        fault(local, "bar_missing")
        local.step(6)
        assert shown(local, 2, "5m") == [0, 5]


def test_a_revised_bar_has_another_close_in_rest_than_in_the_stream() -> None:
    with exchange() as local:
        told = [one["k"] for one in asyncio.run(bars_under(local, "kline_revised", factor=1.01)) if one["k"]["x"]]
        rows = Rest(local).ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime=START).json()
        ratios = [float(row[4]) / float(k["c"]) for row, k in zip(rows[:5], told, strict=True)]
        assert ratios == pytest.approx([1, 1, 1.01, 1, 1])
        assert all(float(row[3]) <= float(row[4]) <= float(row[2]) for row in rows)


def test_faults_of_bars_happen_without_listeners_too() -> None:
    with exchange() as local:
        fault(local, "bar_missing", at=At(bar=1))
        local.step(3)
        assert shown(local, 3) == [0, 2, 3]


def test_a_shutdown_is_announced_on_every_socket_before_it_closes() -> None:
    async def talk() -> None:
        async with Socket(local, "/ws") as raw, Socket(local, "/stream") as both, Socket(local, API) as api:
            await api.call("ping")
            fault(local, "server_shutdown", seconds=0.1)
            assert (await raw.next())["e"] == "serverShutdown"
            told = await both.next()
            assert (told["stream"], told["data"]["e"]) == ("!serverShutdown", "serverShutdown")
            assert (await api.next())["event"]["e"] == "serverShutdown"
            assert [await one.closed() for one in (raw, both, api)] == [1001] * 3

    with exchange() as local:
        asyncio.run(talk())


def test_frames_that_are_no_json_huge_or_many() -> None:
    async def talk() -> None:
        async with Socket(local, "/ws/btcusdt@trade") as socket:
            await socket.call("LIST_SUBSCRIPTIONS")
            fault(local, "ws_malformed")
            with pytest.raises(ValueError, match="Expecting"):
                await socket.next()
            fault(local, "ws_huge", megabytes=2)
            message = await socket.ws.receive(5)
            assert len(message.data) > 2_000_000
            fault(local, "ws_burst", messages=3000)
            assert [one["x"] for one in await socket.waiting()] == list(range(3000))
            await step(local)
            assert len(await socket.waiting()) == 3

    with exchange() as local:
        asyncio.run(talk())


# WebSocket API and user data


@pytest.mark.parametrize(("mode", "expected"), [("clean", 1001), ("rst", 1006)])
def test_dropped_sockets_of_the_api_leave_market_sockets_alone(mode: str, expected: int) -> None:
    async def talk() -> None:
        async with Socket(local, API) as api, Socket(local, "/ws") as market:
            await api.call("ping")
            fault(local, "wsapi_drop", mode=mode)
            assert await api.closed() == expected
            assert (await market.call("LIST_SUBSCRIPTIONS"))["result"] == []

    with exchange() as local:
        asyncio.run(talk())


def test_a_late_error_comes_after_other_replies_and_nothing_was_done() -> None:
    async def talk() -> None:
        async with Socket(local, API) as api:
            fault(local, "wsapi_late_error", where="order.place", seconds=0.2)
            order = api.sign(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
            await api.send({"id": "late", "method": "order.place", "params": order})
            assert (await api.call("ping"))["status"] == 200
            late = await api.next()
            assert (late["id"], late["error"]["code"]) == ("late", -1007)

    with exchange() as local:
        asyncio.run(talk())
        assert local.balance("BTC") == 10


async def reports_under(local: LocalExchange, *faults: tuple[str, dict[str, Any]]) -> list[str]:
    """What a follower of the account hears of one order that is filled at once, and when the reply comes."""
    async with Socket(local, API) as api:
        await api.signed("userDataStream.subscribe.signature")
        for kind, args in faults:
            fault(local, kind, **args)
        order = api.sign(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
        await api.send({"id": 1, "method": "order.place", "params": order})
        told = await api.waiting()
        return [one["event"].get("x", "position") if "event" in one else "reply" for one in told]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([], ["reply", "NEW", "TRADE", "position"]),
        ([("report_lost", {})], ["reply", "TRADE", "position"]),
        ([("report_lost", {"count": 2})], ["reply", "position"]),
        ([("report_lost", {"where": "outboundAccountPosition"})], ["reply", "NEW", "TRADE"]),
        ([("report_duplicated", {})], ["reply", "NEW", "NEW", "TRADE", "position"]),
        ([("report_reordered", {})], ["reply", "TRADE", "NEW", "position"]),
        ([("report_before_reply", {})], ["NEW", "TRADE", "position", "reply"]),
        ([("report_before_reply", {}), ("report_lost", {})], ["TRADE", "position", "reply"]),
    ],
)
def test_reports_lost_doubled_out_of_order_and_early(faults: list[Any], expected: list[str]) -> None:
    with exchange() as local:
        assert asyncio.run(reports_under(local, *faults)) == expected


@pytest.mark.parametrize(("order", "came_first"), [("before", "event"), ("after", "reply")])
def test_a_report_of_an_order_over_rest_can_overtake_its_reply(order: str, came_first: str) -> None:
    with exchange(scenario={"reports": order}) as local:
        answered, first = threading.Event(), []

        def hear(key: str, event: dict[str, Any]) -> None:
            # Holds the server up until the client has its reply, or cannot get it because of this.
            first.append("reply" if answered.wait(0.2) else "event")

        inside(local, lambda server: setattr(server.venue, "on_user", hear))
        assert Rest(local).rest_order().ok
        answered.set()
        while not first:
            time.sleep(0.01)
        assert first[0] == came_first


# Orders


@pytest.mark.parametrize(
    ("how", "status", "number"), [("504", 504, None), ("-1007", 504, -1007), ("drop", None, None), ("hang", None, None)]
)
def test_a_lost_reply_leaves_one_filled_order(how: str, status: int | None, number: int | None) -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "lose_reply", where="order.place", how=how, seconds=0.2)
        order = {"symbol": "BTCUSDT", "newClientOrderId": "once", "quantity": "0.001"}
        if status is None:
            with pytest.raises(requests.ConnectionError):
                rest.buy(**order)
        else:
            reply = rest.buy(**order)
            assert reply.status_code == status
            assert number is None or reply.json()["code"] == number
        found = rest.signed("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="once").json()
        assert (found["status"], found["executedQty"]) == ("FILLED", "0.00100000")
        assert local.balance("BTC") > 10


@pytest.mark.parametrize(("how", "told"), [("-1007", -1007), ("mute", None), ("drop", "closed")])
def test_a_lost_reply_over_the_socket(how: str, told: Any) -> None:
    async def talk() -> None:
        async with Socket(local, API) as api:
            await api.call("ping")
            fault(local, "lose_reply", where="order.place", how=how)
            order = api.sign(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
            await api.send({"id": 7, "method": "order.place", "params": order})
            if told == "closed":
                assert await api.closed() == 1006
            elif told is None:
                assert await api.waiting(0.2) == []
            else:
                assert (await api.next())["error"]["code"] == told

    with exchange() as local:
        asyncio.run(talk())
        assert local.balance("BTC") > 10


@pytest.mark.parametrize(("how", "expected"), [("503", 503), ("-1001", 500), ("drop", None), ("hang", None)])
def test_an_order_that_is_not_accepted_does_not_exist(how: str, expected: int | None) -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "not_accepted", where="order.place", how=how, seconds=0.1)
        if expected is None:
            with pytest.raises(requests.ConnectionError):
                rest.buy()
        else:
            assert rest.buy().status_code == expected
        assert local.balance("BTC") == 10
        assert rest.buy().status_code == 200


def test_a_delete_that_is_executed_and_then_dropped_is_canceled() -> None:
    with exchange() as local:
        rest = Rest(local)
        number = rest.rest_order().json()["orderId"]
        fault(local, "lose_reply", where="order.cancel")
        with pytest.raises(requests.ConnectionError):
            rest.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=number)
        assert code(rest.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=number)) == (400, -2011)
        assert rest.signed("GET", "/api/v3/order", symbol="BTCUSDT", orderId=number).json()["status"] == "CANCELED"


def test_an_order_is_not_found_for_the_first_queries_and_nothing_else_is_disturbed() -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "not_found", count=2)
        number = rest.rest_order().json()["orderId"]
        replies = [rest.signed("GET", "/api/v3/order", symbol="BTCUSDT", orderId=number) for _ in range(3)]
        assert [one.json().get("code") for one in replies] == [-2013, -2013, None]


def test_orders_are_filled_for_a_share_while_it_lasts() -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "partial_fill", share="0.25", bars=2)
        first = rest.buy(quantity="0.004").json()
        assert (first["status"], first["executedQty"]) == ("EXPIRED", "0.00100000")
        local.step(2)
        assert rest.buy(quantity="0.004").json()["status"] == "FILLED"


@pytest.mark.parametrize("way", ["rest", "cancelReplace", "socket"])
def test_an_order_is_filled_just_before_its_cancel(way: str) -> None:
    async def over_socket(number: int) -> int:
        async with Socket(local, API) as api:
            reply = await api.signed("order.cancel", symbol="BTCUSDT", orderId=number)
            return int(reply["error"]["code"])

    with exchange() as local:
        rest = Rest(local)
        number = rest.rest_order().json()["orderId"]
        fault(local, "fill_during_cancel")
        if way == "rest":
            assert code(rest.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=number)) == (400, -2011)
        elif way == "socket":
            assert asyncio.run(over_socket(number)) == -2011
        else:
            other = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1"}
            mode = {"price": "21000", "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": number}
            assert code(rest.signed("POST", "/api/v3/order/cancelReplace", **other, **mode)) == (400, -2022)
        found = rest.signed("GET", "/api/v3/order", symbol="BTCUSDT", orderId=number).json()
        assert (found["status"], found["executedQty"]) == ("FILLED", "0.10000000")


def test_orders_are_refused_with_a_code_and_a_message() -> None:
    with exchange() as local:
        fault(local, "reject", where="order.place", code=-1008, message="Overloaded.")
        refused = Rest(local).buy()
        assert refused.json() == {"code": -1008, "msg": "Overloaded."}
        assert Rest(local).buy().status_code == 200


def test_a_filter_changes_while_the_exchange_runs() -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "filter_change", symbol="BTCUSDT", filter="LOT_SIZE", values={"minQty": "1", "stepSize": "1"})
        assert "LOT_SIZE" in rest.buy(quantity="0.5").json()["msg"]
        lots = rest.ask("/api/v3/exchangeInfo", symbol="BTCUSDT").json()["symbols"][0]["filters"]
        assert next(one for one in lots if one["filterType"] == "LOT_SIZE")["stepSize"] == "1"


def test_a_symbol_halts_and_trades_again() -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "symbol_status")
        assert rest.buy().json()["msg"] == "Market is closed."
        assert rest.ask("/api/v3/exchangeInfo").json()["symbols"][0]["status"] == "HALT"
        fault(local, "symbol_status", status="TRADING")
        assert rest.buy().status_code == 200


# Limits and delays


def test_rate_limit_is_429_first_and_418_for_who_goes_on() -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "rate_limit", seconds=1)
        replies = [rest.ask("/api/v3/ping") for _ in range(3)]
        assert [one.status_code for one in replies] == [429, 418, 418]
        assert [one.headers["Retry-After"] for one in replies] == ["1"] * 3
        time.sleep(1.01)
        assert rest.ask("/api/v3/ping").status_code == 200


def test_rate_limit_over_the_socket() -> None:
    async def talk() -> list[int]:
        async with Socket(local, API) as api:
            fault(local, "rate_limit", seconds=0.2)
            found = [(await api.call("ping"))["status"] for _ in range(2)]
            await asyncio.sleep(0.25)
            return [*found, (await api.call("ping"))["status"]]

    with exchange() as local:
        assert asyncio.run(talk()) == [429, 418, 200]


def test_pages_of_html_instead_of_an_answer() -> None:
    async def over_socket() -> int:
        async with Socket(local, API) as api:
            return int((await api.call("ping"))["status"])

    with exchange() as local:
        rest = Rest(local)
        fault(local, "waf")
        fault(local, "maintenance", at=At(nth_call=2))
        # They are REST's alone: the socket neither shows them nor uses them up.
        assert asyncio.run(over_socket()) == 200
        for status in (403, 200):
            page = rest.ask("/api/v3/ping")
            assert page.status_code == status and page.text.startswith("<html>")
        assert rest.ask("/api/v3/ping").json() == {}


def test_latency_holds_up_what_it_applies_to_and_nothing_else() -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "latency", where="time", ms=300, jitter_ms=10)
        assert rest.ask("/api/v3/ping").ok
        assert inside(local, lambda server: server.venue.faults.history) == []
        begin = time.monotonic()
        assert rest.ask("/api/v3/time").ok and time.monotonic() - begin >= 0.3
        assert [one["what"] for one in inside(local, lambda server: server.venue.faults.history)] == ["time"]


def test_latency_over_the_socket_lets_later_requests_overtake() -> None:
    async def talk() -> list[int]:
        async with Socket(local, API) as api:
            fault(local, "latency", where="time", ms=100)
            await api.send({"id": 1, "method": "time"})
            await api.send({"id": 2, "method": "ping"})
            return [(await api.next())["id"], (await api.next())["id"]]

    with exchange() as local:
        assert asyncio.run(talk()) == [2, 1]


def test_the_clock_jumps_and_drifts() -> None:
    with exchange() as local:
        rest = Rest(local)
        fault(local, "clock", skew_ms=7000)
        before = time.time() * 1000
        told = rest.ask("/api/v3/time").json()["serverTime"] - 7000
        assert before - 1 <= told <= time.time() * 1000
        assert code(rest.buy()) == (400, -1021)
        fault(local, "clock", skew_ms=0, drift_ms_per_s=1000)
        time.sleep(0.2)
        before = time.time() * 1000
        assert rest.ask("/api/v3/time").json()["serverTime"] - before > 100
        # A client that measures the offset is served.
        assert local.client().get_server_time()["serverTime"] > 0


# The exchange and others


def state(local: LocalExchange) -> Any:
    """All that a client can see of an account and its market."""
    rest = Rest(local)
    signed = ("openOrders", "allOrders", "myTrades", "allOrderList", "account")
    asked = [
        rest.signed("GET", f"/api/v3/{path}", **({} if path in ("account", "allOrderList") else {"symbol": "BTCUSDT"}))
        for path in signed
    ]
    public = [rest.ask(f"/api/v3/{path}", symbol="BTCUSDT") for path in ("ticker/24hr", "depth", "avgPrice")]
    assert all(one.ok for one in asked + public)
    return [one.json() for one in asked + public], local.journal()


def busy(local: LocalExchange) -> None:
    """Some orders, fills, faults and bars."""
    rest = Rest(local)
    best = float(rest.ask("/api/v3/ticker/bookTicker", symbol="BTCUSDT").json()["bidPrice"])
    for i in range(6):
        assert rest.rest_order(quantity="0.01", price=f"{best * (1 - 0.0004 * i):.2f}").ok
        assert rest.buy(quantity="0.002").ok
        local.step(3)
    legs = {"aboveType": "LIMIT_MAKER", "abovePrice": "90000", "belowType": "STOP_LOSS", "belowStopPrice": "20000"}
    assert rest.signed("POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="SELL", quantity="0.1", **legs).ok
    local.fault("foreign_deposit", asset="ETH", amount="3")
    local.fault("filter_change", filter="LOT_SIZE", values={"maxQty": "8000"})
    local.step(2)


def test_a_restart_brings_everything_back_from_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with exchange(journal=path) as local:
        busy(local)
        before, engine = state(local), inside(local, lambda server: server.venue.engine)
        fault(local, "restart", seconds=0.1)
        time.sleep(0.02)
        comes_back(local)
        assert inside(local, lambda server: server.venue.engine) is not engine
        assert state(local) == before
        assert path.read_text(encoding="utf-8") == before[1]
        local.step()
        assert Rest(local).buy().ok
        assert len(list(read(local.journal()))) > len(list(read(before[1])))


def test_what_a_client_sent_may_hold_what_ends_lines_elsewhere() -> None:
    with exchange() as local:
        for odd in ("a\u2028b", "a\x85b", "a\x1eb"):
            assert code(Rest(local).buy(strategyId=odd)) == (400, -1100)
        before = state(local)
        fault(local, "restart", seconds=0)
        comes_back(local)
        assert state(local) == before


def test_a_journal_that_was_changed_is_refused_and_the_exchange_goes_on() -> None:
    with exchange() as local:
        busy(local)
        before = state(local)[0]

        def damage(server: Any) -> None:
            lines = server.venue.engine.journal.lines
            number = next(i for i, line in enumerate(lines) if b'"kind":"request"' in line)
            lines[number] = lines[number].replace(b"BUY", b"SELL")

        inside(local, damage)
        with pytest.raises(BadInput, match="journal"):
            fault(local, "restart", seconds=0)
        assert state(local)[0] == before
        assert Rest(local).buy().ok


def test_a_journal_of_another_market_is_refused_and_the_exchange_goes_on() -> None:
    with exchange() as local:
        busy(local)
        before = state(local)[0]
        other = make(replace(local.setup, seed=99))
        inside(local, lambda server: setattr(server.venue, "_build", other.venue._build))
        with pytest.raises(BadInput, match="something else happened"):
            fault(local, "restart", seconds=0)
        assert state(local)[0] == before


def test_another_client_of_the_account_trades_and_takes_money_away() -> None:
    with exchange() as local:
        fault(local, "foreign_deposit", amount="-999000")
        assert local.balance("USDT") == 1000
        order = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": 0.01}
        fault(local, "foreign_order", params=order)
        assert local.balance("BTC") == Decimal("9.99")
        with pytest.raises(BadInput, match="cannot fall"):
            local.fault("foreign_deposit", amount="-9999999")
        # The other client's mistakes are its own.
        local.fault("foreign_order", params=order | {"quantity": 1e9})
        assert Rest(local).ask("/api/v3/ping").ok


# The list of those that wait


def test_several_faults_at_once() -> None:
    async def talk() -> None:
        async with Socket(local, "/ws/btcusdt@kline_1m") as socket:
            await socket.call("LIST_SUBSCRIPTIONS")
            fault(local, "kline_duplicate", at=At(bar=1))
            fault(local, "kline_late_open", at=At(bar=1))
            fault(local, "ws_malformed", at=At(bar=1))
            fault(local, "latency", where="order.*", ms=20)
            fault(local, "lose_reply", where="order.place", how="-1007")
            await step(local, 2)
            assert (await asyncio.to_thread(Rest(local).buy)).json()["code"] == -1007
            texts = []
            while len(texts) < 12:
                texts.append((await socket.ws.receive(5)).data)
            assert sum('"x":true' in one for one in texts) == 3 and '{"e":"kline","E":17' in texts

    with exchange() as local:
        asyncio.run(talk())


def test_a_fault_waits_for_its_bar_its_time_or_its_call_and_is_gone_after_its_count() -> None:
    def happened(at: At, count: int = 1) -> list[int]:
        faults = Faults([Fault(kind="latency", at=at, count=count, where="order.*")])
        return [i for i in range(10) if faults.take("before", "order.place", i, i * 100)]

    assert happened(At(bar=3)) == [3]
    assert happened(At(time=450), 2) == [5, 6]
    assert happened(At(nth_call=3), 0) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert Faults([Fault(kind="latency", where="order.*")]).take("before", "time", 0, 0) == []


def scenario_file(folder: Path, text: str) -> Scenario:
    path = folder / "scenario.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


STORM = """
reports: random
accounts: [{balances: {USDT: 100000}}]
faults:
  - {kind: latency, where: "order.*", probability: 0.3, count: 0, args: {ms: 0, jitter_ms: 1}}
  - {kind: reject, where: order.place, probability: 0.4, count: 5, args: {code: -1008}}
  - {kind: lose_reply, where: order.place, probability: 0.3, count: 0, args: {how: 504}}
  - {kind: kline_duplicate, probability: 0.5, count: 0}
  - {kind: report_lost, probability: 0.5, count: 0}
  - {kind: restart, at: {bar: 4}, args: {seconds: 0}}
"""


def test_the_same_scenario_and_seed_give_the_same_history(tmp_path: Path) -> None:
    def history(seed: int) -> Any:
        with exchange(scenario=scenario_file(tmp_path, STORM).model_dump(exclude_unset=True), seed=seed) as local:
            rest = Rest(local)
            statuses = []
            for i in range(12):
                if i == 4:
                    time.sleep(0.05)
                    comes_back(local)
                statuses.append(rest.buy(quantity="0.001", newClientOrderId=f"n{i}").status_code)
                local.step()
            told = inside(local, lambda server: list(server.venue.faults.history))
            journal = [entry["kind"] for entry in read(local.journal())]
            return statuses, told, journal

    first, again, other = history(3), history(3), history(4)
    assert first == again
    assert first != other
    assert {200, 400, 504} <= set(first[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "earthquake"},
        {"kind": "ws_drop", "args": {"how": "clean"}},
        {"kind": "ws_drop", "args": {"mode": "softly"}},
        {"kind": "lose_reply", "args": {"how": "often"}},
        {"kind": "outage", "args": {"seconds": "long"}},
        {"kind": "outage", "args": {"seconds": -1}},
        {"kind": "outage", "args": {"seconds": float("nan")}},
        {"kind": "outage", "args": {"seconds": True}},
        {"kind": "outage", "args": {"seconds": None}},
        {"kind": "ws_burst", "args": {"messages": 2.5}},
        {"kind": "ws_burst", "args": {"messages": 10**9}},
        {"kind": "ws_huge", "args": {"megabytes": 1e6}},
        {"kind": "filter_change", "args": {"values": 3}},
        {"kind": "foreign_order", "args": {"params": {"symbol": ["BTCUSDT"]}}},
        {"kind": "partial_fill", "args": {"share": "half"}},
        {"kind": "symbol_status", "args": {"status": "CLOSED"}},
        {"kind": "latency", "at": {"bar": 1, "time": 2}},
        {"kind": "latency", "at": {"bar": -1}},
        {"kind": "latency", "probability": 0},
        {"kind": "latency", "when": 3},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate(wrong)


@pytest.mark.parametrize(
    ("kind", "args", "words"),
    [
        ("filter_change", {"symbol": "XRPUSDT", "filter": "LOT_SIZE"}, "XRPUSDT is not traded"),
        ("filter_change", {"filter": "COLOR"}, "no filter 'COLOR'"),
        ("filter_change", {"filter": "LOT_SIZE", "values": {"stepSize": "x"}}, "not a number: 'x'"),
        ("symbol_status", {"symbol": "XRPUSDT"}, "XRPUSDT is not traded"),
    ],
)
def test_a_fault_that_cannot_be_done_here_is_refused(kind: str, args: dict[str, Any], words: str) -> None:
    with exchange() as local:
        with pytest.raises(BadInput, match=words):
            local.fault(kind, **args)
        # Later on there is nobody to tell; the market goes on.
        if "values" in args:
            local.fault(kind, at=At(bar=1), **args)
            local.step(2)
            assert "failed" in inside(local, lambda server: server.venue.faults.history[-1])
        assert Rest(local).buy().ok


def test_a_scenario_whose_faults_cannot_be_done_does_not_start() -> None:
    faults = [{"kind": "symbol_status", "at": {"bar": 3}, "args": {"symbol": "XRPUSDT"}}]
    with pytest.raises(BadInput, match="XRPUSDT is not traded"), exchange(scenario={"faults": faults}):
        pass


def test_every_fault_of_the_menu_is_tried_here() -> None:
    """By the text of this file: its tests may be spread over several processes."""
    module = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    tests = [one for one in module.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")]
    words = {one.value for test in tests for one in ast.walk(test) if isinstance(one, ast.Constant)}
    assert words >= KINDS.keys()
