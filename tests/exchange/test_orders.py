"""How orders are shown, found and told: replies by type, queries, locks to the last digit, accounts apart."""

from decimal import Decimal
from typing import Any

import pytest
from exchange.replays import MINUTE, START_MS, Bar, Replay, fills, instrument, replay

from pipeline.errors import BadInput
from pipeline.exchange.local.accounts import Account, Balance
from pipeline.exchange.local.operations import OPERATIONS

FLAT: Bar = (100, 100, 100, 100)


def limit(price: str = "90", **more: Any) -> dict[str, Any]:
    return {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": price} | more


# Replies


@pytest.mark.parametrize(
    ("order", "default"),
    [
        (limit(), "FULL"),
        ({"side": "BUY", "type": "MARKET", "quantity": "1"}, "FULL"),
        ({"side": "BUY", "type": "LIMIT_MAKER", "quantity": "1", "price": "90"}, "ACK"),
        ({"side": "SELL", "type": "STOP_LOSS", "quantity": "1", "stopPrice": "90"}, "ACK"),
    ],
)
def test_the_reply_is_as_long_as_asked_for(order: dict[str, Any], default: str) -> None:
    shapes = {}
    for kind in ("ACK", "RESULT", "FULL", None):
        shapes[kind] = set(replay(FLAT, FLAT).call("order.place", **order, newOrderRespType=kind))
    assert shapes["ACK"] == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert shapes["FULL"] - shapes["RESULT"] == {"fills"}
    assert shapes["ACK"] < shapes["RESULT"] and shapes[None] == shapes[default]


def test_the_reply_to_a_filled_order() -> None:
    r = replay(FLAT, FLAT, levels=2, level_share="0.001", level_gap_bps=10, fees=("0.001", "0.001"))
    reply = r.call("order.place", side="BUY", type="MARKET", quantity="1.5", newClientOrderId="me")
    now = START_MS + MINUTE
    assert reply == {
        "symbol": "BTCUSDT", "orderId": 1, "orderListId": -1, "clientOrderId": "me", "transactTime": now,
        "price": "0.00000000", "origQty": "1.50000000", "executedQty": "1.50000000",
        "origQuoteOrderQty": "0.00000000", "cummulativeQuoteQty": "150.05000000", "status": "FILLED",
        "timeInForce": "GTC", "type": "MARKET", "side": "BUY", "workingTime": now, "selfTradePreventionMode": "NONE",
        "fills": [
            {"price": "100.00000000", "qty": "1.00000000", "commission": "0.00100000", "commissionAsset": "BTC",
             "tradeId": 1_000_000_000_000},
            {"price": "100.10000000", "qty": "0.50000000", "commission": "0.00050000", "commissionAsset": "BTC",
             "tradeId": 1_000_000_000_001},
        ],
    }  # fmt: skip


def test_a_stop_works_only_once_it_is_triggered() -> None:
    r = replay(FLAT, FLAT, (100, 100, 95, 99), FLAT)
    order = r.place("SELL", "STOP_LOSS_LIMIT", quantity="1", stopPrice="96", price="98")
    shown = r.call("order.status", orderId=order.id)
    assert (shown["isWorking"], shown["workingTime"], shown["time"]) == (False, -1, START_MS + MINUTE)
    r.engine.step(2)
    shown = r.call("order.status", orderId=order.id)
    # The bar falls: its high comes first, the low at half of the bar, the limit met on the way to the close.
    reached = START_MS + 2 * MINUTE + MINUTE // 2
    assert (shown["isWorking"], shown["workingTime"], shown["time"]) == (True, reached, START_MS + MINUTE)
    assert shown["status"] == "FILLED"
    assert shown["updateTime"] == r.call("myTrades")[0]["time"] == reached + MINUTE // 4


def test_what_was_given_is_shown_again() -> None:
    r = replay(FLAT, FLAT)
    order = r.place("BUY", "LIMIT", quantity="1", price="90", icebergQty="0.5", strategyId="7", strategyType="1000001")
    shown = r.call("order.status", orderId=order.id)
    assert (shown["icebergQty"], shown["strategyId"], shown["strategyType"]) == ("0.50000000", 7, 1_000_001)
    assert (shown["price"], shown["origQty"], shown["stopPrice"]) == ("90.00000000", "1.00000000", "0.00000000")


# Locks


@pytest.mark.parametrize(
    ("order", "locked"),
    [
        (limit("90.01", quantity="0.333"), ("USDT", "29.97333")),
        ({"side": "BUY", "type": "LIMIT_MAKER", "quantity": "0.001", "price": "5000.01"}, None),
        ({"side": "BUY", "type": "STOP_LOSS", "quantity": "0.111", "stopPrice": "101.01"}, ("USDT", "11.21211")),
        (
            {"side": "BUY", "type": "STOP_LOSS_LIMIT", "timeInForce": "GTC", "quantity": "0.111", "stopPrice": "101",
             "price": "102.03"},
            ("USDT", "11.32533"),
        ),
        ({"side": "SELL", "type": "TAKE_PROFIT", "quantity": "0.777", "stopPrice": "101"}, ("BTC", "0.777")),
        ({"side": "BUY", "type": "STOP_LOSS", "quantity": "0.5", "trailingDelta": "100"}, ("USDT", "50")),
    ],
)  # fmt: skip
def test_an_order_locks_what_it_may_cost(order: dict[str, Any], locked: tuple[str, str] | None) -> None:
    r = replay(FLAT, FLAT)
    if locked is None:
        assert r.refusal("order.place", **order)[0] in (-1013, -2010)
        return
    before = Decimal(r.balance(locked[0])[0])
    placed = r.call("order.place", **order)
    assert r.balance(locked[0])[1] == locked[1]
    assert Decimal(r.balance(locked[0])[0]) == before - Decimal(locked[1])
    r.call("order.cancel", orderId=placed["orderId"])
    assert (Decimal(r.balance(locked[0])[0]), r.balance(locked[0])[1]) == (before, "0")


def test_amounts_below_the_last_digit_are_cut() -> None:
    fine = instrument(tick="0.00000001", step="0.00000001")
    r = replay(FLAT, (100, 100, 80, 80), rules=fine)
    r.place("BUY", "LIMIT", quantity="0.12345678", price="90.00000007")
    # 11.1111102086419746 is locked as 11.11111020.
    assert r.balance("USDT") == ("9988.8888898", "11.1111102")
    r.engine.step()
    assert (r.balance("USDT"), r.balance("BTC")) == (("9988.8888898", "0"), ("10.12345678", "0"))
    assert r.call("myTrades")[0]["quoteQty"] == "11.11111020"


def test_the_whole_balance_can_be_locked_and_no_more() -> None:
    r = replay(FLAT, FLAT, balances={"USDT": "99.99"})
    assert r.refusal("order.place", **limit("99.991", quantity="1"))[0] == -1013
    r.place("BUY", "LIMIT", quantity="1", price="99.99")
    assert r.balance("USDT") == ("0", "99.99")
    assert r.refusal("order.place", **limit("30", quantity="0.5")) == (
        -2010, "Account has insufficient balance for requested action.")  # fmt: skip


# Queries


def several() -> Replay:
    """Orders 1 to 4, a minute apart; the second is filled, the third canceled."""
    r = replay(*[FLAT] * 6)
    for number in range(1, 5):
        placed = r.call("order.place", **limit("100" if number == 2 else "90"))
        if number == 3:
            r.call("order.cancel", orderId=placed["orderId"])
        r.engine.step()
    return r


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, [1, 2, 3, 4]),
        ({"limit": 2}, [3, 4]),
        ({"orderId": 2}, [2, 3, 4]),
        ({"orderId": 2, "limit": 2}, [2, 3]),
        ({"startTime": START_MS + 2 * MINUTE}, [2, 3, 4]),
        ({"startTime": START_MS + 2 * MINUTE, "limit": 1}, [2]),
        ({"endTime": START_MS + 2 * MINUTE}, [1, 2]),
        ({"startTime": START_MS + 2 * MINUTE, "endTime": START_MS + 3 * MINUTE}, [2, 3]),
        ({"startTime": START_MS + MINUTE, "endTime": START_MS + MINUTE}, [1]),
    ],
)
def test_all_orders(params: dict[str, int], found: list[int]) -> None:
    assert [one["orderId"] for one in several().call("allOrders", **params)] == found


