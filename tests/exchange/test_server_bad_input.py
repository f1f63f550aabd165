"""What strangers, broken clients and floods do to the server: nothing, for everybody else."""

import asyncio
import contextlib
import functools
import json
import os
import socket as sockets
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from exchange import fuzz
from exchange.servers import START, Rest, Socket, address, exchange, forgive, inside
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.exchange.local import clients as clients_module
from pipeline.exchange.local import server as server_module
from pipeline.exchange.local.journal import read
from pipeline.testing import LocalExchange

# Seconds until something is given up that happens at once on a quiet machine.
PATIENCE = 60


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalExchange]:
    with exchange(("BTCUSDT", "ETHUSDT"), bars=5000) as running:
        yield running


@pytest.fixture
def local(shared: LocalExchange) -> Iterator[LocalExchange]:
    forgive(shared)
    yield shared
    rest = Rest(shared)
    assert rest.ask("/api/v3/ping").status_code == 200
    assert rest.emu("step").status_code == 200


# Over the wire


def raw(local: LocalExchange, data: bytes, wait: float = 2) -> bytes:
    """Send bytes to the port; what comes back until the server closes or says no more."""
    with sockets.create_connection(address(local), timeout=wait) as one:
        found = b""
        with contextlib.suppress(OSError):
            one.sendall(data)
            one.shutdown(sockets.SHUT_WR)
            while part := one.recv(65536):
                found += part
        return found


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"\xff\xfe garbage \r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # A client that speaks TLS.
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api/v3/ping HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: abc\r\n\r\n",
        b"POST /api/v3/order HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET /api/v3/klines?symbol=\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /api/v3/%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /api/v3/openOrders?timestamp=1&signature=\xc3 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: no\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request_are_refused_and_never_an_error_of_ours(local: LocalExchange, data: bytes) -> None:
    answer = raw(local, data)
    assert b" 500 " not in answer.partition(b"\r\n")[0], answer[:300]
    assert not answer or answer.startswith(b"HTTP/1."), answer[:300]


def test_random_bytes(local: LocalExchange) -> None:
    for _ in range(50):
        assert b" 500 " not in raw(local, os.urandom(200), 0.5)[:40]


def test_half_requests_hold_up_nobody(local: LocalExchange) -> None:
    waiting = []
    for data in (
        b"GET /api/v3/ti",
        b"POST /api/v3/order HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nsymbol=",
    ) * 50:
        one = sockets.create_connection(address(local))
        one.sendall(data)
        waiting.append(one)
    # They are still waiting when another is answered.
    assert Rest(local).ask("/api/v3/ping").ok
    assert inside(local, lambda server: len(server._open)) >= 100
    for one in waiting:
        one.close()


def test_huge_bodies_are_refused(local: LocalExchange) -> None:
    rest = Rest(local)
    assert rest.send("POST", "/api/v3/order", body=b"a" * (2 << 20), key=local.key).status_code == 413
    headers = {"Content-Type": "application/json"}
    assert rest.send("POST", "/_emu/step", body=b"a" * (2 << 20), headers=headers).status_code == 413


def test_deep_and_long_values_are_refused(local: LocalExchange) -> None:
    rest = Rest(local)
    assert rest.ask("/api/v3/ticker/price", symbols="[" * 2000).json()["code"] == -1100
    assert rest.ask("/api/v3/klines", symbol="B" * 5000, interval="1m").json()["code"] == -1100
    assert rest.ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime="9" * 30).json()["code"] == -1100


# Sockets


@pytest.mark.parametrize("path", ["/ws", "/ws-api/v3"])
@pytest.mark.parametrize(("size", "closed"), [(1000, False), (1 << 20, True)])
def test_frames_that_are_too_big_close_the_socket(local: LocalExchange, path: str, size: int, closed: bool) -> None:
    async def talk() -> None:
        async with Socket(local, path) as socket:
            await socket.send("x" * size)
            message = await socket.ws.receive(5)
            assert (message.type != aiohttp.WSMsgType.TEXT) == closed
            # Who still sends meanwhile may meet the reset before the reason.
            assert not closed or socket.ws.close_code in (1009, 1006)

    asyncio.run(talk())


@pytest.mark.parametrize("path", ["/ws", "/ws-api/v3"])
def test_frames_that_are_no_text_are_answered_or_close_the_socket(local: LocalExchange, path: str) -> None:
    async def talk() -> None:
        async with Socket(local, path) as socket:
            await socket.ws.send_bytes(b"\xff\xfe\x00")
            assert (await socket.next())["error"]
        async with Socket(local, path) as socket:
            # A text frame that is no text, written by hand.
            await socket.ws._writer.send_frame(b"\xff\xff", aiohttp.WSMsgType.TEXT)
            assert await socket.closed() in (1007, 1002)

    asyncio.run(talk())


def deaf(local: LocalExchange, path: str) -> sockets.socket:
    """A socket that asks for a stream and never reads."""
    one = sockets.socket()
    one.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    one.connect(address(local))
    one.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return one


