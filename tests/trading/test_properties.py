"""What holds on every market, with any rules."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trading.markets import random_market, rules

from pipeline.trading.core import finish, step
from pipeline.trading.records import EXIT_REASONS, TRADE, new_state
from pipeline.trading.rules import NO_LIMIT, Rules
from pipeline.trading.simulation import positions, simulate
from pipeline.trading.stretches import Bars

fractions = st.one_of(st.just(math.inf), st.floats(0.002, 0.05))
any_rules = st.builds(
    Rules,
    trade_long=st.booleans(),
    trade_short=st.booleans(),
    fraction=st.sampled_from([1.0, 0.3]),
    taker_fee=st.sampled_from([0.0, 0.001]),
    maker_fee=st.sampled_from([0.0, 0.0005]),
    slip=st.sampled_from([0.0, 0.0004]),
    stop_loss=fractions,
    take_profit=fractions,
    trailing_stop=fractions,
    max_bars=st.sampled_from([NO_LIMIT, 1, 7, 40]),
    stop_first=st.booleans(),
)
seeds = st.integers(0, 10_000)
N = 400


def signals(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    score = np.random.default_rng(seed + 1).normal(size=n)
    return score > 1.2, score < -1.2


@settings(max_examples=150, deadline=None)
@given(any_rules, seeds)
def test_step_called_singly_equals_the_loop_to_the_last_bit(rules_: Rules, seed: int) -> None:
    bars = random_market(N, seed)
    buy, sell = signals(N, seed)
    state, trades = new_state(10_000.0), np.empty(N, TRADE)
    equity = [
        step(
            state[0],
            trades,
            t,
            *(float(p[t]) for p in bars[:4]),
            bool(bars.filled[t]),
            bool(buy[t]),
            bool(sell[t]),
            rules_,
        )
        for t in range(N)
    ]
    equity[-1] = finish(state[0], trades, N - 1, float(bars.close[-1]), rules_)
    loop = simulate(bars, buy, sell, rules_, 10_000.0)
    assert np.array_equal(loop.equity, equity)
    assert loop.trades.tobytes() == trades[: state["trades"][0]].tobytes()
    assert loop.ambiguous_bars == state["ambiguous_bars"][0]


@settings(max_examples=150, deadline=None)
@given(any_rules, seeds)
def test_money_is_accounted_for_to_the_cent(rules_: Rules, seed: int) -> None:
    bars = random_market(N, seed)
    result = simulate(bars, *signals(N, seed), rules_, 10_000.0)
    trades = result.trades
    gross = (trades["side"] * trades["qty"] * (trades["exit_price"] - trades["entry_price"])).sum()
    assert result.equity[-1] == pytest.approx(10_000 + gross - trades["fees"].sum(), abs=0.005)
    assert result.equity[-1] == pytest.approx(10_000 + trades["pnl"].sum(), abs=0.005)
    cash, qty = positions(result, bars.close)
    for trade in trades[trades["exit_bar"] > trades["entry_bar"]]:
        held = slice(trade["entry_bar"], trade["exit_bar"])
        assert np.ptp(cash[held]) < 1e-6, "cash moves only when something is traded"
        assert np.all(qty[held] == trade["side"] * trade["qty"])


@settings(max_examples=150, deadline=None)
@given(any_rules, seeds)
def test_trades_follow_their_signals_one_at_a_time(rules_: Rules, seed: int) -> None:
    bars = random_market(N, seed)
    buy, sell = signals(N, seed)
    trades = simulate(bars, buy, sell, rules_, 10_000.0).trades
    for trade in trades:
        entered_by = buy if trade["side"] > 0 else sell
        assert entered_by[trade["entry_bar"] - 1], "entered at the open after a signal"
        assert not bars.filled[trade["entry_bar"]]
        paid = bars.open[trade["entry_bar"]] * (1 + trade["side"] * rules_.slip)
        assert trade["entry_price"] == pytest.approx(paid)
        assert rules_.trade_long if trade["side"] > 0 else rules_.trade_short
        assert trade["mae"] <= 0 <= trade["mfe"]
        if rules_.max_bars < NO_LIMIT and not bars.filled.any():
            assert trade["exit_bar"] - trade["entry_bar"] <= rules_.max_bars
    assert np.all(trades["entry_bar"][1:] >= trades["exit_bar"][:-1])


@settings(max_examples=100, deadline=None)
@given(any_rules, seeds)
def test_exits_lie_within_what_the_bar_traded(rules_: Rules, seed: int) -> None:
    bars = random_market(N, seed)
    trades = simulate(bars, *signals(N, seed), rules_._replace(slip=0.0), 10_000.0).trades
    low, high = bars.low[trades["exit_bar"]], bars.high[trades["exit_bar"]]
    inside = (trades["exit_price"] >= low * (1 - 1e-12)) & (trades["exit_price"] <= high * (1 + 1e-12))
    # A target that the open jumped over fills where it rests, beyond the bar's own range.
    targets = trades["reason"] == EXIT_REASONS.index("take_profit")
    assert np.all(inside | targets)


@settings(max_examples=100, deadline=None)
@given(seeds, st.floats(0.005, 0.05), st.sampled_from([1, -1]))
def test_trailing_stop_never_loosens(seed: int, distance: float, side: int) -> None:
    bars = random_market(N, seed)
    rules_ = rules(trade_long=side > 0, trade_short=side < 0, trailing_stop=distance)
    state, trades = new_state(10_000.0), np.empty(N, TRADE)
    last = -math.inf
    for t in range(N):
        before = int(state["trades"][0])
        step(state[0], trades, t, *(float(p[t]) for p in bars[:4]), bool(bars.filled[t]), side > 0, side < 0, rules_)
        if state["trades"][0] != before or state["side"][0] == 0:
            last = -math.inf
        if state["side"][0] != 0:
            assert side * state["stop"][0] >= last
            last = side * state["stop"][0]
    assert state["trades"][0] > 0


@settings(max_examples=60, deadline=None)
@given(any_rules, seeds, st.integers(50, N - 50))
def test_the_future_changes_nothing_in_the_past(rules_: Rules, seed: int, cut: int) -> None:
    bars, other = random_market(N, seed), random_market(N, seed + 1)
    mixed = Bars(*(np.r_[a[:cut], b[cut:]] for a, b in zip(bars, other, strict=True)))
    buy, sell = signals(N, seed)
    changed_buy, changed_sell = np.r_[buy[:cut], ~buy[cut:]], np.r_[sell[:cut], ~sell[cut:]]
    one = simulate(bars, buy, sell, rules_, 10_000.0)
    two = simulate(mixed, changed_buy, changed_sell, rules_, 10_000.0)
    assert np.array_equal(one.equity[:cut], two.equity[:cut])
    done = one.trades[one.trades["exit_bar"] < cut]
    assert done.tobytes() == two.trades[: len(done)].tobytes()


@pytest.mark.slow
def test_step_equals_the_loop_on_a_year_of_real_minutes(real_data) -> None:  # type: ignore[no-untyped-def]
    import pyarrow.parquet as pq

    table = pq.read_table(real_data / "bitfinex" / "BTCUSD_1m_2018.parquet").slice(0, 60_000)
    o, h, low, c = (table[name].to_numpy() for name in ("open", "high", "low", "close"))
    n = len(c)
    bars = Bars(o, h, low, c, np.zeros(n, bool))
    score = np.r_[np.zeros(60), c[60:] / c[:-60] - 1]
    buy, sell = score > 0.01, score < -0.01
    rules_ = rules(
        trade_short=True, taker_fee=0.001, slip=0.0001, stop_loss=0.02, take_profit=0.03, trailing_stop=0.015
    )
    state, trades = new_state(10_000.0), np.empty(n, TRADE)
    rows = zip(o.tolist(), h.tolist(), low.tolist(), c.tolist(), buy.tolist(), sell.tolist(), strict=True)
    equity = np.array(
        [step(state[0], trades, t, *row[:4], False, row[4], row[5], rules_) for t, row in enumerate(rows)]
    )
    loop = simulate(bars, buy, sell, rules_, 10_000.0)
    assert np.array_equal(loop.equity[:-1], equity[:-1])
    assert len(loop.trades) > 100
