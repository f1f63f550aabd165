"""What the records of a journal are made of: exact JSON, and a chain of hashes that shows every change. Pure."""

import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from pipeline.errors import BadInput

# The hash "before" the first record.
START = "0" * 64
# As much as a store can keep of a kind without quoting, and people can read in a table.
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")


class JournalDamaged(BadInput):
    """A journal that is not what was written. Nothing is traded on it."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"{where}: {what}",
            "look with `pipeline journal verify`; keep the files, move them away, and bring the records back from an "
            "export with `pipeline journal restore` (docs/journal.md)",
        )


class Row(NamedTuple):
    """A record as it is stored.

    number: from 1 on. body: canonical JSON. length, crc32: of the record's bytes, `number kind body` in lines. hash:
    hexadecimal SHA-256 of the hash before and these bytes.
    """

    number: int
    kind: str
    body: str
    length: int
    crc32: int
    hash: str


def encode(kind: str, body: Mapping[str, Any]) -> str:
    """Canonical JSON of a body: sorted keys, ASCII, floats as the shortest text that reads back to the same bits.

    Decimals become strings, tuples lists. Raises BadInput: the kind is no name, or the body holds what would not come
    back (names the field).
    """
    if not _KIND.fullmatch(kind):
        raise BadInput(f"journal: {kind[:60]!r} is not a kind of record", "a letter, then letters, digits, _ . or -")
    try:
        return json.dumps(_plain(body, kind), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"journal: {kind}: cannot be written down: {error}") from None


def decode(text: str) -> dict[str, Any]:
    """A body from its JSON. Raises ValueError: it is not the JSON of an object."""
    body = json.loads(text)
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return body


def seal(number: int, kind: str, body: str, before: str) -> Row:
    """The row of a record after the one whose hash is `before`."""
    record = f"{number}\n{kind}\n{body}".encode("utf-8", "surrogatepass")
    return Row(
        number, kind, body, len(record), zlib.crc32(record), hashlib.sha256(before.encode() + record).hexdigest()
    )


def seal_all(number: int, before: str, records: Iterable[tuple[str, str]]) -> list[Row]:
    """The rows of records, kind and JSON, after the record of a number and hash."""
    rows: list[Row] = []
    for kind, body in records:
        number += 1
        rows.append(seal(number, kind, body, rows[-1].hash if rows else before))
    return rows


class Chain:
    """Follows rows in order, from a given record on, and stops at the first that is not what was written.

    where: names the journal in errors. number, hash: of the last record that was followed.
    """

    def __init__(self, where: str, number: int = 0, last_hash: str = START) -> None:
        self.where = where
        self.number = number
        self.hash = last_hash

    def follow(self, fields: Sequence[Any]) -> Row:
        """The next row, checked. Raises JournalDamaged: it is not the next one, or was changed (names it)."""
        row, number = Row(*fields), self.number + 1
        if [type(field) for field in row] != [int, str, str, int, int, str]:
            raise self._damaged(number, "has a field of another type")
        if row.number != number:
            raise self._damaged(number, f"is missing, {row.number} is there instead")
        sealed = seal(number, row.kind, row.body, self.hash)
        if row.length != sealed.length:
            raise self._damaged(number, f"is {sealed.length} bytes long, not {row.length}")
        if row.crc32 != sealed.crc32:
            raise self._damaged(number, "does not have its checksum")
        if row.hash != sealed.hash:
            raise self._damaged(number, "does not follow from the one before")
        self.number, self.hash = number, row.hash
        return row

    def body(self, row: Row) -> dict[str, Any]:
        """The body of a row. Raises JournalDamaged: it is no JSON object."""
        try:
            return decode(row.body)
        except ValueError:
            raise self._damaged(row.number, "is not a JSON object") from None

    def _damaged(self, number: int, what: str) -> JournalDamaged:
        return JournalDamaged(self.where, f"record {number} {what}")


def _plain(value: Any, where: str) -> Any:
    # The value with nothing in it that JSON would change on the way.
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise BadInput(f"journal: {where} is {value}", "a record holds finite numbers only")
        return value if isinstance(value, float) else str(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise BadInput(f"journal: {where}: the key {key!r} is not a text")
        return {key: _plain(one, f"{where}.{key}") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, f"{where}[{position}]") for position, one in enumerate(value)]
    raise BadInput(f"journal: {where}: a {type(value).__name__} cannot be written down")
