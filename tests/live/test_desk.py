"""The order desk dies at every step, in a world that loses, delays and repeats; its books must come out right."""

import copy
import itertools
import os
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live.checkpoint import copied
from live.mutants import MUTANTS, UNTOLD
from live.network import Faults
from live.soak import HARSH, HOUR_MS, live_on
from live.venue import SYMBOL
from live.world import World, crossings, sometimes

from pipeline.exchange.port import Report, Request
from pipeline.live.books import Books, books_of
from pipeline.live.clerk import GONE_MS, LOOK_MS, MARGIN_MS, WINDOW_MS
from pipeline.live.desk import Desk
from pipeline.live.effects import Alert, AskFills, AskOpen, Cancel, Find, Send, Write
from pipeline.trading.orders import Fill, Intent, State

# Each is a run with some seven crashes and thirty faults; a longer one: PIPELINE_DESK_SEEDS=20000, or `make soak`.
SEEDS = int(os.environ.get("PIPELINE_DESK_SEEDS", "1440"))
PARTS = 4
# Wrong desks differ in what brings them down.
HARSH_FOR_MUTANTS = Faults(event_lost=0.7, query_fails=0.5, lag=0.6, reply_lost=0.5, partial=0.7)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_order_is_lost_doubled_or_forgotten_and_no_position_is_bare_however_often_it_crashes(part):
    crashes = injected = runs = 0
    for seed in range(part, SEEDS, PARTS):
        faults, every = None if seed % 5 == 0 else HARSH, HOUR_MS if seed % 2 else 30_000
        world = World(seed, sometimes(seed, 0.03), faults=faults, reconcile_ms=every).run()
        runs, crashes, injected = runs + 1, crashes + world.crashed, injected + world.injected
        assert world.faults_found() == [], f"seed {seed}"
    print(f"{crashes:,} crash points, {injected:,} faults in {runs:,} runs")
    # The four parts of 1,440 runs are more than 10,000 crash points and 50,000 faults.
    assert crashes > 6 * runs and injected > 28 * runs


@pytest.mark.slow
@pytest.mark.parametrize("seed", [20, 21])
def test_nothing_goes_wrong_wherever_it_crashes_once(seed):
    for crash_at in range(1, crossings(seed) + 1, 2):
        assert World(seed, {crash_at}).run().faults_found() == [], f"crash at {crash_at}"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**9),
    st.sets(st.integers(1, 400), max_size=6),
    st.builds(Faults, **{name: st.floats(0, 0.8) for name in Faults.__dataclass_fields__}),
)
def test_whatever_the_faults_are_the_books_come_out_right(seed, crashes, faults):
    assert World(seed, crashes, faults=faults).run().faults_found() == []


def test_a_stop_that_is_gone_without_a_word_is_missed_within_two_minutes():
    worlds = [World(seed, (), Desk, UNTOLD, bar_ms=60_000, reconcile_ms=HOUR_MS).run() for seed in range(60)]
    assert [world.faults_found() for world in worlds] == [[]] * 60
    # One look at the open orders, and a minute until what is not found is taken for gone.
    assert 60_000 < max(world.longest_bare_ms for world in worlds) <= LOOK_MS + GONE_MS + 24_000


def test_the_same_seed_gives_the_same_trace():
    one, other = World(5, {40}).run(), World(5, {40}).run()
    assert one.trace == other.trace and one.journal == other.journal
    assert World(6, {40}).run().trace != one.trace


def test_a_start_has_books_of_its_own():
    world = World(5, {40}).run()
    world.settle()
    kept = copied(world.checkpoint)
    assert vars(kept) == vars(copy.deepcopy(world.checkpoint))
    assert kept.entries and all(kept.entries[name] is not entry for name, entry in world.checkpoint.entries.items())
    assert all(entry is kept.entries[name] for of in kept._of.values() for name, entry in of.items())


def test_a_world_that_goes_on_is_as_good_as_new():
    windows = list(itertools.islice(live_on(7, 60_000, 5), 2))
    assert [tally.wrong for tally in windows] == [Counter(), Counter()]
    assert windows[1].crashes > 0 and windows[1].simulated_ms > 5 * 8 * 60_000


