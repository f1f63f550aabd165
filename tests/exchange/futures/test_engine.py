"""Positions, margin, funding and liquidation on a few bars, worked out by hand."""

from decimal import Decimal

import pytest
from exchange.futures.contracts import HOUR, Contracts, contracts
from exchange.replays import MINUTE, START_MS, Bar

from pipeline.exchange.local.futures import market_data
from pipeline.exchange.local.futures.operations import call
from pipeline.exchange.local.requests import Params
from pipeline.exchange.local.restoring import restore

FLAT: Bar = (100, 100, 100, 100)
D = Decimal


def ledger(c: Contracts, deposits: str = "10000") -> None:
    """The wallet is what was deposited and every booking since, to the last digit."""
    booked = sum((one.amount for one in c.engine.wallet(c.account).incomes), D(0))
    assert c.wallet == D(deposits) + booked


# Positions


def test_long_binds_a_tenth_at_tenfold_leverage_and_pays_the_taker_fee() -> None:
    c = contracts(FLAT, FLAT, fees=("0.0002", "0.0005"))
    c.place("BUY", quantity=2)
    assert (c.position.qty, c.position.entry_price, c.position.margin) == (2, 100, 20)
    assert c.free == D("9979.9")  # less 20 of margin and 200 · 0.0005
    assert c.income("COMMISSION") == [D("-0.1")]
    ledger(c)


def test_profit_of_a_short_that_is_closed_in_two_parts() -> None:
    c = contracts(FLAT, FLAT, (90, 90, 90, 90), (80, 80, 80, 80), FLAT)
    c.place("SELL", quantity=3)
    c.engine.step()
    c.place("BUY", quantity=1, reduceOnly="true")
    c.engine.step()
    c.place("BUY", quantity=2, reduceOnly="true")
    assert c.income("REALIZED_PNL") == [10, 40]
    assert (c.position.qty, c.position.margin, c.free) == (0, 0, 10050)
    ledger(c)


def test_average_entry_of_two_buys() -> None:
    c = contracts(FLAT, FLAT, (110, 110, 110, 110), FLAT)
    c.place("BUY", quantity=1)
    c.engine.step()
    c.place("BUY", quantity=3)
    assert c.position.entry_price == D("107.5")
    assert c.position.unrealized(D(110)) == 10


def test_a_short_gains_when_the_price_falls() -> None:
    c = contracts(FLAT, FLAT)
    c.place("SELL", quantity=2)
    assert c.position.unrealized(D(90)) == 20
    assert c.position.notional(D(90)) == -180


def test_an_order_through_zero_closes_and_opens() -> None:
    c = contracts(FLAT, FLAT, (120, 120, 120, 120), FLAT)
    c.place("BUY", quantity=1)
    c.engine.step()
    c.place("SELL", quantity=3)
    assert (c.position.qty, c.position.entry_price, c.position.margin) == (-2, 120, 24)
    assert c.free == 10000 + 20 - 24
    ledger(c)


def test_raising_leverage_leaves_the_margin_and_lowering_it_is_refused() -> None:
    c = contracts(FLAT, FLAT)
    c.place("BUY", quantity=1)
    assert c.call("leverage", symbol="BTCUSDT", leverage=20)["leverage"] == 20
    assert c.position.margin == 10
    assert c.refusal("leverage", symbol="BTCUSDT", leverage=5) == -4161
    assert c.refusal("leverage", symbol="BTCUSDT", leverage=126) == -4028


def test_margin_is_added_and_moves_the_liquidation_price() -> None:
    c = contracts(FLAT, FLAT)
    c.place("BUY", quantity=10)
    before = c.position.liquidation
    c.call("positionMargin", symbol="BTCUSDT", amount="50", type=1)
    assert (c.position.margin, c.free) == (150, 9850)
    # 150 + 10 p − 1000 = 0.04 p: p = 850 / 9.96
    assert c.position.liquidation == D("85.34136546") < before
    assert c.refusal("positionMargin", symbol="BTCUSDT", amount="60", type=2) == -4051
    ledger(c)


