"""Weights of training rows: by the uniqueness of their labels, by sequential bootstrap, and by age.

Labels that look at the same bars are not independent: a thousand rows whose outcome is decided by one fall of the
price say one thing, not a thousand. Source: López de Prado, Advances in Financial Machine Learning (2018), chapter 4.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.models.spans import checked

if TYPE_CHECKING:
    from pipeline.models.samples import Samples

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Weighting:
    """What the rows of a fit are weighted by.

    uniqueness: of their labels among the rows of the fit. bootstraps: sequential bootstraps drawn; 0 for none.
    oldest: linear decay, the weight of the oldest row beside 1 of the newest. half_life_ms: exponential decay.
    """

    uniqueness: bool = False
    bootstraps: int = 0
    oldest: float | None = None
    half_life_ms: int | None = None

    @property
    def used(self) -> bool:
        """Whether rows differ at all."""
        return self != Weighting()


def row_weights(samples: "Samples", label: str, rows: Indices, seed: int) -> Floats | None:
    """Weights [m] of the rows that one fit learns from, of mean 1; None if all count the same.

    Nothing but the rows themselves enters, so a fold's weights know only the fold's training rows. Labels overlap
    within one symbol: those of different symbols look at different bars.
    """
    rule = samples.weighting
    if not rule.used or not len(rows):
        return None
    weights = np.ones(len(rows))
    for symbol in np.unique(samples.symbols[rows]) if rule.uniqueness or rule.bootstraps else ():
        own = np.flatnonzero(samples.symbols[rows] == symbol)
        spans = samples.intervals(label, rows[own]) // samples.step_ms
        if rule.uniqueness:
            weights[own] *= average_uniqueness(spans)
        if rule.bootstraps:
            weights[own] *= _times_drawn(spans, rule.bootstraps, seed)
    times = samples.times[rows]
    if rule.oldest is not None:
        weights *= linear_decay(weights, times, rule.oldest)
    if rule.half_life_ms is not None:
        weights *= exponential_decay(times, rule.half_life_ms)
    total = float(weights.sum())
    return weights * (len(weights) / total) if total > 0 else None


def average_uniqueness(spans: Indices) -> Floats:
    """Mean over each label's bars of one over the labels that span the bar, [n], in time linear in labels and bars.

    spans: first bar and the bar after the last, int64 [n, 2], first < last.
    Raises ValueError: a span is empty or reversed (names the first).
    Source: López de Prado (2018), 4.3 and 4.4, snippets 4.1 and 4.2.
    """
    first, stop = checked(spans)
    if not len(first):
        return np.empty(0)
    length = int(stop.max())
    change = np.bincount(first, minlength=length + 1) - np.bincount(stop, minlength=length + 1)
    concurrency = np.cumsum(change[:length])
    share = np.divide(1.0, concurrency, out=np.zeros(length), where=concurrency > 0)
    total = np.concatenate([[0.0], np.cumsum(share)])
    # Clipped, as a difference of long sums loses its last digits.
    unique = (total[stop] - total[first]) / (stop - first)
    return np.clip(unique, 1.0 / max(int(concurrency.max()), 1), 1.0)


def linear_decay(weights: Floats, times: Indices, oldest: float) -> Floats:
    """Factors [n] that fall from 1 at the newest row to about `oldest` at the oldest, along the weight gathered so far.

    weights: uniqueness [n]: where labels overlap, little time passes. times: int64 [n], equal ones share a factor.
    Source: López de Prado (2018), 4.7, snippet 4.11.
    """
    moments, place = np.unique(times, return_inverse=True)
    gathered = np.cumsum(np.bincount(place, weights=weights, minlength=len(moments)))
    slope = (1.0 - oldest) / gathered[-1] if gathered[-1] > 0 else 0.0
    return np.asarray(np.maximum(1.0 - slope * (gathered[-1] - gathered), 0.0)[place])


def exponential_decay(times: Indices, half_life: int) -> Floats:
    """Factors [n]: 1 at the newest row, half of it `half_life` before, in the unit of `times`."""
    return np.asarray(np.exp2((times - times.max()) / half_life))


def _times_drawn(spans: Indices, bootstraps: int, seed: int) -> Floats:
    from pipeline.models.sequential_bootstrap import sequential_bootstrap

    drawn = np.zeros(len(spans), np.int64)
    for number in range(bootstraps):
        drawn += np.bincount(sequential_bootstrap(spans, len(spans), seed + number), minlength=len(spans))
    return drawn / bootstraps
