"""How alike the features are that were chosen on different folds."""

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.bool_]


def nogueira(masks: Masks) -> float | None:
    """Stability of a choice, corrected for chance: 1 the same everywhere, about 0 as if drawn by lot.

    masks: which features were chosen, bool [folds, features].
    Returns None: with fewer than two folds, or if all or no features were chosen everywhere.
    Source: Nogueira, Sechidis & Brown (2018), On the Stability of Feature Selection Algorithms, JMLR 18(174), eq. 4.
    """
    folds, features = masks.shape
    if folds < 2:
        return None
    share = masks.mean(axis=0)
    expected = masks.sum(axis=1).mean() / features
    if expected in (0.0, 1.0):
        return None
    variance = folds / (folds - 1) * share * (1 - share)
    return float(1 - variance.mean() / (expected * (1 - expected)))


def jaccard(masks: Masks) -> float | None:
    """Mean over all pairs of folds of the share of features that both chose among those that either did.

    masks: bool [folds, features]. Returns None: with fewer than two folds.
    """
    folds = len(masks)
    if folds < 2:
        return None
    m = masks.astype(np.int64)
    both = m @ m.T
    sizes = np.diag(both)
    either = sizes[:, None] + sizes[None, :] - both
    pairs = np.triu_indices(folds, 1)
    return float(np.mean(np.where(either[pairs] > 0, both[pairs] / np.maximum(either[pairs], 1), 1.0)))
