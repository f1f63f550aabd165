"""What the desk does, step by step, with stops, targets, exits and plans; in `test_desk` everything goes wrong."""

from decimal import Decimal

import pytest

from pipeline.exchange.port import ListRequest, Report, Request
from pipeline.live import effects as fx
from pipeline.live.books import Books, books_of
from pipeline.live.clerk import GONE_MS, LOOK_MS, MARGIN_MS, WINDOW_MS
from pipeline.live.desk import PARTLY_MS, Desk, Settings
from pipeline.live.jumped import JUMPED_MS
from pipeline.live.records import Protection
from pipeline.trading.execution import Chase, Twap
from pipeline.trading.filters import Range, SymbolFilters
from pipeline.trading.orders import Fill, Intent, State

D = Decimal
SYMBOL = "BTCUSDT"
RULES = {
    SYMBOL: SymbolFilters(
        SYMBOL, Range(step=D("0.01")), Range(D("0.1"), D(1000), D("0.1")), min_notional=D(5), base_asset="BTC"
    )
}
ENTRY = Intent("b", SYMBOL, 0)
STOP = Protection("b", 0, D(95))
PAIR = Protection("b", 0, D(95), D(110))


class Told:
    """A desk whose effects are kept, with an exchange in a few words."""

    def __init__(self, books: Books | None = None, **settings) -> None:
        self.desk = Desk(Books() if books is None else books, RULES, Settings(**settings))
        self.records: list[tuple[str, dict]] = []
        self.trade = 0

    def __call__(self, effects) -> list:
        """Keep what is written; the rest."""
        self.records += [(e.kind, e.body) for e in effects if isinstance(e, fx.Write)]
        return [e for e in effects if not isinstance(e, fx.Write | fx.AskFills | fx.Find | fx.FindList | fx.AskOpen)]

    def fill(
        self, name: str, qty: str, status: str = "FILLED", price: int = 100, fee: str = "0", now: int = 10
    ) -> list:
        self.trade += 1
        entry = self.desk.books.entries[name]
        fill = Fill(self.trade, D(qty), D(price), D(fee), "BTC")
        return self(self.desk.replied(Report(SYMBOL, name, status, entry.order.filled + D(qty), fills=(fill,)), now))

    def tell(self, name: str, status: str, now: int = 10) -> list:
        return self(self.desk.replied(Report(SYMBOL, name, status, self.desk.books.entries[name].order.filled), now))

    def live(self, request: Request | ListRequest, now: int = 10) -> list:
        """The exchange has accepted an order or a list."""
        if isinstance(request, Request):
            return self.tell(request.client_order_id, "NEW", now)
        reports = [Report(SYMBOL, one.client_order_id, "NEW", D(0)) for one in request.requests]
        return self(self.desk.replied_list(request.list_client_order_id, reports, now))

    def bought(self, qty: str = "2", wanted: Protection | None = STOP, fee: str = "0") -> Request | ListRequest | None:
        """Buy at market; the request that protects what was bought."""
        request = Request(SYMBOL, "BUY", "MARKET", D(qty), ENTRY.client_order_id)
        self(self.desk.order(ENTRY, request, 1, protection=wanted))
        sent = self.fill(request.client_order_id, qty, fee=fee)
        return sent[0].request if sent else None

    def crashed(self, now: int = 100) -> tuple["Told", list]:
        """A desk that starts on what was written, and what it does first."""
        again = Told(books_of(self.records))
        again.trade, again.records = self.trade, list(self.records)
        return again, again(again.desk.recover([SYMBOL], now))


def test_a_bought_position_gets_its_stop_at_once_for_what_can_be_sold():
    told = Told()
    stop = told.bought("2", fee="0.002")
    assert (stop.kind, stop.side, stop.qty, stop.stop_price, stop.price) == ("STOP_LOSS", "SELL", D("1.9"), D(95), None)
    assert told.desk.books.held(SYMBOL) == D("1.998") and told.desk.dust(SYMBOL) == D("0.098")
    assert [kind for kind, _ in told.records[:2]] == ["PROTECT", "INTENT"]


def test_a_stop_and_a_target_are_sent_as_one_list_of_two_names():
    pair = Told().bought("2", PAIR)
    assert isinstance(pair, ListRequest) and pair.working is None
    assert [(leg.kind, leg.price, leg.stop_price, leg.qty) for leg in pair.legs] == [
        ("STOP_LOSS", None, D(95), D(2)), ("LIMIT_MAKER", D(110), None, D(2)),
    ]  # fmt: skip
    assert len({pair.list_client_order_id, *(leg.client_order_id for leg in pair.legs)}) == 3


