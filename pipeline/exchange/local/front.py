"""The front of the HTTP server: plain requests are answered at once, anything else is aiohttp's.

An order is worth a tenth of a millisecond, a task and the objects of a full HTTP server several. So a connection begins
here; with its first request that is not as clients send them (chunked, of another path, a WebSocket's) it is handed
over for good, bytes unread. What is accepted here is a part of what aiohttp accepts, read in the same way.
"""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

# Heads and bodies beyond these are aiohttp's, which has limits of its own.
_MOST_HEAD, _MOST_BODY = 8190, 1 << 16
_MOST_HEADERS = 100
_HEAD = re.compile(
    rb"(GET|POST|PUT|DELETE) (/[!\"$->@-~]*)(?:\?([!\"$-~]*))? HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*\r\n)+)\r\n"
)
_BEGIN = re.compile(rb"(?:GET|POST|PUT|DELETE) /")
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
    headers: dict[bytes, bytes]
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
        head = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        head.append(
            f"Content-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\nDate: {_date()}\r\n"
            f"Server: {SERVER_SOFTWARE}\r\n\r\n"
        )
        return "\r\n".join(head).encode() + self.body


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


class Connection(asyncio.Protocol):
    """One connection, as long as nothing but plain requests come over it.

    open: all of them, itself among them; heir: makes the protocol that it is handed over to.
    """

    def __init__(self, desk: Desk, open_ones: "dict[Connection, None]", heir: Callable[[], asyncio.Protocol]) -> None:
        self.desk = desk
        self.transport: asyncio.Transport
        self._open = open_ones
        self._heir = heir
        self._address = ""
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

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
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
    head = _HEAD.match(data, 0, _MOST_HEAD)
    if head is None:
        is_begun = len(data) < _MOST_HEAD and b"\r\n\r\n" not in data and _BEGIN.match(data)
        return None if is_begun else UNFIT
    lines = head[4].split(b"\r\n")
    lines.pop()
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    # Of a header that is there twice it cannot be told here which one counts.
    if len(headers) < len(lines) or len(lines) > _MOST_HEADERS or b"host" not in headers:
        return UNFIT
    if not _SPECIAL.isdisjoint(headers) or headers.get(b"connection", b"keep-alive") not in _KEPT:
        return UNFIT
    length = headers.get(b"content-length", b"0")
    if not _LENGTH.fullmatch(length) or int(length) > _MOST_BODY:
        return UNFIT
    begin = head.end()
    end = begin + int(length)
    if len(data) < end:
        return None
    query = head[3] or b""
    asked = Asked(head[1].decode(), head[2].decode(), query, data[begin:end], headers, address, transport)
    return Found(asked, data[end:])


UNFIT = Unfit()
_dates: dict[int, str] = {}


def _date() -> str:
    """The time of day as HTTP writes it, made once a second."""
    now = int(time.time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True)
    return _dates[now]
