"""How good scores are, always beside what knowing nothing but the base rate would get."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scores = dict[str, float | int | None]

_BINS = 10


def classification_scores(y: npt.NDArray[np.bool_], p: Floats) -> Scores:
    """Scores of probabilities against outcomes.

    y: bool [n]. p: probability of True, [n], finite.
    Returns auc, average_precision (None with a single class), log_loss, brier, ece (10 equal bins),
    base_rate, base_log_loss, base_brier (of always predicting the base rate), rows; all None but rows
    if there are no rows.
    Sources: Hanley & McNeil (1982) for AUC; Guo et al. (2017) for ECE.
    """
    y, p = np.asarray(y, dtype=bool), np.asarray(p, dtype=np.float64)
    names = ("auc", "log_loss", "brier", "average_precision", "ece", "base_rate", "base_log_loss", "base_brier")
    if len(y) == 0:
        return {**dict.fromkeys(names), "rows": 0}
    base = float(y.mean())
    auc, average_precision = _ranking(y, p)
    return {
        "auc": auc,
        "log_loss": log_loss(y, p),
        "brier": float(np.mean((p - y) ** 2)),
        "average_precision": average_precision,
        "ece": _calibration_error(y, p),
        "base_rate": base,
        "base_log_loss": log_loss(y, np.full(len(y), base)),
        "base_brier": base * (1 - base),
        "rows": len(y),
    }


def regression_scores(y: Floats, p: Floats) -> Scores:
    """r2, mae, rmse, correlation (None where undefined), base_rmse (of always predicting the mean), rows."""
    y, p = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    if len(y) == 0:
        return {**dict.fromkeys(("r2", "mae", "rmse", "correlation", "base_rmse")), "rows": 0}
    error, spread = float(np.mean((y - p) ** 2)), float(y.var())
    defined = spread > 0 and p.std() > 0 and len(y) > 1
    return {
        "r2": 1 - error / spread if spread > 0 else None,
        "mae": float(np.mean(np.abs(y - p))),
        "rmse": error**0.5,
        "correlation": float(np.corrcoef(y, p)[0, 1]) if defined else None,
        "base_rmse": spread**0.5,
        "rows": len(y),
    }


def label_scores(values: npt.NDArray, p: Floats) -> Scores:
    """Scores that suit the label: classification for bool, regression for numbers."""
    return classification_scores(values, p) if values.dtype == bool else regression_scores(values, p)


def log_loss(y: npt.NDArray[np.bool_], p: Floats) -> float:
    """Mean negative log-likelihood; probabilities are kept off 0 and 1 by the machine epsilon."""
    p = np.clip(p, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    return float(-np.mean(np.where(y, np.log(p), np.log1p(-p))))


def calibration_curve(y: npt.NDArray[np.bool_], p: Floats, bins: int = _BINS) -> Mapping[str, npt.NDArray]:
    """Mean prediction, observed rate and count of each non-empty one of `bins` equal bins of [0, 1]."""
    place = np.minimum((np.clip(p, 0, 1) * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    predicted = np.bincount(place, weights=p, minlength=bins)[used] / count[used]
    observed = np.bincount(place, weights=y, minlength=bins)[used] / count[used]
    return {"predicted": predicted, "observed": observed, "count": count[used]}


def _calibration_error(y: npt.NDArray[np.bool_], p: Floats) -> float:
    curve = calibration_curve(y, p)
    return float(np.sum(curve["count"] * np.abs(curve["predicted"] - curve["observed"])) / len(y))


def _ranking(y: npt.NDArray[np.bool_], p: Floats) -> tuple[float | None, float | None]:
    # Both areas from one sort; equal scores form one step.
    positives = int(y.sum())
    if positives in (0, len(y)):
        return None, None
    order = np.argsort(-p, kind="stable")
    hits = np.cumsum(y[order])
    steps = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    true, count = hits[steps].astype(np.float64), steps + 1.0
    false = count - true
    rise, run = np.diff(true, prepend=0.0), np.diff(false, prepend=0.0)
    auc = float(np.sum(run * (true - rise / 2)) / (positives * (len(y) - positives)))
    return auc, float(np.sum(rise / positives * (true / count)))