def test_a_stop_with_a_limit_is_a_stop_loss_limit():
    stop = Told().bought("2", Protection("b", 0, D(95), stop_limit=D(94)))
    assert (stop.kind, stop.price, stop.stop_price) == ("STOP_LOSS_LIMIT", D(94), D(95))


def test_a_stop_that_was_jumped_over_is_cancelled_and_sold_at_market():
    told = Told()
    stop = told.bought("2", Protection("b", 0, D(95), stop_limit=D(94)))
    told.live(stop)
    told.desk.priced(SYMBOL, D(93), D("93.1"))
    assert told(told.desk.timer(1000)) == [] and told(told.desk.timer(1000 + JUMPED_MS - 1)) == []
    # The price is back at the limit, and goes again: it counts anew.
    told.desk.priced(SYMBOL, D(94), D("94.1"))
    assert told(told.desk.timer(1000 + JUMPED_MS)) == []
    told.desk.priced(SYMBOL, D(90), D("90.1"))
    assert told(told.desk.timer(8000)) == []
    assert [type(e) for e in told(told.desk.timer(8000 + JUMPED_MS))] == [fx.Alert, fx.Cancel]
    # Half of it was filled meanwhile; a crash forgets nothing of it.
    again, _ = told.crashed()
    again.fill(stop.client_order_id, "1", "PARTIALLY_FILLED")
    (sent,) = again.tell(stop.client_order_id, "CANCELED")
    assert (sent.request.kind, sent.request.side, sent.request.qty) == ("MARKET", "SELL", D(1))


def test_a_price_of_before_a_stop_was_sent_does_not_jump_over_it():
    told = Told()
    stop = told.bought("2", Protection("b", 0, D(95), stop_limit=D(94)))
    told.live(stop)
    told.desk.priced(SYMBOL, D(100), D("100.1"))
    told(told.desk.move_stop(SYMBOL, D(115), 1000))
    (moved,) = told.tell(stop.client_order_id, "CANCELED")
    told.live(moved.request)
    for now in (2000, 2000 + JUMPED_MS):
        assert told(told.desk.timer(now)) == []
    told.desk.priced(SYMBOL, D(100), D("100.1"))
    told(told.desk.timer(9000))
    assert [type(e) for e in told(told.desk.timer(9000 + JUMPED_MS))] == [fx.Alert, fx.Cancel]


def test_a_stop_without_a_limit_is_never_jumped_over():
    told = Told()
    told.live(told.bought())
    told.desk.priced(SYMBOL, D(50), D(51))
    assert told(told.desk.timer(0)) == [] and told(told.desk.timer(60_000 - 1)) == []


def test_what_protects_a_position_is_looked_for_every_minute():
    told = Told()
    stop = told.bought()
    told.live(stop)
    there = [_open(stop)]
    asked = [
        now for now in range(0, 200_000, 1000)
        if fx.AskOpen(SYMBOL) in told.desk.timer(now) and told(told.desk.open_orders(SYMBOL, there, now, now)) == []
    ]  # fmt: skip
    assert asked == [LOOK_MS, 2 * LOOK_MS, 3 * LOOK_MS]
    assert told(told.desk.open_orders(SYMBOL, [], 200_000, 200_000)) == []
    cancelled = Report(SYMBOL, stop.client_order_id, "CANCELED", D(0))
    effects = told(told.desk.found(stop.client_order_id, cancelled, 200_500, 200_600))
    assert [type(e) for e in effects] == [fx.Alert, fx.Send] and SYMBOL in told.desk.books.halted


def test_a_cancel_of_our_own_halts_nothing():
    told = Told()
    stop = told.bought()
    told.live(stop)
    told(told.desk.move_stop(SYMBOL, D(97), 20))
    told.tell(stop.client_order_id, "CANCELED")
    assert not told.desk.books.halted


