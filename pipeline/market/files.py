"""Bars in files of the user's own: CSV (plain, gzipped, zipped) and Parquet, with any names of columns."""

import csv
import glob
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.config import duration_ms
from pipeline.config.sources import FileSource
from pipeline.errors import BadInput, MissingInput
from pipeline.market import cleaning, marks
from pipeline.market.candles import COLUMNS, time_array, times_ms

# The columns of Binance's kline files, which had no header line until 2022.
BINANCE = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
# What others call the same, in lower case; tried in this order where the config maps nothing.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "open_time": ("opentime", "open time", "timestamp", "datetime", "date", "time"),
    "open": ("o",),
    "high": ("h",),
    "low": ("l",),
    "close": ("c",),
    "volume": ("vol", "base_volume", "v"),
    "quote_volume": ("quote_asset_volume", "quote asset volume", "quote_av", "quotevolume"),
    "trades": ("count", "number_of_trades", "number of trades", "num_trades", "trade_count"),
    "taker_buy_volume": ("taker_buy_base_asset_volume", "taker buy base asset volume", "taker_buy_base", "tb_base_av"),
    "taker_buy_quote_volume": (
        *("taker_buy_quote_asset_volume", "taker buy quote asset volume", "taker_buy_quote", "tb_quote_av"),
    ),
}
# Our column names to those of a file.
Naming = Callable[[Path, list[str], FileSource], dict[str, str]]
_PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}


def read(
    source: FileSource,
    kind: Literal["csv", "parquet"],
    symbol: str,
    interval: str,
    start_ms: int,
    end_ms: int,
    *,
    snap: bool = False,
) -> pa.Table:
    """Clean bars with open times in [start_ms, end_ms) from the files that `source.path` names.

    Returns `candles.SCHEMA`, without rows if the files have none in the range.
    Raises MissingInput: no such file. BadInput: a file is empty, cut off or of another kind; a column is
    missing; a row is bad (see `cleaning.clean`), even outside the range.
    """
    load = _read_csv if kind == "csv" else _read_parquet
    paths = matching(source, symbol, interval)
    pieces = [cleaning.clean(_one_file(path, source, load), interval, str(path), snap=snap) for path in paths]
    table = pa.concat_tables(pieces)
    if len(pieces) > 1:
        # Files may overlap; the same bar twice is one, two different ones are an error.
        table = cleaning.clean(table, interval, f"{paths[0]} … {paths[-1]} together")
    first, last = np.searchsorted(times_ms(table), [start_ms, end_ms])
    return table.slice(first, last - first).combine_chunks()


def read_marks(
    source: FileSource, kind: Literal["csv", "parquet"], symbol: str, interval: str, *, snap: bool = False
) -> pa.Table:
    """`marks.SCHEMA` from the columns mark_open, mark_high, mark_low and mark_close of the bars' own files.

    Raises MissingInput, BadInput as `read`: a column is missing too, or a row has no mark price.
    """
    load = _read_csv if kind == "csv" else _read_whole_parquet
    pieces = []
    for path in matching(source, symbol, interval):
        table = _one_file(path, source, load, _named_marks)
        pieces.append(marks.clean(table, interval, f"{path} (mark price)", snap=snap))
    table = pa.concat_tables(pieces)
    return marks.clean(table, interval, f"{source.path} (mark price)") if len(pieces) > 1 else table


def matching(source: FileSource, symbol: str, interval: str) -> list[Path]:
    """The files of a symbol, by name. Raises MissingInput: there is none."""
    pattern = source.path.replace("{symbol}", symbol).replace("{interval}", interval)
    # Path.glob takes no absolute pattern.
    names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    found = [Path(name) for name in names if Path(name).is_file()]
    if not found and Path(pattern).is_file():
        found = [Path(pattern)]
    if not found:
        raise MissingInput(
            f"{pattern}: no such file", f"download.file.path is '{source.path}', relative to {Path.cwd()}"
        )
    return found


FUNDING: Mapping[str, tuple[str, ...]] = {
    "open_time": ("funding_time", "fundingtime", "calc_time", "timestamp", "date", "time"),
    "funding_rate": ("funding rate", "fundingrate", "last_funding_rate", "rate"),
}


