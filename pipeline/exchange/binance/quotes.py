"""Best prices and trades between two bars."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from pipeline.exchange.binance import reports
from pipeline.exchange.binance.client import Note
from pipeline.exchange.binance.sockets import Keeper, Line, Lost, Message, Watch
from pipeline.exchange.port import Clock, Quote, Traded

_WATCH = Watch(5.0, 5.0)


async def follow_quotes(
    symbols: Iterable[str],
    build: Callable[[list[str]], Awaitable[Line]],
    clock: Clock,
    draw: random.Random,
    note: Note,
) -> AsyncIterator[Quote | Traded]:
    """Best prices and trades as they come, for ever.

    build: opens a socket for symbols in small letters. Of a symbol that waits to be taken only the latest price is
    kept, and the sum of what was traded: who is slow sees what is true now.
    """
    names = [symbol.lower() for symbol in symbols]
    waiting: dict[tuple[str, type], Quote | Traded] = {}
    woken = asyncio.Event()

    def on_message(message: Message) -> None:
        event = message.get("data")
        if not isinstance(event, dict):
            return
        try:
            told = reports.quoted(event)
        except reports.MALFORMED:
            raise Lost("a price that is not understood") from None
        if told is None:
            return
        before = waiting.get((told.symbol, type(told)))
        if isinstance(told, Traded) and isinstance(before, Traded):
            told = Traded(told.symbol, told.qty + before.qty)
        waiting[told.symbol, type(told)] = told
        woken.set()

    keeper = Keeper("quotes", lambda: build(names), on_message, lambda: None, _WATCH, clock, draw, note)
    task = asyncio.ensure_future(keeper.run())
    task.add_done_callback(lambda _: woken.set())
    try:
        while True:
            await woken.wait()
            woken.clear()
            while waiting:
                yield waiting.pop(next(iter(waiting)))
            if task.done():
                task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