@pytest.mark.slow
def test_there_are_fifty_wrong_desks_at_least():
    assert len(MUTANTS) >= 50


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_harness_catches_each_wrong_desk(name):
    assert any(_is_caught(seed, *MUTANTS[name]) for seed in range(300)), name


def _is_caught(seed, make, policy) -> bool:
    options = {"faults": None if seed % 3 else HARSH_FOR_MUTANTS} | policy
    try:
        return bool(World(seed, sometimes(seed, 0.03) if seed % 2 else (), make, **options).run().faults_found())
    except Exception:
        return True  # It contradicted its own books.


INTENT = Intent("b", SYMBOL, 0)
ID = INTENT.client_order_id
REQUEST = Request(SYMBOL, "BUY", "MARKET", Decimal(2), ID)


def sent_desk() -> Desk:
    desk = Desk(Books())
    desk.order(INTENT, REQUEST, 1000)
    return desk


def test_it_is_written_down_before_it_is_sent():
    effects = Desk(Books()).order(INTENT, REQUEST, 1000)
    kinds = [effect.kind if isinstance(effect, Write) else type(effect) for effect in effects]
    assert kinds == ["INTENT", "SENT", Send]


def test_an_intent_is_tried_once():
    desk = sent_desk()
    assert desk.order(INTENT, REQUEST, 2000) == []


def test_nothing_is_entered_while_an_order_is_unresolved():
    desk = sent_desk()
    later = Intent("b", SYMBOL, 60_000)
    effects = desk.order(later, Request(SYMBOL, "BUY", "MARKET", Decimal(1), later.client_order_id), 2000)
    assert [type(effect) for effect in effects] == [Alert]
    # A way out of a position stays open, for what is held.
    desk.replied(Report(SYMBOL, ID, "FILLED", Decimal(1), fills=(Fill(7, Decimal(1), Decimal(100)),)), 2100)
    desk.lost(ID, 2200)
    leave = Intent("b", SYMBOL, 60_000, "exit")
    request = Request(SYMBOL, "SELL", "MARKET", Decimal(1), leave.client_order_id)
    assert any(isinstance(e, Send) for e in desk.order(leave, request, 2000, reduce_only=True))


def test_an_unknown_order_counts_as_live():
    desk = sent_desk()
    desk.lost(ID, 2000)
    assert desk.books.entries[ID].order.state == State.UNKNOWN
    assert desk.books.exposure(SYMBOL) == 2 and desk.books.position(SYMBOL) == 0


@pytest.mark.parametrize(("late", "state"), [(0, State.UNKNOWN), (1, State.REJECTED)])
def test_not_found_is_proof_only_when_it_cannot_be_accepted_any_more(late, state):
    desk = sent_desk()
    desk.lost(ID, 2000)
    asked = 1000 + WINDOW_MS + MARGIN_MS + late
    desk.found(ID, None, asked, asked + 20)
    assert desk.books.entries[ID].order.state == state


def test_it_asks_less_and_less_often():
    desk = sent_desk()
    waits, now = [], 2000
    effects = desk.lost(ID, now)
    for _ in range(8):
        (find,) = [effect for effect in effects if isinstance(effect, Find)]
        waits.append(find.not_before_ms - now)
        effects = desk.found(ID, None, 2000, now)
    assert waits == [500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]


def test_the_word_of_a_fill_is_not_a_fill():
    desk = sent_desk()
    effects = desk.replied(Report(SYMBOL, ID, "FILLED", Decimal(2)), 1100)
    assert desk.books.position(SYMBOL) == 0 and AskFills(SYMBOL, -1) in effects
    desk.fills(SYMBOL, [(ID, Fill(7, Decimal(2), Decimal(100)))])
    assert desk.books.position(SYMBOL) == 2 and desk.books.entries[ID].order.state == State.FILLED


def test_a_fill_counts_once_however_often_it_is_told():
    desk = sent_desk()
    fill = Fill(7, Decimal(1), Decimal(100))
    for _ in range(3):
        desk.replied(Report(SYMBOL, ID, "PARTIALLY_FILLED", Decimal(1), fills=(fill,)), 1100)
    desk.fills(SYMBOL, [(ID, fill)])
    assert desk.books.position(SYMBOL) == 1


