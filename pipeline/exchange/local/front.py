"""The front of the HTTP server: plain requests are answered at once, anything else is aiohttp's.

An order is worth a tenth of a millisecond, a task and the objects of a full HTTP server several. So a connection begins
here; with its first request that is not as clients send them (chunked, of another path, a WebSocket's) it is handed
over for good, bytes unread. What is accepted here is a part of what aiohttp accepts, read in the same way.
"""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

# Heads and bodies beyond these are aiohttp's, which has limits of its own.
_MOST_HEAD, _MOST_BODY = 8190, 1 << 16
_MOST_HEADERS = 100
# What one read takes at the most. The event loop's own reads ask the system for a quarter of a megabyte each, half the
# time of a short request.
_READ = 1 << 14
_LINE = re.compile(rb"(GET|POST|PUT|DELETE) (/[!\"$->@-~]*)(?:\?([!\"$-~]*))? HTTP/1\.1\r\n")
_HEADERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*\r\n)+")
_BEGINNINGS = (b"GET /", b"POST /", b"PUT /", b"DELETE /")
_LENGTH = re.compile(rb"[0-9]{1,5}")
# Headers that change how a request is read, or what becomes of its connection.
_SPECIAL = frozenset((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"te", b"trailer"))
_KEPT = (b"keep-alive", b"Keep-Alive")


@dataclass(slots=True)
class Asked:
    """A request. query, body: as they came; headers: by name in small letters; address: whose it is."""

    method: str
    path: str
    query: bytes
    body: bytes
    headers: Mapping[bytes, bytes]
    address: str
    transport: asyncio.BaseTransport | None

    def header(self, name: bytes) -> str | None:
        """A header's value."""
        value = self.headers.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")


@dataclass(slots=True)
class Reply:
    """What is answered. kind: its content type."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"

    def response(self) -> web.Response:
        """For aiohttp."""
        kind = {"Content-Type": self.kind}
        return web.Response(body=self.body, status=self.status, headers=self.headers | kind)

    def wire(self) -> bytes:
        """As bytes of HTTP, with the headers in aiohttp's order."""
        own = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        head = (
            f"HTTP/1.1 {self.status} {_PHRASES[self.status]}\r\n{own}Content-Type: {self.kind}\r\n"
            f"Content-Length: {len(self.body)}\r\nDate: {_date()}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
        )
        return head.encode() + self.body


# An answer, one that comes later (None: the connection was broken), or None: whoever asked is to be handed over.
Answer = Reply | Coroutine[Any, Any, Reply | None] | None


class Desk(Protocol):
    """Who answers."""

    def answer(self, asked: Asked) -> Answer:
        """What a request is answered with."""


class Found(NamedTuple):
    """A request, and the bytes after it."""

    asked: Asked
    rest: bytes


class Connection(asyncio.BufferedProtocol):
    """One connection, as long as nothing but plain requests come over it.

    open: all of them, itself among them; heir: makes the protocol that it is handed over to.
    """

    def __init__(self, desk: Desk, open_ones: "dict[Connection, None]", heir: Callable[[], asyncio.Protocol]) -> None:
        self.desk = desk
        self.transport: asyncio.Transport
        self._open = open_ones
        self._heir = heir
        self._address = ""
        self._read = memoryview(bytearray(_READ))
        self._held = b""
        self._answering: asyncio.Task[None] | None = None
        self._is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._open[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end has gone, or we have; what is being answered is done all the same."""
        self._open.pop(self, None)
        self._held = b""

    def pause_writing(self) -> None:
        """The client does not read: nothing more of its requests is answered until it does."""
        self._is_full = True
        self._read_if_wanted()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_full = False
        self._go_on()
        self._read_if_wanted()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes of requests go."""
        return self._read

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        data = bytes(self._read[:nbytes])
        self._held = self._held + data if self._held else data
        self._go_on()
        if self._held:
            self._read_if_wanted()

    def _read_if_wanted(self) -> None:
        """Read no further while answers wait: what is held stays small."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self._is_full or self._answering is not None:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _go_on(self) -> None:
        while self._held and self._answering is None and not self._is_full and not self.transport.is_closing():
            found = read(self._held, self._address, self.transport)
            if found is None:
                return
            answer = self.desk.answer(found.asked) if isinstance(found, Found) else None
            if answer is None:
                self._hand_over()
                return
            self._held = found.rest if isinstance(found, Found) else b""
            if isinstance(answer, Reply):
                self.transport.write(answer.wire())
            else:
                self._answering = asyncio.get_running_loop().create_task(self._later(answer))

    async def _later(self, answer: Coroutine[Any, Any, Reply | None]) -> None:
        try:
            reply = await answer
        except Exception:
            self.transport.abort()
            raise
        self._answering = None
        if reply is not None and not self.transport.is_closing():
            self.transport.write(reply.wire())
            self._go_on()
        self._read_if_wanted()

    def _hand_over(self) -> None:
        """The connection is another protocol's from here on."""
        held, self._held = self._held, b""
        self._open.pop(self, None)
        heir = self._heir()
        self.transport.set_protocol(heir)
        heir.connection_made(self.transport)
        self.transport.resume_reading()
        heir.data_received(held)


class Unfit:
    """Not a request that is answered here."""


def read(data: bytes, address: str, transport: asyncio.BaseTransport | None) -> Found | Unfit | None:
    """The first request of some bytes; None if the rest of it is still to come."""
    end = data.find(b"\r\n\r\n", 0, _MOST_HEAD) + 2
    if end < 2:
        is_begun = any(data.startswith(one) or one.startswith(data) for one in _BEGINNINGS)
        return None if is_begun and len(data) < _MOST_HEAD else UNFIT
    line = _LINE.match(data)
    headers = None if line is None else _headers(data[line.end() : end])
    if line is None or headers is None:
        return UNFIT
    begin = end + 2
    end = begin + headers.length
    if len(data) < end:
        return None
    asked = Asked(
        line[1].decode(), line[2].decode(), line[3] or b"", data[begin:end], headers.values, address, transport
    )
    return Found(asked, data[end:])


class _Headers(NamedTuple):
    """Headers by name in small letters, and the length of the body that they announce."""

    values: Mapping[bytes, bytes]
    length: int


# Clients send the same ones with nearly each request.
@lru_cache(maxsize=256)
def _headers(data: bytes) -> _Headers | None:
    """The headers of a request; None if it is not for here."""
    if not _HEADERS.fullmatch(data):
        return None
    lines = data.split(b"\r\n")
    lines.pop()
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    # Of a header that is there twice it cannot be told here which one counts.
    if len(headers) < len(lines) or len(lines) > _MOST_HEADERS or b"host" not in headers:
        return None
    if not _SPECIAL.isdisjoint(headers) or headers.get(b"connection", b"keep-alive") not in _KEPT:
        return None
    length = headers.get(b"content-length", b"0")
    return _Headers(headers, int(length)) if _LENGTH.fullmatch(length) and int(length) <= _MOST_BODY else None


UNFIT = Unfit()
_PHRASES = {one.value: one.phrase for one in HTTPStatus}
_dates: dict[int, str] = {}


def _date() -> str:
    """The time of day as HTTP writes it, made once a second."""
    now = int(time.time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True)
    return _dates[now]
