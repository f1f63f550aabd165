"""The bar table: its columns, their types, and the checks that every stage may rely on.

A bar table is a pyarrow Table with `open_time` (timestamp[ms, UTC], ascending, unique) and float64
columns. `open_time` is a bar's start; its values are known at `open_time + interval`.
"""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import TIME
from pipeline.errors import BadInput

PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
SCHEMA = pa.schema([("open_time", TIME), *((name, pa.float64()) for name in COLUMNS)])


def times_ms(table: pa.Table) -> np.ndarray:
    """`open_time` as int64 milliseconds [n]; no copy if the table is one chunk."""
    return pc.cast(_whole(table.column("open_time").cast(TIME)), pa.int64()).to_numpy(zero_copy_only=False)


def time_array(times: np.ndarray) -> pa.Array:
    """int64 milliseconds [n] as an `open_time` column."""
    return pa.array(times, pa.int64()).cast(TIME)


def grid_times_ms(table: pa.Table, step_ms: int) -> np.ndarray:
    """`times_ms` of a table that has to be a complete grid of bars `step_ms` long.

    Raises BadInput: it has no rows, or two of them lie further apart or closer together.
    """
    times = times_ms(table)
    if not len(times):
        raise BadInput("the bars have no rows", "run `pipeline merge` again")
    steps = np.diff(times)
    if (wrong := steps != step_ms).any():
        row = int(wrong.argmax())
        raise BadInput(
            f"the bar of {iso(int(times[row]))} is followed by that of {iso(int(times[row + 1]))},"
            f" {steps[row] / 1000:g} s later; bars of this interval are {step_ms / 1000:g} s apart",
            "run `pipeline merge` again if the interval has changed",
        )
    return times


def column(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column as float64 [n]; nulls become NaN. No copy, and so read-only, if it is one chunk of float64."""
    return pc.cast(_whole(table.column(name)), pa.float64()).to_numpy(zero_copy_only=False)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    # combine_chunks copies even one chunk.
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def iso(time_ms: int) -> str:
    """A time as ISO 8601 in UTC: `2024-01-31T12:05Z`, with seconds and milliseconds only where there are any."""
    moment = dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M") + (moment.strftime(":%S") if time_ms % 60_000 else "")
    return text + (f".{time_ms % 1000:03d}" if time_ms % 1000 else "") + "Z"
