"""From a score to buy and sell signals."""

import numpy as np
import numpy.typing as npt

from pipeline.config.trading import Threshold

Flags = npt.NDArray[np.bool_]


def threshold(score: npt.ArrayLike, filled: npt.ArrayLike, spec: Threshold) -> tuple[Flags, Flags]:
    """buy where score ≥ spec.buy, sell where score ≤ spec.sell; neither on made-up bars or NaN scores.

    score: float64 [n] or one value; filled: bool, the same shape.
    """
    score, real = np.asarray(score, np.float64), ~np.asarray(filled, np.bool_)
    return (score >= spec.buy) & real, (score <= spec.sell) & real


def threshold_one(score: float, filled: bool, spec: Threshold) -> tuple[bool, bool]:
    """`threshold` of one bar."""
    return (not filled and score >= spec.buy), (not filled and score <= spec.sell)
