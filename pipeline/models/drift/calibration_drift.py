"""Calibration drift: do scores still come true as often as they did on the held-out rows?"""

import math
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

# The spread is learnt from means that are alike: it is worth that of a quarter as many independent ones.
_MEANS_A_DEGREE = 4


@dataclass(frozen=True)
class Gap:
    """Outcome less score on rows that the model had not seen, in means over as many rows as one outcome takes.

    mean, spread: of those means, the spread widened by how alike neighbours are; count: how many there were. loss,
    loss_spread: the same of the squared error.
    rows: of each mean.
    """

    mean: float
    spread: float
    count: int
    loss: float
    loss_spread: float
    rows: int

    def json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


class CalibrationDrift:
    """The gap between outcomes and scores in a window of the newest means, against the held-out gap.

    reference: of the held-out rows. window: means that are looked at.

    >>> drift = CalibrationDrift(Gap(0.0, 0.1, 100, 0.2, 0.1, 48), window=20)
    >>> for gap in [0.01, -0.02] * 10: drift.update(gap)
    >>> drift.get() > 0.5
    True
    >>> for gap in [0.2] * 20: drift.update(gap)
    >>> drift.get() < 1e-6
    True
    """

    def __init__(self, reference: Gap, window: int) -> None:
        self._reference = reference
        self._means: deque[float] = deque(maxlen=max(window, 2))

    def update(self, gap: float) -> None:
        """Take the mean of outcome less score over the next rows."""
        self._means.append(gap)

    @property
    def full(self) -> bool:
        """Whether the window has all its means."""
        return len(self._means) == self._means.maxlen

    @property
    def gap(self) -> float:
        """Mean of outcome less score in the window; NaN if there is none."""
        return sum(self._means) / len(self._means) if self._means else math.nan

    def get(self) -> float:
        """How often a gap is at least this far from the held-out one by chance; 1 until the window is full."""
        from scipy.special import stdtr

        if not self.full:
            return 1.0
        reference = self._reference
        error = reference.spread * math.sqrt(1 / len(self._means) + 1 / reference.count)
        distance = abs(self.gap - reference.mean) / max(error, 1e-12)
        return float(2 * stdtr(max(reference.count // _MEANS_A_DEGREE, 1), -distance))

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"means": list(self._means)}

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on after `save`."""
        self._means.clear()
        self._means.extend(float(mean) for mean in kept["means"])
