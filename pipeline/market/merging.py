"""One table per symbol: its complete grid, and beside it what else was known when each bar closed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import interval_ms
from pipeline.market import grid
from pipeline.market.candles import COLUMNS, SCHEMA, column, time_array, times_ms
from pipeline.market.timeframes import last_closed, resample, take

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def extra_names(symbols: Sequence[str], timeframes: Sequence[str], funding: bool) -> list[str]:
    """Names of the columns besides the symbol's own, in the order of the table."""
    prefixes = [*symbols, *timeframes]
    return [f"{prefix}_{name}" for prefix in prefixes for name in COLUMNS] + (["funding_rate"] if funding else [])


def aligned(bars: pa.Table, bars_interval: str, times: Ints, interval: str) -> dict[str, Floats]:
    """Columns of other bars as they were known at the close of each of `times`.

    bars: `candles.SCHEMA`, of the same or a higher interval; missing ones count as flat, as in `grid.fill`.
    times: open times on a complete grid of `interval`.
    Returns float64 [n] by column; NaN before the first bar has closed.
    """
    step, higher = interval_ms(interval), interval_ms(bars_interval)
    own = times_ms(bars)
    # The last bar that can have closed by the end of the grid; nothing after it is looked at.
    end = (int(times[-1]) + step) // higher * higher
    if not len(own) or own[0] + higher > end:
        return {name: np.full(len(times), np.nan) for name in COLUMNS}
    complete = grid.fill(bars, bars_interval, int(own[0]), end)
    rows = last_closed(times, step, times_ms(complete), higher)
    return {name: take(column(complete, name), rows) for name in COLUMNS}


def resampled(bars: pa.Table, interval: str, higher: str) -> pa.Table:
    """Higher bars made of `bars`, without the first one if its beginning is cut off."""
    times = times_ms(bars)
    step, higher_step = interval_ms(interval), interval_ms(higher)
    first = int(np.searchsorted(times, -(-int(times[0]) // higher_step) * higher_step)) if len(times) else 0
    starts, values = resample({n: column(bars, n)[first:] for n in COLUMNS}, times[first:], step, higher_step)
    return pa.table([time_array(starts), *(pa.array(values[n]) for n in COLUMNS)], schema=SCHEMA)


def known_rate(funding_times: Ints, rates: Floats, times: Ints, interval: str) -> Floats:
    """Funding rate last published by the close of each bar, float64 [n]; NaN before the first."""
    rows = np.searchsorted(funding_times, times + interval_ms(interval), side="right") - 1
    return take(rates, rows)
