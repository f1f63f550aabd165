"""Each way in and out of a position, computed by hand."""

import pytest
from trading.markets import at, market, rules
from trading.markets import trade as simulate

from pipeline.trading.records import EXIT_REASONS
from pipeline.trading.rules import STOP_FIRST, TARGET_FIRST
from pipeline.trading.simulation import quantities

FLAT = (100.0, 101.0, 99.0, 100.0)


def only_trade(bars, buy, sell, rules_, cash=1000.0):
    n = len(bars.close)
    result = simulate(bars, at(n, *buy), at(n, *sell), rules_, cash)
    assert len(result.trades) == 1, result.trades
    return result.trades[0], result


def test_signal_is_filled_at_the_next_open_and_not_on_its_own_bar() -> None:
    bars = market(FLAT, (102, 103, 101, 102), (104, 110, 104, 110), (108, 109, 107, 108))
    trade, result = only_trade(bars, [0], [2], rules())
    assert (trade["entry_bar"], trade["entry_price"]) == (1, 102)
    assert (trade["exit_bar"], trade["exit_price"]) == (3, 108)
    assert EXIT_REASONS[trade["reason"]] == "signal"
    assert result.equity[0] == 1000
    assert result.equity[2] == pytest.approx(1000 / 102 * 110)
    assert result.equity[3] == pytest.approx(1000 / 102 * 108)


def test_market_orders_pay_slippage_half_the_spread_and_the_taker_fee() -> None:
    bars = market(FLAT, FLAT, FLAT, FLAT)
    trade, result = only_trade(bars, [0], [1], rules(slip=0.01, taker_fee=0.002, maker_fee=0.5))
    qty = 1000 / (101 * 1.002)
    assert trade["entry_price"] == 101 and trade["exit_price"] == 99
    assert trade["qty"] == pytest.approx(qty)
    assert trade["fees"] == pytest.approx(qty * 101 * 0.002 + qty * 99 * 0.002)
    assert trade["pnl"] == pytest.approx(-2 * qty - trade["fees"])
    assert trade["return_"] == pytest.approx(trade["pnl"] / (qty * 101))
    assert result.equity[-1] == pytest.approx(1000 + trade["pnl"])


def test_stop_fills_at_its_level_less_slippage() -> None:
    bars = market(FLAT, FLAT, (99, 99.5, 94, 98), FLAT)
    trade, _ = only_trade(bars, [0], [], rules(stop_loss=0.05, slip=0.001))
    assert trade["exit_bar"] == 2
    assert trade["exit_price"] == pytest.approx(100.1 * 0.95 * 0.999)
    assert EXIT_REASONS[trade["reason"]] == "stop_loss"


def test_stop_fills_at_open_when_price_gaps_through() -> None:
    bars = market(FLAT, FLAT, (90, 96, 89, 95), FLAT)
    trade, result = only_trade(bars, [0], [], rules(stop_loss=0.05))
    assert trade["exit_price"] == 90
    assert result.ambiguous_bars == 0


def test_stop_can_hit_in_the_entry_bar() -> None:
    bars = market(FLAT, (100, 101, 94, 96), FLAT)
    trade, _ = only_trade(bars, [0], [], rules(stop_loss=0.05))
    assert (trade["entry_bar"], trade["exit_bar"], trade["exit_price"]) == (1, 1, 95)


def test_target_fills_at_its_level_as_maker_without_slippage() -> None:
    bars = market(FLAT, FLAT, (101, 111, 100, 105), FLAT)
    trade, _ = only_trade(bars, [0], [], rules(take_profit=0.1, maker_fee=0.001))
    assert trade["exit_price"] == pytest.approx(110)
    assert trade["fees"] == pytest.approx(trade["qty"] * 110 * 0.001)
    assert EXIT_REASONS[trade["reason"]] == "take_profit"


def test_target_that_price_gaps_over_fills_at_its_level_where_the_order_rests() -> None:
    bars = market(FLAT, FLAT, (115, 116, 80, 85), FLAT)
    trade, result = only_trade(bars, [0], [], rules(take_profit=0.1, stop_loss=0.1))
    assert trade["exit_price"] == pytest.approx(110)
    assert result.ambiguous_bars == 0, "the open was beyond the target: it came first"


@pytest.mark.parametrize(("stop_first", "price", "reason"), [(True, 95, "stop_loss"), (False, 105, "take_profit")])
def test_stop_and_target_in_one_bar_is_ambiguous(stop_first: bool, price: float, reason: str) -> None:
    bars = market(FLAT, FLAT, (100, 106, 94, 100), FLAT)
    trade, result = only_trade(
        bars, [0], [], rules(stop_loss=0.05, take_profit=0.05, path=STOP_FIRST if stop_first else TARGET_FIRST)
    )
    assert trade["exit_price"] == pytest.approx(price)
    assert EXIT_REASONS[trade["reason"]] == reason
    assert result.ambiguous_bars == 1


def test_trailing_stop_follows_highs_of_completed_bars_only() -> None:
    # Bar 2 makes a high of 120 and falls to 115: 10 % below its own high, but its stop is still 10 %
    # below 101. Bar 3 is stopped at 108.
    bars = market(FLAT, FLAT, (100, 120, 100, 115), (115, 116, 105, 110), FLAT)
    trade, _ = only_trade(bars, [0], [], rules(trailing_stop=0.1))
    assert (trade["exit_bar"], trade["exit_price"]) == (3, pytest.approx(108))
    assert EXIT_REASONS[trade["reason"]] == "trailing_stop"


