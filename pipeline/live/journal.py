"""The journal: append-only records in an SQLite file, durable when they are told to be, that shows any change or loss.

Beside `journal.sqlite` lies `journal.sqlite.head`, the number and hash of the last record. SQLite takes a damaged end
of its write-ahead log for a transaction that never was, and drops it without a word; the head remembers that it was.
"""

import contextlib
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from pipeline.artifacts import exclusive
from pipeline.errors import BadInput, StorageError
from pipeline.live.journal_chain import START, Chain, JournalDamaged, Row, encode, seal, seal_all

if TYPE_CHECKING:
    from pipeline.live.journal_postgres import PostgresJournal

# In the file's header: "pjnl", and the version of the schema.
APPLICATION_ID, VERSION = 0x706A6E6C, 1
SCHEMA = (
    "CREATE TABLE records (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL,"
    " length INTEGER NOT NULL, crc32 INTEGER NOT NULL, hash TEXT NOT NULL)",
    "CREATE TRIGGER no_update BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'a journal is only added to'); END",
    "CREATE TRIGGER no_delete BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'a journal is only added to'); END",
    # INSERT OR REPLACE deletes without asking the trigger above.
    "CREATE TRIGGER in_order BEFORE INSERT ON records"
    " WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM records)"
    " BEGIN SELECT RAISE(ABORT, 'a journal is only added to'); END",
)
_INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)"
_SELECT = "SELECT number, kind, body, length, crc32, hash FROM records WHERE number > ? ORDER BY number"
_MAGIC = b"SQLite format 3\0"
_BATCH = 1000
# How long another program may hold the file before an append is given up.
BUSY_S = 2.0
# Errors of SQLite that say nothing of the content: no permission, busy, locked, no memory, read-only, I/O, full,
# cannot open.
_TROUBLE = {3, 5, 6, 7, 8, 10, 13, 14}


class JournalReader(Protocol):
    """A journal that is only looked at; another process may be writing it."""

    def read(self, after: int = 0) -> Iterable[tuple[int, str, dict[str, Any]]]:
        """Number, kind and body of the records after a number, in order. Raises JournalDamaged."""

    def rows(self, after: int = 0) -> Iterable[Row]:
        """The same as they are stored."""

    def verify(self) -> int:
        """How many records there are, all checked. Raises JournalDamaged: names the first bad one."""

    def close(self) -> None:
        """Let go of it."""


