"""Bars of a higher interval: built from lower ones, and the last one that had closed at a given bar."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def resample(
    columns: Mapping[str, Floats], times: Ints, base_ms: int, higher_ms: int
) -> tuple[Ints, dict[str, Floats]]:
    """Higher bars of the lower ones that are there, labelled by their open time.

    columns: float64 [n] each; `open` takes the first value, `high` the largest, `low` the smallest, `close`
    the last, everything else the sum. times: ascending int64 ms [n].
    The first and the last bar are made of what is there, even if their range is cut off.
    Returns times [m] and columns [m].
    Raises ValueError: the higher interval is not a multiple of the base.
    """
    if higher_ms % base_ms:
        raise ValueError(f"{higher_ms} ms is not a multiple of {base_ms} ms")
    bars = times // higher_ms
    starts = np.flatnonzero(np.diff(bars, prepend=bars[0] - 1)) if len(bars) else np.zeros(0, np.int64)
    if not len(starts):
        return np.zeros(0, np.int64), {name: np.zeros(0) for name in columns}
    ends = np.append(starts[1:], len(bars)) - 1
    result: dict[str, Floats] = {}
    for name, values in columns.items():
        match name:
            case "open":
                result[name] = values[starts]
            case "high":
                result[name] = np.maximum.reduceat(values, starts)
            case "low":
                result[name] = np.minimum.reduceat(values, starts)
            case "close":
                result[name] = values[ends]
            case _:
                result[name] = np.add.reduceat(values, starts)
    return bars[starts] * higher_ms, result


def last_closed(base_times: Ints, base_ms: int, higher_times: Ints, higher_ms: int) -> Ints:
    """Row of the last higher bar that closed no later than each base bar, int64 [n]; -1 before the first.

    With 5-minute and 1-hour bars, the bar of 12:55 (closing at 13:00) sees the hour of 12:00; the bar of
    12:50 still sees that of 11:00.
    """
    return np.searchsorted(higher_times + higher_ms, base_times + base_ms, side="right").astype(np.int64) - 1


def take(values: Floats, rows: Ints) -> Floats:
    """`values[rows]` as float64, NaN where the row is -1."""
    taken = np.full(len(rows), np.nan)
    known = rows >= 0
    taken[known] = values[rows[known]]
    return taken
