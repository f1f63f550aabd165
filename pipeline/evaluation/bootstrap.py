"""Is A better than B? Both are resampled together, in blocks of neighbouring periods.

Strategies on one market win and lose on the same days. Drawing those days for both at once keeps what they share out of
the difference; drawing runs of them keeps what follows on each other together.
Sources: Politis & Romano (1992, 1994), the circular and the stationary bootstrap; Politis & White (2004) with the
correction by Patton, Politis & White (2009), the length of the blocks; Ledoit & Wolf (2008), Sharpe ratios compared.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
# Of returns [..., n]: one number a row.
Statistic = Callable[[Array], Array]

DAYS_A_YEAR = 365.0
DRAWS = 2000
INTERVAL = 0.9
FEWEST_PERIODS = 10
# A spread smaller than this part of the mean is what rounding leaves of equal returns.
ROUNDING = 1e-12
# Numbers that are resampled at a time: some megabytes, whatever the length of the history.
AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Comparison:
    """A − B with an interval, and the p-value of A being no better.

    a, b, difference: the statistic of each, and A's less B's. low, high: interval of `confidence` of the difference.
    p_value: one-sided; how often chance alone shows such a difference where there is none. block: mean length of the
    blocks, in periods. n: periods.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    confidence: float
    n: int
    block: float
    draws: int
    sentence: str


def annual_sharpe(returns: Array, periods_per_year: float = DAYS_A_YEAR) -> Array:
    """Annual Sharpe ratios of rows of returns, by default of days; 0 of rows that do not vary."""
    mean = returns.mean(axis=-1)
    off = returns - mean[..., None]
    spread = np.sqrt(np.einsum("...n,...n->...", off, off) / (returns.shape[-1] - 1))
    varies = spread > ROUNDING * np.abs(mean)
    return np.asarray(np.where(varies, mean / np.where(varies, spread, 1.0), 0.0) * math.sqrt(periods_per_year))


def annual_mean(returns: Array, periods_per_year: float = DAYS_A_YEAR) -> Array:
    """Mean of rows of returns, by default of days, times the periods of a year."""
    return np.asarray(returns.mean(axis=-1) * periods_per_year)


def better(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    statistic: Statistic = annual_sharpe,
    *,
    names: tuple[str, str] = ("A", "B"),
    block: float | None = None,
    draws: int = DRAWS,
    confidence: float = INTERVAL,
    seed: int = 0,
) -> Comparison:
    """Compare the returns [n] of A with those of B over the same periods, by the stationary bootstrap.

    block: mean length of the blocks; None: the longest that `block_length` finds for A, B and their difference.
    names: for the sentence. The result follows the seed.

    >>> rng = np.random.default_rng(0)
    >>> market = rng.normal(0, 0.02, 730)
    >>> print(better(market + 0.001, market, draws=500).sentence)
    A is better than B by 0.96 (90% interval 0.92 to 1.00, p = 0.002).

    Raises ValueError: the lengths differ, there are fewer than 10 periods, or a number is not finite.
    """
    pair = _pair(a, b)
    n = pair.shape[1]
    if block is None:
        block = max(block_length(row) for row in (*pair, pair[0] - pair[1]))
    found = statistic(pair)
    difference = float(found[0] - found[1])
    rng, drawn = np.random.default_rng(seed), []
    for count in _counts(draws, n):
        rows = stationary_rows(rng, n, block, count)
        values = statistic(pair[:, rows])
        drawn.append(values[0] - values[1])
    off = np.concatenate(drawn) - difference
    p = float((1 + np.count_nonzero(off >= difference)) / (1 + draws))
    high_off, low_off = np.quantile(off, [(1 + confidence) / 2, (1 - confidence) / 2])
    low, high = difference - float(high_off), difference - float(low_off)
    sentence = _sentence(names, difference, (low, high), p, confidence)
    return Comparison(float(found[0]), float(found[1]), difference, low, high, p, confidence, n, block, draws, sentence)


