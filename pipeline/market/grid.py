"""The complete grid: which bars are missing, and flat bars in their place."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import interval_ms
from pipeline.errors import BadInput
from pipeline.market.candles import COLUMNS, PRICES, column, iso, time_array, times_ms


class Gap(TypedDict):
    """Missing bars in a row; times are int64 ms, `end` is the open time of the first bar after them."""

    start: int
    end: int
    bars: int


def gaps(times: npt.NDArray[np.int64], step_ms: int) -> list[Gap]:
    """The gaps between ascending, unique open times on the grid."""
    steps = np.diff(times)
    return [
        Gap(start=int(times[i]) + step_ms, end=int(times[i + 1]), bars=int(steps[i]) // step_ms - 1)
        for i in np.flatnonzero(steps != step_ms)
    ]


def fill(table: pa.Table, interval: str, start_ms: int, end_ms: int) -> pa.Table:
    """Every bar from `start_ms` up to, not including, `end_ms`; missing ones flat at the close before, volumes 0.

    table: bars of `candles.SCHEMA`, ascending and unique; bars before `start_ms` serve as the close before.
    Returns the bars and `is_filled`. Values of real bars are untouched.
    Raises BadInput: no bar at or before `start_ms`, an empty range, or a bar off the grid.
    """
    step = interval_ms(interval)
    times = times_ms(table)
    if start_ms % step or end_ms % step or end_ms <= start_ms:
        raise BadInput(f"{iso(start_ms)} to {iso(end_ms)} is not a range of {interval} bars")
    if (off := times % step).any():
        raise BadInput(f"open_time {iso(int(times[np.argmax(off)]))} is not on the {interval} grid")
    if not len(times) or times[0] > start_ms:
        first = iso(int(times[0])) if len(times) else "none"
        raise BadInput(f"no bar at or before {iso(start_ms)} to fill from; the first is {first}")
    grid = np.arange(start_ms, end_ms, step, dtype=np.int64)
    rows = np.searchsorted(times, grid, side="right") - 1
    filled = times[rows] != grid
    if not filled.any():
        whole = table.select(["open_time", *COLUMNS]).slice(int(rows[0]), len(grid))
        return whole.append_column("is_filled", pa.array(filled))
    values = {}
    close = column(table, "close")[rows]
    for name in COLUMNS:
        values[name] = column(table, name)[rows]
        values[name][filled] = close[filled] if name in PRICES else 0.0
    return pa.table({"open_time": time_array(grid), **values, "is_filled": filled})
