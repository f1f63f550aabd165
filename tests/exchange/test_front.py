"""The front answers what clients send; the same bytes in any other shape get the same answers from aiohttp."""

import asyncio
import contextlib
import json
import re
import socket as sockets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from exchange.servers import Rest, address, exchange, forgive, inside, signature, stamped
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.exchange.local import front
from pipeline.testing import LocalExchange

PING = b"GET /api/v3/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
PRICE = b"GET /api/v3/ticker/price?symbol=BTCUSDT HTTP/1.1\r\nHost: localhost\r\nX-Other: 1\r\n\r\n"


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalExchange]:
    with exchange(bars=5000) as running:
        yield running


@pytest.fixture
def local(shared: LocalExchange) -> Iterator[LocalExchange]:
    forgive(shared)
    yield shared


def order(local: LocalExchange, **params: Any) -> bytes:
    """A signed market order as one request, its parameters in the body."""
    whole = stamped({"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"} | params)
    body = "&".join(f"{name}={value}" for name, value in whole.items())
    body += f"&signature={signature(local.secret, body)}"
    return (
        f"POST /api/v3/order HTTP/1.1\r\nHost: localhost\r\nX-MBX-APIKEY: {local.key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Talk:
    """One connection, and its answers one by one."""

    def __init__(self, local: LocalExchange) -> None:
        self.socket = sockets.create_connection(address(local), timeout=60)
        self.socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        self.held = b""

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(0.02)
            self.socket.sendall(piece)

    def next(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        while b"\r\n\r\n" not in self.held:
            self._more()
        head, _, rest = self.held.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        self.held = rest
        while len(self.held) < int(headers["Content-Length"]):
            self._more()
        body, self.held = self.held[: int(headers["Content-Length"])], self.held[int(headers["Content-Length"]) :]
        return int(first.split()[1]), headers, body

    def _more(self) -> None:
        part = self.socket.recv(65536)
        assert part, "the connection was closed"
        self.held += part


def is_at_front(local: LocalExchange) -> bool:
    """Whether there is exactly one connection, and it has not been handed over."""
    return bool(inside(local, lambda server: len(server._open)) == 1)


def test_many_requests_in_one_piece_are_answered_in_their_order(local: LocalExchange) -> None:
    with Talk(local) as talk:
        talk.send(PING + PRICE + PING + order(local) + PRICE + order(local, quantity="0"))
        found = [talk.next() for _ in range(6)]
        assert [status for status, _, _ in found] == [200, 200, 200, 200, 200, 400]
        assert found[0][2] == found[2][2] == b"{}" and found[1][2] == found[4][2]
        assert json.loads(found[3][2])["status"] == "FILLED" and json.loads(found[5][2])["code"] == -1013
        assert is_at_front(local)


@pytest.mark.parametrize("at", [10, 60, -100, -1])
def test_a_request_that_comes_in_pieces_is_waited_for(local: LocalExchange, at: int) -> None:
    with Talk(local) as talk:
        whole = order(local)
        talk.send(whole[:at], whole[at:] + PING)
        assert json.loads(talk.next()[2])["status"] == "FILLED"
        assert talk.next()[2] == b"{}"
        assert is_at_front(local)


UNPLAIN = [
    b"GET /api/v3/ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /api/v3/ping HTTP/1.0\r\nHost: a\r\n\r\n",
    b"GET /api/v3/pi%6eg HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/v3/ping HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nAccept-Encoding: deflate\r\n\r\n",
    b"GET /api/v3/ping HTTP/1.1\r\nHost: a\r\nX-Note: \xc3\xa9\r\n\r\n",
    b"GET /api/v3/ping HTTP/1.1\r\nhost:a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v3/ping HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
]


@pytest.mark.parametrize("data", UNPLAIN)
def test_what_is_not_plain_is_answered_by_aiohttp(local: LocalExchange, data: bytes) -> None:
    with Talk(local) as talk:
        talk.send(PING + data)
        assert talk.next()[2] == b"{}"
        status, headers, _ = talk.next()
        assert status == (405 if b"POST" in data else 404 if b"nowhere" in data else 200)
        assert "Date" in headers and not is_at_front(local)


def test_a_chunked_order_and_what_follows_it_are_answered(local: LocalExchange) -> None:
    head, _, body = order(local).partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: [0-9]+", b"Transfer-Encoding: chunked", head)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:20], body[20:])) + b"0\r\n\r\n"
    with Talk(local) as talk:
        talk.send(head + b"\r\n\r\n" + chunks[:30], chunks[30:] + PING + order(local))
        assert json.loads(talk.next()[2])["status"] == "FILLED"
        assert talk.next()[2] == b"{}"
        assert json.loads(talk.next()[2])["status"] == "FILLED"


def test_both_give_the_same_headers(local: LocalExchange) -> None:
    for data in (PING, PRICE, b"GET /api/v3/klines HTTP/1.1\r\nHost: a\r\n\r\n", order(local)):
        with Talk(local) as talk:
            talk.send(data)
            plain = talk.next()
            # An upper-case `Keep-Alive` differs in nothing but who reads it.
            talk.send(data.replace(b"Host", b"Connection: KEEP-ALIVE\r\nHost"))
            other = talk.next()
            assert not is_at_front(local)
        assert plain[0] == other[0] and list(plain[1]) == list(other[1])
        for name in ("Content-Type", "Server"):
            assert plain[1][name] == other[1][name]


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(0, 300))
def test_any_bytes_are_a_request_or_left_alone(data: bytes, cut: int) -> None:
    for one in (data, PRICE[:cut] + data, PRICE + data):
        found = front.read(one, "", None)
        if isinstance(found, front.Found):
            assert one.endswith(found.rest) and found.asked.path.startswith("/")
            assert found.asked.headers[b"host"] is not None


def test_lengths_and_headers_that_do_not_agree_are_left_alone() -> None:
    for line in (b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: +5", b"Content-Length: 5, 5",
                 b"Content-Length: 65537", b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Expect: 100-continue",
                 b"Upgrade: websocket", b"Content-Encoding: gzip", b"X: a\r\n folded", b"X : a", b"Connection: upgrade",
                 b"X: a\nContent-Length: 5", b"X: \x00"):  # fmt: skip
        data = b"POST /api/v3/order HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\nabcde"
        assert front.read(data, "", None) is front.UNFIT
    assert front.read(PING.replace(b"Host: localhost\r\n", b"X: y\r\n"), "", None) is front.UNFIT
    assert front.read(PING.replace(b"ping", b"a" * 9000), "", None) is front.UNFIT


def test_who_asks_without_reading_is_not_answered_without_end(local: LocalExchange) -> None:
    asked = b"GET /api/v3/exchangeInfo HTTP/1.1\r\nHost: a\r\n\r\n"
    with Talk(local) as talk:
        talk.socket.setblocking(False)
        end, sent = time.monotonic() + 3, 0
        while time.monotonic() < end:
            try:
                sent += talk.socket.send((asked * 100)[sent % len(asked) :])
            except BlockingIOError:
                time.sleep(0.05)
                if inside(local, lambda server: all(one._is_full for one in server._open)):
                    break
        held = inside(local, lambda server: [len(one._held) for one in server._open])
        unsent = inside(local, lambda server: [one.transport.get_write_buffer_size() for one in server._open])
        assert held[0] < 1 << 20 and unsent[0] < 1 << 20
        assert Rest(local).ask("/api/v3/ping").status_code in (200, 418, 429)
        # Once it reads, it gets the rest.
        talk.socket.settimeout(60)
        for _ in range(20):
            assert talk.next()[0] in (200, 418, 429)


def test_an_answer_that_waits_for_a_fault_keeps_its_place(local: LocalExchange) -> None:
    local.fault("latency", where="ping", ms=100)
    with Talk(local) as talk:
        begin = time.monotonic()
        talk.send(PING + PRICE)
        assert talk.next()[2] == b"{}" and time.monotonic() - begin >= 0.1
        assert b"price" in talk.next()[2] and is_at_front(local)


def test_a_connection_that_breaks_while_it_is_answered_hurts_nobody(local: LocalExchange) -> None:
    local.fault("latency", where="ping", ms=100)
    with Talk(local) as talk:
        talk.send(PING + PRICE)
        time.sleep(0.03)
    with Talk(local) as talk:
        time.sleep(0.15)
        talk.send(PING)
        assert talk.next()[2] == b"{}" and is_at_front(local)


def test_a_step_at_the_front_is_a_step(local: LocalExchange) -> None:
    def step(body: bytes, host: str = "localhost", kind: str = "application/json") -> bytes:
        head = f"POST /_emu/step HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    with Talk(local) as talk:
        good = step(b'{"bars":1}') + step(b'{"bars":3}') + step(b"")
        bad = step(b'{"bar":1}') + step(b"{}", "evil.example") + step(b"{}", kind="text/plain")
        talk.send(good + bad + step(b"{}", kind="application/json; charset=utf-8"))
        found = [talk.next() for _ in range(7)]
        assert [status for status, _, _ in found] == [200, 200, 200, 400, 403, 415, 200]
        bars = [json.loads(found[at][2])["bar"] for at in (0, 1, 2, 6)]
        assert bars == [bars[0], bars[0] + 3, bars[0] + 4, bars[0] + 5]
        assert is_at_front(local)


def test_many_at_once_are_each_told_their_own(local: LocalExchange) -> None:
    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection(*address(local))
        target = b"/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=%d" % number
        for _ in range(3):
            writer.write(PING.replace(b"/api/v3/ping", target))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            assert len(json.loads(await reader.readexactly(length))) == number
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def talk() -> None:
        await asyncio.gather(*(one(number) for number in range(1, 51)))

    asyncio.run(talk())
