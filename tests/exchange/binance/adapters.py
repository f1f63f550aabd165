"""Adapters against a local exchange: a clock whose pauses are short, and what comes out of the events."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from exchange.servers import inside
from pydantic import SecretStr

from pipeline.exchange.binance.adapter import BinanceExchange
from pipeline.exchange.binance.addresses import Keys, local
from pipeline.exchange.binance.client import Timeouts
from pipeline.exchange.binance.sockets import Watch
from pipeline.exchange.port import ClosedBar, Event, Interrupted, Report
from pipeline.testing import LocalExchange

# Long enough for a busy machine to answer, short enough for a test; the exchange allows five messages a second.
QUICK = Watch(check_s=0.3, answer_s=2.0)
PATIENCE = 60.0


@dataclass
class QuickClock:
    """Real time, with pauses that are shorter by a factor."""

    speed: float = 1.0
    slept: list[float] = field(default_factory=list)

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(seconds / self.speed)


@dataclass
class Adapter:
    """An open adapter, its notes, and what its events have told so far."""

    exchange: BinanceExchange
    local: LocalExchange
    notes: list[tuple[str, str]]
    clock: QuickClock
    told: list[Event] = field(default_factory=list)
    failed: BaseException | None = None

    @property
    def bars(self) -> list[ClosedBar]:
        return [event for event in self.told if isinstance(event, ClosedBar)]

    @property
    def reports(self) -> list[Report]:
        return [event for event in self.told if isinstance(event, Report)]

    @property
    def interruptions(self) -> int:
        return sum(isinstance(event, Interrupted) for event in self.told)

    def noted(self, words: str) -> bool:
        return any(words in said for _, said in self.notes)

    async def follow(self, symbols: tuple[str, ...] = ("BTCUSDT",), interval: str = "1m") -> None:
        try:
            async for event in self.exchange.events(symbols, interval):
                self.told.append(event)
        except Exception as error:
            self.failed = error
            raise

    async def step(self, bars: int = 1) -> None:
        await asyncio.to_thread(self.local.step, bars)

    async def fault(self, kind: str, **args: Any) -> None:
        await asyncio.to_thread(lambda: self.local.fault(kind, **args))

    async def until(self, holds: Callable[[], bool], what: str = "") -> None:
        """Wait for something to become true."""
        end = time.monotonic() + PATIENCE
        while not holds():
            if self.failed is not None:
                raise self.failed
            assert time.monotonic() < end, f"{what}: {self.notes} {len(self.bars)} bars"
            await asyncio.sleep(0.01)

    async def connected(self) -> None:
        """Until the streams are open: sockets of the market, and the user's subscription."""
        await self.until(lambda: self.interruptions > 0 and bool(inside(self.local, lambda s: len(s.hub.by_name))))


@contextlib.asynccontextmanager
async def adapter(
    local_exchange: LocalExchange,
    *,
    speed: float = 1.0,
    following: tuple[str, ...] = (),
    secret: str = "",
    key: str = "",
    **options: Any,
) -> AsyncIterator[Adapter]:
    """An adapter of a local exchange. following: symbols whose events are followed; options: of the adapter."""
    interval = options.pop("interval", "1m")
    notes: list[tuple[str, str]] = []
    clock = QuickClock(speed)
    keys = Keys(SecretStr(key or local_exchange.key), SecretStr(secret or local_exchange.secret))
    exchange = BinanceExchange(
        options.pop("addresses", local(local_exchange.url)),
        keys,
        clock,
        random.Random(1),
        note=lambda kind, words: notes.append((kind, words)),
        timeouts=options.pop("timeouts", Timeouts(5, 5, 10)),
        user_watch=options.pop("user_watch", QUICK),
        market_watch=options.pop("market_watch", QUICK),
    )
    made = Adapter(exchange, local_exchange, notes, clock)
    task: asyncio.Task[None] | None = None
    try:
        await exchange.open()
        if following:
            task = asyncio.ensure_future(made.follow(following, interval))
            await made.connected()
        yield made
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await exchange.close()


def requests_seen(local_exchange: LocalExchange) -> list[str]:
    """Names of the operations that arrive from now on; a list that grows."""
    seen: list[str] = []

    def watch(server: Any) -> None:
        charge = server.venue.charge

        def charged(address: str, name: str, raw: dict[str, str]) -> None:
            seen.append(name)
            charge(address, name, raw)

        server.venue.charge = charged

    inside(local_exchange, watch)
    return seen


def charges_seen(local_exchange: LocalExchange) -> list[int]:
    """Weights that are charged from now on, connections of the WebSocket API among them; a list that grows."""
    seen: list[int] = []

    def watch(server: Any) -> None:
        charge = server.venue.limits.charge

        def charged(address: str, weight: int, now: int) -> None:
            seen.append(weight)
            charge(address, weight, now)

        server.venue.limits.charge = charged

    inside(local_exchange, watch)
    return seen


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)
