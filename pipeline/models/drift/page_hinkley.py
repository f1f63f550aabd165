"""Page-Hinkley: an alarm when a stream's values have summed up to too much above their mean so far."""

from typing import Any


class PageHinkley:
    """The one-sided test, for a rise of the mean: a loss that falls is nobody's worry.

    delta: excess over the mean that is passed over, at each value. threshold: sum of the rest that is too much.
    least: values before the first look. keep: share of the sum that each value leaves of it.

    >>> detector = PageHinkley(threshold=10)
    >>> [t for t, x in enumerate([0.0, 1.0] * 100 + [2.0] * 20) if detector.update(x)]
    [206]

    Source: Page (1954), Continuous inspection schemes; Biometrika 41.
    """

    def __init__(
        self, delta: float = 0.005, threshold: float = 50.0, least: int = 30, keep: float = 1 - 0.0001
    ) -> None:
        self.delta, self.threshold, self.least, self.keep = delta, threshold, least, keep
        self._begin()

    def _begin(self) -> None:
        self.detected = False
        self._count, self._mean, self._sum, self._lowest = 0, 0.0, 0.0, float("inf")

    @property
    def excess(self) -> float:
        """How far the sum has risen above its lowest; compare with `threshold`."""
        return self._sum - self._lowest if self._count else 0.0

    def update(self, value: float) -> bool:
        """Take one more value; whether the mean has risen. After an alarm all begins anew."""
        if self.detected:
            self._begin()
        self._count += 1
        self._mean += (value - self._mean) / self._count
        self._sum = self.keep * self._sum + (value - self._mean) - self.delta
        self._lowest = min(self._lowest, self._sum)
        self.detected = self._count >= self.least and self.excess > self.threshold
        return self.detected

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        lowest = self._lowest if self._count else None
        return {
            "count": self._count, "mean": self._mean, "sum": self._sum, "lowest": lowest, "detected": self.detected
        }  # fmt: skip

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on after `save`."""
        self._count, self._mean, self._sum = int(kept["count"]), float(kept["mean"]), float(kept["sum"])
        self._lowest = float("inf") if kept["lowest"] is None else float(kept["lowest"])
        self.detected = bool(kept["detected"])
