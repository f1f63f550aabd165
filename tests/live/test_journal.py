"""What was appended is there, in order, whoever is killed; in a file and in a real PostgreSQL server alike."""

import csv
import importlib
import math
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.errors import BadInput, PipelineError, StorageError
from pipeline.live import journal as sqlite_journal
from pipeline.live import journal_export
from pipeline.live.journal import SqliteJournal, open_journal, open_reader
from pipeline.live.journal_chain import START, JournalDamaged, decode, encode, seal

INTENT = {"id": "a-1", "symbol": "BTCUSDT", "qty": Decimal("0.00100"), "price": None, "score": 0.1 + 0.2}
FILL = {"id": "a-1", "trade_id": 7, "price": Decimal("67123.10"), "time": 1_700_000_000_123}


class Server:
    """A PostgreSQL server of its own, reached through a socket file. Raises pytest's skip: none is installed."""

    def __init__(self, folder: Path) -> None:
        found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
        if not found:
            pytest.skip("PostgreSQL is not installed (initdb, postgres)")
        pytest.importorskip("psycopg")
        self.programs, self.folder = Path(found).parent, folder
        # The server refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(folder, self.user)
        self._run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()

    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c wal_level=minimal -c max_wal_senders=0"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        """As a crash does: without a word to anybody, and without writing what is in memory."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        # Not captured: pg_ctl's server would hold the pipe open.
        subprocess.run(
            [str(self.programs / program), *arguments],
            user=self.user,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=600,
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Not below pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Where a journal is to be, and its name: of its own for each test."""
    if request.param == "postgres":
        return request.getfixturevalue("server").url(), request.node.name
    return str(tmp_path / "serve" / "journal.sqlite"), "journal"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "serve" / "journal.sqlite"


def bodies(journal: Any, after: int = 0) -> list[dict[str, Any]]:
    return [body for _, _, body in journal.read(after)]


def pipeline(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["pipeline", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def change(store: tuple[str, str], sql: str) -> None:
    """Do something to the table from outside, as whoever made it."""
    target, name = store
    if target.startswith("postgresql"):
        import psycopg

        with psycopg.connect(target) as connection:
            connection.execute(sql.format(table="pipeline_journal", where=f"name = '{name}' AND"))
    else:
        with sqlite3.connect(target) as connection:
            connection.execute(sql.format(table="records", where=""))
        connection.close()


def test_records_come_back_in_order_with_their_numbers(store: tuple[str, str]) -> None:
    journal = open_journal(*store)
    assert [journal.append("INTENT", INTENT), journal.append("FILL", FILL)] == [1, 2]
    first, second = journal.read()
    assert first == (1, "INTENT", INTENT | {"qty": "0.00100"})
    assert second == (2, "FILL", FILL | {"price": "67123.10"})
    assert list(journal.read(after=1)) == [second] and list(journal.read(after=2)) == []
    journal.close()
    journal = open_journal(*store)
    assert list(journal.read()) == [first, second]
    assert journal.append("FILL", {}) == 3 and journal.verify() == 3
    journal.close()


def test_records_appended_together_follow_each_other_and_are_there_all_or_none(store: tuple[str, str]) -> None:
    with open_journal(*store) as journal:
        assert journal.append_all([("INTENT", INTENT), ("FILL", FILL)]) == 2
        assert journal.append_all([]) == 2
        with pytest.raises(BadInput, match="finite"):
            journal.append_all([("FILL", {"n": 3}), ("FILL", {"n": math.inf})])
        assert journal.append("FILL", {"n": 3}) == 3 and journal.verify() == 3
    with open_journal(*store) as journal:
        assert [kind for _, kind, _ in journal.read()] == ["INTENT", "FILL", "FILL"]


def test_records_appended_together_are_synced_once(path: Path) -> None:
    with SqliteJournal(path) as journal:
        before = path.with_name(f"{path.name}-wal").stat().st_size
        journal.append_all([("FILL", {"n": number}) for number in range(5)])
        # They lie on one page, which is written once.
        assert path.with_name(f"{path.name}-wal").stat().st_size - before < 2 * (4096 + 24) + 100


def test_more_records_than_one_batch_come_back(store: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"pipeline.live.journal{'_postgres' * store[0].startswith('postgresql')}")
    monkeypatch.setattr(module, "_BATCH", 3)
    journal = open_journal(*store)
    for number in range(10):
        journal.append("FILL", {"n": number})
    assert [body["n"] for body in bodies(journal)] == list(range(10))
    assert [body["n"] for body in bodies(journal, after=7)] == [7, 8, 9]
    journal.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()) | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def as_read(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list):
        return [as_read(one) for one in value]
    return {key: as_read(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


@settings(max_examples=300)
@given(st.dictionaries(st.text(st.characters()), json_values, max_size=5))
def test_a_body_comes_back_to_the_bit(body: dict[str, Any]) -> None:
    text = encode("FILL", body)
    # repr tells -0.0 from 0.0, 1 from 1.0 and True.
    assert repr(decode(text)) == repr(as_read(body))
    assert encode("FILL", dict(reversed(body.items()))) == text and text.isascii()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(st.dictionaries(st.text(st.characters()), json_values, max_size=3), max_size=5))
def test_bodies_come_back_from_the_disk(store: tuple[str, str], written: list[dict[str, Any]]) -> None:
    with open_journal(*store) as journal:
        before = journal.number
        for body in written:
            journal.append("ANY", body)
    with open_journal(*store) as journal:
        assert repr(bodies(journal, before)) == repr([as_read(body) for body in written])


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("FILL", {"score": math.nan}, "FILL.score is nan"),
        ("FILL", {"a": [1, math.inf]}, r"FILL.a\[1\] is inf"),
        ("FILL", {"qty": Decimal("NaN")}, "FILL.qty is NaN"),
        ("FILL", {"a": {1: 2}}, "FILL.a: the key 1 is not a text"),
        ("FILL", {"a": {1, 2}}, "FILL.a: a set"),
        ("FILL", {"a": b"x"}, "FILL.a: a bytes"),
        ("", {}, "is not a kind"),
        ("two words", {}, "is not a kind"),
    ],
)
def test_what_would_not_come_back_is_refused_and_harms_nothing(
    store: tuple[str, str], kind: str, body: dict[str, Any], says: str
) -> None:
    with open_journal(*store) as journal:
        with pytest.raises(BadInput, match=says):
            journal.append(kind, body)
        assert journal.append("FILL", {}) == 1


def test_the_chain_is_the_documented_one() -> None:
    row = seal(1, "FILL", "{}", START)
    # printf '%064d1\nFILL\n{}' 0 | sha256sum; printf '1\nFILL\n{}' | gzip -c | tail -c8 | od -tu4
    assert row.hash == "e23afbeb0134b35f18e6ff3af8e0641f553cd8034108fb0994e16414a6ae33c6"
    assert (row.length, row.crc32) == (9, 3_794_189_751)
    assert seal(2, "FILL", "{}", row.hash).hash != seal(2, "FILL", "{}", START).hash


def test_a_second_writer_is_refused_in_one_line_and_readers_are_not(
    store: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_journal(*store).close()
    if store[0].startswith("postgresql"):
        monkeypatch.setattr("pipeline.live.journal_postgres.LEAVE_MS", 50)
    with open_journal(*store) as journal:
        journal.append("FILL", FILL)
        with pytest.raises(BadInput, match=r"a writer of .* is already running"):
            open_journal(*store)
        reader = open_reader(*store)
        assert reader.verify() == 1
        journal.append("FILL", FILL)
        assert reader.verify() == 2 and len(bodies(reader)) == 2
        reader.close()
    open_journal(*store).close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE {table} SET body = body WHERE {where} number = 1",
        "DELETE FROM {table} WHERE {where} number = 2",
        "DELETE FROM {table} WHERE {where} true",
    ],
)
def test_other_programs_cannot_change_or_delete(store: tuple[str, str], sql: str) -> None:
    with open_journal(*store) as journal:
        journal.append("FILL", FILL)
        journal.append("FILL", FILL)
        with pytest.raises(Exception, match="a journal is only added to"):
            change(store, sql)
        assert journal.verify() == 2


@pytest.mark.parametrize("number", [1, 2, 4])
def test_other_programs_can_only_add_the_next_record_to_a_file(path: Path, number: int) -> None:
    with SqliteJournal(path) as journal:
        journal.append("FILL", FILL)
        journal.append("FILL", FILL)
    with pytest.raises(sqlite3.IntegrityError, match="a journal is only added to"):
        change((str(path), ""), f"INSERT OR REPLACE INTO records VALUES ({number}, 'FILL', '', 9, 9, 'x')")


def test_a_foreign_record_is_found_and_named(store: tuple[str, str]) -> None:
    with open_journal(*store) as journal:
        journal.append("FILL", FILL)
        name = "'" + store[1] + "'," if store[0].startswith("postgresql") else ""
        change(store, f"INSERT INTO {{table}} VALUES ({name} 2, 'FILL', '', 9, 1, 'x')")
        with pytest.raises(JournalDamaged, match="record 2"):
            journal.verify()
        with pytest.raises(StorageError):
            journal.append("FILL", FILL)
        with pytest.raises(StorageError, match="takes no more records"):
            journal.append("FILL", FILL)
    with pytest.raises(JournalDamaged, match="record 2"):
        open_journal(*store)


def test_a_change_behind_the_triggers_is_found(server: Server) -> None:
    import psycopg

    with open_journal(server.url(), "changed") as journal:
        for number in range(3):
            journal.append("FILL", {"n": number})
    with psycopg.connect(server.url()) as connection:
        connection.execute("ALTER TABLE pipeline_journal DISABLE TRIGGER no_change")
        connection.execute("UPDATE pipeline_journal SET body = '{\"n\":8}' WHERE name = 'changed' AND number = 2")
    try:
        with pytest.raises(JournalDamaged, match="triggers"):
            open_journal(server.url(), "changed")
    finally:
        with psycopg.connect(server.url()) as connection:
            connection.execute("ALTER TABLE pipeline_journal ENABLE TRIGGER no_change")
    with pytest.raises(JournalDamaged, match="record 2"):
        open_journal(server.url(), "changed")


def test_a_role_that_may_only_insert_can_keep_a_journal(server: Server) -> None:
    import psycopg

    open_journal(server.url(), "first").close()
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE ROLE trader LOGIN; GRANT SELECT, INSERT ON pipeline_journal TO trader")
    with open_journal(server.url().replace("postgres@", "trader@"), "trader") as journal:
        assert journal.append("FILL", FILL) == 1
    with (
        psycopg.connect(server.url().replace("postgres@", "trader@")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("ALTER TABLE pipeline_journal DISABLE TRIGGER ALL")


def test_a_server_that_does_not_sync_is_refused(server: Server) -> None:
    import psycopg

    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            for _ in range(1000):
                if psycopg.connect(server.url()).execute("SHOW fsync").fetchone() == ("off",):
                    break
            with pytest.raises(BadInput, match="fsync=off"):
                open_journal(server.url(), "unsynced")
        finally:
            connection.execute("ALTER SYSTEM RESET fsync")
            connection.execute("SELECT pg_reload_conf()")


WRITER = """
import os, sys
from pipeline.live.journal import open_journal
journal = open_journal(*sys.argv[1:3])
while True:
    number = journal.number + 1
    # Some kilobytes, so that the log is written back into the database now and then.
    journal.append("FILL", {"n": number, "pad": "x" * (number * 977 % 6000)})
    os.write(1, b"%d\\n" % number)
"""


def kill_while_writing(store: tuple[str, str], lines: int) -> int:
    """Let a process append, kill it after so many lines of its report; the last number that it reported."""
    with subprocess.Popen([sys.executable, "-c", WRITER, *store], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        seen = b"".join(writer.stdout.readline() for _ in range(lines))
        writer.send_signal(signal.SIGKILL)
        seen += writer.stdout.read()
    return int(seen.split(b"\n")[-2])


def test_a_killed_writer_loses_nothing_that_it_reported(store: tuple[str, str]) -> None:
    draw = random.Random(5)
    for _ in range(6):
        reported = kill_while_writing(store, draw.randint(2, 800))
        with open_journal(*store) as journal:
            assert journal.number - reported in (0, 1)
            found = [(number, body["n"], len(body["pad"])) for number, _, body in journal.read()]
        assert found == [(number, number, number * 977 % 6000) for number in range(1, len(found) + 1)]


def test_a_server_that_crashed_has_all_that_it_acknowledged(server: Server) -> None:
    journal = open_journal(server.url(), "crash")
    for number in range(50):
        journal.append("FILL", {"n": number})
    server.stop()
    with pytest.raises(StorageError):
        journal.append("FILL", {})
    with pytest.raises(StorageError, match="takes no more records"):
        journal.append("FILL", {})
    journal.close()
    with pytest.raises(StorageError, match="no connection"):
        open_journal(server.url(), "crash")
    server.start()
    with open_journal(server.url(), "crash") as journal:
        assert [body["n"] for body in bodies(journal)] == list(range(50))
        assert journal.append("FILL", {}) == 51


def test_a_full_disk_is_one_error_and_leaves_nothing_half_written(path: Path) -> None:
    # A limit on the size of files is the nearest to a full disk that a test may make.
    script = """
    import resource, sys
    from pathlib import Path
    from pipeline.errors import StorageError
    from pipeline.live.journal import SqliteJournal
    journal = SqliteJournal(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        while True:
            journal.append_all([("FILL", {"pad": "x" * 500})] * 3)
    except StorageError as error:
        print(journal.number, error)
    try:
        journal.append("FILL", {})
    except StorageError as error:
        print(error)
    assert journal.verify() == journal.number
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, check=True
    )
    first, second = [line for line in run.stdout.splitlines() if not line.startswith(" ")]
    number = int(first.split()[0])
    assert number > 5 and number % 3 == 0 and "journal.sqlite: " in first and "takes no more records" in second
    with SqliteJournal(path) as journal:
        assert journal.number == number
        assert journal.append("FILL", {}) == number + 1


def test_each_append_is_synced_before_it_returns(path: Path) -> None:
    with SqliteJournal(path) as journal:
        assert journal._one("PRAGMA synchronous") == 2 and journal._one("PRAGMA journal_mode") == "wal"


def test_a_lock_held_by_another_program_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_journal, "BUSY_S", 0.05)
    with SqliteJournal(path) as journal:
        journal.append("FILL", {})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            journal.append("FILL", {})
        other.close()
        with pytest.raises(StorageError, match="takes no more records"):
            journal.append("FILL", {})
    with SqliteJournal(path) as journal:
        assert journal.append("FILL", {}) == 2


