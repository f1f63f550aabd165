"""Scores of one feature row at a time, without what it costs the libraries to be asked for one row.

LightGBM's Python layer takes five times as long as its trees, and numpy twenty times as long as sixty multiplications.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.models.calibration import Curve
from pipeline.models.fitting import Fitted
from pipeline.models.flat_trees import FlatTrees, flat_trees, together
from pipeline.models.lightgbm_file import ModelFile
from pipeline.models.linear import LinearModel

Row = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Score = Callable[[Row], float]
_FLOAT32, _NORMAL, _ALL = 0, 0, -1
_BESIDE = np.array([0.0, -1e-6, 1e-6])
_PROBES, _LARGEST = 64, 1e38


def row_scorer(model: Fitted, features: int) -> Score:
    """A function from a contiguous row [features] to its score, equal to `model.predict` to the last bit."""
    if model.curve is not None:
        return _Calibrated(row_scorer(model.uncalibrated(), features), model.curve)
    if model.columns is not None:
        return _SomeColumns(replace(model, columns=None), model.columns)
    return _LinearRow(model.model) if isinstance(model.model, LinearModel) else _trees(model, features)


class _Calibrated:
    # A score as the probability that its curve makes of it.
    def __init__(self, score: Score, curve: Curve) -> None:
        self.score, self.curve = score, curve

    def __call__(self, row: Row) -> float:
        return self.curve.one(self.score(row))


class _SomeColumns:
    # A model that learned from some of the features only.
    def __init__(self, model: Fitted, columns: tuple[int, ...]) -> None:
        self.columns = np.array(columns, np.int64)
        self.score = row_scorer(model, len(columns))

    def __call__(self, row: Row) -> float:
        return self.score(row[self.columns])


def is_finite(row: Row) -> bool:
    """Whether all numbers of a row are."""
    # The sum of their squares tells it quickly; one that is too large is looked at more closely.
    return math.isfinite(row.dot(row)) or bool(np.isfinite(row).all())


class ModelScores:
    """Scores of several models at once: those whose trees are known lie side by side and are walked in one call.

    places: of the models' features in wider rows. trees: of all models, if scores are what they say.
    """

    def __init__(self, models: Sequence[Fitted], places: npt.NDArray[np.int64]) -> None:
        self._places, self._count = places, len(models)
        self._alone: list[tuple[int, Score]] = []
        self._curves: list[tuple[int, Curve]] = []
        flats: list[tuple[FlatTrees, npt.NDArray[np.int64]]] = []
        self._flat: list[int] = []
        for number, model in enumerate(models):
            score = row_scorer(model, len(places))
            flat, columns, curves = _walked(score, places)
            if flat is None:
                self._alone.append((number, score))
                continue
            flats.append((flat, columns))
            self._flat.append(number)
            self._curves += [(number, curve) for curve in curves]
        self._trees = together(flats) if flats else None
        self.trees = None if self._alone or self._curves else self._trees

    def __call__(self, rows: Row) -> Floats:
        """Scores of contiguous rows [n, k] as float64 [n, models]; not numbers where a feature is not."""
        scores = np.empty((len(rows), self._count))
        if self._trees is not None and not self._alone:
            self._trees.score_rows(rows, self._places, scores)
        else:
            if self._trees is not None:
                own = np.empty((len(rows), len(self._flat)))
                self._trees.score_rows(rows, self._places, own)
                scores[:, self._flat] = own
            for r, row in enumerate(rows):
                taken = row.take(self._places)
                known = is_finite(taken)
                for number, score in self._alone:
                    scores[r, number] = score(taken) if known else np.nan
        for number, curve in self._curves:
            for r, score in enumerate(scores[:, number].tolist()):
                scores[r, number] = curve.one(score) if math.isfinite(score) else np.nan
        return scores


def _walked(score: Score, places: npt.NDArray[np.int64]) -> tuple[FlatTrees | None, npt.NDArray[np.int64], list[Curve]]:
    # The trees that a score comes from, if it is only that, their columns, and the curves that it goes through.
    if isinstance(score, _Calibrated):
        flat, columns, curves = _walked(score.score, places)
        return flat, columns, [*curves, score.curve]
    if isinstance(score, _SomeColumns):
        return _walked(score.score, places[score.columns])
    return (score.flat if isinstance(score, _Trees) else None), places, []


def _trees(model: Fitted, features: int) -> Score:
    """LightGBM's trees in one block where that is known to be the same, else as LightGBM walks them."""
    own = _TreesRow(model, features)
    flat = flat_trees(own.text())
    if flat is None or any(own(row) != flat.score(row) for row in _probes(flat, features)):
        return own
    return _Trees(flat, own)