def test_a_balance_has_a_time_before_anything_is_traded() -> None:
    # ccxt leaves out balances whose time is 0.
    assert contracts(FLAT, FLAT).call("account.v3")["assets"][0]["updateTime"] == START_MS + MINUTE


# Refusals


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"quantity": "0.04"}, -4164),
        ({"quantity": "2000"}, -2019),
        ({"quantity": "0.0001"}, -1111),
        ({"quantity": "0"}, -4003),
        ({"quantity": "1", "reduceOnly": "true"}, -2022),
        ({"quantity": "1", "positionSide": "LONG"}, -4061),
        ({"quantity": "1", "type": "STOP_MARKET", "stopPrice": "90"}, -4120),
        ({"quantity": "1", "newClientOrderId": "a b"}, -4015),
        ({"quantity": "1", "closePosition": "true"}, -4136),
        ({"quantity": "1", "price": "90"}, -1106),
        ({}, -1102),
    ],
)
def test_market_orders_that_are_refused(params: dict[str, str], code: int) -> None:
    c = contracts(FLAT, FLAT)
    assert c.refusal("order.place", **({"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET"} | params)) == code
    assert (c.free, c.position.qty) == (10000, 0)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"price": "99.001"}, -1111),
        ({"price": "105.01"}, -4016),
        ({"price": "100", "timeInForce": "GTX"}, -5022),
        ({"price": "99", "timeInForce": "FOK"}, -5021),
        ({"price": "99", "timeInForce": "GTD"}, -1115),
        ({"price": "99", "timeInForce": None}, -1102),
        ({"price": "99", "newClientOrderId": "first"}, -4116),
    ],
)
def test_limit_orders_that_are_refused(params: dict[str, str], code: int) -> None:
    c = contracts(FLAT, FLAT)
    c.place("BUY", "LIMIT", quantity=1, price=90, newClientOrderId="first")
    given = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "timeInForce": "GTC"} | params
    assert c.refusal("order.place", **given) == code


def test_an_order_for_all_the_margin_there_is_fills_and_one_step_more_is_refused() -> None:
    # 10000 / (100 · (0.1 + 0.0005)) = 995.0248…
    c = contracts(FLAT, FLAT, fees=("0.0002", "0.0005"))
    assert c.refusal("order.place", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="995.025") == -2019
    assert c.place("BUY", quantity="995.024").status == "FILLED"


