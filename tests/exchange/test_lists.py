"""Order lists and cancelReplace: which order ends which, what is locked, and what clients are told."""

from typing import Any

import pytest
from exchange.replays import Bar, Replay, fills, replay

from pipeline.exchange.local.errors import ApiError

FLAT: Bar = (100, 100, 100, 100)


def oco(r: Replay, above: str = "104", below: str = "96", **more: Any) -> dict[str, Any]:
    """Sell 1: a target above, a stop below."""
    return r.call(
        "orderList.place.oco",
        **{
            "side": "SELL", "quantity": "1", "aboveType": "LIMIT_MAKER", "abovePrice": above,
            "belowType": "STOP_LOSS", "belowStopPrice": below, **more,
        },
    )  # fmt: skip


def buy_oco(r: Replay) -> dict[str, Any]:
    """Buy 1: a limit below, a stop above."""
    return r.call(
        "orderList.place.oco", side="BUY", quantity="1", belowType="LIMIT_MAKER", belowPrice="96",
        aboveType="STOP_LOSS_LIMIT", aboveStopPrice="104", abovePrice="105", aboveTimeInForce="GTC",
    )  # fmt: skip


def oto(r: Replay, price: str = "99", **pending: Any) -> dict[str, Any]:
    """Buy 1 at a limit, and then a pending order."""
    return r.call(
        "orderList.place.oto",
        **{
            "workingType": "LIMIT", "workingSide": "BUY", "workingPrice": price, "workingQuantity": "1",
            "workingTimeInForce": "GTC", "pendingType": "LIMIT", "pendingSide": "SELL", "pendingQuantity": "1",
            "pendingPrice": "103", "pendingTimeInForce": "GTC", **pending,
        },
    )  # fmt: skip


def otoco(r: Replay, price: str = "99", **more: Any) -> dict[str, Any]:
    """Buy 1 at a limit, then sell it at a target or a stop."""
    return r.call(
        "orderList.place.otoco",
        **{
            "workingType": "LIMIT", "workingSide": "BUY", "workingPrice": price, "workingQuantity": "1",
            "workingTimeInForce": "GTC", "pendingSide": "SELL", "pendingQuantity": "1",
            "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "104",
            "pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": "96", **more,
        },
    )  # fmt: skip


