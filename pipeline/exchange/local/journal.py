"""The exchange's own record of what it was asked and did: lines of JSON with their own hash and that of the one before.

The same data, seed and requests give the same bytes, so it serves as an audit, as a golden file, and to bring an
exchange back to where it was.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import BadInput
from pipeline.exchange.local import wire

_START = "0" * 64
_SEAL = re.compile(r',"sha256":"([0-9a-f]{64})"}$')
Entry = dict[str, Any]


class Journal:
    """Appends entries, in memory and, if a path is given, to a file."""

    def __init__(self, path: Path | None = None, keep: bool = True) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.count = 0
        self.last = _START
        self._keep = keep
        self._file: BinaryIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")

    def add(self, kind: str, time: int, moment: int, **what: Any) -> None:
        """One entry. time: the market's, ms; moment: how far the market had gone."""
        body = {"n": self.count, "kind": kind, "time": time, "moment": moment, **what, "previous": self.last}
        entry = wire.dump_sorted(body)
        self.last = _hash(entry)
        line = b'%b,"sha256":"%b"}' % (entry[:-1], self.last.encode())
        self.count += 1
        if self._keep:
            self.lines.append(line)
        if self._file is not None:
            self._file.write(line + b"\n")
            self._file.flush()

    def text(self) -> str:
        """All of it."""
        return "".join(f"{line.decode()}\n" for line in self.lines)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read(text: str, name: str = "journal") -> Iterator[Entry]:
    """Entries of a journal, each verified by its hash and the one before; a last line that was cut off is left out.

    Raises BadInput: a line was changed, added, or removed from before others.
    """
    last = _START
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
            previous = entry["previous"]
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                return
            raise BadInput(f"{name}, line {number}: is not an entry", "the file was changed; start anew") from None
        if previous != last:
            raise BadInput(f"{name}, line {number}: does not follow from the line before", "the file was changed")
        seal = _SEAL.search(line)
        last = _hash(_SEAL.sub("}", line).encode())
        if seal is None or seal[1] != last:
            raise BadInput(f"{name}, line {number}: does not have the hash that it states", "the file was changed")
        yield entry


def _hash(entry: bytes) -> str:
    return hashlib.sha256(entry).hexdigest()