def test_margin_is_asked_for_the_whole_order_however_thin_the_book() -> None:
    c = contracts(FLAT, FLAT, levels=1, level_share="0.001")
    assert c.refusal("order.place", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1001") == -2019
    order = c.place("BUY", quantity=1000)
    assert (order.status, order.executed) == ("EXPIRED", 1)


def test_open_orders_bind_margin_and_set_it_free_again() -> None:
    c = contracts(FLAT, FLAT)
    order = c.place("BUY", "LIMIT", quantity=1000, price=90)
    assert c.engine.available(c.account, "USDT") == 1000
    assert c.refusal("order.place", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="101") == -2019
    c.call("order.cancel", symbol="BTCUSDT", orderId=order.id)
    assert c.engine.available(c.account, "USDT") == 10000


def test_a_closing_order_needs_no_margin() -> None:
    c = contracts(FLAT, FLAT)
    c.place("BUY", quantity=1000)
    assert c.engine.available(c.account, "USDT") == 0
    resting = c.place("SELL", "LIMIT", quantity=1000, price=104)
    # Both together would turn the position round.
    assert c.refusal("order.place", symbol="BTCUSDT", side="SELL", type="MARKET", quantity="1000") == -2019
    c.call("order.cancel", symbol="BTCUSDT", orderId=resting.id)
    assert c.place("SELL", quantity=1000).status == "FILLED"


def test_an_order_that_needs_no_more_margin_is_taken_even_when_others_need_too_much() -> None:
    c = contracts(FLAT, FLAT)
    c.place("BUY", quantity=500)
    c.place("SELL", "LIMIT", quantity=1000, price=104)
    c.place("SELL", quantity=500, reduceOnly="true")
    # The sell of 104,000 would now open a short of as much, for 10,400.
    assert c.engine.reserved(c.account, "USDT") == 10_400
    assert c.place("BUY", "LIMIT", quantity=100, price=90).status == "NEW"
    assert c.refusal("order.place", symbol="BTCUSDT", side="SELL", type="MARKET", quantity="1") == -2019


# Reduce-only and conditional orders


def test_reduce_only_fills_up_to_the_position_and_expires_with_it() -> None:
    c = contracts(FLAT, FLAT, (100, 103, 100, 103), FLAT)
    c.place("BUY", quantity=1)
    resting = [c.place("SELL", "LIMIT", quantity=q, price=102, reduceOnly="true") for q in ("0.8", "0.8")]
    c.engine.step(2)
    assert [(one.executed, one.status) for one in resting] == [(D("0.8"), "FILLED"), (D("0.2"), "EXPIRED")]
    assert c.position.qty == 0


def test_reduce_only_orders_expire_when_something_else_closes_the_position() -> None:
    c = contracts(FLAT, FLAT)
    c.place("BUY", quantity=1)
    resting = c.place("SELL", "LIMIT", quantity=1, price=104, reduceOnly="true")
    c.place("SELL", quantity=1)
    assert resting.status == "EXPIRED"


def test_post_only_rests_and_fills_as_maker() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 98, 98), fees=("0.0002", "0.0005"))
    order = c.place("BUY", "LIMIT", quantity=1, price=99, timeInForce="GTX")
    assert order.status == "NEW"
    c.engine.step(2)
    assert (order.status, c.income("COMMISSION")) == ("FILLED", [D("-0.0198")])


def test_stop_market_closes_the_position_where_the_price_jumps_to() -> None:
    c = contracts(FLAT, FLAT, (97, 97, 97, 97), FLAT)
    c.place("BUY", quantity=2)
    stop = c.wait("SELL", "STOP_MARKET", triggerPrice=98, closePosition="true")
    c.engine.step()
    assert (stop.status, c.position.qty, c.income("REALIZED_PNL")) == ("FINISHED", 0, [-6])
    assert stop.order is not None and stop.order.original_kind == "STOP_MARKET"


def test_take_profit_limit_rests_once_triggered() -> None:
    c = contracts(FLAT, FLAT, (100, 103, 100, 103), (103, 106, 103, 106), FLAT)
    c.place("BUY", quantity=1)
    profit = c.wait("SELL", "TAKE_PROFIT", triggerPrice=102, price=105, quantity=1, reduceOnly="true")
    c.engine.step(2)
    assert (profit.status, profit.order is not None and profit.order.status) == ("TRIGGERED", "NEW")
    c.engine.step()
    assert (profit.status, c.income("REALIZED_PNL")) == ("FINISHED", [5])


def test_trailing_stop_follows_from_its_activation() -> None:
    c = contracts(FLAT, FLAT, (100, 120, 100, 120), (120, 120, 110, 110), FLAT)
    c.place("BUY", quantity=1)
    c.wait("SELL", "TRAILING_STOP_MARKET", activatePrice=110, callbackRate="5", quantity=1, reduceOnly="true")
    c.engine.step(3)
    assert c.income("REALIZED_PNL") == [14]  # 120 less 5 %


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"triggerPrice": "101"}, -2021),
        ({"triggerPrice": None}, -1102),
        ({"triggerPrice": "90", "price": "90"}, -1106),
        ({"triggerPrice": "90", "closePosition": "true"}, -4137),
        ({"type": "TRAILING_STOP_MARKET", "triggerPrice": None, "callbackRate": "11"}, -2007),
        ({"type": "MARKET"}, -1116),
        ({"triggerPrice": "90", "quantity": "0.01"}, -4164),
    ],
)
def test_conditional_orders_that_are_refused(params: dict[str, str], code: int) -> None:
    c = contracts(FLAT, FLAT)
    base = {"symbol": "BTCUSDT", "algoType": "CONDITIONAL", "side": "SELL", "type": "STOP_MARKET", "quantity": "1"}
    assert c.refusal("algoOrder.place", **(base | {"triggerPrice": "90"} | params)) == code


