"""The trial ledger: every fit and every simulated parameter set, so that luck can be counted.

The best of many tries looks good by chance; how good depends on how many there were. The ledger remembers them:
one JSON line per trial or set of trials, each with the hash of the line before, appended and never rewritten.
Source: Bailey & López de Prado (2014), The Deflated Sharpe Ratio.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.errors import BadInput, StorageError

START = "0" * 64
# What makes a trial another one; when it ran, what came of it and by which code do not.
IDENTITY = ("kind", "config", "data", "seed", "what")


@dataclass(frozen=True)
class Trial:
    """One line.

    kind: fit, fold, simulate or grid. config, data, code: hashes. what: the parameters that were tried. sets: how many
    parameter sets the line stands for. metric, value: the figure that was looked at; of a grid, the best. time: the end
    of the data, ISO 8601.
    """

    kind: str
    config: str
    data: str
    code: str
    seed: int
    what: Mapping[str, Any]
    sets: int
    metric: str
    value: float | None
    time: str

    @property
    def identity(self) -> str:
        """Equal for the same try, whenever it was made."""
        return _canonical({key: getattr(self, key) for key in IDENTITY})


class TrialLedger:
    """The ledger at a path, which need not exist yet; several processes may append at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut = 0  # bytes of a torn last line that were dropped

    def append(self, trials: Iterable[Trial]) -> None:
        """Add lines, on the disk when this returns.

        Raises BadInput: the ledger is damaged. StorageError: it cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.lock"), self._path.open("a+b") as file:
                file.seek(0)
                content = file.read()
                lines, good = self._parse(content)
                if good < len(content):
                    # A process died while it wrote this: the line never counted.
                    self.cut = len(content) - good
                    file.truncate(good)
                last = lines[-1]["hash"] if lines else START
                for trial in trials:
                    line = _sealed(_plain(trial), last)
                    last = line["hash"]
                    file.write(_canonical(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error

    def read(self) -> list[Trial]:
        """All lines, oldest first. Raises BadInput: a line was altered, removed or damaged (names it)."""
        if not self._path.is_file():
            return []
        lines, _ = self._parse(self._path.read_bytes())
        return [Trial(**{key: value for key, value in line.items() if key not in ("before", "hash")}) for line in lines]

    def count(self, *kinds: str) -> int:
        """Distinct parameter sets of these kinds, repeated ones counted once."""
        sets = {trial.identity: trial.sets for trial in self.read() if trial.kind in kinds}
        return sum(sets.values())

    def _parse(self, content: bytes) -> tuple[list[dict[str, Any]], int]:
        # The lines, and how many bytes of the content are whole lines.
        lines: list[dict[str, Any]] = []
        last, good = START, 0
        parts = content.split(b"\n")
        torn = parts.pop()  # empty if the last line is whole
        for number, part in enumerate(parts, 1):
            try:
                line = json.loads(part)
                whole = isinstance(line, dict) and _canonical(line).encode() == part
            except ValueError:
                whole = False
            if not whole or line != _sealed({k: v for k, v in line.items() if k not in ("before", "hash")}, last):
                raise BadInput(
                    f"{self._path}: line {number} is damaged, or one before it was removed",
                    "restore it from a backup; moving it away starts a new ledger and forgets the trials",
                )
            last = line["hash"]
            lines.append(line)
            good += len(part) + 1
        del torn
        return lines, good


def _plain(trial: Trial) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in Trial.__dataclass_fields__}


def _sealed(line: dict[str, Any], before: str) -> dict[str, Any]:
    digest = hashlib.sha256((before + _canonical(line)).encode()).hexdigest()
    return {**line, "before": before, "hash": digest}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
