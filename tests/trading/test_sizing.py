"""Sizes stay within every cap, and more risk never makes them larger."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trading.markets import as_market, at, market, random_market, rules

from pipeline.config.risk import Sizing
from pipeline.trading.records import new_account
from pipeline.trading.rules import (
    FIXED_QUOTE,
    KELLY,
    LINEAR,
    NORMAL,
    RISK_PER_TRADE,
    SIZING_METHODS,
    VOLATILITY_TARGET,
    Rules,
)
from pipeline.trading.simulation import simulate
from pipeline.trading.sizing import kelly_fraction, trust, wanted
from pipeline.trading.volatility import WARM_UP, Forecast

FLAT = (100.0, 101.0, 99.0, 100.0)
amounts = st.floats(0, 1e9)
shares = st.floats(1e-6, 1.0)
methods = st.integers(0, len(SIZING_METHODS) - 1)


def account_of(equity: float, wins: int = 0, losses: int = 0, win: float = 0.02, loss: float = 0.01) -> np.ndarray:
    account = new_account(equity)
    account["wins"], account["losses"] = wins, losses
    account["win_returns"], account["loss_returns"] = wins * win, losses * loss
    return account[0]


@settings(max_examples=300, deadline=None)
@given(methods, amounts, st.floats(0, 5), st.floats(0, 5), st.floats(1e-4, 1), shares, amounts)
def test_more_volatility_or_a_wider_stop_never_gives_a_larger_size(
    method: int, equity: float, one: float, two: float, stop: float, fraction: float, quote: float
) -> None:
    calm, wild = sorted((one, two))
    record = rules(sizing=method, fraction=fraction, quote=quote, target_volatility=0.01, risk=0.01).record()
    account = account_of(equity)
    sizes = [wanted(account, volatility, stop, record) for volatility in (calm, wild)]
    if calm > 0:
        assert 0 <= sizes[1] <= sizes[0]
    assert 0 <= wanted(account, wild, 2 * stop, record) <= wanted(account, wild, stop, record) * (1 + 1e-12)


@pytest.mark.parametrize("method", range(len(SIZING_METHODS)))
@pytest.mark.parametrize("bad", [math.nan, 0.0, -1.0, math.inf])
def test_a_missing_input_never_makes_a_size_that_is_not_a_number(method: int, bad: float) -> None:
    record = rules(sizing=method, quote=100.0, target_volatility=0.01).record()
    for equity in (1000.0, 0.0, -5.0, math.nan):
        size = wanted(account_of(equity), bad, bad, record)
        assert size >= 0 and math.isfinite(size)


def test_methods_follow_their_formulas() -> None:
    account = account_of(1000.0)
    assert wanted(account, 0.02, 0.05, rules(fraction=0.25).record()) == 250
    assert wanted(account, 0.02, 0.05, rules(sizing=FIXED_QUOTE, quote=70.0).record()) == 70
    target = rules(sizing=VOLATILITY_TARGET, target_volatility=0.01).record()
    assert wanted(account, 0.02, 0.05, target) == 500
    assert wanted(account, 0.001, 0.05, target) == 1000, "never more than fraction"
    assert wanted(account, 0.02, 0.05, rules(sizing=RISK_PER_TRADE, risk=0.01).record()) == pytest.approx(200)


def test_kelly_starts_small_shrinks_what_few_trades_say_and_refuses_without_an_edge() -> None:
    record = rules(sizing=KELLY, kelly_prior=30.0, kelly_start=0.01, kelly_cap=0.1, kelly_share=0.5).record()
    assert kelly_fraction(account_of(1.0, 10, 5), record) == 0.01
    assert kelly_fraction(account_of(1.0, 600, 300), record) == 0.1, "the cap"
    assert kelly_fraction(account_of(1.0, 30, 60, win=0.01), record) == 0
    assert kelly_fraction(account_of(1.0, 0, 60), record) == 0
    # 50 wins of 0.01 and 40 losses of 0.01: p = (50 + 15)/(90 + 30), payoff 1, half of the edge 2p − 1.
    fraction = kelly_fraction(account_of(1.0, 50, 40, win=0.01), record)
    assert fraction == pytest.approx(0.5 * (2 * 65 / 120 - 1))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 5000), methods, st.floats(1, 20_000), st.floats(0.01, 200), st.floats(0.05, 1), st.floats(0.05, 1)
)
def test_no_position_is_larger_than_any_cap(
    seed: int, method: int, notional: float, qty: float, symbol: float, total: float
) -> None:
    rng = np.random.default_rng(seed)
    bars = random_market(300, seed)
    filters = np.array([[0.0, 0.001, 0.01, 90.0, 10.0]])
    one = as_market(
        bars, rng.random(300) < 0.3, rng.random(300) < 0.3, volatility=rng.uniform(0.001, 0.1, 300), filters=filters
    )
    capped = rules(
        trade_short=True, sizing=method, quote=15_000.0, target_volatility=0.01, stop_loss=0.02, taker_fee=0.001,
        order_notional=notional, order_qty=qty, symbol_exposure=symbol, total_exposure=total,
    )  # fmt: skip
    result = simulate(one, capped, 10_000.0)
    for trade in result.trades:
        equity, close = result.equity[trade["entry_bar"] - 1], bars.close[trade["entry_bar"] - 1]
        value = trade["qty"] * trade["entry_price"]
        assert value <= min(notional, symbol * equity, total * equity, equity) * (1 + 1e-9)
        # The quantity is decided at the last close, and filled at the next open for the same money.
        assert trade["qty"] * trade["entry_price"] <= qty * close * (1 + 1e-9)
        assert trade["qty"] <= 90 * close / trade["entry_price"] * (1 + 1e-9)
        assert trade["qty"] >= 0.01 and value >= 10
        lots = trade["qty"] * 1000
        assert abs(lots - round(lots)) < 1e-6


def test_an_order_below_the_smallest_is_refused_with_the_reason() -> None:
    from pipeline.trading.reasons import REASONS

    bars = market(*[FLAT] * 4)
    filters = np.array([[0.0, 0.0, 0.0, 0.0, 50.0]])
    words = list(REASONS)

    def reason(rules_: Rules) -> str:
        result = simulate(as_market(bars, at(4, 0), at(4), filters=filters), rules_, 1000.0)
        return words[int(np.flatnonzero(result.refused)[0])]

    assert reason(rules(fraction=0.05)) == "traded", "50 is enough"
    assert reason(rules(fraction=0.0499)) == "min_notional"
    assert reason(rules(order_notional=49.0)) == "order_notional"
    assert reason(rules(order_qty=0.49)) == "order_qty"
    assert reason(rules(symbol_exposure=0.049)) == "symbol_exposure"
    assert reason(rules(total_exposure=0.049)) == "total_exposure"


@pytest.mark.parametrize("forecast", ["ewma", "garch"])
def test_forecasts_look_back_only_and_are_the_same_bar_by_bar(forecast: str) -> None:
    sizing, rng = Sizing(forecast=forecast, span="1d"), np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 3000)))
    filled = rng.random(3000) < 0.05
    table = Forecast(sizing, "1h").over(close, filled)
    stream, last = Forecast(sizing, "1h"), math.nan
    for t in range(3000):
        if not filled[t]:
            last = stream.update(close[t])
        assert last == table[t] or (math.isnan(last) and math.isnan(table[t]))
    shorter = Forecast(sizing, "1h").over(close[:2000], filled[:2000])
    assert np.array_equal(shorter, table[:2000], equal_nan=True)
    assert np.isnan(table[:WARM_UP]).all()
    assert np.nanmean(table) == pytest.approx(0.01, rel=0.1)


@settings(max_examples=300, deadline=None)
@given(st.integers(LINEAR, NORMAL), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.99), st.floats(0.001, 1))
def test_a_smaller_probability_never_gives_a_larger_part_of_the_size(
    shape: int, one: float, two: float, floor: float, above: float
) -> None:
    record = rules(probability=shape, probability_floor=floor, probability_full=min(floor + above, 1.0)).record()
    low, high = sorted((one, two))
    assert 0 <= trust(low, record) <= trust(high, record) + 1e-12 <= 1 + 1e-12
    assert trust(floor, record) == 0 and trust(math.nan, record) == 0
    assert trust(1.0, record) == 1.0


def test_the_bet_size_of_a_probability_is_the_book_s() -> None:
    # AFML 10.3: z = (p − 1/2) / √(p (1 − p)), m = 2Φ(z) − 1.
    record = rules(probability=NORMAL, probability_floor=0.5).record()
    for p in (0.51, 0.6, 0.75, 0.99):
        z = (p - 0.5) / math.sqrt(p * (1 - p))
        assert trust(p, record) == pytest.approx(2 * NormalDist().cdf(z) - 1, abs=1e-12)
    linear = rules(probability=LINEAR, probability_floor=0.5, probability_full=0.7).record()
    assert [trust(p, linear) for p in (0.4, 0.6, 0.7, 0.9)] == pytest.approx([0, 0.5, 1, 1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000), methods, st.floats(0.05, 1), st.integers(LINEAR, NORMAL))
def test_a_probability_only_ever_makes_positions_smaller_within_every_cap(
    seed: int, method: int, cap: float, shape: int
) -> None:
    rng, n = np.random.default_rng(seed), 300
    bars = random_market(n, seed)
    base = rules(
        trade_short=True, sizing=method, quote=2_000.0, target_volatility=0.01, stop_loss=0.02, symbol_exposure=cap
    )
    sure = rng.random(n)
    buy, sell = rng.random(n) < 0.3, rng.random(n) < 0.3
    context = {"volatility": rng.uniform(0.001, 0.1, n), "right_short": rng.random(n)}
    judged = base._replace(probability=shape, probability_floor=0.3, probability_full=0.8)

    def first(right_long: np.ndarray, record: Rules) -> np.ndarray:
        trades = simulate(as_market(bars, buy, sell & False, right_long=right_long, **context), record, 10_000.0).trades
        return trades[:1]

    whole, part, less = first(sure, base), first(sure, judged), first(0.8 * sure, judged)
    if len(part) and part["entry_bar"] == whole["entry_bar"]:
        assert part["qty"] <= whole["qty"] * (1 + 1e-12)
    if len(less) and less["entry_bar"] == part["entry_bar"]:
        assert 0 < less["qty"] <= part["qty"] * (1 + 1e-12)
    everything = simulate(as_market(bars, buy, sell, right_long=sure, **context), judged, 10_000.0)
    for trade in everything.trades:
        decided = trade["entry_bar"] - 1
        value = trade["qty"] * trade["entry_price"]
        assert value <= cap * everything.equity[decided] * (1 + 1e-9)
        right = sure if trade["side"] > 0 else context["right_short"]
        assert right[decided] > 0.3


def test_without_a_probability_nothing_is_entered_and_the_reason_is_counted() -> None:
    from pipeline.trading.reasons import CODES

    bars = market(*[FLAT] * 4)
    judged = rules(probability=LINEAR)
    for value, reason in ((math.nan, "missing_input"), (0.5, "no_edge"), (0.51, "traded")):
        one = as_market(bars, at(4, 0), at(4), right_long=np.full(4, value))
        assert simulate(one, judged, 1000.0).refused[CODES[reason]] == 1
    # Short entries look at their own side.
    both = as_market(bars, at(4), at(4, 0), right_long=np.full(4, 0.9), right_short=np.full(4, 0.1))
    assert simulate(both, judged._replace(trade_short=True), 1000.0).refused[CODES["no_edge"]] == 1
