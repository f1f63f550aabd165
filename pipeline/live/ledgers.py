"""What live trading decided and traded as two tables, made of the journal and of nothing else.

    data/NAME/serve/decisions.parquet     a row for each bar and symbol
    data/NAME/serve/trades.parquet        a row for each closed trade

Each file knows the record of the journal up to which it goes, so that only what came after it is read. Old row groups
are copied and never held together: memory does not grow with the years. After a crash the next call catches up.
"""

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import TIME, atomic_file
from pipeline.config import interval_ms
from pipeline.errors import BadInput
from pipeline.live.journal_chain import START, Row, decode
from pipeline.trading.ledger import SCHEMA as TRADES

DECISIONS = pa.schema(
    [
        ("open_time", TIME),
        ("symbol", pa.string()),
        ("is_filled", pa.bool_()),
        ("score", pa.float64()),
        ("buy_signal", pa.bool_()),
        ("sell_signal", pa.bool_()),
        ("gate", pa.string()),
        ("order", pa.string()),
        ("exit", pa.string()),
        ("equity", pa.float64()),
        ("mode", pa.string()),
        ("bundle", pa.string()),
        ("late", pa.bool_()),
        ("decided_at", TIME),
        ("latency_ms", pa.float64()),
    ]
)
TRADES_OF_A_MODE = TRADES.append(pa.field("mode", pa.string()))
_BUY, _SELL = 1, 2
_ORDERS = {1: "long", -1: "short"}
# Size of a full row group; rows that are held as Python's objects, which take twenty times the room.
_GROUP, _BATCH = 1 << 16, 1 << 12
_NUMBER, _HASH, _MODE, _INTERVAL = b"journal_number", b"journal_hash", b"mode", b"interval"


class Rows(Protocol):
    """A journal whose records can be read from any number on."""

    def rows(self, after: int = 0) -> Iterable[Row]:
        """The records after a number, in order. Raises JournalDamaged."""


@dataclass(frozen=True)
class Written:
    """What the files hold now. record: the journal's last one that is in them; added: decisions that are new."""

    decisions: int
    trades: int
    record: int
    added: int


def update(journal: Rows, folder: Path) -> Written:
    """Bring both files up to the journal's end, each whole or not at all.

    Raises JournalDamaged: names the bad record; the files stay as they were. StorageError: the disk is full.
    """
    paths = folder / "decisions.parquet", folder / "trades.parquet"
    done = _agreed(journal, paths)
    reader = _Reading(done.mode, done.interval)
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(_extended(path, schema, done.number > 0))
            for path, schema in zip(paths, (DECISIONS, TRADES_OF_A_MODE), strict=True)
        ]
        added, number, last = 0, done.number, done.hash
        for row in journal.rows(done.number):
            number, last = row.number, row.hash
            if row.kind in _KINDS:
                decisions, trades = reader.add(row.kind, decode(row.body))
                files[0].add(decisions)
                files[1].add(trades)
                added += len(decisions)
        end = {_NUMBER: str(number), _HASH: last, _MODE: reader.mode, _INTERVAL: reader.interval}
        for one in files:
            one.mark(end)
        return Written(files[0].rows, files[1].rows, number, added)


def decisions_of(body: Mapping[str, Any], mode: str, interval: str) -> list[dict[str, Any]]:
    """Rows of decisions.parquet that a record BAR makes, symbols by name."""
    opened, decided = int(body["t"]), int(body["at"])
    late_by = decided - opened - (interval_ms(interval) if interval else 0)
    common = {
        "open_time": opened,
        "equity": float(body["equity"]),
        "mode": mode,
        "bundle": str(body["bundle"]),
        "late": bool(body["late"]),
        "decided_at": decided,
        # On an exchange that replays history our clock says nothing of the bar's age, and one that is not reached
        # cannot be asked for it.
        "latency_ms": _number_or_nan(body.get("age_ms", late_by)),
    }
    rows = []
    for symbol, seen in sorted(body["s"].items()):
        signal, score = int(seen["signal"]), seen["score"]
        rows.append(
            common
            | {
                "symbol": symbol,
                "is_filled": bool(seen["filled"]),
                "score": _number_or_nan(score),
                "buy_signal": bool(signal & _BUY),
                "sell_signal": bool(signal & _SELL),
                "gate": str(seen["gate"]),
                "order": _ORDERS.get(int(seen["order"]), ""),
                "exit": str(seen["exit"]),
            }
        )
    return rows


