"""How often the strategy that looked best turns out worse than most: the probability of backtest overfitting, PBO.

The history is cut into blocks; every half of the blocks chooses a strategy, the other half judges it (combinatorially
symmetric cross-validation, CSCV). Each block's counts, sums and sums of squares are taken once; all that follows
is made of them.
Source: Bailey, Borwein, López de Prado & Zhu (2017), The Probability of Backtest Overfitting.
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Array = npt.NDArray[np.float64]
BLOCKS, MOST_BLOCKS = 12, 18
DRAWS = 200
INTERVAL = 0.9
_compiled: Any = compiled(nogil=True)
# A slice whose variance is less than this part of its mean square does not vary: what is left is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Overfitting:
    """PBO with an interval.

    pbo: share of the combinations in which the strategy chosen was worse than the median elsewhere; half of those in
    which it was the median. low, high: interval of `confidence`, by bootstrap. loss: how often the strategy chosen
    had a negative ratio elsewhere. slope: of the chosen one's ratio elsewhere on its ratio where it was chosen; None if
    not defined.
    """

    pbo: float
    low: float
    high: float
    confidence: float
    loss: float
    slope: float | None
    blocks: int
    combinations: int
    periods: int
    strategies: int
    sentence: str


@dataclass(frozen=True)
class Splits:
    """Each combination's Sharpe ratio of the strategy chosen, where it was chosen and elsewhere, and its rank
    elsewhere as a fraction in (0, 1), ties by their mean; all [combinations]."""

    inside: Array
    outside: Array
    rank: Array


def pbo(
    returns: npt.ArrayLike,
    blocks: int = BLOCKS,
    *,
    periods: int | None = None,
    draws: int = DRAWS,
    confidence: float = INTERVAL,
    seed: int = 0,
) -> Overfitting:
    """PBO of choosing by Sharpe ratio among the columns of returns [periods × strategies].

    periods: how many rows the matrix must have. Without it a matrix that has no more rows than columns is refused,
    since it may well be transposed. blocks: even, of neighbouring periods, equal in length but for one. draws: of the
    bootstrap. The result follows the seed.

    Raises ValueError: the orientation is wrong or cannot be told, a number is not finite, or there are too few
    strategies or periods.
    """
    matrix = _checked(returns, blocks, periods)
    split = splits(matrix, blocks)
    share = _share(split.rank)
    low, high = _interval(matrix, blocks, share, draws, confidence, seed)
    return Overfitting(
        pbo=share,
        low=low,
        high=high,
        confidence=confidence,
        loss=float(np.mean(split.outside < 0)),
        slope=_slope(split),
        blocks=blocks,
        combinations=len(split.rank),
        periods=matrix.shape[0],
        strategies=matrix.shape[1],
        sentence=_sentence(share, low, high, confidence),
    )


def splits(returns: npt.ArrayLike, blocks: int = BLOCKS) -> Splits:
    """The combinations of CSCV of returns [periods × strategies], which are not checked.

    They come in the order of `itertools.combinations` of the blocks that choose.
    """
    matrix = np.ascontiguousarray(returns, np.float64)
    return _resampled(matrix, matrix.mean(axis=0), np.arange(len(matrix)), _edges(len(matrix), blocks))


def _checked(returns: npt.ArrayLike, blocks: int, periods: int | None) -> Array:
    matrix = np.ascontiguousarray(returns, np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"returns must be a matrix [periods, strategies], not of {matrix.ndim} dimensions")
    rows, strategies = matrix.shape
    if periods is not None and rows != periods:
        turned = "; it is transposed" if strategies == periods else ""
        raise ValueError(f"the matrix has {rows} rows, there are {periods} periods{turned}")
    if periods is None and rows <= strategies:
        raise ValueError(
            f"{rows} periods of {strategies} strategies: the matrix may be transposed; if not, say periods={rows}"
        )
    if blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise ValueError(f"blocks = {blocks}: must be even and from 2 to {MOST_BLOCKS}")
    if rows < 2 * blocks:
        raise ValueError(f"{rows} periods are too few for {blocks} blocks: two each at least")
    if strategies < 2:
        raise ValueError("to choose takes two strategies")
    unknown = np.argwhere(~np.isfinite(matrix))
    if len(unknown):
        raise ValueError(f"the return of strategy {unknown[0][1]} in period {unknown[0][0]} is not a finite number")
    return matrix


def _share(rank: Array) -> float:
    # A strategy in the middle is as much worse as it is better.
    return float(np.mean(rank < 0.5) + np.mean(rank == 0.5) / 2)


def _interval(
    matrix: Array, blocks: int, share: float, draws: int, confidence: float, seed: int
) -> tuple[float, float]:
    # Each block is resampled from itself. To resample the whole history would put copies of one period on both sides,
    # where it chooses and judges: on noise the interval then held the true value in 5 % of the cases, not in 90 %.
    if draws < 1:
        return share, share
    rng, mean = np.random.default_rng(seed), matrix.mean(axis=0)
    edges = _edges(len(matrix), blocks)
    shares = [_share(_resampled(matrix, mean, _drawn(rng, edges), edges).rank) for _ in range(draws)]
    low, high = np.quantile(shares, [(1 - confidence) / 2, (1 + confidence) / 2])
    return min(float(low), share), max(float(high), share)


def _drawn(rng: np.random.Generator, edges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # Rows of each block, in runs of neighbours, so that what follows on each other stays together.
    rows = []
    for first, stop in pairwise(edges):
        n = int(stop - first)
        run = max(1, round(n ** (1 / 3)))
        starts = rng.integers(0, n, -(-n // run))
        rows.append(first + ((starts[:, None] + np.arange(run)) % n).ravel()[:n])
    return np.concatenate(rows)


def _slope(split: Splits) -> float | None:
    spread = split.inside - split.inside.mean()
    total = float(np.square(spread).sum())
    return float((spread * split.outside).sum() / total) if total > 0 else None


def _sentence(share: float, low: float, high: float, confidence: float) -> str:
    found = f"PBO {share:.2f} ({confidence:.0%} interval {low:.2f} to {high:.2f})"
    if low > 0.5:
        return f"{found}: what looks best tends to turn out worse than most; the search is overfitted."
    if high < 0.5:
        return f"{found}: what looks best tends to stay better than most."
    return f"{found}: choosing what looks best may be no better than choosing at random."


def _resampled(matrix: Array, mean: Array, rows: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> Splits:
    # Of these rows of the matrix, the first edges[1] of which are the first block.
    counts = np.diff(edges).astype(np.float64)
    return Splits(*_score(*_moments(matrix, mean, rows, edges), counts, mean, _chosen(len(counts))))


@cache
def _chosen(blocks: int) -> npt.NDArray[np.uint8]:
    # 1 for each block that chooses, [combinations, blocks].
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks), np.uint8)
    for row, of_one in zip(chosen, combinations(range(blocks), blocks // 2), strict=True):
        row[list(of_one)] = 1
    return chosen


def _edges(periods: int, blocks: int) -> npt.NDArray[np.int64]:
    # The longer blocks come first.
    length, longer = divmod(periods, blocks)
    return np.cumsum([0] + [length + (k < longer) for k in range(blocks)])


@_compiled
def _moments(matrix, mean, rows, edges):  # type: ignore[no-untyped-def]
    # Sums and sums of squares of each block, around the mean, so that squares lose no digits to it.
    blocks, strategies = len(edges) - 1, matrix.shape[1]
    sums, squares = np.zeros((blocks, strategies)), np.zeros((blocks, strategies))
    for b in range(blocks):
        for t in range(edges[b], edges[b + 1]):
            row = rows[t]
            for k in range(strategies):
                d = matrix[row, k] - mean[k]
                sums[b, k] += d
                squares[b, k] += d * d
    return sums, squares


@_compiled
def _score(sums, squares, counts, mean, chosen):  # type: ignore[no-untyped-def]
    total, (blocks, strategies) = len(chosen), sums.shape
    inside, outside, rank = np.empty(total), np.empty(total), np.empty(total)
    s, q, n = np.empty((2, strategies)), np.empty((2, strategies)), np.empty(2)
    # A combination and its complement are each other's judge: the complement of the first is the last.
    for c in range((total + 1) // 2):
        s[:], q[:], n[:] = 0.0, 0.0, 0.0
        for b in range(blocks):
            side = 1 - chosen[c, b]
            n[side] += counts[b]
            for k in range(strategies):
                s[side, k] += sums[b, k]
                q[side, k] += squares[b, k]
        for side in range(2):
            for k in range(strategies):
                offset = s[side, k] / n[side]
                variance = q[side, k] - s[side, k] * offset
                varies = variance > ROUNDING * q[side, k]
                # What does not vary has a ratio of 0: it is never chosen for it.
                s[side, k] = (mean[k] + offset) / np.sqrt(variance / (n[side] - 1)) if varies else 0.0
        for side in range(2):
            best = 0
            for k in range(1, strategies):
                best = k if s[side, k] > s[side, best] else best
            value = s[1 - side, best]
            below, equal = 0, 0
            for k in range(strategies):
                below += s[1 - side, k] < value
                equal += s[1 - side, k] == value
            row = c if side == 0 else total - 1 - c
            inside[row], outside[row] = s[side, best], value
            rank[row] = (below + (equal + 1) / 2) / (strategies + 1)
    return inside, outside, rank
