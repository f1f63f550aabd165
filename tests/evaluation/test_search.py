"""What a set of parameters is worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.search import DAY_MS, returns_by_day, sharpe_or_zero, skill, worth


@given(st.integers(1, 200), st.integers(0, 1000), st.integers(0, 23))
def test_days_multiply_to_the_whole(n: int, seed: int, hour: int) -> None:
    rng = np.random.default_rng(seed)
    equity = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    times = hour * 3_600_000 + np.arange(n, dtype=np.int64) * 3_600_000
    days, returns = returns_by_day(times, equity)
    assert np.prod(1 + returns) == pytest.approx(equity[-1] / equity[0])
    assert np.array_equal(days, np.unique(times // DAY_MS))


def test_a_day_ends_at_its_last_bar() -> None:
    times = np.array([22, 23, 24, 25, 47, 48]) * 3_600_000
    days, returns = returns_by_day(times, np.array([100.0, 110.0, 120.0, 99.0, 121.0, 60.5]))
    np.testing.assert_array_equal(days, [0, 1, 2])
    np.testing.assert_allclose(returns, [0.1, 0.1, -0.5])


def test_a_ruined_account_stays_where_it_is() -> None:
    _, returns = returns_by_day(np.arange(3) * DAY_MS, np.array([1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(returns, [0.0, -1.0, 0.0])


def test_sharpe_is_that_of_a_market_that_never_closes() -> None:
    returns = np.array([0.01, -0.02, 0.03, 0.0])
    assert sharpe_or_zero(returns) == pytest.approx(returns.mean() / returns.std(ddof=1) * 365**0.5)
    assert sharpe_or_zero(np.zeros(10)) == 0.0


@given(st.floats(-5, 5), st.integers(0, 60))
def test_few_trades_are_worth_less_than_nothing_and_the_fewer_the_less(sharpe: float, trades: int) -> None:
    value = worth(sharpe, trades, 30)
    assert value == sharpe if trades >= 30 else value < min(sharpe, 0.0) + 1e-12
    assert trades >= 29 or value < worth(sharpe, trades + 1, 30)


def test_skill_is_the_share_of_the_loss_saved() -> None:
    y = np.array([1.0, 0, 0, 1, 0, 0, 0, 0])
    assert skill(y, np.full(8, 0.25), True) == pytest.approx(0.0)
    assert skill(y, np.where(y > 0, 0.9, 0.05), True) > 0.5
    assert skill(y, np.full(8, 0.9), True) < 0
    assert skill(np.array([1.0, 2, 3]), np.array([1.0, 2, 3]), False) == 1.0
    assert skill(np.array([1.0, 2, 3]), np.full(3, 2.0), False) == pytest.approx(0.0)


def test_where_there_is_nothing_to_know_skill_is_nothing() -> None:
    assert skill(np.empty(0), np.empty(0), True) == 0.0
    assert skill(np.ones(5), np.full(5, 0.5), True) == 0.0 and skill(np.ones(5), np.zeros(5), False) == 0.0
