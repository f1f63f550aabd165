"""First bar after each row at which the price leaves a band around it."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

NEITHER, UPPER, LOWER, BOTH = 0, 1, 2, 3
# Rows from which on threads are worth their start; live, a label is asked for after each bar.
_WORTH_THREADS = 20_000
_BITS = 4  # groups of 16 rows: the fastest of 8, 16, 32 at horizons of 120 and 1440
_GROUP = 1 << _BITS


def first_crossing(
    close: Floats, high: Floats, low: Floats, over: float | Floats, under: float | Floats, horizon: int
) -> tuple[Positions, npt.NDArray[np.int8]]:
    """First k in 1…horizon with high[t+k] > close[t]·over or low[t+k] < close[t]·under, for every row t.

    close, high, low: of the bars [n]. over, under: for all rows or of each [n]; where a level is NaN, no crossing
    is looked for. Returns position of the crossing bar int64 [n], t + horizon if there is none within the horizon
    and the data; and which level it was, int8 [n]: NEITHER, UPPER, LOWER or BOTH in one bar.
    """
    n = len(close)
    end, which = np.empty(n, np.int64), np.empty(n, np.int8)
    scan = partial(_scan, close, high, low, np.atleast_1d(over), np.atleast_1d(under), horizon, end, which)
    if n < _WORTH_THREADS:
        scan(0, n)
        return end, which
    # Rows do not depend on each other, and the compiled scan lets go of the interpreter.
    threads = os.cpu_count() or 1
    starts = [n * part // threads & -_GROUP for part in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        others = [pool.submit(scan, start, stop) for start, stop in itertools.pairwise([*starts[1:], n])]
        scan(0, [*starts[1:], n][0])
        for one in others:
            one.result()
    return end, which


@compiled(nogil=True)
def _scan(  # noqa: PLR0912  (compiled: plain loops)
    close: Floats,
    high: Floats,
    low: Floats,
    over: Floats,
    under: Floats,
    horizon: int,
    end: Positions,
    which: npt.NDArray[np.int8],
    start: int,
    stop: int,
) -> None:
    # Rows start…stop − 1 in groups, the last group first; `start` is the first row of one. Lows and lower levels have
    # their signs turned, so that both sides are the same search.
    n = high.shape[0]
    last = min(n, stop + horizon) - 1
    depth = last - start + _GROUP + 2
    highs, high_bars = np.empty(depth), np.empty(depth, np.int64)
    lows, low_bars = np.empty(depth), np.empty(depth, np.int64)
    # The lowest entry of a stack lies beyond all horizons, and no comparison with its price is true.
    highs[0], high_bars[0], lows[0], low_bars[0] = np.nan, n + horizon, np.nan, n + horizon
    upper, lower = np.empty(_GROUP), np.empty(_GROUP)
    above, below = np.empty(_GROUP, np.int64), np.empty(_GROUP, np.int64)
    prices, bars = np.empty(_GROUP + 1), np.empty(_GROUP + 1, np.int64)
    high_top = high_hint = low_top = low_hint = 0
    each_over, each_under = len(over) > 1, len(under) > 1
    for group in range(last >> _BITS, (start >> _BITS) - 1, -1):
        first = max(group << _BITS, 0)  # so that LLVM sees that no index is negative
        rows = min(_GROUP, n - first)
        wanted = first < stop
        unknown = False
        if wanted:
            if each_over:
                for r in range(rows):
                    upper[r] = close[first + r] * over[first + r]
            else:
                for r in range(rows):
                    upper[r] = close[first + r] * over[0]
            if each_under:
                for r in range(rows):
                    lower[r] = -(close[first + r] * under[first + r])
            else:
                for r in range(rows):
                    lower[r] = -(close[first + r] * under[0])
            for r in range(rows):
                unknown |= np.isnan(upper[r]) | np.isnan(lower[r])
        high_top, high_hint = _one_side(
            high, 1.0, first, rows, wanted, upper, above, highs, high_bars, high_top, high_hint, prices, bars
        )
        low_top, low_hint = _one_side(
            low, -1.0, first, rows, wanted, lower, below, lows, low_bars, low_top, low_hint, prices, bars
        )
        if unknown:
            for r in range(rows):
                if np.isnan(upper[r]) or np.isnan(lower[r]):
                    above[r] = below[r] = n + horizon
        if wanted:
            for r in range(rows):
                found = min(above[r], below[r], first + r + horizon)
                end[first + r] = found
                which[first + r] = (above[r] == found) * UPPER + (below[r] == found) * LOWER


@compiled(nogil=True, forceinline=True)
def _one_side(  # noqa: PLR0912
    values: Floats,
    sign: float,
    first: int,
    rows: int,
    wanted: bool,
    levels: Floats,
    found: Positions,
    stack: Floats,
    stack_bars: Positions,
    top: int,
    hint: int,
    prices: Floats,
    bars: Positions,
) -> tuple[int, int]:
    # found[r]: first bar after first + r with sign·value > levels[r], for the rows of a group; n + horizon or one later
    # than asked for if there is none. Then the group's bars join the stack. Returns its top, and the place in it at
    # which the next group does well to look first.
    #
    # The stack holds the bars after the group that exceed all between them and it, the nearest on top: no other can be
    # the first above a level. Levels of neighbouring rows differ little, so the search goes on where the last one
    # ended, and passes few bars; each is compared with all rows of the group at once.
    #
    # Of the group, the bars above all before them in it will be on the stack: the nearest last in `prices`.
    place = _GROUP
    highest = -np.inf
    for r in range(rows):
        price = sign * values[first + r]
        prices[place], bars[place] = price, first + r
        place -= price > highest
        highest = price if price > highest else highest
    if wanted:
        lowest_level, highest_level = np.inf, -np.inf
        for r in range(rows):
            level = levels[r]
            lowest_level = level if level < lowest_level else lowest_level
            highest_level = level if level > highest_level else highest_level
        while stack[hint] <= lowest_level:
            hint -= 1
        while hint < top and stack[hint + 1] > lowest_level:
            hint += 1
        # Rows whose level this bar does not exceed go on to the next one.
        at, bar = hint, stack_bars[hint]
        for r in range(rows):
            found[r] = bar
        while stack[at] <= highest_level:
            price = stack[at]
            at -= 1
            bar = stack_bars[at]
            for r in range(rows):
                found[r] = bar if levels[r] >= price else found[r]
        # Bars of the group itself come before all these.
        if highest > lowest_level:
            ahead = -np.inf
            for r in range(rows - 1, -1, -1):
                level = levels[r]
                if ahead > level:
                    bar = first + r + 1
                    while not sign * values[bar] > level:
                        bar += 1
                    found[r] = bar
                price = sign * values[first + r]
                ahead = price if price > ahead else ahead
    while stack[top] <= highest:
        top -= 1
    for r in range(_GROUP - place):
        stack[top + 1 + r] = prices[place + 1 + r]
        stack_bars[top + 1 + r] = bars[place + 1 + r]
    top += _GROUP - place
    return top, min(hint, top)
