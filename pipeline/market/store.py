"""Downloaded bars and funding rates: one Parquet file a month, and beside it where its rows come from.

A month's file is only ever replaced whole. Its provenance says which times were asked for and answered
(`covered`), so that a later download fetches what is missing and nothing else, and a gap at the source
is told from a range that was never fetched.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import TIME, read_json, read_table, sha256_file, write_json, write_table
from pipeline.config import utc_ms
from pipeline.errors import BadInput
from pipeline.market import candles, grid
from pipeline.market.conflicts import Conflict, differing
from pipeline.market.ranges import Range, clip, subtract, union

DAY_MS = 86_400_000
# `open_time` is the funding hour, `funding_time` the stamp as it was published, some ms off it.
FUNDING_SCHEMA = pa.schema([("open_time", TIME), ("funding_time", TIME), ("funding_rate", pa.float64())])
_HOUR_MS = 3_600_000
_GRACE_MS = 1_000


@dataclass(frozen=True)
class Month:
    """A calendar month in UTC; `start` and `end` are int64 ms."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Part:
    """Rows that came from one place: a file of the archive (with its sha256), or requests to a server."""

    url: str
    start: int
    end: int
    rows: int
    sha256: str | None = None

    def json(self) -> dict[str, Any]:
        shown = {"url": self.url, "start": candles.iso(self.start), "end": candles.iso(self.end), "rows": self.rows}
        return shown | ({"sha256": self.sha256} if self.sha256 else {})


@dataclass(frozen=True)
class Fetched:
    """What a source answered: the rows of `part`'s range, none if the source has none there."""

    table: pa.Table
    part: Part


@dataclass
class Stored:
    """A month as it is kept: rows, where they come from, and the times that are covered."""

    table: pa.Table
    parts: list[Part] = field(default_factory=list)
    covered: list[Range] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


