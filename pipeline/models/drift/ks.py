"""The Kolmogorov-Smirnov distance between two distributions, and how often chance alone makes one as large."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# Mean of Kolmogorov's distribution: n independent values lie 0.8687 / √n away from their own law on average.
MEAN = math.sqrt(math.pi / 2) * math.log(2)
_TERMS = 100


def ks_distance(expected: Floats, actual: Floats) -> Floats:
    """Largest difference of cumulative shares at the same points, the last axis: [..., points] → [...]."""
    return np.asarray(np.max(np.abs(expected - actual), axis=-1))


def ks_p_value(distance: float, values: float) -> float:
    """Chance of a distance at least this large between a law and so many independent values from it.

    values: may be a fraction, as effective numbers are.
    Source: Stephens (1970), with Kolmogorov's limit.
    """
    root = math.sqrt(values)
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0  # to within 1e-12, where the series below is slow
    total = 0.0
    for k in range(1, _TERMS):
        term = math.exp(-2 * k * k * x * x)
        total += term if k % 2 else -term
        if term < 1e-18:
            break
    return min(max(2 * total, 0.0), 1.0)


def independent_values(mean_distance: float) -> float:
    """So many independent values would be as far from their law, on average, as these (dependent) ones are."""
    return (MEAN / max(mean_distance, 1e-9)) ** 2
