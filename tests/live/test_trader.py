"""What the live trader orders: once, within what there is, and not after it was told to stop."""

from decimal import Decimal

import pytest
from live.bench import CONFIG, ONE, TWO, Bench, config

from pipeline.exchange.port import ListRequest, Report, Request
from pipeline.live.effects import Cancel, CancelList, Send, SendList, Write
from pipeline.live.jumped import JUMPED_MS
from pipeline.live.quoting import wants_quotes
from pipeline.trading.market import BUY
from pipeline.trading.reasons import BREAKER_CODES, CODES


def orders(bench: Bench) -> list[Request | ListRequest]:
    return [one.request for one in bench.take() if isinstance(one, Send | SendList)]


def assert_left(bench: Bench) -> None:
    """The first symbol is protected, and sold as soon as that can be taken away."""
    (pair,) = orders(bench)
    for leg in pair.legs:
        bench.accepted(leg)
    assert bench.take() == [CancelList(ONE, pair.list_client_order_id)]
    for leg in pair.legs:
        bench.reports(leg, "CANCELED", ())
    assert [one.side for one in orders(bench)] == ["SELL"]


def test_looking_twice_sends_nothing_twice():
    bench = Bench()
    bench.bar({ONE: BUY})
    assert len(orders(bench)) == 1
    bench.react()
    bench.react()
    assert orders(bench) == []


def test_after_a_crash_it_sends_nothing_that_was_sent():
    bench = Bench()
    bench.buys()
    again = Bench(bench.config, bench.journal)
    again.now = bench.now
    again.react()
    assert orders(again) == []


def test_a_filled_entry_is_protected_once_and_an_exit_waits_for_the_stop_to_be_gone():
    bench = Bench()
    bench.filled(bench.buys())
    (pair,) = orders(bench)
    assert isinstance(pair, ListRequest) and {leg.kind for leg in pair.legs} == {"STOP_LOSS", "LIMIT_MAKER"}
    bench.react()
    assert orders(bench) == []
    for leg in pair.legs:
        bench.accepted(leg)
    bench.sells()
    assert [type(one) for one in bench.take()] == [CancelList]
    bench.react()
    assert bench.take() == []


@pytest.mark.parametrize(
    ("age_ms", "waited_ms", "enters"), [(0, 20_000, True), (15_000, 5000, True), (15_000, 5001, False)]
)
def test_an_entry_that_waits_grows_as_old_as_its_bar(age_ms, waited_ms, enters):
    bench = Bench()
    bench.write("HALT", {"symbol": ONE, "reason": "until it is old"})
    bench.desk.books.add("HALT", {"symbol": ONE, "reason": "until it is old"})
    bench.bar({ONE: BUY}, age_ms=age_ms)
    assert orders(bench) == []
    bench.now += waited_ms
    bench.carry(bench.desk.resume(ONE, bench.now))
    bench.react()
    assert bool(orders(bench)) == enters


def test_a_stop_that_the_book_has_jumped_over_is_sold_at_market():
    declared = config(serve={**CONFIG["serve"], "stop_limit_band": 0.01})
    assert wants_quotes(declared) and not wants_quotes(config())
    bench = Bench(declared)
    bench.filled(bench.buys())
    (pair,) = orders(bench)
    for leg in pair.legs:
        bench.accepted(leg)
    bench.carry(bench.trader.on_tick(ONE, Decimal(9), Decimal("9.01"), bench.now))
    for wait in (0, JUMPED_MS):
        bench.now += wait
        bench.carry(bench.desk.timer(bench.now))
    assert CancelList(ONE, pair.list_client_order_id) in bench.take()
    assert ONE in bench.desk.books.leaving


def test_the_close_of_a_bar_shows_a_jumped_stop_too():
    bench = Bench(config(serve={**CONFIG["serve"], "stop_limit_band": 0.01}))
    bench.filled(bench.buys())
    (pair,) = orders(bench)
    for leg in pair.legs:
        bench.accepted(leg)
    bench.bar({}, price=9.0)
    for wait in (0, JUMPED_MS):
        bench.now += wait
        bench.carry(bench.desk.timer(bench.now))
    assert CancelList(ONE, pair.list_client_order_id) in bench.take()


def test_an_order_of_another_symbol_of_the_account_is_left_alone():
    bench = Bench()
    bench.carry(bench.desk.replied(Report("XYZUSDT", "theirs", "NEW", Decimal(0)), bench.now))
    bench.react("XYZUSDT")
    assert orders(bench) == []


def test_symbols_of_one_bar_do_not_order_more_than_is_free():
    bench = Bench(config(sizing={"fraction": 0.5}))
    bench.hears(600)
    bench.bar({ONE: BUY, TWO: BUY})
    sent = orders(bench)
    assert len(sent) == 2 and sum(one.qty * 10 for one in sent) <= 600


def test_an_entry_whose_stop_would_be_too_small_is_not_sent():
    bench = Bench()
    bench.hears(5.05)
    bench.bar({ONE: BUY})
    assert orders(bench) == []
    (lapse,) = [body for kind, body in bench.journal if kind == "LAPSE"]
    assert "a stop of" in lapse["reason"]


def test_a_balance_that_was_never_told_lets_nothing_in():
    bench = Bench()
    bench.trader.balance_ms = 0
    assert bench.trader.refusals(bench.now) == dict.fromkeys((ONE, TWO), CODES["stale_balance"])


def tripped(bench: Bench) -> None:
    bench.write("BREAKER", {"breaker": "kill_switch", "code": BREAKER_CODES["kill_switch"], "reason": "x", "at": 0})


