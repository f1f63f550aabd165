"""What holds for any bars, any market model and any requests: nothing is lost, nothing is made, nothing is undone."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from exchange.replays import Bar, Replay, replay
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.exchange.local import journal, placing
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.orders import STOPS, Order

TICK = 0.05
START = {"USDT": Decimal(2000), "BTC": Decimal(15)}
FEES = ("0.00075", "0.0013")
BARS = 10
Action = tuple[str, dict[str, Any]]

ticks = st.integers(-40, 40)
quantities = st.integers(1, 8000).map(lambda n: f"{n / 1000:.3f}")
sides = st.sampled_from(["BUY", "SELL"])
tifs = st.sampled_from(["GTC", "GTC", "IOC", "FOK"])


@st.composite
def bars(draw: st.DrawFn) -> list[Bar]:
    """Bars around 100 that may gap from one to the next; the first is history."""
    made: list[Bar] = []
    close = 2000
    for _ in range(BARS + 1):
        opened = close + draw(st.sampled_from([0, 0, 0, -30, 25]))
        close = opened + draw(ticks)
        high, low = max(opened, close) + draw(st.integers(0, 30)), min(opened, close) - draw(st.integers(0, 30))
        volume = draw(st.sampled_from([0.0, 1.0, 20.0, 500.0]))
        made.append((*(round(x * TICK, 2) for x in (opened, high, low, close)), volume))
    return made


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "path": draw(st.sampled_from(["ohlc", "high_first", "low_first", "adverse", "random"])),
        "spread_bps": draw(st.sampled_from(["0", "1", "20"])),
        "slippage_bps": draw(st.sampled_from(["0", "3"])),
        "levels": draw(st.sampled_from([0, 1, 5])),
        "level_share": draw(st.sampled_from(["0.002", "0.1"])),
        "participation": draw(st.sampled_from(["0", "0.01", "0.3"])),
        "touch_fill": draw(st.booleans()),
        "queue_share": draw(st.sampled_from(["0", "0.5"])),
    }


def stop_of(draw: st.DrawFn) -> dict[str, Any]:
    """Stop price as ticks from the price now, trailing delta, or both."""
    kind = draw(st.sampled_from(["stop", "stop", "trail", "both"]))
    shown: dict[str, Any] = {}
    if kind != "trail":
        shown["stopPrice"] = draw(ticks)
    if kind != "stop":
        shown["trailingDelta"] = draw(st.sampled_from(["10", "50", "150"]))
    return shown


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of one order; prices are ticks from the price at which it is sent."""
    kind = draw(st.sampled_from(["LIMIT", "LIMIT", "LIMIT_MAKER", "MARKET", *STOPS]))
    made: dict[str, Any] = {"side": draw(sides), "type": kind}
    if kind == "MARKET" and draw(st.booleans()):
        made["quoteOrderQty"] = str(draw(st.integers(5, 1500)))
    else:
        made["quantity"] = draw(quantities)
    if kind == "LIMIT" or kind.endswith("_LIMIT"):
        made["timeInForce"] = draw(tifs)
    if kind in ("LIMIT", "LIMIT_MAKER") or kind.endswith("_LIMIT"):
        made["price"] = draw(ticks)
    if kind in STOPS:
        made |= stop_of(draw)
    return made


@st.composite
def pairs(draw: st.DrawFn, prefix: str = "") -> dict[str, Any]:
    """The two legs of an OCO."""
    side = draw(sides)
    made: dict[str, Any] = {"side": side, "quantity": draw(quantities)}
    if prefix:
        made = {f"{prefix}Side": side, f"{prefix}Quantity": made["quantity"]}
    target, stop = ("above", "below") if side == "SELL" else ("below", "above")
    sign = 1 if side == "SELL" else -1
    far, near = sign * draw(st.integers(1, 30)), -sign * draw(st.integers(1, 30))
    for place, kinds, ticks_off in (
        (target, ("LIMIT_MAKER", "LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"), far),
        (stop, ("STOP_LOSS", "STOP_LOSS_LIMIT"), near),
    ):
        name = f"{prefix}{place.capitalize()}" if prefix else place
        kind = draw(st.sampled_from(kinds))
        made[f"{name}Type"] = kind
        made[f"{name}Price" if kind == "LIMIT_MAKER" else f"{name}StopPrice"] = ticks_off
        if kind.endswith("_LIMIT"):
            made |= {f"{name}Price": ticks_off + draw(st.integers(-5, 5)), f"{name}TimeInForce": draw(tifs)}
    return made


@st.composite
def triggers(draw: st.DrawFn, prefix: str) -> dict[str, Any]:
    """A working limit order, or a pending one."""
    return {
        f"{prefix}Type": "LIMIT", f"{prefix}Side": draw(sides), f"{prefix}Price": draw(ticks),
        f"{prefix}Quantity": draw(quantities), f"{prefix}TimeInForce": draw(tifs),
    }  # fmt: skip


