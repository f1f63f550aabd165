"""Files are written whole or not at all, whatever happens meanwhile; and read with errors that help."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from builders import bars

from pipeline import artifacts
from pipeline.artifacts import atomic_file, exclusive, read_json, read_table, replace_folder, write_json, write_table
from pipeline.errors import BadInput, MissingInput, StorageError

TABLE = bars(np.arange(1.0, 200.0))


def test_table_comes_back_as_it_was(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", TABLE)
    assert read_table(tmp_path / "a.parquet", "merge").equals(TABLE)


def test_equal_tables_give_equal_bytes_however_they_are_chunked(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", TABLE)
    write_table(tmp_path / "b.parquet", pa.concat_tables([TABLE.slice(0, 50), TABLE.slice(50)]).combine_chunks())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_error_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path, "w") as file:
        file.write("new")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_full_disk_is_one_message_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, TABLE)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifacts.os, "fsync", full)
    with pytest.raises(StorageError, match="no space left on the disk"):
        write_table(path, TABLE.slice(5))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_device_reports_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts.tempfile, "mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), tmp_path / "t"))
    with pytest.raises(StorageError, match="no space left on the disk"):
        write_table(tmp_path / "a.parquet", TABLE)


def test_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "simulation"
    replace_folder(folder, lambda new: write_json(new / "metrics.json", 1))

    def fail(new: Path) -> None:
        write_json(new / "metrics.json", 2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace_folder(folder, fail)
    assert read_json(folder / "metrics.json", "simulate") == 1 and list(tmp_path.iterdir()) == [folder]
    replace_folder(folder, lambda new: write_json(new / "other.json", 3))
    assert [p.name for p in folder.iterdir()] == ["other.json"]


def _write_for_ever(path: Path, started: Path) -> None:
    with atomic_file(path, "w") as file:
        file.write("half of it")
        file.flush()
        started.touch()
        time.sleep(60)


def test_killed_writer_leaves_the_old_file_and_the_next_one_succeeds(tmp_path: Path) -> None:
    path, started = tmp_path / "data" / "a.txt", tmp_path / "started"
    artifacts.write_text(path, "old")
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path, started))
    process.start()
    while not started.exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert path.read_text() == "old"
    artifacts.write_text(path, "new")
    assert path.read_text() == "new"


def _hold(lock: Path, started: Path) -> None:
    with exclusive(lock, "the first"):
        started.touch()
        time.sleep(60)


def test_lock_is_held_by_one_process_and_dies_with_it(tmp_path: Path) -> None:
    lock, started = tmp_path / "a.lock", tmp_path / "started"
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(lock, started))
    process.start()
    while not started.exists():
        time.sleep(0.01)
    with pytest.raises(BadInput, match="the second is already running"), exclusive(lock, "the second"):
        pass
    process.kill()
    process.join()
    with exclusive(lock, "the second"):
        pass


@pytest.mark.parametrize("keep", [0, 3, 100, -9, -1])
def test_truncated_parquet_names_the_stage_to_run(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, TABLE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match="run `pipeline merge` again"):
        read_table(path, "merge")


def test_missing_column_file_and_rows_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(MissingInput, match="run `pipeline merge` first"):
        read_table(path, "merge")
    write_table(path, TABLE)
    with pytest.raises(BadInput, match="no column 'clos'"):
        read_table(path, "merge", ["clos"])
    write_table(path, TABLE.slice(0, 0))
    with pytest.raises(BadInput, match="has no rows"):
        read_table(path, "merge")


def test_json_has_no_nan_and_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(BadInput, match="damaged"):
        read_json(tmp_path / "a.json", "simulate")
