"""The journal in a PostgreSQL database: the same records and the same chain, several journals to a table by name.

The server keeps what it has acknowledged, and checks its own log; nothing here remembers the end of the journal
elsewhere, so that a database put back to an older backup looks like a shorter journal.
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from pipeline.errors import BadInput, StorageError
from pipeline.live.journal_chain import START, Chain, JournalDamaged, Row, encode, seal_all

try:
    import psycopg
except ImportError:
    raise BadInput("a journal in PostgreSQL needs psycopg", "pip install 'pipeline[postgres]'") from None

TABLE = "pipeline_journal"
# One message to the server, so it is all made or nothing.
SCHEMA = f"""
CREATE TABLE {TABLE} (name text NOT NULL, number bigint NOT NULL, kind text NOT NULL, body text NOT NULL,
    length bigint NOT NULL, crc32 bigint NOT NULL, hash text NOT NULL, PRIMARY KEY (name, number));
CREATE FUNCTION {TABLE}_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'a journal is only added to'; END $$;
CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON {TABLE}
    FOR EACH ROW EXECUTE FUNCTION {TABLE}_is_only_added_to();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON {TABLE}
    FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_is_only_added_to();
"""
TRIGGERS = {"no_change", "no_truncate"}
_SELECT = f"SELECT number, kind, body, length, crc32, hash FROM {TABLE} WHERE name = %s AND number > %s ORDER BY number"
_INSERT = f"INSERT INTO {TABLE} (name, number, kind, body, length, crc32, hash) VALUES (%s, %s, %s, %s, %s, %s, %s)"
_BATCH = 1000
# A server that does not answer must not hold the trader for longer.
_ANSWER_MS = 10_000
# A server needs a moment to see that a process is gone, and its lock with it.
LEAVE_MS = 3000


class PostgresReader:
    """A journal in a database, for reading. Errors as `PostgresJournal`; BadInput: there is none of that name."""

    def __init__(self, url: str, name: str = "journal") -> None:
        self.name = name
        self._turn = threading.RLock()
        self._connection = _connect(url)
        # Without what a URL may hold of passwords.
        info = self._connection.info
        self.where = f"postgresql://{info.host}/{info.dbname} journal '{name}'"
        with contextlib.ExitStack() as opened:
            opened.callback(self._connection.close)
            self._begin()
            opened.pop_all()

    def read(self, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Number, kind and body of the records after a number, in order. Raises JournalDamaged: names the bad one."""
        chain = Chain(self.where)
        for row in self.rows(after):
            yield row.number, row.kind, chain.body(row)

    def rows(self, after: int = 0) -> Iterator[Row]:
        """The same as they are stored."""
        found = self._query(f"SELECT hash FROM {TABLE} WHERE name = %s AND number = %s", after)
        chain = Chain(self.where, after, found[0][0] if found else START)
        while batch := self._query(f"{_SELECT} LIMIT {_BATCH}", chain.number):
            for fields in batch:
                yield chain.follow(fields)

    def verify(self) -> int:
        """How many records there are, after a check of all of them, the chain and the triggers.

        Raises JournalDamaged: names the first bad record.
        """
        return self._verify().number

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        if not self._table_exists() or not self._query(f"SELECT 1 FROM {TABLE} WHERE name = %s AND number > %s", 0):
            raise BadInput(f"{self.where}: there is no journal")

    def _table_exists(self) -> bool:
        return bool(self._ask(f"SELECT to_regclass('{TABLE}') IS NOT NULL"))

    def _verify(self) -> Chain:
        chain = Chain(self.where)
        with _named(self.where), self._turn:
            enabled = self._connection.execute(
                f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{TABLE}'::regclass AND tgenabled IN ('O', 'A')"
            )
            if TRIGGERS - {name for (name,) in enabled.fetchall()}:
                raise JournalDamaged(self.where, "the triggers that forbid changes are gone")
        for row in self.rows():
            chain.body(chain.follow(row))
        return chain

    def _query(self, sql: str, number: int) -> list[tuple[Any, ...]]:
        with _named(self.where), self._turn:
            return self._connection.execute(sql, (self.name, number)).fetchall()

    def _ask(self, sql: str) -> Any:
        with _named(self.where), self._turn:
            row = self._connection.execute(sql).fetchone()
            return row[0] if row else None


class PostgresJournal(PostgresReader):
    """A journal in a database, to append to; its table is made if it is missing. One writer at a time.

    url: as libpq takes it; the password is better kept in PGPASSWORD or ~/.pgpass. name: of the journal in the table.
    Raises JournalDamaged: something was changed. BadInput: another process writes it, or the server does not sync.
    StorageError: no connection, no permission.
    """

    def __init__(self, url: str, name: str = "journal") -> None:
        self._stopped = ""
        self.number, self._hash = 0, START
        super().__init__(url, name)

    def append(self, kind: str, body: Mapping[str, Any]) -> int:
        """Write a record and have it synced; returns its number, from 1 on. Raises as `append_all`."""
        return self.append_all([(kind, body)])

    def append_all(self, records: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
        """Write records as one, all of them or none, and have them synced; returns the number of the last.

        Raises StorageError: they may not be there, and no more are taken until the journal is opened again. BadInput:
        a body cannot be written down; nothing has changed.
        """
        texts = [(kind, encode(kind, body)) for kind, body in records]
        with self._turn:
            if self._stopped:
                raise StorageError(f"{self.where}: takes no more records: {self._stopped}", "start again to recover")
            rows = seal_all(self.number, self._hash, texts)
            # Whatever happens now, an interrupt too: only a complete append lets the next one in.
            self._stopped = "an append failed before"
            with _named(self.where), self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.executemany(_INSERT, [(self.name, *row) for row in rows])
            if rows:
                self.number, self._hash = rows[-1].number, rows[-1].hash
            self._stopped = ""
        return self.number

    def close(self) -> None:
        """Let go of the connection, and with it of the lock."""
        self._stopped = "it is closed"
        super().close()

    def _begin(self) -> None:
        if self._ask("SHOW fsync") == "off":
            raise BadInput(f"{self.where}: the server runs with fsync=off", "a record would not survive a power cut")
        if self._ask("SHOW synchronous_commit") == "off":
            with _named(self.where):
                self._connection.execute("SET synchronous_commit = on")
        # Held by the session, so that it goes with it.
        key = int.from_bytes(hashlib.sha256(f"{TABLE} {self.name}".encode()).digest()[:8], signed=True)
        with _named(self.where):
            try:
                self._connection.execute(f"SET lock_timeout = {LEAVE_MS}")
                self._connection.execute(f"SELECT pg_advisory_lock({key})")
            except psycopg.errors.LockNotAvailable:
                hint = "wait for it, or stop it, and try again"
                raise BadInput(f"a writer of {self.where} is already running", hint) from None
        if not self._table_exists():
            # Two journals of different names may be made at once.
            with _named(self.where), contextlib.suppress(psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation):
                self._connection.execute(SCHEMA)
        chain = self._verify()
        self.number, self._hash = chain.number, chain.hash


def _connect(url: str) -> "psycopg.Connection[tuple[Any, ...]]":
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=10,
            application_name="pipeline journal",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=_ANSWER_MS,
        )
        connection.execute(f"SET statement_timeout = {_ANSWER_MS}")
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()
        raise StorageError(f"PostgreSQL: no connection: {reason[0] if reason else type(error).__name__}") from None
    return connection


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    # What the server complains of, as an error that names the journal.
    try:
        yield
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()
        raise StorageError(f"{where}: {reason[0] if reason else type(error).__name__}") from error