def test_a_conditional_order_without_a_position_to_reduce_expires() -> None:
    c = contracts(FLAT, FLAT, (90, 90, 90, 90), FLAT)
    stop = c.wait("SELL", "STOP_MARKET", triggerPrice=95, quantity=1, reduceOnly="true")
    c.engine.step()
    assert (stop.status, stop.order, c.position.qty) == ("EXPIRED", None, 0)


# Funding


def test_longs_pay_a_positive_rate_at_the_price_before_the_open() -> None:
    bars = [(100.0, 100.0, 100.0, 100.0)] * 7 + [(100, 110, 100, 110), (120, 120, 120, 120)]
    c = contracts(*bars, step_ms=HOUR, rates={START_MS + 8 * HOUR + 3: 0.001})
    c.place("BUY", quantity=2)
    c.engine.step(7)
    assert c.engine.now == START_MS + 8 * HOUR
    assert c.income("FUNDING_FEE") == [D("-0.22")]  # 2 · 110 · 0.001
    assert (c.position.margin, c.free) == (D("19.78"), 9980)
    ledger(c)


@pytest.mark.parametrize(("side", "rate", "expected"), [("SELL", 0.001, "0.2"), ("SELL", -0.001, "-0.2"),
                                                        ("BUY", -0.001, "0.2")])  # fmt: skip
def test_direction_of_funding(side: str, rate: float, expected: str) -> None:
    c = contracts(*[FLAT] * 10, step_ms=HOUR, rates={START_MS + 8 * HOUR: rate})
    c.place(side, quantity=2)
    c.engine.step(8)
    assert c.income("FUNDING_FEE") == [D(expected)]


def test_without_rates_the_setting_is_paid_every_eight_hours_and_not_without_a_position() -> None:
    c = contracts(*[FLAT] * 26, step_ms=HOUR, futures={"funding_rate": "0.0002"})
    c.engine.step(8)
    c.place("BUY", quantity=1)
    c.engine.step(16)
    assert c.income("FUNDING_FEE") == [D("-0.02"), D("-0.02")]
    assert [one.time for one in c.engine.wallet(c.account).incomes] == [START_MS + 16 * HOUR, START_MS + 24 * HOUR]


def test_funding_moves_the_liquidation_price() -> None:
    c = contracts(*[FLAT] * 10, step_ms=HOUR, rates={START_MS + 8 * HOUR: 0.01})
    c.place("BUY", quantity=1)
    c.engine.step(8)
    # 9 + p − 100 = 0.004 p
    assert c.position.liquidation == D("91.36546184")


# Liquidation


def test_long_is_liquidated_at_its_price_and_what_is_left_pays_the_insurance_fund() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 85, 85), FLAT)
    c.place("BUY", quantity=10)
    assert c.position.liquidation == D("90.36144578")
    c.engine.step(2)
    # Sold on the tick below, at 90.36, it loses 96.4 of its margin of 100; 1.25 % of 903.6 is more than what is left.
    assert c.income("REALIZED_PNL") == [D("-96.4")]
    assert c.income("INSURANCE_CLEAR") == [D("-3.6")]
    assert (c.position.qty, c.position.margin, c.wallet) == (0, 0, 9900)
    ledger(c)


def test_a_liquidation_pays_no_commission() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 85, 85), FLAT, fees=("0", "0.0005"))
    c.place("BUY", quantity=10)
    c.engine.step(2)
    assert (c.income("COMMISSION"), c.wallet) == ([D("-0.5")], D("9899.5"))


def test_the_insurance_fund_takes_no_more_than_its_fee() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 85, 85), FLAT, futures={"liquidation_fee": "0.001"})
    c.place("BUY", quantity=10)
    c.engine.step(2)
    assert c.income("INSURANCE_CLEAR") == [D("-0.9036")]
    ledger(c)


