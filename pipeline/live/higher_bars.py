"""Bars of higher intervals, asked for when they close."""

from collections.abc import Collection

from pipeline.config import Config, interval_ms
from pipeline.exchange.port import Clock, ClosedBar, Exchange, Unavailable
from pipeline.live.following import closing
from pipeline.live.gathering import Bar

_AGAIN_SECONDS = 0.2


class HigherBars:
    """Of all symbols. fetched: the intervals that are not made of our own bars."""

    def __init__(self, config: Config, fetched: Collection[str], exchange: Exchange, clock: Clock) -> None:
        self._config, self._fetched, self._exchange, self._clock = config, fetched, exchange, clock

    async def closed_with(self, open_time_ms: int) -> dict[str, dict[str, Bar | None]]:
        """Those that close with the bar of a time, by symbol and interval; None where the exchange has none.

        Asks until it is answered. Raises Refused, WrongKey.
        """
        found: dict[str, dict[str, Bar | None]] = {}
        end = open_time_ms + self._config.step_ms
        for interval in closing(self._config, self._fetched, open_time_ms):
            for symbol in self._config.symbols:
                bars = await self._asked(symbol, interval, end - interval_ms(interval), end)
                found.setdefault(symbol, {})[interval] = bars[0].values if bars else None
        return found

    async def _asked(self, symbol: str, interval: str, begin: int, end: int) -> list[ClosedBar]:
        while True:
            try:
                return await self._exchange.bars(symbol, interval, begin, end)
            except Unavailable as error:
                await self._clock.sleep(max(error.after_s, _AGAIN_SECONDS))