def test_open_orders_are_those_that_live() -> None:
    r = several()
    assert [one["orderId"] for one in r.call("openOrders.status")] == [1, 4]
    assert r.call("openOrders.status", symbol=None) == r.call("openOrders.status")


def test_my_trades() -> None:
    r = replay(*[FLAT] * 6)
    for _ in range(3):
        r.place("BUY", "MARKET", quantity="1")
        r.engine.step()
    ids = [one["id"] for one in r.call("myTrades")]
    assert ids == [1_000_000_000_000, 1_000_000_000_001, 1_000_000_000_002]
    for params, found in (
        ({"orderId": 2}, ids[1:2]), ({"fromId": ids[1]}, ids[1:]), ({"limit": 1}, ids[2:]),
        ({"fromId": ids[0], "limit": 1}, ids[:1]), ({"startTime": START_MS + 2 * MINUTE}, ids[1:]),
        ({"endTime": START_MS + 2 * MINUTE}, ids[:2]),
    ):  # fmt: skip
        assert [one["id"] for one in r.call("myTrades", **params)] == found, params


def test_an_order_is_found_by_both_of_its_ids_if_they_agree() -> None:
    r = replay(FLAT, FLAT)
    r.call("order.place", **limit(newClientOrderId="a"))
    r.call("order.place", **limit(newClientOrderId="b"))
    assert r.call("order.status", orderId=2, origClientOrderId="b")["orderId"] == 2
    assert r.refusal("order.status", orderId=1, origClientOrderId="b")[0] == -2013
    assert r.refusal("order.cancel", orderId=1, origClientOrderId="b")[0] == -2011


