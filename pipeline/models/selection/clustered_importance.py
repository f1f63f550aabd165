"""Permutation importance of clusters of correlated features, on a later part of the window than was learned from.

Permuting one of several features that say the same costs nothing, since the others stand in for it; so those that go
together are permuted together. The loss that a cluster saves is averaged over blocks of time: its t value says whether
it does so again and again or once.
Source: López de Prado, Machine Learning for Asset Managers (2020), 6.5 (clustered MDA).
"""

import numpy as np
import numpy.typing as npt

from pipeline.models.selection.evidence import Evidence, small_model

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

REPEATS = 5
BLOCKS = 20
# Features whose rank correlation is 0.7 or more on average share a cluster.
DISTANCE = 0.3


def evidence(
    features: npt.NDArray[np.float32], y: Floats, classification: bool, early: Mask, late: Mask, seed: int
) -> Evidence:
    """Ranking: the strongest of each cluster first, clusters by the loss they save; strength: t of that saving.

    early, late: rows to learn from and to judge on [n].
    Raises ValueError: one of them has no rows.
    """
    from pipeline.models.lightgbm import predict

    if not early.any() or not late.any():
        raise ValueError("permutation importance needs rows to learn from and later ones to judge on")
    groups = clusters(features[early])
    model = small_model(features, y, classification, np.flatnonzero(early), seed)
    x, outcome = features[late], y[late]
    base = _loss(outcome, predict(model, x), classification)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(x)) for _ in range(REPEATS)]
    saved, t = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    gain = model.feature_importance("gain")
    for group in range(groups.max() + 1):
        members = np.flatnonzero(groups == group)
        if not gain[members].any():
            continue  # the model does not look at them
        lost = np.zeros(len(x))
        for order in orders:
            mixed = x.copy()
            mixed[:, members] = x[order][:, members]
            lost += _loss(outcome, predict(model, mixed), classification) - base
        saved[members], t[members] = _over_blocks(lost / REPEATS)
    place = np.zeros(features.shape[1], np.int64)  # inside its cluster, by gain
    for group in range(groups.max() + 1):
        members = np.flatnonzero(groups == group)
        place[members[np.argsort(-gain[members], kind="stable")]] = np.arange(len(members))
    return Evidence([int(j) for j in np.lexsort((-saved, place))], t)


def clusters(features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Cluster of each column [k], from 0: average linkage on one less the absolute rank correlation."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    k = features.shape[1]
    if k == 1:
        return np.zeros(1, np.int64)
    ranks = rankdata(features, axis=0)
    ranks -= ranks.mean(axis=0)
    size = np.sqrt((ranks**2).sum(axis=0))
    ranks /= np.where(size > 0, size, 1.0)  # a constant goes with nothing
    distance = np.clip(1 - np.abs(ranks.T @ ranks), 0, 1)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    found = fcluster(linkage(squareform(distance, checks=False), "average"), DISTANCE, "distance")
    _, groups = np.unique(found, return_inverse=True)
    return groups.astype(np.int64)


def _loss(y: Floats, p: Floats, classification: bool) -> Floats:
    if not classification:
        return (y - p) ** 2
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -np.where(y > 0, np.log(p), np.log1p(-p))


def _over_blocks(lost: Floats) -> tuple[float, float]:
    means = np.array([part.mean() for part in np.array_split(lost, min(BLOCKS, len(lost)))])
    spread = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else 0.0
    return float(lost.mean()), float(means.mean() / spread) if spread > 0 else 0.0