def read_funding(source: FileSource, symbol: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Stamps (ms, UTC, ascending) and rates of the files that `source.path` names, CSV or Parquet by their ending.

    Raises MissingInput, BadInput as `read`; rates may have any sign, and are looked at by the caller.
    """
    times, rates = [], []
    for path in matching(source, symbol, "funding"):
        try:
            table = pq.read_table(path) if path.suffix in (".parquet", ".pq") else _read_csv(path, source)
            if table.num_rows == 0:
                raise BadInput(f"{path}: has no rows", "delete the file, or fetch it again")
            rates.append(pc.cast(table.column(_funding_column(path, table, source, "funding_rate")), pa.float64()))
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
            raise BadInput(f"{path}: cannot be read: {_reason(error)}", "the file is damaged: fetch it again") from None
        times.append(_utc(table.column(_funding_column(path, table, source, "open_time")), source, path))
    stamps = np.concatenate([pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False) for column in times])
    order = np.argsort(stamps, kind="stable")
    return stamps[order], np.concatenate([column.to_numpy() for column in rates])[order]


def _funding_column(path: Path, table: pa.Table, source: FileSource, ours: str) -> str:
    lowered = {name.strip().lower(): name for name in reversed(table.column_names)}
    candidates = (source.columns[ours].lower(),) if ours in source.columns else (ours, *FUNDING[ours])
    theirs = next((lowered[name] for name in candidates if name in lowered), None)
    if theirs is None:
        raise BadInput(
            f"{path}: no column '{source.columns.get(ours, ours)}'",
            f"it has: {', '.join(table.column_names)}; write download.funding_file.columns: {{{ours}: its name there}}",
        )
    return theirs


def _one_file(
    path: Path, source: FileSource, load: Callable[[Path, FileSource], pa.Table], named: Naming | None = None
) -> pa.Table:
    """A file's columns under our names, with times in UTC. named: which are read, by default those of bars."""
    try:
        table = load(path, source)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
        text = _reason(error)
        raise BadInput(f"{path}: cannot be read: {text}", _reading_hint(path, source, load, text)) from None
    if table.num_rows == 0:
        raise BadInput(f"{path}: has no rows", "delete the file, or fetch it again")
    columns = {
        ours: table.column(theirs) for ours, theirs in (named or _named)(path, table.column_names, source).items()
    }
    columns["open_time"] = _utc(columns["open_time"], source, path)
    return pa.table(columns)


def _reason(error: Exception) -> str:
    """The first line of what a library says; up to the bytes of a file that is no text, which a terminal would obey."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    unreadable = next((n for n, char in enumerate(text) if char == "\ufffd" or not char.isprintable()), None)
    return text if unreadable is None else f"{text[:unreadable]}…"


def _reading_hint(path: Path, source: FileSource, load: Callable[[Path, FileSource], pa.Table], text: str) -> str:
    is_parquet = path.suffix in (".parquet", ".pq")
    if is_parquet != (load is not _read_csv):
        return f"set download.source: {'parquet' if is_parquet else 'csv'}"
    if re.search(r"Expected \d+ columns, got \d+", text):  # pyarrow's words
        return f"see download.file.delimiter, now {source.delimiter!r}; or the file is damaged: fetch it again"
    return "the file is damaged or cut off: fetch it again"


def _named(path: Path, names: list[str], source: FileSource) -> dict[str, str]:
    """Our column names to the file's. Raises BadInput: one that must be there is not."""
    lowered = {name.strip().lower(): name for name in reversed(names)}
    found = {}
    for ours in ("open_time", *COLUMNS):
        if ours in source.columns:
            if source.columns[ours] not in names:
                raise BadInput(
                    f"{path}: no column '{source.columns[ours]}', which download.file.columns.{ours} names",
                    f"it has: {', '.join(names)}",
                )
            found[ours] = source.columns[ours]
            continue
        theirs = next((lowered[name] for name in (ours, *ALIASES[ours]) if name in lowered), None)
        if theirs is not None:
            found[ours] = theirs
        elif ours in ("open_time", *cleaning.REQUIRED):
            raise BadInput(
                f"{path}: no column '{ours}'",
                f"it has: {', '.join(names)}; write download.file.columns: {{{ours}: its name there}}"
                f" (and see download.file.delimiter, now {source.delimiter!r})",
            )
    return found


def _named_marks(path: Path, names: list[str], source: FileSource) -> dict[str, str]:
    """The prices of `marks.SCHEMA` to the file's columns of the mark price. Raises BadInput: one is not there."""
    found = {"open_time": _named(path, names, source)["open_time"]}
    for price, ours in zip(marks.SCHEMA.names[1:], marks.COLUMNS, strict=True):
        found[price] = source.columns.get(ours, ours)
        if found[price] not in names:
            raise BadInput(
                f"{path}: no column '{found[price]}' of the mark price, which download.mark_price asks for",
                f"it has: {', '.join(names)}; write download.file.columns: {{{ours}: its name there}}",
            )
    return found


def _utc(column: pa.ChunkedArray, source: FileSource, path: Path) -> pa.Array:
    """Times as timestamp[ms, UTC]."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = _parsed(column, path)
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if numeric and source.timestamp_unit != "auto" and not column.null_count:
        scaled = np.floor(np.round(column.to_numpy() / _PER_MS[source.timestamp_unit], 2))
        # What is no number becomes 1970, which no source may hold.
        column = pa.chunked_array([time_array(np.nan_to_num(scaled, nan=0).clip(0, 1e16).astype(np.int64))])
    times = cleaning.times_in_ms(column, str(path))
    # A bare number is hours here, unlike the lengths in bars elsewhere.
    ahead = source.utc_offset * 3_600_000 if isinstance(source.utc_offset, int) else duration_ms(source.utc_offset)
    return time_array(times - ahead)


def _parsed(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    for kind in (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ms", "UTC"), pa.float64()):
        try:
            return pc.cast(column, kind)
        except pa.ArrowException:
            continue
    raise BadInput(
        f"{path}: open_time holds {str(column[0])!r}, which is neither a number nor an ISO date",
        "write times as 2024-01-31 12:00:00, or as numbers since 1970",
    )


def _read_parquet(path: Path, source: FileSource) -> pa.Table:
    names = pq.read_schema(path).names
    return pq.read_table(path, columns=list(_named(path, names, source).values()))


def _read_whole_parquet(path: Path, source: FileSource) -> pa.Table:
    return pq.read_table(path)


def _read_csv(path: Path, source: FileSource) -> pa.Table:
    if path.suffix != ".zip":
        # pyarrow undoes .gz by the name.
        with pa.input_stream(str(path)) as stream:
            head = _first_line(stream, path)
        with pa.input_stream(str(path)) as stream:
            return _parse_csv(stream, head, path, source)
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.lower().endswith((".csv", ".txt"))]
        if not members:
            raise BadInput(f"{path}: holds no CSV file", f"it has: {', '.join(archive.namelist()[:5]) or 'nothing'}")
        tables = []
        for name in sorted(members):
            content = archive.read(name)
            tables.append(_parse_csv(io.BytesIO(content), _first_line(io.BytesIO(content), path), path, source))
        return pa.concat_tables(tables, promote_options="permissive")


def _first_line(stream: IO[bytes], path: Path) -> str:
    text = stream.read(1 << 16).decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise BadInput(f"{path}: is empty", "delete the file, or fetch it again")
    return text.splitlines()[0]


def _parse_csv(stream: IO[bytes], head: str, path: Path, source: FileSource) -> pa.Table:
    fields = next(csv.reader([head], delimiter=source.delimiter))
    names = None
    if _is_number(fields[0]):
        if len(fields) != len(BINANCE):
            raise BadInput(
                f"{path}: has no header line, and {len(fields)} columns where a Binance file has {len(BINANCE)}",
                f"add a line of column names; the first line is: {head[:80]}",
            )
        names = list(BINANCE)
    return pa_csv.read_csv(
        stream,
        read_options=pa_csv.ReadOptions(column_names=names),
        parse_options=pa_csv.ParseOptions(delimiter=source.delimiter),
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
