"""How many independent trials correlated ones amount to, where that is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.effective_trials import effective_trials, mean_maximum
from pipeline.evaluation.significance import expected_max


def normal(periods: int, trials: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(periods, trials))


@pytest.mark.parametrize(
    ("n", "mean"),
    # Order statistics of the normal distribution: 1/√π, 3/(2√π); Harter (1961), table 1, for 10 and 100.
    [(1, 0.0), (2, np.pi**-0.5), (3, 1.5 * np.pi**-0.5), (10, 1.53875), (100, 2.50759)],
)
def test_the_mean_maximum_is_the_tables(n: int, mean: float) -> None:
    assert mean_maximum(n) == pytest.approx(mean, abs=6e-6)
    assert n == 1 or expected_max(n) == pytest.approx(mean, rel=0.08), "which the papers' formula approximates"


def test_independent_trials_count_in_full() -> None:
    found = effective_trials(normal(2000, 100))
    assert found.clusters == 100 and found.n > 90


@settings(max_examples=10, deadline=None)
@given(ideas=st.integers(1, 8), copies=st.integers(1, 10), seed=st.integers(0, 1000))
def test_exact_copies_count_once(ideas: int, copies: int, seed: int) -> None:
    found = effective_trials(np.repeat(normal(1000, ideas, seed), copies, axis=1), seed=seed)
    assert found.clusters == ideas and found.n == pytest.approx(ideas, rel=0.2)


def test_noisy_copies_count_for_more_than_their_ideas_and_far_less_than_all() -> None:
    found = effective_trials(np.repeat(normal(1000, 5), 40, axis=1) + 0.2 * normal(1000, 200, 1))
    assert found.clusters == 5 and 5.5 < found.n < 20


def test_luck_reaches_as_high_as_the_number_says() -> None:
    # Trials that share half of their variance, without skill: the best of them, over many histories.
    best = []
    for seed in range(300):
        returns = normal(250, 1, seed) + normal(250, 60, 1000 + seed)
        best.append((returns.mean(axis=0) / returns.std(axis=0, ddof=1)).max() * 250**0.5)
    n = effective_trials(normal(250, 1, 5) + normal(250, 60, 6)).n
    assert np.mean(best) == pytest.approx(mean_maximum(n), abs=0.12)


def test_a_sample_stands_for_all() -> None:
    independent, walk = normal(500, 1000, 2), np.cumsum(normal(500, 1000, 3), axis=1)
    rows = np.random.default_rng(4).permutation(1000)[:125]
    assert effective_trials(independent[:, rows], of=1000).n > 800
    assert effective_trials(walk[:, rows], of=1000).n == pytest.approx(effective_trials(walk).n, rel=0.35)


def test_trials_that_never_vary_are_left_out() -> None:
    returns = normal(100, 4)
    returns[:, 1] = 0.0
    assert effective_trials(returns).trials == 3
    assert effective_trials(np.zeros((100, 4))) == effective_trials(np.empty((0, 4)))
    assert effective_trials(np.zeros((100, 4))).n == 1.0


def test_the_result_follows_the_seed() -> None:
    assert effective_trials(normal(300, 30), seed=3) == effective_trials(normal(300, 30), seed=3)


@pytest.mark.parametrize("returns", [np.zeros(5), np.array([[0.1, np.nan]])])
def test_what_is_no_matrix_of_numbers_is_refused(returns: np.ndarray) -> None:
    with pytest.raises(ValueError, match="matrix of finite numbers"):
        effective_trials(returns)
