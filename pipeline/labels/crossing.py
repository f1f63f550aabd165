"""First bar after each row at which the price leaves a band around it."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Floats = npt.NDArray[np.float64]

NEITHER, UPPER, LOWER, BOTH = 0, 1, 2, 3
# Rows from which on threads are worth their start; live, a label is asked for after each bar.
_WORTH_THREADS = 20_000
_BITS = 4  # blocks of 16 bars: the fastest of 8, 16, 32 at horizons of 120 and 1440


def first_crossing(
    high: Floats, low: Floats, upper: Floats, lower: Floats, horizon: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """First k in 1…horizon with high[t+k] > upper[t] or low[t+k] < lower[t], for every row t.

    high, low: of the bars [n]. upper, lower: levels of each row [n]; NaN: no crossing is looked for.
    Returns position of the crossing bar int64 [n], −1 if there is none within the horizon and the
    data; and which level it was, int8 [n]: NEITHER, UPPER, LOWER or BOTH in one bar.
    """
    n = len(high)
    where, which = np.full(n, -1, np.int64), np.zeros(n, np.int8)
    scan = partial(_scan, high, low, upper, lower, horizon, *_blocks(high, low))
    if n < _WORTH_THREADS:
        scan(0, n, where, which)
        return where, which
    # Rows do not depend on each other, and the compiled scan lets go of the interpreter.
    parts = np.linspace(0, n, (os.cpu_count() or 1) + 1).astype(np.int64)
    with ThreadPoolExecutor(len(parts) - 1) as pool:
        scans = [pool.submit(scan, int(a), int(b), where, which) for a, b in itertools.pairwise(parts)]
        for one in scans:
            one.result()
    return where, which


def _blocks(high: Floats, low: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    # Extremes of whole blocks, and of blocks of blocks, let most rows skip most of their horizon.
    size = 1 << _BITS
    blocks = (len(high) + size - 1) >> _BITS
    wide = (blocks + size - 1) >> _BITS
    extremes = np.full(blocks, -np.inf), np.full(blocks, np.inf), np.full(wide, -np.inf), np.full(wide, np.inf)
    _find_extremes(high, low, *extremes)
    return extremes


@compiled(nogil=True)
def _find_extremes(
    high: Floats, low: Floats, tops: Floats, bottoms: Floats, wide_tops: Floats, wide_bottoms: Floats
) -> None:
    for j in range(len(high)):
        tops[j >> _BITS] = max(tops[j >> _BITS], high[j])
        bottoms[j >> _BITS] = min(bottoms[j >> _BITS], low[j])
    for b in range(len(tops)):
        wide_tops[b >> _BITS] = max(wide_tops[b >> _BITS], tops[b])
        wide_bottoms[b >> _BITS] = min(wide_bottoms[b >> _BITS], bottoms[b])


@compiled(nogil=True)
def _scan(
    high: Floats,
    low: Floats,
    upper: Floats,
    lower: Floats,
    horizon: int,
    tops: Floats,
    bottoms: Floats,
    wide_tops: Floats,
    wide_bottoms: Floats,
    start: int,
    stop: int,
    where: npt.NDArray[np.int64],
    which: npt.NDArray[np.int8],
) -> None:
    n = high.shape[0]
    size = 1 << _BITS
    for t in range(start, stop):
        up, down = upper[t], lower[t]
        if np.isnan(up) or np.isnan(down):
            continue
        last = min(t + horizon, n - 1)
        j = t + 1
        found = False
        while j <= last and not found:
            block = j >> _BITS
            if (block & (size - 1)) == 0 and wide_tops[block >> _BITS] <= up and wide_bottoms[block >> _BITS] >= down:
                j = ((block >> _BITS) + 1) << (2 * _BITS)
                continue
            end = (block + 1) << _BITS
            if tops[block] > up or bottoms[block] < down:
                for i in range(j, min(end, last + 1)):
                    above, below = high[i] > up, low[i] < down
                    if above or below:
                        where[t] = i
                        which[t] = (UPPER if above else NEITHER) + (LOWER if below else NEITHER)
                        found = True
                        break
            j = end
