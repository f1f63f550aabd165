"""`pipeline merge`: downloaded bars → one complete table per symbol."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.artifacts import Layout, count_rows, read_table, replace_folder, write_json, write_table
from pipeline.config import Config, interval_ms, utc_ms
from pipeline.errors import BadInput, MissingInput
from pipeline.market import candles, cleaning, grid, marks, merging
from pipeline.stages.reporting import Plan, Summary, progress

# Read before the first bar wanted, so that extras are known and a gap at the start can be filled.
MARGIN_MS = 8 * 86_400_000
FUNDING = ("open_time", "funding_rate")
# Binance's longest interval between two rates; a rate older than that was not followed by the next.
FUNDING_EVERY_MS = 8 * 3_600_000


@dataclass(frozen=True)
class Merged:
    """What is told about one symbol's table; `gaps` in the form of gaps.json."""

    rows: int
    first_ms: int
    end_ms: int
    filled: int
    zero_volume: int
    gaps: list[dict[str, Any]]
    notes: list[str]

    @property
    def share(self) -> float:
        return self.filled / self.rows

    def json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "filled": self.filled,
            "share": round(self.share, 6),
            "zero_volume": self.zero_volume,
            "gaps": self.gaps,
        }


def plan(config: Config, layout: Layout) -> Plan:
    """Check that every folder of bars that the config merges has been downloaded."""
    inputs, rows = [], 0
    for symbol in config.symbols:
        for folder in _folders(config, layout, symbol):
            files = _months(folder)
            if folder not in inputs:
                inputs.append(folder)
            if folder == _bars(config, layout, symbol, config.interval):
                rows += sum(count_rows(path, "download") for path in files)
    own = [
        interval for interval in config.merge.timeframes if not _downloaded(config, layout, config.symbols[0], interval)
    ]
    return Plan(
        "merge",
        inputs=inputs,
        outputs=[*(layout.merged(symbol) for symbol in config.symbols), layout.gaps],
        rows=rows,
        columns=[*candles.COLUMNS, "is_filled", *_extras(config, layout)],
        notes=[f"{', '.join(own)} bars are made of the {config.interval} bars"] if own else [],
    )


def run(config: Config, layout: Layout) -> Summary:
    """Write merged/{symbol}.parquet and gaps.json, all of them or none."""
    plan(config, layout)
    told: dict[str, Merged] = {}

    def fill(folder: Path) -> None:
        with progress("merge", len(config.symbols)) as advance:
            for symbol in config.symbols:
                table, told[symbol] = _merge(config, layout, symbol)
                write_table(folder / layout.merged(symbol).name, table)
                advance(1, symbol)
        write_json(folder / layout.gaps.name, {symbol: merged.json() for symbol, merged in told.items()})

    replace_folder(layout.gaps.parent, fill)
    return _summary(config, layout, told)


def _merge(config: Config, layout: Layout, symbol: str) -> tuple[pa.Table, Merged]:
    step = config.step_ms
    bars = _read(config, layout, symbol, config.interval)
    times = candles.times_ms(bars)
    start, end, notes = _range(config, symbol, times)
    real = times[(times >= start) & (times < end)]
    inner = grid.gaps(np.concatenate(([start - step], real, [end])), step)
    filled = sum(gap["bars"] for gap in inner)
    volume = candles.column(bars, "volume")[(times >= start) & (times < end)]
    merged = Merged(
        rows=(end - start) // step,
        first_ms=start,
        end_ms=end,
        filled=filled,
        zero_volume=int(np.count_nonzero(volume == 0)),
        gaps=[{"start": candles.iso(g["start"]), "end": candles.iso(g["end"]), "bars": g["bars"]} for g in inner],
        notes=notes,
    )
    _check_share(config, symbol, merged)
    table = grid.fill(bars, config.interval, start, end)
    grid_times = candles.times_ms(table)
    for name, values in _other_columns(config, layout, symbol, bars, grid_times, notes):
        table = table.append_column(name, pa.array(values))
    if config.download.marks:
        for name, values in _mark_columns(config, layout, symbol, table, notes):
            table = table.append_column(name, pa.array(values))
    return table, merged


