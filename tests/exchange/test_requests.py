"""What the exchange refuses, with which code and words, and in which order.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/errors and /filters
"""

from typing import Any

import pytest
from exchange.replays import Bar, Replay, instrument, replay

from pipeline.exchange.local import market_data
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.instruments import Instrument
from pipeline.exchange.local.requests import Params

FLAT: Bar = (100, 100, 100, 100)
NUMBER = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
POOR = (-2010, "Account has insufficient balance for requested action.")
LIMIT = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "90"}
MARKET = {"side": "BUY", "type": "MARKET", "quantity": "1"}
STOP = {"side": "SELL", "type": "STOP_LOSS", "quantity": "1", "stopPrice": "90"}
STOP_LIMIT = {**STOP, "type": "STOP_LOSS_LIMIT", "timeInForce": "GTC", "price": "89"}


def mandatory(name: str) -> tuple[int, str]:
    return -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."


def either(name: str, other: str) -> tuple[int, str]:
    return -1102, f"Param '{name}' or '{other}' must be sent, but both were empty/null!"


def illegal(name: str, legal: str = NUMBER) -> tuple[int, str]:
    return -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."


def unwanted(name: str) -> tuple[int, str]:
    return -1106, f"Parameter '{name}' sent when not required."


def fine(name: str) -> tuple[int, str]:
    return -1111, f"Parameter '{name}' has too much precision."


def untrue(name: str) -> tuple[int, str]:
    return -1130, f"Data sent for parameter '{name}' is not valid."


def failure(name: str) -> tuple[int, str]:
    return -1013, f"Filter failure: {name}"


def refusal(r: Replay, order: dict[str, Any]) -> tuple[int, str]:
    """Of an order; nothing may have changed by it."""
    before = (r.balance("USDT"), r.balance("BTC"), len(r.engine.orders))
    found = r.refusal("order.place", **order)
    assert (r.balance("USDT"), r.balance("BTC"), len(r.engine.orders)) == before
    return found


@pytest.mark.parametrize("order", [LIMIT, MARKET, STOP, STOP_LIMIT])
def test_the_orders_that_the_table_spoils_are_good(order: dict[str, Any]) -> None:
    assert replay(FLAT, FLAT).call("order.place", **order)["orderId"] == 1


