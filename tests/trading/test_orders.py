"""The order's life follows its table, and no fill is lost or counted twice."""

import re
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
ORDER = Order("id", "BTCUSDT", "BUY", D(10))


@settings(max_examples=300)
@given(st.lists(st.sampled_from(list(Event)), max_size=20))
def test_only_what_the_table_allows_happens(events: list[Event]) -> None:
    order = ORDER
    for event in events:
        before = order.state
        try:
            order = apply(order, event)
        except IllegalTransition:
            assert (before, event) not in TRANSITIONS
        else:
            assert order.state == TRANSITIONS[before, event]
    assert order.filled == 0


def test_every_state_can_be_reached_and_every_ended_order_stays_ended() -> None:
    reached = {State.INTENT}
    for _ in State:
        reached |= {after for (state, _), after in TRANSITIONS.items() if state in reached}
    assert reached == set(State)
    ended = {state for state in State if not is_live(state)} - {State.INTENT}
    assert all(not is_live(after) for (state, _), after in TRANSITIONS.items() if state in ended)
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


def test_a_fill_after_the_cancel_is_booked_to_its_order() -> None:
    order = book(apply(apply(ORDER, Event.SEND), Event.CANCEL), Fill(1, D(3), D(100)))
    assert (order.state, order.filled, order.remaining) == (State.CANCELED, D(3), D(0))


def test_more_than_was_ordered_is_an_error_and_not_a_position() -> None:
    with pytest.raises(IllegalTransition, match="would make 11 of 10"):
        book(apply(ORDER, Event.SEND), Fill(1, D(11), D(100)))
    with pytest.raises(IllegalTransition, match="cannot happen"):
        book(ORDER, Fill(1, D(1), D(100)))


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


def test_the_position_is_named_by_what_is_held_and_what_is_on_its_way() -> None:
    sent = apply(ORDER, Event.SEND)
    leaving = apply(Order("x", "BTCUSDT", "SELL", D(1), leg="exit"), Event.SEND)
    resting = apply(Order("s", "BTCUSDT", "SELL", D(1), leg="stop"), Event.SEND)
    assert position_status(D(0), ()) == "SOLD"
    assert position_status(D(0), (sent,)) == "BUYING"
    assert position_status(D(1), (resting,)) == "BOUGHT"
    assert position_status(D(1), (resting, leaving)) == "SELLING"


def test_the_documented_diagram_is_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs/trading.md").read_text()
    assert f"```mermaid\n{diagram()}\n```" in page, (
        "docs/trading.md: python -c 'from pipeline.trading.orders import diagram; print(diagram())'"
    )
