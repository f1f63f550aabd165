"""Files of the artifact contract: where they lie, how they are written whole or not at all, and locked.

Every write goes to a temporary file beside the target, is flushed to disk and renamed over it, so a
killed stage leaves the old file. DVC may hard-link outputs into its cache, which makes this a rule:
writing into an existing file would change the cache as well.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from filelock import FileLock, Timeout

from pipeline.errors import BadInput, MissingInput, StorageError
from pipeline.lean import without

# Files elsewhere than on a disk, with the clients of three clouds.
with without("pyarrow._azurefs", "pyarrow._gcsfs", "pyarrow._hdfs", "pyarrow._s3fs"):
    import pyarrow.parquet as pq

TIME = pa.timestamp("ms", tz="UTC")
# zstd levels: of float32 features, level 1 makes slightly larger files, slower; of bars, a tenth smaller ones.
_LEVEL, _FLOAT32_LEVEL = 1, -1


@dataclass(frozen=True)
class Layout:
    """Paths of one config's artifacts.

    name: the config's name. raw: downloaded bars, shared by all configs.
    data, models: `data/` and `MODELS/`, or their namesakes in a `--workdir`.
    ledger_of: name of the config in whose ledger the trials are counted; "" for this one.
    """

    name: str
    raw: Path = Path("data/raw")
    data: Path = Path("data")
    models: Path = Path("MODELS")
    ledger_of: str = ""

    @classmethod
    def in_workdir(cls, name: str, workdir: Path) -> "Layout":
        """The same artifacts below another folder; downloaded bars stay shared."""
        return cls(name, data=workdir / "data", models=workdir / "MODELS")

    @property
    def ledger(self) -> Path:
        """The trial ledger. It lies beside the bundles, and not among DVC's outputs, which DVC deletes before a run."""
        return self.models / (self.ledger_of or self.name) / "trials.jsonl"

    @property
    def run(self) -> Path:
        return self.data / self.name

    def bars(self, venue: str, market: str, symbol: str, interval: str) -> Path:
        """Folder of the monthly files of downloaded bars."""
        return self.raw / venue / market / symbol / interval

    def merged(self, symbol: str) -> Path:
        return self.run / "merged" / f"{symbol}.parquet"

    @property
    def gaps(self) -> Path:
        return self.run / "merged" / "gaps.json"

    def features(self, symbol: str) -> Path:
        return self.run / "features" / f"{symbol}.parquet"

    def labels(self, symbol: str) -> Path:
        return self.run / "labels" / f"{symbol}.parquet"

    def predictions(self, symbol: str) -> Path:
        return self.run / "predictions" / f"{symbol}.parquet"

    def rolling(self, symbol: str) -> Path:
        return self.run / "rolling" / f"{symbol}.parquet"

    @property
    def folds(self) -> Path:
        return self.run / "rolling" / "folds.json"

    @property
    def cpcv(self) -> Path:
        """Paths of the combinatorial cross-validation: `paths.json`, and scores and signals of each."""
        return self.run / "cpcv"

    def signals(self, symbol: str) -> Path:
        return self.run / "signals" / f"{symbol}.parquet"

    @property
    def simulation(self) -> Path:
        return self.run / "simulation"

    @property
    def output(self) -> Path:
        return self.run / "output"

    @property
    def journal(self) -> Path:
        """The live journal; others of its files lie beside it."""
        return self.run / "serve" / "journal.sqlite"

    @property
    def trained(self) -> Path:
        return self.models / self.name / "trained"

    @property
    def bundles(self) -> Path:
        return self.models / self.name / "bundles"

    @property
    def current(self) -> Path:
        """File that names the promoted bundle."""
        return self.models / self.name / "current"


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """A file object whose content replaces `path` when the block ends without an error.

    Raises StorageError: the disk is full or the folder cannot be written; `path` is as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoding = None if "b" in mode else "utf-8"
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"{path}: no space left on the disk", "the old file, if any, is intact") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Without this a power cut can forget the rename.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, whole or not at all."""
    with atomic_file(path, "w") as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by JSON that diffs well: indented, keys in the order given, no NaN."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path, stage: str) -> Any:
    """A JSON artifact. Raises MissingInput or BadInput that names the stage which writes it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInput(f"{path}: not there yet", f"run `pipeline {stage}` first") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: damaged: {error}", f"run `pipeline {stage}` again") from None


def write_table(path: Path, table: pa.Table, *, row_group: int = 1 << 18) -> None:
    """Replace `path` by a Parquet file of `table`; equal tables give equal bytes.

    Floats are stored byte-stream-split, which halves them at no cost.
    """
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    others = [f.name for f in table.schema if not pa.types.is_floating(f.type) and not pa.types.is_boolean(f.type)]
    delta = [
        n
        for n in others
        if pa.types.is_timestamp(table.schema.field(n).type) or pa.types.is_integer(table.schema.field(n).type)
    ]
    encodings = dict.fromkeys(floats, "BYTE_STREAM_SPLIT") | dict.fromkeys(delta, "DELTA_BINARY_PACKED")
    with atomic_file(path) as file:
        pq.write_table(
            table.replace_schema_metadata(None),
            file,
            compression="zstd",
            compression_level={f.name: _FLOAT32_LEVEL if f.type == pa.float32() else _LEVEL for f in table.schema},
            use_dictionary=[n for n in others if n not in delta],
            column_encoding=encodings,
            write_statistics=[n for n in delta if n == "open_time"],
            row_group_size=row_group,
            store_schema=False,
        )


def read_table(path: Path, stage: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a Parquet artifact, in the order asked for.

    stage: the command that writes the file, named in errors.
    Raises MissingInput: no such file. BadInput: truncated or not Parquet, a column is missing, no rows.
    """
    schema = read_schema(path, stage)
    if columns is not None:
        missing = [name for name in columns if name not in schema.names]
        if missing:
            raise BadInput(
                f"{path}: no column '{missing[0]}'",
                f"it has: {', '.join(schema.names[:12])} …; run `pipeline {stage}` again if the config changed",
            )
    try:
        # Not pq.read_table, which imports pandas and the dataset machinery: a second per process.
        with pq.ParquetFile(path, memory_map=True) as file:
            table = file.read(columns=list(columns) if columns is not None else None)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path}: damaged Parquet: {_first_line(error)}", f"run `pipeline {stage}` again") from None
    if table.num_rows == 0:
        raise BadInput(f"{path}: has no rows", f"run `pipeline {stage}` again and look at its summary")
    return table.select(list(columns)) if columns is not None else table