def test_an_entry_that_is_filled_after_the_kill_switch_is_left_at_once():
    bench = Bench()
    request = bench.buys()
    tripped(bench)
    bench.react()
    assert [type(one) for one in bench.take()] == [Cancel]
    bench.filled(request)
    assert_left(bench)


def test_a_breaker_before_a_crash_lets_no_entry_out_after_it():
    bench = Bench()
    bench.now += 60_000
    journal = bench.journal
    bench.react = lambda *symbols: None
    bench.bar({ONE: BUY})
    tripped(bench)
    again = Bench(bench.config, journal)
    again.now = bench.now
    again.react()
    assert orders(again) == []
    assert not again.portfolio.position(ONE)["enter"]


def test_the_breaker_of_the_day_cancels_entries_that_rest_at_the_exchange():
    bench = Bench(config(serve={"limit_price_adjustment": -0.01, "max_decision_age": 20}))
    bench.bar({ONE: BUY, TWO: BUY})
    first, second = orders(bench)
    for request in first.requests:
        bench.reports(request, "NEW" if request is first.working else "PENDING_NEW", ())
    bench.filled(second.working)
    bench.take()
    bench.bar({}, 1.0)
    assert CancelList(ONE, first.list_client_order_id) in bench.take()


def flattened(bench: Bench, *symbols: str) -> None:
    """The command, up to its first record: the process dies there."""
    bench.write("COMMAND", {"name": "flatten", "args": {"symbols": list(symbols)}, "at": 0})


def test_an_entry_that_is_filled_after_flatten_is_left_at_once_even_if_it_crashed_in_between():
    bench = Bench()
    request = bench.buys()
    flattened(bench)
    again = Bench(bench.config, bench.journal)
    again.now = bench.now
    again.react()
    assert Cancel(ONE, request.client_order_id) in again.take()
    again.filled(request)
    assert_left(again)


def test_flatten_of_one_symbol_leaves_the_other_alone():
    bench = Bench()
    request = bench.buys(TWO)
    flattened(bench, ONE)
    bench.react()
    bench.filled(request)
    assert isinstance(orders(bench)[0], ListRequest)
    assert not bench.portfolio.position(TWO)["leave"]


def test_flatten_ends_the_plan_of_an_entry_and_what_it_still_buys():
    bench = Bench(config(serve={"entry": {"plan": "twap", "slices": 2, "duration": 10}, "max_decision_age": 20}))
    bench.bar({ONE: BUY})
    bench.carry(bench.trader.on_tick(ONE, Decimal("9.99"), Decimal("10.01"), bench.now))
    (child,) = orders(bench)
    bench.accepted(child)
    flattened(bench)
    bench.react()
    assert bench.desk.books.works == {} and bench.take() == [Cancel(ONE, child.client_order_id)]
    bench.now += 20_000
    bench.carry(bench.trader.on_tick(ONE, Decimal("9.99"), Decimal("10.01"), bench.now))
    bench.react()
    assert orders(bench) == []
    bench.filled(child)
    assert_left(bench)


def test_a_plan_goes_on_after_its_first_part_was_filled():
    bench = Bench(config(serve={"entry": {"plan": "twap", "slices": 2, "duration": 10}, "max_decision_age": 20}))
    bench.bar({ONE: BUY})
    bench.carry(bench.trader.on_tick(ONE, Decimal("9.99"), Decimal("10.01"), bench.now))
    (child,) = orders(bench)
    bench.filled(child)
    assert bench.portfolio.position(ONE)["enter"] and len(bench.desk.books.works) == 1


def test_an_entry_that_was_not_sent_before_a_pause_is_not_sent_after_it():
    bench = Bench()
    bench.desk.books.add("HALT", {"symbol": ONE, "reason": "x"})
    bench.bar({ONE: BUY})
    bench.write("COMMAND", {"name": "pause", "args": {}, "at": 0})
    bench.carry(bench.desk.resume(ONE, bench.now))
    bench.react()
    assert orders(bench) == []


def test_ticks_move_a_trailing_stop_and_change_nothing_that_the_journal_does_not_tell():
    exits = {"stop_loss": 0.02, "trailing_stop": 0.02}
    bench = Bench(config(simulate={"exits": exits, "random_entries": 0}))
    bench.filled(bench.buys())
    for request in orders(bench):
        bench.accepted(request)
    before = bench.portfolio.positions.tobytes()
    effects = bench.trader.on_tick(ONE, Decimal("10.5"), Decimal("10.51"), bench.now)
    assert bench.portfolio.positions.tobytes() == before
    (moved,) = [one.body["stop"] for one in effects if isinstance(one, Write) and one.kind == "PROTECT"]
    assert Decimal(moved) == Decimal("10.29")
    bench.carry(effects)
    # It does not follow the price down, and not too often up.
    assert bench.trader.on_tick(ONE, Decimal("10.2"), Decimal("10.21"), bench.now) == []


@pytest.mark.parametrize("halted", [True, False])
def test_a_halted_symbol_can_be_left_and_not_entered(halted):
    bench = Bench()
    bench.filled(bench.buys())
    for leg in orders(bench)[0].legs:
        bench.accepted(leg)
    if halted:
        bench.desk.books.add("HALT", {"symbol": ONE, "reason": "x"})
    bench.sells()
    assert any(isinstance(one, CancelList) for one in bench.take())


def test_an_entry_is_under_way_until_it_is_filled_whole_or_has_ended():
    bench = Bench()
    request = bench.buys(ONE)
    bench.accepted(request)
    assert [leg.symbol for leg in bench.portfolio.entering(ONE)] == [ONE] and bench.portfolio.entering(TWO) == []
    bench.filled(request)
    assert bench.portfolio.entering(ONE) == []
    other = bench.buys(TWO)
    bench.reports(other, "EXPIRED", ())
    assert bench.portfolio.entering(TWO) == []
