"""What a method of selection found out, and the small model that two of them ask."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]

# Shallow and quick: it has to tell features apart, not to predict well.
_ROUNDS = 40
_PARAMS = {"num_leaves": 15, "learning_rate": 0.1, "feature_fraction": 0.5}


@dataclass(frozen=True)
class Evidence:
    """ranking: columns [k], best first. strength: of the evidence for each column [k], to compare with a threshold."""

    ranking: list[int]
    strength: Floats


def small_model(
    features: npt.NDArray[np.float32], y: Floats, classification: bool, rows: npt.NDArray[np.int64], seed: int
) -> "lgb.Booster":
    """A LightGBM model of a few shallow trees on some rows of [n, k]; bins come from the same rows."""
    from pipeline.models.lightgbm import BinnedRows

    x = np.asfortranarray(features[rows])
    params = _PARAMS | {"min_data_in_leaf": max(20, len(rows) // 100)}
    binned = BinnedRows(x, [f"f{j}" for j in range(x.shape[1])], params, None, 1)
    every = np.arange(len(rows), dtype=np.int64)
    return binned.fit(every, y[rows], classification=classification, rounds=_ROUNDS, params=params, seed=seed)