def test_a_stop_that_is_found_no_more_is_placed_anew():
    told = Told()
    stop = told.bought()
    told.live(stop)
    name = stop.client_order_id
    assert told(told.desk.found(name, None, 1000, 1000)) == []
    # It shows again: what was missed before means nothing.
    told(told.desk.found(name, _open(stop), 30_000, 30_000))
    for now in (40_000, 40_000 + GONE_MS - 1):
        assert told(told.desk.found(name, None, now, now)) == []
    effects = told(told.desk.found(name, None, 40_000 + GONE_MS, 40_000 + GONE_MS))
    assert [type(e) for e in effects] == [fx.Alert, fx.Send] and "any more" in told.desk.books.halted[SYMBOL]
    assert effects[1].request.client_order_id != name


def _open(stop: Request) -> Report:
    return Report(SYMBOL, stop.client_order_id, "NEW", D(0))


def test_a_short_is_protected_from_above():
    told = Told()
    request = Request(SYMBOL, "SELL", "MARKET", D(2), ENTRY.client_order_id)
    told(told.desk.order(ENTRY, request, 1, protection=Protection("b", 0, D(105), D(90), side="BUY")))
    pair = told.fill(request.client_order_id, "2")[0].request
    assert [(leg.side, leg.kind, leg.price or leg.stop_price) for leg in pair.legs] == [
        ("BUY", "STOP_LOSS", D(105)), ("BUY", "LIMIT_MAKER", D(90)),
    ]  # fmt: skip


def test_no_entry_is_sent_while_a_position_waits_for_its_stop():
    told = Told()
    stop = told.bought()
    assert not told.desk.is_clear(SYMBOL) and told.desk.is_exposed(SYMBOL)
    told.live(stop)
    assert told.desk.is_clear(SYMBOL) and not told.desk.is_exposed(SYMBOL)


def test_a_moved_stop_waits_until_the_old_one_is_gone():
    told = Told()
    stop = told.bought()
    told.live(stop)
    assert [type(e) for e in told(told.desk.move_stop(SYMBOL, D(97), 20))] == [fx.Cancel]
    assert told(told.desk.move_stop(SYMBOL, D(98), 30)) == []
    (sent,) = told.tell(stop.client_order_id, "CANCELED")
    assert sent.request.stop_price == D(98) and sent.request.client_order_id != stop.client_order_id


@pytest.mark.parametrize("price", ["95", "94.999", "94", "80"])
def test_a_stop_is_never_loosened(price):
    told = Told()
    told.live(told.bought())
    assert told(told.desk.move_stop(SYMBOL, D(price), 20)) == []


def test_a_stop_that_is_filled_while_it_is_moved_is_the_exit():
    told = Told()
    stop = told.bought()
    told.live(stop)
    told(told.desk.move_stop(SYMBOL, D(97), 20))
    assert told.fill(stop.client_order_id, "2", now=30) == []
    assert told.desk.books.position(SYMBOL) == 0 and SYMBOL not in told.desk.books.protections


def test_an_exit_sells_what_is_left_when_the_stop_is_gone():
    told = Told()
    stop = told.bought()
    told.live(stop)
    leave = Intent("b", SYMBOL, 60_000, "exit")
    request = Request(SYMBOL, "SELL", "MARKET", D(2), leave.client_order_id)
    assert [type(e) for e in told(told.desk.order(leave, request, 20, reduce_only=True))] == [fx.Cancel]
    # Half of it was sold by the stop before the cancel came.
    assert told.fill(stop.client_order_id, "1", "PARTIALLY_FILLED", now=25) == []
    (sent,) = told.tell(stop.client_order_id, "CANCELED", 30)
    assert (sent.request.client_order_id, sent.request.qty) == (leave.client_order_id, D(1))


def test_an_exit_that_fails_gives_the_position_its_stop_back():
    told = Told()
    told.live(stop := told.bought())
    leave = Intent("b", SYMBOL, 60_000, "exit")
    request = Request(SYMBOL, "SELL", "LIMIT", D(2), leave.client_order_id, D(120))
    told(told.desk.order(leave, request, 20, reduce_only=True))
    told.tell(stop.client_order_id, "CANCELED", 30)
    (sent,) = told(told.desk.unsent(leave.client_order_id, 40))
    assert sent.request.kind == "STOP_LOSS" and sent.request.qty == D(2)


def test_an_exit_is_possible_on_a_halted_symbol_and_an_entry_is_not():
    told = Told()
    told.live(stop := told.bought())
    told(told.desk.open_orders(SYMBOL, [Report(SYMBOL, "theirs", "NEW", D(0))], 20, 20))
    later = Intent("b", SYMBOL, 60_000)
    request = Request(SYMBOL, "BUY", "MARKET", D(1), later.client_order_id)
    assert [e.code for e in told(told.desk.order(later, request, 25))] == ["not_clear"]
    leave = Intent("b", SYMBOL, 60_000, "exit")
    told(told.desk.order(leave, Request(SYMBOL, "SELL", "MARKET", D(2), leave.client_order_id), 30, reduce_only=True))
    assert [type(e) for e in told.tell(stop.client_order_id, "CANCELED", 40)] == [fx.Send]


