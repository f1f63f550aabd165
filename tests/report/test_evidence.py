"""What scores know, beside the null."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline.report import evidence
from pipeline.report.data import ModelScores


def model(
    score: np.ndarray, outcome: np.ndarray, volatility: np.ndarray | None = None, name: str = "up_a"
) -> ModelScores:
    label, _, algorithm = name.rpartition("_")
    volatility = np.full(len(score), np.nan) if volatility is None else volatility
    return ModelScores(name, label, algorithm, True, outcome.astype(float), score, volatility)


def test_rank_correlation_with_volatility_equals_scipys() -> None:
    rng = np.random.default_rng(1)
    volatility = np.round(rng.exponential(size=500), 1)  # with ties
    score = np.round(volatility + rng.normal(size=500), 1)
    found = evidence.volatility_correlation(model(score, np.zeros(500), volatility))
    assert found == pytest.approx(spearmanr(score, volatility).statistic)


def test_scores_that_follow_volatility_only_know_no_direction() -> None:
    rng = np.random.default_rng(2)
    n = 20_000
    volatility = rng.exponential(size=n)
    move = rng.normal(size=n) * volatility
    score = volatility / volatility.max()
    up, down = (
        model(score, move > 1.5, volatility),
        model(score + rng.normal(size=n) * 1e-3, move < -1.5, volatility, "down_a"),
    )
    assert (evidence.scores(up)["auc"] or 0) > 0.8
    assert evidence.volatility_correlation(up) == pytest.approx(1)
    found = evidence.direction_auc([up, down], ("up_a", "down_a"))
    assert found is not None and found[0] == pytest.approx(0.5, abs=0.02)


def test_direction_is_undefined_without_both_scores() -> None:
    only = model(np.linspace(0, 1, 10), np.arange(10) > 4)
    assert evidence.direction_auc([only], ("up_a", "down_a")) is None


def test_calibration_bins_hold_every_row_once_and_average_to_the_whole() -> None:
    rng = np.random.default_rng(3)
    score = rng.beta(1, 8, 1003)
    outcome = rng.random(1003) < score
    score[:3] = np.nan
    bins = evidence.calibration(model(score, outcome))
    assert bins.count.sum() == 1000 and len(bins.count) == evidence.CALIBRATION_BINS
    assert np.average(bins.observed, weights=bins.count) == pytest.approx(outcome[3:].mean())
    assert np.average(bins.predicted, weights=bins.count) == pytest.approx(score[3:].mean())
    assert np.all(np.diff(bins.predicted) > 0)


def test_a_constant_score_still_has_a_histogram_and_a_calibration() -> None:
    flat = model(np.full(50, 0.2), np.arange(50) % 5 == 0)
    assert evidence.calibration(flat).observed.sum() > 0
    assert evidence.histogram(flat.score, np.ones(50, bool))[1].sum() == pytest.approx(1)