def stationary_rows(rng: np.random.Generator, n: int, block: float, draws: int) -> Rows:
    """Rows [draws, n] of resamples of n periods, in blocks of geometric length with this mean, the end joined to the
    beginning."""
    if not block >= 1:
        raise ValueError(f"block = {block}: must be 1 at least")
    begins = rng.random((draws, n)) < 1 / block
    begins[:, 0] = True
    starts = rng.integers(0, n, (draws, n))
    at = np.arange(n)
    last = np.maximum.accumulate(np.where(begins, at, 0), axis=1)
    return np.asarray((np.take_along_axis(starts, last, axis=1) + at - last) % n)


def circular_rows(rng: np.random.Generator, n: int, block: int, draws: int) -> Rows:
    """Rows [draws, n] of resamples of n periods, in blocks of this length, the end joined to the beginning."""
    if block < 1:
        raise ValueError(f"block = {block}: must be 1 at least")
    starts = rng.integers(0, n, (draws, -(-n // block), 1))
    return np.asarray(((starts + np.arange(block)) % n).reshape(draws, -1)[:, :n])


def block_length(series: npt.ArrayLike) -> float:
    """Mean block length for the stationary bootstrap of a series' mean, at least 1.

    The rule of Politis & White (2004), corrected (2009): it grows with how long the series remembers.
    """
    x = np.asarray(series, np.float64)
    n = len(x)
    if n < FEWEST_PERIODS or np.ptp(x) == 0:
        return 1.0
    x = x - x.mean()
    within = max(5, int(math.log10(n)))
    most = min(math.ceil(math.sqrt(n)) + within, n - 2)
    covariance = np.array([x[k:] @ x[: n - k] for k in range(most + 1)]) / n
    # Correlations beyond which, for `within` lags, there is nothing.
    scale = np.array([math.sqrt((x[k + 1 :] @ x[k + 1 :]) * (x[: -(k + 1)] @ x[: -(k + 1)])) for k in range(most + 1)])
    small = np.abs(covariance * n) < 2 * math.sqrt(math.log10(n) / n) * scale
    quiet = [k for k in range(most - within + 1) if small[k : k + within].all()]
    lags = min(2 * max(quiet[0], 1), most) if quiet else most
    k = np.arange(1, lags + 1)
    taper = np.where(k / lags <= 0.5, 1.0, 2 * (1 - k / lags))
    slope = 2 * float(np.sum(taper * k * covariance[1 : lags + 1]))
    total = covariance[0] + 2 * float(np.sum(taper * covariance[1 : lags + 1]))
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    if total == 0:
        return float(longest)
    return float(min(max((slope**2 / total**2 * n) ** (1 / 3), 1.0), longest))


def _pair(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"returns of the same periods are compared, not {first.shape} with {second.shape}")
    pair = np.stack([first, second])
    if len(first) < FEWEST_PERIODS:
        raise ValueError(f"{len(first)} periods are too few to compare; {FEWEST_PERIODS} at least")
    if not np.isfinite(pair).all():
        raise ValueError("a return is not a finite number")
    return pair


def _counts(draws: int, n: int) -> list[int]:
    if draws < 1:
        raise ValueError(f"draws = {draws}: must be 1 at least")
    size = max(1, AT_ONCE // n)
    return [min(size, draws - done) for done in range(0, draws, size)]


def _sentence(
    names: tuple[str, str], difference: float, interval: tuple[float, float], p: float, confidence: float
) -> str:
    told = f"({confidence:.0%} interval {interval[0]:.2f} to {interval[1]:.2f}, p = {p:.3f})"
    if interval[0] > 0:
        return f"{names[0]} is better than {names[1]} by {difference:.2f} {told}."
    if interval[1] < 0:
        return f"{names[0]} is worse than {names[1]} by {-difference:.2f} {told}."
    return f"{names[0]} and {names[1]} cannot be told apart: {difference:+.2f} {told}."
