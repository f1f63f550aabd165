"""Whatever happens to the bytes of a small journal, it is noticed, or it did not matter."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.live.journal import SqliteJournal, SqliteReader, create
from pipeline.live.journal_chain import JournalDamaged

BODIES = [{"id": f"o{number}", "qty": f"0.{number}", "time": 1_700_000_000_000 + number} for number in range(1, 4)]
SUFFIXES = ("", "-wal", ".head")


@dataclass
class Small:
    """A journal of three records as it lies on the disk, and a folder to damage copies of it in.

    files: content by suffix. before: content when the last append had not begun. path: of the copy.
    state: how it was left.
    """

    files: dict[str, bytes]
    before: dict[str, bytes]
    path: Path
    state: str

    def lay(self, files: dict[str, bytes]) -> None:
        for old in self.path.parent.iterdir():
            old.unlink()
        for suffix, content in files.items():
            file(self.path, suffix).write_bytes(content)

    def look(self) -> list[dict[str, object]]:
        """All bodies, after every check. Raises BadInput: refused."""
        with SqliteReader(self.path) as reader:
            reader.verify()
            return [body for _, _, body in reader.read()]

    def go_on(self, files: dict[str, bytes]) -> list[dict[str, object]]:
        """All bodies after the journal was opened on these files, added to, and closed; without the new one."""
        self.lay(files)
        with SqliteJournal(self.path) as journal:
            journal.append("FILL", {"id": "new"})
        *bodies, new = self.look()
        assert new == {"id": "new"}
        return bodies


def file(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def contents(path: Path) -> dict[str, bytes]:
    # SQLite makes an empty log to read a closed journal.
    files = {suffix: file(path, suffix).read_bytes() for suffix in SUFFIXES if file(path, suffix).exists()}
    return {suffix: content for suffix, content in files.items() if content or suffix != "-wal"}


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: hundred thousands of small files are opened here."""
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(params=["killed", "closed", "mixed"])
def small(request: pytest.FixtureRequest, memory: Path) -> Small:
    """Of a process that was killed, of one that closed it, and killed after it had been closed once."""
    path = memory / "made" / "journal.sqlite"
    path.parent.mkdir()
    create(path, page_size=512)
    journal = SqliteJournal(path)
    for body in BODIES[:1]:
        journal.append("FILL", body)
    if request.param == "mixed":
        journal.close()
        journal = SqliteJournal(path)
    journal.append("FILL", BODIES[1])
    before = contents(path)
    journal.append("FILL", BODIES[2])
    files = contents(path)
    journal.close()
    if request.param == "closed":
        files = contents(path)
    (memory / "damaged").mkdir()
    return Small(files, before, memory / "damaged" / "journal.sqlite", request.param)


@pytest.mark.slow
def test_every_bit_flip_is_refused_or_changes_nothing(small: Small) -> None:
    assert small.go_on(small.files) == BODIES
    refused, harmless = 0, []
    for suffix, content in small.files.items():
        small.lay(small.files)
        with file(small.path, suffix).open("r+b", buffering=0) as damaged:
            for position, byte in enumerate(content):
                # Nothing of the others is new but how the pages are spread over the files.
                for bit in range(8) if small.state == "killed" else [position % 8]:
                    damaged.seek(position)
                    damaged.write(bytes([byte ^ 1 << bit]))
                    try:
                        assert small.look() == BODIES, (suffix, position, bit)
                        harmless.append((suffix, position, bit))
                    except BadInput:
                        refused += 1
                damaged.seek(position)
                damaged.write(bytes([byte]))
        assert contents(small.path) == small.files, "looking at a journal changed it"
    assert refused > 1000
    # Nor does it matter later: all of the header, and of every other byte elsewhere one bit.
    for suffix, position, bit in harmless:
        if (suffix == "" and position < 100) or position % 16 == 2 * bit:
            content = bytearray(small.files[suffix])
            content[position] ^= 1 << bit
            try:
                assert small.go_on(small.files | {suffix: bytes(content)}) == BODIES, (suffix, position, bit)
            except BadInput:
                pytest.fail(f"{suffix or 'database'}: bit {bit} of byte {position} was noticed only later")


def test_every_truncation_is_refused_or_changes_nothing(small: Small) -> None:
    refused = 0
    for suffix, content in small.files.items():
        for length in range(len(content)):
            damaged = small.files | {suffix: content[:length]}
            small.lay(damaged)
            try:
                assert small.look() == BODIES, (suffix, length)
            except BadInput:
                refused += 1
                left = {key: part for key, part in damaged.items() if part or key != "-wal"}
                assert contents(small.path) == left, "a refused journal was changed"
                continue
            assert small.go_on(damaged) == BODIES
    assert refused > 1000