@pytest.mark.parametrize(
    ("order", "changes", "expected"),
    [
        # Mandatory ones
        (LIMIT, {"symbol": None}, mandatory("symbol")),
        (LIMIT, {"symbol": ""}, mandatory("symbol")),
        (LIMIT, {"side": None}, mandatory("side")),
        (LIMIT, {"type": None}, mandatory("type")),
        (LIMIT, {"type": ""}, mandatory("type")),
        (LIMIT, {"timeInForce": None}, mandatory("timeInForce")),
        (LIMIT, {"quantity": None}, mandatory("quantity")),
        (LIMIT, {"price": None}, mandatory("price")),
        (LIMIT, {"price": ""}, mandatory("price")),
        (STOP, {"quantity": None}, mandatory("quantity")),
        (STOP, {"stopPrice": None}, either("stopPrice", "trailingDelta")),
        (STOP_LIMIT, {"price": None}, mandatory("price")),
        (STOP_LIMIT, {"timeInForce": None}, mandatory("timeInForce")),
        (MARKET, {"quantity": None}, either("quantity", "quoteOrderQty")),
        # Empty ones that may be left out
        (STOP, {"stopPrice": ""}, (-1105, "Parameter 'stopPrice' was empty.")),
        (MARKET, {"timeInForce": ""}, (-1105, "Parameter 'timeInForce' was empty.")),
        (MARKET, {"newClientOrderId": ""}, (-1105, "Parameter 'newClientOrderId' was empty.")),
        (STOP, {"trailingDelta": ""}, (-1105, "Parameter 'trailingDelta' was empty.")),
        # Characters
        (LIMIT, {"quantity": "1e-05"}, illegal("quantity")),
        (LIMIT, {"quantity": "-1"}, illegal("quantity")),
        (LIMIT, {"quantity": "1,5"}, illegal("quantity")),
        (LIMIT, {"quantity": ".5"}, illegal("quantity")),
        (LIMIT, {"quantity": "5."}, illegal("quantity")),
        (LIMIT, {"quantity": "nan"}, illegal("quantity")),
        (LIMIT, {"quantity": "１"}, illegal("quantity")),
        (LIMIT, {"quantity": "1\n"}, illegal("quantity")),
        (LIMIT, {"quantity": "1" * 21}, illegal("quantity")),
        (LIMIT, {"price": "0." + "1" * 21}, illegal("price")),
        (STOP, {"stopPrice": "9O"}, illegal("stopPrice")),
        (STOP, {"trailingDelta": "1.5"}, illegal("trailingDelta", "^[0-9]{1,20}$")),
        (LIMIT, {"newClientOrderId": "a" * 37}, illegal("newClientOrderId", "^[a-zA-Z0-9-_]{1,36}$")),
        (LIMIT, {"newClientOrderId": "a:b"}, illegal("newClientOrderId", "^[a-zA-Z0-9-_]{1,36}$")),
        (LIMIT, {"symbol": "btcusdt"}, illegal("symbol", "^[A-Z0-9-_.]{1,20}$")),
        # Precision
        (LIMIT, {"quantity": "0.123456789"}, fine("quantity")),
        (LIMIT, {"price": "90.000000001"}, fine("price")),
        (STOP, {"stopPrice": "90.000000001"}, fine("stopPrice")),
        (MARKET, {"quantity": None, "quoteOrderQty": "100.000000001"}, fine("quoteOrderQty")),
        (LIMIT, {"icebergQty": "0.123456789"}, fine("icebergQty")),
        # Words
        (LIMIT, {"symbol": "ETHUSDT"}, (-1121, "Invalid symbol.")),
        (LIMIT, {"side": "buy"}, (-1117, "Invalid side.")),
        (LIMIT, {"type": "STOP"}, (-1116, "Invalid orderType.")),
        (LIMIT, {"timeInForce": "GTD"}, (-1115, "Invalid timeInForce.")),
        (LIMIT, {"newOrderRespType": "SHORT"}, untrue("newOrderRespType")),
        (LIMIT, {"strategyType": "999999"}, (-1134, "strategyType was less than 1000000.")),
        (STOP, {"trailingDelta": "0"}, untrue("trailingDelta")),
        (STOP, {"trailingDelta": "-5"}, untrue("trailingDelta")),
        # Together
        (MARKET, {"timeInForce": "GTC"}, unwanted("timeInForce")),
        (MARKET, {"price": "100"}, unwanted("price")),
        (MARKET, {"stopPrice": "100"}, unwanted("stopPrice")),
        (LIMIT, {"stopPrice": "80"}, unwanted("stopPrice")),
        (LIMIT, {"trailingDelta": "100"}, unwanted("trailingDelta")),
        (LIMIT, {"quoteOrderQty": "80"}, unwanted("quoteOrderQty")),
        (LIMIT, {"type": "LIMIT_MAKER"}, unwanted("timeInForce")),
        (STOP, {"price": "80"}, unwanted("price")),
        (STOP, {"timeInForce": "GTC"}, unwanted("timeInForce")),
        (MARKET, {"quoteOrderQty": "80"}, (-1128, "Combination of optional parameters invalid.")),
        (LIMIT, {"icebergQty": "0.5", "timeInForce": "IOC"}, (-1013, "Iceberg orders must be GTC.")),
        # Nothing
        (LIMIT, {"quantity": "0"}, (-1013, "Invalid quantity.")),
        (LIMIT, {"price": "0.00"}, (-1013, "Invalid price.")),
        (STOP, {"stopPrice": "0"}, (-1013, "Invalid price.")),
        (MARKET, {"quantity": None, "quoteOrderQty": "0"}, (-1013, "Invalid quantity.")),
        # Unread
        (LIMIT, {"colour": "red"},
         (-1104, "Not all sent parameters were read; read '6' parameter(s) but was sent '7'.")),
        # What the matching engine says
        (LIMIT, {"price": "101", "quantity": "100"}, POOR),
        (MARKET, {"quantity": "100.001"}, POOR),
        (MARKET, {"side": "SELL", "quantity": "10.001"}, POOR),
        (STOP, {"stopPrice": "100"}, (-2010, "Order would trigger immediately.")),
        (LIMIT, {"icebergQty": "2"}, (-2010, "IcebergQty exceeds QTY.")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_order(order: dict[str, Any], changes: dict[str, Any], expected: tuple[int, str]) -> None:
    assert refusal(replay(FLAT, FLAT), order | changes) == expected


# Filters. The average price is 100.

RULES = {
    "PRICE_FILTER": {"minPrice": "10", "maxPrice": "200", "tickSize": "0.01"},
    "LOT_SIZE": {"minQty": "0.01", "maxQty": "50", "stepSize": "0.01"},
    "MARKET_LOT_SIZE": {"minQty": "0", "maxQty": "20", "stepSize": "0"},
    "PERCENT_PRICE_BY_SIDE": {
        "bidMultiplierUp": "1.5", "bidMultiplierDown": "0.5", "askMultiplierUp": "1.4", "askMultiplierDown": "0.6"},
    "NOTIONAL": {"minNotional": "10", "maxNotional": "3000", "applyMinToMarket": True, "applyMaxToMarket": True},
    "ICEBERG_PARTS": {"limit": 10},
    "TRAILING_DELTA": {
        "minTrailingAboveDelta": 20, "maxTrailingAboveDelta": 200, "minTrailingBelowDelta": 30,
        "maxTrailingBelowDelta": 300},
    "MAX_POSITION": {"maxPosition": "45"},
    "MAX_NUM_ORDERS": {"maxNumOrders": 4},
    "MAX_NUM_ALGO_ORDERS": {"maxNumAlgoOrders": 2},
    "MAX_NUM_ORDER_LISTS": {"maxNumOrderLists": 1},
    "MAX_NUM_ICEBERG_ORDERS": {"maxNumIcebergOrders": 1},
}  # fmt: skip


def strict(changes: dict[str, dict[str, Any]] | None = None) -> Instrument:
    return instrument(changes={name: values | (changes or {}).get(name, {}) for name, values in RULES.items()})


def rich(rules: Instrument | None = None) -> Replay:
    return replay(FLAT, FLAT, rules=rules or strict(), balances={"USDT": "100000", "BTC": "30"})


SELL_STOP = {"side": "SELL", "type": "STOP_LOSS", "quantity": "1", "stopPrice": "90"}
TRAIL = {"side": "SELL", "type": "STOP_LOSS", "quantity": "1", "trailingDelta": "100"}


@pytest.mark.parametrize(
    ("order", "changes", "expected"),
    [
        (LIMIT, {"price": "9.99"}, "PRICE_FILTER"),
        (LIMIT, {"price": "200.01"}, "PRICE_FILTER"),
        (LIMIT, {"price": "90.005"}, "PRICE_FILTER"),
        (SELL_STOP, {"stopPrice": "90.001"}, "PRICE_FILTER"),
        (STOP_LIMIT, {"stopPrice": "90.001"}, "PRICE_FILTER"),
        (LIMIT, {"quantity": "0.001"}, "LOT_SIZE"),
        (LIMIT, {"quantity": "50.01"}, "LOT_SIZE"),
        (LIMIT, {"quantity": "1.001"}, "LOT_SIZE"),
        (LIMIT, {"icebergQty": "0.125"}, "LOT_SIZE"),
        (MARKET, {"quantity": "20.01"}, "MARKET_LOT_SIZE"),
        (LIMIT, {"price": "150.01"}, "PERCENT_PRICE_BY_SIDE"),
        (LIMIT, {"price": "49.99"}, "PERCENT_PRICE_BY_SIDE"),
        (LIMIT, {"side": "SELL", "price": "140.01"}, "PERCENT_PRICE_BY_SIDE"),
        (LIMIT, {"side": "SELL", "price": "59.99"}, "PERCENT_PRICE_BY_SIDE"),
        (LIMIT, {"quantity": "0.11"}, "NOTIONAL"),
        (LIMIT, {"quantity": "33.34"}, "NOTIONAL"),
        (MARKET, {"quantity": "0.09"}, "NOTIONAL"),
        (MARKET, {"quantity": None, "quoteOrderQty": "9.99"}, "NOTIONAL"),
        (LIMIT, {"quantity": "10", "icebergQty": "0.99"}, "ICEBERG_PARTS"),
        (TRAIL, {"trailingDelta": "29"}, "TRAILING_DELTA"),
        (TRAIL, {"trailingDelta": "301"}, "TRAILING_DELTA"),
        (TRAIL, {"type": "TAKE_PROFIT", "trailingDelta": "201"}, "TRAILING_DELTA"),
        (TRAIL, {"side": "BUY", "trailingDelta": "201"}, "TRAILING_DELTA"),
        (TRAIL, {"side": "BUY", "type": "TAKE_PROFIT", "trailingDelta": "301"}, "TRAILING_DELTA"),
        (LIMIT, {"quantity": "15.01"}, "MAX_POSITION"),
    ],
)  # fmt: skip
def test_filters(order: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
    assert refusal(rich(), order | changes) == failure(expected)


@pytest.mark.parametrize(
    ("order", "changes"),
    [
        (LIMIT, {"price": "50"}),
        (LIMIT, {"side": "SELL", "price": "140"}),
        (LIMIT, {"quantity": "0.12"}),
        (LIMIT, {"quantity": "10", "icebergQty": "1"}),
        (LIMIT, {"quantity": "15"}),
        (MARKET, {"quantity": "0.1"}),
        (MARKET, {"quantity": None, "quoteOrderQty": "10"}),
        (TRAIL, {"trailingDelta": "30"}),
        (TRAIL, {"trailingDelta": "300"}),
        (TRAIL, {"type": "TAKE_PROFIT", "trailingDelta": "20"}),
        (TRAIL, {"side": "BUY", "trailingDelta": "200"}),
    ],
)
def test_what_lies_on_the_edge_of_a_filter_passes(order: dict[str, Any], changes: dict[str, Any]) -> None:
    assert rich().call("order.place", **order | changes)["orderId"] == 1


def test_filters_are_told_in_the_documented_order() -> None:
    """An order that breaks them all is put right one by one."""
    r = rich()
    for price in ("80", "81"):
        r.call("order.place", **LIMIT | {"price": price})
    r.call("order.place", **LIMIT | {"price": "82", "quantity": "2", "icebergQty": "1"})
    r.call("order.place", **LIMIT | {"price": "83"})
    bad = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001", "price": "9.999",
           "icebergQty": "0.0001"}  # fmt: skip
    found = []
    for change in (
        {}, {"price": "151"}, {"quantity": "0.01"}, {"icebergQty": "0.01"}, {"price": "50"}, {"quantity": "30"},
        {"icebergQty": "3"}, {"quantity": "3"},
    ):  # fmt: skip
        bad |= change
        found.append(refusal(r, bad)[1].removeprefix("Filter failure: "))
    assert found == [
        "PRICE_FILTER", "LOT_SIZE", "LOT_SIZE", "PERCENT_PRICE_BY_SIDE", "NOTIONAL", "ICEBERG_PARTS", "MAX_POSITION",
        "MAX_NUM_ORDERS",
    ]  # fmt: skip
    r.call("openOrders.cancelAll")
    assert r.call("order.place", **bad)["orderId"] == 5


@pytest.mark.parametrize("stop", [SELL_STOP, TRAIL])
def test_no_more_algo_orders_than_allowed(stop: dict[str, Any]) -> None:
    r = rich()
    first = r.call("order.place", **stop)
    r.call("order.place", **SELL_STOP)
    assert refusal(r, stop) == failure("MAX_NUM_ALGO_ORDERS")
    r.call("order.place", **LIMIT)
    r.call("order.cancel", orderId=first["orderId"])
    r.call("order.place", **stop)


def test_the_legs_of_a_list_count_towards_the_limits_on_orders() -> None:
    r = rich()
    r.call("order.place", **SELL_STOP)
    pair = {
        "side": "SELL", "quantity": "1", "aboveType": "TAKE_PROFIT", "aboveStopPrice": "110", "belowType": "STOP_LOSS",
        "belowStopPrice": "90",
    }  # fmt: skip
    assert r.refusal("orderList.place.oco", **pair) == failure("MAX_NUM_ALGO_ORDERS")
    pair |= {"aboveType": "LIMIT_MAKER", "abovePrice": "110", "aboveStopPrice": None}
    for _ in range(2):
        r.call("order.place", **LIMIT)
    assert r.refusal("orderList.place.oco", **pair) == failure("MAX_NUM_ORDERS")
    r.call("openOrders.cancelAll")
    r.call("orderList.place.oco", **pair)
    assert r.refusal("orderList.place.oco", **pair) == failure("MAX_NUM_ORDER_LISTS")


def test_no_more_icebergs_than_allowed() -> None:
    r = rich()
    r.call("order.place", **LIMIT | {"icebergQty": "0.5"})
    assert refusal(r, LIMIT | {"icebergQty": "0.5"}) == failure("MAX_NUM_ICEBERG_ORDERS")


def test_parts_of_a_filter_that_are_zero_are_off() -> None:
    off = {"PRICE_FILTER": {"minPrice": "0", "maxPrice": "0", "tickSize": "0"}, "MARKET_LOT_SIZE": {"maxQty": "0"}}
    r = rich(strict(off))
    r.call("order.place", **LIMIT | {"price": "90.00000001"})
    r.call("order.place", **MARKET | {"quantity": "14"})


def test_the_older_names_of_filters_are_told_where_a_symbol_has_them() -> None:
    entry = strict().entry
    filters = [one for one in entry["filters"] if one["filterType"] not in ("PERCENT_PRICE_BY_SIDE", "NOTIONAL")]
    filters += [
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.5", "multiplierDown": "0.5", "avgPriceMins": 5},
        {"filterType": "MIN_NOTIONAL", "minNotional": "10", "applyToMarket": True, "avgPriceMins": 5},
    ]
    r = rich(Instrument("BTCUSDT", "BTC", "USDT", entry | {"filters": filters}))
    assert refusal(r, LIMIT | {"price": "151"}) == failure("PERCENT_PRICE")
    assert refusal(r, LIMIT | {"quantity": "0.11"}) == failure("MIN_NOTIONAL")


@pytest.mark.parametrize(
    ("flag", "order", "words"),
    [
        ({"status": "BREAK"}, LIMIT, "Market is closed."),
        ({"status": "CANCEL_ONLY"}, LIMIT, "Market is closed."),
        ({"allowTrailingStop": False}, TRAIL, "Trailing stop orders are not supported for this symbol."),
        ({"icebergAllowed": False}, LIMIT | {"icebergQty": "0.5"}, "Iceberg orders are not supported for this symbol."),
        (
            {"quoteOrderQtyMarketAllowed": False},
            {"side": "BUY", "type": "MARKET", "quoteOrderQty": "50"},
            "Quote order qty market orders are not support for this symbol.",
        ),
    ],
)
def test_what_a_symbol_does_not_allow(flag: dict[str, Any], order: dict[str, Any], words: str) -> None:
    r = rich(Instrument("BTCUSDT", "BTC", "USDT", strict().entry | flag))
    assert refusal(r, order) == (-2010, words)


def test_an_order_type_that_the_symbol_lacks() -> None:
    r = rich(Instrument("BTCUSDT", "BTC", "USDT", strict().entry | {"orderTypes": ["LIMIT", "MARKET"]}))
    assert refusal(r, STOP) == (-1116, "Invalid orderType.")


def test_orders_can_be_canceled_in_a_market_that_only_cancels_but_not_in_one_that_is_closed() -> None:
    r = rich()
    first, second = (r.call("order.place", **LIMIT)["orderId"] for _ in range(2))
    r.engine.pits["BTCUSDT"].instrument.entry["status"] = "CANCEL_ONLY"
    assert r.call("order.cancel", orderId=first)["status"] == "CANCELED"
    r.engine.pits["BTCUSDT"].instrument.entry["status"] = "BREAK"
    assert r.refusal("order.cancel", orderId=second) == (-2011, "Market is closed.")


def test_a_bad_order_of_a_list_is_named_by_its_own_parameters() -> None:
    r = rich()
    pair = {
        "side": "SELL", "quantity": "1", "aboveType": "LIMIT_MAKER", "abovePrice": "110",
        "belowType": "STOP_LOSS_LIMIT", "belowStopPrice": "90", "belowPrice": "89", "belowTimeInForce": "GTC",
    }  # fmt: skip
    for change, expected in (
        ({"abovePrice": None}, mandatory("abovePrice")),
        ({"belowStopPrice": None}, either("belowStopPrice", "belowTrailingDelta")),
        ({"belowPrice": "x"}, illegal("belowPrice")),
        ({"belowTimeInForce": None}, mandatory("belowTimeInForce")),
        ({"aboveTimeInForce": "GTC"}, unwanted("aboveTimeInForce")),
        ({"aboveType": "LIMIT", "aboveTimeInForce": "GTC"}, (-1116, "Invalid orderType.")),
        ({"quantity": "1.001"}, failure("LOT_SIZE")),
        ({"price": "3"}, (-1104, "Not all sent parameters were read; read '9' parameter(s) but was sent '10'.")),
    ):
        assert r.refusal("orderList.place.oco", **pair | change) == expected
    assert (r.engine.orders, r.balance("BTC")) == ({}, ("30", "0"))
    r.call("orderList.place.oco", **pair)


# Client order ids


def test_a_client_order_id_is_unique_among_live_orders_only() -> None:
    r = replay(FLAT, FLAT)
    mine = LIMIT | {"newClientOrderId": "mine"}
    first = r.call("order.place", **mine)
    assert refusal(r, mine) == (-2010, "Duplicate order sent.")
    r.call("order.cancel", origClientOrderId="mine")
    second = r.call("order.place", **mine)
    # A query by an id that was used twice finds the latest.
    assert (first["orderId"], r.call("order.status", origClientOrderId="mine")["orderId"]) == (1, second["orderId"])


def test_the_order_that_was_filled_at_once_leaves_its_id_free() -> None:
    r = replay(FLAT, FLAT)
    for _ in range(2):
        r.call("order.place", **MARKET | {"newClientOrderId": "mine"})
    assert r.balance("BTC") == ("12", "0")


def test_the_ids_of_a_list_are_unique_too() -> None:
    r = replay(FLAT, FLAT)
    r.call("order.place", **LIMIT | {"newClientOrderId": "mine"})
    pair = {
        "side": "SELL", "quantity": "1", "aboveType": "LIMIT_MAKER", "abovePrice": "110", "belowType": "STOP_LOSS",
        "belowStopPrice": "90", "listClientOrderId": "pair",
    }  # fmt: skip
    for ids in ({"aboveClientOrderId": "mine"}, {"aboveClientOrderId": "a", "belowClientOrderId": "a"}):
        assert r.refusal("orderList.place.oco", **pair | ids) == (-2010, "Duplicate order sent.")
    r.call("orderList.place.oco", **pair)
    assert r.refusal("orderList.place.oco", **pair) == (-2010, "Duplicate order sent.")
    r.call("orderList.cancel", listClientOrderId="pair")
    r.call("orderList.place.oco", **pair)


# Queries


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("order.status", {}, either("origClientOrderId", "orderId")),
        ("order.status", {"orderId": "7"}, (-2013, "Order does not exist.")),
        ("order.status", {"orderId": "x"}, illegal("orderId", "^[0-9]{1,20}$")),
        ("order.status", {"origClientOrderId": "no"}, (-2013, "Order does not exist.")),
        ("order.cancel", {}, either("origClientOrderId", "orderId")),
        ("order.cancel", {"orderId": "7"}, (-2011, "Unknown order sent.")),
        ("order.cancel", {"origClientOrderId": "no"}, (-2011, "Unknown order sent.")),
        ("openOrders.cancelAll", {}, (-2011, "Unknown order sent.")),
        ("openOrders.status", {"symbol": "ETHUSDT"}, (-1121, "Invalid symbol.")),
        ("allOrders", {"limit": "0"}, untrue("limit")),
        ("allOrders", {"limit": "1001"}, untrue("limit")),
        ("allOrders", {"startTime": "0", "endTime": "86400001"},
         (-1127, "More than 24 hours between startTime and endTime.")),
        ("myTrades", {"startTime": "0", "endTime": "86400001"},
         (-1127, "More than 24 hours between startTime and endTime.")),
        ("myTrades", {"fromId": "0", "startTime": "0"}, (-1128, "Combination of optional parameters invalid.")),
        ("myTrades", {"orderId": "1", "endTime": "9"}, (-1128, "Combination of optional parameters invalid.")),
        ("orderList.status", {"symbol": None},
         (-1128, "Combination of optional parameters invalid. Recommendation: 'orderListId' should also be sent.")),
        ("orderList.status", {"symbol": None, "orderListId": "3"}, (-2018, "Order list does not exist.")),
        ("orderList.cancel", {"orderListId": "3"}, (-2011, "Unknown order sent.")),
        ("account.status", {"symbol": None, "omitZeroBalances": "1"}, illegal("omitZeroBalances", "true|false")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_query(name: str, params: dict[str, Any], expected: tuple[int, str]) -> None:
    assert replay(FLAT, FLAT).refusal(name, **params) == expected


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("klines", {"symbol": "BTCUSDT"}, mandatory("interval")),
        ("klines", {"symbol": "BTCUSDT", "interval": "2m"}, (-1120, "Invalid interval.")),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, untrue("limit")),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "now"}, illegal("startTime", "^[0-9]{1,20}$")),
        ("klines", {"symbol": "ETHUSDT", "interval": "1m"}, (-1121, "Invalid symbol.")),
        ("klines", {"interval": "1m"}, mandatory("symbol")),
        ("ticker.price", {"symbols": '["ETHUSDT"]'}, (-1121, "Invalid symbol.")),
        ("ticker.price", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'},
         (-1128, "Combination of optional parameters invalid.")),
        ("ticker.24hr", {"symbol": "BTCUSDT", "type": "HALF"}, untrue("type")),
        ("referencePrice", {"symbol": "BTCUSDT"}, (-2043, "This symbol doesn't have a reference price.")),
        ("depth", {"symbol": "BTCUSDT", "levels": "5"},
         (-1104, "Not all sent parameters were read; read '1' parameter(s) but was sent '2'.")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_question_about_the_market(
    name: str, params: dict[str, str], expected: tuple[int, str]
) -> None:
    engine = replay(FLAT, FLAT).engine
    with pytest.raises(ApiError) as error:
        market_data.PUBLIC[name][0](engine, Params(params))
    assert (error.value.code, error.value.message) == expected


def test_an_order_that_is_only_tested_changes_nothing_and_needs_no_balance() -> None:
    r = replay(FLAT, FLAT)
    assert r.call("order.test", **LIMIT | {"quantity": "1000"}) == {}
    assert r.refusal("order.test", **LIMIT | {"quantity": "0.0001"}) == failure("LOT_SIZE")
    rates = r.call("order.test", **LIMIT, computeCommissionRates="true")
    assert rates["standardCommissionForOrder"] == {"maker": "0.00000000", "taker": "0.00000000"}
    assert (r.engine.orders, len(r.engine.journal.lines)) == ({}, 1)
