"""PBO against another package, against a plain loop, and on markets whose truth is known."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from purgedcv import probability_of_backtest_overfitting

from pipeline.evaluation.overfitting import pbo, splits


def loop(returns: np.ndarray, blocks: int) -> tuple[list[float], list[float], list[float]]:
    """The definition, strategy by strategy: ratio of the best inside, its ratio outside, its rank there."""
    parts = np.array_split(np.arange(len(returns)), blocks)
    inside, outside, ranks = [], [], []
    for chosen in combinations(range(blocks), blocks // 2):
        own = np.concatenate([parts[k] for k in chosen])
        other = np.concatenate([parts[k] for k in range(blocks) if k not in chosen])
        here, there = ([ratio(returns[rows, k]) for k in range(returns.shape[1])] for rows in (own, other))
        best = int(np.argmax(here))
        place = sum(value < there[best] for value in there) + (sum(value == there[best] for value in there) + 1) / 2
        inside.append(here[best])
        outside.append(there[best])
        ranks.append(place / (returns.shape[1] + 1))
    return inside, outside, ranks


def ratio(returns: np.ndarray) -> float:
    return 0.0 if np.ptp(returns) == 0 else float(returns.mean() / returns.std(ddof=1))


def noise(periods: int, strategies: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, (periods, strategies))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32), half=st.integers(1, 4), rest=st.integers(0, 9), strategies=st.integers(2, 12),
    offset=st.sampled_from([0.0, 0.01, 100.0]),
)  # fmt: skip
def test_combinations_are_those_of_the_plain_loop(
    seed: int, half: int, rest: int, strategies: int, offset: float
) -> None:
    returns = noise(2 * half * 6 + rest, strategies, seed) + offset
    found = splits(returns, 2 * half)
    for ours, theirs in zip((found.inside, found.outside, found.rank), loop(returns, 2 * half), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-7)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), blocks=st.sampled_from([2, 4, 6, 8]), strategies=st.integers(2, 30))
def test_pbo_is_another_packages(seed: int, blocks: int, strategies: int) -> None:
    returns = noise(250, strategies, seed) + np.linspace(-0.002, 0.002, strategies)
    theirs = probability_of_backtest_overfitting(returns.T, blocks)
    ranks = splits(returns, blocks).rank
    # The order of its combinations is the complement's.
    assert np.sort(np.log(ranks / (1 - ranks))) == pytest.approx(np.sort(theirs.logits), abs=1e-12)
    found = pbo(returns, blocks, draws=0)
    assert found.pbo == pytest.approx(theirs.pbo + np.mean(theirs.logits == 0) / 2, abs=1e-12)
    assert found.combinations == theirs.n_combos and found.slope == pytest.approx(theirs.slope, rel=1e-9)


def test_flat_strategies_and_copies_are_ties_as_in_the_plain_loop() -> None:
    returns = noise(200, 40, 3)
    returns[:, 1] = 0.0
    returns[:, 2] = 0.01  # never varies, though it is the best
    returns[:, 4] = returns[:, 3]
    returns[:100, 5:] = np.linspace(-0.003, 0.004, 35)  # vary in the second half only
    found = splits(returns, 4)
    for ours, theirs in zip((found.inside, found.outside, found.rank), loop(returns, 4), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-15)


def test_of_strategies_without_trades_none_is_better() -> None:
    found = pbo(np.zeros((120, 5)))
    assert (found.pbo, found.low, found.high, found.loss, found.slope) == (0.5, 0.5, 0.5, 0.0, None)


def test_a_strategy_with_skill_is_not_overfitted_and_noise_may_be() -> None:
    returns = noise(1000, 50, 1)
    random = pbo(returns)
    assert random.low < 0.5 < random.high and "no better than choosing at random" in random.sentence
    returns[:, 7] += 0.008
    skilled = pbo(returns)
    assert skilled.high < 0.1 and skilled.slope is not None and "stay better than most" in skilled.sentence


def test_what_worked_before_and_then_fails_is_overfitted() -> None:
    # Every strategy is good in some of the blocks and as bad in the others.
    signs = np.array([[1 if k in good else -1 for k in range(12)] for good in combinations(range(12), 6)])[::20]
    returns = np.repeat(signs.T, 30, axis=0) * 0.01 + noise(360, len(signs), 2)
    found = pbo(returns)
    assert found.pbo > 0.9 and found.low > 0.5 and "overfitted" in found.sentence


def test_one_figure_on_noise_says_little_and_the_interval_says_so() -> None:
    found = [pbo(noise(600, 40, seed), 8, draws=60, seed=seed) for seed in range(60)]
    values = np.array([one.pbo for one in found])
    assert values.min() < 0.25 and values.max() > 0.75
    covered = np.mean([one.low <= 0.5 <= one.high for one in found])
    # A bootstrap that puts copies of a period on both sides covers it in 1 of 20 cases.
    assert covered > 0.85
    assert np.mean([one.high - one.low for one in found]) < 0.7


def test_the_result_follows_the_seed_and_the_interval_holds_the_figure() -> None:
    returns = noise(300, 20, 5)
    one = pbo(returns, 6, draws=50, seed=1)
    assert one == pbo(returns, 6, draws=50, seed=1)
    assert (one.low, one.high) != (pbo(returns, 6, draws=50, seed=2).low, pbo(returns, 6, draws=50, seed=2).high)
    assert one.low <= one.pbo <= one.high and (one.periods, one.strategies, one.combinations) == (300, 20, 20)


@pytest.mark.parametrize(
    ("returns", "options", "says"),
    [
        (noise(100, 400), {}, "may be transposed"),
        (noise(100, 100), {}, "may be transposed"),
        (noise(100, 400), {"periods": 400}, "it is transposed"),
        (noise(100, 40), {"periods": 90}, "100 rows, there are 90 periods"),
        (noise(100, 40)[:, 0], {}, "must be a matrix"),
        (noise(100, 40), {"blocks": 7}, "even"),
        (noise(100, 40), {"blocks": 0}, "even"),
        (noise(1000, 40), {"blocks": 20}, "from 2 to 18"),
        (noise(20, 5), {}, "too few for 12 blocks"),
        (noise(100, 1), {}, "two strategies"),
        (np.where(np.arange(300).reshape(100, 3) == 7, np.nan, 0.1), {}, "strategy 1 in period 2"),
    ],
)
def test_a_matrix_that_cannot_be_read_is_refused(returns: np.ndarray, options: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pbo(returns, **options)


def test_more_strategies_than_periods_are_fine_once_the_periods_are_said() -> None:
    assert pbo(noise(100, 400), periods=100, draws=2).strategies == 400
