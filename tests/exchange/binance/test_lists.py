"""Stops, targets and lists of orders at the local exchange: names are ours, and no lost reply changes what is true."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from exchange.binance.adapters import Adapter, adapter, requests_seen, run
from exchange.servers import exchange, forgive, inside

from pipeline.exchange.binance.client import Timeouts
from pipeline.exchange.binance.reports import list_params, list_path
from pipeline.exchange.port import ListRequest, Refused, Request, Unclear
from pipeline.testing import LocalExchange

SHORT = Timeouts(0.5, 0.4, 0.8)
D = Decimal
# Far from a price of some 56,000.
LOW, LOWER, HIGH = D(40000), D(39000), D(80000)


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalExchange]:
    with exchange(bars=2000) as running:
        yield running


@pytest.fixture
def local(shared: LocalExchange) -> Iterator[LocalExchange]:
    """The same exchange for all, without what the last test left."""
    forgive(shared)
    yield shared

    def calm(server: Any) -> None:
        for one in server.venue.faults.view():
            server.venue.faults.remove(one["id"])

    inside(shared, calm)


def one(name: str, kind: str, price: D | None = None, stop: D | None = None, side: str = "SELL") -> Request:
    return Request("BTCUSDT", side, kind, D("0.01"), name, price, stop)


def pair(name: str, side: str = "SELL") -> ListRequest:
    """A target and a stop around the market."""
    target, stop = (HIGH, LOW) if side == "SELL" else (LOW, HIGH)
    legs = (one(f"{name}-st", "STOP_LOSS", None, stop, side), one(f"{name}-ta", "LIMIT_MAKER", target, None, side))
    return ListRequest("BTCUSDT", name, legs)


def entry(name: str, with_target: bool = True) -> ListRequest:
    """A limit entry far below the market, and what protects it."""
    legs = pair(name).legs if with_target else pair(name).legs[:1]
    low = tuple(replace(leg, stop_price=leg.stop_price and D(20000)) for leg in legs)
    return ListRequest("BTCUSDT", name, low, one(f"{name}-en", "LIMIT", LOWER, None, "BUY"))


def statuses(reports: Any) -> dict[str, str]:
    return {report.client_order_id: report.status for report in reports}


async def seen(made: Adapter, wanted: ListRequest) -> dict[str, str | None]:
    """Statuses of the orders of a list, each asked for by its own name."""
    found = [await made.exchange.find("BTCUSDT", leg.client_order_id) for leg in wanted.requests]
    return {leg.client_order_id: report and report.status for leg, report in zip(wanted.requests, found, strict=True)}


@pytest.mark.parametrize(
    "request_",
    [
        one("k1", "STOP_LOSS", None, LOW),
        one("k2", "STOP_LOSS_LIMIT", LOWER, LOW),
        one("k3", "TAKE_PROFIT", None, HIGH),
        one("k4", "TAKE_PROFIT_LIMIT", HIGH, HIGH),
        one("k5", "LIMIT_MAKER", HIGH),
        one("k6", "STOP_LOSS", None, HIGH, "BUY"),
    ],
    ids=lambda request: f"{request.kind}-{request.side}",
)
def test_each_kind_of_order_rests_under_its_own_name(local: LocalExchange, request_: Request) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            report = await made.exchange.place(request_, 5000)
            assert (report.client_order_id, report.status) == (request_.client_order_id, "NEW")
            gone = await made.exchange.cancel("BTCUSDT", request_.client_order_id)
            assert (gone.client_order_id, gone.status) == (request_.client_order_id, "CANCELED")

    run(talk())


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (pair("l1"), {"l1-st": "NEW", "l1-ta": "NEW"}),
        (pair("l2", "BUY"), {"l2-st": "NEW", "l2-ta": "NEW"}),
        (entry("l3"), {"l3-en": "NEW", "l3-st": "PENDING_NEW", "l3-ta": "PENDING_NEW"}),
        (entry("l4", with_target=False), {"l4-en": "NEW", "l4-st": "PENDING_NEW"}),
    ],
    ids=["oco-sell", "oco-buy", "otoco", "oto"],
)
def test_a_list_is_placed_found_and_cancelled_by_our_names(
    local: LocalExchange, wanted: ListRequest, words: dict[str, str]
) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            name = wanted.list_client_order_id
            assert await made.exchange.find_list("BTCUSDT", name) is None
            assert statuses(await made.exchange.place_list(wanted, 5000)) == words
            assert statuses(await made.exchange.find_list("BTCUSDT", name) or ()) == words
            assert {report.client_order_id for report in await made.exchange.open_orders("BTCUSDT")} >= set(words)
            gone = statuses(await made.exchange.cancel_list("BTCUSDT", name))
            assert gone == dict.fromkeys(words, "CANCELED")
            assert await seen(made, wanted) == gone

    run(talk())


def test_a_list_carries_no_name_that_is_not_ours(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.exchange.place_list(entry("n1"), 5000)
            lists = inside(local, lambda server: list(server.venue.engine.lists.values()))
            (made_of,) = [{one.client_id, *(o.client_id for o in one.orders)} for one in lists if one.client_id == "n1"]
            assert made_of == {"n1", "n1-en", "n1-st", "n1-ta"}
            await made.exchange.cancel_list("BTCUSDT", "n1")

    run(talk())


@pytest.mark.parametrize("how", ["504", "-1007", "drop", "hang"])
def test_a_list_whose_reply_is_lost_is_unclear_and_there_once(local: LocalExchange, how: str) -> None:
    async def talk() -> None:
        async with adapter(local, timeouts=SHORT) as made:
            wanted = pair(f"u{how[-3:]}")
            await made.fault("lose_reply", where="orderList.place.oco", how=how, seconds=1)
            sent = requests_seen(local)
            with pytest.raises(Unclear):
                await made.exchange.place_list(wanted, 5000)
            assert sent == ["orderList.place.oco"]
            assert set((await seen(made, wanted)).values()) == {"NEW"}
            await made.exchange.cancel_list("BTCUSDT", wanted.list_client_order_id)

    run(talk())


def test_a_list_that_may_not_have_been_accepted_is_unclear_too(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, timeouts=SHORT) as made:
            await made.fault("not_accepted", where="orderList.place.oco", how="503")
            with pytest.raises(Unclear):
                await made.exchange.place_list(pair("v1"), 5000)
            assert await made.exchange.find_list("BTCUSDT", "v1") is None

    run(talk())


def test_a_list_whose_cancel_was_sent_twice_is_cancelled(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.exchange.place_list(pair("c1"), 5000)
            await made.fault("lose_reply", where="orderList.cancel", how="drop")
            sent = requests_seen(local)
            assert statuses(await made.exchange.cancel_list("BTCUSDT", "c1")) == {
                "c1-st": "CANCELED",
                "c1-ta": "CANCELED",
            }
            assert sent[:2] == ["orderList.cancel", "orderList.cancel"]

    run(talk())


def test_a_pair_of_which_a_leg_was_filled_is_not_cancelled(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            now = (await made.exchange.bars("BTCUSDT", "1m", 0, 1 << 50))[-1].values["close"]
            near = (one("f1-st", "STOP_LOSS", None, LOW), one("f1-ta", "LIMIT_MAKER", D(f"{now * 1.00005:.2f}")))
            await made.exchange.place_list(ListRequest("BTCUSDT", "f1", near), 5000)
            found = {"f1-ta": "NEW"}
            for _ in range(200):
                await made.step()
                found = statuses(await made.exchange.find_list("BTCUSDT", "f1") or ())
                if found["f1-ta"] == "FILLED":
                    break
            assert found == {"f1-st": "EXPIRED", "f1-ta": "FILLED"}
            with pytest.raises(Refused) as refused:
                await made.exchange.cancel_list("BTCUSDT", "f1")
            assert refused.value.code == -2011

    run(talk())


def test_a_pair_on_the_wrong_sides_of_the_market_is_refused_whole(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            legs = (one("w1-st", "STOP_LOSS", None, HIGH), one("w1-ta", "LIMIT_MAKER", HIGH + 1000))
            with pytest.raises(Refused) as refused:
                await made.exchange.place_list(ListRequest("BTCUSDT", "w1", legs), 5000)
            assert refused.value.code == -2010
            assert await made.exchange.find("BTCUSDT", "w1-ta") is None

    run(talk())


def test_a_test_order_is_checked_and_not_placed(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.exchange.test(one("t1", "LIMIT", LOW, None, "BUY"))
            assert await made.exchange.find("BTCUSDT", "t1") is None
            with pytest.raises(Refused) as refused:
                await made.exchange.test(one("t2", "LIMIT", D("0.001"), None, "BUY"))
            assert refused.value.code == -1013

    run(talk())


def test_parameters_of_a_list_are_those_of_the_documents() -> None:
    # Names: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/trading-endpoints#order-lists
    assert list_path(pair("a")) == "orderList/oco"
    assert list_params(pair("a")) == {
        "symbol": "BTCUSDT", "listClientOrderId": "a", "newOrderRespType": "FULL", "side": "SELL", "quantity": "0.01",
        "belowType": "STOP_LOSS", "belowClientOrderId": "a-st", "belowStopPrice": "40000",
        "aboveType": "LIMIT_MAKER", "aboveClientOrderId": "a-ta", "abovePrice": "80000",
    }  # fmt: skip
    assert list_params(pair("b", "BUY"))["aboveStopPrice"] == "80000"
    assert list_path(entry("c")) == "orderList/otoco"
    assert list_params(entry("c")) == {
        "symbol": "BTCUSDT", "listClientOrderId": "c", "newOrderRespType": "FULL", "workingType": "LIMIT",
        "workingSide": "BUY", "workingQuantity": "0.01", "workingPrice": "39000", "workingTimeInForce": "GTC",
        "workingClientOrderId": "c-en", "pendingSide": "SELL", "pendingQuantity": "0.01",
        "pendingBelowType": "STOP_LOSS", "pendingBelowClientOrderId": "c-st", "pendingBelowStopPrice": "20000",
        "pendingAboveType": "LIMIT_MAKER", "pendingAboveClientOrderId": "c-ta", "pendingAbovePrice": "80000",
    }  # fmt: skip
    assert list_path(entry("d", with_target=False)) == "orderList/oto"
    assert {key for key in list_params(entry("d", with_target=False)) if key.startswith("pending")} == {
        "pendingType", "pendingSide", "pendingQuantity", "pendingStopPrice", "pendingClientOrderId",
    }  # fmt: skip
