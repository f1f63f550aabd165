"""Liquidation at the mark price: computed by hand, and on random markets."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trading.markets import as_market, at, market, rules
from trading.test_properties import N, any_rules, full_market, seeds, step_by_step

from pipeline.trading import snapshot
from pipeline.trading.core import step_once
from pipeline.trading.market import HIGH, LOW, NO_MARKS, OPEN
from pipeline.trading.records import EXIT_REASONS, TRADE
from pipeline.trading.rules import Rules
from pipeline.trading.simulation import simulate

FLAT = (100.0, 100.0, 100.0, 100.0)
STILL = (100.0, 100.0, 100.0)
# Ten times leverage and 0.4 % of maintenance: a long position entered at 100 is liquidated at 90 / 0.996, a short one
# at 110 / 1.004; all of the margin is lost at 90 and at 110.
LONG_LEVEL, SHORT_LEVEL = 90 / 0.996, 110 / 1.004
LEVERED = {"leverage": 10.0, "maintenance": 0.004}


def outcome(bar: tuple, marks: tuple | None, side: int = 1, filled: tuple[int, ...] = (), **changes: float):  # type: ignore[no-untyped-def]
    """Enter at 100 on bar 1; what becomes of the position on bar 2, with its own mark price."""
    bars = market(FLAT, FLAT, bar, FLAT, filled=filled)
    rules_ = rules(trade_long=side > 0, trade_short=side < 0, **(LEVERED | changes))
    first, never = at(4, 0), at(4)
    known = np.array([STILL, STILL, marks, STILL]).T if marks else NO_MARKS
    result = simulate(as_market(bars, *((first, never) if side > 0 else (never, first)), marks=known), rules_, 1000.0)
    assert len(result.trades) == 1
    (one,) = result.trades
    assert result.equity[-1] == pytest.approx(1000 + one["pnl"])
    return EXIT_REASONS[one["reason"]], float(one["exit_price"]), int(one["exit_bar"])


@pytest.mark.parametrize(
    ("side", "bar", "marks", "expected"),
    [
        # A wick of the last price that the mark price does not follow.
        (1, (100, 100, 85, 99), (100, 100, 92), ("end", 100, 3)),
        (1, (100, 100, 85, 99), None, ("liquidation", LONG_LEVEL, 2)),
        (-1, (100, 115, 100, 101), (100, 108, 100), ("end", 100, 3)),
        (-1, (100, 115, 100, 101), None, ("liquidation", SHORT_LEVEL, 2)),
        # The mark price goes there, and the last price stays calm.
        (1, (100, 100, 97, 98), (100, 100, 90), ("liquidation", LONG_LEVEL, 2)),
        (-1, (100, 103, 100, 101), (100, 110, 100), ("liquidation", SHORT_LEVEL, 2)),
        # It opens beyond: there, but no worse than where all of the margin is lost.
        (1, (100, 100, 97, 98), (90.2, 91, 90), ("liquidation", 90.2, 2)),
        (1, (100, 100, 97, 98), (80, 91, 75), ("liquidation", 90, 2)),
        (-1, (100, 103, 100, 101), (130, 131, 99), ("liquidation", 110, 2)),
        # The level itself liquidates.
        (1, (100, 100, 97, 98), (100, 100, LONG_LEVEL), ("liquidation", LONG_LEVEL, 2)),
        (1, (100, 100, 97, 98), (100, 100, np.nextafter(LONG_LEVEL, 99)), ("end", 100, 3)),
    ],
)
def test_the_mark_price_liquidates_and_the_last_price_does_not(
    side: int, bar: tuple, marks: tuple | None, expected: tuple
) -> None:
    assert outcome(bar, marks, side) == (expected[0], pytest.approx(expected[1]), expected[2])


@pytest.mark.parametrize(
    ("stop", "bar", "marks", "expected"),
    [
        # Both are reached inside the bar: the level nearer to the entry comes first.
        (0.05, (100, 100, 94, 98), (100, 100, 90), ("stop_loss", 95)),
        (0.097, (100, 100, 90.2, 98), (100, 100, 90.2), ("liquidation", LONG_LEVEL)),
        # Only one of them is.
        (0.05, (100, 100, 96, 98), (100, 100, 90), ("liquidation", LONG_LEVEL)),
        (0.097, (100, 100, 90.2, 98), (100, 100, 92), ("stop_loss", 90.3)),
        # The mark price opens beyond: before the stop that the last price reaches in the same bar.
        (0.05, (94, 100, 94, 98), (90, 91, 90), ("liquidation", 90)),
    ],
)
def test_stop_by_the_last_price_and_liquidation_by_the_mark_price_in_one_bar(
    stop: float, bar: tuple, marks: tuple, expected: tuple
) -> None:
    assert outcome(bar, marks, stop_loss=stop)[:2] == (expected[0], pytest.approx(expected[1]))


def test_a_target_in_the_bar_of_a_liquidation_is_not_counted_on() -> None:
    assert outcome((100, 112, 100, 105), (100, 100, 90), take_profit=0.1)[0] == "liquidation"
    assert outcome((100, 112, 100, 105), (100, 100, 95), take_profit=0.1)[0] == "take_profit"


def test_nothing_is_liquidated_on_a_made_up_bar() -> None:
    assert outcome(FLAT, (100, 100, 50), filled=(2,)) == ("end", 100, 3)


def test_funding_is_counted_by_the_mark_price() -> None:
    bars = market(FLAT, FLAT, FLAT, FLAT)
    known = np.array([STILL, STILL, (102.0, 102.0, 100.0), STILL]).T
    funding = np.array([0, 0, 0.01, 0])
    rules_ = rules(pays_funding=True)
    one = simulate(as_market(bars, at(4, 0), at(4), funding=funding, marks=known), rules_, 1000.0)
    assert one.trades["funding"][0] == pytest.approx(10 * 102 * 0.01)
    without = simulate(as_market(bars, at(4, 0), at(4), funding=funding), rules_, 1000.0)
    assert without.trades["funding"][0] == pytest.approx(10 * 100 * 0.01)


@settings(max_examples=60, deadline=None)
@given(any_rules, seeds)
def test_a_mark_price_that_is_the_last_price_changes_no_bit(rules_: Rules, seed: int) -> None:
    rules_ = rules_._replace(step_ms=600_000, pays_funding=False)
    bare = full_market(N, seed, marked=False)
    marked = bare._replace(marks=np.ascontiguousarray(bare.numbers[[OPEN, HIGH, LOW]]))
    one, two = simulate(bare, rules_, 10_000.0), simulate(marked, rules_, 10_000.0)
    assert one.equity.tobytes() == two.equity.tobytes() and one.trades.tobytes() == two.trades.tobytes()
    assert one.account.tobytes() == two.account.tobytes()


@settings(max_examples=40, deadline=None)
@given(any_rules, seeds, st.integers(1, N - 2))
def test_saved_and_restored_it_goes_on_by_the_mark_price(rules_: Rules, seed: int, cut: int) -> None:
    rules_ = rules_._replace(step_ms=600_000, leverage=20.0)
    whole = full_market(N, seed, marked=True)
    equity, trades, *_ = step_by_step(whole, rules_, 10_000.0)
    _, _, account, positions, refused = step_by_step(whole, rules_, 10_000.0, until=cut)
    account, positions, refused = snapshot.restore(json.loads(json.dumps(snapshot.save(account, positions, refused))))
    ledger, record = np.zeros(2 * N, TRADE), rules_.array()
    for t in range(cut, N - 1):
        one = whole.at(t)
        now = step_once(account, positions, ledger, refused, one.signal[:, 0].copy(), t, 0, one, record)
        assert now == equity[t]
    done = int(account["trades"][0])
    assert all(ledger[k] == trades[k] for k in range(done) if trades[k]["exit_bar"] >= cut)
