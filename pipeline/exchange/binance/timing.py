"""The exchange's time: measured now and then, told from our own monotonic clock in between."""

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.exchange.port import Clock

SAMPLES = 5
EVERY_SECONDS = 600.0


class ServerTime:
    """What the exchange's clock shows. ask: gives its time, ms; the sample with the shortest round trip counts.

    moved_ms: by how much the last measurement corrected what we believed.
    """

    def __init__(self, clock: Clock, ask: Callable[[], Awaitable[int]]) -> None:
        self._clock = clock
        self._ask = ask
        self._anchor: tuple[float, float] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self.syncs = 0
        self.moved_ms = 0.0

    def now_ms(self) -> int:
        """The exchange's time; our own until it is measured."""
        if self._anchor is None:
            return self._clock.now_ms()
        server, ours = self._anchor
        return int(server + (self._clock.monotonic() - ours) * 1000)

    async def sync(self, seen: int = -1) -> None:
        """Measure it, unless that has been done since `syncs` was `seen`; those who come meanwhile share the result."""
        if seen >= 0 and self.syncs > seen:
            return
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.ensure_future(self._measure())
        await asyncio.shield(self._measuring)

    async def _measure(self) -> None:
        best: tuple[float, float, float] | None = None
        for _ in range(SAMPLES):
            sent = self._clock.monotonic()
            server = await self._ask()
            back = self._clock.monotonic()
            if best is None or back - sent < best[0]:
                best = (back - sent, float(server), (sent + back) / 2)
        assert best is not None
        believed = self.now_ms()
        self._anchor = (best[1], best[2])
        self.moved_ms = self.now_ms() - believed if self.syncs else 0.0
        self.syncs += 1
