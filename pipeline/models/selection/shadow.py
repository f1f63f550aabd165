"""Shadow features, as in Boruta: a feature counts if it gains more than any of the copies that cannot know anything.

Boruta shuffles the rows of the copies. Bars that follow each other are alike, and so are overlapping outcomes: by
chance a slow feature then fits a slow label far better than a shuffled one could. Our shadows are the features of
another time: shifted round the window, they keep their autocorrelation and what they share among each other.
Source: Kursa & Rudnicki (2010), Feature Selection with the Boruta Package.
"""

import numpy as np
import numpy.typing as npt

from pipeline.models.selection.evidence import Evidence, small_model

Floats = npt.NDArray[np.float64]

ROUNDS = 20


def evidence(features: npt.NDArray[np.float32], y: Floats, classification: bool, seed: int) -> Evidence:
    """Ranking by rounds won, then by gain; strength is the share of rounds in which a feature beat every shadow."""
    n, k = features.shape
    rng = np.random.default_rng(seed)
    offsets = rng.integers(max(n // 10, 1), max(n - n // 10, 2), ROUNDS)
    rows = np.arange(n, dtype=np.int64)
    won, gained = np.zeros(k), np.zeros(k)
    for number, offset in enumerate(offsets):
        both = np.concatenate([features, np.roll(features, offset, axis=0)], axis=1)
        gain = small_model(both, y, classification, rows, seed + number).feature_importance("gain")
        won += gain[:k] > gain[k:].max()
        gained += gain[:k] / (gain.sum() or 1.0)
    return Evidence([int(j) for j in np.lexsort((-gained, -won))], won / ROUNDS)