def test_an_exit_without_a_position_is_dropped():
    told = Told()
    leave = Intent("b", SYMBOL, 60_000, "exit")
    request = Request(SYMBOL, "SELL", "MARKET", D(2), leave.client_order_id)
    (alert,) = told(told.desk.order(leave, request, 20, reduce_only=True))
    assert alert.code == "nothing_to_sell" and told.records[-1] == (
        "STAY",
        {"symbol": SYMBOL, "id": leave.client_order_id},
    )


# Crashes


def test_after_a_crash_between_cancel_and_stop_the_stop_is_placed_before_anything_is_asked():
    told = Told()
    told.live(stop := told.bought())
    told(told.desk.move_stop(SYMBOL, D(97), 20))
    told.tell(stop.client_order_id, "CANCELED", 30)
    # The cancel's outcome is on disk, the new stop is not.
    cut = next(n for n, (kind, body) in enumerate(told.records) if kind == "OUTCOME" and body["event"] == "cancel")
    told.records = told.records[: cut + 1]
    desk = Desk(books_of(told.records), RULES)
    effects = desk.recover([SYMBOL], 100)
    kinds = [e.kind if isinstance(e, fx.Write) else type(e) for e in effects]
    assert kinds == ["INTENT", "SENT", fx.Send, fx.AskOpen, fx.AskFills]
    assert effects[2].request.stop_price == D(97)


def test_a_fill_that_was_missed_is_booked_to_its_order_and_protected():
    told = Told()
    request = Request(SYMBOL, "BUY", "LIMIT", D(2), ENTRY.client_order_id, D(99))
    told(told.desk.order(ENTRY, request, 1, protection=STOP))
    again, first = told.crashed()
    assert first == [] and again.desk.books.position(SYMBOL) == 0
    sent = again(again.desk.fills(SYMBOL, [(ENTRY.client_order_id, Fill(1, D(2), D(99)))], 200))
    assert sent[0].request.kind == "STOP_LOSS" and again.desk.books.held(SYMBOL) == 2


def test_a_list_that_is_not_found_is_placed_anew_only_when_that_is_proof():
    told = Told()
    pair = told.bought("2", PAIR)
    told(told.desk.lost(pair.list_client_order_id, 6000))
    proof = 10 + WINDOW_MS + MARGIN_MS
    assert told(told.desk.found_list(pair.list_client_order_id, None, proof, proof)) == []
    assert {e.order.state for e in told.desk.books.guards(SYMBOL)} == {State.UNKNOWN}
    (sent,) = told(told.desk.found_list(pair.list_client_order_id, None, proof + 1, proof + 1))
    assert sent.request.list_client_order_id != pair.list_client_order_id


def test_a_list_that_is_found_is_live_and_kept():
    told = Told()
    pair = told.bought("2", PAIR)
    told(told.desk.lost(pair.list_client_order_id, 6000))
    reports = [Report(SYMBOL, leg.client_order_id, "NEW", D(0)) for leg in pair.legs]
    assert told(told.desk.found_list(pair.list_client_order_id, reports, 6500, 6520)) == []
    assert not told.desk.is_exposed(SYMBOL)


def test_a_cancel_that_was_lost_is_sent_again_when_its_order_is_found_live():
    told = Told()
    told.live(stop := told.bought())
    told(told.desk.move_stop(SYMBOL, D(97), 20))
    told(told.desk.lost(stop.client_order_id, 6000))
    found = told(told.desk.found(stop.client_order_id, Report(SYMBOL, stop.client_order_id, "NEW", D(0)), 6500, 6520))
    assert found == [fx.Cancel(SYMBOL, stop.client_order_id)]


# Refusals


def test_a_pair_that_is_refused_leaves_the_stop_alone():
    told = Told()
    pair = told.bought("2", PAIR)
    alerts = told(told.desk.refused(pair.list_client_order_id, -2010, "The relationship of the prices", 20))
    assert [e.code for e in alerts if isinstance(e, fx.Alert)] == ["refused", "unprotected"]
    sent = told(told.desk.timer(1000)) or alerts
    (stop,) = [e.request for e in sent if isinstance(e, fx.Send)]
    assert stop.kind == "STOP_LOSS"


