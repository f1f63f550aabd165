"""The core's state as plain JSON values, and back, to the last bit."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadInput
from pipeline.trading.reasons import REASONS
from pipeline.trading.records import ACCOUNT, POSITION


def save(account: np.ndarray, positions: np.ndarray, refused: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Values that JSON keeps exactly: whole numbers, and floats in hexadecimal (there are infinite ones)."""
    return {
        "account": _plain(account[0]),
        "positions": [_plain(position) for position in positions],
        "refused": {word: int(count) for word, count in zip(REASONS, refused, strict=True)},
    }


def restore(kept: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, npt.NDArray[np.int64]]:
    """What `save` was given. Raises BadInput: a field is missing or unknown, as after an update of the core."""
    positions = np.concatenate([_record(position, POSITION, "positions") for position in kept["positions"]])
    if list(kept["refused"]) != list(REASONS):
        raise BadInput("saved state: it counts other reasons than this version", "flatten, and start without it")
    return _record(kept["account"], ACCOUNT, "account"), positions, np.array(list(kept["refused"].values()), np.int64)


def _plain(record: np.void) -> dict[str, Any]:
    assert record.dtype.names is not None
    return {
        name: float(record[name]).hex() if record.dtype[name].kind == "f" else int(record[name])
        for name in record.dtype.names
    }


def _record(values: dict[str, Any], kind: np.dtype, where: str) -> np.ndarray:
    assert kind.names is not None
    if wrong := set(kind.names) ^ set(values):
        raise BadInput(
            f"saved state: {where} has other fields than this version: {', '.join(sorted(wrong))}",
            "flatten, and start without it",
        )
    record = np.zeros(1, kind)
    for name in kind.names:
        record[name] = float.fromhex(values[name]) if kind[name].kind == "f" else values[name]
    return record
