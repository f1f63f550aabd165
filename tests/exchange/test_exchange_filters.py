"""Filters of the whole exchange: what an account may have open over all symbols, and of an asset in one order.

Shapes and meanings are those of https://developers.binance.com/docs/binance-spot-api-docs/filters.
"""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exchange.replays import MINUTE, PLAIN, START_MS, Bar, Replay, instrument, series_of
from exchange.servers import RICH, Rest, Socket, exchange, inside
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.exchange.local.accounts import Account, Balance
from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.exchange_filters import ExchangeFilters
from pipeline.exchange.local.instruments import Instrument, of_series
from pipeline.exchange.local.matching import MarketModel
from pipeline.exchange.local.orders import STOPS
from pipeline.exchange.local.scenario import load

FLAT: Bar = (100, 100, 100, 100)
ALL = {
    "max_num_orders": 1000,
    "max_num_algo_orders": 200,
    "max_num_iceberg_orders": 10_000,
    "max_num_order_lists": 20,
}
ROWS = [
    {"filterType": "EXCHANGE_MAX_NUM_ORDERS", "maxNumOrders": 1000},
    {"filterType": "EXCHANGE_MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 200},
    {"filterType": "EXCHANGE_MAX_NUM_ICEBERG_ORDERS", "maxNumIcebergOrders": 10_000},
    {"filterType": "EXCHANGE_MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
]
LIMIT = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "90"}
ICEBERG = LIMIT | {"icebergQty": "0.5"}
STOP = {"side": "SELL", "type": "STOP_LOSS", "quantity": "1", "stopPrice": "90"}
TARGET = {"side": "SELL", "type": "TAKE_PROFIT_LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "110",
          "stopPrice": "110"}  # fmt: skip
TRAIL = {"side": "SELL", "type": "STOP_LOSS", "quantity": "1", "trailingDelta": "100"}
OCO = {"side": "SELL", "quantity": "1", "aboveType": "LIMIT_MAKER", "abovePrice": "110", "belowType": "STOP_LOSS",
       "belowStopPrice": "90"}  # fmt: skip
WORKING = {"workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC", "workingQuantity": "1",
           "workingPrice": "95", "pendingSide": "SELL", "pendingQuantity": "1"}  # fmt: skip
OTO = WORKING | {"pendingType": "LIMIT_MAKER", "pendingPrice": "110"}
OTOCO = WORKING | {"pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "110", "pendingBelowType": "STOP_LOSS",
                   "pendingBelowStopPrice": "85"}  # fmt: skip
PLACE, LISTS = "order.place", ("orderList.place.oco", "orderList.place.oto", "orderList.place.otoco")


def failure(name: str) -> tuple[int, str]:
    return -1013, f"Filter failure: {name}"


def two(
    filters: dict[str, int] | None = None, max_asset: dict[str, str] | None = None, rules: Instrument | None = None
) -> Replay:
    """BTCUSDT and ETHBTC at 100, an account rich in all three assets, and another one with nothing forbidden."""
    accounts = [Account(name, "secret", uid, Decimal(0), Decimal(0)) for uid, name in enumerate(("key", "other"), 1)]
    for account in accounts:
        account.balances = {asset: Balance(Decimal(1_000_000)) for asset in ("USDT", "BTC", "ETH")}
    accounts[0].max_asset = {asset: Decimal(most) for asset, most in (max_asset or {}).items()}
    series = series_of([FLAT] * 4)
    lenient = {"MAX_NUM_ALGO_ORDERS": {"maxNumAlgoOrders": 100}}
    engine = Engine(
        {
            "BTCUSDT": rules or instrument(changes=lenient),
            "ETHBTC": Instrument("ETHBTC", "ETH", "BTC", of_series("ETHBTC", series).entry | {
                "filters": instrument(changes=lenient).entry["filters"]}),
        },
        {"BTCUSDT": series, "ETHBTC": series},
        accounts,
        start_ms=START_MS + MINUTE,
        model=MarketModel.model_validate(PLAIN),
        filters=ExchangeFilters.model_validate(filters or {}),
    )  # fmt: skip
    return Replay(engine, accounts[0])


# Counts over all symbols


@pytest.mark.parametrize(
    ("limit", "name", "first", "over", "under"),
    [
        ("max_num_orders", "EXCHANGE_MAX_NUM_ORDERS", LIMIT, STOP, None),
        ("max_num_orders", "EXCHANGE_MAX_NUM_ORDERS", STOP, LIMIT, None),
        ("max_num_orders", "EXCHANGE_MAX_NUM_ORDERS", LIMIT, {"side": "BUY", "type": "MARKET", "quantity": "1"}, None),
        ("max_num_algo_orders", "EXCHANGE_MAX_NUM_ALGO_ORDERS", STOP, TARGET, ICEBERG),
        ("max_num_algo_orders", "EXCHANGE_MAX_NUM_ALGO_ORDERS", TARGET, TRAIL, LIMIT),
        ("max_num_algo_orders", "EXCHANGE_MAX_NUM_ALGO_ORDERS", TRAIL, STOP, LIMIT),
        ("max_num_iceberg_orders", "EXCHANGE_MAX_NUM_ICEBERG_ORDERS", ICEBERG, ICEBERG, LIMIT),
    ],
)
def test_orders_are_counted_over_all_symbols(
    limit: str, name: str, first: dict[str, str], over: dict[str, str], under: dict[str, str] | None
) -> None:
    r = two({limit: 2})
    made = [r.call(PLACE, **first | {"symbol": symbol}) for symbol in ("ETHBTC", "BTCUSDT")]
    assert r.refusal(PLACE, **over) == failure(name)
    assert r.refusal(PLACE, **over | {"symbol": "ETHBTC"}) == failure(name)
    if under is not None:
        r.call(PLACE, **under)
    r.call("order.cancel", symbol="ETHBTC", orderId=made[0]["orderId"])
    if under is not None:
        r.call(PLACE, **over)
    # Another account has counts of its own.
    assert Replay(r.engine, r.engine.accounts["other"]).call(PLACE, **over)


@pytest.mark.parametrize(
    ("kind", "params", "orders", "algo"),
    [("oco", OCO, 2, 1), ("oto", OTO, 2, 0), ("otoco", OTOCO, 3, 1)],
)
def test_a_list_counts_with_all_its_orders_and_as_one_list(
    kind: str, params: dict[str, str], orders: int, algo: int
) -> None:
    name = f"orderList.place.{kind}"
    for limit, most, words in (
        ("max_num_orders", orders + 1, "EXCHANGE_MAX_NUM_ORDERS"),
        ("max_num_algo_orders", algo + 1, "EXCHANGE_MAX_NUM_ALGO_ORDERS"),
    ):
        r = two({limit: most})
        r.call(name, **params | {"symbol": "ETHBTC"})
        r.call(PLACE, **STOP)
        if limit == "max_num_orders" or algo:
            assert r.refusal(name, **params) == failure(words)
        # All of it is refused, or none.
        r.call("openOrders.cancelAll", symbol="ETHBTC")
        r.call(name, **params)
    r = two({"max_num_order_lists": 2})
    r.call(name, **params | {"symbol": "ETHBTC"})
    second = r.call(name, **params)
    for other, legs in zip(LISTS, (OCO, OTO, OTOCO), strict=True):
        assert r.refusal(other, **legs) == failure("EXCHANGE_MAX_NUM_ORDER_LISTS")
    r.call(PLACE, **STOP)
    r.call("orderList.cancel", orderListId=second["orderListId"])
    r.call(name, **params)


def test_a_list_that_would_go_one_order_over_places_nothing() -> None:
    r = two({"max_num_orders": 2})
    assert r.refusal("orderList.place.otoco", **OTOCO) == failure("EXCHANGE_MAX_NUM_ORDERS")
    assert (r.engine.orders, r.engine.lists, r.balance("USDT")[1]) == ({}, {}, "0")
    r.call("orderList.place.oco", **OCO)


def test_both_icebergs_of_a_list_count_on_its_symbol() -> None:
    r = two(rules=instrument(changes={"MAX_NUM_ICEBERG_ORDERS": {"maxNumIcebergOrders": 1}}))
    both = OTO | {"workingIcebergQty": "0.5", "pendingIcebergQty": "0.5"}
    assert r.refusal("orderList.place.oto", **both) == failure("MAX_NUM_ICEBERG_ORDERS")
    r.call("orderList.place.oto", **both | {"pendingIcebergQty": None})


def test_a_filled_order_makes_room() -> None:
    r = two({"max_num_orders": 1})
    for _ in range(3):
        r.call(PLACE, side="BUY", type="MARKET", quantity="1")
    r.call(PLACE, **LIMIT | {"price": "100"})
    r.call(PLACE, **LIMIT)
    assert r.refusal(PLACE, **LIMIT) == failure("EXCHANGE_MAX_NUM_ORDERS")


def test_what_is_open_already_does_not_hinder_orders_of_another_kind() -> None:
    r = two()
    for order in (STOP, TARGET, ICEBERG):
        r.call(PLACE, **order)
    for kind, name in (("ALGO_ORDERS", "maxNumAlgoOrders"), ("ICEBERG_ORDERS", "maxNumIcebergOrders")):
        r.engine.control("filter", symbol="BTCUSDT", filter=f"EXCHANGE_MAX_NUM_{kind}", **{name: "1"})
    r.call(PLACE, **LIMIT)


# What one order may move


@pytest.mark.parametrize(
    ("limits", "order", "passes"),
    [
        ({"BTC": "2"}, LIMIT | {"quantity": "2"}, True),
        ({"BTC": "2"}, LIMIT | {"quantity": "2.001"}, False),
        ({"BTC": "2"}, {"side": "SELL", "type": "MARKET", "quantity": "2.001"}, False),
        ({"BTC": "2"}, STOP | {"quantity": "2.001"}, False),
        ({"BTC": "2"}, {"side": "BUY", "type": "MARKET", "quoteOrderQty": "200.09"}, True),
        ({"BTC": "2"}, {"side": "BUY", "type": "MARKET", "quoteOrderQty": "200.1"}, False),
        ({"USDT": "180"}, LIMIT | {"quantity": "2"}, True),
        ({"USDT": "180"}, LIMIT | {"quantity": "2", "price": "90.01"}, False),
        ({"USDT": "180"}, LIMIT | {"side": "SELL", "quantity": "2", "price": "101"}, False),
        # Without a price it is the average, as for NOTIONAL.
        ({"USDT": "180"}, {"side": "BUY", "type": "MARKET", "quantity": "1.8"}, True),
        ({"USDT": "180"}, {"side": "BUY", "type": "MARKET", "quantity": "1.801"}, False),
        ({"USDT": "180"}, STOP | {"quantity": "1.801"}, False),
        ({"USDT": "180"}, {"side": "BUY", "type": "MARKET", "quoteOrderQty": "180"}, True),
        ({"USDT": "180"}, {"side": "BUY", "type": "MARKET", "quoteOrderQty": "180.01"}, False),
        # The same asset as base and as quote of symbols.
        ({"BTC": "180"}, LIMIT | {"symbol": "ETHBTC", "quantity": "2"}, True),
        ({"BTC": "180"}, LIMIT | {"symbol": "ETHBTC", "quantity": "2.001"}, False),
        ({"ETH": "1"}, LIMIT | {"quantity": "50"}, True),
    ],
)
def test_an_order_moves_no_more_of_an_asset_than_allowed(
    limits: dict[str, str], order: dict[str, str], passes: bool
) -> None:
    r = two(max_asset=limits)
    for name in ("order.test", PLACE):
        if passes:
            r.call(name, **order)
        else:
            assert r.refusal(name, **order) == failure("MAX_ASSET")
    Replay(r.engine, r.engine.accounts["other"]).call(PLACE, **order)


def test_each_order_of_a_list_moves_no_more_than_allowed() -> None:
    r = two(max_asset={"USDT": "109"})
    assert r.refusal("orderList.place.otoco", **OTOCO) == failure("MAX_ASSET")
    r.call("orderList.place.otoco", **OTOCO | {"pendingAbovePrice": "109"})


# Where they are checked


def test_filters_are_told_in_the_documented_order() -> None:
    """Orders that break all of them; whatever is told is lifted, until nothing is left but the balance."""
    counted = {"MAX_NUM_ORDERS": "maxNumOrders", "MAX_NUM_ALGO_ORDERS": "maxNumAlgoOrders",
               "MAX_NUM_ICEBERG_ORDERS": "maxNumIcebergOrders", "MAX_NUM_ORDER_LISTS": "maxNumOrderLists"}  # fmt: skip
    r = two(rules=instrument(changes={kind: {key: 100} for kind, key in counted.items()}))
    for order in (ICEBERG, STOP):
        r.call(PLACE, **order)
    r.call("orderList.place.oco", **OCO)
    legs = {
        "side": "SELL", "aboveType": "TAKE_PROFIT_LIMIT", "aboveStopPrice": "110", "abovePrice": "110",
        "aboveTimeInForce": "GTC", "belowType": "STOP_LOSS_LIMIT", "belowStopPrice": "90", "belowPrice": "90",
        "belowTimeInForce": "GTC", "aboveIcebergQty": "200000", "belowIcebergQty": "200000", "quantity": "2000000",
    }  # fmt: skip

    def change(kind: str, most: str) -> None:
        named = counted.get(kind.removeprefix("EXCHANGE_"), "")
        values = {named: most} if named else {"asset": "USDT", "limit": most}
        values = values if kind != "LOT_SIZE" else {"maxQty": most}
        r.engine.control("filter", symbol="BTCUSDT", filter=kind, **values)

    kinds = ["LOT_SIZE", *counted, *(f"EXCHANGE_{kind}" for kind in counted), "MAX_ASSET"]
    for kind in kinds:
        change(kind, "1")
    for expected in kinds:
        assert r.refusal("orderList.place.oco", **legs) == failure(expected)
        change(expected, "9000000" if expected == "LOT_SIZE" else "100" if expected in counted else "0")
        if expected == "LOT_SIZE":
            r.engine.control("filter", symbol="BTCUSDT", filter="NOTIONAL", maxNotional="900000000")
    assert r.refusal("orderList.place.oco", **legs)[0] == -2010


def test_the_filters_of_the_symbol_come_before_those_of_the_exchange() -> None:
    r = two({"max_num_orders": 1}, {"USDT": "10"}, instrument(changes={"MAX_NUM_ORDERS": {"maxNumOrders": 1}}))
    r.call(PLACE, **LIMIT | {"quantity": "0.1"})
    assert r.refusal(PLACE, **LIMIT | {"quantity": "0.0001"}) == failure("LOT_SIZE")
    assert r.refusal(PLACE, **LIMIT) == failure("MAX_NUM_ORDERS")
    assert r.refusal(PLACE, **LIMIT | {"symbol": "ETHBTC"}) == failure("EXCHANGE_MAX_NUM_ORDERS")
    r.call("openOrders.cancelAll")
    assert r.refusal(PLACE, **LIMIT) == failure("MAX_ASSET")


def test_an_order_is_tested_against_them_and_not_counted() -> None:
    r = two({"max_num_orders": 1})
    for _ in range(2):
        r.call("order.test", **LIMIT)
    r.call(PLACE, **LIMIT)
    assert r.refusal("order.test", **LIMIT) == failure("EXCHANGE_MAX_NUM_ORDERS")


@pytest.mark.parametrize("mode", ["STOP_ON_FAILURE", "ALLOW_FAILURE"])
def test_cancel_replace_is_refused_where_a_new_order_would_be(mode: str) -> None:
    """The exchange looks at filters before it cancels, as its documentation of cancelReplace says."""
    r = two({"max_num_orders": 1})
    old = r.place("BUY", "LIMIT", quantity="1", price="90")
    new = LIMIT | {"cancelReplaceMode": mode, "cancelOrderId": str(old.id)}
    assert r.refusal("order.cancelReplace", **new) == failure("EXCHANGE_MAX_NUM_ORDERS")
    assert old.status == "NEW"
    r.engine.control("filter", symbol="BTCUSDT", filter="EXCHANGE_MAX_NUM_ORDERS", maxNumOrders="2")
    r.call("order.cancelReplace", **new)
    assert old.status == "CANCELED"


# For any orders

# What each adds: orders, algo orders, icebergs, lists.
NEW = {
    PLACE: ((LIMIT, (1, 0, 0, 0)), (ICEBERG, (1, 0, 1, 0)), (STOP, (1, 1, 0, 0)), (TARGET, (1, 1, 0, 0)),
            (TRAIL, (1, 1, 0, 0)), ({"side": "BUY", "type": "MARKET", "quantity": "1"}, (1, 0, 0, 0))),
    "orderList.place.oco": ((OCO, (2, 1, 0, 1)),),
    "orderList.place.oto": ((OTO, (2, 0, 0, 1)), (OTO | {"workingIcebergQty": "0.5"}, (2, 0, 1, 1))),
    "orderList.place.otoco": ((OTOCO, (3, 1, 0, 1)),),
}  # fmt: skip
PLACED = st.sampled_from([(name, params, adds) for name, kinds in NEW.items() for params, adds in kinds])
ACTIONS = st.tuples(PLACED, st.sampled_from(["BTCUSDT", "ETHBTC"])) | st.integers(0, 20)


def counts(r: Replay) -> tuple[int, ...]:
    """What the exchange's filters count, as its own replies tell it."""
    live = r.call("openOrders.status", symbol=None)
    icebergs = sum(Decimal(one["icebergQty"]) > 0 for one in live)
    lists = r.call("openOrderLists.status", symbol=None)
    return len(live), sum(one["type"] in STOPS for one in live), icebergs, len(lists)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(0, 6)] * 4), st.lists(ACTIONS, min_size=5, max_size=20))
