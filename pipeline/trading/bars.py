"""Price bars of one symbol as arrays."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Bars(NamedTuple):
    """Price arrays float64 [n] of a complete grid, and which of its bars are made up, bool [n]."""

    open: Array
    high: Array
    low: Array
    close: Array
    filled: npt.NDArray[np.bool_]

    def part(self, rows: slice) -> "Bars":
        """The same of some rows."""
        return Bars(self.open[rows], self.high[rows], self.low[rows], self.close[rows], self.filled[rows])
