"""How many independent trials a set of trials amounts to that are much alike.

A grid of a thousand thresholds is not a thousand ideas: neighbours trade alike. What matters for luck is how high the
best of them reaches without any skill, and that follows from how they correlate.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import brentq
from scipy.spatial.distance import squareform
from scipy.special import log_ndtr

Array = npt.NDArray[np.float64]
DRAWS = 1000  # and as many mirror images; the mean maximum is known to a hundredth
# Two strategies of one cluster have more in common than not.
ALIKE = 0.5


@dataclass(frozen=True)
class Effective:
    """Trials that vary, the clusters of alike ones, and `n`, to a tenth: how many independent trials reach as high."""

    trials: int
    clusters: int
    n: float


def effective_trials(returns: npt.ArrayLike, *, of: int | None = None, seed: int = 0) -> Effective:
    """Of the returns of trials [periods × trials].

    `n` follows from the expected maximum of normal variables that correlate as the trials do, drawn by giving each
    period a random normal weight. Noisy copies of one strategy count for more than one: the best of them is luckier
    than each. Clusters: average linkage on the correlation, cut at 0.5. Trials that never vary are left out.
    of: the trials are a random sample of so many; `n` is then carried on as it grows from half of the sample to the
    whole of it, for each time that the sample would have to be doubled.

    >>> rng = np.random.default_rng(0)
    >>> ideas = rng.normal(size=(500, 5))
    >>> alike = np.repeat(ideas, 20, axis=1) + 0.05 * rng.normal(size=(500, 100))
    >>> effective_trials(alike)
    Effective(trials=100, clusters=5, n=6.2)

    Raises ValueError: not a matrix of finite numbers.
    Sources: White (2000), A Reality Check for Data Snooping, for the maximum of correlated trials; López de Prado &
    Lewis (2019), Detection of False Investment Strategies, for clusters as trials.
    """
    matrix = np.asarray(returns, np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError("returns must be a matrix of finite numbers [periods, trials]")
    given = matrix.shape[1]
    matrix = matrix[:, np.ptp(matrix, axis=0) > 0] if len(matrix) else matrix[:, :0]
    trials = matrix.shape[1]
    if trials < 2:
        return Effective(trials, trials, 1.0)
    rng = np.random.default_rng(seed)
    centred = matrix - matrix.mean(axis=0)
    scaled = centred / np.sqrt(np.square(centred).sum(axis=0))
    drawn = np.einsum("dt,tk->dk", rng.normal(size=(DRAWS, len(matrix))), scaled)  # BLAS differs between machines
    n = _independent(drawn)
    if of is not None and of > given:
        half = _independent(drawn[:, rng.permutation(trials)[: trials // 2]])
        growth = min(max(n / half, 1.0), 2.0)
        n = min(n * growth ** math.log2(of / given), n * of / given)
    return Effective(trials, _clusters(scaled), round(n, 1))


def mean_maximum(n: float) -> float:
    """Expected maximum of n independent standard normal variables, by integration; n need not be whole.

    `significance.expected_max` is an approximation that is a hundredth higher.
    """
    x = np.linspace(0, 10, 2001)
    above, below = -np.expm1(n * log_ndtr(x)), np.exp(n * log_ndtr(-x))
    return float(np.trapezoid(above - below, x))


def _independent(drawn: Array) -> float:
    # The number whose expected maximum is that of the columns; each draw counts with its mirror image.
    trials = drawn.shape[1]
    highest = float((drawn.max(axis=1) - drawn.min(axis=1)).mean() / 2)
    if highest <= 0:
        return 1.0
    if highest >= mean_maximum(trials):
        return float(trials)
    return float(brentq(lambda n: mean_maximum(n) - highest, 1.0, float(trials)))


def _clusters(scaled: Array) -> int:
    distance = np.clip(1 - scaled.T @ scaled, 0, 2)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform((distance + distance.T) / 2, checks=False), "average")
    return int(fcluster(tree, 1 - ALIKE, "distance").max())