def test_orders_and_trades_of_others_halt_the_symbol():
    for tell in (
        lambda desk: desk.open_orders(SYMBOL, [Report(SYMBOL, "theirs", "NEW", Decimal(0))], 1, 1),
        lambda desk: desk.fills(SYMBOL, [("theirs", Fill(9, Decimal(1), Decimal(100)))]),
        lambda desk: desk.replied(Report(SYMBOL, "theirs", "NEW", Decimal(0)), 1),
    ):
        desk = Desk(Books())
        effects = tell(desk)
        assert [type(effect) for effect in effects] == [Write, Alert] and not desk.is_clear(SYMBOL)
        assert tell(desk) == []
        desk.resume(SYMBOL)
        assert desk.is_clear(SYMBOL)


def test_open_orders_of_before_a_symbol_was_resumed_do_not_halt_it_again():
    theirs, desk = [Report(SYMBOL, "theirs", "NEW", Decimal(0))], Desk(Books())
    desk.open_orders(SYMBOL, theirs, 1000, 1100)
    desk.resume(SYMBOL, 2000)
    # Asked before, and answered after: it may be gone.
    for asked_ms in (1999, 2000):
        assert desk.open_orders(SYMBOL, theirs, asked_ms, 2100) == [AskOpen(SYMBOL)] and desk.is_clear(SYMBOL)
    assert desk.open_orders(SYMBOL, [], 2001, 2200) == [] and desk.is_clear(SYMBOL)
    # It is there still, or another one is.
    desk.open_orders(SYMBOL, theirs, 2001, 2200)
    assert not desk.is_clear(SYMBOL)


def test_a_trade_of_others_halts_a_symbol_once_and_the_next_one_again():
    desk, records = Desk(Books()), []
    theirs = [("theirs", Fill(7, Decimal(1), Decimal(100))), ("", Fill(8, Decimal(1), Decimal(100)))]
    for effects in (desk.recover([SYMBOL], 1000), desk.fills(SYMBOL, theirs, 1100), desk.resume(SYMBOL, 2000)):
        records += [(effect.kind, effect.body) for effect in effects if isinstance(effect, Write)]
    assert [kind for kind, _ in records] == ["HALT", "RESUME"]
    # The exchange lists them at each comparison, before a new start and after it.
    for one in (desk, Desk(books_of(records))):
        assert AskFills(SYMBOL, -1) in one.recover([SYMBOL], 3_600_000)
        assert one.fills(SYMBOL, theirs, 3_600_100) == [] and one.is_clear(SYMBOL)
        one.fills(SYMBOL, [*theirs, ("theirs too", Fill(9, Decimal(1), Decimal(100)))], 7_200_000)
        assert not one.is_clear(SYMBOL)


def test_a_cancel_is_sent_once_and_believed_only_when_told():
    desk = sent_desk()
    desk.replied(Report(SYMBOL, ID, "NEW", Decimal(0)), 1100)
    assert [type(effect) for effect in desk.cancel(ID)] == [Write, Cancel]
    assert desk.cancel(ID) == []
    desk.cancel_refused(ID, 1200)
    assert desk.books.entries[ID].order.state == State.OPEN
    desk.replied(Report(SYMBOL, ID, "CANCELED", Decimal(0)), 1300)
    assert desk.books.entries[ID].order.state == State.CANCELED


def test_recovery_drops_what_was_never_sent_and_asks_for_the_rest():
    desk = Desk(Books())
    effects = desk.order(INTENT, REQUEST, 1000)
    records = [(effect.kind, effect.body) for effect in effects if isinstance(effect, Write)]
    before_sent = Desk(books_of(records[:1]))
    told = before_sent.recover([SYMBOL], 5000)
    assert before_sent.books.entries[ID].order.state == State.CANCELED
    assert [type(effect) for effect in told] == [Write, AskOpen, AskFills]
    after_sent = Desk(books_of(records))
    told = after_sent.recover([SYMBOL], 5000)
    assert after_sent.books.entries[ID].order.state == State.UNKNOWN
    assert [type(effect) for effect in told] == [Write, Find, AskOpen, AskFills]
