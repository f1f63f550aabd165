"""`pipeline download`: bars and funding rates from their source into data/raw, month by month."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.artifacts import Layout, exclusive
from pipeline.config import Config, interval_ms, utc_ms
from pipeline.errors import BadInput
from pipeline.market import candles, marks, sources
from pipeline.market.ranges import Range, clip, subtract, union
from pipeline.market.store import DAY_MS, FUNDING_SCHEMA, Month, Series, Stored, months
from pipeline.stages.reporting import Plan, Summary, progress

DEFAULT_DAYS = 30


@dataclass(frozen=True)
class Wanted:
    """One series to fetch: `interval` is "funding" for funding rates, `marks.series_of` for the mark price."""

    symbol: str
    interval: str
    series: Series


@dataclass
class Told:
    """What the summary says of one series."""

    rows: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    gaps: list[tuple[int, int, int]] = field(default_factory=list)
    months: dict[str, int] = field(default_factory=dict)
    step_ms: int = 0
    uncovered: list[Range] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)


def plan(config: Config, layout: Layout) -> Plan:
    """The months that would be fetched; asks nobody."""
    start, end = _range(config, _now_ms())
    outputs, kept = [], 0
    for wanted in _all_wanted(config, layout):
        for month in months(start, end):
            if subtract([_part_of(month, start, end)], wanted.series.covered(month)):
                outputs.append(wanted.series.path(month))
            else:
                kept += 1
    notes = [f"{candles.iso(start)} to {candles.iso(end)} from {config.download.source}, {config.download.market}"]
    if kept:
        notes.append(f"{kept} months are complete already" + (_recheck_note(config)))
    return Plan("download", outputs=outputs, columns=list(candles.COLUMNS), notes=notes)


def run(config: Config, layout: Layout) -> Summary:
    """Fetch what is not there yet; each month is on disk before the next is begun."""
    with contextlib.ExitStack() as stack:
        if config.download.source == "synthetic" and config.download.synthetic.exchange:
            # Only where it is asked for: the server and its client take a second to import.
            from pipeline.stages.local_market import local_market

            source: sources.Source = stack.enter_context(local_market(config, layout.raw, *_range(config, _now_ms())))
        else:
            source = sources.open_source(config, layout.raw)
            stack.callback(source.close)
        told = _update_all(config, layout, source)
    return _summary(config, layout, told, source)


def _update_all(config: Config, layout: Layout, source: sources.Source) -> dict[str, "Told"]:
    now = _now_ms()
    if not config.download.end or utc_ms(config.download.end) > now - DAY_MS:
        # A range that is well over needs no clock but ours, and so no network if all is there.
        now = source.now_ms()
    start, end = _range(config, now)
    told: dict[str, Told] = {}
    all_wanted = list(_all_wanted(config, layout))
    total = len(all_wanted) * len(list(months(start, end)))
    with progress("download", total) as advance:
        for wanted in all_wanted:
            lock = layout.raw / ".locks" / f"{config.download.venue}-{config.download.market}-{wanted.symbol}.lock"
            with exclusive(lock, f"a download of {wanted.symbol}"):
                name = f"{wanted.symbol} {wanted.interval}"
                told[name] = Told(step_ms=wanted.series.step_ms or 0)
                for month, stored, change in sources.update(
                    source, wanted.series, wanted.symbol, wanted.interval, start, end
                ):
                    _note(told[name], wanted.series, month, stored, change, start, end)
                    advance(1, f"{name} {month.name}")
                if not told[name].rows:
                    if not _may_lack(config, wanted):
                        _nothing(config, wanted, source, start, end)
                    del told[name]
                    source.warnings.append(
                        f"{wanted.symbol}: {config.download.source} has no mark price of this range; the last price,"
                        " whose wicks go further, liquidates in its place (download.mark_price: false asks for none)"
                    )
    return told


def _all_wanted(config: Config, layout: Layout) -> Iterator[Wanted]:
    download = config.download
    symbols = dict.fromkeys([*config.symbols, *download.also_symbols, *config.merge.symbols])
    for symbol in symbols:
        for interval in dict.fromkeys([config.interval, *download.also_intervals]):
            folder = layout.bars(download.venue, download.market, symbol, interval)
            yield Wanted(symbol, interval, Series(folder, candles.SCHEMA, interval_ms(interval)))
        if download.funding:
            folder = layout.bars(download.venue, "um", symbol, "funding")
            yield Wanted(symbol, "funding", Series(folder, FUNDING_SCHEMA, None))
        if download.marks and symbol in config.symbols:
            name = marks.series_of(config.interval)
            folder = layout.bars(download.venue, download.market, symbol, name)
            yield Wanted(symbol, name, Series(folder, marks.SCHEMA, config.step_ms))


def _range(config: Config, now_ms: int) -> tuple[int, int]:
    """The range asked for, cut at the last closed bar, in ms."""
    step, download = config.step_ms, config.download
    last = now_ms // step * step
    first = None
    if download.source in ("csv", "parquet") and not (download.start and download.end):
        # Files say themselves how far they reach.
        first, past = _span_of_files(config)
        last = min(last, past)
    end = min(-(-utc_ms(download.end) // step) * step, last) if download.end else last
    if download.start:
        start = utc_ms(download.start)
    else:
        start = first if first is not None else (end - DEFAULT_DAYS * DAY_MS) // DAY_MS * DAY_MS
    start = -(-start // step) * step
    if start >= end:
        raise BadInput(
            f"download.start: {candles.iso(start)} is not before {candles.iso(end)},"
            f" {'download.end' if download.end else 'the last closed bar'}",
            "choose an earlier start",
        )
    return start, end


def _span_of_files(config: Config) -> tuple[int, int]:
    from pipeline.market import files

    download = config.download
    assert download.file is not None and download.source in ("csv", "parquet")
    spans = []
    for symbol in config.symbols:
        table = files.read(download.file, download.source, symbol, config.interval, 0, 1 << 62)  # type: ignore[arg-type]
        if table.num_rows:
            times = candles.times_ms(table)
            spans.append((int(times[0]), int(times[-1]) + config.step_ms))
    if not spans:
        raise BadInput(f"download.file: {download.file.path} has no bars", "name files that have some")
    return min(first for first, _ in spans), max(past for _, past in spans)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _part_of(month: Month, start: int, end: int) -> tuple[int, int]:
    return max(month.start, start), min(month.end, end)


def _note(told: Told, series: Series, month: Month, stored: Stored, change: str, start: int, end: int) -> None:
    times = candles.times_ms(stored.table)
    first, last = _part_of(month, start, end)
    inside = times[(times >= first) & (times < last)]
    told.rows += len(inside)
    if len(inside):
        told.first_ms = int(inside[0]) if told.first_ms is None else told.first_ms
        told.last_ms = int(inside[-1])
    for gap in series.gaps(times, clip(stored.covered, first, last)):
        if told.gaps and told.gaps[-1][1] == gap["start"]:
            begun, _, bars = told.gaps.pop()
            told.gaps.append((begun, gap["end"], bars + gap["bars"]))
        else:
            told.gaps.append((gap["start"], gap["end"], gap["bars"]))
    told.months[change] = told.months.get(change, 0) + 1
    told.uncovered = union([*told.uncovered, *subtract([(first, last)], stored.covered)])
    told.sources |= {sources.kind_of(part) for part in stored.parts}


def _may_lack(config: Config, wanted: Wanted) -> bool:
    # The mark price, unless it is asked for by name.
    return marks.is_mark(wanted.interval) and not config.download.mark_price


def _nothing(config: Config, wanted: Wanted, source: sources.Source, start: int, end: int) -> None:
    what = "funding rates" if wanted.interval == "funding" else f"{wanted.interval} bars"
    what = "mark price" if marks.is_mark(wanted.interval) else what
    raise BadInput(
        f"download: no {what} of {wanted.symbol} from {candles.iso(start)} to {candles.iso(end)}"
        f" at {config.download.source}, {config.download.market}" + "".join(f"; {text}" for text in source.warnings),
        "check the symbol, download.market and download.start",
    )


def _recheck_note(config: Config) -> str:
    return "; their checksums would be compared" if config.download.recheck else ""


def _summary(config: Config, layout: Layout, told: dict[str, Told], source: sources.Source) -> Summary:
    folders = list(dict.fromkeys(wanted.series.folder for wanted in _all_wanted(config, layout)))
    summary = Summary("download", folders, next="pipeline merge")
    for name, series in told.items():
        assert series.first_ms is not None and series.last_ms is not None
        # What is missing before the first row is not a gap: the symbol was not traded yet.
        gaps = [gap for gap in series.gaps if gap[1] > series.first_ms]
        head = f"{name}: " if len(told) > 1 else ""
        summary.figures[f"{head}rows"] = series.rows
        summary.figures[f"{head}range"] = f"{candles.iso(series.first_ms)} to {candles.iso(series.last_ms)}"
        if not name.endswith(" funding"):
            summary.figures[f"{head}gaps"] = _gaps_text(gaps) + (" in what the source has" if series.uncovered else "")
        summary.figures[f"{head}months"] = ", ".join(f"{n} {change}" for change, n in sorted(series.months.items()))
        summary.figures[f"{head}from"] = ", ".join(sorted(series.sources))
        if series.uncovered:
            summary.warnings.append(f"{name}: {_uncovered_text(series)}")
    summary.warnings += source.warnings
    return summary


def _gaps_text(gaps: list[tuple[int, int, int]]) -> str:
    if not gaps:
        return "none"
    start, end, bars = max(gaps, key=lambda gap: gap[2])
    missing = sum(gap[2] for gap in gaps)
    return f"{len(gaps)} ({missing:,} bars missing; the longest {bars:,}, {candles.iso(start)} to {candles.iso(end)})"


def _uncovered_text(series: Told) -> str:
    first, last = max(series.uncovered, key=lambda part: part[1] - part[0])
    where = f"{candles.iso(first)} to {candles.iso(last)}"
    if len(series.uncovered) > 1:
        where = f"{len(series.uncovered)} stretches, the longest {where}"
    bars = sum(b - a for a, b in series.uncovered) // series.step_ms if series.step_ms else 0
    return f"the source does not have {f'{bars:,} bars' if bars else 'a part'} of the range, or not yet: {where}"