def test_a_stop_that_the_price_has_passed_is_a_sale_at_market():
    told = Told()
    stop = told.bought()
    sent = told(told.desk.refused(stop.client_order_id, -2010, "Order would trigger immediately.", 20))
    (market,) = [e.request for e in sent if isinstance(e, fx.Send)]
    assert (market.kind, market.side, market.qty) == ("MARKET", "SELL", D(2))


def test_a_stop_that_is_refused_is_tried_again_later_each_time():
    told = Told()
    stop, now, waits = told.bought(), 20, []
    for _ in range(4):
        told(told.desk.refused(stop.client_order_id, -1015, "Too many new orders", now))
        begun = now
        while not (sent := told(told.desk.timer(now))):
            now += 100
        stop = sent[0].request
        waits.append(now - begun)
    assert waits == [500, 1000, 2000, 4000]


# Partial fills


def test_a_target_that_is_filled_in_part_is_replaced_after_a_while_since_its_stop_is_gone():
    told = Told()
    told.live(pair := told.bought("2", PAIR))
    stop, target = (leg.client_order_id for leg in pair.legs)
    told.fill(target, "0.5", "PARTIALLY_FILLED", 110, now=1000)
    told.tell(stop, "EXPIRED", 1000)
    assert told(told.desk.timer(1000 + PARTLY_MS - 1)) == []
    assert told(told.desk.timer(1000 + PARTLY_MS)) == [fx.CancelList(SYMBOL, pair.list_client_order_id)]
    (sent,) = told.tell(target, "CANCELED", 4000)
    assert [leg.qty for leg in sent.request.legs] == [D("1.5"), D("1.5")]


def test_an_entry_that_brings_its_protection_is_one_list_and_its_rest_is_protected_when_it_ends():
    told = Told()
    request = Request(SYMBOL, "BUY", "LIMIT", D(2), ENTRY.client_order_id, D(99))
    (sent,) = told(told.desk.order_protected(ENTRY, request, PAIR, 1))
    assert sent.request.working == request and [leg.qty for leg in sent.request.legs] == [D("1.9"), D("1.9")]
    told.live(sent.request)
    assert told.fill(ENTRY.client_order_id, "1", "PARTIALLY_FILLED", now=50) == []
    assert told(told.desk.timer(50 + PARTLY_MS)) == [fx.CancelList(SYMBOL, sent.request.list_client_order_id)]
    for leg in sent.request.requests:
        effects = told.tell(leg.client_order_id, "CANCELED", 3000)
    assert [leg.qty for leg in effects[0].request.legs] == [D(1), D(1)]


def test_both_legs_of_a_list_that_are_filled_halt_the_symbol():
    told = Told()
    told.live(pair := told.bought("2", PAIR))
    for leg in pair.legs:
        told.fill(leg.client_order_id, "2")
    assert "both legs" in told.desk.books.halted[SYMBOL]


def test_an_order_that_is_open_too_long_is_cancelled_and_a_stop_is_not():
    told = Told(order_timeout_ms=6000)
    request = Request(SYMBOL, "BUY", "LIMIT", D(2), ENTRY.client_order_id, D(99))
    told(told.desk.order(ENTRY, request, 1, protection=STOP))
    told.tell(ENTRY.client_order_id, "NEW")
    (stop,) = told.fill(ENTRY.client_order_id, "1", "PARTIALLY_FILLED")
    told.live(stop.request)
    assert told(told.desk.timer(6000)) == []
    assert told(told.desk.timer(6001)) == [fx.Cancel(SYMBOL, ENTRY.client_order_id)]


def test_less_on_the_account_than_is_held_halts_the_symbol():
    told = Told()
    told.bought("2", None)
    told(told.desk.holdings(SYMBOL, D(2), 20))
    assert not told.desk.books.halted
    told(told.desk.holdings(SYMBOL, D("1.9"), 30))
    assert SYMBOL in told.desk.books.halted


# Tests of orders


