"""Minimum redundancy, maximum relevance: features that say much about the label and little that others say already.

Relevance and redundancy are mutual information between quantile bins, which sees relations that rise and fall, such as
a label that asks how volatile it is. A feature counts as relevant only if it says more about the label than about the
label shifted in time: shifting keeps both autocorrelations, so long windows and overlapping outcomes are no excuse.
Source: Peng, Long & Ding (2005), Feature Selection Based on Mutual Information, the quotient form (MIQ).
"""

import numpy as np
import numpy.typing as npt

from pipeline.models.selection.evidence import Evidence

Floats = npt.NDArray[np.float64]

BINS = 10
SHIFTS = 50
# In nats. Features that share less than this are unrelated: below it a quotient would compare noise with noise.
_UNRELATED = 0.05


def evidence(features: npt.NDArray[np.float32], y: Floats, classification: bool, seed: int) -> Evidence:
    """Ranking by relevance over redundancy; strength: standard deviations above what shifted labels' relevance is."""
    n, k = features.shape
    hot = _one_hot(np.column_stack([_bins(features[:, j].astype(np.float64)) for j in range(k)]), BINS)
    classes = (y > 0).astype(np.int64) if classification else _bins(y)
    count = 2 if classification else BINS
    target = _one_hot(classes[:, None], count)
    relevance = _information(hot.T @ target, BINS, count)[:, 0]
    offsets = np.random.default_rng(seed).integers(max(n // 10, 1), max(n - n // 10, 2), SHIFTS)
    shifted = np.array([_information(hot.T @ np.roll(target, offset, 0), BINS, count)[:, 0] for offset in offsets])
    null, spread = shifted.mean(axis=0), np.maximum(shifted.std(axis=0), 1e-9)
    strength = (relevance - null) / spread
    worth = np.maximum(relevance - null - 2 * spread, 0.0)
    return Evidence(_greedy(worth, relevance, _information(hot.T @ hot, BINS, BINS)), strength)


def _greedy(worth: Floats, relevance: Floats, shared: Floats) -> list[int]:
    # Those that say something first, each time the one with the best quotient; then the rest by relevance.
    left = [int(j) for j in np.flatnonzero(worth > 0)]
    ranking: list[int] = []
    redundancy = np.zeros(len(worth))
    while left:
        mean = redundancy[left] / max(len(ranking), 1)
        quotient = worth[left] / np.maximum(mean, _UNRELATED)
        best = left.pop(int(np.argmax(quotient)))
        ranking.append(best)
        redundancy += shared[best]
    others = sorted(set(range(len(worth))) - set(ranking), key=lambda j: (-relevance[j], j))
    return ranking + others


def _bins(values: Floats) -> npt.NDArray[np.int64]:
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


def _one_hot(places: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float32]:
    # Counts stay exact in float32: there are fewer rows than 2^24.
    n, k = places.shape
    hot = np.zeros((n, k * count), np.float32)
    hot[np.arange(n)[:, None], places + count * np.arange(k)] = 1
    return hot


def _information(counts: npt.NDArray[np.float32], rows: int, columns: int) -> Floats:
    # Mutual information of each pair of variables, in nats: [a, b] of counts [a·rows, b·columns].
    a, b = counts.shape[0] // rows, counts.shape[1] // columns
    joint = counts.astype(np.float64).reshape(a, rows, b, columns).transpose(0, 2, 1, 3)
    joint = joint / joint.sum(axis=(2, 3), keepdims=True)
    product = joint.sum(axis=3, keepdims=True) * joint.sum(axis=2, keepdims=True)
    ratio = np.divide(joint, product, out=np.ones_like(joint), where=joint > 0)
    return np.maximum((joint * np.log(ratio)).sum(axis=(2, 3)), 0.0)