def legs(r: Replay, reply: dict[str, Any]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Type, status and fills of each order of a list, in its order."""
    orders = [r.engine.orders[one["orderId"]] for one in reply["orders"]]
    return [(order.kind, order.status, fills(order)) for order in orders]


# OCO


def test_oco_locks_once_what_either_leg_needs() -> None:
    r = replay(FLAT, FLAT)
    reply = oco(r)
    assert (reply["contingencyType"], reply["listStatusType"], reply["listOrderStatus"]) == (
        "OCO", "EXEC_STARTED", "EXECUTING")  # fmt: skip
    assert [one["type"] for one in reply["orderReports"]] == ["LIMIT_MAKER", "STOP_LOSS"]
    assert r.balance("BTC") == ("9", "1")
    buy_oco(r)
    assert r.balance("USDT") == ("9895", "105")


def test_a_filled_target_expires_the_stop() -> None:
    r = replay(FLAT, (100, 105, 99, 104))
    reply = oco(r)
    r.engine.step()
    assert legs(r, reply) == [("LIMIT_MAKER", "FILLED", [("104", "1")]), ("STOP_LOSS", "EXPIRED", [])]
    assert (r.balance("BTC"), r.balance("USDT")) == (("9", "0"), ("10104", "0"))
    shown = r.call("orderList.status", symbol=None, orderListId=reply["orderListId"])
    assert (shown["listStatusType"], shown["listOrderStatus"]) == ("ALL_DONE", "ALL_DONE")
    stop = r.call("order.status", orderId=reply["orders"][1]["orderId"])
    assert (stop["status"], stop["expiryReason"]) == ("EXPIRED", "OCO_TRIGGER")


def test_a_triggered_stop_expires_the_target() -> None:
    r = replay(FLAT, (100, 101, 95, 96))
    reply = oco(r)
    r.engine.step()
    assert legs(r, reply) == [("LIMIT_MAKER", "EXPIRED", []), ("STOP_LOSS", "FILLED", [("96", "1")])]
    assert (r.balance("BTC"), r.balance("USDT")) == (("9", "0"), ("10096", "0"))


def test_a_partly_filled_target_expires_the_stop_and_goes_on() -> None:
    r = replay(FLAT, (100, 105, 99, 104), (104, 105, 103, 104), volume=6, participation="0.1")
    reply = oco(r)
    r.engine.step()
    assert legs(r, reply) == [("LIMIT_MAKER", "PARTIALLY_FILLED", [("104", "0.6")]), ("STOP_LOSS", "EXPIRED", [])]
    assert r.balance("BTC") == ("9", "0.4")
    r.engine.step()
    assert legs(r, reply)[0] == ("LIMIT_MAKER", "FILLED", [("104", "0.6"), ("104", "0.4")])
    assert r.balance("BTC") == ("9", "0")


def test_what_the_dearer_leg_had_locked_is_free_once_the_cheaper_one_has_begun() -> None:
    r = replay(FLAT, (100, 100, 95, 96), volume=6, participation="0.1")
    reply = buy_oco(r)
    assert r.balance("USDT") == ("9895", "105")
    r.engine.step()
    assert legs(r, reply)[1] == ("LIMIT_MAKER", "PARTIALLY_FILLED", [("96", "0.6")])
    # 0.6 · 96 = 57.6 are paid, 0.4 · 96 = 38.4 still locked.
    assert r.balance("USDT") == ("9904", "38.4")


def test_a_triggered_stop_limit_of_a_buy_keeps_only_its_own_lock() -> None:
    r = replay(FLAT, FLAT, (106, 107, 106, 106))
    reply = buy_oco(r)
    r.engine.step()
    assert legs(r, reply) == [("STOP_LOSS_LIMIT", "NEW", []), ("LIMIT_MAKER", "EXPIRED", [])]
    assert r.balance("USDT") == ("9895", "105")
    r.call("order.cancel", orderId=reply["orders"][0]["orderId"])
    assert r.balance("USDT") == ("10000", "0")


@pytest.mark.parametrize(
    ("path", "filled"), [("high_first", "LIMIT_MAKER"), ("low_first", "STOP_LOSS"), ("adverse", "STOP_LOSS")]
)
def test_where_both_legs_lie_in_a_bar_the_path_decides_and_the_bar_is_counted(path: str, filled: str) -> None:
    r = replay(FLAT, FLAT, (100, 105, 95, 100), FLAT, path=path)
    reply = oco(r)
    r.engine.step(2)
    assert [kind for kind, status, _ in legs(r, reply) if status == "FILLED"] == [filled]
    assert r.engine.ambiguous_bars == 1
    [entry] = [line for line in r.engine.journal.lines if b'"ambiguous_bar"' in line]
    assert f'"lists":[{reply["orderListId"]}]' in entry.decode()


def test_a_bar_that_reaches_one_leg_only_is_not_ambiguous() -> None:
    r = replay(FLAT, FLAT, (100, 105, 97, 100), FLAT)
    oco(r)
    r.engine.step(2)
    assert r.engine.ambiguous_bars == 0


def test_a_pair_that_begins_inside_a_bar_that_holds_both_legs_is_counted() -> None:
    # Low first: bought at 99, stopped at 96, all in one bar; the target was in it too.
    r = replay(FLAT, FLAT, (100, 105, 95, 101), FLAT)
    reply = otoco(r)
    r.engine.step(2)
    assert [status for _, status, _ in legs(r, reply)] == ["FILLED", "EXPIRED", "FILLED"]
    assert r.engine.ambiguous_bars == 1


@pytest.mark.parametrize(
    ("above", "below", "words"),
    [
        ("100", "96", "The relationship of the prices for the orders is not correct."),
        ("104", "100", "The relationship of the prices for the orders is not correct."),
        ("96", "104", "The relationship of the prices for the orders is not correct."),
    ],
)
def test_the_legs_of_a_sale_lie_around_the_last_price(above: str, below: str, words: str) -> None:
    r = replay(FLAT, FLAT)
    with pytest.raises(ApiError) as refusal:
        oco(r, above, below)
    assert (refusal.value.code, refusal.value.message) == (-2010, words)
    assert r.balance("BTC") == ("10", "0")
    assert r.engine.open_orders(r.account) == []


def test_two_limits_are_no_oco() -> None:
    r = replay(FLAT, FLAT)
    with pytest.raises(ApiError) as refusal:
        oco(r, belowType="LIMIT_MAKER", belowPrice="96", belowStopPrice=None)
    assert refusal.value.code == -2010


def test_two_stops_make_an_oco() -> None:
    r = replay(FLAT, (100, 105, 99, 104))
    reply = oco(r, aboveType="TAKE_PROFIT", abovePrice=None, aboveStopPrice="104")
    r.engine.step()
    assert legs(r, reply) == [("TAKE_PROFIT", "FILLED", [("104", "1")]), ("STOP_LOSS", "EXPIRED", [])]


def test_a_trailing_leg_follows_beside_a_target() -> None:
    r = replay(FLAT, (100, 103, 100, 103), (103, 103, 100, 100))
    reply = oco(r, belowStopPrice=None, belowTrailingDelta="200")
    r.engine.step(2)
    # 2 % below 103
    assert legs(r, reply) == [("LIMIT_MAKER", "EXPIRED", []), ("STOP_LOSS", "FILLED", [("100.94", "1")])]


# Cancels


def test_canceling_a_leg_cancels_the_list() -> None:
    r = replay(FLAT, FLAT)
    reply = oco(r)
    r.events()
    gone = r.call("order.cancel", orderId=reply["orders"][0]["orderId"], newClientOrderId="bye")
    assert (gone["status"], gone["clientOrderId"]) == ("CANCELED", "bye")
    assert [status for _, status, _ in legs(r, reply)] == ["CANCELED", "CANCELED"]
    assert r.balance("BTC") == ("10", "0")
    assert r.call("openOrderLists.status", symbol=None) == []


def test_canceling_a_list_reports_each_order() -> None:
    r = replay(FLAT, FLAT)
    reply = oco(r, listClientOrderId="pair")
    gone = r.call("orderList.cancel", listClientOrderId="pair")
    assert (gone["listStatusType"], gone["listOrderStatus"]) == ("ALL_DONE", "ALL_DONE")
    assert [one["status"] for one in gone["orderReports"]] == ["CANCELED", "CANCELED"]
    assert r.refusal("orderList.cancel", orderListId=reply["orderListId"]) == (-2011, "Unknown order sent.")


def test_cancel_all_takes_lists_and_orders() -> None:
    r = replay(FLAT, FLAT)
    r.place("BUY", "LIMIT", quantity="1", price="90")
    oco(r)
    r.place("SELL", "LIMIT", quantity="1", price="110")
    replies = r.call("openOrders.cancelAll")
    assert [one.get("contingencyType", one.get("status")) for one in replies] == ["CANCELED", "OCO", "CANCELED"]
    assert (r.balance("BTC"), r.balance("USDT")) == (("10", "0"), ("10000", "0"))
    assert r.refusal("openOrders.cancelAll") == (-2011, "Unknown order sent.")


def test_a_cancel_restriction_holds_for_lists_too() -> None:
    r = replay(FLAT, FLAT)
    order = oco(r)["orders"][0]["orderId"]
    assert r.refusal("order.cancel", orderId=order, cancelRestrictions="ONLY_PARTIALLY_FILLED") == (
        -2011, "Order was not canceled due to cancel restrictions.")  # fmt: skip
    assert r.refusal("order.cancel", orderId=order, cancelRestrictions="NEVER")[0] == -1145


# OTO and OTOCO


def test_pending_order_waits_unlocked_until_the_working_one_is_filled() -> None:
    r = replay(FLAT, (100, 100, 98, 99), (99, 104, 99, 103))
    reply = oto(r)
    assert (reply["contingencyType"], [one["status"] for one in reply["orderReports"]]) == (
        "OTO",
        ["NEW", "PENDING_NEW"],
    )
    assert (r.balance("USDT"), r.balance("BTC")) == (("9901", "99"), ("10", "0"))
    assert [one["status"] for one in r.call("openOrders.status")] == ["NEW", "PENDING_NEW"]
    r.engine.step()
    assert legs(r, reply) == [("LIMIT", "FILLED", [("99", "1")]), ("LIMIT", "NEW", [])]
    assert (r.balance("USDT"), r.balance("BTC")) == (("9901", "0"), ("10", "1"))
    r.engine.step()
    assert legs(r, reply)[1] == ("LIMIT", "FILLED", [("103", "1")])
    assert r.call("allOrderLists", symbol=None)[0]["listOrderStatus"] == "ALL_DONE"


def test_a_partly_filled_working_order_does_not_wake_the_pending_one() -> None:
    r = replay(FLAT, *[(100, 100, 98, 100)] * 2, volume=6, participation="0.1")
    reply = oto(r)
    r.engine.step()
    assert [status for _, status, _ in legs(r, reply)] == ["PARTIALLY_FILLED", "PENDING_NEW"]
    r.engine.step()
    assert [status for _, status, _ in legs(r, reply)] == ["FILLED", "NEW"]


def test_a_working_order_that_fills_better_than_its_limit_frees_the_difference() -> None:
    r = replay(FLAT, FLAT, levels=1, level_share="0.0006")
    oto(r, price="101")
    # 0.6 at 100, and 0.4 · 101 = 40.4 locked for the rest.
    assert r.balance("USDT") == ("9899.6", "40.4")


def test_a_pending_market_order_follows_at_once() -> None:
    r = replay(FLAT, (100, 100, 98, 99))
    reply = oto(r, pendingType="MARKET", pendingPrice=None, pendingTimeInForce=None)
    r.engine.step()
    assert legs(r, reply) == [("LIMIT", "FILLED", [("99", "1")]), ("MARKET", "FILLED", [("99", "1")])]
    assert (r.balance("USDT"), r.balance("BTC")) == (("10000", "0"), ("10", "0"))


def test_a_pending_market_order_after_a_gap_gets_the_price_at_which_the_gap_ends() -> None:
    r = replay(FLAT, FLAT, (90, 91, 89, 90))
    reply = oto(r, pendingType="MARKET", pendingPrice=None, pendingTimeInForce=None)
    r.engine.step()
    assert legs(r, reply) == [("LIMIT", "FILLED", [("99", "1")]), ("MARKET", "FILLED", [("90", "1")])]


def test_a_pending_order_that_cannot_be_paid_for_expires() -> None:
    r = replay(FLAT, (100, 100, 98, 99), balances={"USDT": "1000"}, fees=("0.001", "0.001"))
    reply = oto(r)
    r.engine.step()
    # The fee is taken off what was bought: 0.999 are there, 1 is wanted.
    assert [status for _, status, _ in legs(r, reply)] == ["FILLED", "EXPIRED"]
    assert (r.balance("BTC"), r.balance("USDT")) == (("0.999", "0"), ("901", "0"))


def test_otoco_sells_at_its_target() -> None:
    r = replay(FLAT, (100, 100, 98, 99), (99, 105, 99, 104))
    reply = otoco(r)
    assert [one["status"] for one in reply["orderReports"]] == ["NEW", "PENDING_NEW", "PENDING_NEW"]
    r.engine.step()
    assert [status for _, status, _ in legs(r, reply)] == ["FILLED", "NEW", "NEW"]
    assert r.balance("BTC") == ("10", "1")
    r.engine.step()
    assert [(status, filled) for _, status, filled in legs(r, reply)] == [
        ("FILLED", [("99", "1")]), ("FILLED", [("104", "1")]), ("EXPIRED", [])]  # fmt: skip
    assert (r.balance("BTC"), r.balance("USDT")) == (("10", "0"), ("10005", "0"))


def test_otoco_that_fills_at_once_replies_with_pending_legs_that_are_live() -> None:
    r = replay(FLAT, (100, 100, 95, 96))
    reply = otoco(r, price="100")
    assert [one["status"] for one in r.call("openOrders.status")] == ["NEW", "NEW"]
    r.engine.step()
    assert legs(r, reply)[1:] == [("LIMIT_MAKER", "EXPIRED", []), ("STOP_LOSS", "FILLED", [("96", "1")])]


def test_an_ioc_working_order_that_expires_ends_the_pending_ones() -> None:
    r = replay(FLAT, FLAT)
    reply = otoco(r, workingTimeInForce="IOC")
    assert [status for _, status, _ in legs(r, reply)] == ["EXPIRED", "EXPIRED", "EXPIRED"]
    assert r.balance("USDT") == ("10000", "0")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_canceling_any_order_of_an_otoco_cancels_it_whole(number: int) -> None:
    r = replay(FLAT, FLAT)
    reply = otoco(r)
    r.call("order.cancel", orderId=reply["orders"][number]["orderId"])
    assert [status for _, status, _ in legs(r, reply)] == ["CANCELED"] * 3
    assert (r.balance("USDT"), r.engine.open_orders(r.account)) == (("10000", "0"), [])


def test_a_stop_passed_while_it_was_pending_is_triggered_when_it_wakes() -> None:
    # The working sale at 104 is filled in a gap to 110; the pending buy stop at 107 lies behind.
    r = replay(FLAT, FLAT, (110, 110, 109, 110))
    reply = r.call(
        "orderList.place.oto", workingType="LIMIT", workingSide="SELL", workingPrice="104", workingQuantity="1",
        workingTimeInForce="GTC", pendingType="STOP_LOSS", pendingSide="BUY", pendingQuantity="1",
        pendingStopPrice="107",
    )  # fmt: skip
    r.engine.step()
    assert legs(r, reply) == [("LIMIT", "FILLED", [("104", "1")]), ("STOP_LOSS", "FILLED", [("110", "1")])]


def test_list_events_come_in_order() -> None:
    r = replay(FLAT, (100, 105, 99, 104))
    oco(r)
    r.engine.step()
    told = [
        (event["e"], event.get("x") or event.get("l"), event.get("X") or event.get("L"))
        for _, event in r.engine.drain()
        if event["e"] != "outboundAccountPosition"
    ]
    assert told == [
        ("listStatus", "EXEC_STARTED", "EXECUTING"),
        ("executionReport", "NEW", "NEW"),
        ("executionReport", "NEW", "NEW"),
        ("executionReport", "TRADE", "FILLED"),
        ("executionReport", "EXPIRED", "EXPIRED"),
        ("listStatus", "ALL_DONE", "ALL_DONE"),
    ]


# cancelReplace


def replaced(r: Replay, cancel: int, mode: str = "STOP_ON_FAILURE", **order: Any) -> tuple[int, int, dict[str, Any]]:
    """HTTP status, code and the data of a cancelReplace by a buy of 1 at 95."""
    params = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "95"} | order
    try:
        return 200, 0, r.call("order.cancelReplace", cancelReplaceMode=mode, cancelOrderId=cancel, **params)
    except ApiError as error:
        assert error.data is not None
        return error.status, error.code, error.data


def outcomes(data: dict[str, Any]) -> tuple[str, str]:
    return data["cancelResult"], data["newOrderResult"]


def test_cancel_replace_that_succeeds() -> None:
    r = replay(FLAT, FLAT)
    old = r.place("BUY", "LIMIT", quantity="1", price="90")
    status, _, data = replaced(r, old.id)
    assert (status, outcomes(data)) == (200, ("SUCCESS", "SUCCESS"))
    assert (data["cancelResponse"]["status"], data["newOrderResponse"]["status"]) == ("CANCELED", "NEW")
    assert r.balance("USDT") == ("9905", "95")


def test_cancel_replace_stops_when_the_cancel_fails() -> None:
    r = replay(FLAT, FLAT)
    status, code, data = replaced(r, 99)
    assert (status, code, outcomes(data)) == (400, -2022, ("FAILURE", "NOT_ATTEMPTED"))
    assert (data["cancelResponse"]["code"], data["newOrderResponse"]) == (-2011, None)
    assert r.balance("USDT") == ("10000", "0")


def test_cancel_replace_may_place_although_the_cancel_failed() -> None:
    r = replay(FLAT, FLAT)
    status, code, data = replaced(r, 99, "ALLOW_FAILURE")
    assert (status, code, outcomes(data)) == (409, -2021, ("FAILURE", "SUCCESS"))
    assert r.balance("USDT") == ("9905", "95")


@pytest.mark.parametrize("mode", ["STOP_ON_FAILURE", "ALLOW_FAILURE"])
def test_cancel_replace_that_cancels_but_cannot_place(mode: str) -> None:
    r = replay(FLAT, FLAT)
    old = r.place("BUY", "LIMIT", quantity="1", price="90")
    status, code, data = replaced(r, old.id, mode, quantity="200")
    assert (status, code, outcomes(data)) == (409, -2021, ("SUCCESS", "FAILURE"))
    assert data["newOrderResponse"] == {"code": -2010, "msg": "Account has insufficient balance for requested action."}
    assert (old.status, r.balance("USDT")) == ("CANCELED", ("10000", "0"))


def test_cancel_replace_of_which_both_fail() -> None:
    r = replay(FLAT, FLAT)
    status, code, data = replaced(r, 99, "ALLOW_FAILURE", quantity="200")
    assert (status, code, outcomes(data)) == (400, -2022, ("FAILURE", "FAILURE"))


def test_cancel_replace_checks_filters_before_it_cancels() -> None:
    r = replay(FLAT, FLAT)
    old = r.place("BUY", "LIMIT", quantity="1", price="90")
    with pytest.raises(ApiError, match="LOT_SIZE"):
        r.call(
            "order.cancelReplace", cancelReplaceMode="ALLOW_FAILURE", cancelOrderId=old.id, side="BUY", type="LIMIT",
            timeInForce="GTC", quantity="0.0001", price="95",
        )  # fmt: skip
    assert old.status == "NEW"


def test_cancel_replace_may_use_what_the_canceled_order_had_locked() -> None:
    r = replay(FLAT, FLAT, balances={"USDT": "100"})
    old = r.place("BUY", "LIMIT", quantity="1", price="95")
    assert replaced(r, old.id)[0] == 200
    assert r.balance("USDT") == ("5", "95")