def test_an_entry_is_tested_before_it_is_sent_and_dropped_if_it_fails():
    for answer, kinds in (
        (lambda desk: desk.tested(ENTRY.client_order_id, 5), [fx.Send]),
        (lambda desk: desk.refused(ENTRY.client_order_id, -1013, "Filter failure: NOTIONAL", 5), [fx.Alert]),
        (lambda desk: desk.untested(ENTRY.client_order_id, 5), [fx.Alert]),
    ):
        told = Told(tests_entries=True)
        request = Request(SYMBOL, "BUY", "MARKET", D(2), ENTRY.client_order_id)
        assert [type(e) for e in told(told.desk.order(ENTRY, request, 1))] == [fx.TestOrder]
        assert [type(e) for e in told(answer(told.desk))] == kinds


# Plans


def chase(side: str = "BUY", qty: str = "2") -> Chase:
    return Chase(side, D(qty), D("0.1"), attempts=2, band=D("0.1"), patience_ms=1000, deadline_ms=60_000)


def test_a_plan_has_one_live_order_and_its_children_are_never_more_than_it():
    told = Told()
    told(told.desk.work(chase(), ENTRY, 1, protection=STOP))
    (first,) = told(told.desk.tick(SYMBOL, D(99), D(100), 10))
    assert (first.request.kind, first.request.price, first.request.qty) == ("LIMIT", D(100), D(2))
    told.tell(first.request.client_order_id, "NEW")
    assert told(told.desk.tick(SYMBOL, D(101), D(102), 500)) == []
    (stop,) = told.fill(first.request.client_order_id, "0.5", "PARTIALLY_FILLED", now=600)
    told.live(stop.request)
    assert told(told.desk.tick(SYMBOL, D(101), D(102), 1200)) == [fx.Cancel(SYMBOL, first.request.client_order_id)]
    assert told(told.desk.tick(SYMBOL, D(101), D(102), 1300)) == []
    told.tell(first.request.client_order_id, "CANCELED", 1400)
    (second,) = told(told.desk.tick(SYMBOL, D(101), D(102), 1500))
    assert second.request.qty == D("1.5") and second.request.client_order_id != first.request.client_order_id


def test_a_plan_goes_on_after_a_crash_where_it_was():
    told = Told()
    twap = Twap("BUY", D(3), D("0.1"), 3, 0, 30_000)
    told(told.desk.work(twap, ENTRY, 1))
    (first,) = told(told.desk.tick(SYMBOL, D(99), D(100), 10))
    told.fill(first.request.client_order_id, "1")
    again, _ = told.crashed(10_500)
    (work,) = again.desk.books.works_of(SYMBOL)
    assert (work.plan.filled, work.live, work.children) == (D(1), "", 1)
    (second,) = again(again.desk.tick(SYMBOL, D(99), D(100), 10_600))
    assert second.request.qty == D(1) and second.request.client_order_id != first.request.client_order_id


def test_a_plan_waits_for_the_outcome_of_a_child_that_was_lost():
    told = Told()
    told(told.desk.work(chase(), ENTRY, 1))
    (first,) = told(told.desk.tick(SYMBOL, D(99), D(100), 10))
    again, _ = told.crashed()
    assert again(again.desk.tick(SYMBOL, D(99), D(100), 200)) == []
    late = 20_000
    again(again.desk.found(first.request.client_order_id, None, late, late))
    assert [type(e) for e in again(again.desk.tick(SYMBOL, D(99), D(100), late + 1))] == [fx.Send]


def test_a_plan_to_leave_begins_when_the_protection_is_gone():
    told = Told()
    told.live(stop := told.bought())
    leave = Intent("b", SYMBOL, 60_000, "exit")
    cancel = told(told.desk.work(chase("SELL"), leave, 20, reduce_only=True))
    assert cancel == [fx.Cancel(SYMBOL, stop.client_order_id)]
    assert told(told.desk.tick(SYMBOL, D(99), D(100), 30)) == []
    told.fill(stop.client_order_id, "0.5", "PARTIALLY_FILLED", now=35)
    told.tell(stop.client_order_id, "CANCELED", 40)
    (sent,) = told(told.desk.tick(SYMBOL, D(99), D(100), 50))
    assert (sent.request.side, sent.request.qty) == ("SELL", D("1.5"))


