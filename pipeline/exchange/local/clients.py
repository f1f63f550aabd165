"""One open socket: what is to be sent waits in a buffer of its own, until the end of the turn of the event loop.

Then all of it goes to the connection in one piece. One who reads slowly holds up nobody; one whose buffer overflows is
cut off.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable

from aiohttp import WSCloseCode, web

_MOST_WAITING = 200_000
_CLOSE_SECONDS = 5.0
_BATCH = 512
_MOST_UNSENT, _PATIENCE = 1 << 20, 0.002
_CODES = {
    "clean": WSCloseCode.GOING_AWAY,
    "server": WSCloseCode.INTERNAL_ERROR,
    "policy": WSCloseCode.POLICY_VIOLATION,
}


class Client:
    """One market socket. raw: messages without the name of their stream."""

    def __init__(self, socket: web.WebSocketResponse, raw: bool) -> None:
        self.socket = socket
        self.raw = raw
        self.names: set[str] = set()
        self.waiting: deque[str] = deque()
        # Whether all that was said has been handed to the connection.
        self.idle = asyncio.Event()
        self.idle.set()
        self.muted_until = 0.0
        # Did not read within the time it was given; not waited for until it does.
        self.stalled = False
        # Says goodbye; the connection must stay open until it has.
        self.closing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._due = False
        self.alive = self._loop.time()

    def send(self, message: str) -> None:
        """Queue a message; a client that has too many waiting is closed."""
        if self.muted_until and self._loop.time() < self.muted_until:
            return
        if len(self.waiting) >= _MOST_WAITING:
            # It reads nothing, a closing frame neither.
            self.waiting.clear()
            close(self, "rst")
            return
        self.waiting.append(message)
        self.idle.clear()
        if not self._due:
            self._due = True
            self._loop.call_soon(self._write_later)

    async def ended(self) -> None:
        """Wait until a close that was begun is done."""
        if self.closing is not None:
            await self.closing

    async def ping(self) -> None:
        """Ask whether the other end is there; not if it has not even taken what was sent to it."""
        if self.idle.is_set():
            with contextlib.suppress(ConnectionError, RuntimeError):
                await self.socket.ping()

    def write(self) -> bool:
        """Hand what waits to the connection; whether that was all of it. If not, it is tried again after a while."""
        if self.idle.is_set():
            return True
        transport = self._transport()
        if transport is None or transport.is_closing() or self.socket.closed:
            # The client has gone; its handler cleans up.
            self.waiting.clear()
        else:
            waiting = self.waiting
            # Not more than the buffer's worth waits in the connection: the rest is ours to count.
            while waiting and transport.get_write_buffer_size() <= _MOST_UNSENT:
                # Several frames at once are one call of the system instead of one each.
                batch = (frame(waiting.popleft().encode()) for _ in range(min(len(waiting), _BATCH)))
                transport.write(b"".join(batch))
            if waiting or transport.get_write_buffer_size() > _MOST_UNSENT:
                if not self._due:
                    self._due = True
                    self._loop.call_later(_PATIENCE, self._write_later)
                return False
        self.idle.set()
        self.stalled = False
        return True

    def _write_later(self) -> None:
        self._due = False
        self.write()

    def _transport(self) -> asyncio.Transport | None:
        request = self.socket._req
        found = request.transport if request is not None else None
        return found if isinstance(found, asyncio.Transport) else None

    def abort(self) -> None:
        """Break the connection without a word."""
        transport = self._transport()
        if transport is not None:
            transport.abort()


def frame(text: bytes) -> bytes:
    """A text message as a WebSocket frame of a server (RFC 6455, 5.2)."""
    size = len(text)
    if size < 126:
        return b"\x81" + bytes([size]) + text
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text


async def flush(clients: Iterable[Client], most: float = 2.0) -> None:
    """Wait until all buffers are empty; a client that does not read is waited for once, `most` seconds long."""
    busy = [client for client in clients if not client.write() and not client.stalled]
    if busy:
        try:
            await asyncio.wait_for(asyncio.gather(*(client.idle.wait() for client in busy)), most)
        except TimeoutError:
            for client in busy:
                client.stalled = not client.idle.is_set()


def close(client: Client, mode: str) -> None:
    """Close a socket: clean as going away (1001), server as an error (1011), rst without a word.

    policy: for a client that broke a rule (1008).
    """
    if mode == "rst":
        client.abort()
    elif client.closing is None:
        client.closing = asyncio.get_running_loop().create_task(_close(client, _CODES[mode]))


async def _close(client: Client, code: int) -> None:
    try:
        await asyncio.wait_for(client.socket.close(code=code), _CLOSE_SECONDS)
    except (TimeoutError, ConnectionError, RuntimeError):
        client.abort()