def test_a_cancel_tells_its_own_id_and_the_orders() -> None:
    r = replay(FLAT, FLAT)
    r.call("order.place", **limit(newClientOrderId="a"))
    r.events()
    gone = r.call("order.cancel", origClientOrderId="a", newClientOrderId="z")
    assert (gone["origClientOrderId"], gone["clientOrderId"], gone["status"]) == ("a", "z", "CANCELED")
    [event] = r.events()
    assert (event["c"], event["C"], event["x"], event["X"]) == ("z", "a", "CANCELED", "CANCELED")
    assert r.refusal("order.cancel", origClientOrderId="a") == (-2011, "Unknown order sent.")


@pytest.mark.parametrize(("restriction", "filled", "passes"), [
    ("ONLY_NEW", False, True), ("ONLY_NEW", True, False),
    ("ONLY_PARTIALLY_FILLED", True, True), ("ONLY_PARTIALLY_FILLED", False, False),
])  # fmt: skip
def test_cancel_restrictions(restriction: str, filled: bool, passes: bool) -> None:
    r = replay(FLAT, FLAT, levels=1, level_share="0.0005")
    order = r.place("BUY", "LIMIT", quantity="1", price="100" if filled else "90")
    if passes:
        assert r.call("order.cancel", orderId=order.id, cancelRestrictions=restriction)["status"] == "CANCELED"
        assert r.balance("USDT") == ("9950" if filled else "10000", "0")
    else:
        assert r.refusal("order.cancel", orderId=order.id, cancelRestrictions=restriction) == (
            -2011, "Order was not canceled due to cancel restrictions.")  # fmt: skip
        assert order.is_live


def test_balances_of_an_account() -> None:
    r = replay(FLAT, FLAT, balances={"USDT": "500"}, fees=("0.00075", "0.001"))
    r.call("order.place", **limit())
    shown = r.call("account.status", symbol=None)
    assert shown["balances"] == [
        {"asset": "BTC", "free": "0.00000000", "locked": "0.00000000"},
        {"asset": "USDT", "free": "410.00000000", "locked": "90.00000000"},
    ]
    assert [row["asset"] for row in r.call("account.status", symbol=None, omitZeroBalances="true")["balances"]] == [
        "USDT"
    ]
    assert (shown["commissionRates"]["maker"], shown["makerCommission"]) == ("0.00075000", 7)
    assert r.call("account.commission")["standardCommission"]["taker"] == "0.00100000"