def listeners(local: LocalExchange, count: int) -> None:
    """Wait until so many market sockets are open."""
    end = time.monotonic() + PATIENCE
    while inside(local, lambda server: len(server.hub.clients)) != count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_clients_that_do_not_read_hold_up_neither_others_nor_the_market(monkeypatch: pytest.MonkeyPatch) -> None:
    bars, given_up = 400, []
    # Little room between the market and who does not read, and little time.
    monkeypatch.setattr(clients_module, "_MOST_UNSENT", 1 << 14)
    monkeypatch.setattr(server_module, "flush", functools.partial(clients_module.flush, most=0.1))

    def watch(client: clients_module.Client) -> None:
        wait = client.idle.wait

        async def waited() -> Any:
            try:
                return await wait()
            except asyncio.CancelledError:
                given_up.append(client)
                raise

        client.idle.wait = waited  # type: ignore[method-assign]

    async def talk(local: LocalExchange) -> int:
        async with Socket(local, "/ws/btcusdt@kline_1m") as socket:
            await socket.call("LIST_SUBSCRIPTIONS")
            closed = 0
            for part in (bars - 3, 3):
                await asyncio.to_thread(lambda part=part: Rest(local).emu("step", bars=part).raise_for_status())
            while closed < bars:
                closed += (await socket.next())["k"]["x"]
            return closed

    with exchange(bars=bars + 100) as local:
        path = "/ws/btcusdt@depth20/btcusdt@depth/btcusdt@kline_1m/btcusdt@ticker"
        silent = [deaf(local, path) for _ in range(5)]
        listeners(local, 5)
        deaf_ones = inside(local, lambda server: [watch(client) or client for client in server.hub.clients])
        assert asyncio.run(talk(local)) == bars
        # Each of them was waited for in vain once, not in every part of the way.
        assert sorted(map(id, given_up)) == sorted(map(id, deaf_ones))
        for one in silent:
            one.close()


def test_who_lets_too_much_wait_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients_module, "_MOST_WAITING", 500)
    monkeypatch.setattr(clients_module, "_MOST_UNSENT", 1 << 14)
    with exchange(bars=1000) as local:
        silent = deaf(local, "/ws/btcusdt@depth20/btcusdt@depth/btcusdt@ticker")
        listeners(local, 1)
        local.step(500)
        listeners(local, 0)
        silent.close()


def test_a_thousand_connections(local: LocalExchange) -> None:
    async def talk() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"{local.url}/ws/btcusdt@kline_1m"
            opened = [await session.ws_connect(url) for _ in range(900)]
            opened += [await session.ws_connect(f"{local.url}/ws-api/v3") for _ in range(100)]
            await asyncio.to_thread(local.step)
            for one in opened[:900]:
                told = [json.loads((await one.receive(10)).data)["k"]["x"] for _ in range(5)]
                assert told == [False, False, False, True, False]
            await opened[-1].send_str('{"id":1,"method":"ping"}')
            assert json.loads((await opened[-1].receive(5)).data)["status"] == 200

    asyncio.run(talk())
    end = time.monotonic() + PATIENCE
    while inside(local, lambda server: len(server.hub.clients) + len(server.sockets.sessions)):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert inside(local, lambda server: server.hub.by_name) == {}


def test_a_client_that_floods_subscriptions_is_stopped(local: LocalExchange) -> None:
    kinds = [f"{symbol}@kline_{i}" for symbol in ("btcusdt", "ethusdt") for i in ("1m", "5m", "1h")]

    async def talk() -> None:
        async with Socket(local, "/ws") as socket:
            for _ in range(200):
                with contextlib.suppress(ConnectionError):
                    await socket.send({"id": 1, "method": "SUBSCRIBE", "params": kinds * 300})
            assert await socket.closed() == 1008
        assert inside(local, lambda server: server.hub.by_name) == {}

    asyncio.run(talk())


# Control endpoints


