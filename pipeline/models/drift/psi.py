"""The population stability index: how much of a distribution has moved to other bins."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# An empty bin would be infinitely far away.
SMALLEST_SHARE = 1e-4


def psi(expected: Floats, actual: Floats) -> Floats:
    """Σ (actual − expected) · ln(actual / expected) over bins, the last axis: shares [..., bins] → [...].

    Custom: below 0.1 nothing, above 0.25 a shift that matters; on n independent values and k bins it is
    (k − 1) / n by chance alone.
    Source: Siddiqi (2006), Credit Risk Scorecards; Yurdakul (2018) for its distribution.
    """
    expected, actual = np.maximum(expected, SMALLEST_SHARE), np.maximum(actual, SMALLEST_SHARE)
    return np.asarray(np.sum((actual - expected) * np.log(actual / expected), axis=-1))