class SqliteReader:
    """A journal file, for reading; changes none of its files. Errors as `open_reader`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.RLock()
        if not path.is_file():
            rehearsed = path.parent / "rehearsal" / path.name
            known = f"; that of the last rehearsal: --store {rehearsed}" if rehearsed.is_file() else ""
            raise BadInput(f"{path}: there is no journal", f"`pipeline serve` writes one{known}")
        _look(path)
        with _named(path):
            self._connection = _connect(path, "ro")

    def read(self, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Number, kind and body of the records after a number, in order. Raises JournalDamaged: names the bad one."""
        chain = Chain(str(self.path))
        for row in self.rows(after):
            yield row.number, row.kind, chain.body(row)

    def rows(self, after: int = 0) -> Iterator[Row]:
        """The same as they are stored."""
        chain = Chain(str(self.path), after, self._hash_of(after))
        while batch := self._query(f"{_SELECT} LIMIT {_BATCH}", chain.number):
            for fields in batch:
                yield chain.follow(fields)

    def verify(self) -> int:
        """How many records there are, after a check of all of them, the chain, the schema and the file's structure.

        Raises JournalDamaged: names the first bad record.
        """
        return self._verify().number

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _verify(self) -> Chain:
        # The head first: a writer that goes on meanwhile only ever is ahead of it.
        number, last_hash = _read_head(self.path)
        chain, seen = Chain(str(self.path)), START
        with _named(self.path), self._turn:
            application = self._one("PRAGMA application_id")
            version = self._one("PRAGMA user_version")
            if application != APPLICATION_ID:
                raise BadInput(f"{self.path}: is not a journal", "it was left as it is")
            if version != VERSION:
                raise BadInput(f"{self.path}: has version {version}, not {VERSION}", "it was left as it is")
            # One reading transaction, so that a writer cannot add between the checks.
            self._connection.execute("BEGIN")
            try:
                schema = self._connection.execute("SELECT sql FROM sqlite_schema ORDER BY rowid").fetchall()
                if [sql for (sql,) in schema] != list(SCHEMA):
                    raise JournalDamaged(str(self.path), "its table or its triggers were changed")
                for fields in self._connection.execute(_SELECT, (0,)):
                    row = chain.follow(fields)
                    chain.body(row)
                    if row.number == number:
                        seen = row.hash
                structure = self._one("PRAGMA integrity_check(1)")
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
        if chain.number < number:
            raise JournalDamaged(str(self.path), f"ends with record {chain.number}; there were {number} at least")
        if seen != last_hash:
            raise JournalDamaged(str(self.path), f"record {number} is another one than was written")
        if structure != "ok":
            raise JournalDamaged(str(self.path), f"the file's structure is damaged: {str(structure).splitlines()[0]}")
        return chain

    def _one(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchone()[0]

    def _hash_of(self, number: int) -> str:
        found = self._query("SELECT hash FROM records WHERE number = ?", number)
        return str(found[0][0]) if found else START

    def _query(self, sql: str, number: int) -> list[tuple[Any, ...]]:
        with _named(self.path), self._turn:
            return self._connection.execute(sql, (number,)).fetchall()


class SqliteJournal(SqliteReader):
    """A journal file, to append to; made if there is none, checked whole if there is. One writer at a time.

    number: of the last record. What a killed process had not finished is gone when this returns, what it had finished
    is there. Raises JournalDamaged: something was changed or lost; the files are left as they are. BadInput: another
    process writes it, or it is no journal. StorageError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.RLock()
        self._stopped = ""
        with contextlib.ExitStack() as held:
            held.enter_context(exclusive(path.with_name(f"{path.name}.lock"), f"a writer of {path}"))
            if not path.exists():
                create(path)
            with SqliteReader(path) as reader:
                chain = reader._verify()
            self.number, self._hash = chain.number, chain.hash
            with _named(path):
                self._connection = _connect(path, "rw")
                held.callback(self._connection.close)
                self._begin()
                self._head = os.open(_head(path), os.O_RDWR)
                held.callback(os.close, self._head)
                self._write_head()
                os.fsync(self._head)
                self._files = self._identity()
            self._held = held.pop_all()

    def append(self, kind: str, body: Mapping[str, Any]) -> int:
        """Write a record and sync it; returns its number, from 1 on. Raises as `append_all`."""
        return self.append_all([(kind, body)])

    def append_all(self, records: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
        """Write records as one, all of them or none, and sync them once; returns the number of the last.

        Raises StorageError: they may not be there, and no more are taken until the journal is opened again. BadInput:
        a body cannot be written down; nothing has changed.
        """
        texts = [(kind, encode(kind, body)) for kind, body in records]
        with self._turn:
            if self._stopped:
                raise StorageError(f"{self.path}: takes no more records: {self._stopped}", "start again to recover")
            rows = seal_all(self.number, self._hash, texts)
            # Whatever happens now, an interrupt too: only a complete append lets the next one in.
            self._stopped = "an append failed before"
            try:
                if self._identity() != self._files:
                    raise StorageError(f"{self.path}: was moved or replaced while it was open", "start again")
                self._insert(rows)
                if rows:
                    self.number, self._hash = rows[-1].number, rows[-1].hash
                    self._write_head()
            except (sqlite3.Error, OSError) as error:
                raise StorageError(
                    f"{self.path}: {error}", "nothing is half-written; start again to recover"
                ) from error
            self._stopped = ""
        return self.number

    def _insert(self, rows: Sequence[Row]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(_INSERT, rows)
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file, and of the lock."""
        with self._turn:
            if self._stopped != "it is closed":
                self._stopped = "it is closed"
                with contextlib.suppress(OSError):
                    os.fsync(self._head)
                self._held.close()

    def _begin(self) -> None:
        one = self._one
        if one("PRAGMA journal_mode") != "wal":
            raise StorageError(f"{self.path}: cannot be used with a write-ahead log")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA cell_size_check = ON")
        # What the log holds may have been written by a process whose sync failed: the system then forgets that it is
        # not on the disk. Writing it into the database, and syncing that, makes it true.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if one("SELECT coalesce(max(number), 0) FROM records") != self.number:
            raise StorageError(f"{self.path}: was written to while it was opened")

    def _identity(self) -> list[tuple[int, int]]:
        # Records written into a file that was deleted are durable nowhere.
        stats = [os.stat(f"{self.path}{suffix}") for suffix in ("", "-wal")]  # noqa: PTH116 (twice as quick)
        return [(stat.st_dev, stat.st_ino) for stat in stats]

    def _write_head(self) -> None:
        # Not synced: after a power cut an older head is as good, and the record itself is on the disk.
        os.pwrite(self._head, _slot(self.number, self._hash), self.number % 2 * _SLOT)


def open_journal(target: Path | str, name: str = "journal") -> "SqliteJournal | PostgresJournal":
    """The journal at a path, or in a database `postgresql://…` under a name; errors as `SqliteJournal`."""
    if isinstance(target, str) and target.startswith(("postgresql://", "postgres://")):
        from pipeline.live.journal_postgres import PostgresJournal

        return PostgresJournal(target, name)
    return SqliteJournal(Path(target))


def open_reader(target: Path | str, name: str = "journal") -> JournalReader:
    """The same, only to look at.

    Raises BadInput: there is none, or it is no journal. JournalDamaged: its header is. StorageError: cannot be read.
    """
    if isinstance(target, str) and target.startswith(("postgresql://", "postgres://")):
        from pipeline.live.journal_postgres import PostgresReader

        return PostgresReader(target, name)
    return SqliteReader(Path(target))


def create(path: Path, records: Iterable[tuple[str, str]] = (), *, page_size: int = 4096) -> Row | None:
    """Make a journal, whole or not at all; returns its last row.

    records: kind and canonical JSON of those that it begins with. page_size: of the SQLite file, bytes.
    Raises JournalDamaged: parts of another journal lie there. BadInput: there is one. StorageError.
    """
    if path.exists():
        raise BadInput(f"{path}: there is a journal already", "move it away, and its -wal and .head with it")
    wal = path.with_name(f"{path.name}-wal")
    if (wal.exists() and wal.stat().st_size) or (_head(path).exists() and _read_head(path)[0]):
        raise JournalDamaged(str(path), "is missing, but what belongs to it is there")
    new, last = path.with_name(f"{path.name}.new"), None
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (new, new.with_name(f"{new.name}-journal"), new.with_name(f"{new.name}-wal"), wal):
            leftover.unlink(missing_ok=True)
        _write_new_head(path, 0, START)
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {page_size}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("BEGIN")
            for sql in SCHEMA:
                connection.execute(sql)
            for number, (kind, body) in enumerate(records, 1):
                last = seal(number, kind, body, last.hash if last else START)
                connection.execute(_INSERT, last)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        _sync(new)
        new.replace(path)
        _sync(path.parent)
        if last:
            _write_new_head(path, last.number, last.hash)
    return last


_SLOT = 96


def _head(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def _slot(number: int, last_hash: str) -> bytes:
    text = f"{number:020d} {last_hash}".encode()
    return text + b" %08x\n" % zlib.crc32(text) + b"\n"


def _write_new_head(path: Path, number: int, last_hash: str) -> None:
    _head(path).write_bytes(_slot(number, last_hash) * 2)
    _sync(_head(path))


def _read_head(path: Path) -> tuple[int, str]:
    # The later of the two slots that is whole: one may be torn by a power cut.
    try:
        content = _head(path).read_bytes()
    except FileNotFoundError:
        raise JournalDamaged(str(path), f"{_head(path).name} is missing, so its end cannot be checked") from None
    except OSError as error:
        raise StorageError(f"{_head(path)}: cannot be read: {error.strerror}") from None
    found = []
    for slot in (content[:_SLOT], content[_SLOT:]):
        with contextlib.suppress(ValueError):
            number, last_hash = int(slot[:20]), slot[21:85].decode("ascii")
            if slot == _slot(number, last_hash):
                found.append((number, last_hash))
    if not found:
        raise JournalDamaged(str(path), f"{_head(path).name} is damaged, so its end cannot be checked")
    return max(found)


def _look(path: Path) -> None:
    # Before SQLite sees it: SQLite would delete the log of an emptied file, and read one whose mode was changed
    # without its log.
    with _named(path), path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or header[:16] != _MAGIC or header[68:72] != APPLICATION_ID.to_bytes(4, "big"):
        # Our own head beside it tells a journal that was damaged from a file that never was one.
        if _head(path).exists():
            raise JournalDamaged(str(path), "the file's header is damaged")
        raise BadInput(f"{path}: is not a journal", "it was left as it is")
    if header[18:20] != b"\2\2":
        raise JournalDamaged(str(path), "the file's header is damaged")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    # What SQLite and the system complain of, as an error that names the journal.
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 1) & 0xFF
        if code in _TROUBLE:
            raise StorageError(f"{path}: {error}", "nothing is half-written") from error
        raise JournalDamaged(str(path), f"SQLite says: {error}") from error
    except UnicodeDecodeError as error:
        # What SQLite complains of quotes a name that is damaged.
        raise JournalDamaged(str(path), "its table or its triggers are damaged") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}", "nothing is half-written") from error
