"""One score from an up-score and a down-score."""

import math

import numpy as np
import numpy.typing as npt

from pipeline.config.trading import Combine

Scores = npt.NDArray[np.float64]


def combine(up: npt.ArrayLike, down: npt.ArrayLike, spec: Combine) -> Scores:
    """Combined score of arrays [n] or single values, element by element; NaN where either is NaN.

    difference: up - down. relative: 2·up / (up + down) - 1, and 0 where the two add up to 0.
    larger: up where up ≥ down, else -down. Then · coefficient + constant.
    """
    up, down = np.asarray(up, np.float64), np.asarray(down, np.float64)
    if spec.combine == "difference":
        score = up - down
    elif spec.combine == "relative":
        total = up + down
        nothing = total == 0
        score = np.where(nothing, 0.0, 2 * up / np.where(nothing, 1.0, total) - 1)
    else:
        score = np.where(up >= down, up, np.where(np.isnan(up), up, -down))
    return np.asarray(score * spec.coefficient + spec.constant)


def combine_one(up: float, down: float, spec: Combine) -> float:
    """`combine` of two numbers by Python's arithmetic, which rounds as numpy's and takes a tenth of the time."""
    if spec.combine == "difference":
        score = up - down
    elif spec.combine == "relative":
        total = up + down
        score = 0.0 if total == 0 else 2 * up / total - 1
    else:
        score = up if up >= down or math.isnan(up) else -down
    return score * spec.coefficient + spec.constant
