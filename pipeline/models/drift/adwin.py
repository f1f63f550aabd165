"""ADWIN: a window of a stream's newest values that grows while their mean stands still, and is cut when it moves."""

import math
from typing import Any


class Adwin:
    """Adaptive windowing over values of any bounded scale.

    Values are kept as sums over 1, 2, 4, … neighbours, so that memory grows with the logarithm of the window.
    delta: chance of a false cut. clock: values between two looks. per_size: sums of one size before two of them are
    joined. shortest: values that either side of a cut must have. grace: values before the first look.

    >>> detector = Adwin()
    >>> [t for t, x in enumerate([0.0, 1.0] * 500 + [6.0, 7.0] * 50) if detector.update(x)]
    [1023]

    Source: Bifet & Gavaldà (2007), Learning from time-changing data with adaptive windowing.
    """

    def __init__(
        self, delta: float = 0.002, clock: int = 32, per_size: int = 5, shortest: int = 5, grace: int = 10
    ) -> None:
        self.delta, self.clock, self.per_size, self.shortest, self.grace = delta, clock, per_size, shortest, grace
        self._begin()

    def _begin(self) -> None:
        self.detected = False
        self.rise = 0.0
        self.width, self._total, self._variance, self._ticks = 0, 0.0, 0.0, 0
        # By size 2**row: sums and sums of squared deviations, oldest first.
        self._rows: list[list[tuple[float, float]]] = [[]]

    @property
    def mean(self) -> float:
        """Mean of the window; 0 before the first value."""
        return self._total / self.width if self.width else 0.0

    def update(self, value: float) -> bool:
        """Take one more value; whether the mean has moved. After a move the window begins anew.

        `rise` then tells by how much: the mean after the cut less that before it.
        """
        if self.detected:
            self._begin()
        self._rows[0].append((value, 0.0))
        if self.width:
            self._variance += self.width * (value - self.mean) ** 2 / (self.width + 1)
        self.width += 1
        self._total += value
        self._join()
        self._ticks += 1
        if self._ticks % self.clock == 0 and self.width > self.grace:
            self.detected = self._cut()
        return self.detected

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "width": self.width, "total": self._total, "variance": self._variance, "ticks": self._ticks,
            "detected": self.detected, "rise": self.rise, "rows": [[list(sums) for sums in row] for row in self._rows],
        }  # fmt: skip

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on after `save`."""
        self.width, self._total, self._variance = int(kept["width"]), float(kept["total"]), float(kept["variance"])
        self._ticks, self.detected, self.rise = int(kept["ticks"]), bool(kept["detected"]), float(kept["rise"])
        self._rows = [[(float(total), float(variance)) for total, variance in row] for row in kept["rows"]]

    def _join(self) -> None:
        # More sums of a size than there may be: the two oldest become one of the next size.
        for row, sums in enumerate(self._rows):
            if len(sums) <= self.per_size:
                return
            size = 2**row
            (total, variance), (total2, variance2) = sums[:2]
            del sums[:2]
            between = size * (total / size - total2 / size) ** 2 / 2
            if row + 1 == len(self._rows):
                self._rows.append([])
            self._rows[row + 1].append((total + total2, variance + variance2 + between))

    def _cut(self) -> bool:
        # As long as some split's halves differ, the oldest sum goes.
        found = False
        while self._split_differs():
            found = True
            self._drop_oldest()
        return found

    def _split_differs(self) -> bool:
        count, total = 0, 0.0
        for row in range(len(self._rows) - 1, -1, -1):
            for own, _ in self._rows[row]:
                count, total = count + 2**row, total + own
                later = self.width - count
                if count < self.shortest or later < self.shortest:
                    continue
                difference = (self._total - total) / later - total / count
                if abs(difference) > self._threshold(count, later):
                    self.rise = difference
                    return True
        return False

    def _threshold(self, before: int, after: int) -> float:
        confidence = math.log(2 * math.log(self.width) / self.delta)
        inverse = 1 / (before - self.shortest + 1) + 1 / (after - self.shortest + 1)
        spread = max(self._variance, 0.0) / self.width
        return math.sqrt(2 * inverse * spread * confidence) + 2 / 3 * inverse * confidence

    def _drop_oldest(self) -> None:
        size = 2 ** (len(self._rows) - 1)
        total, variance = self._rows[-1].pop(0)
        self.width -= size
        self._total -= total
        self._variance -= variance + size * self.width * (total / size - self.mean) ** 2 / (size + self.width)
        while len(self._rows) > 1 and not self._rows[-1]:
            self._rows.pop()