def test_counts_never_exceed_their_limits_and_nothing_else_is_refused(
    limits: tuple[int, int, int, int], actions: list[Any]
) -> None:
    r = two(dict(zip(ALL, limits, strict=True)))
    for action in actions:
        held, live = counts(r), r.engine.open_orders(r.account)
        if isinstance(action, int):
            if live:
                order = live[action % len(live)]
                r.call("order.cancel", symbol=order.symbol, orderId=order.id)
            continue
        (name, params, adds), symbol = action
        broken = [i for i in range(4) if adds[i] and 0 < limits[i] < held[i] + adds[i]]
        if broken:
            assert r.refusal(name, **params | {"symbol": symbol}) == failure(ROWS[broken[0]]["filterType"])
            assert counts(r) == held
        else:
            r.call(name, **params | {"symbol": symbol})
        assert all(not most or now <= most for now, most in zip(counts(r), limits, strict=True))


# What is told of them


def test_by_default_there_are_none() -> None:
    with exchange() as local:
        rest = Rest(local)
        assert rest.ask("/api/v3/exchangeInfo").json()["exchangeFilters"] == []
        told = rest.signed("GET", "/api/v3/myFilters", symbol="BTCUSDT").json()
        assert (told["exchangeFilters"], told["assetFilters"]) == ([], [])
        start = json.loads(local.journal().splitlines()[0])
        assert not {"exchange_filters", "asset_filters"} & start.keys()


