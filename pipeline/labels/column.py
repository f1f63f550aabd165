"""One label column: values, which of them are known, and the bar that decided each."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LabelColumn:
    """A label over n rows.

    values: bool or float64 [n]; anything where not known. known: bool [n].
    end: int64 [n], position of the bar whose close (or extreme) decided the value, ≥ the row's own.
    """

    values: npt.NDArray
    known: npt.NDArray[np.bool_]
    end: npt.NDArray[np.int64]
