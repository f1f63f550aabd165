"""Stability of a choice of features over folds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.feature_stability import jaccard, nogueira


def test_the_same_choice_everywhere_is_stable() -> None:
    masks = np.tile([True, False, True, False], (5, 1))
    assert nogueira(masks) == 1.0 and jaccard(masks) == 1.0


def test_a_choice_by_lot_is_not() -> None:
    masks = np.random.default_rng(0).random((400, 60)) < 0.3
    assert nogueira(masks) == pytest.approx(0, abs=0.01)
    assert jaccard(masks) == pytest.approx(0.3 / (2 - 0.3), abs=0.01)


def test_a_value_computed_by_hand() -> None:
    # Shares 1, 1/2, 1/2, 0 over two folds: s² = 2·p(1 − p) = 0, ½, ½, 0; mean ¼; k̄/d = ½: 1 − ¼ / ¼ = 0.
    masks = np.array([[True, True, False, False], [True, False, True, False]])
    assert nogueira(masks) == pytest.approx(0.0)
    assert jaccard(masks) == pytest.approx(1 / 3)


@given(st.integers(2, 6), st.integers(2, 12), st.integers(0, 1000))
def test_what_it_says_stays_in_bounds(folds: int, features: int, seed: int) -> None:
    masks = np.random.default_rng(seed).random((folds, features)) < 0.5
    value = nogueira(masks)
    assert value is None or -1 / (folds - 1) - 1e-9 <= value <= 1 + 1e-9
    assert 0 <= (jaccard(masks) or 0) <= 1


def test_one_fold_or_no_choice_says_nothing() -> None:
    assert nogueira(np.ones((1, 3), bool)) is None and jaccard(np.ones((1, 3), bool)) is None
    assert nogueira(np.ones((3, 3), bool)) is None and nogueira(np.zeros((3, 3), bool)) is None
