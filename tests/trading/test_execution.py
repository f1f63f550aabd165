"""Plans add up exactly, never double the exposure, and go on after a restart as before it."""

from dataclasses import asdict
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.trading.execution import Cancel, Chase, Done, Participation, Place, Tick, market, shortfall, twap

D = Decimal


@settings(max_examples=300)
@given(st.integers(1, 10**7), st.integers(0, 5), st.integers(1, 50), st.integers(0, 10**6))
def test_twap_slices_are_whole_lots_and_add_up_exactly(units: int, places: int, slices: int, duration: int) -> None:
    step = D(1).scaleb(-places)
    qty = units * step
    if units < slices:
        with pytest.raises(BadInput, match="use fewer slices"):
            twap(qty, slices, 0, duration, step)
        return
    parts = twap(qty, slices, 1000, duration, step)
    assert sum(part.qty for part in parts) == qty
    assert all(part.qty > 0 and part.qty % step == 0 for part in parts)
    assert max(p.qty for p in parts) - min(p.qty for p in parts) <= step
    assert [part.due_ms for part in parts] == sorted(part.due_ms for part in parts) and parts[0].due_ms == 1000


@settings(max_examples=200)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60), st.integers(1, 60), st.integers(1, 5000), st.booleans())
def test_pov_never_takes_more_than_its_share_of_any_window(
    volumes: list[int], percent: int, qty: int, restart: bool
) -> None:
    plan = Participation(D(qty), D(percent) / 100, D("0.1"))
    ours = []
    for volume in volumes:
        plan, child = plan.on_volume(D(volume))
        ours.append(child)
        if restart:
            plan = Participation(**asdict(plan))
    assert sum(ours) <= qty and plan.done == (sum(ours) == qty)
    for first in range(len(volumes)):
        for last in range(first + 1, len(volumes) + 1):
            mine, others = sum(ours[first:last]), sum(volumes[first:last])
            assert mine <= D(percent) / 100 * (mine + others)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["BUY", "SELL"]), st.booleans(), st.booleans(), st.booleans())
def test_a_chase_has_one_live_order_and_never_fills_more_than_the_parent(
    seed: int, side: str, post_only: bool, fallback: bool, restart: bool
) -> None:
    rng = np.random.default_rng(seed)
    plan = Chase(side, D("1.00"), D("0.01"), attempts=4, post_only=post_only, fallback=fallback)
    live: Decimal | None = None
    filled, sent, bid = D(0), 0, D(100)
    for second in range(200):
        bid += D(int(rng.integers(-2, 3))) / 100
        plan, action = plan.on_tick(Tick(second * 1000, bid, bid + D("0.02")))
        if isinstance(action, Place):
            assert live is None, "two live orders"
            assert action.qty + filled <= 1
            live, sent = action.qty, sent + 1
            if action.price is None:
                plan, filled, live = plan.on_fill(action.qty).on_end(), filled + action.qty, None
        elif isinstance(action, Cancel):
            assert live is not None
            # Some of it may have been filled before the cancel arrived; the outcome is known only then.
            part = D(int(rng.integers(0, int(live * 100) + 1))) / 100
            plan, filled, live = plan.on_fill(part).on_end(), filled + part, None
        elif isinstance(action, Done):
            assert action.left == 1 - filled
            break
        elif live is not None and rng.random() < 0.2:
            part = min(live, D(int(rng.integers(1, 30))) / 100)
            plan, filled, live = plan.on_fill(part), filled + part, live - part
            if live == 0:
                plan, live = plan.on_end(), None
        if restart:
            plan = Chase(**asdict(plan))
        assert filled <= 1
    else:
        pytest.fail("it never ended")
    assert sent <= 5


def test_a_chase_gives_up_where_the_price_has_run_away() -> None:
    plan = Chase("BUY", D(1), D("0.01"), band=D("0.01"))
    plan, first = plan.on_tick(Tick(0, D(99), D(100)))
    assert first == Place(D(1), D(100))
    plan, moved = plan.on_tick(Tick(6000, D(101), D(102)))
    assert isinstance(moved, Cancel)
    _, end = plan.on_end().on_tick(Tick(6100, D(101), D(102)))
    assert end == Done(D(1)), "not at market either"


def test_market_is_one_order() -> None:
    plan, action = market("SELL", D(2), D("0.01")).on_tick(Tick(0, D(99), D(100)))
    assert action == Place(D(2), None)
    assert plan.on_fill(D(2)).on_end().on_tick(Tick(1, D(99), D(100)))[1] == Done(D(0))


def test_shortfall_adds_what_was_paid_and_what_was_missed() -> None:
    got = shortfall("BUY", D(10), [(D(4), D(101)), (D(4), D(102))], D("0.8"), D(100), D(105))
    assert got.realised == D(12) / 1000 and got.fees == D("0.0008") and got.unfilled == D(10) / 1000
    assert got.total == D("0.0228")
    assert shortfall("SELL", D(10), [(D(10), D(101))], D(0), D(100), D(105)).total == D("-0.01")
