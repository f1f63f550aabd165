"""Where bars come from: one small protocol, and the loop that keeps a series of months up to date."""

import time
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from pipeline.artifacts import sha256_file
from pipeline.config import Config, interval_ms
from pipeline.config.sources import FileSource
from pipeline.errors import BadInput
from pipeline.market import candles, files, marks, synthetic
from pipeline.market.conflicts import Conflict
from pipeline.market.ranges import Range, subtract
from pipeline.market.store import Fetched, Month, Part, Series, Stored, add, funding_table, months, without

# A funding row stands for its hour.
_FUNDING_STEP = 3_600_000


class Source(Protocol):
    """Something that answers for ranges of time with rows, and says which times it could answer for."""

    warnings: list[str]
    # Of what a stored month was made with; a month made with other settings is fetched anew.
    settings: dict[str, Any]

    def now_ms(self) -> int:
        """The time up to which bars may have closed: the server's, where there is one."""
        ...

    def begin(self, series: Series, symbol: str, interval: str, wanted: list[tuple[Month, list[Range]]]) -> None:
        """Told once what will be asked of a series, in order; a chance to fetch ahead."""
        ...

    def fetch(self, stored: Stored, symbol: str, interval: str, month: Month, ranges: list[Range]) -> Iterator[Fetched]:
        """Answers for as much of `ranges` as there is; may go beyond, within the month."""
        ...

    def republished(self, stored: Stored) -> list[Part]:
        """Parts whose file at the source is no longer the one that was read."""
        ...

    def close(self) -> None:
        """Stop fetching ahead."""
        ...


def update(
    source: Source, series: Series, symbol: str, interval: str, start_ms: int, end_ms: int
) -> Iterator[tuple[Month, Stored, str]]:
    """Bring the months of [start_ms, end_ms) up to date, one after the other.

    Yields each month, what is kept of it, and what happened: kept, new, extended, republished, empty.
    Each month is on disk when it is yielded. Where the archive and another source differed, the source's warnings
    say so at the end.
    """
    series.tidy()
    conflicts: list[Conflict] = []
    asked = []
    for month in months(start_ms, end_ms):
        part = (max(month.start, start_ms), min(month.end, end_ms))
        asked.append((month, part))
    todo = [(month, subtract([part], series.covered(month))) for month, part in asked]
    source.begin(series, symbol, interval, [(month, missing) for month, missing in todo if missing])
    for month, part in asked:
        stored = series.load(month)
        change = "extended" if stored.covered else "new"
        if stored.covered and stored.settings != source.settings:
            stored, change = series.empty(), "made anew"
        stored.settings = source.settings
        for old in source.republished(stored):
            stored, change = without(stored, old), "republished"
        missing = subtract([part], stored.covered)
        if not missing:
            yield month, stored, "kept"
            continue
        rows, differed = stored.table.num_rows, len(conflicts)
        try:
            for fetched in source.fetch(stored, symbol, interval, month, missing):
                stored, conflict = add(stored, fetched, f"{symbol} {interval}")
                if conflict:
                    conflicts.append(conflict)
        finally:
            # What came before the network failed is kept.
            if stored.covered:
                series.save(month, stored)
        if not stored.table.num_rows:
            change = "without bars"
        elif stored.table.num_rows == rows and change == "extended" and len(conflicts) == differed:
            change = "kept"
        yield month, stored, change
    if conflicts:
        source.warnings.append(f"{symbol} {interval}: {reduce(Conflict.plus, conflicts).text()}")


def open_source(config: Config, raw: Path) -> Source:
    """The source that the config names."""
    match config.download.source:
        case "synthetic":
            return SyntheticMarket(config)
        case "csv" | "parquet":
            return OwnFiles(config)
        case _:
            from pipeline.market.binance import Binance

            return Binance(config, raw)


def kind_of(part: Part) -> str:
    """What a part is called in a summary."""
    return "archive" if part.sha256 and part.url.endswith(".zip") else part.url.partition("?")[0]


class SyntheticMarket:
    """The simulated market; every bar up to now exists."""

    def __init__(self, config: Config) -> None:
        self.source = config.download.synthetic
        # A month made by other code or settings would not fit the months beside it.
        self.settings = self.source.model_dump() | {"code": sha256_file(Path(synthetic.__file__))[:12]}
        self.warnings: list[str] = []

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def begin(self, series: Series, symbol: str, interval: str, wanted: list[tuple[Month, list[Range]]]) -> None:
        pass

    def fetch(self, stored: Stored, symbol: str, interval: str, month: Month, ranges: list[Range]) -> Iterator[Fetched]:
        for start, end in ranges:
            if interval == "funding":
                table = funding_table(*_columns(synthetic.funding(self.source, symbol, start, end)))
            elif marks.is_mark(interval):
                table = synthetic.marks(self.source, symbol, marks.interval_of(interval), start, end)
            else:
                table = synthetic.bars(self.source, symbol, interval, start, end)
            yield Fetched(table, Part("synthetic", start, end, table.num_rows))

    def republished(self, stored: Stored) -> list[Part]:
        return []

    def close(self) -> None:
        pass


class OwnFiles:
    """Files of the user's own, read whole once, then given out by month."""

    def __init__(self, config: Config) -> None:
        assert config.download.file is not None and config.download.source != "binance"
        self.file = config.download.file
        self.funding_file = config.download.funding_file
        self.kind: Any = config.download.source
        self.snap = config.merge.on_misaligned == "snap"
        self.settings: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._table: pa.Table | None = None
        self._name = ""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def begin(self, series: Series, symbol: str, interval: str, wanted: list[tuple[Month, list[Range]]]) -> None:
        file = self._file(interval)
        paths = files.matching(file, symbol, marks.interval_of(interval))
        # Names and hashes of the files: when one changes, its months are made anew.
        self.settings = {
            "files": {str(path): sha256_file(path) for path in paths},
            "read": file.model_dump(exclude={"path"}) | {"snap": self.snap},
        }
        self._name, self._table = str(paths[0]) if len(paths) == 1 else file.path, None

    def fetch(self, stored: Stored, symbol: str, interval: str, month: Month, ranges: list[Range]) -> Iterator[Fetched]:
        if self._table is None:
            self._table = self._read(symbol, interval)
        step = _FUNDING_STEP if interval == "funding" else interval_ms(marks.interval_of(interval))
        times = candles.times_ms(self._table)
        if not len(times):
            return
        first, stop = (int(n) for n in times.searchsorted([month.start, month.end]))
        # A file covers the time from its first row to its last; what lies outside may still come.
        start, end = max(month.start, int(times[0])), min(month.end, int(times[-1]) + step)
        if start < end:
            yield Fetched(self._table.slice(first, stop - first), Part(self._name, start, end, stop - first))

    def republished(self, stored: Stored) -> list[Part]:
        return []

    def close(self) -> None:
        pass

    def _file(self, interval: str) -> FileSource:
        if interval != "funding":
            return self.file
        if self.funding_file is None:
            raise BadInput("download.funding_file: download.funding needs it", "write funding_file: {path: …}")
        return self.funding_file

    def _read(self, symbol: str, interval: str) -> pa.Table:
        if interval == "funding":
            return funding_table(*files.read_funding(self._file(interval), symbol))
        if marks.is_mark(interval):
            return files.read_marks(self.file, self.kind, symbol, marks.interval_of(interval), snap=self.snap)
        return files.read(self.file, self.kind, symbol, interval, 0, 1 << 62, snap=self.snap)


def _columns(table: pa.Table) -> tuple[Any, Any]:
    return candles.times_ms(table), candles.column(table, "funding_rate")