def test_a_plan_is_ended_by_its_id_by_its_age_and_by_a_halt():
    theirs = [Report(SYMBOL, "x", "NEW", D(0))]
    for end in (
        lambda desk: desk.cancel(ENTRY.client_order_id, 20),
        lambda desk: desk.tick(SYMBOL, D(99), D(100), 5001),
        lambda desk: [*desk.open_orders(SYMBOL, theirs, 20, 20), *desk.tick(SYMBOL, D(99), D(100), 20)],
    ):  # fmt: skip
        told = Told()
        told(told.desk.work(chase(), ENTRY, 1, expires_ms=5000))
        (first,) = told(told.desk.tick(SYMBOL, D(99), D(100), 10))
        told.tell(first.request.client_order_id, "NEW")
        assert fx.Cancel(SYMBOL, first.request.client_order_id) in told(end(told.desk))
        assert not told.desk.books.works


def test_a_crash_between_the_fill_of_a_stop_and_the_end_of_the_plan_ends_the_plan_all_the_same():
    told = Told()
    told(told.desk.work(chase(), ENTRY, 1, protection=STOP))
    (first,) = told(told.desk.tick(SYMBOL, D(99), D(100), 10))
    told.tell(first.request.client_order_id, "NEW")
    (stop,) = told.fill(first.request.client_order_id, "1", "PARTIALLY_FILLED")
    told.live(stop.request)
    told.fill(stop.request.client_order_id, "1", price=95)
    told.records = told.records[: [kind for kind, _ in told.records].index("WORKED")]
    again, effects = told.crashed()
    assert not again.desk.books.works and fx.Cancel(SYMBOL, first.request.client_order_id) in effects


def test_a_crash_between_the_end_of_a_plan_and_the_cancel_of_its_order_cancels_it_all_the_same():
    # Found by a soak: it rested for minutes, was filled unheard when the price fell, and was held without a stop.
    told = Told()
    told(told.desk.work(chase(), ENTRY, 1, protection=STOP, expires_ms=5000))
    (first,) = told(told.desk.tick(SYMBOL, D(99), D(100), 10))
    told.tell(first.request.client_order_id, "NEW")
    told(told.desk.tick(SYMBOL, D(99), D(100), 5001))
    told.records = told.records[: [kind for kind, _ in told.records].index("CANCEL")]
    again, effects = told.crashed()
    assert not again.desk.books.works and fx.Cancel(SYMBOL, first.request.client_order_id) in effects
    assert [kind for kind, _ in again.records].count("CANCEL") == 1


def test_an_order_that_rests_for_long_is_looked_for_every_minute():
    told = Told()
    request = Request(SYMBOL, "BUY", "LIMIT", D(2), ENTRY.client_order_id, D(99))
    told(told.desk.order(ENTRY, request, 0))
    told.tell(ENTRY.client_order_id, "NEW")
    asked = [
        now for now in range(1000, 250_000, 1000)
        if fx.AskOpen(SYMBOL) in told.desk.timer(now)
        and told(told.desk.open_orders(SYMBOL, [_open(request)], now, now)) == []
    ]  # fmt: skip
    assert asked == [1000 + LOOK_MS, 1000 + 2 * LOOK_MS, 1000 + 3 * LOOK_MS, 1000 + 4 * LOOK_MS]


# Books


def test_what_ended_long_ago_is_forgotten_and_still_ours(monkeypatch):
    monkeypatch.setattr("pipeline.live.books.KEPT", 3)
    told, names = Told(), []
    for number in range(8):
        intent = Intent("b", SYMBOL, number * 60_000)
        names.append(intent.client_order_id)
        told(told.desk.order(intent, Request(SYMBOL, "BUY", "MARKET", D(1), names[-1]), number))
        told.fill(names[-1], "1", fee="0.001")
    books = told.desk.books
    assert list(books.entries) == names[-3:] and books.held(SYMBOL) == D("7.992")
    assert told(told.desk.fills(SYMBOL, [(names[0], Fill(1, D(1), D(100)))], 900)) == []
    assert not books.halted and books.position(SYMBOL) == 8
    assert told(told.desk.order(Intent("b", SYMBOL, 0), Request(SYMBOL, "BUY", "MARKET", D(1), names[0]), 999)) == []
    assert vars(books_of(told.records)) == vars(books)


@pytest.mark.parametrize(
    ("status", "executed", "halts"),
    [("NEW", 0, True), ("CANCELED", 0, False), ("CANCELED", 1, True), ("FILLED", 1, True)],
)
def test_somebody_elses_order_halts_the_symbol_unless_nothing_is_left_of_it(status, executed, halts):
    told = Told()
    told(told.desk.replied(Report(SYMBOL, "theirs", status, D(executed)), 1000))
    assert (SYMBOL in told.desk.books.halted) == halts
