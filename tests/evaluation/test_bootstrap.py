"""Paired block bootstrap: what it draws, and whether its p-values are what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.bootstrap import (
    annual_mean,
    annual_sharpe,
    better,
    block_length,
    circular_rows,
    stationary_rows,
)


def autoregressive(coefficient: float, n: int = 1000) -> np.ndarray:
    steps, series = np.random.default_rng(0).normal(size=n), np.zeros(n)
    for t in range(1, n):
        series[t] = coefficient * series[t - 1] + steps[t]
    return series


def waves() -> np.ndarray:
    t = np.arange(500)
    return np.sin(t * t * 0.37) + 0.5 * np.sin(t * 0.05)


@pytest.mark.parametrize(
    ("series", "length"),
    # arch 8.0.0, optimal_block_length(...)["stationary"]
    [(waves(), 32.976224), (autoregressive(0.5), 11.182486211948357), (autoregressive(0.9), 37.327336810545795)],
)
def test_the_length_of_blocks_is_another_packages(series: np.ndarray, length: float) -> None:
    assert block_length(series) == pytest.approx(length, abs=1e-6)


@pytest.mark.parametrize("series", [np.zeros(100), np.arange(5.0), np.random.default_rng(0).normal(size=1000)])
def test_a_series_without_memory_is_drawn_one_by_one(series: np.ndarray) -> None:
    assert block_length(series) == 1.0


@given(st.integers(1, 200), st.integers(1, 30), st.integers(0, 2**32))
def test_circular_blocks_are_runs_of_their_length(n: int, block: int, seed: int) -> None:
    rows = circular_rows(np.random.default_rng(seed), n, block, 3)
    assert rows.shape == (3, n) and rows.min() >= 0 and rows.max() < n
    steps = np.diff(rows, axis=1) % n
    inside = np.arange(1, n) % block != 0
    assert (steps[:, inside] == 1 % n).all()


def test_stationary_blocks_have_the_mean_length_and_every_period_its_share() -> None:
    rows = stationary_rows(np.random.default_rng(1), 400, 8.0, 2000)
    begins = np.diff(rows, axis=1) % 400 != 1
    assert 1 / begins.mean() == pytest.approx(8 / (1 - 1 / 400), rel=0.02)
    counts = np.bincount(rows.ravel(), minlength=400)
    assert counts.min() > 1500 and counts.max() < 2500


def test_a_block_of_one_is_the_plain_bootstrap() -> None:
    assert (
        stationary_rows(np.random.default_rng(1), 50, 1.0, 5) == circular_rows(np.random.default_rng(1), 50, 1, 5)
    ).sum() < 50
    rows = stationary_rows(np.random.default_rng(1), 1000, 1.0, 5)
    assert (np.diff(rows, axis=1) == 1).mean() < 0.01


def pair(rng: np.random.Generator, edge: float = 0.0, n: int = 365) -> tuple[np.ndarray, np.ndarray]:
    market = 0.015 * rng.standard_t(4, n)
    a, b = (market + 0.006 * rng.standard_t(4, n) for _ in range(2))
    return a + edge, b


def test_p_values_of_strategies_that_are_equally_good_are_uniform_and_intervals_hold_zero() -> None:
    found = []
    for seed in range(150):
        found.append(better(*pair(np.random.default_rng(seed)), draws=150, seed=seed))
    p = np.array([one.p_value for one in found])
    assert abs(p.mean() - 0.5) < 0.06 and abs((p <= 0.05).mean() - 0.05) < 0.05 and abs((p <= 0.2).mean() - 0.2) < 0.08
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(0.9, abs=0.06)


def test_pairs_show_what_strategies_by_themselves_do_not() -> None:
    a, b = pair(np.random.default_rng(3), edge=0.0015)
    paired = better(a, b, draws=500)
    assert paired.p_value < 0.05 and paired.low > 0 and "A is better than B" in paired.sentence
    shuffled = np.random.default_rng(4).permutation(b)
    assert better(a, shuffled, draws=500).high - better(a, shuffled, draws=500).low > 1.5 * (paired.high - paired.low)


def test_worse_is_said_and_mirrors_better() -> None:
    a, b = pair(np.random.default_rng(3), edge=0.003)
    forward, back = better(a, b, draws=500), better(b, a, draws=500, names=("champion", "challenger"))
    assert forward.difference == -back.difference and forward.low == pytest.approx(-back.high)
    assert back.p_value > 0.99 and back.sentence.startswith("champion is worse than challenger by")


def test_a_strategy_is_no_better_than_itself() -> None:
    a, _ = pair(np.random.default_rng(5))
    same = better(a, a, draws=50)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert "cannot be told apart" in same.sentence


def test_memory_widens_the_interval() -> None:
    a, b = autoregressive(0.7), np.zeros(1000)
    apart = better(a, b, annual_mean, block=1.0, draws=400)
    together = better(a, b, annual_mean, draws=400)
    assert together.block > 10 and together.high - together.low > 1.6 * (apart.high - apart.low)


def test_ratios_are_annual_and_of_flat_rows_zero() -> None:
    rows = np.stack([np.full(100, 0.1), np.random.default_rng(0).normal(0.01, 0.1, 100)])
    found = annual_sharpe(rows)
    assert found[0] == 0 and found[1] == pytest.approx(rows[1].mean() / rows[1].std(ddof=1) * 365**0.5)
    assert annual_sharpe(rows, 52.0)[1] == pytest.approx(found[1] * (52 / 365) ** 0.5)


def test_the_result_follows_the_seed_whatever_is_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair(np.random.default_rng(6))
    assert better(a, b, draws=100, seed=1) == better(a, b, draws=100, seed=1) != better(a, b, draws=100, seed=2)


@pytest.mark.parametrize(
    ("a", "b", "options", "says"),
    [
        (np.zeros(20), np.zeros(21), {}, "same periods"),
        (np.zeros((20, 2)), np.zeros((20, 2)), {}, "same periods"),
        (np.zeros(9), np.zeros(9), {}, "too few"),
        (np.zeros(20), np.full(20, np.nan), {}, "finite"),
        (np.zeros(20), np.ones(20), {"block": 0.5}, "block = 0.5"),
        (np.zeros(20), np.ones(20), {"draws": 0}, "draws = 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: np.ndarray, b: np.ndarray, options: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        better(a, b, **options)  # type: ignore[arg-type]


def test_blocks_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="block = 0"):
        circular_rows(np.random.default_rng(0), 10, 0, 1)