def read_rows(path: Path, stage: str, rows: slice, columns: Sequence[str]) -> pa.Table:
    """Some rows of a Parquet artifact, of which no more is read than the row groups that hold them.

    rows: start and stop. Errors as `read_table`, but for no rows.
    """
    schema = read_schema(path, stage)
    if missing := [name for name in columns if name not in schema.names]:
        raise BadInput(f"{path}: no column '{missing[0]}'", f"run `pipeline {stage}` again if the config changed")
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            sizes = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
            ends = list(accumulate(sizes))
            wanted = [k for k, end in enumerate(ends) if end > rows.start and end - sizes[k] < rows.stop]
            before = ends[wanted[0]] - sizes[wanted[0]] if wanted else rows.start
            # A thread of a pool would keep what it has read for a while longer.
            table = file.read_row_groups(wanted, columns=list(columns), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path}: damaged Parquet: {_first_line(error)}", f"run `pipeline {stage}` again") from None
    return table.select(list(columns)).slice(rows.start - before, rows.stop - rows.start)


def read_schema(path: Path, stage: str) -> pa.Schema:
    """Schema of a Parquet artifact, without reading its rows; errors as `read_table`."""
    try:
        return pq.read_schema(path)
    except FileNotFoundError:
        raise MissingInput(f"{path}: not there yet", f"run `pipeline {stage}` first") from None
    except (OSError, pa.ArrowException) as error:
        raise BadInput(
            f"{path}: not a whole Parquet file: {_first_line(error)}", f"run `pipeline {stage}` again"
        ) from None


def count_rows(path: Path, stage: str) -> int:
    """Rows of a Parquet artifact, from its footer."""
    read_schema(path, stage)
    return int(pq.read_metadata(path).num_rows)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Replace the folder `path` by what `fill` writes into a new one beside it.

    A crash between the two renames leaves the old folder under a `.old` name and none at `path`;
    readers then report a missing artifact, never a mixed one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    old = path.with_name(f".{path.name}.old")
    try:
        fill(fresh)
        fresh.chmod(0o755)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        fresh.rename(path)
        _sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hexadecimal SHA-256 of a value's canonical JSON: the hash of a config section."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` for the block; the system lets go of it if the process dies.

    Raises BadInput: another process holds it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        raise BadInput(f"{what} is already running (lock {path})", "wait for it, or stop it, and try again") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be locked: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
