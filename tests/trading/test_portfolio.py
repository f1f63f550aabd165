"""Several symbols on one cash balance; and a core that is saved and restored in between."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trading.markets import random_market, rules

from pipeline.trading.core import step_once
from pipeline.trading.market import Market, market_of, signals_of
from pipeline.trading.reasons import COUNT
from pipeline.trading.records import EXIT_REASONS, TRADE, new_account, new_positions
from pipeline.trading.rules import Rules
from pipeline.trading.simulation import quantities, simulate
from pipeline.trading.snapshot import restore, save


def portfolio(n: int, symbols: int, seed: int, rate: float = 0.1) -> Market:
    rng = np.random.default_rng(seed)
    bars = [random_market(n, seed * 100 + k, 0.01 * (k + 1)) for k in range(symbols)]
    signal = signals_of(rng.random((symbols, n)) < rate, rng.random((symbols, n)) < rate)
    return market_of(
        bars,
        signal,
        score=rng.normal(size=(symbols, n)).round(1),
        volatility=rng.uniform(0.005, 0.02, (symbols, n)),
        volume=rng.uniform(1e4, 1e6, (symbols, n)),
        funding=np.where(np.arange(n) % 8 == 0, 0.0001, 0.0),
    )


RULES = rules(
    trade_short=True, fraction=0.4, taker_fee=0.001, maker_fee=0.0005, slip=0.0004, half_spread=0.0001, stop_loss=0.03,
    take_profit=0.05, trailing_stop=0.02, leverage=2.0, maintenance=0.005, pays_funding=True, total_exposure=1.5,
    open_positions=3, daily_loss=0.08, losses_in_a_row=4, pause=10, step_ms=3_600_000, participation=0.2,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(4)))
def test_symbols_without_ties_can_come_in_any_order(seed: int, order: list[int]) -> None:
    # Ties go by place, so scores are made distinct; the stage sorts symbols by name.
    market = portfolio(400, 4, seed)
    market.numbers[7] = np.random.default_rng(seed).permutation(market.score.size).reshape(market.score.shape)
    shuffled = Market(
        np.ascontiguousarray(market.numbers[:, order]),
        np.ascontiguousarray(market.flags[:, order]),
        market.filters[order],
        market.correlation,
    )
    # Several losses of one bar count in the order of the names, which shuffling changes.
    free = RULES._replace(losses_in_a_row=1 << 60)
    one, two = simulate(market, free, 10_000.0), simulate(shuffled, free, 10_000.0)
    assert len(one.trades) == len(two.trades) > 20
    # Sums run in another order: equal but for the last bits.
    np.testing.assert_allclose(one.equity, two.equity, rtol=1e-9)
    key = [(t["entry_bar"], t["symbol"]) for t in one.trades]
    assert sorted(key) == sorted((t["entry_bar"], order[t["symbol"]]) for t in two.trades)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_limits_hold_on_every_bar_but_for_what_prices_did_since(seed: int) -> None:
    market = portfolio(400, 5, seed, 0.3)
    result = simulate(market, RULES, 10_000.0)
    held = np.array([quantities(result.trades, k, 400) for k in range(5)])
    assert (np.count_nonzero(held, axis=0) <= 3).all()
    for t in np.unique(result.trades["entry_bar"]):
        opened = result.trades[result.trades["entry_bar"] == t]
        at_entry = sum(trade["qty"] * trade["entry_price"] for trade in opened)
        assert at_entry <= 1.5 * result.equity[t - 1] * (1 + 1e-9)


def test_the_books_balance_over_a_million_bars() -> None:
    symbols, n = 4, 250_000
    market = portfolio(n, symbols, 3, 0.05)
    result = simulate(market, RULES._replace(daily_loss=np.inf, fraction=0.05), 1_000_000.0)
    trades = result.trades
    assert len(trades) > 20_000
    gross = (trades["side"] * trades["qty"] * (trades["exit_price"] - trades["entry_price"])).sum()
    assert result.equity[-1] == pytest.approx(1e6 + gross - trades["fees"].sum() - trades["funding"].sum(), abs=0.01)
    assert result.account["fees"][0] == pytest.approx(trades["fees"].sum(), abs=0.01)
    assert result.account["funding"][0] == pytest.approx(trades["funding"].sum(), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 398))
def test_a_saved_and_restored_core_continues_to_the_last_bit(seed: int, cut: int) -> None:
    market, n = portfolio(400, 3, seed, 0.2), 400
    record = RULES.array()

    def live(account, positions, refused, first: int, stop: int):  # type: ignore[no-untyped-def]
        trades = np.zeros(4 * n, TRADE)
        equity = [
            step_once(account, positions, trades, refused, market.signal[:, t].copy(), t, t, market, record)
            for t in range(first, stop)
        ]
        return equity, trades[: account["trades"][0]]

    whole = (new_account(1e4), new_positions(3), np.zeros(COUNT, np.int64))
    equity, trades = live(*whole, 0, n)
    half = (new_account(1e4), new_positions(3), np.zeros(COUNT, np.int64))
    first, early = live(*half, 0, cut)
    kept = json.loads(json.dumps(save(*half)))
    later, late = live(*restore(kept), cut, n)
    assert first + later == equity
    assert trades[: len(early)].tobytes() == early.tobytes()
    assert trades[len(early) :].tobytes() == late[len(early) :].tobytes()


def test_a_snapshot_of_another_make_is_refused() -> None:
    from pipeline.errors import BadInput

    kept = save(new_account(1.0), new_positions(1), np.zeros(COUNT, np.int64))
    del kept["account"]["cash"]
    with pytest.raises(BadInput, match="cash"):
        restore(kept)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000), st.floats(0.01, 0.2), st.sampled_from([1, -1]))
def test_on_jumping_prices_a_stop_loses_no_more_than_its_distance_and_the_gap(
    seed: int, stop: float, side: int
) -> None:
    rng = np.random.default_rng(seed)
    n = 300
    jump = rng.standard_t(2, n) * 0.02
    close = 100 * np.exp(np.cumsum(np.clip(jump, -0.5, 0.5)))
    open_ = np.r_[100.0, close[:-1]] * np.exp(np.clip(rng.standard_t(2, n) * 0.01, -0.3, 0.3))
    bars = random_market(n, seed)._replace(
        open=open_, close=close, high=np.maximum(open_, close), low=np.minimum(open_, close), filled=np.zeros(n, bool)
    )
    signal = signals_of(np.full(n, side > 0), np.full(n, side < 0))
    rules_: Rules = rules(trade_long=side > 0, trade_short=side < 0, stop_loss=stop, taker_fee=0.001, slip=0.0005)
    for trade in simulate(market_of(bars, signal), rules_, 10_000.0).trades:
        if EXIT_REASONS[trade["reason"]] not in ("stop_loss", "liquidation"):
            continue
        level = trade["entry_price"] * (1 - side * stop)
        gap = max(0.0, side * (level - open_[trade["exit_bar"]]))
        worst = stop * trade["entry_price"] + gap + 0.0005 * max(level, open_[trade["exit_bar"]])
        assert -side * (trade["exit_price"] - trade["entry_price"]) <= worst * (1 + 1e-9)