def _number_or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def trades_of(kind: str, body: Mapping[str, Any], mode: str) -> list[dict[str, Any]]:
    """Rows of trades.parquet that a record makes: the trades of a BAR in shadow, a TRADE live."""
    closed = body.get("trades", ()) if kind == "BAR" else (body,)
    return [{name: trade[name] for name in TRADES.names} | {"mode": mode} for trade in closed]


# The records that the tables are made of.
_KINDS = ("START", "BAR", "TRADE")


@dataclass
class _Reading:
    # What a record's rows depend on besides the record.
    mode: str = ""
    interval: str = ""

    def add(self, kind: str, body: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        if kind == "START":
            self.mode, self.interval = str(body["mode"]), str(body.get("interval", self.interval))
            return [], []
        decisions = decisions_of(body, self.mode, self.interval) if kind == "BAR" else []
        return decisions, trades_of(kind, body, self.mode)


@dataclass(frozen=True)
class _Done:
    number: int = 0
    hash: str = START
    mode: str = ""
    interval: str = ""


def _agreed(journal: Rows, paths: Sequence[Path]) -> _Done:
    # Where to go on: at the start, unless both files tell of the same record, and the journal has it.
    told = [_told(path) for path in paths]
    if told[0] is None or told[0] != told[1]:
        return _Done()
    if told[0].number == 0:
        return told[0]
    try:
        row = next(iter(journal.rows(told[0].number - 1)), None)
    except BadInput:
        # A shorter journal, or a damaged one: which it is, reading it from the start says.
        return _Done()
    return told[0] if row is not None and row.hash == told[0].hash else _Done()


def _told(path: Path) -> _Done | None:
    try:
        facts = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    if _NUMBER not in facts:
        return None
    return _Done(*(int(facts[_NUMBER]), *(facts[key].decode() for key in (_HASH, _MODE, _INTERVAL))))


@dataclass
class _File:
    # A Parquet file that is being written, row group by row group.
    writer: pq.ParquetWriter
    schema: pa.Schema
    rows: int = 0
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    _part: pa.Table | None = None

    def copy(self, path: Path) -> None:
        with pq.ParquetFile(path) as old:
            for number in range(old.num_row_groups):
                group = old.read_row_group(number).cast(self.schema)
                self.rows += group.num_rows
                self._put(group)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        self._waiting += rows
        self.rows += len(rows)
        if len(self._waiting) >= _BATCH:
            self._flush()

    def mark(self, facts: Mapping[bytes, str]) -> None:
        self._flush()
        if self._part is not None:
            self.writer.write_table(self._part, row_group_size=_GROUP)
        self.writer.add_key_value_metadata({key.decode(): value for key, value in facts.items()})

    def _flush(self) -> None:
        if self._waiting:
            columns = {
                f.name: pa.array([_plain(row[f.name], f.type) for row in self._waiting], f.type) for f in self.schema
            }
            self._waiting = []
            self._put(pa.table(columns, schema=self.schema))

    def _put(self, table: pa.Table) -> None:
        # Small groups, a day's or an hour's, grow together.
        part = table if self._part is None else pa.concat_tables([self._part, table]).combine_chunks()
        while part.num_rows >= _GROUP:
            self.writer.write_table(part.slice(0, _GROUP), row_group_size=_GROUP)
            part = part.slice(_GROUP).combine_chunks()
        self._part = part if part.num_rows else None


def _plain(value: Any, kind: pa.DataType) -> Any:
    return dt.datetime.fromtimestamp(value / 1000, dt.UTC) if kind == TIME else value


@contextlib.contextmanager
def _extended(path: Path, schema: pa.Schema, keeps: bool) -> Iterator[_File]:
    with (
        atomic_file(path) as target,
        pq.ParquetWriter(target, schema, compression="zstd", store_schema=False) as writer,
    ):
        file = _File(writer, schema)
        if keeps:
            file.copy(path)
        yield file
