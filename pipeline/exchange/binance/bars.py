"""Closed bars, each told once and in order: the stream says when, REST says what.

A bar that the stream tells as closed, a socket that has been opened anew, and a bar that should have closed two seconds
ago all lead to the same question to REST: which bars have closed since the last one? An open bar is never told.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import interval_ms
from pipeline.exchange.binance.client import Client
from pipeline.exchange.port import ClosedBar, Unavailable
from pipeline.exchange.waiting import woken_within
from pipeline.market.candles import COLUMNS, iso
from pipeline.market.files import BINANCE

PAGE = 1000
_WEIGHT = 2
# REST may lag behind the stream by some 100 ms.
_LAG_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
# A bar that the stream has not told of is asked for so long after its close; in REST it may not be final before.
_LATE_MS = 2000
_LATE_AGAIN_MS = 3000
_OPEN, _CLOSE, _TRADES = BINANCE.index("open_time"), BINANCE.index("close_time"), BINANCE.index("trades")
_WHERE = {name: BINANCE.index(name) for name in COLUMNS}
# The same columns in the stream's messages.
_KEYS = dict(zip(COLUMNS, ("o", "h", "l", "c", "v", "q", "n", "V", "Q"), strict=True))


@dataclass(frozen=True)
class Kline:
    """A bar as REST or the stream tells it. close_ms: its last millisecond."""

    open_ms: int
    close_ms: int
    values: Mapping[str, float]

    def bar(self, symbol: str) -> ClosedBar:
        """As the port names it."""
        return ClosedBar(symbol, self.open_ms, self.values)


def of_row(row: Sequence[Any]) -> Kline:
    """A row of `klines`. Raises IndexError, TypeError, ValueError: it is none."""
    return Kline(int(row[_OPEN]), int(row[_CLOSE]), {name: float(row[at]) for name, at in _WHERE.items()})


def of_message(kline: Mapping[str, Any]) -> Kline:
    """The `k` of a message. Raises KeyError, TypeError, ValueError: it is none."""
    return Kline(int(kline["t"]), int(kline["T"]), {name: float(kline[key]) for name, key in _KEYS.items()})


async def klines(client: Client, symbol: str, interval: str, start_ms: int, end_ms: int | None) -> list[Kline]:
    """Bars with open times in [start_ms, end_ms), oldest first, the open one last if it is among them.

    Raises Refused, Unavailable, Barred.
    """
    found: list[Kline] = []
    at = start_ms
    while end_ms is None or at < end_ms:
        bound = {} if end_ms is None else {"endTime": end_ms - 1}
        ask = client.binance.get_klines
        rows = await client.read(ask, _WEIGHT, symbol=symbol, interval=interval, startTime=at, limit=PAGE, **bound)
        try:
            page = [of_row(row) for row in rows]
        except (IndexError, KeyError, TypeError, ValueError):
            raise Unavailable(f"{symbol}: a bar that is not understood") from None
        if any(kline.open_ms < at for kline in page[:1]) or any(
            after.open_ms <= before.open_ms for before, after in itertools.pairwise(page)
        ):
            raise Unavailable(f"{symbol}: bars out of order")
        found += page
        if len(page) < PAGE:
            break
        at = page[-1].open_ms + 1
    return found


class Feed:
    """Closed bars of one symbol. tell: given each of them; since_ms: open time of the first, None: the one that is open
    when it starts."""

    def __init__(
        self, client: Client, symbol: str, interval: str, tell: Callable[[ClosedBar], None], since_ms: int | None = None
    ) -> None:
        self.symbol = symbol
        self._client = client
        self._interval = interval
        self._step = interval_ms(interval)
        self._tell = tell
        # A replay may stand still: no time of its market would pass until a bar is final.
        self._settles = 0 if client.is_replay else _LATE_MS
        self._next = since_ms
        self._told: dict[int, Kline] = {}
        self._wake = asyncio.Event()

    def on_closed(self, kline: Kline) -> None:
        """The stream has told a bar as closed."""
        if self._next is None or kline.open_ms >= self._next:
            self._told[kline.open_ms] = kline
            self._wake.set()

    def look(self) -> None:
        """Bars may have been missed: look for them."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled. Raises Refused: there is no such symbol."""
        while self._next is None:
            try:
                self._next = await self._client.market_ms() // self._step * self._step
            except Unavailable as error:
                await self._client.clock.sleep(error.after_s)
        while True:
            wait = 1.0
            try:
                told = await self._fill()
                wait = await self._until_late(told)
            except Unavailable as error:
                wait = max(error.after_s, 1.0)
                await self._client.clock.sleep(wait)
                continue
            await self._sleep(wait)

    async def _sleep(self, seconds: float) -> None:
        """Until something is told, or for some time."""
        await woken_within(self._client.clock, seconds, self._wake)

    async def _until_late(self, told: int) -> float:
        """Seconds until the next bar is late, or until a late one is looked for again."""
        assert self._next is not None
        now = await self._client.market_ms()
        due = self._next + self._step + _LATE_MS
        if now >= due and not told:
            # Nobody trades, or the exchange stands still; the next bar may be there sooner than this one.
            boundary = (now - _LATE_MS) // self._step * self._step + self._step + _LATE_MS
            due = min(now + _LATE_AGAIN_MS, boundary) if now - due < self._step else boundary
        return max(due - now, 100) / 1000

    async def _fill(self) -> int:
        """Tell what has closed; how many bars that were. Raises Refused, Unavailable, Barred."""
        assert self._next is not None
        self._wake.clear()
        count = 0
        for ask, lag in enumerate((*_LAG_SECONDS, None)):
            now = await self._client.market_ms()
            found = await klines(self._client, self.symbol, self._interval, self._next, None)
            final = now - self._settles
            if found and self._is_untold(found[-1]) and found[-1].close_ms < final and not self._client.is_replay:
                # Only the clock says that this bar has closed, so it had better be right.
                await self._client.sync()
                final = await self._client.market_ms() - self._settles
            # The stream goes on telling while REST is asked, so what it has told is looked at only now.
            closed = [kline for kline in found if kline.close_ms < final or not self._is_untold(kline)]
            behind = self._behind(closed)
            if behind is None and ask == 0 and self._client.is_replay and closed and self._is_untold(closed[-1]):
                # Its clock alone has closed this bar. The stream's word is on its way and may know of more trades.
                behind = closed[-1].open_ms
            if behind is not None and lag is not None:
                closed = [kline for kline in closed if kline.open_ms < behind]
            elif behind is not None:
                closed = self._completed(closed)
            count += self._tell_all(closed)
            if behind is None or lag is None:
                break
            await self._client.clock.sleep(lag)
        return count

    def _is_untold(self, kline: Kline) -> bool:
        """Whether the stream has told neither this bar nor a later one as closed."""
        return kline.open_ms > max(self._told, default=-1)

    def _behind(self, closed: list[Kline]) -> int | None:
        """Open time of the first bar that REST does not show yet as the stream has told it; None if it shows all.

        It lags behind if the bar is missing, or has fewer trades than were told.
        """
        shown = {kline.open_ms: kline for kline in closed}
        for open_ms in sorted(self._told):
            if self._next is not None and open_ms < self._next:
                continue
            kline = shown.get(open_ms)
            if kline is None or kline.values["trades"] < self._told[open_ms].values["trades"]:
                return open_ms
        return None

    def _completed(self, closed: list[Kline]) -> list[Kline]:
        """With the stream's word for what REST has not shown in all this time."""
        assert self._next is not None
        merged = {kline.open_ms: kline for kline in closed}
        for open_ms, kline in self._told.items():
            if open_ms >= self._next and open_ms not in merged:
                self._client.note("bars", f"{self.symbol}: the stream's bar is taken, REST does not show it")
                merged[open_ms] = kline
        return [merged[open_ms] for open_ms in sorted(merged)]

    def _tell_all(self, closed: list[Kline]) -> int:
        assert self._next is not None
        count = 0
        for kline in closed:
            if kline.open_ms > self._next:
                self._client.note("bars", f"{self.symbol}: the exchange has no bars before {iso(kline.open_ms)}")
            told = self._told.get(kline.open_ms)
            if told is not None and told.values != kline.values:
                self._client.note("bars", f"{self.symbol}: REST has another bar than the stream told; REST is taken")
            self._next = kline.open_ms + self._step
            self._tell(kline.bar(self.symbol))
            count += 1
        self._told = {open_ms: kline for open_ms, kline in self._told.items() if open_ms >= self._next}
        return count
