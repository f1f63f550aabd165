"""Calibration curves: equal to the references, monotone, the same for one score as for many."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression

from pipeline.models import calibration
from pipeline.models.calibration import Isotonic, Sigmoid, VennAbers

METHODS = ("isotonic", "sigmoid", "venn_abers")
ROWS = st.lists(st.tuples(st.integers(1, 99), st.booleans()), min_size=1, max_size=60)


def _rows(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    # Overconfident scores: the truth is nearer to a half than they say.
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return 1 / (1 + np.exp(-3 * truth + 1)), rng.random(n) < 1 / (1 + np.exp(-truth))


def _arrays(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score / 100 for score, _ in rows]), np.array([outcome for _, outcome in rows])


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_isotonic_equals_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, outcomes = _arrays(rows)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, outcomes.astype(float))
    asked = np.linspace(0, 1, 203)
    np.testing.assert_allclose(
        calibration.fit_isotonic(scores, outcomes).apply(asked), reference.predict(asked), atol=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_sigmoid_equals_scikit_learns_platt(seed: int) -> None:
    scores, outcomes = _rows(3000, seed)
    slope, intercept = _sigmoid_calibration(calibration.log_odds(scores), outcomes.astype(np.float64))
    ours = calibration.fit_sigmoid(scores, outcomes)
    assert (ours.slope, ours.intercept) == pytest.approx((-slope, -intercept), abs=2e-5)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(0, 100))
def test_venn_abers_is_two_isotonic_regressions_with_the_new_score_in_them(
    rows: list[tuple[int, bool]], asked: int
) -> None:
    scores, outcomes = _arrays(rows)
    asked_score = asked / 100
    expected = []
    for outcome in (0.0, 1.0):
        both = np.append(scores, asked_score), np.append(outcomes.astype(float), outcome)
        expected.append(IsotonicRegression().fit(*both).predict([asked_score])[0])
    low, high = calibration.fit_venn_abers(scores, outcomes).bounds(np.array([asked_score]))
    assert (low[0], high[0]) == pytest.approx(expected, abs=1e-12)
    assert low[0] <= high[0]


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from(METHODS))
def test_one_score_gets_the_bits_of_many_and_the_file_keeps_them(rows: list[tuple[int, bool]], method: str) -> None:
    curve = calibration.fit(method, *_arrays(rows))
    again = calibration.from_json(calibration.to_json(curve))
    asked = np.concatenate([np.linspace(0, 1, 77), _arrays(rows)[0], np.random.default_rng(0).random(40)])
    many = curve.apply(asked)
    assert many.tobytes() == np.array([curve.one(score) for score in asked.tolist()]).tobytes()
    assert many.tobytes() == again.apply(asked).tobytes()
    assert calibration.method_of(again) == method
    assert np.all((many >= 0) & (many <= 1))


@pytest.mark.parametrize("method", METHODS)
def test_curves_bring_overconfident_scores_near_the_truth_on_new_rows(method: str) -> None:
    from pipeline.evaluation.scores import classification_scores

    curve = calibration.fit(method, *_rows(seed=1))
    scores, outcomes = _rows(seed=2)
    before, after = classification_scores(outcomes, scores), classification_scores(outcomes, curve.apply(scores))
    assert before["ece"] > 0.1 and after["ece"] < 0.03
    assert after["log_loss"] < before["log_loss"]
    assert np.all(np.diff(curve.apply(np.sort(scores))) >= -1e-15)


def test_a_calibrated_score_is_left_alone_by_platts_curve() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random(200_000)
    curve = calibration.fit_sigmoid(scores, rng.random(200_000) < scores)
    assert (curve.slope, curve.intercept) == pytest.approx((1, 0), abs=0.02)


def test_a_score_that_misled_is_given_up_not_turned_around() -> None:
    scores, outcomes = _rows()
    curve = calibration.fit_sigmoid(scores, ~outcomes)
    assert curve.slope == 0
    assert curve.apply(scores) == pytest.approx((~outcomes).mean(), abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_one_class_alone_and_one_score_alone_are_no_trouble(method: str) -> None:
    for outcomes in (np.zeros(5, bool), np.ones(5, bool)):
        for scores in (np.full(5, 0.3), np.linspace(0.1, 0.9, 5)):
            values = calibration.fit(method, scores, outcomes).apply(np.array([0.0, 0.3, 1.0]))
            assert np.all((values >= 0) & (values <= 1)) and (values.mean() > 0.5) == outcomes[0]


def test_what_cannot_be_a_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        calibration.fit("isotonic", np.empty(0), np.empty(0, bool))
    with pytest.raises(ValueError, match="no calibration is called 'beta'"):
        calibration.from_json(json.dumps({"method": "beta"}))


def test_knots_within_flat_stretches_are_not_kept() -> None:
    curve = calibration.fit_isotonic(np.arange(1000) / 1000, np.arange(1000) >= 500)
    assert isinstance(curve, Isotonic) and len(curve.x) == 4
    assert isinstance(calibration.fit_sigmoid(*_rows()), Sigmoid)
    venn = calibration.fit_venn_abers(*_rows())
    assert isinstance(venn, VennAbers) and np.all(np.diff(venn.low) > 0) and np.all(np.diff(venn.high) > 0)
