"""The journal as a table for other programs, Parquet or CSV, and back from it."""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import TIME, atomic_file, write_table
from pipeline.errors import BadInput
from pipeline.live.journal import create
from pipeline.live.journal_chain import START, Row, decode, encode, seal

SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("kind", pa.string()),
        ("time", TIME),
        ("symbol", pa.string()),
        ("client_order_id", pa.string()),
        ("body", pa.string()),
        ("hash", pa.string()),
    ]
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Years 1970 to 9999: what Python and Parquet readers can show.
_LATEST_MS = 253_402_300_799_999


def table(rows: Iterable[Row]) -> pa.Table:
    """Columns number, kind, time, symbol, client_order_id, body (canonical JSON), hash.

    time: `time` of the body, else `at`, ms since 1970; null if it has neither. client_order_id: its `id` or
    `client_order_id`. symbol: its own, or that of the record which first named the order.
    """
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    symbols: dict[str, str] = {}
    for row in rows:
        body = decode(row.body)
        order = _text(body.get("client_order_id", body.get("id")))
        symbol = _text(body.get("symbol"))
        if order and symbol:
            symbols.setdefault(order, symbol)
        values = (row.number, row.kind, _time(body), symbol or symbols.get(order or ""), order, row.body, row.hash)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pa.table(columns, schema=SCHEMA)


def write(path: Path, rows: Iterable[Row]) -> int:
    """Replace a `.parquet` or `.csv` file by the rows' table, whole or not at all; returns how many rows.

    Raises BadInput: the name ends otherwise. StorageError: it cannot be written.
    """
    form = _form(path)
    content = table(rows)
    if form == ".parquet":
        write_table(path, content)
    else:
        with atomic_file(path, "w") as file:
            # The csv module ends lines with \r\n otherwise.
            out = csv.writer(file, lineterminator="\n")
            out.writerow(SCHEMA.names)
            for record in content.to_pylist():
                time = record["time"]
                record["time"] = time and time.isoformat(timespec="milliseconds")
                out.writerow(record.values())
    return content.num_rows


def restore(export: Path, path: Path) -> int:
    """Make a journal from an export; returns how many records. The chain is computed again and must be the export's.

    Raises BadInput: no export, or changed since (names the record); there is a journal at `path` already.
    """
    records, last = [], START
    for number, (stored, kind, body, stored_hash) in enumerate(_exported(export), 1):
        try:
            canonical = encode(kind, decode(body))
        except ValueError:
            canonical = ""
        row = seal(number, kind, body, last)
        if canonical != body or str(stored) != str(number) or row.hash != stored_hash:
            raise BadInput(f"{export}: record {number} was changed, or one before it is missing", "use another export")
        records.append((kind, body))
        last = row.hash
    create(path, records)
    return len(records)


def _exported(path: Path) -> Iterator[tuple[Any, str, str, str]]:
    names = ["number", "kind", "body", "hash"]
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file", "`pipeline journal export --file` writes one")
    try:
        if _form(path) == ".parquet":
            content = pq.ParquetFile(path).read(columns=names)
            yield from zip(*(content.column(name).to_pylist() for name in names), strict=True)
        else:
            with path.open(encoding="utf-8", newline="") as file:
                for record in csv.DictReader(file, strict=True):
                    yield record["number"], record["kind"], record["body"], record["hash"]
    except (OSError, ValueError, TypeError, KeyError, csv.Error, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n", maxsplit=1)[0]
        raise BadInput(f"{path}: is not an export of a journal: {reason}") from None


def _form(path: Path) -> str:
    if path.suffix not in (".parquet", ".csv"):
        raise BadInput(f"{path}: an export is a .parquet or a .csv file")
    return path.suffix


def _text(value: Any) -> str | None:
    # Lone surrogates have no place in Parquet; the body keeps them.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _time(body: dict[str, Any]) -> datetime | None:
    value = body.get("time", body.get("at"))
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LATEST_MS
    return _EPOCH + timedelta(milliseconds=value) if known else None  # type: ignore[arg-type]
