"""Keeping one line open: pauses that grow, a line that does not want to end, and mistakes that are not hidden."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from exchange.binance.adapters import QuickClock, run

from pipeline.exchange.binance.sockets import Keeper, Lost, Message, Watch
from pipeline.exchange.port import Barred, WrongKey


class Quiet:
    """A line that says nothing; as python-binance's on Python 3.11, it may take a cancel for a message."""

    def __init__(self, swallows: int = 0) -> None:
        self.swallows = swallows
        self.closed = False

    async def recv(self) -> Message:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if self.swallows == 0:
                raise
            self.swallows -= 1
        return {}

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        self.closed = True


def keeper(build: Callable[[], Any], watch: Watch, clock: QuickClock, on_message: Any = lambda message: None) -> Keeper:
    return Keeper("x", build, on_message, lambda: None, watch, clock, random.Random(1), lambda kind, words: None)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def test_pauses_between_tries_grow_to_half_a_minute() -> None:
    clock, tries = QuickClock(speed=10_000), 0

    async def build() -> Any:
        nonlocal tries
        tries += 1
        raise OSError("refused")

    async def talk() -> None:
        task = asyncio.ensure_future(keeper(build, Watch(1), clock).run())
        await until(lambda: tries > 8)
        task.cancel()

    run(talk())
    for n, pause in enumerate(clock.slept[:8]):
        assert 0.5 * min(2**n, 30) <= pause <= min(2**n, 30)


def test_a_ban_is_waited_for() -> None:
    clock, tries = QuickClock(speed=1000), 0

    async def build() -> Any:
        nonlocal tries
        tries += 1
        raise Barred("banned", 120.0)

    async def talk() -> None:
        task = asyncio.ensure_future(keeper(build, Watch(1), clock).run())
        await until(lambda: tries > 1)
        task.cancel()

    run(talk())
    assert clock.slept[0] == 120.0


def test_a_line_that_swallows_a_cancel_is_closed_all_the_same() -> None:
    lines: list[Quiet] = []

    async def build() -> Any:
        lines.append(Quiet(swallows=1))
        return lines[-1]

    async def talk() -> None:
        task = asyncio.ensure_future(keeper(build, Watch(60, age_s=0.05), QuickClock()).run())
        await until(lambda: sum(line.closed for line in lines) >= 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert all(line.closed for line in lines)

    run(talk())


def test_a_wrong_key_ends_it() -> None:
    async def build() -> Any:
        raise WrongKey("no")

    with pytest.raises(WrongKey):
        run(keeper(build, Watch(1), QuickClock()).run())


def test_a_mistake_of_ours_is_raised_and_not_taken_for_a_lost_line() -> None:
    class Talking(Quiet):
        async def recv(self) -> Message:
            return {"e": "x"}

    async def build() -> Any:
        return Talking()

    def on_message(message: Message) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(keeper(build, Watch(1), QuickClock(), on_message).run())


def test_a_message_that_makes_no_sense_costs_the_line() -> None:
    lines: list[Quiet] = []

    class Talking(Quiet):
        async def recv(self) -> Message:
            return {"e": "x"}

    async def build() -> Any:
        lines.append(Talking())
        return lines[-1]

    def on_message(message: Message) -> None:
        raise Lost("nonsense")

    async def talk() -> None:
        task = asyncio.ensure_future(keeper(build, Watch(1), QuickClock(speed=1000), on_message).run())
        await until(lambda: len(lines) > 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert all(line.closed for line in lines)

    run(talk())
