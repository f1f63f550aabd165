"""One open socket: what is to be sent waits in a buffer of its own, which a task empties.

So one who reads slowly holds up nobody; one whose buffer overflows is cut off.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from aiohttp import WSCloseCode, web

_MOST_WAITING = 200_000
_CLOSE_SECONDS = 5.0
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
        self.waiting: list[str] = []
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.muted_until = 0.0
        # Did not read within the time it was given; not waited for until it does.
        self.stalled = False
        # Says goodbye; the connection must stay open until it has.
        self.closing: asyncio.Task[None] | None = None
        self.alive = asyncio.get_running_loop().time()

    def send(self, message: str) -> None:
        """Queue a message; a client that has too many waiting is closed."""
        if self.muted_until and asyncio.get_running_loop().time() < self.muted_until:
            return
        if len(self.waiting) >= _MOST_WAITING:
            # It reads nothing, a closing frame neither.
            self.waiting.clear()
            close(self, "rst")
            return
        self.waiting.append(message)
        self.idle.clear()
        self.wake.set()

    async def ended(self) -> None:
        """Wait until a close that was begun is done."""
        if self.closing is not None:
            await self.closing

    async def ping(self) -> None:
        """Ask whether the other end is there; not if it has not even taken what was sent to it."""
        if self.idle.is_set():
            with contextlib.suppress(ConnectionError, RuntimeError):
                await self.socket.ping()

    async def pump(self) -> None:
        """Send what waits, until the socket closes."""
        try:
            while not self.socket.closed:
                await self.wake.wait()
                self.wake.clear()
                while self.waiting:
                    batch, self.waiting = self.waiting, []
                    for message in batch:
                        await self.socket.send_str(message)
                self.idle.set()
                self.stalled = False
        except (ConnectionError, RuntimeError):
            pass  # The client has gone; its handler cleans up.
        finally:
            self.idle.set()


async def flush(clients: Iterable[Client], most: float = 2.0) -> None:
    """Wait until all buffers are empty; a client that does not read is waited for once, `most` seconds long."""
    busy = [client for client in clients if not client.idle.is_set() and not client.stalled]
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
        _abort(client)
    elif client.closing is None:
        client.closing = asyncio.get_running_loop().create_task(_close(client, _CODES[mode]))


async def _close(client: Client, code: int) -> None:
    try:
        await asyncio.wait_for(client.socket.close(code=code), _CLOSE_SECONDS)
    except (TimeoutError, ConnectionError, RuntimeError):
        _abort(client)


def _abort(client: Client) -> None:
    transport = client.socket._req.transport if client.socket._req is not None else None
    if transport is not None:
        transport.abort()
