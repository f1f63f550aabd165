"""Sockets that stay: each is watched, and replaced by a new one when it is in doubt; none is ever repaired.

python-binance's sockets give up after five tries, stay silent for 40 s on a dead line, and forget subscriptions. Here
each is used until its first error, with its own reconnecting turned off.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from binance.ws.constants import WSListenerState
from binance.ws.reconnecting_websocket import ReconnectingWebsocket

from pipeline.exchange.binance.client import Note
from pipeline.exchange.binance.errors import EXPECTED
from pipeline.exchange.port import Clock, Unavailable

Message = dict[str, Any]
QUEUE = 20_000
# The exchange cuts a connection after 24 hours.
MOST_AGE_SECONDS = 23 * 3600.0
_LONGEST_WAIT = 30.0
# One that lived so long was not a failure.
_LIVED_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_SILENT = logging.Logger("binance.silent", logging.CRITICAL + 1)
_ENDS = ("serverShutdown", "eventStreamTerminated")


class Lost(Exception):
    """A socket that can no longer be relied on."""


class Line(Protocol):
    """One open socket."""

    async def recv(self) -> Message:
        """The next message. Raises Lost, or what python-binance raises."""

    async def check(self) -> None:
        """Ask whether the other end is there. Raises Lost, or what python-binance raises."""

    async def close(self) -> None:
        """Let go of it at once."""


@dataclass(frozen=True)
class Watch:
    """When a line is doubted.

    check_s: after so long without a message, the other end is asked; answer_s: how long it has to answer; silence_s:
    after so long without a message it is replaced, whatever it answers; 0: silence is normal.
    age_s: replaced after so long, by a new one that is open before the old is closed.
    """

    check_s: float
    answer_s: float = 5.0
    silence_s: float = 0.0
    age_s: float = MOST_AGE_SECONDS


def for_klines(step_ms: int) -> Watch:
    """Of streams of bars. They are told every 2 s; a symbol that nobody trades may say nothing for a while."""
    update = 1.0 if step_ms == 1000 else 2.0
    return Watch(update, 5.0, 2 * step_ms / 1000 + 5.0)


class BinanceLine:
    """A line over one of python-binance's sockets. It is connected already."""

    def __init__(self, socket: ReconnectingWebsocket) -> None:
        self.socket = socket

    async def recv(self) -> Message:
        message = await self.socket.recv()
        if not isinstance(message, dict):
            raise Lost("a message that is no object")
        if message.get("e") == "error":
            raise Lost(f"{message.get('type')}")
        if "error" in message and "stream" not in message:
            raise Lost("the subscription was refused")
        return message

    async def check(self) -> None:
        if self.socket.ws is None:
            raise Lost("closed")
        await (await self.socket.ws.ping())

    async def close(self) -> None:
        await discard(self.socket)


async def connect(socket: ReconnectingWebsocket, is_local: bool) -> None:
    """Open one of python-binance's sockets, made to end at its first error. Raises what python-binance raises."""
    socket.MAX_RECONNECTS = 0
    # What it would log are errors that lead to a note, and whole messages.
    socket._log = _SILENT
    socket.max_queue_size = QUEUE
    if is_local:
        # Otherwise the environment's proxy is tried even for this machine.
        socket._ws_kwargs = {**socket._ws_kwargs, "proxy": None}
    try:
        await socket.connect()
    except BaseException:
        await discard(socket)
        raise


async def discard(socket: ReconnectingWebsocket) -> None:
    """Close a socket without the ten seconds that its own `close` takes."""
    socket.ws_state = WSListenerState.EXITING
    if socket.ws is not None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await socket.ws.close()
            socket.ws.transport.abort()