class Series:
    """The months of one symbol's bars (or funding rates) in a folder.

    schema: of the rows, `open_time` first. step_ms: from one row to the next, if rows lie on a grid.
    """

    def __init__(self, folder: Path, schema: pa.Schema, step_ms: int | None) -> None:
        self.folder = folder
        self.schema = schema
        self.step_ms = step_ms

    def path(self, month: Month) -> Path:
        return self.folder / f"{month.name}.parquet"

    def provenance(self, month: Month) -> Path:
        return self.folder / f"{month.name}.json"

    def load(self, month: Month) -> Stored:
        """What is kept of a month; nothing if the two files do not belong together (a killed download)."""
        if not self.provenance(month).is_file():
            return self.empty()
        told = read_json(self.provenance(month), "download")
        try:
            parts = [
                Part(p["url"], utc_ms(p["start"]), utc_ms(p["end"]), p["rows"], p.get("sha256"))
                for p in told["sources"]
            ]
            covered = [(utc_ms(a), utc_ms(b)) for a, b in told["covered"]]
            file_sha, settings = told["sha256"], told["settings"]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"{self.provenance(month)}: not the provenance of a month: {error!r}",
                "delete the file, and run `pipeline download` again",
            ) from None
        if file_sha is None:
            return Stored(self.schema.empty_table(), parts, covered, settings)
        if not self._is_whole(month, file_sha):
            return self.empty()
        return Stored(read_table(self.path(month), "download", self.schema.names), parts, covered, settings)

    def covered(self, month: Month) -> list[Range]:
        """The times that are covered, without reading the rows."""
        if not self.provenance(month).is_file():
            return []
        told = read_json(self.provenance(month), "download")
        if told.get("sha256") is not None and not self._is_whole(month, told["sha256"]):
            return []
        return [(utc_ms(a), utc_ms(b)) for a, b in told.get("covered", [])]

    def tidy(self) -> None:
        """Remove what a killed download left half-written; only for who holds the symbol's lock."""
        for stale in self.folder.glob(".*.tmp"):
            stale.unlink(missing_ok=True)

    def _is_whole(self, month: Month, digest: str) -> bool:
        return self.path(month).is_file() and sha256_file(self.path(month)) == digest

    def empty(self) -> Stored:
        return Stored(self.schema.empty_table())

    def save(self, month: Month, stored: Stored) -> bool:
        """Keep a month, rows first; True if its rows changed. A month without rows has only provenance."""
        path = self.path(month)
        before = sha256_file(path) if path.is_file() else None
        digest = None
        if stored.table.num_rows:
            write_table(path, stored.table)
            digest = sha256_file(path)
        else:
            path.unlink(missing_ok=True)
        write_json(self.provenance(month), self._told(month, stored, digest))
        return digest != before

    def _told(self, month: Month, stored: Stored, digest: str | None) -> dict[str, Any]:
        times = candles.times_ms(stored.table)
        return {
            "month": month.name,
            "rows": len(times),
            "first": candles.iso(int(times[0])) if len(times) else None,
            "last": candles.iso(int(times[-1])) if len(times) else None,
            "complete": not subtract([(month.start, month.end)], stored.covered),
            "covered": [[candles.iso(a), candles.iso(b)] for a, b in stored.covered],
            "gaps": [
                {"start": candles.iso(g["start"]), "end": candles.iso(g["end"]), "bars": g["bars"]}
                for g in self.gaps(times, clip(stored.covered, month.start, month.end))
            ],
            "sources": [part.json() for part in stored.parts],
            "settings": stored.settings,
            "sha256": digest,
        }

    def gaps(self, times: np.ndarray, covered: Iterable[Range]) -> list[grid.Gap]:
        """Missing bars inside the covered ranges; before the first and after the last row of a range as well."""
        if self.step_ms is None:
            return []
        found: list[grid.Gap] = []
        for start, end in covered:
            inside = times[(times >= start) & (times < end)]
            # Only whole bars of the range can be missing.
            first, last = -(-start // self.step_ms) * self.step_ms, -(-end // self.step_ms) * self.step_ms
            found += grid.gaps(np.concatenate(([first - self.step_ms], inside, [last])), self.step_ms)
        return found


def months(start_ms: int, end_ms: int) -> Iterator[Month]:
    """The months that [start_ms, end_ms) touches."""
    at = dt.datetime.fromtimestamp(start_ms / 1000, dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while (start := round(at.timestamp() * 1000)) < end_ms:
        after = (at + dt.timedelta(days=32)).replace(day=1)
        yield Month(f"{at:%Y-%m}", start, round(after.timestamp() * 1000))
        at = after


def add(stored: Stored, fetched: Fetched, what: str) -> tuple[Stored, Conflict | None]:
    """`stored` with more rows. Where the same bar differs the archive's wins, a newer file over an older one.

    Returns what is to be kept, and the bars that differ, if any.
    Raises BadInput: two sources differ of which neither is the archive; the message shows both rows and where each
    comes from.
    """
    old, new = candles.times_ms(stored.table), candles.times_ms(fetched.table)
    common, in_old, in_new = np.intersect1d(old, new, assume_unique=True, return_indices=True)
    names = [f.name for f in stored.table.schema if pa.types.is_floating(f.type)]
    mine, theirs = stored.table.select(names).take(in_old), fetched.table.select(names).take(in_new)
    differ = differing(mine, theirs)
    table, conflict = stored.table, None
    if len(differ):
        wins = fetched.part.sha256 is not None
        if not wins:
            _require_archive(stored.parts, fetched.part, common[differ], mine.take(differ), theirs.take(differ), what)
        mine, theirs, common = mine.take(differ), theirs.take(differ), common[differ]
        conflict = Conflict.of(common, theirs if wins else mine, mine if wins else theirs)
        if wins:
            keep = np.ones(len(old), np.bool_)
            keep[in_old[differ]] = False
            table, old = table.filter(pa.array(keep)), old[keep]
    missing = ~np.isin(new, old, assume_unique=True)
    if missing.any():
        table = pa.concat_tables([table, fetched.table.filter(pa.array(missing))])
        table = table.take(pa.array(np.argsort(candles.times_ms(table), kind="stable"))).combine_chunks()
    covered = union([*stored.covered, (fetched.part.start, fetched.part.end)])
    fresh = table.num_rows - stored.table.num_rows
    return Stored(table, _joined(stored.parts, fetched.part, fresh), covered, stored.settings), conflict


def _require_archive(
    parts: list[Part], new: Part, times: npt.NDArray[np.int64], mine: pa.Table, theirs: pa.Table, what: str
) -> None:
    for row, time in enumerate(times):
        # The part told last: the archive is asked only for what is not there, but with whole files.
        part = next((part for part in reversed(parts) if part.start <= time < part.end), None)
        if part is None or part.sha256 is None:
            raise BadInput(
                f"{what}: two different bars at {candles.iso(int(time))}\n"
                f"         {_row(mine, row)}  from {part.url if part else 'what was stored before'}\n"
                f"         {_row(theirs, row)}  from {new.url}",
                "see which is right; then delete the month's two files in data/raw, and run `pipeline download` again",
            )


def _joined(parts: list[Part], new: Part, rows: int) -> list[Part]:
    # A tail that grows with every run is one part, not one for each run.
    if parts and new.sha256 is None and parts[-1].url == new.url and parts[-1].end >= new.start >= parts[-1].start:
        last = parts[-1]
        return [*parts[:-1], Part(last.url, last.start, max(last.end, new.end), last.rows + rows)]
    return [*parts, new]


def without(stored: Stored, part: Part) -> Stored:
    """`stored` less what came from `part`, so that its range can be fetched anew."""
    times = candles.times_ms(stored.table)
    keep = (times < part.start) | (times >= part.end)
    parts = [p for p in stored.parts if not (part.start <= p.start and p.end <= part.end)]
    covered = subtract(stored.covered, [(part.start, part.end)])
    return Stored(stored.table.filter(pa.array(keep)), parts, covered, stored.settings)


def funding_table(times: npt.NDArray[np.int64], rates: npt.NDArray[np.float64]) -> pa.Table:
    """`FUNDING_SCHEMA` rows of published stamps (int64 ms, ascending) and rates.

    A stamp's hour is rounded down, after a second's grace for a clock that is early.
    Raises BadInput: two rates in one hour, or one that is not finite.
    """
    hours = (times + _GRACE_MS) // _HOUR_MS * _HOUR_MS
    order = np.argsort(hours, kind="stable")
    times, rates, hours = times[order], rates[order], hours[order]
    if not np.isfinite(rates).all():
        row = int(np.argmin(np.isfinite(rates)))
        raise BadInput(
            f"funding rate at {candles.iso(int(times[row]))} is {rates[row]}", "mend the source, or leave it out"
        )
    keep = np.concatenate(([True], hours[1:] != hours[:-1])) if len(hours) else np.zeros(0, np.bool_)
    clash = ~keep
    clash[1:] &= rates[1:] != rates[:-1]
    if clash.any():
        row = int(np.argmax(clash))
        raise BadInput(
            f"two funding rates at {candles.iso(int(hours[row]))}: {rates[row - 1]:.12g} and {rates[row]:.12g}",
            "mend the source, or leave it out",
        )
    return pa.table(
        [candles.time_array(hours[keep]), candles.time_array(times[keep]), pa.array(rates[keep])], schema=FUNDING_SCHEMA
    )


def _row(table: pa.Table, row: int) -> str:
    return ", ".join(f"{name} {table.column(name)[row].as_py():.12g}" for name in table.column_names)