def test_short_is_liquidated_by_a_jump_and_loses_no_more_than_its_margin() -> None:
    c = contracts(FLAT, FLAT, (130, 130, 130, 130), FLAT)
    c.place("SELL", quantity=10)
    c.engine.step()
    assert c.income("REALIZED_PNL") == [-300]
    assert c.income("INSURANCE_CLEAR") == [200]
    assert (c.position.qty, c.wallet) == (0, 9900)
    ledger(c)


def test_a_stop_before_the_liquidation_price_comes_first() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 85, 85), FLAT)
    c.place("BUY", quantity=10)
    c.wait("SELL", "STOP_MARKET", triggerPrice=95, closePosition="true")
    c.engine.step(2)
    assert (c.income("REALIZED_PNL"), c.income("INSURANCE_CLEAR")) == ([-50], [])


def test_liquidation_cancels_the_symbols_orders_and_is_told() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 85, 85), FLAT)
    c.place("BUY", quantity=10)
    resting = c.place("SELL", "LIMIT", quantity=1, price=104)
    stop = c.wait("SELL", "STOP_MARKET", triggerPrice=80, closePosition="true")
    c.events("")
    c.engine.step(2)
    assert (resting.status, stop.status) == ("CANCELED", "CANCELED")
    told = [(e["o"]["x"], e["o"]["o"]) for e in c.events("ORDER_TRADE_UPDATE")]
    assert told == [("CANCELED", "LIMIT"), ("NEW", "LIQUIDATION"), ("CALCULATED", "LIQUIDATION")]


def test_a_book_too_thin_for_a_liquidation_still_closes_it_whole() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 85, 85), FLAT, levels=1, level_share="0.005")
    for _ in range(2):
        c.place("BUY", quantity=5)
        c.engine.advance()
    c.engine.step(2)
    assert (c.position.qty, c.wallet) == (0, 9900)
    ledger(c)


# Mark price


CALM = (100, 100, 97, 98)


def test_a_wick_of_the_last_price_that_the_mark_price_does_not_follow_liquidates_nothing() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 85, 99), FLAT, marks=[FLAT, FLAT, (100, 100, 92, 99), FLAT])
    c.place("BUY", quantity=10)
    c.engine.step(3)
    assert (c.position.qty, c.wallet) == (10, 10_000)


def test_the_mark_price_liquidates_at_the_market_where_the_last_price_is_calm() -> None:
    c = contracts(FLAT, FLAT, CALM, FLAT, marks=[FLAT, FLAT, (100, 100, 90, 98), FLAT])
    c.place("BUY", quantity=10)
    c.engine.step(2)
    # Sold at the bar's low of 97; 1.25 % of 970 goes to the insurance fund.
    assert c.income("REALIZED_PNL") == [-30] and c.income("INSURANCE_CLEAR") == [D("-12.125")]
    assert c.position.qty == 0
    ledger(c)


def test_a_mark_price_that_opens_beyond_liquidates_at_the_open() -> None:
    c = contracts(FLAT, FLAT, CALM, FLAT, marks=[FLAT, FLAT, (80, 98, 80, 98), FLAT])
    c.place("BUY", quantity=10)
    c.engine.step(1)
    assert c.income("REALIZED_PNL") == [] and c.position.qty == 0, "at 100, where the last price opened"
    assert c.income("INSURANCE_CLEAR") == [D("-12.5")]


def test_a_stop_by_the_last_price_comes_before_the_mark_prices_liquidation() -> None:
    c = contracts(FLAT, FLAT, (100, 100, 94, 98), FLAT, marks=[FLAT, FLAT, (100, 100, 90, 98), FLAT])
    c.place("BUY", quantity=10)
    c.wait("SELL", "STOP_MARKET", triggerPrice=95, closePosition="true")
    c.engine.step(2)
    assert (c.income("REALIZED_PNL"), c.income("INSURANCE_CLEAR")) == ([-50], [])


