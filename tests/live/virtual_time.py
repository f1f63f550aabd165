"""An event loop on virtual time: it never waits, and whoever is dead does nothing any more.

When nothing is ready, time jumps to the next timer. What runs belongs to a life of the process under test, or to the
rest of the world; the callbacks of a life that has ended are dropped, as a power cut would.
"""

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

# A world that does this many things at one moment goes round in circles.
_MOST_AT_ONCE = 200_000


class Crash(BaseException):
    """The process is gone: nothing that it still does has an effect."""


class Life:
    """One life of the process. cross: told of each crossing of a seam by its kind; raises Crash to end the life there.

    Kinds: send, sent, receive, append, torn, appended, timer.
    """

    def __init__(self, number: int, crossed: Callable[["Life", str], None]) -> None:
        self.number = number
        self.dead = False
        self._crossed = crossed

    def cross(self, kind: str) -> None:
        """Something is about to cross a seam, or has done so. Raises Crash."""
        if self.dead:
            raise Crash
        self._crossed(self, kind)

    def context(self) -> Context:
        """A context in which everything belongs to this life."""
        context = copy_context()
        context.run(_OWNER.set, self)
        return context


_OWNER: ContextVar[Life | None] = ContextVar("owner", default=None)


def owner(context: Context | None = None) -> Life | None:
    """Whose context it is, None for the rest of the world's; of the current one if none is given."""
    found: Life | None = _OWNER.get() if context is None else context.get(_OWNER)
    return found


class _Handle(asyncio.Handle):
    __slots__ = ()

    def _run(self) -> None:
        life = owner(self._context)
        if life is None or not life.dead:
            super()._run()


class _Timer(asyncio.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        life = owner(self._context)
        if life is not None:
            try:
                life.cross("timer")
            except Crash:
                return
        super()._run()


class _Jump:
    """In the place of a selector: nothing comes from outside, so waiting is going on to the next timer."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop
        self._idle = 0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is ready, and nothing ever will be")
        self._idle += 1
        if timeout > 0:
            self._idle = 0
            self._loop.go_to_next_timer()
        if self._idle > _MOST_AT_ONCE:
            raise RuntimeError(f"time stands still at {self._loop.time()} s")
        return []

    def close(self) -> None:
        """Nothing to let go of."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Time begins at 0 s. draw: how long work in a thread takes; the work itself is done at once, by nobody else.

    stalls: probability that it takes up to 20 seconds, as of a disk that hangs; stalled: how often it did.
    faults: what callbacks and tasks raised that nobody took, other than crashes.
    """

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.signals: dict[int, Callable[[], None]] = {}
        self._now = 0.0
        self.stalls, self.stalled = 0.0, 0
        self._draw = draw
        self._graveyard: list[asyncio.Task[Any]] = []
        # What BaseEventLoop asks its subclasses for.
        self._selector = _Jump(self)
        self._clock_resolution = 1e-9
        self.set_exception_handler(self._on_exception)

    def time(self) -> float:
        return self._now

    def go_to_next_timer(self) -> None:
        """Let the time be that of the first timer."""
        self._now = max(self._now, self._scheduled[0].when())

    def _process_events(self, event_list: list[Any]) -> None:
        """None come from outside."""

    def _write_to_self(self) -> None:
        """Nobody has to be woken."""

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        # What is swept up after the end wants to clean up, and may not.
        if not self.is_closed():
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        if not self.is_closed():
            # As BaseEventLoop does it.
            heapq.heappush(self._scheduled, timer)
            timer._scheduled = True
        return timer

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Work that another thread would do: it happens all at once, after the time that it takes."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        seconds = self._draw.uniform(0.0001, 0.003)
        if self._draw.random() < self.stalls:
            seconds, self.stalled = self._draw.uniform(0.1, 20), self.stalled + 1
        self.call_later(seconds, work)
        return future

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        context = copy_context()
        self.signals[sig] = lambda: self.call_soon(callback, *args, context=context)  # type: ignore[assignment]

    def remove_signal_handler(self, sig: int) -> bool:
        return self.signals.pop(sig, None) is not None

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        """Only this machine is known."""
        return [(2, 1, 6, "", (host, port))]

    # The dead

    def begin(self, life: Life, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let a life begin."""
        return self.create_task(work, context=life.context())

    def bury(self, life: Life) -> None:
        """A life has ended. Its tasks are kept as they are: what would clean up after them died with the process."""
        life.dead = True
        self._graveyard += [task for task in asyncio.all_tasks(self) if not task.done()]

    def close(self) -> None:
        """End the world."""
        tasks = [*self._graveyard, *asyncio.all_tasks(self)]
        super().close()
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(BaseException):
                task.get_coro().close()  # type: ignore[union-attr]
        self._graveyard.clear()

    def _on_exception(self, _: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        error = about.get("exception")
        if not isinstance(error, Crash):
            self.faults.append(f"{about['message']}: {error!r}")


class VirtualClock:
    """`port.Clock` of a machine whose clock is wrong by `skew_ms`. start_ms: what it would show at 0 s."""

    def __init__(self, loop: VirtualLoop, start_ms: int, skew_ms: int) -> None:
        self._loop, self._zero_ms = loop, start_ms + skew_ms

    def now_ms(self) -> int:
        return self._zero_ms + int(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
