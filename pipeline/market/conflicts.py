"""The same bars told differently by two sources: which, how many, and how far apart."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.market import candles


def differing(mine: pa.Table, theirs: pa.Table) -> npt.NDArray[np.int64]:
    """Rows in which two tables of the same numeric columns and rows differ, ascending."""
    differ = np.zeros(mine.num_rows, np.bool_)
    for name in mine.column_names:
        differ |= candles.column(mine, name) != candles.column(theirs, name)
    return np.flatnonzero(differ)


@dataclass(frozen=True)
class Conflict:
    """Bars on which the archive and another source differ.

    bars: how many. at_ms, name: where they differ most, as a share of the larger value. archive, other: those values.
    """

    bars: int
    at_ms: int
    name: str
    archive: float
    other: float

    @classmethod
    def of(cls, times: npt.NDArray[np.int64], archive: pa.Table, other: pa.Table) -> "Conflict":
        """Of tables that differ in every row; times: their open times, int64 ms [n]."""
        worst = cls(0, 0, "", 0.0, 0.0)
        for name in archive.column_names:
            one, two = candles.column(archive, name), candles.column(other, name)
            row = int(np.argmax(_share(one, two)))
            found = cls(len(times), int(times[row]), name, float(one[row]), float(two[row]))
            worst = max(worst, found, key=lambda conflict: conflict.share)
        return worst

    @property
    def share(self) -> float:
        return float(_share(np.array(self.archive), np.array(self.other)))

    def plus(self, more: "Conflict") -> "Conflict":
        """Both together."""
        return replace(max(self, more, key=lambda one: one.share), bars=self.bars + more.bars)

    def text(self) -> str:
        share = f"{self.share:.2%}" if self.share >= 1e-4 else "less than 0.01%"
        return (
            f"{self.bars:,} {'bar differs' if self.bars == 1 else 'bars differ'} between the archive and another"
            f" source; the archive's were kept. The largest difference is {share}: at {candles.iso(self.at_ms)}"
            f" {self.name} is {self.archive:.12g} in the archive, {self.other:.12g} in the other"
        )


def _share(one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    larger = np.maximum(np.abs(one), np.abs(two))
    return np.abs(one - two) / np.where(larger > 0, larger, 1.0)
