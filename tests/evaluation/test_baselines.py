"""Buy & hold and random entries, against the core itself."""

import numpy as np
import pytest
from trading.markets import at, market, random_market, rules, trade

from pipeline.evaluation.baselines import Holdings, buy_and_hold, holdings, p_value, random_growth


def test_buy_and_hold_pays_to_get_in_and_out() -> None:
    bars = market((100, 101, 99, 100), (100, 101, 99, 100), (150, 210, 150, 200))
    held = buy_and_hold(bars, rules(taker_fee=0.01, slip=0.02, fraction=0.1, stop_loss=0.001), 1000.0)
    qty = 1000 / (100 * 1.02 * 1.01)
    assert held.equity[0] == 1000
    assert held.equity[-1] == pytest.approx(qty * 200 * 0.98 * 0.99)


def test_holdings_are_clipped_to_the_period() -> None:
    entry, exit_, side = np.array([0, 12, 19, 5]), np.array([3, 15, 30, 11]), np.array([1, 1, -1, 1])
    held = holdings(entry, exit_, side, 10, 20)
    assert held.bars.tolist() == [3, 1, 1] and held.sides.tolist() == [1, -1, 1]


def test_a_trade_inside_one_bar_counts_as_one_bar() -> None:
    assert holdings(np.array([4]), np.array([4]), np.array([1]), 0, 10).bars.tolist() == [1]


@pytest.mark.parametrize("side", [1, -1])
def test_a_random_strategy_without_freedom_earns_what_the_core_earns(side: int) -> None:
    # One trade that fills the period: all random placements are the same one.
    bars = random_market(60, 3)
    bars.filled[:] = False
    rules_ = rules(trade_long=side > 0, trade_short=side < 0, taker_fee=0.001, slip=0.0005, fraction=0.6)
    result = trade(bars, at(60, 0) if side > 0 else at(60), at(60, 0) if side < 0 else at(60), rules_, 1000.0)
    growth = random_growth(bars, Holdings(np.array([59]), np.array([side])), rules_, 0.6, 5, 0)
    assert growth == pytest.approx(result.equity[-1] / 1000)


def test_random_strategies_follow_the_seed() -> None:
    bars, held = random_market(500, 1), Holdings(np.array([5, 9, 30]), np.array([1, -1, 1]))
    one = random_growth(bars, held, rules(), 1.0, 200, 7)
    assert np.array_equal(one, random_growth(bars, held, rules(), 1.0, 200, 7))
    assert not np.array_equal(one, random_growth(bars, held, rules(), 1.0, 200, 8))
    assert len(np.unique(one)) > 190


def test_random_placements_cover_the_period_evenly() -> None:
    n = 102
    bars = market(*[(float(t), float(t), float(t), float(t)) for t in range(1, n + 1)])
    growth = random_growth(bars, Holdings(np.array([1]), np.array([1])), rules(), 1.0, 20_000, 1)
    gained = growth[growth > 1]  # the last bar's open is its close
    entry = np.round(1 / (gained - 1)).astype(int)  # a bar at price p gains 1/p
    counts = np.bincount(entry, minlength=n)[2:n]
    assert len(gained) == counts.sum() > 19_500, "every entry is one of the bars 1 … n - 1"
    expected = 20_000 / (n - 1)
    assert np.square(counts - expected).sum() / expected < 150, "chi-squared with 99 degrees of freedom"


def test_random_trades_that_do_not_fit_are_dropped() -> None:
    bars = random_market(10, 1)
    assert len(random_growth(bars, Holdings(np.full(50, 1), np.ones(50, int)), rules(), 1.0, 3, 0)) == 3


def test_no_trades_have_no_random_rival() -> None:
    assert random_growth(
        random_market(10, 1), Holdings(np.empty(0, int), np.empty(0, int)), rules(), 1.0, 3, 0
    ).tolist() == [1, 1, 1]


def test_p_value_counts_the_strategy_itself() -> None:
    assert p_value(0.5, np.array([0.1, 0.2, 0.5, 0.9])) == pytest.approx(3 / 5)
    assert p_value(2.0, np.zeros(999)) == pytest.approx(1 / 1000)


def test_p_values_of_random_strategies_are_uniform() -> None:
    bars, held = random_market(2000, 5), Holdings(np.full(20, 15), np.ones(20, int))
    rivals = random_growth(bars, held, rules(), 1.0, 500, 1)
    p = np.array([p_value(g, rivals) for g in random_growth(bars, held, rules(), 1.0, 400, 2)])
    assert abs(p.mean() - 0.5) < 0.06 and abs((p < 0.1).mean() - 0.1) < 0.05


def test_each_random_strategy_shuffles_the_order_that_the_one_before_has_left() -> None:
    # Figures of an earlier form, in which compiled code drew the numbers itself.
    bars, held = random_market(500, 3), Holdings(np.array([3, 1, 7, 20, 5, 5]), np.array([1, -1, 1, 1, -1, 1]))
    growth = random_growth(bars, held, rules(taker_fee=0.001, slip=0.0002), 0.7, 300, 5)
    assert growth[[0, 1, 2, -1]] == pytest.approx(
        [1.0349983673811414, 1.0119447081181465, 1.0365947652157466, 1.0259268466947062]
    )
