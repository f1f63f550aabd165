"""What holds on every market, with any rules."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trading.markets import as_market, marks_around, random_market, rules, trade

from pipeline.trading.bars import Bars
from pipeline.trading.core import finish, step_once
from pipeline.trading.market import ATR, NO_MARKS, SCORE, SIGNALS, VOLATILITY, Market
from pipeline.trading.reasons import COUNT
from pipeline.trading.records import EXIT_REASONS, TRADE, new_account, new_positions
from pipeline.trading.rules import DAY_MS, NO_LIMIT, PATHS, Rules
from pipeline.trading.simulation import simulate

fractions = st.one_of(st.just(math.inf), st.floats(0.002, 0.05))
any_rules = st.builds(
    rules,
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
    path=st.integers(0, len(PATHS) - 1),
    seed=st.integers(0, 99),
    trail_after=st.sampled_from([0.0, 0.005]),
    trail_from_close=st.booleans(),
    trail_atr=st.sampled_from([0.0, 1.5]),
    stop_atr=st.sampled_from([0.0, 2.0]),
    break_even_after=st.sampled_from([math.inf, 0.006]),
    break_even_offset=st.sampled_from([0.0, 0.002]),
    latency=st.sampled_from([0, 0, 2]),
    participation=st.sampled_from([math.inf, 0.1]),
    impact=st.sampled_from([0.0, 0.5]),
    leverage=st.sampled_from([1.0, 3.0, 20.0]),
    maintenance=st.sampled_from([0.0, 0.005]),
    pays_funding=st.booleans(),
    daily_loss=st.sampled_from([math.inf, 0.02]),
    drawdown=st.sampled_from([math.inf, 0.03]),
    losses_in_a_row=st.sampled_from([NO_LIMIT, 2]),
    pause=st.sampled_from([0, 30]),
    reset_next_day=st.booleans(),
    cool_down=st.sampled_from([0, 5]),
    entries_per_day=st.sampled_from([NO_LIMIT, 3]),
    sizing=st.integers(0, 4),
    quote=st.just(3000.0),
    target_volatility=st.just(0.005),
    session_end_ms=st.sampled_from([DAY_MS, 3 * 3_600_000]),
    session_flatten=st.booleans(),
)
seeds = st.integers(0, 10_000)
N = 400


def signals(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    score = np.random.default_rng(seed + 1).normal(size=n)
    return score > 1.2, score < -1.2


def full_market(n: int, seed: int, marked: bool | None = None) -> Market:
    """A random market with signals, and everything that gates, sizing and costs look at; each second one has marks."""
    rng = np.random.default_rng(seed + 2)
    bars = random_market(n, seed)
    funding = np.where(np.arange(n) % 48 == 0, rng.normal(0, 0.001, n), 0.0)
    return as_market(
        bars,
        *signals(n, seed),
        volume=rng.uniform(0, 200_000, n),
        volatility=rng.uniform(0.005, 0.02, n),
        atr=bars.close * rng.uniform(0.005, 0.02, n),
        score=rng.normal(size=n),
        refuse_long=(rng.random(n) < 0.2) * 10,
        refuse_short=(rng.random(n) < 0.2) * 11,
        funding=funding,
        fails=rng.random(n) < 0.05,
        filters=np.array([[0.01, 0.001, 0.002, 0.0, 5.0]]),
        marks=marks_around(bars, seed) if (seed % 2 if marked is None else marked) else NO_MARKS,
    )


def step_by_step(market: Market, rules_: Rules, cash: float, until: int | None = None):  # type: ignore[no-untyped-def]
    symbols, n = market.shape
    account, positions, trades = new_account(cash), new_positions(symbols), np.empty(2 * symbols * (n + 1), TRADE)
    refused, record = np.zeros(COUNT, np.int64), rules_.array()
    equity = [
        step_once(account, positions, trades, refused, market.signal[:, t].copy(), t, t, market, record)
        for t in range(n if until is None else until)
    ]
    if until is None:
        equity[-1] = finish(account[0], positions, trades, refused, n - 1, n - 1, market, record[0])
    return np.array(equity), trades[: account["trades"][0]], account, positions, refused


@settings(max_examples=150, deadline=None)
@given(any_rules, seeds)
def test_step_called_singly_equals_the_loop_to_the_last_bit(rules_: Rules, seed: int) -> None:
    market = full_market(N, seed)
    rules_ = rules_._replace(step_ms=600_000)
    equity, trades, account, _, refused = step_by_step(market, rules_, 10_000.0)
    loop = simulate(market, rules_, 10_000.0)
    assert np.array_equal(loop.equity, equity)
    assert loop.trades.tobytes() == trades.tobytes()
    assert loop.account.tobytes() == account.tobytes()
    assert np.array_equal(loop.refused, refused)


@settings(max_examples=150, deadline=None)
@given(any_rules, seeds)
def test_money_is_accounted_for_to_the_cent(rules_: Rules, seed: int) -> None:
    market = full_market(N, seed)
    result = simulate(market, rules_._replace(step_ms=600_000), 10_000.0)
    trades = result.trades
    gross = (trades["side"] * trades["qty"] * (trades["exit_price"] - trades["entry_price"])).sum()
    costs = trades["fees"].sum() + trades["funding"].sum()
    assert result.equity[-1] == pytest.approx(10_000 + gross - costs, abs=0.005)
    assert result.equity[-1] == pytest.approx(10_000 + trades["pnl"].sum(), abs=0.005)
    for cost in ("fees", "spread", "slippage", "funding"):
        assert result.account[cost][0] == pytest.approx(trades[cost].sum(), abs=0.005), cost


@settings(max_examples=150, deadline=None)
@given(any_rules, seeds)
def test_trades_follow_their_signals_one_at_a_time(rules_: Rules, seed: int) -> None:
    bars = random_market(N, seed)
    buy, sell = signals(N, seed)
    trades = simulate(as_market(bars, buy, sell), rules_, 10_000.0).trades
    for one in trades:
        entered_by = buy if one["side"] > 0 else sell
        assert entered_by[one["entry_bar"] - 1 - rules_.latency], "entered at the open after a signal"
        assert not bars.filled[one["entry_bar"]]
        paid = bars.open[one["entry_bar"]] * (1 + one["side"] * rules_.slip)
        assert one["entry_price"] == pytest.approx(paid)
        assert rules_.trade_long if one["side"] > 0 else rules_.trade_short
        assert one["mae"] <= 0 <= one["mfe"]
    assert np.all(trades["entry_bar"][1:] >= trades["exit_bar"][:-1])


@settings(max_examples=100, deadline=None)
@given(any_rules, seeds)
def test_exits_lie_within_what_the_bar_traded(rules_: Rules, seed: int) -> None:
    bars = random_market(N, seed)
    trades = trade(bars, *signals(N, seed), rules_._replace(slip=0.0), 10_000.0).trades
    low, high = bars.low[trades["exit_bar"]], bars.high[trades["exit_bar"]]
    inside = (trades["exit_price"] >= low * (1 - 1e-12)) & (trades["exit_price"] <= high * (1 + 1e-12))
    # A target that the open jumped over fills where it rests, beyond the bar's own range; so does liquidation.
    levels = np.isin(trades["reason"], [EXIT_REASONS.index(r) for r in ("take_profit", "liquidation")])
    assert np.all(inside | levels)


@settings(max_examples=100, deadline=None)
@given(seeds, st.floats(0.005, 0.05), st.sampled_from([1, -1]))
def test_trailing_stop_never_loosens(seed: int, distance: float, side: int) -> None:
    bars = random_market(N, seed)
    rules_ = rules(trade_long=side > 0, trade_short=side < 0, trailing_stop=distance)
    market = as_market(bars, np.full(N, side > 0), np.full(N, side < 0))
    account, positions, trades = new_account(10_000.0), new_positions(1), np.empty(N + 2, TRADE)
    refused, last = np.zeros(COUNT, np.int64), -math.inf
    for t in range(N):
        before = int(account["trades"][0])
        step_once(account, positions, trades, refused, market.signal[:, t].copy(), t, t, market, rules_.array())
        if account["trades"][0] != before or positions["side"][0] == 0:
            last = -math.inf
        if positions["side"][0] != 0:
            assert side * positions["stop"][0] >= last
            last = side * positions["stop"][0]
    assert account["trades"][0] > 0


@settings(max_examples=60, deadline=None)
@given(any_rules, seeds, st.integers(50, N - 50))
def test_the_future_changes_nothing_in_the_past(rules_: Rules, seed: int, cut: int) -> None:
    bars, other = random_market(N, seed), random_market(N, seed + 1)
    mixed = Bars(*(np.r_[a[:cut], b[cut:]] for a, b in zip(bars, other, strict=True)))
    buy, sell = signals(N, seed)
    changed_buy, changed_sell = np.r_[buy[:cut], ~buy[cut:]], np.r_[sell[:cut], ~sell[cut:]]
    one = trade(bars, buy, sell, rules_, 10_000.0)
    two = trade(mixed, changed_buy, changed_sell, rules_, 10_000.0)
    assert np.array_equal(one.equity[:cut], two.equity[:cut])
    done = one.trades[one.trades["exit_bar"] < cut]
    assert done.tobytes() == two.trades[: len(done)].tobytes()


@settings(max_examples=60, deadline=None)
@given(any_rules, seeds, st.integers(50, N - 50))
def test_nothing_that_is_known_later_changes_a_fill(rules_: Rules, seed: int, cut: int) -> None:
    market = full_market(N, seed)
    numbers, flags, marks = market.numbers.copy(), market.flags.copy(), market.marks.copy()
    other = full_market(N, seed + 1, market.has_marks)
    numbers[:, :, cut:], flags[:, :, cut:] = other.numbers[:, :, cut:], other.flags[:, :, cut:]
    marks[:, :, cut:] = other.marks[:, :, cut:]
    # What a bar closes with is not known at its open.
    numbers[[VOLATILITY, ATR, SCORE], :, cut - 1] = other.numbers[[VOLATILITY, ATR, SCORE], :, cut - 1]
    flags[SIGNALS, :, cut - 1] = other.flags[SIGNALS, :, cut - 1]
    changed = market._replace(numbers=numbers, flags=flags, marks=marks)
    rules_ = rules_._replace(step_ms=600_000)
    one, two = simulate(market, rules_, 10_000.0), simulate(changed, rules_, 10_000.0)
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
    market = as_market(bars, buy, sell)
    equity, trades, *_ = step_by_step(market, rules_, 10_000.0)
    loop = simulate(market, rules_, 10_000.0)
    assert np.array_equal(loop.equity, equity)
    assert loop.trades.tobytes() == trades.tobytes()
    assert len(loop.trades) > 100
