"""Tables compared bit by bit: NaN equals NaN, and nothing else equals anything but itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.leaks.findings import Check, Finding, Kind
from pipeline.market import candles

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Question:
    """What is compared, for the finding that comes of it."""

    check: Check
    kind: Kind
    symbol: str


def compare(question: Question, kept: pa.Table, again: pa.Table, columns: Sequence[str]) -> list[Finding]:
    """Each column of `again` against the rows of the same times in `kept`, to the last bit.

    kept: what the stages wrote, with open_time [n]. again: the same, made without the future [m]; all its times are
    compared, so it has to end where the future begins. A row or a column that only `again` has counts as differing.
    """
    times = candles.times_ms(again)
    rows = np.searchsorted(candles.times_ms(kept), times)
    inside = rows < kept.num_rows
    inside[inside] = candles.times_ms(kept)[rows[inside]] == times[inside]
    place = np.where(inside, rows, 0)
    findings = []
    for name in columns:
        if name not in kept.schema.names or name not in again.schema.names:
            where = "the file" if name not in kept.schema.names else "what the config makes"
            findings.append(Finding(question.check, question.kind, name, (question.symbol,), len(times), len(times), 0,
                                    f"is not in {where}"))  # fmt: skip
            continue
        changed = bits_changed(again.column(name), pc.take(kept.column(name), pa.array(place)))
        changed[~inside] = np.maximum(changed[~inside], 1)
        findings.append(finding(question, name, times, changed))
    return findings


def finding(question: Question, column: str, times: npt.NDArray[np.int64], changed: npt.NDArray[np.int64]) -> Finding:
    """The finding of bits that changed [n] at times in ms [n]."""
    differing = np.flatnonzero(changed)
    note = f"{question.symbol}: first at {candles.iso(int(times[differing[0]]))}" if len(differing) else ""
    return Finding(
        question.check,
        question.kind,
        column,
        (question.symbol,),
        len(times),
        len(differing),
        int(changed.sum()),
        note,
    )


def bits_changed(left: pa.ChunkedArray, right: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Bits in which two columns differ, by row [n]; a value against null or another type counts as one bit at least."""
    if left.type != right.type:
        return np.ones(len(left), np.int64)
    a, b = _pattern(left), _pattern(right)
    changed = np.bitwise_count(a ^ b).astype(np.int64)
    known_a, known_b = _known(left), _known(right)
    changed[~known_a & ~known_b] = 0
    apart = known_a != known_b
    changed[apart] = np.maximum(changed[apart], 1)
    return changed


def _known(column: pa.ChunkedArray) -> Mask:
    return np.asarray(pc.is_valid(column).to_numpy(), bool)


def _pattern(column: pa.ChunkedArray) -> npt.NDArray[np.unsignedinteger]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        # Equal codes for equal words, in both columns alike.
        words = [None if word is None else hash_word(word) for word in column.to_pylist()]
        column = pa.chunked_array([pa.array(words, pa.uint64())])
    values = pc.fill_null(column, 0).to_numpy()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
    return np.ascontiguousarray(values).view(_UNSIGNED[values.dtype.itemsize])


def hash_word(word: str) -> int:
    """64 bits of a text's SHA-256."""
    import hashlib

    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
