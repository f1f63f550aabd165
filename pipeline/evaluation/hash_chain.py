"""Append-only files of JSON lines, each with the hash of the line before: what was written stays, or it shows.

The hashes have no secret: they show a line that was altered, removed or put in, not who rewrote the whole file.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.errors import BadInput, StorageError

START = "0" * 64
_SEAL = ("before", "hash")


class HashChain:
    """The file at a path, which need not exist yet; several processes may append at once.

    advice: what to do about a damaged one.
    """

    def __init__(self, path: Path, advice: str) -> None:
        self.path, self._advice = path, advice
        self.cut = 0  # bytes of a torn last line that were dropped

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add lines, on the disk when this returns.

        Raises BadInput: the file is damaged. StorageError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"), self.path.open("a+b") as file:
                file.seek(0)
                content = file.read()
                known, good = self._parse(content)
                if good < len(content):
                    # A process died while it wrote this: the line never counted.
                    self.cut = len(content) - good
                    file.truncate(good)
                last = known[-1]["hash"] if known else START
                for content_of_line in lines:
                    line = _sealed(content_of_line, last)
                    last = line["hash"]
                    file.write(canonical(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from error

    def read(self) -> list[dict[str, Any]]:
        """All lines without their seals, oldest first. Raises BadInput: one was altered, removed or damaged."""
        if not self.path.is_file():
            return []
        lines, _ = self._parse(self.path.read_bytes())
        return [_content(line) for line in lines]

    def _parse(self, content: bytes) -> tuple[list[dict[str, Any]], int]:
        # The lines, and how many bytes of the content are whole lines.
        lines: list[dict[str, Any]] = []
        last, good = START, 0
        *parts, _ = content.split(b"\n")  # the last part is torn, or empty
        for number, part in enumerate(parts, 1):
            try:
                line = json.loads(part)
                whole = isinstance(line, dict) and canonical(line).encode() == part
            except ValueError:
                whole = False
            if not whole or line != _sealed(_content(line), last):
                raise BadInput(f"{self.path}: line {number} is damaged, or one before it was removed", self._advice)
            last = line["hash"]
            lines.append(line)
            good += len(part) + 1
        return lines, good


def canonical(value: Any) -> str:
    """JSON of which a value has exactly one."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _content(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in _SEAL}


def _sealed(line: Mapping[str, Any], before: str) -> dict[str, Any]:
    digest = hashlib.sha256((before + canonical(line)).encode()).hexdigest()
    return {**line, "before": before, "hash": digest}
