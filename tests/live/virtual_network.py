"""Connections within one event loop: bytes arrive after a while, or never, as a seed has it.

The libraries above it, aiohttp on both sides and websockets, are the real ones and speak their protocols; only the
kernel's sockets are replaced. Entropy and dates that those libraries put on the wire come from the seed as well.
"""

import asyncio
import email.utils
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohappyeyeballs
import aiohttp.connector
import aiohttp.web_response
import websockets.asyncio.connection
import websockets.frames
import websockets.utils
from live.virtual_time import Crash, Life, VirtualLoop, owner

from pipeline.exchange.local import front

HOST = "127.0.0.1"
_FIRST_PORT = 40_000


@dataclass(frozen=True)
class Weather:
    """Probabilities for each new connection of the process: refused; answered never; cut, muted both ways, or deaf (the
    other end hears us, and we nothing) after some time; and how slow it is, seconds."""

    refused: float = 0.0
    unanswered: float = 0.0
    cut: float = 0.0
    muted: float = 0.0
    deaf: float = 0.0
    least: float = 0.001
    most: float = 0.02
    # Now and then something takes as long.
    slow: float = 0.0
    slowest: float = 3.0


CALM = Weather()
STORM = Weather(0.05, 0.02, 0.12, 0.05, 0.05, 0.001, 0.08, 0.02)


class _Server(asyncio.AbstractServer):
    def __init__(self, network: "Network", port: int) -> None:
        self._network, self._port = network, port
        self.sockets = [SimpleNamespace(getsockname=lambda: (HOST, port))]

    def close(self) -> None:
        self._network.listeners.pop(self._port, None)

    async def wait_closed(self) -> None:
        pass

    def is_serving(self) -> bool:
        return self._port in self._network.listeners

    async def start_serving(self) -> None:
        pass


