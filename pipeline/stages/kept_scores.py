"""Scores that an interrupted walk-forward or cross-validation had made already: kept by what they follow from."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import Layout, read_table, sha256_file, sha256_json, write_table
from pipeline.config import Config

Floats = npt.NDArray[np.float64]


def content_key(config: Config, layout: Layout, sections: Iterable[str], names: list[str], labels: list[str]) -> str:
    """Hash of everything that a fold's scores depend on; with another one nothing kept is used.

    sections: of the config. names: features. labels: that are learned.
    """
    from pipeline.models import bundle

    digest = hashlib.sha256()
    resolved = config.model_dump(mode="json")
    section = {key: resolved[key] for key in ("symbols", "interval", "seed", "train", *sections)}
    digest.update(sha256_json([section, names, labels, bundle.versions(), bundle.code_hash()]).encode())
    for symbol in config.symbols:
        for path in (layout.features(symbol), layout.labels(symbol), layout.merged(symbol)):
            digest.update(sha256_file(path).encode())
    return digest.hexdigest()[:32]


def folder_of(root: Path, key: str) -> Path:
    """The folder below `root` for scores with a key; those of other keys are of no use any more and go."""
    for other in root.glob("*"):
        if other.name != key:
            shutil.rmtree(other, ignore_errors=True)
    return root / key


def keep(folder: Path, number: int, name: str, values: Mapping[str, Floats]) -> None:
    """Write the columns of one fold's scores of one model."""
    write_table(folder / f"{number:04d}-{name}.parquet", pa.table(dict(values)))


def read_kept(folder: Path, number: int, name: str, rows: int) -> dict[str, Floats] | None:
    """What `keep` wrote; None if there is none of so many rows."""
    path = folder / f"{number:04d}-{name}.parquet"
    if not path.is_file():
        return None
    table = read_table(path, "predict-rolling") if rows else None
    if table is None or table.num_rows != rows:
        return None
    return {kind: table.column(kind).to_numpy() for kind in table.column_names}
