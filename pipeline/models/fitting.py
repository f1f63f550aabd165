"""One fit of one label with one algorithm, whichever family it is."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.config.training import Algorithm
from pipeline.errors import BadInput
from pipeline.models.calibration import Curve
from pipeline.models.lightgbm_file import ModelFile
from pipeline.models.parameters import lightgbm_parameters, linear_parameters
from pipeline.models.samples import Samples, SomeRows
from pipeline.models.weights import row_weights

if TYPE_CHECKING:
    import lightgbm as lgb

    from pipeline.models.lightgbm import BinnedRows
    from pipeline.models.linear import LinearModel

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

MIN_ROWS = 50
_PART = 1 << 15


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    model: a LightGBM booster, one of a file, or a `LinearModel`. rounds: boosting rounds or iterations used. columns:
    positions of the features that it learned from, ascending, among those that it is given; all of them if None.
    curve: makes probabilities of its scores, if it is calibrated.
    """

    model: "lgb.Booster | ModelFile | LinearModel"
    kind: str
    classification: bool
    rounds: int
    columns: tuple[int, ...] | None = None
    curve: Curve | None = None

    def predict(self, features: npt.NDArray[np.float32], threads: int = 1) -> Floats:
        """Scores [n] of feature rows [n, k], all k of them, whichever the model uses."""
        if self.curve is not None:
            return self.curve.apply(self.uncalibrated().predict(features, threads))
        if self.columns is not None:
            features = features[:, self.columns]
        if self.kind == "linear":
            return self.model.predict(features)  # type: ignore[return-value]
        if isinstance(self.model, ModelFile):
            return self.model.predict(features, threads)
        from pipeline.models import lightgbm

        return lightgbm.predict(self.model, features, threads)  # type: ignore[arg-type]

    def uncalibrated(self) -> "Fitted":
        """The same model without its curve."""
        return replace(self, curve=None)

    def predict_rows(self, features: npt.NDArray[np.float32] | SomeRows, rows: Indices, threads: int = 1) -> Floats:
        """Scores [m] of some rows of a matrix, without a copy of all of them at a time."""
        parts = [self.predict(features[rows[i : i + _PART]], threads) for i in range(0, len(rows), _PART)]
        return np.concatenate(parts) if parts else np.empty(0)

    @property
    def converged(self) -> bool:
        """Whether the fit came to its end before its iterations did; LightGBM's always does."""
        return self.kind != "linear" or self.model.converged  # type: ignore[union-attr]

    def importance(self, names: list[str]) -> dict[str, float]:
        """Share of each feature in the model, largest first; `names` of all that it is given."""
        if self.kind == "linear":
            names = names if self.columns is None else [names[j] for j in self.columns]
            return self.model.importance(names)  # type: ignore[union-attr]
        from pipeline.models import lightgbm

        return lightgbm.importance(self.model)  # type: ignore[arg-type]

    def text(self) -> str:
        """The model file's content."""
        return self.model.to_json() if self.kind == "linear" else self.model.model_to_string()  # type: ignore[union-attr]

    @property
    def suffix(self) -> str:
        return ".json" if self.kind == "linear" else ".txt"


def is_classification(algorithm: Algorithm, label: str, samples: Samples) -> bool:
    """Whether the algorithm classifies this label.

    Raises BadInput: classification of a label that is a number.
    """
    is_bool = samples.targets[label].is_bool
    if algorithm.objective == "classification" and not is_bool:
        raise BadInput(
            f"train.algorithms: {algorithm.name}: label '{label}' is a number and cannot be classified",
            "use objective: regression, or a label with a threshold",
        )
    return is_bool if algorithm.objective == "auto" else algorithm.objective == "classification"


def check_target(label: str, y: Floats, classification: bool, where: str) -> None:
    """Refuse what cannot be learnt.

    Raises BadInput: too few rows, one class, or one value; names the label and the rows' origin.
    """
    if len(y) < MIN_ROWS:
        raise BadInput(
            f"label '{label}': only {len(y)} usable rows in {where}; at least {MIN_ROWS} are needed",
            "download more bars, or shorten features' look-back, the horizon or train.length",
        )
    if y.min() == y.max():
        what = f"{bool(y[0])}" if classification else f"{y[0]:g}"
        raise BadInput(
            f"label '{label}': is {what} on all {len(y):,} rows of {where}; there is nothing to learn",
            "change its threshold or horizon, or train on a longer range",
        )


