"""Load on the path of an order: signals by a timetable, each to a filled order, and how long every part took."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipeline.exchange.port import Clock, Exchange, Report, Request
from pipeline.live.books import Books
from pipeline.live.desk import Desk, Settings
from pipeline.live.driver import Driver
from pipeline.live.seams import Journal
from pipeline.live.telling import Tell
from pipeline.trading.filters import SymbolFilters
from pipeline.trading.orders import Intent, State

# Longer than a lost reply takes to be proved absent.
GIVE_UP_S = 30.0
_MINUTE_MS = 60_000


@dataclass
class Signal:
    """One signal and when what became of it happened, in seconds of the clock; None for what never did.

    due: when it was to come. sent: its order left for the exchange. replied: the exchange has answered. filled: the
    whole fill stands in the journal.
    """

    number: int
    symbol: str
    leg: str
    due: float
    sent: float | None = None
    replied: float | None = None
    filled: float | None = None


@dataclass(frozen=True)
class Pattern:
    """When signals come. per_hour: on average, at random; None for all at once, `in_flight` of them at a time."""

    name: str
    signals: int
    per_hour: float | None = None
    in_flight: int = 1

    def due(self, speed: float, draw: random.Random) -> list[float]:
        """Seconds after the start, ascending. speed: the timetable's time over the clock's."""
        if self.per_hour is None:
            return [0.0] * self.signals
        times, now = [], 0.0
        for _ in range(self.signals):
            times.append(now)
            now += draw.expovariate(self.per_hour / 3600) / speed
        return times


class Timed:
    """An exchange that is listened to: when an order left, and when its answer came."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange, self._clock = exchange, clock
        self.signals: dict[str, Signal] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    async def place(self, request: Request, window_ms: int) -> Report:
        """As the exchange's."""
        signal = self.signals.get(request.client_order_id)
        if signal is not None:
            signal.sent = self._clock.monotonic()
        report = await self._exchange.place(request, window_ms)
        if signal is not None:
            signal.replied = self._clock.monotonic()
        return report


@dataclass
class Load:
    """The desk under load.

    rules: of the symbols, in turn of which signals come; each is bought and sold again. qty: by symbol. bundle: names
    the orders.
    """

    exchange: Exchange
    journal: Journal
    clock: Clock
    tell: Tell
    rules: dict[str, SymbolFilters]
    qty: Mapping[str, Decimal]
    bundle: str
    run_in_thread: Callable[[Callable[[], Any]], Any] | None = None
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._timed = Timed(self.exchange, self.clock)
        self._desk = Desk(Books(), self.rules, Settings())
        self._driver = Driver(
            self._desk, self._timed, self.journal, self.clock, self._told, lambda kind, body: None,
            run=self.run_in_thread, written=self._written,
        )  # fmt: skip
        self._turns = {symbol: asyncio.Lock() for symbol in self.rules}
        self._done: dict[str, asyncio.Event] = {}

    async def run(self, pattern: Pattern, speed: float, seed: int) -> list[Signal]:
        """Live through a pattern; all signals, also those of which nothing became."""
        names = sorted(self.rules)
        due = pattern.due(speed, random.Random(f"{pattern.name} {seed}"))
        room = asyncio.Semaphore(pattern.in_flight if pattern.per_hour is None else len(names))
        listening = asyncio.ensure_future(self._listen())
        begun = self.clock.monotonic()
        signals = [
            Signal(n, names[n % len(names)], "exit" if n // len(names) % 2 else "entry", begun + at)
            for n, at in enumerate(due)
        ]
        try:
            await asyncio.gather(*(self._follow(signal, pattern, room) for signal in signals))
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
        return signals

    async def close(self) -> None:
        """Let go of what is under way."""
        await self._driver.close()

    async def _follow(self, signal: Signal, pattern: Pattern, room: asyncio.Semaphore) -> None:
        wait = signal.due - self.clock.monotonic()
        if wait > 0:
            await self.clock.sleep(wait)
        async with self._turns[signal.symbol], room:
            if pattern.per_hour is None:
                # Of a burst, a signal that waits for its turn has not come yet.
                signal.due = self.clock.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._order(signal, pattern), GIVE_UP_S)

    async def _order(self, signal: Signal, pattern: Pattern) -> None:
        buys = signal.leg == "entry"
        # A bar of its own for each signal: the same intent is never sent twice.
        intent = Intent(f"{self.bundle}-{pattern.name}", signal.symbol, signal.number * _MINUTE_MS, signal.leg)
        name = intent.client_order_id
        request = Request(signal.symbol, "BUY" if buys else "SELL", "MARKET", self.qty[signal.symbol], name)
        done = self._done[name] = asyncio.Event()
        self._timed.signals[name] = signal
        await self._driver.do(
            lambda: self._desk.order(intent, request, self.clock.now_ms(), reduce_only=not buys), [signal.symbol]
        )
        await done.wait()
        signal.filled = self.clock.monotonic()
        del self._done[name], self._timed.signals[name]

    def _written(self, kind: str, body: Mapping[str, Any]) -> None:
        # Once it is on disk: an order is filled when the journal says so.
        name = str(body.get("id", ""))
        if kind in ("FILL", "OUTCOME") and name in self._done:
            entry = self._desk.books.entries.get(name)
            if entry is None or entry.order.state == State.FILLED:
                self._done[name].set()

    def _told(self, event: str, /, **fields: Any) -> None:
        if event in ("error", "halt"):
            self.errors.append(str(fields.get("reason", event)))
        self.tell(event, **fields)

    async def _listen(self) -> None:
        now = self.clock.now_ms
        async for event in self.exchange.events(sorted(self.rules), "1m"):
            if isinstance(event, Report):
                report = event
                await self._driver.do(lambda report=report: self._desk.replied(report, now()), [event.symbol])  # type: ignore[misc]


def succeeded(signals: Iterable[Signal]) -> list[Signal]:
    """Those whose order was filled."""
    return [signal for signal in signals if signal.filled is not None]


def milliseconds(signals: Sequence[Signal], begin: str, end: str) -> list[float]:
    """How long a part of the way took, for the signals that went it. begin, end: fields of `Signal`."""
    taken = []
    for signal in signals:
        first, last = getattr(signal, begin), getattr(signal, end)
        if first is not None and last is not None:
            taken.append((last - first) * 1000)
    return taken