def _range(config: Config, symbol: str, times: np.ndarray) -> tuple[int, int, list[str]]:
    """First bar and end of the table: what was asked for, as far as there are bars."""
    step, notes = config.step_ms, []
    asked_start, asked_end = config.merge.start or config.download.start, config.merge.end or config.download.end
    start = -(-utc_ms(asked_start) // step) * step if asked_start else int(times[0])
    end = -(-utc_ms(asked_end) // step) * step if asked_end else int(times[-1]) + step
    if start >= end or times[0] >= end or times[-1] < start:
        raise BadInput(
            f"merge: no {config.interval} bars of {symbol} between {candles.iso(start)} and {candles.iso(end)}",
            f"there are bars from {candles.iso(int(times[0]))} to {candles.iso(int(times[-1]))};"
            " change merge.start and merge.end, or run `pipeline download` for that range",
        )
    # Nothing is made up before the first bar or after the last one.
    if times[0] > start:
        start = int(times[0])
        notes.append(f"{symbol}: bars begin at {candles.iso(start)}, later than asked for ({asked_start})")
    if times[-1] + step < end:
        end = int(times[-1]) + step
        notes.append(f"{symbol}: bars end at {candles.iso(end)}, earlier than asked for ({asked_end})")
    return start, end, notes


def _check_share(config: Config, symbol: str, merged: Merged) -> None:
    if merged.share > config.merge.max_filled:
        longest = max(merged.gaps, key=lambda gap: int(gap["bars"]))
        raise BadInput(
            f"merge: {symbol}: {merged.share:.1%} of the {merged.rows:,} bars are missing at the source"
            f" (merge.max_filled is {config.merge.max_filled:.0%});"
            f" the longest gap is {longest['bars']:,} bars from {longest['start']} to {longest['end']}",
            "run `pipeline download` if it was interrupted; otherwise choose merge.start and merge.end around the gap,"
            " or raise merge.max_filled",
        )


def _other_columns(
    config: Config, layout: Layout, symbol: str, bars: pa.Table, times: np.ndarray, notes: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """The extras, one source in memory at a time."""
    for other in config.merge.symbols:
        table = bars if other == symbol else _read(config, layout, other, config.interval)
        _note_flat(symbol, other, times, candles.times_ms(bars), candles.times_ms(table), config.step_ms, notes)
        for name, values in merging.aligned(table, config.interval, times, config.interval).items():
            yield f"{other}_{name}", values
    for interval in config.merge.timeframes:
        table = _higher(config, layout, symbol, interval, bars, int(times[-1]) + config.step_ms, notes)
        for name, values in merging.aligned(table, interval, times, config.interval).items():
            yield f"{interval}_{name}", values
    if config.merge.funding:
        folder = layout.bars(config.download.venue, "um", symbol, "funding")
        tables = [read_table(path, "download", FUNDING) for path in _wanted(config, folder)]
        funding = pa.concat_tables(tables)
        rates = candles.column(funding, "funding_rate")
        _note_old(symbol, times + config.step_ms, candles.times_ms(funding), notes)
        yield "funding_rate", merging.known_rate(candles.times_ms(funding), rates, times, config.interval)


def _mark_columns(
    config: Config, layout: Layout, symbol: str, table: pa.Table, notes: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """The mark price beside the bars; nothing if none was downloaded, which is told.

    Raises BadInput: it is asked for by name, and more of it is missing than bars may be.
    """
    folder = _mark_folder(config, layout, symbol)
    if not any(folder.glob("*.parquet")):
        notes.append(
            f"{symbol}: no mark price was downloaded; the last price, whose wicks go further, liquidates instead"
        )
        return
    tables = [read_table(path, "download", marks.SCHEMA.names) for path in _wanted(config, folder)]
    snap = config.merge.on_misaligned == "snap"
    own = marks.clean(pa.concat_tables(tables), config.interval, str(folder), snap=snap)
    columns, missing = marks.beside(own, table)
    missing &= ~table.column("is_filled").to_numpy()
    if missing.any():
        times = candles.times_ms(table)[missing]
        text = (
            f"{symbol}: the mark price of {len(times):,} bars is missing ({missing.mean():.2%}), the first that of"
            f" {candles.iso(int(times[0]))}, {_longest(times, config.step_ms)}"
        )
        if config.download.mark_price and missing.mean() > config.merge.max_filled:
            raise BadInput(
                f"merge: {text}; merge.max_filled is {config.merge.max_filled:.0%}",
                "choose merge.start and merge.end around it, raise merge.max_filled, or leave download.mark_price out",
            )
        notes.append(f"{text}; the last price stands there in its place")
    yield from columns.items()


def _note_flat(
    symbol: str, other: str, times: np.ndarray, own: np.ndarray, others: np.ndarray, step: int, notes: list[str]
) -> None:
    # Outages of the exchange, at which neither has bars, are told already.
    missing = times[(times > others[0]) & np.isin(times, own) & ~np.isin(times, others)]
    if len(missing):
        notes.append(
            f"{symbol}: {len(missing):,} bars of {other} are missing where {symbol} has them, so {other} is flat there,"
            f" {_longest(missing, step)}"
        )


def _note_old(symbol: str, closes: np.ndarray, stamps: np.ndarray, notes: list[str]) -> None:
    known = np.searchsorted(stamps, closes, side="right") - 1
    old = closes[(known >= 0) & (closes - stamps[known] > FUNDING_EVERY_MS)]
    if len(old):
        notes.append(
            f"{symbol}: the funding rate is more than 8 hours old on {len(old):,} bars, the first at"
            f" {candles.iso(int(old[0]))}, the last at {candles.iso(int(old[-1]))}"
        )


def _longest(times: np.ndarray, step: int) -> str:
    """The longest run of bars without a break, in words."""
    runs = np.split(times, np.flatnonzero(np.diff(times) != step) + 1)
    longest = max(runs, key=len)
    return (
        f"at most {len(longest):,} in a row, {candles.iso(int(longest[0]))} to {candles.iso(int(longest[-1]) + step)}"
    )


def _higher(
    config: Config, layout: Layout, symbol: str, interval: str, bars: pa.Table, end_ms: int, notes: list[str]
) -> pa.Table:
    """Bars of a higher interval: downloaded ones where they reach to the end, else made of the lower ones."""
    if _downloaded(config, layout, symbol, interval):
        table = _read(config, layout, symbol, interval)
        step = interval_ms(interval)
        covered = int(candles.times_ms(table)[-1]) + step
        if covered >= end_ms // step * step:
            return table
        notes.append(
            f"{symbol}: downloaded {interval} bars end at {candles.iso(covered)}, so {interval} is made of"
            f" {config.interval} bars; add it to download.also_intervals and run `pipeline download`"
        )
    return merging.resampled(bars, config.interval, interval)


def _read(config: Config, layout: Layout, symbol: str, interval: str) -> pa.Table:
    """Downloaded bars up to the end of the range, cleaned; some of them from before its start."""
    folder = _bars(config, layout, symbol, interval)
    tables = [read_table(path, "download", ["open_time", *candles.COLUMNS]) for path in _wanted(config, folder)]
    snap = config.merge.on_misaligned == "snap"
    return cleaning.clean(pa.concat_tables(tables), interval, str(folder), snap=snap)


def _wanted(config: Config, folder: Path) -> list[Path]:
    """Monthly files that the range and its margin touch; all of them if there would be none."""
    start, end = config.merge.start or config.download.start, config.merge.end or config.download.end
    first = candles.iso(utc_ms(start) - MARGIN_MS)[:7] if start else ""
    last = candles.iso(utc_ms(end))[:7] if end else "9999"
    files = _months(folder)
    return [path for path in files if first <= path.stem <= last] or files


def _months(folder: Path) -> list[Path]:
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].parquet"))
    if not files:
        raise MissingInput(f"{folder}: no downloaded bars there", "run `pipeline download` first")
    return files


def _bars(config: Config, layout: Layout, symbol: str, interval: str) -> Path:
    return layout.bars(config.download.venue, config.download.market, symbol, interval)


def _downloaded(config: Config, layout: Layout, symbol: str, interval: str) -> bool:
    return any(_bars(config, layout, symbol, interval).glob("*.parquet"))


def _folders(config: Config, layout: Layout, symbol: str) -> Iterator[Path]:
    yield _bars(config, layout, symbol, config.interval)
    for other in config.merge.symbols:
        yield _bars(config, layout, other, config.interval)
    for interval in config.merge.timeframes:
        if _downloaded(config, layout, symbol, interval):
            yield _bars(config, layout, symbol, interval)
    if config.merge.funding:
        yield layout.bars(config.download.venue, "um", symbol, "funding")
    if config.download.mark_price:
        yield _mark_folder(config, layout, symbol)


def _mark_folder(config: Config, layout: Layout, symbol: str) -> Path:
    return _bars(config, layout, symbol, marks.series_of(config.interval))


def _extras(config: Config, layout: Layout) -> list[str]:
    known = config.download.marks and any(
        any(_mark_folder(config, layout, symbol).glob("*.parquet")) for symbol in config.symbols
    )
    names = merging.extra_names(config.merge.symbols, config.merge.timeframes, config.merge.funding)
    return names + list(marks.COLUMNS) * known


def _summary(config: Config, layout: Layout, told: dict[str, Merged]) -> Summary:
    rows, filled = sum(m.rows for m in told.values()), sum(m.filled for m in told.values())
    gaps = [(int(gap["bars"]), symbol, gap) for symbol, merged in told.items() for gap in merged.gaps]
    summary = Summary("merge", [*(layout.merged(s) for s in told), layout.gaps], next="pipeline features")
    first, end = min(m.first_ms for m in told.values()), max(m.end_ms for m in told.values())
    summary.figures = {
        "rows": rows,
        "range": f"{candles.iso(first)} to {candles.iso(end)}",
        "columns": 1 + len(candles.COLUMNS) + 1 + len(_extras(config, layout)),
        "filled": f"{filled:,} ({filled / rows:.2%})",
        "gaps": len(gaps),
        "bars without volume": sum(m.zero_volume for m in told.values()),
    }
    if gaps:
        bars, symbol, gap = max(gaps, key=lambda entry: entry[0])
        summary.figures["longest gap"] = f"{bars:,} bars of {symbol}, {gap['start']} to {gap['end']}"
    summary.warnings = [note for merged in told.values() for note in merged.notes]
    return summary
