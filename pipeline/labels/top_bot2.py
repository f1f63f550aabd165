"""`topbot2`: rows near a local top (or bottom) from which the price moved away by a level on both sides.

A row e is a top if, going left and going right from it, the price falls below e·(1 − level) before
anything exceeds it (equal values: the first is the top). That local statement selects the same rows as the
recursive search for absolute extrema: splitting at a higher top never separates a lower one from the
two points that prove it. It takes one pass, and it tells when each row is certain for ever.
"""

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.labels import TopBot2
from pipeline.labels.column import LabelColumn

Floats = npt.NDArray[np.float64]


def names(spec: TopBot2) -> list[str]:
    """The names given, or function, level and tolerance in percent: `top_2_0.5`."""
    return spec.names or [f"{spec.function}_{100 * spec.level:g}_{t:g}" for t in spec.tolerances]


def compute(spec: TopBot2, price: Floats) -> list[LabelColumn]:
    """One bool label per tolerance.

    True: strictly between the nearest rows on both sides of a top that lie below top·(1 − level·tolerance).
    `end` of such rows is the bar that proves the top: the first below top·(1 − level) on its right.
    Other rows are False from the bar on at which no top, confirmed later, can include them; `end` is
    that bar. Rows that the data leave open are unknown.
    Rows before the first price (a reference symbol listed later) are unknown.
    Source: intelligent-trading-bot, `topbot2`, which labels open rows False.
    """
    finite = np.isfinite(price)
    first = int(finite.argmax()) if finite.any() else len(price)
    price = price[first:]
    if not len(price):
        nothing = np.zeros(first, np.bool_)
        return [LabelColumn(nothing, nothing, np.zeros(first, np.int64)) for _ in spec.tolerances]
    # Bottoms of a price are tops of its negative: level·|x| is the same on both.
    values = price if spec.function == "top" else -price
    resolved, kind, alive = _candidates(values, spec.level)
    columns = []
    for tolerance in spec.tolerances:
        label, known, end = _label(values, spec.level * tolerance, resolved, kind, alive)
        columns.append(
            LabelColumn(np.pad(label, (first, 0)), np.pad(known, (first, 0)), np.pad(end + first, (first, 0)))
        )
    return columns


@compiled()
def _below(value: float, fraction: float) -> float:
    return value - fraction * abs(value)


@compiled()
def _candidates(
    values: Floats, level: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    # resolved[e]: bar at which candidate e is proven (kind 1) or exceeded (kind 2); kind 0: open or no candidate.
    # alive[s]: the one candidate that is proven on its left and open on its right after bar s, or −1.
    n = values.shape[0]
    resolved, kind, alive = np.full(n, -1, np.int64), np.zeros(n, np.int8), np.full(n, -1, np.int64)
    top = 0
    lowest = values[0]  # since the bar that ended the last candidate
    left_proven = False
    for s in range(1, n):
        value = values[s]
        lowest = min(lowest, value)
        if value > values[top]:
            if left_proven:
                resolved[top], kind[top] = s, 2
            top = s
            left_proven = lowest < _below(value, level)
        elif value < _below(values[top], level):
            if left_proven:
                resolved[top], kind[top] = s, 1
            top, lowest, left_proven = s, value, False
        if left_proven:
            alive[s] = top
    return resolved, kind, alive


@compiled()
def _label(
    values: Floats,
    band: float,
    resolved: npt.NDArray[np.int64],
    kind: npt.NDArray[np.int8],
    alive: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    n = values.shape[0]
    label, known, end = np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.full(n, -1, np.int64)
    for e in range(n):
        if kind[e] == 1:
            first, last = _included(values, e, band, n)
            label[first : last + 1] = True
            known[first : last + 1] = True
            end[first : last + 1] = resolved[e]
    left_band = _leaves_band(values, band)
    candidate, first, last = -1, -1, -1
    for t in range(n):
        s = left_band[t]
        if s < 0:
            break  # and so do all rows after it: the data end inside their band
        if known[t]:
            continue
        if alive[s] != candidate:
            candidate = alive[s]
            if candidate >= 0:
                stop = resolved[candidate] if kind[candidate] != 0 else n
                first, last = _included(values, candidate, band, stop)
        if candidate < 0 or not first <= t <= last:
            known[t], end[t] = True, s
        elif kind[candidate] == 2:
            known[t], end[t] = True, resolved[candidate]
    return label, known, end


@compiled()
def _included(values: Floats, e: int, band: float, stop: int) -> tuple[int, int]:
    # First and last row around e, before `stop`, that do not fall out of the band below it.
    limit = _below(values[e], band)
    first, last = e, e
    while first > 0 and values[first - 1] >= limit:
        first -= 1
    while last + 1 < stop and values[last + 1] >= limit:
        last += 1
    return first, last


@compiled()
def _leaves_band(values: Floats, band: float) -> npt.NDArray[np.int64]:
    # First s ≥ t at which the lowest since t lies out of the band below the highest since t; −1 if none.
    # From there on no later top can include t: only the candidate open at s can.
    n = values.shape[0]
    result = np.full(n, -1, np.int64)
    highs, lows = np.empty(n, np.int64), np.empty(n, np.int64)
    high_head = high_tail = low_head = low_tail = 0
    s = -1
    for t in range(n):
        while high_tail > high_head and highs[high_head] < t:
            high_head += 1
        while low_tail > low_head and lows[low_head] < t:
            low_head += 1
        while s < t or values[lows[low_head]] >= _below(values[highs[high_head]], band):
            s += 1
            if s == n:
                return result
            while high_tail > high_head and values[highs[high_tail - 1]] <= values[s]:
                high_tail -= 1
            highs[high_tail] = s
            high_tail += 1
            while low_tail > low_head and values[lows[low_tail - 1]] >= values[s]:
                low_tail -= 1
            lows[low_tail] = s
            low_tail += 1
        result[t] = s
    return result