@pytest.mark.parametrize("path", ["clock", "state", "faults", "journal"])
def test_another_host_name_is_refused(local: LocalExchange, path: str) -> None:
    url = f"/_emu/{path}"
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[::2]:80", ""):
        assert Rest(local).send("GET", url, headers={"Host": host}).status_code in (400, 403), host
    for host in ("127.0.0.1", "localhost:1", "[::1]:9"):
        assert Rest(local).send("GET", url, headers={"Host": host}).status_code == 200, host


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_what_a_page_of_another_origin_could_send_is_refused(local: LocalExchange, kind: str | None) -> None:
    before = local.journal()
    for path, body in (("step", "{}"), ("fault", '{"kind":"outage"}')):
        headers = {"Content-Type": kind} if kind else {}
        assert Rest(local).send("POST", f"/_emu/{path}", body=body, headers=headers).status_code == 415
    assert Rest(local).send("DELETE", "/_emu/fault/1").status_code == 415
    assert local.journal() == before


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"[" * 100_000, b"\xff", b'{"bars":0}', b'{"bars":-1}', b'{"bars":1000001}', b'{"bars":true}',
     b'{"bars":1.5}', b'{"bars":"2"}', b'{"bars":null}', b'{"bar":2}'],
)  # fmt: skip
def test_a_step_that_makes_no_sense_is_refused_and_moves_nothing(local: LocalExchange, body: bytes) -> None:
    rest = Rest(local)
    before = rest.send("GET", "/_emu/clock").json()["market"]
    reply = rest.send("POST", "/_emu/step", body=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400 and reply.json()["error"]
    assert "\n" not in reply.json()["error"]
    assert rest.send("GET", "/_emu/clock").json()["market"] == before


@pytest.mark.parametrize(
    "fault",
    [{}, {"kind": "no"}, {"kind": "outage", "args": {"seconds": "x"}}, {"kind": "latency", "count": -1},
     {"kind": "symbol_status", "args": {"symbol": "XRPUSDT"}}, {"kind": ["outage"]}],
)  # fmt: skip
def test_a_fault_that_makes_no_sense_is_refused_with_one_line(local: LocalExchange, fault: dict[str, Any]) -> None:
    reply = Rest(local).emu("fault", **fault)
    assert reply.status_code == 400 and reply.json()["error"]


def test_faults_are_listed_added_and_taken_away(local: LocalExchange) -> None:
    rest = Rest(local)
    menu = rest.send("GET", "/_emu/faults").json()
    assert {"kind": "kline_missing", "case": "W5"}.items() <= {one["kind"]: one for one in menu}[
        "kline_missing"
    ].items()
    number = rest.emu("fault", kind="latency", where="nothing").json()["id"]
    assert number in [one["id"] for one in rest.send("GET", "/_emu/state").json()["waiting"]]
    headers = {"Content-Type": "application/json"}
    assert rest.send("DELETE", f"/_emu/fault/{number}", headers=headers).status_code == 200
    for missing in (number, "x", "9" * 5000):
        assert rest.send("DELETE", f"/_emu/fault/{missing}", headers=headers).status_code == 400
    assert rest.send("GET", "/_emu/state").json()["waiting"] == []


def test_state_clock_and_journal_tell_the_same() -> None:
    with exchange(bars=20) as local:
        rest = Rest(local)
        assert rest.rest_order().ok and rest.buy().ok
        clock = rest.emu("step", bars=3).json()
        assert (clock["market"], clock["bar"], clock["speed"], clock["done"]) == (START + 180_000, 3, "step", False)
        state = rest.send("GET", "/_emu/state").json()
        assert state["clock"]["market"] == clock["market"] and state["interval"] == "1m"
        assert len(state["orders"]) == 1 and len(state["trades"]) >= 1
        entries = list(read(rest.send("GET", "/_emu/journal").text))
        assert len(entries) == state["journal"] and entries[0]["kind"] == "start"
        assert sum(entry["kind"] == "request" for entry in entries) == 2
        # More bars than there are: it stops at the end, at once.
        end = rest.emu("step", bars=1_000_000).json()
        assert end["done"] and end["open_time"] is None
        assert rest.ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1).json()[0][0] == START + 19 * 60_000
        assert rest.send("GET", "/").text.startswith("<!")


def test_steps_do_not_overtake_each_other(local: LocalExchange) -> None:
    async def talk() -> list[int]:
        async with aiohttp.ClientSession() as session:

            async def one() -> int:
                async with session.post(f"{local.url}/_emu/step", json={"bars": 100}) as reply:
                    return int((await reply.json())["bar"])

            return sorted(await asyncio.gather(*(one() for _ in range(4))))

    first = Rest(local).send("GET", "/_emu/clock").json()["bar"]
    assert asyncio.run(talk()) == [first + 100 * n for n in (1, 2, 3, 4)]


def test_a_market_that_goes_by_itself_is_not_stepped() -> None:
    with exchange(speed=60.0) as local:
        refused = Rest(local).emu("step")
        assert refused.status_code == 400 and "--speed step" in refused.json()["error"]


# Anything at all


@pytest.fixture(scope="module")
def target() -> fuzz.Target:
    return fuzz.Target()


@settings(max_examples=300, deadline=None)
@given(query=st.binary(max_size=80), body=st.binary(max_size=80))
def test_any_bytes_are_parameters_or_refused(target: fuzz.Target, query: bytes, body: bytes) -> None:
    target.parse(query, body)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 40))
def test_any_parameters_are_answered_or_refused(target: fuzz.Target, seed: int) -> None:
    target.operation(seed)


@settings(max_examples=300, deadline=None)
@given(data=st.one_of(st.text(max_size=80), st.binary(max_size=80), fuzz.JSON.map(json.dumps)))
def test_any_message_is_answered(target: fuzz.Target, data: str | bytes) -> None:
    target.message(data)


def test_a_short_run_of_the_fuzzer(target: fuzz.Target) -> None:
    assert target.run(4000, seed=1) == 4000