def test_every_torn_last_append_is_cut(small: Small) -> None:
    # The log grows by an append; a crash may leave any part of that, and the head as it was before.
    old, new = small.before.get("-wal", b""), small.files.get("-wal", b"")
    if not new:
        pytest.skip("a closed journal has no log")
    assert new.startswith(old)
    seen = set()
    for length in range(len(old), len(new) + 1):
        found = small.go_on(small.before | {"-wal": new[:length]})
        assert found in (BODIES[:2], BODIES)
        seen.add(len(found))
    assert seen == {2, 3}


def test_records_appended_together_are_torn_together(memory: Path) -> None:
    path = memory / "made" / "journal.sqlite"
    path.parent.mkdir()
    create(path, page_size=512)
    journal = SqliteJournal(path)
    journal.append("FILL", BODIES[0])
    before = contents(path)
    # So long that they need several pages.
    pair = [BODIES[1] | {"pad": "x" * 900}, BODIES[2] | {"pad": "y" * 900}]
    journal.append_all([("FILL", body) for body in pair])
    after = contents(path)
    journal.close()
    (memory / "damaged").mkdir()
    small = Small(after, before, memory / "damaged" / "journal.sqlite", "killed")
    seen = set()
    for length in range(len(before["-wal"]), len(after["-wal"]) + 1, 8):
        found = small.go_on(before | {"-wal": after["-wal"][:length]})
        assert found in (BODIES[:1], [BODIES[0], *pair])
        seen.add(len(found))
    assert seen == {1, 3}


@pytest.mark.parametrize("missing", SUFFIXES)
def test_a_missing_file_is_refused(small: Small, missing: str) -> None:
    if missing not in small.files:
        pytest.skip("a closed journal has no log")
    small.lay({suffix: content for suffix, content in small.files.items() if suffix != missing})
    with pytest.raises(JournalDamaged, match=r"missing|ends with record"):
        SqliteJournal(small.path)
    assert contents(small.path).keys() == small.files.keys() - {missing}


def test_an_older_copy_is_refused(small: Small) -> None:
    small.lay(small.before | {".head": small.files[".head"]})
    with pytest.raises(JournalDamaged, match="ends with record 2; there were 3 at least"):
        SqliteJournal(small.path)


def test_a_journal_that_was_written_anew_is_refused(small: Small) -> None:
    # Its chain is whole: only the head knows better.
    small.lay({})
    create(small.path, [("FILL", '{"qty":"9"}')] * 3)
    small.lay(contents(small.path) | {".head": small.files[".head"]})
    with pytest.raises(JournalDamaged, match="record 3 is another one"):
        SqliteJournal(small.path)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("UPDATE records SET body = '{}' WHERE number = 2", "record 2"),
        ("UPDATE records SET kind = 'SENT' WHERE number = 3", "record 3"),
        ("UPDATE records SET crc32 = crc32 + 1 WHERE number = 1", "record 1"),
        ("UPDATE records SET length = 7 WHERE number = 1", "record 1"),
        ("UPDATE records SET body = CAST(body AS BLOB) WHERE number = 3", "record 3"),
        ("DELETE FROM records WHERE number = 2", "record 2 is missing"),
        ("DELETE FROM records WHERE number = 3", "ends with record 2"),
        ("DELETE FROM records", "ends with record 0"),
        ("CREATE TABLE other (x)", "table or its triggers"),
    ],
)
def test_what_another_program_changes_is_named(small: Small, sql: str, says: str) -> None:
    small.lay(small.files)
    with sqlite3.connect(small.path) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(sql)
        for _, trigger in triggers:
            connection.execute(trigger)
    connection.close()
    with pytest.raises(JournalDamaged, match=says):
        SqliteJournal(small.path)


def test_a_dropped_trigger_is_noticed(small: Small) -> None:
    small.lay(small.files)
    with sqlite3.connect(small.path) as connection:
        connection.execute("DROP TRIGGER no_update")
    connection.close()
    with pytest.raises(JournalDamaged, match="triggers"):
        SqliteJournal(small.path)


def test_the_copy_that_is_damaged_is_a_journal(small: Small, tmp_path: Path) -> None:
    # Or all tests above could pass for a wrong reason.
    small.lay(small.files)
    shutil.copytree(small.path.parent, tmp_path / "copy")
    with SqliteReader(tmp_path / "copy" / "journal.sqlite") as reader:
        assert reader.verify() == 3
