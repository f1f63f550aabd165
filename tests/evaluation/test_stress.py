"""Stress runs change what they say they change, and nothing else."""

import numpy as np
import pytest
from trading.markets import as_market, random_market, rules

from pipeline.evaluation.stress import BLOCK_DAYS, bootstrap, stress, with_gaps, worst_days
from pipeline.trading.market import CLOSE, HIGH, LOW, OPEN, Market
from pipeline.trading.rules import DAY_MS

N, STEP = 24 * 90, 3_600_000
RULES = rules(taker_fee=0.001, maker_fee=0.001, slip=0.0002, stop_loss=0.03, step_ms=STEP, origin_ms=1_600_000_000_000)


@pytest.fixture
def market() -> Market:
    rng = np.random.default_rng(1)
    return as_market(random_market(N, 5), rng.random(N) < 0.1, rng.random(N) < 0.1)


def test_the_table_has_every_run_and_follows_the_seed(market: Market) -> None:
    one, two = (list(stress(market, RULES, 10_000.0, 3)) for _ in range(2))
    assert one == two != list(stress(market, RULES, 10_000.0, 4))
    names = [row["name"] for row in one]
    assert names[:5] == ["configured", "costs x 2", "latency + 1", "failed orders", "gaps"]
    assert sum(name.startswith("worst day") for name in names) == 5 and names[-1] == "resampled history"
    by_name = {row["name"]: row for row in one}
    assert by_name["costs x 2"]["total_return"] < by_name["configured"]["total_return"]
    assert by_name["failed orders"]["trades"] < by_name["configured"]["trades"]
    for row in (by_name["gaps"], by_name["resampled history"]):
        assert row["paths"] >= 20
        assert row["total_return_5pct"] <= row["total_return"] and row["max_drawdown_5pct"] <= row["max_drawdown"]


def test_worst_days_are_those_that_fell_deepest(market: Market) -> None:
    numbers = market.numbers.copy()
    day = (RULES.origin_ms + np.arange(N) * STEP) // DAY_MS
    crash = np.flatnonzero(day == day[0] + 40)
    numbers[LOW, 0, crash[5]] *= 0.6
    found, rows = worst_days(market._replace(numbers=numbers), RULES)[0]
    assert found == day[0] + 40
    assert set(day[rows]) == {day[0] + 39, day[0] + 40, day[0] + 41}


@pytest.mark.parametrize("make", [with_gaps, bootstrap])
def test_other_histories_are_markets_too(market: Market, make) -> None:  # type: ignore[no-untyped-def]
    other = make(market, RULES, np.random.default_rng(0))
    open_, high, low, close = (other.numbers[row, 0] for row in (OPEN, HIGH, LOW, CLOSE))
    assert (low <= np.minimum(open_, close) * (1 + 1e-9)).all()
    assert (high >= np.maximum(open_, close) * (1 - 1e-9)).all()
    assert (low > 0).all() and not np.array_equal(close, market.numbers[CLOSE, 0])


@pytest.mark.parametrize("make", [with_gaps, bootstrap])
def test_the_mark_price_moves_with_the_last_price(market: Market, make) -> None:  # type: ignore[no-untyped-def]
    off = np.array([1.001, 1.004, 0.997])[:, None, None]
    marked = market._replace(marks=market.numbers[[OPEN, HIGH, LOW]] * off)
    other, bare = (make(one, RULES, np.random.default_rng(0)) for one in (marked, market))
    assert np.array_equal(other.numbers, bare.numbers, equal_nan=True) and not bare.has_marks
    assert other.marks / other.numbers[[OPEN, HIGH, LOW]] == pytest.approx(np.broadcast_to(off, other.marks.shape))
    rows = slice(48, 96)
    assert np.array_equal(marked.part(rows).marks, marked.marks[:, :, rows]) and marked.at(5).marks.shape == (3, 1, 1)


def test_resampling_keeps_changes_and_signals_together(market: Market) -> None:
    block = BLOCK_DAYS * 24
    other = bootstrap(market, RULES, np.random.default_rng(2))
    # The first block is where the same generator says.
    start = int(np.random.default_rng(2).integers(0, N, -(-N // block))[0])
    assert start + block < N
    change = np.diff(np.log(market.numbers[CLOSE, 0]))[start : start + block - 1]
    np.testing.assert_allclose(np.diff(np.log(other.numbers[CLOSE, 0, :block])), change, atol=1e-12)
    assert np.array_equal(other.signal[0, :block], market.signal[0, start : start + block])
