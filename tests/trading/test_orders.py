"""The order's life follows its table, and no fill is lost or counted twice."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.trading.orders import (
    TRANSITIONS,
    Event,
    Fill,
    IllegalTransition,
    Intent,
    Order,
    State,
    apply,
    book,
    client_order_id,
    diagram,
    is_live,
    position_status,
)

D = Decimal
INTENT = Intent("bundle", "BTCUSDT", 1_600_000_000_000)
ORDER = Order(INTENT, "BUY", D(10))
FILLS = (Event.FILL, Event.FILL_ALL)
WORDS = [event for event in Event if event not in FILLS]


def after(*events: Event | Fill, order: Order = ORDER) -> Order:
    for event in events:
        order = book(order, event) if isinstance(event, Fill) else apply(order, event)
    return order


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS), max_size=20))
def test_only_what_the_table_allows_happens(events: list[Event]) -> None:
    order = ORDER
    for event in events:
        before = order.state
        try:
            order = apply(order, event)
        except IllegalTransition:
            assert (before, event) not in TRANSITIONS or (order.seen and before == State.UNKNOWN)
        else:
            # Whether an order has fills is known from its fills, not from the word.
            told = Event.ACKNOWLEDGE if event == Event.ACKNOWLEDGE_PART else event
            assert order.state == TRANSITIONS[before, told]
    assert order.filled == 0


@settings(max_examples=500)
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.integers(0, 6)), max_size=30))
def test_whatever_happens_in_whatever_order_the_state_agrees_with_the_fills(events: list[Event | int]) -> None:
    order, booked = ORDER, set()
    for event in events:
        try:
            if isinstance(event, Event):
                order = apply(order, event)
            else:
                order = book(order, Fill(event, D(2), D(100)))
                booked.add(event)
        except IllegalTransition:
            continue
        assert order.filled == 2 * len(booked) == order.quote_filled / 100
        assert (order.state == State.FILLED) == (order.filled == order.qty)
        assert not (order.fills and order.state in (State.INTENT, State.SENT, State.OPEN, State.REJECTED))
        assert order.fills or order.state != State.PARTIALLY_FILLED
        assert order.remaining in (0, order.qty - order.filled)


def test_every_state_can_be_reached_and_every_ended_order_stays_ended() -> None:
    reached = {State.INTENT}
    for _ in State:
        reached |= {after for (state, _), after in TRANSITIONS.items() if state in reached}
    assert reached == set(State)
    ended = {state for state in State if not is_live(state)} - {State.INTENT}
    alive = {(state, event) for (state, event), to in TRANSITIONS.items() if state in ended and is_live(to)}
    assert alive == {(State.REJECTED, Event.FILL)}, "but for an order that was thought absent and has a fill"
    assert is_live(State.UNKNOWN), "an order whose reply was lost counts until it is resolved"


@settings(max_examples=200)
@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=10))
def test_fills_count_once_in_any_order_and_however_often_they_are_told(order_: list[int], again: list[int]) -> None:
    fills = [Fill(k, D(2), D(100 + k)) for k in range(5)]
    order = apply(ORDER, Event.SEND)
    for k in [*order_, *again]:
        order = book(order, fills[k])
    assert order.state == State.FILLED and order.filled == 10
    assert order.average_price == D(102)


@pytest.mark.parametrize("end", [Event.CANCEL, Event.EXPIRE])
def test_a_fill_after_the_end_is_booked_to_its_order(end: Event) -> None:
    order = after(Event.SEND, end, Fill(1, D(3), D(100)))
    assert (order.filled, order.remaining, is_live(order.state)) == (D(3), D(0), False)
    assert book(order, Fill(2, D(7), D(100))).state == State.FILLED


def test_the_fill_of_an_order_that_was_thought_absent_is_booked_and_makes_it_count_again() -> None:
    order = after(Event.SEND, Event.LOSE_REPLY, Event.PROVE_ABSENT, Fill(1, D(3), D(100)))
    assert order.state == State.UNKNOWN and order.filled == 3 and order.remaining == 7


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([Fill(1, D(10), D(100)), Event.ACKNOWLEDGE], State.FILLED),
        ([Fill(1, D(10), D(100)), Event.LOSE_REPLY], State.FILLED),
        ([Fill(1, D(2), D(100)), Event.ACKNOWLEDGE], State.PARTIALLY_FILLED),
        ([Event.ACKNOWLEDGE, Event.CANCEL, Event.CANCEL, Event.LOSE_REPLY], State.CANCELED),
        ([Event.EXPIRE, Event.ACKNOWLEDGE, Event.EXPIRE], State.EXPIRED),
        ([Event.REJECT, Event.REJECT, Event.LOSE_REPLY], State.REJECTED),
    ],
)
def test_the_reply_and_the_user_stream_may_come_in_either_order(events: list[Event | Fill], state: State) -> None:
    assert after(Event.SEND, *events).state == state


def test_an_order_with_fills_that_is_found_again_is_partially_filled() -> None:
    order = after(Event.SEND, Fill(1, D(2), D(100)), Event.LOSE_REPLY)
    assert order.state == State.UNKNOWN and apply(order, Event.ACKNOWLEDGE).state == State.PARTIALLY_FILLED


@pytest.mark.parametrize("told", [Fill(1, D(2), D(100)), Event.ACKNOWLEDGE])
def test_an_order_that_the_exchange_has_told_of_is_never_proven_absent(told: Event | Fill) -> None:
    cancelled_without_reply = after(Event.SEND, told, Event.LOSE_REPLY)
    for impossible in (Event.PROVE_ABSENT, Event.REJECT):
        with pytest.raises(IllegalTransition, match="was live"):
            apply(cancelled_without_reply, impossible)


def test_more_than_was_ordered_is_an_error_and_not_a_position() -> None:
    with pytest.raises(IllegalTransition, match="would make 11 of 10"):
        after(Event.SEND, Fill(1, D(11), D(100)))
    with pytest.raises(IllegalTransition, match="cannot happen"):
        after(Fill(1, D(1), D(100)))


def test_the_word_filled_without_a_trade_is_not_believed() -> None:
    for word in FILLS:
        with pytest.raises(IllegalTransition, match="trade ids"):
            after(Event.SEND, word)


def test_a_trade_id_that_is_told_again_with_other_numbers_is_an_error() -> None:
    with pytest.raises(IllegalTransition, match="told again"):
        after(Event.SEND, Fill(1, D(2), D(100)), Fill(1, D(3), D(100)))


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.text(max_size=40), st.text(), st.integers(0, 2**42), st.text(max_size=8), st.integers(0, 500)),
        min_size=2, max_size=20, unique=True,
    )
)  # fmt: skip
def test_ids_are_legal_unique_and_always_the_same(intents: list[tuple]) -> None:
    ids = [client_order_id(*intent) for intent in intents]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,36}", one) for one in ids)
    assert len(set(ids)) == len(intents) and ids == [client_order_id(*intent) for intent in intents]


def test_an_id_is_told_apart_by_each_part_of_its_intent_and_by_where_they_end() -> None:
    symbol = "LONGNAME"
    others = [("a", f"{symbol}\x1f{symbol}", 1, "entry", 0), (f"a\x1f{symbol}", symbol, 1, "entry", 0)]
    others += [("a", "b", 1, "entry", 0), ("a", "b", 1, "entry", 100), ("a", "b", 1, "exit", 0)]
    others += [("a", "b", 2, "entry", 0), ("a", "b", -1, "entry", 0)]
    assert len({client_order_id(*other) for other in others}) == len(others)
    assert ORDER.client_order_id == client_order_id("bundle", "BTCUSDT", 1_600_000_000_000, "entry", 0)


def test_the_position_is_named_by_what_is_held_and_what_is_on_its_way() -> None:
    def sent(leg: str, *events: Event) -> Order:
        return after(Event.SEND, *events, order=Order(replace(INTENT, leg=leg), "SELL", D(1)))

    assert position_status(D(0), ()) == "SOLD"
    assert position_status(D(0), (sent("entry"),)) == "BUYING"
    assert position_status(D(0), (sent("entry", Event.LOSE_REPLY),)) == "BUYING", "it may have been placed"
    assert position_status(D(1), (sent("entry", Event.CANCEL), sent("stop"))) == "BOUGHT"
    assert position_status(D(1), (sent("stop"), sent("exit"))) == "SELLING"


def test_the_documented_diagram_is_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs/trading.md").read_text()
    generated = re.search(r"<!-- order states: generated -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert generated and generated[1] == f"```mermaid\n{diagram()}\n```", (
        "docs/trading.md: python -c 'from pipeline.trading.orders import diagram; print(diagram())'"
    )
