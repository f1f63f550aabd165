"""Conformal intervals: ranges around scores that hold a promised share of the outcomes, whatever the scores are worth.

The radius is a quantile of the errors |outcome − score| seen so far. `split_radius` takes those of a held-out part once
and for all, and breaks its promise when the market changes. `AdaptiveInterval` takes the newest ones, and lets each
miss raise the quantile and each hit lower it, so that misses stay rare in any market.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.intervals import Intervals

Floats = npt.NDArray[np.float64]


def split_radius(errors: Floats, coverage: float) -> float:
    """Radius that a share `coverage` of new errors stays within, if they are like these [n]; ∞ if n is too small.

    Source: Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World.
    """
    return _quantile(np.sort(errors).tolist(), 1 - coverage)


class AdaptiveInterval:
    """The radius for the next score.

    >>> interval = AdaptiveInterval(Intervals(window=50, least=10))
    >>> for error in [0.1, 0.2] * 25: interval.learn(error, interval.radius())
    >>> interval.radius()
    0.2

    Source: Gibbs & Candès (2021), Adaptive conformal inference under distribution shift.
    """

    def __init__(self, settings: Intervals) -> None:
        self._settings = settings
        self._miss = 1 - settings.coverage
        self._alpha = self._miss
        self._newest: deque[float] = deque(maxlen=settings.window)
        self._sorted: list[float] = []

    def radius(self) -> float:
        """NaN before there are enough errors; ∞ where none that was seen is enough; never less than 0."""
        if len(self._sorted) < self._settings.least:
            return math.nan
        return _quantile(self._sorted, self._alpha)

    def learn(self, error: float, radius: float) -> None:
        """Take an error |outcome − score|, and the radius that was given for that score."""
        if math.isfinite(radius) or radius == math.inf:
            self._alpha += self._settings.rate * (self._miss - (error > radius))
        if len(self._newest) == self._newest.maxlen:
            del self._sorted[bisect_left(self._sorted, self._newest[0])]
        self._newest.append(error)
        insort(self._sorted, error)

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"alpha": self._alpha, "newest": list(self._newest)}

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on after `save`."""
        self._alpha = float(kept["alpha"])
        self._newest.clear()
        self._newest.extend(float(error) for error in kept["newest"])
        self._sorted = sorted(self._newest)


class IntervalStream:
    """One model's intervals, bar by bar, over one symbol.

    delay: bars until an outcome is known. bounded: outcomes are 0 or 1, and intervals stay between.
    """

    def __init__(self, settings: Intervals, delay: int, bounded: bool) -> None:
        self._interval = AdaptiveInterval(settings)
        self._delay, self._bounded = delay, bounded
        # Scores and radii that wait for their outcome, oldest first.
        self._waiting: deque[tuple[float, float]] = deque()

    def update(self, score: float, outcome: float) -> tuple[float, float]:
        """Lower and upper end for this bar's score; NaN if it is, or if too few outcomes are known.

        outcome: of the bar `delay` bars ago, which this bar's close has made known; NaN if it has none.
        """
        if len(self._waiting) == self._delay:
            earlier, radius = self._waiting.popleft()
            error = abs(outcome - earlier)
            if math.isfinite(error):
                self._interval.learn(error, radius)
        radius = self._interval.radius()
        self._waiting.append((score, radius))
        if math.isnan(score) or math.isnan(radius):
            return math.nan, math.nan
        low, high = score - radius, score + radius
        return (max(low, 0.0), min(high, 1.0)) if self._bounded else (low, high)

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"interval": self._interval.save(), "waiting": [[_plain(a), _plain(b)] for a, b in self._waiting]}

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on after `save`."""
        self._interval.restore(kept["interval"])
        self._waiting = deque((float(score), float(radius)) for score, radius in kept["waiting"])


def intervals(
    scores: Floats, outcomes: Floats, settings: Intervals, delay: int, bounded: bool
) -> tuple[Floats, Floats]:
    """Lower and upper ends [n] of the scores [n] of neighbouring bars: `IntervalStream` over all of them.

    outcomes: of each bar [n], NaN if it has none; that of bar t is used from bar t + delay on.
    """
    stream = IntervalStream(settings, delay, bounded)
    known = np.concatenate([np.full(min(delay, len(scores)), np.nan), outcomes[: max(len(scores) - delay, 0)]])
    ends = np.empty((len(scores), 2))
    for t, (score, outcome) in enumerate(zip(scores.tolist(), known.tolist(), strict=True)):
        ends[t] = stream.update(score, outcome)
    return ends[:, 0], ends[:, 1]


def _quantile(ordered: list[float], alpha: float) -> float:
    # The smallest error that a share 1 − alpha of n + 1 errors does not exceed, the next one being any of them.
    # Rounded before the ceiling is taken: 0.9 · 10 is a little more than 9.
    place = math.ceil(round((1 - alpha) * (len(ordered) + 1), 9))
    if place > len(ordered):
        return math.inf
    return ordered[place - 1] if place > 0 else 0.0


def _plain(value: float) -> float | str:
    # JSON has neither.
    return value if math.isfinite(value) else str(value)