def test_they_are_told_over_rest_and_sockets_and_orders_are_refused_for_them() -> None:
    accounts = [RICH["accounts"][0] | {"max_asset": {"USDT": 50_000, "ETH": "1.5"}}]
    scenario = {"accounts": accounts, "exchange_filters": ALL | {"max_num_orders": 1}}
    rows = [ROWS[0] | {"maxNumOrders": 1}, *ROWS[1:]]

    async def ask(what: str, **params: str) -> Any:
        async with Socket(local, "/ws-api/v3") as socket:
            signed = what in ("myFilters", "order.test")
            return await (socket.signed(what, **params) if signed else socket.call(what, params))

    with exchange(("BTCUSDT", "ETHBTC"), scenario=scenario) as local:
        rest = Rest(local)
        info = rest.ask("/api/v3/exchangeInfo", symbol="BTCUSDT").json()
        assert info["exchangeFilters"] == rows
        told = rest.signed("GET", "/api/v3/myFilters", symbol="BTCUSDT").json()
        assert told == {
            "exchangeFilters": rows,
            "symbolFilters": info["symbols"][0]["filters"],
            "assetFilters": [{"filterType": "MAX_ASSET", "asset": "USDT", "limit": "50000.00000000"}],
        }
        other = rest.signed("GET", "/api/v3/myFilters", symbol="ETHBTC").json()
        assert other["assetFilters"] == [{"filterType": "MAX_ASSET", "asset": "ETH", "limit": "1.50000000"}]
        assert asyncio.run(ask("myFilters", symbol="BTCUSDT"))["result"] == told
        assert asyncio.run(ask("exchangeInfo", symbol="BTCUSDT"))["result"]["exchangeFilters"] == rows
        assert rest.signed("GET", "/api/v3/myFilters").json()["code"] == -1102
        assert rest.rest_order(quantity="3").json() == {"code": -1013, "msg": "Filter failure: MAX_ASSET"}
        assert rest.rest_order().ok
        refused = rest.rest_order()
        assert refused.status_code == 400
        assert refused.json() == {"code": -1013, "msg": "Filter failure: EXCHANGE_MAX_NUM_ORDERS"}
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
        over = asyncio.run(ask("order.test", **order))
        assert (over["status"], over["error"]) == (400, refused.json())


