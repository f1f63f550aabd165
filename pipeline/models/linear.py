"""Logistic and ridge regression on standardised features: the baseline that trees have to beat."""

import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadInput

Floats = npt.NDArray[np.float64]

# A hundred coefficients need no more; beyond it every k-th row is taken, which keeps memory bounded.
MAX_ROWS = 300_000


@dataclass(frozen=True)
class LinearModel:
    """Coefficients over (x − mean) / scale.

    mean, scale, coefficients: float64 [k]; scale is 1 where a feature was constant. converged: known after a fit
    only; not part of the file.
    """

    classification: bool
    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: float
    converged: bool = True

    def predict(self, features: npt.NDArray[np.float32]) -> Floats:
        """Probabilities or values [n]; summed feature by feature, so one row gives the bits of many."""
        total = np.full(len(features), self.intercept)
        for j in range(len(self.mean)):
            total += (features[:, j].astype(np.float64) - self.mean[j]) / self.scale[j] * self.coefficients[j]
        if not self.classification:
            return total
        # Written so that exp never overflows.
        small = np.exp(-np.abs(total))
        return np.where(total >= 0, 1 / (1 + small), small / (1 + small))

    def importance(self, names: list[str]) -> dict[str, float]:
        """Share of the absolute standardised coefficients, largest first."""
        size = np.abs(self.coefficients)
        total = float(size.sum()) or 1.0
        return dict(sorted(zip(names, (size / total).tolist(), strict=True), key=lambda item: -item[1]))

    def to_json(self) -> str:
        """Text from which `from_json` makes the same model, to the last bit."""
        value = {
            "kind": "linear",
            "classification": self.classification,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept,
        }
        return json.dumps(value, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "LinearModel":
        """The model of a text made by `to_json`. Raises KeyError or ValueError: it is not one."""
        value = json.loads(text)
        mean, scale, coefficients = (np.array(value[key], np.float64) for key in ("mean", "scale", "coefficients"))
        return cls(bool(value["classification"]), mean, scale, coefficients, float(value["intercept"]))


def fit(
    features: npt.NDArray[np.float32],
    y: Floats,
    *,
    classification: bool,
    iterations: int,
    params: dict[str, Any],
    balanced: bool = False,
    weights: Floats | None = None,
) -> LinearModel:
    """Fit on feature rows [n, k]; scaling is fitted on the same rows, which all weigh the same in it.

    weights: of the rows in the loss, [n].
    params: scikit-learn's: C, tol, l1_ratio (logistic) or alpha, tol (ridge).
    Raises BadInput: scikit-learn refuses a value.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    # Said once, by the summary, instead of from each fit.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    stride = -(-len(features) // MAX_ROWS)
    x, y = features[::stride].astype(np.float64), y[::stride]
    weights = None if weights is None else weights[::stride]
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    x -= mean
    x /= scale
    try:
        if classification:
            model = LogisticRegression(max_iter=iterations, class_weight="balanced" if balanced else None, **params)
            model.fit(x, y > 0, weights)
            coefficients = model.coef_[0].astype(np.float64)
            done = int(model.n_iter_.max()) < iterations
            return LinearModel(True, mean, scale, coefficients, float(model.intercept_[0]), done)
        ridge = Ridge(**params).fit(x, y, weights)
    except ValueError as error:
        raise BadInput(f"train.algorithms: scikit-learn refuses a linear model's parameters: {error}") from None
    return LinearModel(False, mean, scale, np.asarray(ridge.coef_, np.float64), float(ridge.intercept_))