def test_a_conditional_order_waits_for_the_price_that_it_names() -> None:
    c = contracts(FLAT, FLAT, CALM, FLAT, marks=[FLAT, FLAT, (100, 100, 95, 98), FLAT])
    c.place("BUY", quantity=10)
    by_last = c.wait("SELL", "STOP_MARKET", triggerPrice=96, quantity=5)
    by_mark = c.wait("SELL", "STOP_MARKET", triggerPrice=96, quantity=5, workingType="MARK_PRICE")
    c.engine.step(2)
    assert (by_last.status, by_mark.status, c.position.qty) == ("NEW", "FINISHED", 5)
    assert c.income("REALIZED_PNL") == [-15], "sold at 97"


def test_profit_funding_and_premium_are_told_by_the_mark_price() -> None:
    c = contracts(
        FLAT, FLAT, FLAT, FLAT, rates={START_MS + 2 * MINUTE: 0.01}, marks=[FLAT, FLAT, (102, 103, 101, 102), FLAT]
    )
    c.place("BUY", quantity=10)
    c.engine.step(1)
    assert c.income("FUNDING_FEE") == [D("-10.2")]
    assert c.call("positionRisk.v3", symbol="BTCUSDT")[0]["markPrice"] == "102.00000000"
    assert c.call("positionRisk.v3", symbol="BTCUSDT")[0]["unRealizedProfit"] == "20.00000000"
    c.engine.step(1)
    rows = market_data.price_klines(c.engine, Params({"symbol": "BTCUSDT", "interval": "1m"}))
    assert [row[1:6] for row in rows[-2:]] == [
        ["102.00000000", "103.00000000", "101.00000000", "102.00000000", "0"],
        ["100.00000000", "100.00000000", "100.00000000", "100.00000000", "0"],
    ]


def test_an_exchange_with_a_mark_price_comes_back_as_it_was() -> None:
    bars, marks = [FLAT, FLAT, CALM, FLAT, FLAT], [FLAT, FLAT, (100, 100, 90, 98), FLAT, FLAT]
    c = contracts(*bars, marks=marks)
    c.place("BUY", quantity=10)
    c.engine.step(2)
    again = contracts(*bars, marks=marks)
    restore(again.engine, c.engine.journal.text(), c.engine.timeline.moments, call)
    assert again.wallet == c.wallet and again.position.qty == 0
    assert again.engine.journal.text() == c.engine.journal.text()


def test_bookings_come_in_pages() -> None:
    c = contracts(FLAT, FLAT, fees=("0", "0.0005"))
    for _ in range(5):
        c.place("BUY", quantity=1)
    whole = c.call("income")
    assert [one["tranId"] for one in whole] == [1, 2, 3, 4, 5]
    assert c.call("income", page=2, limit=2) == whole[2:4]
    assert c.call("income", limit=2) == whole[3:]
    assert c.call("income", startTime=0, limit=2) == whole[:2]


# What is told


def test_a_fill_is_told_with_the_account_before_the_order() -> None:
    c = contracts(FLAT, FLAT)
    c.engine.drain()
    c.place("BUY", quantity=1)
    events = [event for _, event in c.engine.drain()]
    assert [event["e"] for event in events] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    assert [event["o"]["x"] for event in events[::2]] == ["NEW", "TRADE"]
    assert events[1]["a"]["m"] == "ORDER"
    assert events[1]["a"]["P"][0]["pa"] == "1.00000000"


def test_acknowledgement_shows_the_order_as_it_arrived_and_result_as_it_ended() -> None:
    c = contracts(FLAT, FLAT)
    base = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
    acknowledged = c.call("order.place", **base)
    assert (acknowledged["status"], acknowledged["executedQty"]) == ("NEW", "0.00000000")
    result = c.call("order.place", newOrderRespType="RESULT", **base)
    assert (result["status"], result["avgPrice"], result["cumQuote"]) == ("FILLED", "100.00000000", "100.00000000")
