"""A second-stage model: it reads the features and the scores of first-stage models."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.models.fitting import Fitted
from pipeline.models.samples import SomeRows

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_PART = 1 << 15


@dataclass(frozen=True)
class SecondModel:
    """How likely the trade of a signal is right.

    model: over the bundle's features and then the scores in `reads`. reads: names of first-stage scores, in order.
    """

    model: Fitted
    reads: tuple[str, ...]

    def predict_rows(
        self, features: npt.NDArray[np.float32] | SomeRows, rows: Indices, scores: Mapping[str, Floats]
    ) -> Floats:
        """Probabilities [m] of some rows of a matrix. scores: of these rows [m], by name."""
        parts = []
        for first in range(0, len(rows), _PART):
            part = slice(first, first + _PART)
            parts.append(self.model.predict(joined(features[rows[part]], [scores[name][part] for name in self.reads])))
        return np.concatenate(parts) if parts else np.empty(0)


def joined(features: npt.NDArray[np.float32], scores: list[Floats]) -> npt.NDArray[np.float32]:
    """Feature rows [n, k] with columns of scores after them, float32 [n, k + len(scores)], feature after feature."""
    matrix = np.empty((len(features), features.shape[1] + len(scores)), np.float32, order="F")
    matrix[:, : features.shape[1]] = features
    for place, values in enumerate(scores, features.shape[1]):
        matrix[:, place] = values
    return matrix
