"""Scores against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from pipeline.evaluation.scores import classification_scores, regression_scores


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(4, 300), decimals=st.sampled_from([1, 2, 17]))
def test_classification_scores_equal_scikit_learn_with_ties_too(seed, n, decimals):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    y[:2] = True, False
    p = np.round(np.clip(rng.random(n) * 0.8 + 0.2 * y, 0, 1), decimals)
    scores = classification_scores(y, p)
    expected = {
        "auc": metrics.roc_auc_score(y, p),
        "average_precision": metrics.average_precision_score(y, p),
        "log_loss": metrics.log_loss(y, p),
        "brier": metrics.brier_score_loss(y, p),
        "base_log_loss": metrics.log_loss(y, np.full(n, y.mean())),
        "base_brier": metrics.brier_score_loss(y, np.full(n, y.mean())),
    }
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    assert scores["rows"] == n


def test_one_class_has_no_ranking_but_a_loss():
    scores = classification_scores(np.ones(5, bool), np.full(5, 0.7))
    assert scores["auc"] is None and scores["average_precision"] is None
    assert scores["log_loss"] == pytest.approx(-np.log(0.7))


def test_calibration_error_of_a_constant_score_is_its_distance_to_the_rate():
    y = np.arange(10) < 3
    assert classification_scores(y, np.full(10, 0.55))["ece"] == pytest.approx(0.25)


def test_regression_scores_equal_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    p = y + rng.normal(size=200)
    scores = regression_scores(y, p)
    assert scores["r2"] == pytest.approx(metrics.r2_score(y, p))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(y, p))
    assert scores["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, p))
    assert scores["correlation"] == pytest.approx(np.corrcoef(y, p)[0, 1])


def test_no_rows_give_no_figures():
    assert classification_scores(np.zeros(0, bool), np.zeros(0))["rows"] == 0
    assert regression_scores(np.zeros(0), np.zeros(0))["r2"] is None
