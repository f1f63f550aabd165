"""The sequential bootstrap: rows drawn so that their labels overlap less than chance would have it."""

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.models.spans import checked

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def sequential_bootstrap(spans: Indices, draws: int, seed: int) -> Indices:
    """Positions [draws] of labels drawn one after another, each the more likely the less it overlaps those drawn.

    The chance of a label is proportional to its average uniqueness if it joined those drawn so far; it may be drawn
    again. A draw costs the labels that overlap the drawn one, not all.
    Source: López de Prado (2018), 4.5, snippet 4.5.
    """
    first, stop = checked(spans)
    if not len(first) or draws <= 0:
        return np.empty(0, np.int64)
    order = np.argsort(first, kind="stable")
    first, stop = first[order], stop[order]
    luck = np.random.default_rng(seed).random(draws)
    reach = np.maximum.accumulate(stop)
    return np.asarray(order[_draw(first, stop, reach, luck)])


def draw_chances(spans: Indices, drawn: Indices) -> Floats:
    """Chance of each label [n] to be drawn next by the sequential bootstrap, after those in `drawn`."""
    first, stop = checked(spans)
    count = np.zeros(int(stop.max()), np.int64)
    for one in drawn:
        count[first[one] : stop[one]] += 1
    unique = np.array([np.mean(1.0 / (1 + count[a:b])) for a, b in zip(first, stop, strict=True)])
    return np.asarray(unique / unique.sum())


@compiled()
def _draw(first: Indices, stop: Indices, reach: Indices, luck: Floats) -> Indices:
    # Labels sorted by their first bar. Each label's uniqueness beside those drawn so far, and sums of blocks of them,
    # so that finding the label of a chance takes a step for each block and then one for each label of one block.
    n = len(first)
    size = max(1, int(np.sqrt(n)))
    blocks = (n + size - 1) // size
    unique, sums = np.ones(n), np.zeros(blocks)
    for i in range(n):
        sums[i // size] += 1.0
    count = np.zeros(reach[n - 1], np.int64)
    lost = np.zeros(reach[n - 1] + 1)
    drawn = np.empty(len(luck), np.int64)
    for d in range(len(luck)):
        total = 0.0
        for b in range(blocks):
            total += sums[b]
        left = luck[d] * total
        block = 0
        while block < blocks - 1 and left >= sums[block]:
            left -= sums[block]
            block += 1
        chosen, last = block * size, min((block + 1) * size, n) - 1
        while chosen < last and left >= unique[chosen]:
            left -= unique[chosen]
            chosen += 1
        drawn[d] = chosen
        # What each bar of the drawn label takes from those that span it: 1/(c + 1) becomes 1/(c + 2).
        start, end = first[chosen], stop[chosen]
        lost[start] = 0.0
        for t in range(start, end):
            lost[t + 1] = lost[t] + 1.0 / (count[t] + 1) - 1.0 / (count[t] + 2)
            count[t] += 1
        i = np.searchsorted(reach, start, side="right")
        while i < n and first[i] < end:
            a, b = max(first[i], start), min(stop[i], end)
            if a < b:
                change = (lost[b] - lost[a]) / (stop[i] - first[i])
                unique[i] -= change
                sums[i // size] -= change
            i += 1
    return drawn
