"""Plans add up exactly, never double the exposure, and go on after a restart as before it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.trading.execution import (
    Action,
    Cancel,
    Chase,
    Done,
    Ended,
    Event,
    Filled,
    Overfilled,
    Place,
    Plan,
    Pov,
    Tick,
    Twap,
    Volume,
    from_record,
    market,
    next_action,
    to_record,
)

D = Decimal
LOT = D("0.01")
SIDES = st.sampled_from(["BUY", "SELL"])


@dataclass
class Exchange:
    """Holds the one live order and fills it now and then; a cancel may come after a fill, or after all of them."""

    rng: np.random.Generator
    live: Decimal | None = None
    filled: Decimal = Decimal(0)
    placed: int = 0

    def told(self, action: Action, parent: Decimal) -> Iterator[Event]:
        """What becomes of an action."""
        if isinstance(action, Place):
            assert self.live is None, "two live orders"
            assert action.qty > 0 and action.qty % LOT == 0 and self.filled + action.qty <= parent
            self.live, self.placed = action.qty, self.placed + 1
            if action.price is None:  # the book may be too thin for a market order
                yield from self.ended(action.qty if self.rng.random() < 0.7 else self.part())
        elif isinstance(action, Cancel):
            yield from self.ended(self.part())
        elif self.live is not None and self.rng.random() < 0.2:
            part = self.part()
            if part == self.live:
                yield from self.ended(part)
            elif part:
                self.live -= part
                self.filled += part
                yield Filled(part)

    def part(self) -> Decimal:
        assert self.live is not None, "no order is live"
        return LOT * int(self.rng.integers(0, int(self.live / LOT) + 1))

    def ended(self, part: Decimal) -> Iterator[Event]:
        self.live = None
        if part:
            self.filled += part
            yield Filled(part)
        yield Ended()


def moments(seed: int, seconds: int) -> Iterator[Event]:
    rng, bid = np.random.default_rng(seed + 1), D(100)
    for second in range(seconds):
        bid += D(int(rng.integers(-2, 3))) / 100
        yield Tick(second * 1000, bid, bid + D("0.02"))
        yield Volume(D(int(rng.integers(0, 300))) / 100)


def restarted(plan: Plan) -> Plan:
    return from_record(json.loads(json.dumps(to_record(plan))))


def after(plan: Plan, *events: Event) -> Plan:
    for event in events:
        plan, action = next_action(plan, event)
        assert action is None
    return plan


def worked(plan: Plan, seed: int, restart_every: int = 0, seconds: int = 600) -> tuple[list[Action], Exchange]:
    """The actions of a plan in a random market until it is done, restarted after every so many events."""
    exchange, actions, count = Exchange(np.random.default_rng(seed)), [], 0
    for moment in moments(seed, seconds):
        plan, action = next_action(plan, moment)
        if action is not None:
            actions.append(action)
        if isinstance(action, Done):
            assert exchange.live is None and action.left == plan.qty - exchange.filled
            assert next_action(plan, Tick(10**9, D(100), D(100)))[1] == action, "nothing more is sent once it is done"
            break
        for event in exchange.told(action, plan.qty):
            plan = after(plan, event)
            assert exchange.filled == plan.filled <= plan.qty
            count += 1
            if restart_every and count % restart_every == 0:
                plan = restarted(plan)
        if restart_every:
            assert restarted(plan) == plan
            plan = restarted(plan)
    return actions, exchange


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), SIDES, st.integers(0, 5), st.booleans(), st.booleans())
def test_a_chase_has_one_live_order_and_never_fills_more_than_the_parent(
    seed: int, side: str, attempts: int, post_only: bool, fallback: bool
) -> None:
    plan = Chase(side, D("1.00"), LOT, attempts=attempts, post_only=post_only, fallback=fallback)
    actions, exchange = worked(plan, seed)
    assert isinstance(actions[-1], Done) and exchange.placed <= attempts + fallback


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), SIDES, st.integers(1, 300), st.integers(1, 12), st.integers(0, 3), st.booleans())
def test_twap_works_off_its_slices_one_order_at_a_time(
    seed: int, side: str, lots: int, slices: int, attempts: int, post_only: bool
) -> None:
    plan = Twap(side, lots * LOT, LOT, min(slices, lots), 0, 120_000, attempts=attempts, post_only=post_only)
    actions, _ = worked(plan, seed)
    assert isinstance(actions[-1], Done)


PLANS = st.one_of(
    st.builds(
        Chase, SIDES, st.just(D("1.00")), st.just(LOT), st.integers(0, 4),
        post_only=st.booleans(), fallback=st.booleans(),
    ),
    st.builds(
        Twap, SIDES, st.just(D("1.00")), st.just(LOT), st.integers(1, 9), st.just(0), st.just(90_000),
        attempts=st.integers(0, 3),
    ),
    st.builds(Pov, SIDES, st.just(D("9.00")), st.just(LOT), st.sampled_from([D("0.1"), D("0.3")])),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(PLANS, st.integers(0, 10**6), st.integers(1, 3))
def test_a_plan_that_was_saved_and_restored_goes_on_as_if_nothing_had_been(plan: Plan, seed: int, every: int) -> None:
    assert worked(plan, seed, every, 150)[0] == worked(plan, seed, 0, 150)[0]


@settings(max_examples=300)
@given(st.integers(1, 10**7), st.integers(0, 5), st.integers(1, 50), st.integers(0, 10**6))
def test_twap_slices_are_whole_lots_and_add_up_exactly(units: int, places: int, slices: int, duration: int) -> None:
    step = D(1).scaleb(-places)
    qty = units * step
    if units < slices:
        with pytest.raises(BadInput, match="use fewer slices"):
            Twap("BUY", qty, step, slices, 0, duration)
        return
    parts = Twap("BUY", qty, step, slices, 1000, duration).schedule
    assert sum(part.qty for part in parts) == qty
    assert all(part.qty > 0 and part.qty % step == 0 for part in parts)
    assert max(p.qty for p in parts) - min(p.qty for p in parts) <= step
    assert [part.due_ms for part in parts] == sorted(part.due_ms for part in parts) and parts[0].due_ms == 1000


def test_twap_children_that_are_filled_are_the_schedule() -> None:
    plan: Plan = Twap("SELL", D("1.00"), LOT, 3, 0, 3000)
    children = []
    for second in range(4):
        plan, action = next_action(plan, Tick(second * 1000, D(99), D(100)))
        if isinstance(action, Place):
            children.append(action.qty)
            plan = after(plan, Filled(action.qty), Ended())
    assert children == [D("0.34"), D("0.33"), D("0.33")] and action == Done(D(0))


def test_twap_adds_what_a_slice_left_and_what_was_missed_to_the_next() -> None:
    plan, first = next_action(Twap("BUY", D("1.00"), LOT, 4, 0, 4000), Tick(0, D(99), D(100)))
    assert first == Place(D("0.25"), None)
    plan = after(plan, Filled(D("0.10")), Ended(), Tick(500, D(99), D(100)))
    _, second = next_action(restarted(plan), Tick(2000, D(99), D(100)))
    assert second == Place(D("0.65"), None), "what the first left, the second that was missed, and the third"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qty": D("1.005")}, "not a whole number of lots"),
        ({"least": D("0.34")}, "use fewer slices"),
        ({"slices": 0}, "at least one slice"),
        ({"step": D(0)}, "a lot step"),
        ({"side": "HOLD"}, "write BUY or SELL"),
    ],
)
def test_twap_refuses_slices_that_the_exchange_would(change: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        replace(Twap("BUY", D("1.00"), LOT, 3, 0, 1000), **change)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.decimals(0, 1000, places=3), min_size=1, max_size=50),
    st.decimals("0.001", "0.999", places=3),
    st.integers(1, 5000),
    st.integers(0, 10**6),
)
def test_pov_never_takes_more_than_its_share_of_any_window(
    volumes: list[Decimal], rate: Decimal, qty: int, seed: int
) -> None:
    plan: Plan = Pov("BUY", D(qty), LOT, rate)
    exchange, ours = Exchange(np.random.default_rng(seed)), []
    for volume in volumes:
        plan, action = next_action(plan, Volume(volume))
        if isinstance(action, Done):
            break
        ours.append(action.qty if isinstance(action, Place) else D(0))
        plan = after(plan, *exchange.told(action, D(qty)))
    assert plan.filled == exchange.filled <= qty
    for first in range(len(ours)):
        mine = others = D(0)
        for volume, child in zip(volumes[first:], ours[first:], strict=False):
            mine, others = mine + child, others + volume
            assert mine <= rate * (mine + others)


def test_pov_takes_its_whole_share_of_a_volume_and_lets_lapse_what_it_cannot_use() -> None:
    plan, action = next_action(Pov("BUY", D(10), LOT, D("0.2")), Volume(D(8)))
    assert action == Place(D(2), None), "2 of 10 are a fifth"
    plan = after(plan, Volume(D(1000)), Filled(D(2)), Ended(), Volume(D("0.03")), Volume(D("0.03")))
    plan, action = next_action(plan, Volume(D(4)))
    assert action == Place(D(1), None), "neither what came while an order was live nor what made no lot"
    plan, last = next_action(after(plan, Filled(D(1)), Ended()), Volume(D(1000)))
    assert last == Place(D(7), None)
    plan = after(plan, Filled(D(7)), Ended())
    assert next_action(plan, Volume(D(1)))[1] == Done(D(0)) == next_action(plan, Tick(0, D(1), D(1)))[1]


@pytest.mark.parametrize(("side", "against", "in_favour"), [("BUY", 102, 98), ("SELL", 98, 102)])
def test_a_chase_gives_up_where_the_price_has_run_away_but_not_where_it_came_nearer(
    side: str, against: int, in_favour: int
) -> None:
    plan, first = next_action(Chase(side, D(1), LOT, band=D("0.01")), Tick(0, D(100), D(100)))
    assert first == Place(D(1), D(100))
    plan, moved = next_action(plan, Tick(6000, D(against), D(against)))
    assert isinstance(moved, Cancel)
    plan = after(plan, Ended())
    given_up, end = next_action(plan, Tick(6100, D(against), D(against)))
    assert end == Done(D(1)), "not at market either"
    assert next_action(given_up, Tick(6200, D(100), D(100)))[1] == Done(D(1)), "nor when it comes back"
    assert next_action(plan, Tick(6100, D(in_favour), D(in_favour)))[1] == Place(D(1), D(in_favour))


def test_a_chase_sends_nothing_before_the_outcome_of_the_cancel_is_known() -> None:
    plan, _ = next_action(Chase("BUY", D(1), LOT), Tick(0, D(99), D(100)))
    plan, cancel = next_action(plan, Tick(5000, D(99), D(100)))
    assert isinstance(cancel, Cancel)
    plan = after(plan, *(Tick(late, D(99), D(100)) for late in (10_000, 60_000, 10**9)), Filled(D("0.4")), Ended())
    assert next_action(plan, Tick(10**9, D(99), D(100)))[1] == Place(D("0.6"), None), "the deadline is over"


def test_each_order_of_a_chase_is_moved_when_its_time_has_come() -> None:
    plan: Plan = Chase("BUY", D(1), LOT, patience_ms=5000)
    for placed_ms in (0, 6000, 12_000):
        plan, action = next_action(plan, Tick(placed_ms, D(99), D(100)))
        assert action == Place(D(1), D(100))
        plan, action = next_action(
            after(plan, Tick(placed_ms + 4999, D(99), D(100))), Tick(placed_ms + 5000, D(1), D(2))
        )
        assert action == Cancel()
        plan = after(plan, Ended())


def test_post_only_waits_at_our_side_and_takes_what_is_left_at_the_end() -> None:
    plan, first = next_action(Chase("SELL", D(1), LOT, attempts=1, post_only=True), Tick(0, D(99), D(100)))
    assert first == Place(D(1), D(100), post_only=True)
    plan = after(plan, Ended())
    assert next_action(plan, Tick(1, D(99), D(100)))[1] == Place(D(1), None)
    assert next_action(replace(plan, fallback=False), Tick(1, D(99), D(100)))[1] == Done(D(1))


@pytest.mark.parametrize(("bid", "ask"), [(D(0), D(100)), (D("NaN"), D(100)), (D(101), D(100))])
def test_nothing_is_sent_on_prices_that_cannot_be(bid: Decimal, ask: Decimal) -> None:
    for plan in (Chase("BUY", D(1), LOT), market("BUY", D(1), LOT), Twap("BUY", D(1), LOT, 2, 0, 1000)):
        assert next_action(plan, Tick(0, bid, ask)) == (plan, None)


def test_market_is_one_order() -> None:
    plan, action = next_action(market("SELL", D(2), LOT), Tick(0, D(99), D(100)))
    assert action == Place(D(2), None)
    partly = after(plan, Filled(D("1.5")), Ended())
    assert next_action(partly, Tick(1, D(99), D(100)))[1] == Done(D("0.5"))


def test_more_than_the_parent_is_an_error() -> None:
    for plan in (Chase("BUY", D(1), LOT), Twap("BUY", D(1), LOT, 2, 0, 1000), Pov("BUY", D(1), LOT, D("0.1"))):
        with pytest.raises(Overfilled, match=r"would make 1\.01 of 1"):
            next_action(plan, Filled(D("1.01")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": "iceberg"}, "'iceberg' is not a plan"),
        ({"qty": 1.0}, r"qty cannot be 1\.0"),
        ({"qty": "much"}, "qty cannot be 'much'"),
        ({"step": "NaN"}, "step cannot be"),
        ({"slices": True}, "slices cannot be True"),
        ({"child": 3}, "None is not a plan"),
        ({"child": to_record(Pov("BUY", D(1), LOT, D("0.1")))}, "child cannot be"),
        ({"more": 1}, "more missing or unknown"),
    ],
)
def test_a_damaged_record_is_refused(change: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        from_record({**to_record(Twap("BUY", D(1), LOT, 2, 0, 1000)), **change})
