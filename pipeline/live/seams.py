"""The seams of live code: what it may know of the disk; of time and the exchange, `pipeline.exchange.port` says it.

Behind each stands the real thing or a deterministic simulation. Nothing else in this package may read a clock, sleep,
draw a random number, open a socket or a file, or start a thread; `tests/live/test_seams.py` looks. These modules are
what stands behind the seams in earnest:

- `system`: the clock, and sleeping
- `journal`, `journal_postgres`, `journal_export`: records on disk, and in a database
- `ledgers`: tables on disk
- `logs`: the file of the log
- `alerts`: threads that send messages
- `control`: the socket of commands, its file and its token
- `kill_switch`: a look at the disk
- `compiled_functions`: the library of machine code, before trading begins; the process that makes one
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

Record = Mapping[str, Any]


class Journal(Protocol):
    """Append-only records on disk. They are there for good when `append` or `append_all` returns."""

    def append(self, kind: str, body: Record) -> int:
        """Write a record and sync it; returns its number, from 1 on. Raises StorageError: it may not be there."""

    def append_all(self, records: Sequence[tuple[str, Record]]) -> int:
        """Write records as one, all of them or none, and sync them once; returns the number of the last. Raises as
        `append`."""

    def read(self, after: int = 0) -> Iterable[tuple[int, str, Record]]:
        """Number, kind and body of the records after a number, in order. Raises BadInput: the journal is damaged."""
