"""The grid is many single runs, and its first part knows nothing of the second."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trading.markets import marks_around, random_market, rules

from pipeline.evaluation.performance import max_drawdown
from pipeline.trading.bars import Bars
from pipeline.trading.grid import scan_thresholds
from pipeline.trading.market import Market, market_of, signals_of
from pipeline.trading.rules import RANDOM
from pipeline.trading.simulation import simulate

N, SPLIT = 9000, 5000
PAIRS = (np.array([0.4, 1.0, 1.7]), np.array([-1.5, -0.6, 0.7]))


def score_of(n: int, seed: int) -> np.ndarray:
    score = np.convolve(np.random.default_rng(seed).normal(size=n + 9), np.ones(10) / np.sqrt(10), "valid")
    score[::97] = np.nan
    return score


def scored(bars: Bars, score: np.ndarray, **context: np.ndarray) -> Market:
    return market_of(bars, np.zeros(len(score), np.uint8), score=score, **context)


# What a market has beside prices, for rules that look at it; some of it makes exits depend on the set.
CONTEXT = {
    "funding": np.where(np.arange(N) % 480 == 0, 0.0005, 0.0),
    "volatility": np.random.default_rng(1).uniform(0.001, 0.003, N),
    "atr": np.random.default_rng(2).uniform(0.1, 0.5, N),
    "volume": np.random.default_rng(3).uniform(1e3, 1e6, N),
    "refuse_long": (np.arange(N) % 7 == 0).astype(np.uint8),
    "refuse_short": (np.arange(N) % 5 == 0).astype(np.uint8),
}
# Levels on ticks that are coarse beside the moves.
TICKS = CONTEXT | {"filters": np.array([[0.05, 0.0, 0.0, 0.0, 0.0]])}
FAILS = {"fails": (np.arange(N) % 11 == 0).astype(np.uint8)}


@settings(max_examples=28, deadline=None)
@given(
    st.sampled_from([(True, False), (False, True), (True, True)]),
    st.sampled_from(
        [
            {},
            {"stop_loss": 0.02, "take_profit": 0.03, "trailing_stop": 0.015, "max_bars": 50},
            {"stop_loss": 0.02, "daily_loss": 0.02, "drawdown": 0.03, "losses_in_a_row": 2, "pause": 100},
            {"stop_loss": 0.01, "trail_after": 0.005, "trailing_stop": 0.004, "cool_down": 20, "latency": 1},
            {"leverage": 3.0, "maintenance": 0.01, "fraction": 2.0, "pays_funding": True, "stop_loss": 0.2},
            {"leverage": 25.0, "maintenance": 0.01, "fraction": 2.0, "pays_funding": True, "take_profit": 0.05},
            {"stop_atr": 2.0, "trail_atr": 3.0, "trail_from_close": True, "slip_volatility": 0.1},
            {"trailing_stop": 0.03, "break_even_after": 0.01, "session_flatten": True, "session_end_ms": 72_000_000},
            {"take_profit": 0.01, "stop_loss": 0.01, "path": RANDOM, "seed": 3, "drawdown": 0.01},
            {"stop_loss": 0.02, "participation": 0.01, "impact": 0.5},
        ]
    ),
    st.sampled_from([{}, CONTEXT, TICKS, FAILS]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_each_cell_equals_its_single_run(
    direction: tuple[bool, bool], exits: dict, context: dict[str, np.ndarray], marked: bool, seed: int
) -> None:
    bars, score = random_market(N, seed, 0.002), score_of(N, seed)
    context = context | ({"marks": marks_around(bars, seed)} if marked else {})
    rules_ = rules(**{
        "trade_long": direction[0], "trade_short": direction[1], "taker_fee": 0.0005, "slip": 0.0001, "fraction": 0.5,
    } | exits)  # fmt: skip
    grid = scan_thresholds(scored(bars, score, **context), PAIRS, rules_, 5000.0, split=SPLIT, workers=2)
    for i, buy in enumerate(PAIRS[0]):
        for j, sell in enumerate(PAIRS[1]):
            if sell >= buy:
                assert np.all(grid[i, j]["start"] == 5000.0) and np.all(grid[i, j]["trades"] == 0)
                continue
            real = ~bars.filled
            signal = signals_of((score >= buy) & real, (score <= sell) & real)
            one = simulate(market_of(bars, signal, score=score, **context), rules_, 5000.0)
            for part, (first, stop) in enumerate([(0, SPLIT), (SPLIT, N)]):
                curve = one.equity[max(first - 1, 0) : stop]
                returns = curve[1:] / curve[:-1] - 1
                closed = one.trades[(one.trades["exit_bar"] >= first) & (one.trades["exit_bar"] < stop)]
                cell = grid[i, j, part]
                assert cell["start"] == curve[0] and cell["end"] == curve[-1]
                assert cell["max_drawdown"] == max_drawdown(curve)[0]
                assert cell["lowest"] == curve.min()
                assert cell["trades"] == len(closed) and cell["wins"] == (closed["pnl"] > 0).sum()
                assert cell["gains"] + cell["losses"] == pytest.approx(closed["pnl"].sum(), abs=1e-6)
                assert cell["returns"] == pytest.approx(returns.sum(), rel=1e-9, abs=1e-12)
                assert cell["squares"] == pytest.approx(np.square(returns).sum(), rel=1e-9)
                assert cell["downside_squares"] == pytest.approx(np.square(np.minimum(returns, 0)).sum(), rel=1e-9)


def test_the_evaluation_part_changes_no_bit_of_the_selection_part() -> None:
    bars, other = random_market(N, 1, 0.002), random_market(N, 2, 0.002)
    score, noise = score_of(N, 3), score_of(N, 4)
    mixed = Bars(*(np.r_[a[:SPLIT], b[SPLIT:]] for a, b in zip(bars, other, strict=True)))
    rules_ = rules(taker_fee=0.001, stop_loss=0.02)
    one = scan_thresholds(scored(bars, score), PAIRS, rules_, 1000.0, split=SPLIT, workers=1)
    two = scan_thresholds(
        scored(mixed, np.r_[score[:SPLIT], noise[SPLIT:]]), PAIRS, rules_, 1000.0, split=SPLIT, workers=1
    )
    assert one[:, :, 0].tobytes() == two[:, :, 0].tobytes()
    assert one[:, :, 1].tobytes() != two[:, :, 1].tobytes()


def test_more_threads_give_the_same_bits() -> None:
    bars, score = random_market(N, 5, 0.002), score_of(N, 5)
    one = scan_thresholds(scored(bars, score), PAIRS, rules(), 1000.0, split=SPLIT, workers=1)
    two = scan_thresholds(scored(bars, score), PAIRS, rules(), 1000.0, split=SPLIT, workers=3)
    assert one.tobytes() == two.tobytes()
