"""Binance: the archive's monthly files, then its daily ones, then REST for what they do not have yet."""

import datetime as dt
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.config import Config, interval_ms
from pipeline.errors import ExchangeError
from pipeline.market import candles, marks
from pipeline.market.archive import Archive
from pipeline.market.ranges import Range, clip, subtract, union
from pipeline.market.store import DAY_MS, FUNDING_SCHEMA, Fetched, Month, Part, Series, Stored, funding_table

if TYPE_CHECKING:
    from pipeline.market.rest import Rest

Answer = tuple[pa.Table, str] | None

# A month's file appears within days of its end; after this long it never will.
SETTLED_MS = 40 * DAY_MS
# The bar that has just closed reaches the API a moment late; so near to now, a missing bar may still come.
LATE_MS = 5 * 60_000


class Binance:
    """Bars of one market, its funding rates and its mark price."""

    def __init__(self, config: Config, raw: Path) -> None:
        options = config.download.binance
        self.options = options
        self.market = config.download.market
        self.recheck = config.download.recheck
        self.snap = config.merge.on_misaligned == "snap"
        self.settings: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.archive = Archive(options, self.market, raw / ".partial") if options.archive else None
        self.pool = ThreadPoolExecutor(options.parallel)
        self._rest: Rest | None = None
        # Of the series at hand: months being fetched ahead, when it was listed, whether REST knows it.
        self._ahead: dict[str, Future[Answer]] = {}
        self._to_come: list[Month] = []
        self._listed_ms: int | None = None
        self._unknown = False
        # Why REST cannot be reached, so that it is not tried again and again.
        self._down: ExchangeError | None = None

    def now_ms(self) -> int:
        return self.rest.server_ms() if self.options.rest else time.time_ns() // 1_000_000

    @property
    def rest(self) -> "Rest":
        if self._rest is None:
            # A quarter of a second to import; not needed where the archive has everything.
            from pipeline.market.rest import Rest

            self._rest = Rest(self.options, self.market)
        return self._rest

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, series: Series, symbol: str, interval: str, wanted: list[tuple[Month, list[Range]]]) -> None:
        self._ahead, self._listed_ms, self._unknown = {}, None, False
        self._to_come = [m for m, ranges in wanted if self._by_month(m, interval, ranges)] if self.archive else []
        self._fetch_ahead(symbol, interval)

    def republished(self, stored: Stored) -> list[Part]:
        if not (self.recheck and self.archive):
            return []
        archive = self.archive
        parts = [part for part in stored.parts if part.sha256]
        # The same file at the address that the config names now.
        urls = [archive.base + part.url[part.url.index("/data/") :] for part in parts]
        published = self.pool.map(archive.checksum, urls)
        return [p for p, sha in zip(parts, published, strict=True) if sha is not None and sha != p.sha256]

    def fetch(self, stored: Stored, symbol: str, interval: str, month: Month, ranges: list[Range]) -> Iterator[Fetched]:
        known, missing = list(stored.covered), ranges
        if self.archive:
            for fetched in self._from_archive(symbol, interval, month, missing):
                known.append((fetched.part.start, fetched.part.end))
                yield fetched
        if self.options.rest:
            for start, end in subtract(missing, known):
                if not self._unknown:
                    # One bar before as well if it is known, to see that both sources tell the same.
                    overlap = any(a < start <= b for a, b in known) and interval != "funding"
                    yield from self._from_rest(symbol, interval, start, end, overlap)

    def _from_archive(self, symbol: str, interval: str, month: Month, ranges: list[Range]) -> Iterator[Fetched]:
        assert self.archive is not None
        if self._by_month(month, interval, ranges):
            future = self._ahead.pop(month.name, None) or self._submit(symbol, interval, month.name)
            answer = future.result()
            self._fetch_ahead(symbol, interval)
            if answer:
                yield self._fetched(answer, symbol, interval, month.name, month.start, month.end)
                return
        unlisted = list(self._unlisted(interval, ranges))
        yield from unlisted
        ranges = subtract(ranges, [(f.part.start, f.part.end) for f in unlisted])
        if interval == "funding" or (self._unknown and month.end < _now_ms() - SETTLED_MS):
            return
        days = [(day, self._submit(symbol, interval, _day(day))) for day in _ended_days(ranges)]
        found = False
        for start, future in days:
            if answer := future.result():
                found = True
                yield self._fetched(answer, symbol, interval, _day(start), start, start + DAY_MS)
        if len(days) > 1 and not found and self.options.rest:
            # A month without a file: was it before the listing? One question saves looking for years of days.
            self._ask_listing(symbol, interval)
            yield from self._unlisted(interval, ranges)

    def _unlisted(self, interval: str, ranges: list[Range]) -> Iterator[Fetched]:
        """The answer "nothing" for times before the listing, if that is known."""
        schema = marks.SCHEMA if marks.is_mark(interval) else candles.SCHEMA
        schema = FUNDING_SCHEMA if interval == "funding" else schema
        for start, end in clip(ranges, 0, self._listed_ms or 0):
            yield Fetched(schema.empty_table(), Part(f"{self.rest.base} (not listed yet)", start, end, 0))

    def _from_rest(self, symbol: str, interval: str, start: int, end: int, overlap: bool) -> Iterator[Fetched]:
        from pipeline.market.rest import UnknownSymbol

        if self._down:
            raise self._down
        url = f"{self.rest.base} (REST)"
        step = 0 if interval == "funding" else interval_ms(marks.interval_of(interval))
        try:
            if interval == "funding":
                table = funding_table(*self.rest.funding(symbol, start, end))
            else:
                table = self.rest.bars(symbol, interval, start - step * overlap, end)
        except UnknownSymbol as error:
            self._not_known(error.message)
            return
        last = end
        if end > self.rest.server_ms() - max(LATE_MS, step):
            times = candles.times_ms(table)
            last = min(end, int(times[-1]) + max(step, 1)) if len(times) else start
        if last > start:
            yield Fetched(table, Part(url, start, last, int(np.count_nonzero(candles.times_ms(table) >= start))))

    def _by_month(self, month: Month, interval: str, ranges: list[Range]) -> bool:
        # For a single day its own file is enough.
        wanted = sum(end - start for start, end in ranges)
        return month.end <= _now_ms() and (wanted > DAY_MS or interval == "funding")

    def _fetch_ahead(self, symbol: str, interval: str) -> None:
        while self._to_come and len(self._ahead) < self.options.parallel:
            month = self._to_come.pop(0)
            self._ahead[month.name] = self._submit(symbol, interval, month.name)

    def _submit(self, symbol: str, interval: str, period: str) -> "Future[Answer]":
        assert self.archive is not None
        if interval == "funding":
            return self.pool.submit(self.archive.funding, symbol, period)
        return self.pool.submit(self.archive.bars, symbol, interval, period, snap=self.snap)

    def _fetched(
        self, answer: tuple[pa.Table, str], symbol: str, interval: str, period: str, start: int, end: int
    ) -> Fetched:
        assert self.archive is not None
        table, sha256 = answer
        if interval == "funding":
            rates = candles.column(table, "last_funding_rate")
            table = funding_table(candles.column(table, "calc_time").astype("int64"), rates)
        first, stop = candles.times_ms(table).searchsorted([start, end])
        table = table.slice(int(first), int(stop - first))
        return Fetched(table, Part(self.archive.url(symbol, interval, period), start, end, table.num_rows, sha256))

    def _ask_listing(self, symbol: str, interval: str) -> None:
        """Find out by REST when the symbol's first bar opened."""
        from pipeline.market.rest import UnknownSymbol

        if self._listed_ms is not None or self._down:
            return
        self._listed_ms = 0
        try:
            self._listed_ms = self.rest.first_open_ms(symbol, interval) or 0
        except UnknownSymbol as error:
            self._not_known(error.message)
        except ExchangeError as error:
            # Only a shortcut: the daily files are looked for instead, and who needs REST is told later.
            self._down = error

    def _not_known(self, message: str) -> None:
        if not self._unknown:
            self.warnings.append(f"{message}; delisted, or mistyped")
        self._unknown = True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _day(start_ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(start_ms / 1000, dt.UTC):%Y-%m-%d}"


def _ended_days(ranges: list[Range]) -> list[int]:
    """First ms of each day that the ranges touch and that is over."""
    last = _now_ms() // DAY_MS * DAY_MS
    days: set[int] = set()
    for start, end in union(ranges):
        days |= set(range(start // DAY_MS * DAY_MS, min(end, last), DAY_MS))
    return sorted(days)