def union(*parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


numbers = st.integers(1, 12)
actions: st.SearchStrategy[Action] = st.one_of(
    *[st.tuples(st.just("advance"), st.just({}))] * 4,
    *[st.tuples(st.just("order.place"), orders())] * 3,
    st.tuples(st.just("orderList.place.oco"), pairs()),
    st.tuples(st.just("orderList.place.oto"), st.builds(union, triggers("working"), triggers("pending"))),
    st.tuples(st.just("orderList.place.otoco"), st.builds(union, triggers("working"), pairs("pending"))),
    st.tuples(st.just("order.cancel"), st.fixed_dictionaries({"orderId": numbers})),
    st.tuples(st.just("orderList.cancel"), st.fixed_dictionaries({"orderListId": numbers})),
    st.tuples(st.just("openOrders.cancelAll"), st.just({})),
    st.tuples(
        st.just("order.cancelReplace"),
        st.builds(
            lambda order, number, mode: order | {"cancelOrderId": number, "cancelReplaceMode": mode},
            orders(),
            numbers,
            st.sampled_from(["STOP_ON_FAILURE", "ALLOW_FAILURE"]),
        ),
    ),
)
runs = st.tuples(bars(), models(), st.lists(actions, min_size=10, max_size=50), st.integers(0, 3))
Run = tuple[list[Bar], dict[str, Any], list[Action], int]
# There is no deadline, since the machine may be busy.
thorough = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def market(run: Run) -> Replay:
    made, model, _, seed = run
    return replay(*made, balances={k: str(v) for k, v in START.items()}, fees=FEES, seed=seed, **model)


def act(r: Replay, action: Action) -> None:
    """One action; a refusal is as good as any other answer."""
    name, params = action
    if name == "advance":
        r.engine.advance()
        return
    here = r.engine.pits["BTCUSDT"].last
    # A pending pair lies around the price of its working order.
    there = here + params.get("workingPrice", 0) * TICK
    priced = {
        k: f"{(there if k.startswith('pending') else here) + v * TICK:.2f}" if k.lower().endswith("price") else v
        for k, v in params.items()
    }
    try:
        r.call(name, **priced)
    except ApiError as error:
        # Requests of this test are well formed: only filters, prices, balances and unknown orders may be at fault.
        assert error.code in (-1013, -2010, -2011, -2021, -2022), error.message


def check_balances(r: Replay) -> None:
    """Every amount is where trades and locks say that it is, to the last digit."""
    expected = dict(START)
    for trade in r.engine.trades["BTCUSDT"]:
        sign = 1 if trade.buyer else -1
        expected["BTC"] += sign * trade.qty
        expected["USDT"] -= sign * trade.quote
        expected[trade.asset] -= trade.commission
    for asset, amount in expected.items():
        balance = r.account.balance(asset)
        assert balance.free >= 0 and balance.locked >= 0, asset
        assert balance.free + balance.locked == amount, asset
        locks = {id(o.lock): o.lock for o in r.engine.open_orders(r.account) if o.lock is not None}
        assert balance.locked == sum((one.amount for one in locks.values() if one.asset == asset), Decimal(0)), asset


def check_locks(r: Replay) -> None:
    """An open order holds what it needs, and a limit order nothing beyond."""
    pit = r.engine.pits["BTCUSDT"]
    for order in r.engine.open_orders(r.account):
        if order.status == "PENDING_NEW":
            assert order.lock is None
        elif order.list_id < 0 and order.is_limit:
            assert order.lock is not None
            assert order.lock.amount == placing.cost(pit, order, order.remaining)[1]


def check_order(r: Replay, order: Order, model: Mapping[str, Any]) -> None:
    """Sums, states and prices of one order."""
    assert order.executed == sum((t.qty for t in order.trades), Decimal(0)) <= order.qty
    assert order.quote == sum((t.quote for t in order.trades), Decimal(0))
    assert (order.status == "FILLED") == (order.remaining <= 0 and order.qty > 0)
    if order.status in ("NEW", "PENDING_NEW"):
        assert not order.trades
    if order.status == "PARTIALLY_FILLED":
        assert 0 < order.executed < order.qty
    assert order.is_live == (order.id in {one.id for one in r.engine.open_orders(r.account)})
    series = r.engine.pits["BTCUSDT"].series
    # A taker meets at most 5 levels, a basis point or a tick of 0.01 apart.
    away = Decimal(str(model["spread_bps"])) / 2 + Decimal(model["slippage_bps"]) + 5
    for trade in order.trades:
        i = int(series.at(trade.time + 1)) - 1
        # At the open the price jumps over what lies between; so the close before is part of the way.
        high, low = max(series.high[i], series.close[i - 1]), min(series.low[i], series.close[i - 1])
        if trade.maker:
            # Where the book is eaten up, what is left rests beyond the market, and is met there: at its price always.
            assert trade.price == order.price
            assert trade.price >= Decimal(str(low)) if trade.buyer else trade.price <= Decimal(str(high))
        else:
            slack = Decimal(str(high)) * away / 10_000 + Decimal("0.06")
            assert Decimal(str(low)) - slack <= trade.price <= Decimal(str(high)) + slack
        if order.is_limit:
            assert trade.price <= order.price if order.side == "BUY" else trade.price >= order.price
        assert trade.commission <= Decimal(FEES[0] if trade.maker else FEES[1]) * (
            trade.qty if trade.buyer else trade.quote
        )


@thorough
@given(runs)
def test_nothing_is_lost_and_nothing_is_undone(run: Run) -> None:
    r = market(run)
    ended: dict[int, dict[str, Any]] = {}
    for action in [*run[2], *[("advance", {})] * 8]:
        act(r, action)
        check_balances(r)
        check_locks(r)
        for order in r.engine.orders.values():
            check_order(r, order, run[1])
            if not order.is_live:
                assert ended.setdefault(order.id, order.view()) == order.view()
        for one in r.engine.lists.values():
            assert (one.status == "EXECUTING") == any(order.is_live for order in one.orders)
    if r.engine.open_orders(r.account):
        r.call("openOrders.cancelAll")
    check_balances(r)
    assert all(balance.locked == 0 for balance in r.account.balances.values())


@thorough
@given(runs)
def test_events_tell_the_same_story_as_the_orders(run: Run) -> None:
    r = market(run)
    for action in [*run[2], *[("advance", {})] * 8]:
        act(r, action)
    events = [event for _, event in r.engine.drain()]
    reports = [event for event in events if event["e"] == "executionReport"]
    assert [event["I"] for event in reports] == list(range(1, len(reports) + 1))
    for order in r.engine.orders.values():
        own = [event for event in reports if event["i"] == order.id]
        assert own[0]["x"] == "NEW"
        assert (own[-1]["X"], Decimal(own[-1]["z"]), Decimal(own[-1]["Z"])) == (
            order.status,
            order.executed,
            order.quote,
        )
        assert [event["t"] for event in own if event["x"] == "TRADE"] == [trade.id for trade in order.trades]
    last = {row["a"]: row for event in events if event["e"] == "outboundAccountPosition" for row in event["B"]}
    for asset, row in last.items():
        balance = r.account.balance(asset)
        assert (Decimal(row["f"]), Decimal(row["l"])) == (balance.free, balance.locked)


@settings(thorough, max_examples=30)
@given(runs)
def test_the_same_run_gives_the_same_journal(run: Run) -> None:
    texts = []
    for _ in range(2):
        r = market(run)
        for action in run[2]:
            act(r, action)
        texts.append(r.engine.journal.text())
    assert texts[0] == texts[1]
    entries = list(journal.read(texts[0]))
    assert [entry["n"] for entry in entries] == list(range(len(entries)))
    # Moments at which anybody was told anything, and requests, are all in it.
    told = [event for entry in entries for _, event in entry.get("events", ())]
    assert [event for _, event in r.engine.drain()] == told


def some_journal() -> str:
    r = replay(*[(100, 101, 99, 100)] * 5)
    for price in ("99.5", "99.7"):
        r.place("BUY", "LIMIT", quantity="1", price=price)
        r.engine.step()
    return r.engine.journal.text()


def test_a_journal_reads_back() -> None:
    text = some_journal()
    assert [entry["kind"] for entry in journal.read(text)] == ["start", "request", "market", "request", "market"]
    assert list(journal.read(text)) == [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("damage", ["digit", "space", "removed", "doubled", "hash"])
def test_a_changed_line_is_found(number: int, damage: str) -> None:
    lines = some_journal().splitlines()
    line = lines[number]
    if damage == "removed" and number == len(lines) - 1:
        # Nothing follows from which it could be missed.
        return
    lines[number : number + 1] = {
        "digit": [line.replace('"time":17', '"time":18')],
        "space": [line.replace('"time":', '"time": ')],
        "removed": [],
        "doubled": [line, line],
        "hash": [line[:-4] + ("aa" if line[-4:-2] != "aa" else "bb") + line[-2:]],
    }[damage]
    with pytest.raises(BadInput, match="line"):
        list(journal.read("\n".join(lines) + "\n"))


def test_a_last_line_that_was_cut_off_is_left_out() -> None:
    text = some_journal()
    for cut in (2, 30, 200):
        assert len(list(journal.read(text[:-cut]))) == 4
    assert len(list(journal.read(text[:-1]))) == 5
