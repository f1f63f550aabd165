"""What a model's scores know, beside what a score that knows nothing would show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.scores import classification_scores, label_scores
from pipeline.report.data import Array, ModelScores

BINS = 50
CALIBRATION_BINS = 20


@dataclass(frozen=True)
class Calibration:
    """Mean score, mean outcome and number of rows of bins in ascending order of score."""

    predicted: Array
    observed: Array
    count: npt.NDArray[np.int64]


def calibration(model: ModelScores, bins: int = CALIBRATION_BINS) -> Calibration:
    """Bins of about equally many rows: equal widths would leave most of them empty, for rare events."""
    known = model.known
    score, outcome = model.score[known], model.outcome[known]
    order = np.argsort(score, kind="stable")
    edges = np.unique(np.linspace(0, len(order), min(bins, len(order)) + 1).astype(np.int64))
    count = np.diff(edges)
    return Calibration(
        np.add.reduceat(score[order], edges[:-1]) / count, np.add.reduceat(outcome[order], edges[:-1]) / count, count
    )


def histogram(score: Array, chosen: npt.NDArray[np.bool_]) -> tuple[Array, Array, float]:
    """Bin centres over the range of all scores, the share of the chosen ones in each bin, the bins' width."""
    edges = np.linspace(score.min(), score.max() if score.max() > score.min() else score.min() + 1e-6, BINS + 1)
    counts = np.histogram(score[chosen], edges)[0]
    return (edges[:-1] + edges[1:]) / 2, counts / max(counts.sum(), 1), float(edges[1] - edges[0])


def scores(model: ModelScores) -> dict[str, float | int | None]:
    """The evaluation scores of the rows where score and outcome are known."""
    known = model.known
    outcome = model.outcome[known]
    return label_scores(outcome == 1 if model.boolean else outcome, model.score[known])


def volatility_correlation(model: ModelScores) -> float | None:
    """Spearman's rank correlation of the score with the volatility before it.

    Touch labels mostly ask whether the price will move at all: a score that only follows volatility
    reaches a high AUC and knows no direction.
    """
    rows = np.isfinite(model.score) & np.isfinite(model.volatility)
    if rows.sum() < 3:
        return None
    a, b = _ranks(model.score[rows]), _ranks(model.volatility[rows])
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else None


def direction_auc(models: Sequence[ModelScores], pair: tuple[str, str]) -> tuple[float, int] | None:
    """AUC of (up score − down score) among the rows where exactly one of both came true, and their number.

    0.5 says: given that something happened, the scores did not know which. None if it is not defined.
    """
    named: Mapping[str, Any] = {model.name: model for model in models}
    up, down = (named.get(name) for name in pair)
    if up is None or down is None or not (up.boolean and down.boolean):
        return None
    rows = up.known & down.known & (up.outcome != down.outcome)
    auc = classification_scores(up.outcome[rows] == 1, up.score[rows] - down.score[rows])["auc"]
    return None if auc is None else (float(auc), int(rows.sum()))


def _ranks(values: Array) -> Array:
    # Ties get their mean rank.
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place])