# Accounts, and what happens to the exchange


def test_accounts_do_not_see_each_other() -> None:
    r = replay(FLAT, FLAT)
    other = Account("other", "secret", 2, Decimal(0), Decimal(0), {"USDT": Balance(Decimal(1000))})
    r.engine.accounts["other"] = other
    stranger = Replay(r.engine, other)
    mine = r.call("order.place", **limit(newClientOrderId="same"))
    theirs = stranger.call("order.place", **limit(newClientOrderId="same"))
    assert stranger.refusal("order.status", orderId=mine["orderId"])[0] == -2013
    assert stranger.refusal("order.cancel", orderId=mine["orderId"])[0] == -2011
    assert [one["orderId"] for one in stranger.call("allOrders")] == [theirs["orderId"]]
    assert {key for key, event in r.engine.drain() if event.get("i") == theirs["orderId"]} == {"other"}
    stranger.call("openOrders.cancelAll")
    assert r.engine.orders[mine["orderId"]].is_live


def test_a_deposit_is_told_and_cannot_take_what_is_not_there() -> None:
    r = replay(FLAT, FLAT)
    r.engine.deposit(r.account, "BTC", Decimal("-2.5"))
    assert r.balance("BTC") == ("7.5", "0")
    told = [event for _, event in r.engine.drain()]
    assert [(one["e"], one.get("d")) for one in told] == [
        ("balanceUpdate", "-2.50000000"), ("outboundAccountPosition", None)]  # fmt: skip
    with pytest.raises(BadInput, match=r"the free balance of BTC is 7\.5"):
        r.engine.deposit(r.account, "BTC", Decimal("-7.51"))


def test_a_filter_and_the_state_of_a_symbol_can_change_while_it_runs() -> None:
    r = replay(FLAT, FLAT)
    r.engine.control("filter", symbol="BTCUSDT", filter="LOT_SIZE", minQty="0.5", stepSize="0.5")
    assert r.refusal("order.place", **limit(quantity="0.7")) == (-1013, "Filter failure: LOT_SIZE")
    r.engine.control("status", symbol="BTCUSDT", status="HALT")
    assert r.refusal("order.place", **limit()) == (-2010, "Market is closed.")


@pytest.mark.parametrize(("order", "got"), [({"quantity": "4"}, "1"), ({"quoteOrderQty": "400"}, "1")])
def test_a_cap_lets_takers_have_a_part_only(order: dict[str, str], got: str) -> None:
    r = replay(FLAT, FLAT)
    r.engine.control("cap", symbol="BTCUSDT", share="0.25")
    placed = r.place("BUY", "MARKET", **order)
    assert (fills(placed), placed.status) == ([("100", got)], "EXPIRED")
    r.engine.control("cap", symbol="BTCUSDT", share="")
    assert r.place("BUY", "MARKET", **order).status == "FILLED"


def test_an_order_can_be_filled_by_hand_in_part_and_never_beyond_itself() -> None:
    r = replay(FLAT, FLAT)
    order = r.place("BUY", "LIMIT", quantity="1", price="90")
    r.engine.control("fill", order=str(order.id), share="0.25")
    assert (fills(order), order.status, r.balance("USDT")) == ([("90", "0.25")], "PARTIALLY_FILLED", ("9910", "67.5"))
    for share in ("1.5", "-1"):
        with pytest.raises(BadInput, match="fill"):
            r.engine.control("fill", order=str(order.id), share=share)
    assert r.balance("USDT") == ("9910", "67.5")


def test_every_operation_refuses_what_it_does_not_know() -> None:
    r = replay(FLAT, FLAT)
    for name in OPERATIONS:
        assert r.refusal(name, symbol="NOPE", nonsense="1")[0] in (-1121, -1104, -1102, -1128, -2018), name