def fit(
    samples: Samples,
    binned: "BinnedRows | None",
    label: str,
    algorithm: Algorithm,
    rows: Indices,
    seed: int,
    *,
    rounds: int | None = None,
    validation: Indices | None = None,
    columns: Indices | None = None,
) -> Fitted:
    """Train on `rows`; stop early on `validation` if the algorithm asks for it.

    binned: the shared dataset that LightGBM needs, unless there are columns. rounds: instead of the algorithm's.
    columns: the features to learn from, ascending, if they are not all; bins then come from these rows alone.
    Rows weigh what `samples.weighting` says; those of the validation part all weigh the same.
    Raises BadInput: LightGBM refuses a parameter.
    """
    y = samples.targets[label].values
    classification = is_classification(algorithm, label, samples)
    balanced = algorithm.class_weight == "balanced" and classification
    rounds = rounds or algorithm.rounds
    weights = row_weights(samples, label, rows, seed)
    if algorithm.kind == "linear":
        from pipeline.models import linear

        model = linear.fit(
            samples.features[rows] if columns is None else samples.features[rows][:, columns],
            y[rows],
            classification=classification,
            iterations=rounds,
            params=linear_parameters(algorithm, classification),
            balanced=balanced,
            weights=weights,
        )
        return Fitted(model, "linear", classification, rounds, _tuple(columns))
    from pipeline.models.lightgbm import LightGBMError, reason

    params: dict[str, Any] = lightgbm_parameters(algorithm)
    try:
        learned, held_out = rows, validation
        if columns is not None:
            needed = rows if validation is None else np.union1d(rows, validation)
            binned = _binned_columns(samples, columns, needed, params)
            learned = np.searchsorted(needed, rows)
            held_out = None if validation is None else np.searchsorted(needed, validation)
        assert binned is not None
        booster = binned.fit(
            learned,
            y[rows],
            classification=classification,
            rounds=rounds,
            params=params,
            seed=seed,
            balanced=balanced,
            weights=weights,
            validation=None if held_out is None else (held_out, y[validation]),
            early_stopping=algorithm.early_stopping,
        )
    except LightGBMError as error:
        raise BadInput(
            f"train.algorithms: {algorithm.name}: LightGBM refuses its parameters: {reason(error)}"
        ) from None
    used = booster.best_iteration if booster.best_iteration > 0 else rounds
    return Fitted(booster, "lightgbm", classification, used, _tuple(columns))


def _tuple(columns: Indices | None) -> tuple[int, ...] | None:
    return None if columns is None else tuple(int(j) for j in columns)


def _binned_columns(samples: Samples, columns: Indices, rows: Indices, params: dict[str, Any]) -> "BinnedRows":
    from pipeline.models.lightgbm import BinnedRows

    features = np.asfortranarray(samples.features[rows][:, columns])
    return BinnedRows(features, [samples.names[j] for j in columns], params, None, 1)


def binned_rows(
    samples: Samples, algorithms: list[Algorithm], past: Indices | None, threads: int
) -> "dict[str, BinnedRows]":
    """Binned datasets by algorithm name; algorithms whose bins agree share one.

    Raises BadInput: an algorithm has a parameter that LightGBM does not know or refuses.
    """
    from pipeline.models.lightgbm import DATASET_KEYS, BinnedRows, LightGBMError, reason

    assert isinstance(samples.features, np.ndarray)
    shared: dict[str, BinnedRows] = {}
    result: dict[str, BinnedRows] = {}
    for algorithm in algorithms:
        if algorithm.kind == "lightgbm":
            params = lightgbm_parameters(algorithm)
            key = repr(sorted((k, v) for k, v in params.items() if k in DATASET_KEYS))
            if key not in shared:
                try:
                    shared[key] = BinnedRows(samples.features, samples.names, params, past, threads)
                except LightGBMError as error:
                    raise BadInput(
                        f"train.algorithms: {algorithm.name}: LightGBM refuses its parameters: {reason(error)}"
                    ) from None
            result[algorithm.name] = shared[key]
    return result


def learns_from_bins(algorithms: list[Algorithm]) -> bool:
    """Whether no algorithm needs the features themselves once they are binned."""
    return all(algorithm.kind == "lightgbm" for algorithm in algorithms)