class Pipe(asyncio.Transport):
    """One end of a connection. other: the other one. context: in which its protocol is told."""

    def __init__(self, network: "Network", name: str, address: tuple[str, int], context: Context) -> None:
        super().__init__({"peername": address, "sockname": (HOST, 0), "socket": None})
        self.network, self.name, self.context = network, name, context
        self.other: Pipe
        self.protocol: Any = None
        self.deaf = self.closed = self._closing = self._paused = False
        self._arrives = 0.0
        self._held: list[Callable[[], None]] = []

    # What a protocol asks for

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        if self._closing or self.closed or not data:
            return
        life, raw = owner(self.context), bytes(data)
        if life is not None:
            life.cross("send")
            self.network.note(f"> {self.name} {shown(raw)}")
        self._carry(lambda: self.other.receive(raw))
        if life is not None:
            life.cross("sent")

    def close(self) -> None:
        if not self._closing and not self.closed:
            self._closing = True
            self._carry(self.other.end)
            self.network.loop.call_soon(self.lose, None, context=self.context)

    def abort(self) -> None:
        if not self.closed:
            self._closing = True
            self._carry(lambda: self.other.lose(ConnectionResetError("reset by the other end")))
            self.network.loop.call_soon(self.lose, None, context=self.context)

    def is_closing(self) -> bool:
        return self._closing or self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._carry(self.other.end)

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        while self._held and not self._paused:
            self._held.pop(0)()

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever in the way."""

    # The way

    def _carry(self, what: Callable[[], None]) -> None:
        """Let something happen at the other end, after what was sent before it; not if that is deaf."""
        loop, other = self.network.loop, self.other
        # Timers of the same moment are in no order.
        self._arrives = max(loop.time() + self.network.delay(), self._arrives + 1e-6)
        loop.call_at(self._arrives, lambda: None if other.deaf else what(), context=self.network.context)

    def receive(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self.closed or self._closing:
            return
        if self._paused:
            self._held.append(lambda: self.receive(data))
            return
        life = owner(self.context)
        if life is not None:
            try:
                life.cross("receive")
            except Crash:
                return
            self.network.note(f"< {self.name} {data!r}")
        self._tell(lambda: self._feed(data))

    def _feed(self, data: bytes) -> None:
        """Give bytes to the protocol, into its own memory if it has some; it may hand over to another meanwhile."""
        while data and isinstance(self.protocol, asyncio.BufferedProtocol):
            room = self.protocol.get_buffer(len(data))
            count = min(len(room), len(data))
            room[:count] = data[:count]
            data = data[count:]
            self.protocol.buffer_updated(count)
        if data:
            self.protocol.data_received(data)

    def end(self) -> None:
        """The other end has nothing more to say."""
        if self.closed or self._closing:
            return
        if self._paused:
            self._held.append(self.end)
            return
        self._tell(lambda: None if self.protocol.eof_received() else self.close())

    def lose(self, error: Exception | None) -> None:
        """The connection is gone."""
        if not self.closed:
            self.closed = True
            self.network.forget(self)
            life = owner(self.context)
            if life is not None and not life.dead:
                self.network.note(f"x {self.name} {error!r}")
            self._tell(lambda: self.protocol.connection_lost(error))

    def _tell(self, what: Callable[[], Any]) -> None:
        self.network.loop.call_soon(what, context=self.context)


class Network:
    """All connections. note: told of each crossing of bytes to or from the process."""

    def __init__(self, loop: VirtualLoop, draw: random.Random, note: Callable[[str], None]) -> None:
        self.loop, self.draw, self.note = loop, draw, note
        self.weather = CALM
        self.context = copy_context()
        self.listeners: dict[int, tuple[Callable[[], Any], Context]] = {}
        self.pipes: dict[str, Pipe] = {}
        self.troubles = self._count = 0
        loop.create_connection = self.connect  # type: ignore[method-assign, assignment]
        loop.create_server = self.listen  # type: ignore[method-assign, assignment]

    def delay(self) -> float:
        """How long something is on its way."""
        weather = self.weather
        if weather.slow and self.draw.random() < weather.slow:
            return self.draw.uniform(weather.most, weather.slowest)
        return self.draw.uniform(weather.least, weather.most)

    async def listen(self, factory: Callable[[], Any], host: Any = None, port: int = 0, **_: Any) -> _Server:
        """In the place of `loop.create_server`."""
        port = port or _FIRST_PORT + self.draw.randrange(20_000)
        if port in self.listeners:
            raise OSError(98, "address already in use")
        self.listeners[port] = factory, copy_context()
        return _Server(self, port)

    async def connect(
        self, factory: Callable[[], Any], host: Any = None, port: int = 0, *, sock: Any = None, **_: Any
    ) -> tuple[Pipe, Any]:
        """In the place of `loop.create_connection`."""
        port = sock.port if sock is not None else port
        life, weather, draw = owner(), self.weather, self.draw
        if life is not None:
            life.cross("send")
        await asyncio.sleep(self.delay())
        luck = draw.random() if life is not None else 1.0
        if port not in self.listeners or luck < weather.refused:
            self.troubles += luck < weather.refused
            raise ConnectionRefusedError(111, "connection refused")
        if luck < weather.refused + weather.unanswered:
            self.troubles += 1
            await asyncio.sleep(86_400)
        self._count += 1
        name = f"{life.number if life is not None else 'world'}.{self._count}"
        accept, context = self.listeners[port]
        near = Pipe(self, name, (HOST, port), copy_context())
        far = Pipe(self, name, (HOST, 1024 + self._count), context)
        near.other, far.other = far, near
        self.pipes[name] = near
        far.protocol = accept()
        near.protocol = factory()
        self.note(f"= {name} to {port}")
        # Told in this order: the one that is called may speak first.
        self.loop.call_soon(far.protocol.connection_made, far, context=context)
        near.protocol.connection_made(near)
        if life is not None:
            self._doom(near, luck - weather.refused - weather.unanswered)
        return near, near.protocol

    def _doom(self, pipe: Pipe, luck: float) -> None:
        """Draw what becomes of a connection."""
        weather = self.weather
        # Some go at once, some after minutes.
        when = self.draw.expovariate(1.0) * self.draw.choice((0.01, 2.0, 60.0))
        if luck < weather.cut:
            end: Callable[[], None] = lambda: self._cut(pipe)  # noqa: E731
        elif luck < weather.cut + weather.muted:
            end = lambda: self._mute(pipe, pipe.other)  # noqa: E731
        elif luck < weather.cut + weather.muted + weather.deaf:
            end = lambda: self._mute(pipe)  # noqa: E731
        else:
            return
        self.loop.call_later(when, end, context=self.context)

    def _cut(self, pipe: Pipe) -> None:
        if not pipe.closed:
            self.troubles += 1
            for one in (pipe, pipe.other):
                one.lose(ConnectionResetError("cut on the way"))

    def _mute(self, *pipes: Pipe) -> None:
        for pipe in pipes:
            self.troubles += not pipe.deaf
            pipe.deaf = True

    def forget(self, pipe: Pipe) -> None:
        """A connection has ended."""
        if self.pipes.get(pipe.name) is pipe:
            del self.pipes[pipe.name]

    def bury(self, life: Life) -> None:
        """The kernel tells the others of a process that has died, and listens for it no more."""
        for port, (_, context) in list(self.listeners.items()):
            if owner(context) is life:
                del self.listeners[port]
        for pipe in list(self.pipes.values()):
            if owner(pipe.context) is life:
                pipe.closed = True
                self.forget(pipe)
                pipe._carry(lambda other=pipe.other: other.lose(ConnectionResetError("the process has died")))


def shown(data: bytes) -> str:
    """Bytes for the trace; the text of a client's frame (RFC 6455, 5.2) with its mask taken off, and the mask."""
    size, start = data[1] & 0x7F if len(data) > 6 else 126, 2
    if data[:1] == b"\x81" and len(data) > 8 and size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    if data[:1] != b"\x81" or not data[1] & 0x80 or len(data) != start + 4 + size:
        return repr(data)
    mask, body = data[start : start + 4], data[start + 4 :]
    return f"{bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))!r} masked by {mask.hex()}"


@dataclass
class _Address:
    port: int

    def close(self) -> None:
        """There is no socket behind it."""


async def _start_connection(addr_infos: Any, **_: Any) -> _Address:
    return _Address(addr_infos[0][4][1])


@contextmanager
def nothing_but(draw: random.Random, wall: Callable[[], float]) -> Iterator[None]:
    """For the block, aiohttp and websockets have entropy and dates of the seed, and sockets cannot be made at all."""

    def no_socket(*_: Any, **__: Any) -> None:
        raise AssertionError("a real socket in a simulation")

    entropy = SimpleNamespace(token_bytes=draw.randbytes)
    date = lambda: email.utils.formatdate(int(wall()), usegmt=True)  # noqa: E731
    with (
        mock.patch.object(socket.socket, "__init__", no_socket),
        mock.patch.object(aiohappyeyeballs, "start_connection", _start_connection),
        mock.patch.object(aiohttp.web_response, "rfc822_formatted_time", date),
        mock.patch.object(front, "_date", date, create=True),
        mock.patch.object(aiohttp.connector, "random", draw),
        mock.patch.object(websockets.frames, "secrets", entropy),
        mock.patch.object(websockets.utils, "secrets", entropy),
        mock.patch.object(websockets.asyncio.connection, "random", draw),
    ):
        yield
