"""Levels of exits stand on the symbol's ticks, computed by hand."""

import numpy as np
import pytest
from trading.markets import as_market, at, market, rules

from pipeline.trading.records import EXIT_REASONS
from pipeline.trading.simulation import simulate

FLAT = (100.0, 100.0, 100.0, 100.0)


def only_trade(bars, side: int, tick: float, **exits: float):  # type: ignore[no-untyped-def]
    n = len(bars.close)
    rules_ = rules(trade_long=side > 0, trade_short=side < 0, **exits)
    first, never = at(n, 0), at(n)
    context = {"filters": np.array([[tick, 0.0, 0.0, 0.0, 0.0]])}
    result = simulate(as_market(bars, *((first, never) if side > 0 else (never, first)), **context), rules_, 1000.0)
    assert len(result.trades) == 1, result.trades
    return result.trades[0]["exit_bar"], result.trades[0]["exit_price"], EXIT_REASONS[result.trades[0]["reason"]]


@pytest.mark.parametrize(
    ("side", "tick", "reach", "expected"),
    [
        # 4.77 % from 100: at 95.23 without ticks; a sale is placed on the tick above, a purchase on the one below.
        (1, 0.0, 95.4, (3, 100.0, "end")),
        (1, 0.5, 95.4, (2, 95.5, "stop_loss")),
        (1, 0.01, 95.22, (2, 95.23, "stop_loss")),
        (-1, 0.0, 104.6, (3, 100.0, "end")),
        (-1, 0.5, 104.6, (2, 104.5, "stop_loss")),
        (-1, 0.3, 104.75, (2, 104.7, "stop_loss")),
    ],
)
def test_a_stop_stands_on_the_nearer_tick(side: int, tick: float, reach: float, expected: tuple) -> None:
    low, high = min(reach, 100.0), max(reach, 100.0)
    bars = market(FLAT, FLAT, (100, high, low, 100), FLAT)
    assert only_trade(bars, side, tick, stop_loss=0.0477) == expected


@pytest.mark.parametrize(
    ("side", "tick", "reach", "expected"),
    [
        # 10.36 % from 100: at 110.36 or 89.64 without ticks; a limit is placed no worse for us.
        (1, 0.0, 110.4, (2, pytest.approx(110.36), "take_profit")),
        (1, 0.5, 110.4, (3, 100.0, "end")),
        (1, 0.5, 110.5, (2, 110.5, "take_profit")),
        (-1, 0.5, 89.6, (3, 100.0, "end")),
        (-1, 0.5, 89.5, (2, 89.5, "take_profit")),
    ],
)
def test_a_target_stands_on_the_farther_tick(side: int, tick: float, reach: float, expected: tuple) -> None:
    low, high = min(reach, 100.0), max(reach, 100.0)
    bars = market(FLAT, FLAT, (100, high, low, 100), FLAT)
    assert only_trade(bars, side, tick, take_profit=0.1036) == expected


def test_a_trailing_stop_moves_from_tick_to_tick() -> None:
    # 3 % below 111 is 107.67, on ticks of half a unit 108.
    bars = market(FLAT, FLAT, (100, 111, 110, 110), (110, 110, 107.9, 109), FLAT)
    assert only_trade(bars, 1, 0.0, trailing_stop=0.03) == (4, 100.0, "trailing_stop"), "at the open after"
    assert only_trade(bars, 1, 0.5, trailing_stop=0.03) == (3, 108.0, "trailing_stop")


def test_a_stop_at_the_entry_price_stands_on_a_tick() -> None:
    bars = market(FLAT, (100.3, 100.3, 100.3, 100.3), (102, 103, 102, 103), (103, 103, 100.4, 102), FLAT)
    exits = {"break_even_after": 0.01, "stop_loss": 0.05}
    assert only_trade(bars, 1, 0.0, **exits)[2] == "break_even"
    assert only_trade(bars, 1, 0.5, **exits) == (3, 100.5, "break_even")