def test_the_tighter_of_stop_loss_and_trailing_stop_holds() -> None:
    bars = market(FLAT, FLAT, (100, 101, 95, 96), FLAT)
    trade, _ = only_trade(bars, [0], [], rules(trailing_stop=0.1, stop_loss=0.03))
    assert trade["exit_price"] == 97
    assert EXIT_REASONS[trade["reason"]] == "stop_loss"


def test_time_limit_closes_at_the_open_after_so_many_bars() -> None:
    bars = market(*[FLAT] * 6)
    trade, _ = only_trade(bars, [0], [], rules(max_bars=3))
    assert (trade["entry_bar"], trade["exit_bar"]) == (1, 4)
    assert EXIT_REASONS[trade["reason"]] == "max_bars"


def test_end_of_data_closes_at_the_last_close() -> None:
    bars = market(FLAT, FLAT, (100, 103, 99, 102))
    trade, result = only_trade(bars, [0], [], rules(taker_fee=0.001))
    assert (trade["exit_bar"], trade["exit_price"]) == (2, 102)
    assert EXIT_REASONS[trade["reason"]] == "end"
    assert result.equity[-1] == pytest.approx(1000 + trade["pnl"])


def test_signal_on_the_last_bar_does_nothing() -> None:
    bars = market(FLAT, FLAT)
    assert len(simulate(bars, at(2, 1), at(2), rules(), 1000.0).trades) == 0


def test_short_gains_when_the_price_falls() -> None:
    bars = market(FLAT, FLAT, (90, 91, 79, 80), (80, 81, 79, 80))
    trade, result = only_trade(bars, [2], [0], rules(trade_long=False, trade_short=True))
    assert (trade["side"], trade["entry_price"], trade["exit_price"]) == (-1, 100, 80)
    assert trade["pnl"] == pytest.approx(200)
    assert (trade["mae"], trade["mfe"]) == (pytest.approx(-0.01), pytest.approx(0.21))
    assert result.equity[2] == pytest.approx(1200)


def test_short_stop_and_target_are_mirrored() -> None:
    short = rules(trade_long=False, trade_short=True, stop_loss=0.05, take_profit=0.05)
    stopped, _ = only_trade(market(FLAT, FLAT, (100, 106, 99, 100), FLAT), [], [0], short)
    gapped, _ = only_trade(market(FLAT, FLAT, (108, 109, 99, 100), FLAT), [], [0], short)
    gained, _ = only_trade(market(FLAT, FLAT, (100, 101, 94, 100), FLAT), [], [0], short)
    assert [t["exit_price"] for t in (stopped, gapped, gained)] == pytest.approx([105, 108, 95])


def test_both_directions_reverse_at_one_open() -> None:
    bars = market(FLAT, FLAT, FLAT, (90, 91, 89, 90), (80, 81, 79, 80))
    result = simulate(bars, at(5, 0), at(5, 2), rules(trade_short=True), 1000.0)
    assert [(t["side"], t["entry_bar"], t["exit_bar"]) for t in result.trades] == [(1, 1, 3), (-1, 3, 4)]
    assert result.equity[-1] == pytest.approx(900 / 90 * (90 - 80) + 900)


def test_bar_with_both_signals_enters_nothing_but_closes() -> None:
    bars = market(*[FLAT] * 5)
    assert len(simulate(bars, at(5, 1), at(5, 1), rules(trade_short=True), 1000.0).trades) == 0
    trade, _ = only_trade(bars, [0, 2], [2], rules(trade_short=True))
    assert trade["exit_bar"] == 3


def test_entry_lapses_when_the_next_bar_is_made_up() -> None:
    bars = market(*[FLAT] * 5, filled=(1,))
    assert len(simulate(bars, at(5, 0), at(5), rules(), 1000.0).trades) == 0


def test_exit_waits_for_the_next_real_bar() -> None:
    bars = market(FLAT, FLAT, FLAT, FLAT, (97, 98, 96, 97), FLAT, filled=(3,))
    trade, _ = only_trade(bars, [0], [2], rules())
    assert (trade["exit_bar"], trade["exit_price"]) == (4, 97)


def test_excursions_count_what_was_seen_while_open() -> None:
    bars = market(FLAT, (100, 104, 98, 103), (103, 130, 94, 100), FLAT)
    trade, _ = only_trade(bars, [0], [], rules(stop_loss=0.05))
    assert trade["mae"] == pytest.approx(-0.05), "not beyond the stop"
    assert trade["mfe"] == pytest.approx(0.04), "the high of the bar that stopped it does not count"


def test_fraction_leaves_the_rest_in_cash() -> None:
    bars = market(FLAT, FLAT, (100, 111, 99, 110), (110, 111, 109, 110))
    trade, result = only_trade(bars, [0], [], rules(fraction=0.25))
    qty = quantities(result.trades, 0, 4)
    cash = result.equity - qty * bars.close
    assert trade["qty"] == pytest.approx(2.5)
    assert cash.tolist() == pytest.approx([1000, 750, 750, 1025])
    assert qty.tolist() == pytest.approx([0, 2.5, 2.5, 0])


def test_a_short_position_loses_its_margin_and_no_more() -> None:
    high = (250.0, 260.0, 250.0, 250.0)
    bars = market(FLAT, FLAT, high, high, high, high)
    result = simulate(bars, at(6, 2), at(6, 0, 3), rules(trade_long=False, trade_short=True), 1000.0)
    assert [trade["pnl"] for trade in result.trades] == [-1000]
    assert EXIT_REASONS[result.trades[0]["reason"]] == "liquidation"
    assert result.equity[3:].tolist() == [0, 0, 0], "and nothing is entered without cash"