# While it runs, and after a restart


def test_they_can_change_while_it_runs_and_come_back_from_the_journal(tmp_path: Path) -> None:
    scenario = {
        "exchange_filters": {"max_num_orders": 2},
        "accounts": [RICH["accounts"][0] | {"max_asset": {"BTC": 5}}],
    }
    path = tmp_path / "journal"
    with exchange(scenario=scenario, journal=path) as local:
        rest = Rest(local)
        start = json.loads(local.journal().splitlines()[0])
        assert start["exchange_filters"] == [{"filterType": "EXCHANGE_MAX_NUM_ORDERS", "maxNumOrders": 2}]
        assert start["asset_filters"] == {
            "1000": [{"filterType": "MAX_ASSET", "asset": "BTC", "limit": "5.00000000"}]}  # fmt: skip
        assert rest.rest_order().ok and rest.rest_order().ok
        assert rest.rest_order().json()["msg"] == "Filter failure: EXCHANGE_MAX_NUM_ORDERS"
        local.fault("filter_change", filter="EXCHANGE_MAX_NUM_ORDERS", values={"maxNumOrders": 3})
        local.fault("filter_change", filter="EXCHANGE_MAX_NUM_ORDER_LISTS", values={"maxNumOrderLists": 7})
        local.fault("filter_change", filter="MAX_ASSET", values={"asset": "USDT", "limit": "2100"})
        local.fault("filter_change", filter="MAX_ASSET", values={"asset": "BTC", "limit": 0})
        assert rest.rest_order(quantity="0.2").json()["msg"] == "Filter failure: MAX_ASSET"
        assert rest.rest_order().ok
        assert rest.rest_order().json()["msg"] == "Filter failure: EXCHANGE_MAX_NUM_ORDERS"

        def told() -> Any:
            return rest.signed("GET", "/api/v3/myFilters", symbol="BTCUSDT").json()

        before, journal = told(), local.journal()
        assert [one["filterType"] for one in before["exchangeFilters"]] == [
            "EXCHANGE_MAX_NUM_ORDERS", "EXCHANGE_MAX_NUM_ORDER_LISTS"]  # fmt: skip
        assert [one["asset"] for one in before["assetFilters"]] == ["USDT"]
        inside(local, lambda server: server.venue.restart())
        assert (told(), local.journal()) == (before, journal)
        assert path.read_text(encoding="utf-8") == journal
        assert rest.rest_order().json()["msg"] == "Filter failure: EXCHANGE_MAX_NUM_ORDERS"


