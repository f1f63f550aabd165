"""Fewer, longer candles, so that years fit on a screen."""

import numpy as np

from pipeline.report.data import Array, Bars, Curve, Times

MINUTE = 60_000
# Lengths that people read charts in; beyond the last, whole multiples of it.
LENGTHS = tuple(
    MINUTE * m for m in (1, 3, 5, 15, 30, 60, 120, 240, 360, 480, 720, 1440, 2880, 4320, 10_080, 20_160, 40_320)
)


def candle_length(bars: int, step_ms: int, at_most: int) -> int:
    """Milliseconds of a candle, a multiple of `step_ms`, such that about `at_most` cover that many bars."""
    if bars <= at_most:
        return step_ms
    needed = bars * step_ms / (at_most - 1)  # one candle may be cut at each end
    fitting = [length for length in LENGTHS if length >= needed and length % step_ms == 0]
    return fitting[0] if fitting else int(np.ceil(needed / LENGTHS[-1])) * LENGTHS[-1]


def resample(bars: Bars, length_ms: int) -> Bars:
    """Candles of `length_ms` that begin at its multiples since the epoch; the first and last may be cut."""
    first = _starts(bars.times, length_ms)
    last = np.append(first[1:], len(bars.times)) - 1
    return Bars(
        bars.times[first] // length_ms * length_ms,
        bars.open[first],
        np.maximum.reduceat(bars.high, first),
        np.minimum.reduceat(bars.low, first),
        bars.close[last],
    )


def curve(times: Times, equity: Array, drawdown: Array, points: Times, hold: Array) -> Curve:
    """An equity curve at `points`, some of `times`; no drawdown between them is lost."""
    rows = np.searchsorted(times, points)
    starts = np.concatenate([[0], rows[:-1] + 1]) if len(rows) else rows
    return Curve(points, equity[rows], np.minimum.reduceat(drawdown, np.minimum(starts, rows)), hold)


def _starts(times: Times, length_ms: int) -> np.ndarray:
    buckets = times // length_ms
    return np.flatnonzero(np.append(True, buckets[1:] != buckets[:-1]))
