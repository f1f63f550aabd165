"""Waiting for something, but not for ever."""

import asyncio

from pipeline.exchange.port import Clock


async def woken_within(clock: Clock, seconds: float, event: asyncio.Event) -> None:
    """Until an event is set, or for some seconds of a clock."""
    timer = asyncio.ensure_future(clock.sleep(seconds))
    woken = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([timer, woken], return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        woken.cancel()