def test_a_changed_filter_keeps_the_types_that_it_has_in_json() -> None:
    with exchange() as local:
        local.fault("filter_change", filter="MAX_NUM_ORDERS", values={"maxNumOrders": 3})
        local.fault("filter_change", filter="NOTIONAL", values={"applyMinToMarket": False, "minNotional": "7"})
        entry = Rest(local).ask("/api/v3/exchangeInfo", symbol="BTCUSDT").json()["symbols"][0]
        found = {one["filterType"]: one for one in entry["filters"]}
        assert found["MAX_NUM_ORDERS"]["maxNumOrders"] == 3
        assert (found["NOTIONAL"]["applyMinToMarket"], found["NOTIONAL"]["minNotional"]) == (False, "7")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("EXCHANGE_MAX_NUM_ORDERS", {}),
        ("EXCHANGE_MAX_NUM_ORDERS", {"maxNumOrders": -1}),
        ("EXCHANGE_MAX_NUM_ORDERS", {"maxNumOrders": "2.5"}),
        ("EXCHANGE_MAX_NUM_ORDERS", {"maxNumAlgoOrders": 3}),
        ("EXCHANGE_MAX_NUM_ORDERS", {"maxNumOrders": 1, "limit": 1}),
        ("MAX_ASSET", {"asset": "BTC"}),
        ("MAX_ASSET", {"asset": "BTC", "limit": "much"}),
        ("MAX_ASSET", {"asset": "BTC", "limit": "-1"}),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(kind: str, values: dict[str, Any]) -> None:
    with exchange() as local:
        with pytest.raises(BadInput, match=kind):
            local.fault("filter_change", filter=kind, values=values)
        assert Rest(local).rest_order().ok