class _Open:
    """A line with the task that reads it and the task that doubts it. ended: why it is no longer good, once it is."""

    def __init__(self, line: Line, keeper: "Keeper") -> None:
        self.line = line
        self.keeper = keeper
        self.since = keeper.clock.monotonic()
        self.heard = 0
        self.shutting = asyncio.Event()
        self._closing = False
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.ensure_future(self._guard(work)) for work in (self._read(), self._doubt())]

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (Lost, *EXPECTED) as error:
            self._end(str(error) if isinstance(error, Lost) else type(error).__name__)
        except Exception as error:
            # A fault of ours: the keeper raises it, so that it is not mistaken for silence.
            if not self.ended.done():
                self.ended.set_exception(error)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    async def _read(self) -> None:
        # python-binance waits with `wait_for`, which in Python 3.11 loses a cancel that meets a message.
        while not self._closing:
            message = await self.line.recv()
            self.heard += 1
            event = message.get("data", message)
            if isinstance(event, dict) and event.get("e") in _ENDS:
                self.shutting.set()
                continue
            self.keeper.on_message(message)

    async def _doubt(self) -> None:
        """Ask after a silence; replace after a longer one."""
        watch, clock, silent = self.keeper.watch, self.keeper.clock, 0.0
        while True:
            before = self.heard
            await clock.sleep(watch.check_s)
            if self.heard != before:
                silent = 0.0
                continue
            silent += watch.check_s
            if 0 < watch.silence_s <= silent:
                self._end(f"no message for {silent:.0f} s")
                return
            if not await self._answers():
                self._end(f"no answer within {watch.answer_s:.0f} s")
                return

    async def _answers(self) -> bool:
        """Whether the other end answers in time; time is that of the clock, so not `wait_for`."""
        asked = asyncio.ensure_future(self.line.check())
        timer = asyncio.ensure_future(self.keeper.clock.sleep(self.keeper.watch.answer_s))
        try:
            await asyncio.wait({asked, timer}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                asked.result()
                return True
            return False
        finally:
            timer.cancel()
            if not asked.done():
                asked.cancel()

    async def close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.line.close()
        # An error of ours that came after the line was given up would be reported as never retrieved.
        if self.ended.done() and not self.ended.cancelled():
            self.ended.exception()


class Keeper:
    """Keeps one line open for ever.

    build: opens a new line. on_message: told of each message. on_open: told when a line is open, before its messages.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], Awaitable[Line]],
        on_message: Callable[[Message], None],
        on_open: Callable[[], None],
        watch: Watch,
        clock: Clock,
        draw: random.Random,
        note: Note,
    ) -> None:
        self.name = name
        self.on_message = on_message
        self.watch = watch
        self.clock = clock
        self._build = build
        self._on_open = on_open
        self._draw = draw
        self._note = note
        self._failures = 0

    async def run(self) -> None:
        """Until it is cancelled. Raises what `build` raises other than that the exchange cannot be reached."""
        current: _Open | None = None
        try:
            while True:
                if current is None:
                    current = await self._open()
                reason = await self._until_doubtful(current)
                if reason:
                    lived = self.clock.monotonic() - current.since
                    await current.close()
                    self._failures = 0 if lived >= _LIVED_SECONDS or current.heard else self._failures
                    current = None
                    self._note("socket", f"{self.name}: {reason}; a new one is opened")
                    await self._pause()
                else:
                    old, current = current, await self._replace(current)
                    await old.close()
        finally:
            if current is not None:
                await current.close()

    async def _until_doubtful(self, current: _Open) -> str:
        """Why the line was lost; empty if it is good, but time for another."""
        age = asyncio.ensure_future(self.clock.sleep(self.watch.age_s * self._draw.uniform(0.95, 1.0)))
        warned = asyncio.ensure_future(current.shutting.wait())
        try:
            either: list[asyncio.Future[Any]] = [current.ended, age, warned]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            age.cancel()
            warned.cancel()
        return current.ended.result() if current.ended.done() else ""

    async def _replace(self, old: _Open) -> _Open:
        """A new line beside the old one, which goes on being read until the new one is open."""
        self._note("socket", f"{self.name}: replaced before it is closed")
        return await self._open()

    async def _open(self) -> _Open:
        while True:
            try:
                line = await self._build()
            except (Lost, Unavailable, *EXPECTED) as error:
                self._note("socket", f"{self.name}: cannot be opened ({type(error).__name__})")
                await self._pause(error.after_s if isinstance(error, Unavailable) else 0.0)
                continue
            self._on_open()
            return _Open(line, self)

    async def _pause(self, least: float = 0.0) -> None:
        """Half a second to a second after the first failure, half a minute at the most."""
        wait = min(2.0**self._failures, _LONGEST_WAIT) * self._draw.uniform(0.5, 1.0)
        self._failures = min(self._failures + 1, 10)
        await self.clock.sleep(max(wait, least))