class _Trees:
    # Only LightGBM knows which way it goes with what is no number.
    def __init__(self, flat: FlatTrees, own: "_TreesRow") -> None:
        self.flat, self._own = flat, own

    def __call__(self, row: Row) -> float:
        found = self.flat.score(row)
        return self._own(row) if math.isnan(found) else found


def _probes(flat: FlatTrees, features: int) -> list[Row]:
    # Rows at and beside the thresholds, where a difference would show.
    rows = np.zeros((_PROBES, features), np.float32)
    # The threshold of a split between numbers and none is the largest double, which is no float.
    splits = flat.splits[np.abs(flat.splits["threshold"]) < _LARGEST]
    for feature in np.unique(splits["feature"]):
        own = splits["threshold"][splits["feature"] == feature]
        # Another order for each feature, so that thresholds meet in many ways.
        turn = np.arange(_PROBES) * (2 * int(feature) + 1) + int(feature)
        rows[:, feature] = own[turn % len(own)] * (1 + _BESIDE[turn // len(own) % len(_BESIDE)])
    return list(rows)


class _TreesRow:
    # LightGBM's own call for single rows, prepared once: part of its C interface that Python has no name for.
    def __init__(self, model: Fitted, features: int) -> None:
        own = model.model
        self._booster = own if isinstance(own, ModelFile) else ModelFile(model.text())
        self._library = self._booster.library
        self._config = ctypes.c_void_p()
        self._booster.check(
            self._library.LGBM_BoosterPredictForMatSingleRowFastInit(
                self._booster.handle,
                ctypes.c_int(_NORMAL),
                ctypes.c_int(0),
                ctypes.c_int(_ALL),
                ctypes.c_int(_FLOAT32),
                ctypes.c_int32(features),
                ctypes.c_char_p(b"num_threads=1"),
                ctypes.byref(self._config),
            )
        )
        self._row = np.zeros(features, np.float32)
        self._pointer = ctypes.c_void_p(self._row.ctypes.data)
        self._length, self._score = ctypes.c_int64(), ctypes.c_double()
        self._out = ctypes.byref(self._length), ctypes.byref(self._score)
        self._predict = self._library.LGBM_BoosterPredictForMatSingleRowFast

    def text(self) -> str:
        """The trees that it walks, in LightGBM's format."""
        return self._booster.model_to_string()

    def __call__(self, row: Row) -> float:
        self._row[:] = row
        self._booster.check(self._predict(self._config, self._pointer, *self._out))
        return self._score.value

    def __del__(self) -> None:
        if self._config:
            self._library.LGBM_FastConfigFree(self._config)


class _LinearRow:
    # The sum in `LinearModel.predict`'s order, one column after another.
    def __init__(self, model: LinearModel) -> None:
        self._model = model

    def __call__(self, row: Row) -> float:
        model = self._model
        total = model.intercept
        for term in ((row.astype(np.float64) - model.mean) / model.scale * model.coefficients).tolist():
            total += term
        if not model.classification:
            return total
        small = float(np.exp(np.array([-abs(total)]))[0])
        return 1 / (1 + small) if total >= 0 else small / (1 + small)