@pytest.mark.parametrize(
    "move",
    [
        lambda path: path.unlink(),
        lambda path: path.with_name("journal.sqlite-wal").unlink(),
        lambda path: path.rename(path.with_name("elsewhere")),
        lambda path: shutil.copy(shutil.move(path, path.with_name("elsewhere")), path),
    ],
    ids=["deleted", "log deleted", "moved", "replaced"],
)
def test_a_file_that_is_taken_away_takes_no_more_records(path: Path, move: Callable[[Path], object]) -> None:
    with SqliteJournal(path) as journal:
        journal.append("FILL", {})
        move(path)
        with pytest.raises(StorageError):
            journal.append("FILL", {})


def test_threads_append_one_after_another(store: tuple[str, str]) -> None:
    with open_journal(*store) as journal:
        numbers: list[int] = []
        threads = [
            threading.Thread(target=lambda: numbers.extend(journal.append("FILL", {}) for _ in range(50)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(numbers) == list(range(1, 201)) and journal.verify() == 200


def test_a_closed_journal_takes_no_records(store: tuple[str, str]) -> None:
    journal = open_journal(*store)
    journal.close()
    journal.close()
    with pytest.raises(StorageError, match="it is closed"):
        journal.append("FILL", {})


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 5000, b"SQLite format 3\0" + b"\0" * 4080])
def test_a_foreign_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(BadInput, match="is not a journal"):
        SqliteJournal(path)
    assert path.read_bytes() == content


def test_a_foreign_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE records (number INTEGER PRIMARY KEY)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(BadInput, match="is not a journal"):
        SqliteJournal(path)
    assert path.read_bytes() == content


def test_a_folder_or_no_permission_is_one_error(path: Path, tmp_path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(BadInput):
        SqliteJournal(path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        SqliteJournal(tmp_path / "file" / "journal.sqlite")


def test_no_server_is_one_error_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(StorageError, match="no connection") as error:
            open_journal(f"postgresql://me:s3cret@127.0.0.1:{taken.getsockname()[1]}/x")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_an_export_holds_what_the_journal_does(store: tuple[str, str], tmp_path: Path, form: str) -> None:
    awkward = {"id": "b-2", "text": 'line\r\n"two", 币安 \ud800', "client_order_id": "c"}
    with open_journal(*store) as journal:
        for kind, body in (("INTENT", INTENT), ("FILL", FILL), ("NOTE", awkward), ("NOTE", {"at": 1})):
            journal.append(kind, body)
        assert journal_export.write(tmp_path / f"x.{form}", journal.rows()) == 4
        rows, read = list(journal.rows()), bodies(journal)
    if form == "parquet":
        table = pq.read_table(tmp_path / "x.parquet")
        assert table.schema == journal_export.SCHEMA
        records = [
            record | {"time": record["time"] and record["time"].isoformat(timespec="milliseconds")}
            for record in table.to_pylist()
        ]
    else:
        with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
            records = [{k: v or None for k, v in record.items()} for record in csv.DictReader(file)]
    assert [decode(record["body"]) for record in records] == read
    assert [(int(r["number"]), r["kind"], r["body"], r["hash"]) for r in records] == [
        (row.number, row.kind, row.body, row.hash) for row in rows
    ]
    assert [record["symbol"] for record in records] == ["BTCUSDT", "BTCUSDT", None, None]
    assert [record["client_order_id"] for record in records] == ["a-1", "a-1", "c", None]
    times = [None, "2023-11-14T22:13:20.123+00:00", None, "1970-01-01T00:00:00.001+00:00"]
    assert [record["time"] for record in records] == times


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_journal_comes_back_from_an_export_with_the_same_hashes(path: Path, tmp_path: Path, form: str) -> None:
    export = tmp_path / f"x.{form}"
    with SqliteJournal(path) as journal:
        for number in range(5):
            journal.append("FILL", FILL | {"n": number})
        journal_export.write(export, journal.rows())
        rows = list(journal.rows())
    with pytest.raises(BadInput, match="there is a journal already"):
        journal_export.restore(export, path)
    again = tmp_path / "again" / "journal.sqlite"
    assert journal_export.restore(export, again) == 5
    with SqliteJournal(again) as journal:
        assert list(journal.rows()) == rows and journal.append("FILL", {}) == 6


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('""n"":3', '""n"":4', "record 4"),
        ("FILL", "SENT", "record 1"),
        ("\n2,", "\n7,", "record 2"),
        ("number", "count", "not an export"),
    ],
)
def test_a_changed_export_is_refused(path: Path, tmp_path: Path, old: str, new: str, says: str) -> None:
    export = tmp_path / "x.csv"
    with SqliteJournal(path) as journal:
        for number in range(5):
            journal.append("FILL", {"n": number})
        journal_export.write(export, journal.rows())
    assert old in export.read_text()
    export.write_text(export.read_text().replace(old, new))
    with pytest.raises(BadInput, match=says):
        journal_export.restore(export, tmp_path / "again.sqlite")
    assert not (tmp_path / "again.sqlite").exists()


def test_the_command_shows_verifies_exports_and_restores(
    store: tuple[str, str], workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The command takes a journal's name from its config.
    where = ("--store", store[0])
    with open_journal(store[0], "default") as journal:
        journal.append("INTENT", INTENT)
        journal.append("FILL", FILL)
    assert pipeline("journal", *where, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "symbol=BTCUSDT" in shown and "trade_id=7" in shown and "2 records" in shown
    assert pipeline("journal", "verify", *where, "--json", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == '{"records": 2, "whole": true}\n'
    assert pipeline("journal", "export", *where, "--file", "x.csv", monkeypatch=monkeypatch) == 0
    assert pipeline("journal", "restore", "--file", "x.csv", monkeypatch=monkeypatch) == 0
    assert pipeline("journal", "export", monkeypatch=monkeypatch) == 0
    assert pq.read_table("data/default/serve/journal.parquet").num_rows == 2


def test_a_damaged_journal_is_exit_1_to_verify_and_2_to_open(
    path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with SqliteJournal(path) as journal:
        for number in range(5):
            journal.append("FILL", {"n": number, "text": "needle" if number == 3 else ""})
    path.write_bytes(path.read_bytes().replace(b"needle", b"noodle"))
    where = ("--store", str(path))
    assert pipeline("journal", "verify", *where, monkeypatch=monkeypatch) == 1
    assert "record 4 does not have its checksum" in capsys.readouterr().err
    assert pipeline("journal", "show", *where, monkeypatch=monkeypatch) == 2
    assert pipeline("journal", "export", *where, "--file", "x.parquet", monkeypatch=monkeypatch) == 1
    assert not Path("x.parquet").exists()
    assert pipeline("journal", "export", *where, "--file", "x.parquet", "--salvage", monkeypatch=monkeypatch) == 0
    assert "record 4" in capsys.readouterr().err
    assert pq.read_table("x.parquet")["number"].to_pylist() == [1, 2, 3]
    with pytest.raises(PipelineError):
        SqliteJournal(path)


def test_there_is_no_journal_yet(workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert pipeline("journal", monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert "data/default/serve/journal.sqlite: there is no journal" in said
    assert "pipeline serve" in said
    assert "rehearsal" not in said
    rehearsed = Path("data/default/serve/rehearsal/journal.sqlite")
    rehearsed.parent.mkdir(parents=True)
    rehearsed.touch()
    assert pipeline("journal", monkeypatch=monkeypatch) == 2
    assert "--store data/default/serve/rehearsal/journal.sqlite" in capsys.readouterr().err


def test_an_export_that_is_not_there_cannot_be_restored(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert pipeline("journal", "restore", "--file", "nope.parquet", monkeypatch=monkeypatch) == 2
    assert "nope.parquet: there is no such file" in capsys.readouterr().err