# In a scenario


def test_a_scenario_sets_them(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text("exchange_filters: {max_num_algo_orders: 5}\naccounts: [{max_asset: {USDT: 1000.5}}]\n")
    found = load(file)
    assert found.exchange_filters.rows() == [
        {"filterType": "EXCHANGE_MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5}]  # fmt: skip
    assert found.accounts[0].account(0).max_asset == {"USDT": Decimal("1000.5")}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("exchange_filters: {max_num_orders: -1}", "exchange_filters.max_num_orders"),
        ("exchange_filters: {max_orders: 1}", "exchange_filters.max_orders"),
        ("accounts: [{max_asset: {USDT: 0}}]", "accounts.0.max_asset.USDT"),
    ],
)
def test_a_scenario_with_limits_that_are_none_is_refused(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=where):
        load(file)


def test_the_futures_market_has_none() -> None:
    for part in ({"exchange_filters": {"max_num_orders": 1}}, {"accounts": [{"max_asset": {"USDT": 1}}]}):
        with pytest.raises(BadInput, match="spot"), exchange(market="um", scenario=part):
            pass
    with exchange(market="um") as local, pytest.raises(BadInput, match="spot"):
        local.fault("filter_change", filter="MAX_ASSET", values={"asset": "BTC", "limit": 1})
