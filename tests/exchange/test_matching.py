"""Fills of single orders on a few bars, worked out by hand."""

from decimal import Decimal

import pytest
from exchange.replays import Bar, fills, plain, replay

FLAT: Bar = (100, 100, 100, 100)


# Taking


def test_market_order_fills_at_the_open_with_half_the_spread_against_it() -> None:
    r = replay(FLAT, FLAT, spread_bps=10)
    assert fills(r.place("BUY", "MARKET", quantity="1")) == [("100.05", "1")]
    assert fills(r.place("SELL", "MARKET", quantity="1")) == [("99.95", "1")]


def test_slippage_worsens_a_taker_beyond_the_spread_but_not_the_book_that_is_shown() -> None:
    r = replay(FLAT, FLAT, spread_bps=10, slippage_bps=5)
    assert fills(r.place("BUY", "MARKET", quantity="1")) == [("100.1", "1")]
    assert r.engine.pits["BTCUSDT"].top() == (Decimal("99.95"), Decimal("100.05"))


def test_market_order_walks_the_levels_of_the_book() -> None:
    # 3 levels of 1000 · 0.001 = 1, 10 bps = 0.10 apart, from 100 upwards.
    r = replay(FLAT, FLAT, levels=3, level_share="0.001", level_gap_bps=10)
    order = r.place("BUY", "MARKET", quantity="2.5")
    assert fills(order) == [("100", "1"), ("100.1", "1"), ("100.2", "0.5")]
    assert (order.status, order.quote) == ("FILLED", Decimal("250.2"))
    assert r.balance("USDT") == ("9749.8", "0")


def test_market_order_beyond_the_book_expires_with_what_it_got() -> None:
    r = replay(FLAT, FLAT, levels=3, level_share="0.001", level_gap_bps=10)
    order = r.place("SELL", "MARKET", quantity="5")
    assert fills(order) == [("100", "1"), ("99.9", "1"), ("99.8", "1")]
    assert (order.status, order.expiry_reason) == ("EXPIRED", "INSUFFICIENT_LIQUIDITY")
    assert r.balance("BTC") == ("7", "0")


def test_what_was_taken_is_gone_until_the_price_moves() -> None:
    r = replay(FLAT, (100, 101, 100, 101), levels=2, level_share="0.001", level_gap_bps=10)
    assert fills(r.place("BUY", "MARKET", quantity="1.5")) == [("100", "1"), ("100.1", "0.5")]
    assert fills(r.place("BUY", "MARKET", quantity="1")) == [("100.1", "0.5")]
    r.engine.advance()
    assert fills(r.place("BUY", "MARKET", quantity="1")) == [("100", "1")]


def test_two_stops_at_one_level_share_what_the_book_has_there() -> None:
    r = replay(FLAT, (100, 100, 98, 98), levels=1, level_share="0.001")
    stops = [r.place("SELL", "STOP_LOSS", quantity="0.6", stopPrice="99") for _ in range(2)]
    r.engine.step()
    assert [fills(stop) for stop in stops] == [[("99", "0.6")], [("99", "0.4")]]
    assert stops[1].status == "EXPIRED"


def test_quote_quantity_buys_whole_steps_and_leaves_the_rest() -> None:
    r = replay((30, 30, 30, 30), (30, 30, 30, 30), fees=("0", "0.001"))
    order = r.place("BUY", "MARKET", quoteOrderQty="100")
    # 100 / 30 = 3.333…, in steps of 0.001: 3.333 for 99.99, less a fee of 0.003333.
    assert fills(order) == [("30", "3.333")]
    assert (order.qty, order.quote, order.status) == (Decimal("3.333"), Decimal("99.99"), "FILLED")
    assert (r.balance("USDT"), r.balance("BTC")) == (("9900.01", "0"), ("13.329667", "0"))


def test_quote_quantity_walks_levels_with_what_is_left_of_it() -> None:
    r = replay(FLAT, FLAT, levels=3, level_share="0.001", level_gap_bps=10)
    order = r.place("BUY", "MARKET", quoteOrderQty="150")
    # 1 for 100, then 50 / 100.1 = 0.4995…
    assert fills(order) == [("100", "1"), ("100.1", "0.499")]
    assert order.status == "FILLED"


def test_quote_quantity_beyond_the_book_expires_with_what_it_got() -> None:
    r = replay(FLAT, FLAT, levels=2, level_share="0.001", level_gap_bps=10)
    order = r.place("BUY", "MARKET", quoteOrderQty="500")
    # 1 for 100 and 1 for 100.1; 299.9 are left, which would be 2.996 at the last price.
    assert fills(order) == [("100", "1"), ("100.1", "1")]
    assert (order.status, plain(order.qty), r.balance("USDT")) == ("EXPIRED", "4.996", ("9799.9", "0"))


def test_selling_for_a_quote_quantity() -> None:
    r = replay(FLAT, FLAT)
    order = r.place("SELL", "MARKET", quoteOrderQty="250.55")
    assert fills(order) == [("100", "2.505")]
    assert r.balance("USDT") == ("10250.5", "0")


def test_limit_that_crosses_takes_at_book_prices_and_rests_with_the_remainder() -> None:
    r = replay(FLAT, (100, 100, 99, 99), levels=3, level_share="0.001", level_gap_bps=10)
    order = r.place("BUY", "LIMIT", quantity="3", price="100.1")
    assert fills(order) == [("100", "1"), ("100.1", "1")]
    assert (order.status, r.balance("USDT")) == ("PARTIALLY_FILLED", ("9699.8", "100.1"))
    r.engine.step()
    assert fills(order)[2:] == [("100.1", "1")]
    assert [trade.maker for trade in order.trades] == [False, False, True]
    assert (order.status, r.balance("USDT"), r.balance("BTC")) == ("FILLED", ("9699.8", "0"), ("13", "0"))


def test_ioc_takes_what_there_is_and_expires() -> None:
    r = replay(FLAT, FLAT, levels=1, level_share="0.001")
    order = r.place("BUY", "LIMIT", timeInForce="IOC", quantity="3", price="101")
    assert (fills(order), order.status) == ([("100", "1")], "EXPIRED")
    assert r.balance("USDT") == ("9900", "0")


def test_fok_fills_whole_or_not_at_all() -> None:
    r = replay(FLAT, FLAT, levels=2, level_share="0.001", level_gap_bps=10)
    none = r.place("BUY", "LIMIT", timeInForce="FOK", quantity="2", price="100.05")
    assert (fills(none), none.status) == ([], "EXPIRED")
    whole = r.place("BUY", "LIMIT", timeInForce="FOK", quantity="2", price="100.1")
    assert (fills(whole), whole.status) == ([("100", "1"), ("100.1", "1")], "FILLED")
    assert r.balance("USDT") == ("9799.9", "0")


def test_limit_maker_that_would_take_is_refused() -> None:
    r = replay(FLAT, FLAT, spread_bps=10)
    assert r.refusal("order.place", side="BUY", type="LIMIT_MAKER", quantity="1", price="100.05") == (
        -2010, "Order would immediately match and take.")  # fmt: skip
    assert r.place("BUY", "LIMIT_MAKER", quantity="1", price="100.04").status == "NEW"


# Resting


@pytest.mark.parametrize(
    ("low", "touch_fill", "filled"),
    [(99.0, False, False), (99.0, True, True), (98.99, False, True), (99.01, True, False)],
)
def test_resting_limit_fills_when_traded_through_or_at_a_touch_if_so_wished(
    low: float, touch_fill: bool, filled: bool
) -> None:
    r = replay(FLAT, (100, 100, low, 100), touch_fill=touch_fill)
    order = r.place("BUY", "LIMIT", quantity="1", price="99")
    r.engine.step()
    assert fills(order) == ([("99", "1")] if filled else [])


def test_resting_limit_fills_at_its_own_price_in_a_gap() -> None:
    r = replay(FLAT, FLAT, (95, 96, 94, 95))
    buy = r.place("BUY", "LIMIT", quantity="1", price="98")
    r.engine.step()
    assert fills(buy) == [("98", "1")]
    assert buy.trades[0].time == r.engine.now


def test_participation_fills_over_bars() -> None:
    # 10 % of a volume of 10 is 1 a bar.
    r = replay(FLAT, *[(100, 101, 98, 100)] * 4, volume=10, participation="0.1", fees=("0.001", "0.002"))
    order = r.place("BUY", "LIMIT", quantity="2.5", price="99")
    seen = []
    for _ in range(3):
        r.engine.step()
        seen.append((order.status, str(order.executed), r.balance("USDT")))
    assert seen == [
        ("PARTIALLY_FILLED", "1.000", ("9752.5", "148.5")),
        ("PARTIALLY_FILLED", "2.000", ("9752.5", "49.5")),
        ("FILLED", "2.500", ("9752.5", "0")),
    ]
    assert r.balance("BTC") == ("12.4975", "0")


def test_orders_of_one_bar_share_its_volume_the_better_price_first() -> None:
    r = replay(FLAT, (100, 100, 97, 100), volume=10, participation="0.1")
    far = r.place("BUY", "LIMIT", quantity="0.7", price="98")
    near = r.place("BUY", "LIMIT", quantity="0.7", price="99")
    r.engine.step()
    assert (fills(near), fills(far)) == ([("99", "0.7")], [("98", "0.3")])


def test_at_a_touch_the_queue_ahead_is_served_first() -> None:
    # Ahead: a quarter of a level of 10 · 0.8 = 8, so 2. A bar lets 1 through: two bars for the others, then ours.
    r = replay(FLAT, *[(100, 101, 99, 100)] * 4, volume=10, participation="0.1", touch_fill=True, levels=1,
               level_share="0.8", queue_share="0.25")  # fmt: skip
    order = r.place("BUY", "LIMIT", quantity="1", price="99")
    seen = []
    for _ in range(3):
        r.engine.step()
        seen.append(plain(order.executed))
    assert seen == ["0", "0", "1"]


# Stops


def test_stop_fills_at_its_level_inside_a_bar() -> None:
    r = replay(FLAT, (100, 101, 90, 95))
    order = r.place("SELL", "STOP_LOSS", quantity="1", stopPrice="96")
    r.engine.step()
    assert (fills(order), order.status) == ([("96", "1")], "FILLED")


def test_stop_fills_at_the_open_when_the_price_gaps_through() -> None:
    r = replay(FLAT, FLAT, (90, 91, 89, 90))
    order = r.place("SELL", "STOP_LOSS", quantity="1", stopPrice="96")
    r.engine.step()
    assert fills(order) == [("90", "1")]


def test_buy_stop_fills_at_the_open_when_the_price_gaps_through_and_pays_more_than_it_locked() -> None:
    r = replay(FLAT, FLAT, (110, 111, 109, 110))
    order = r.place("BUY", "STOP_LOSS", quantity="1", stopPrice="105")
    assert r.balance("USDT") == ("9895", "105")
    r.engine.step()
    assert (fills(order), r.balance("USDT")) == ([("110", "1")], ("9890", "0"))


def test_buy_stop_that_cannot_be_paid_for_after_a_gap_takes_what_it_can() -> None:
    r = replay(FLAT, FLAT, (110, 111, 109, 110), balances={"USDT": "105"})
    order = r.place("BUY", "STOP_LOSS", quantity="1", stopPrice="105")
    r.engine.step()
    # 105 / 110 = 0.954…
    assert (fills(order), order.status, r.balance("USDT")) == ([("110", "0.954")], "EXPIRED", ("0.06", "0"))


@pytest.mark.parametrize(
    ("side", "kind", "level", "bar", "filled"),
    [
        ("SELL", "STOP_LOSS", "99", (100, 100, 99, 99), "99"),
        ("BUY", "STOP_LOSS", "101", (100, 101, 100, 101), "101"),
        ("SELL", "TAKE_PROFIT", "101", (100, 101, 100, 101), "101"),
        ("BUY", "TAKE_PROFIT", "99", (100, 100, 99, 99), "99"),
    ],
)
def test_stops_and_targets_are_reached_at_a_touch(side: str, kind: str, level: str, bar: Bar, filled: str) -> None:
    r = replay(FLAT, bar)
    order = r.place(side, kind, quantity="1", stopPrice=level)
    r.engine.step()
    assert fills(order) == [(filled, "1")]


@pytest.mark.parametrize(
    ("side", "kind", "level"),
    [
        ("SELL", "STOP_LOSS", "100"),
        ("BUY", "STOP_LOSS", "100"),
        ("SELL", "TAKE_PROFIT", "99"),
        ("BUY", "TAKE_PROFIT", "101"),
    ],
)
def test_stop_that_is_reached_already_is_refused(side: str, kind: str, level: str) -> None:
    r = replay(FLAT, FLAT)
    assert r.refusal("order.place", side=side, type=kind, quantity="1", stopPrice=level) == (
        -2010, "Order would trigger immediately.")  # fmt: skip
    assert r.balance("BTC") == ("10", "0")


def test_stop_limit_becomes_a_limit_and_may_rest_beyond_the_market() -> None:
    # Triggered by the gap to 90, its limit of 95 waits above, and is met when the price comes back.
    r = replay(FLAT, FLAT, (90, 92, 89, 91), (91, 96, 91, 95))
    order = r.place("SELL", "STOP_LOSS_LIMIT", quantity="1", stopPrice="96", price="95")
    r.engine.step()
    assert (order.status, order.armed, fills(order)) == ("NEW", False, [])
    r.engine.step(2)
    assert (fills(order), order.trades[0].maker) == ([("95", "1")], True)


def test_stop_limit_within_its_limit_takes_at_once() -> None:
    r = replay(FLAT, (100, 104, 100, 104))
    order = r.place("BUY", "STOP_LOSS_LIMIT", quantity="1", stopPrice="102", price="103")
    assert r.balance("USDT") == ("9897", "103")
    r.engine.step()
    assert (fills(order), r.balance("USDT")) == ([("102", "1")], ("9898", "0"))


def test_take_profit_limit_sells_at_its_trigger_or_better() -> None:
    r = replay(FLAT, (100, 106, 100, 105))
    order = r.place("SELL", "TAKE_PROFIT_LIMIT", quantity="1", stopPrice="105", price="104")
    r.engine.step()
    assert (fills(order), order.trades[0].maker) == ([("105", "1")], False)


def test_a_triggered_stop_tells_that_it_works_and_then_its_fill() -> None:
    r = replay(FLAT, (100, 100, 95, 96))
    r.place("SELL", "STOP_LOSS", quantity="1", stopPrice="96")
    assert [(e["x"], e["X"], e["w"]) for e in r.events()] == [("NEW", "NEW", False)]
    r.engine.step()
    assert [(e["x"], e["X"], e["w"]) for e in r.events()] == [("NEW", "NEW", True), ("TRADE", "FILLED", False)]


# Trailing stops: the five scenarios of the exchange's own explanation, in its prices.
# https://developers.binance.com/docs/binance-spot-api-docs/faqs/trailing-stop-faq


@pytest.mark.parametrize(
    ("side", "kind", "limit", "delta", "stop", "way", "trigger"),
    [
        ("BUY", "STOP_LOSS_LIMIT", 45000, 500, 44000, (37000, 45000, 46000, 42000, 44200), 44100),
        ("SELL", "STOP_LOSS_LIMIT", 38000, 1000, 39000, (41500, 37000, 41000, 36800), 36900),
        ("BUY", "TAKE_PROFIT_LIMIT", 38500, 850, 38000, (42000, 37000, 39000, 38000, 40200), 40145),
        ("SELL", "TAKE_PROFIT_LIMIT", 41000, 750, 42000, (41500, 39000, 45000, 44000, 46500, 43000), 43012.5),
        ("SELL", "STOP_LOSS_LIMIT", 39000, 700, None, (42000, 39500, 45500, 42300), 42315),
    ],
)
def test_trailing_stop_scenarios(
    side: str, kind: str, limit: int, delta: int, stop: int | None, way: tuple[float, ...], trigger: float
) -> None:
    bars, here = [(40000, 40000, 40000, 40000)], 40000.0
    for to in way:
        bars.append((here, max(here, to), min(here, to), to))
        here = to
    r = replay(*bars, balances={"USDT": "100000", "BTC": "1"})
    order = r.place(side, kind, quantity="1", price=limit, trailingDelta=delta, stopPrice=stop)
    r.engine.step(len(way) - 1)
    assert order.armed
    assert order.trailing_time > 0
    r.engine.step()
    assert not order.armed
    reaches = limit <= trigger if side == "SELL" else limit >= trigger
    assert [float(trade.price) for trade in order.trades] == ([trigger] if reaches else [])


def test_trailing_stop_says_when_it_began_to_follow() -> None:
    r = replay(FLAT, FLAT, (100, 106, 100, 106))
    order = r.place("SELL", "TAKE_PROFIT", quantity="1", trailingDelta=100, stopPrice="105")
    assert r.call("order.status", orderId=order.id)["trailingTime"] == -1
    r.engine.step()
    r.engine.advance()
    r.engine.advance()
    assert r.call("order.status", orderId=order.id)["trailingTime"] == r.engine.now


def test_trailing_stop_whose_stop_price_is_met_already_follows_at_once() -> None:
    r = replay(FLAT, (100, 102, 100, 102), (102, 102, 100, 100))
    order = r.place("SELL", "TAKE_PROFIT", quantity="1", trailingDelta=100, stopPrice="99")
    assert (order.armed, order.active) == (True, True)
    r.engine.step(2)
    # 1 % below 102
    assert fills(order) == [("100.98", "1")]


def test_trailing_stop_gapped_through_fills_at_the_open() -> None:
    r = replay(FLAT, (100, 110, 100, 110), (100, 100, 99, 99))
    order = r.place("SELL", "STOP_LOSS", quantity="1", trailingDelta=500)
    r.engine.step()
    assert fills(order) == [("100", "1")]


# The path inside a bar


@pytest.mark.parametrize(
    ("path", "bar", "order"),
    [
        ("ohlc", (100, 105, 95, 101), ["low", "high"]),
        ("ohlc", (100, 105, 95, 99), ["high", "low"]),
        ("ohlc", (100, 105, 95, 100), ["low", "high"]),
        ("high_first", (100, 105, 95, 101), ["high", "low"]),
        ("low_first", (100, 105, 95, 99), ["low", "high"]),
    ],
)
def test_the_path_decides_which_extreme_comes_first(path: str, bar: Bar, order: list[str]) -> None:
    r = replay(FLAT, bar, path=path)
    orders = {
        "low": r.place("BUY", "LIMIT", quantity="1", price="96"),
        "high": r.place("SELL", "LIMIT", quantity="1", price="104"),
    }
    r.engine.step()
    assert sorted(orders, key=lambda name: orders[name].trades[0].id) == order


@pytest.mark.parametrize(("side", "stop", "first"), [("SELL", "96", 95.0), ("BUY", "104", 105.0)])
def test_the_adverse_path_goes_to_the_stop_first(side: str, stop: str, first: float) -> None:
    r = replay(FLAT, FLAT, (100, 105, 95, 101 if side == "BUY" else 99), path="adverse")
    r.place(side, "STOP_LOSS", quantity="1", stopPrice=stop)
    r.engine.step()
    assert next(event[2] for event in r.engine.advance() if event[0] == "tick") == first


def test_the_random_path_is_drawn_from_the_seed() -> None:
    def way(seed: int) -> list[float]:
        r = replay(FLAT, *[(100, 105, 95, 101)] * 40, path="random", seed=seed)
        return [event[2] for event in r.engine.step(40) if event[0] == "tick"]

    assert way(1) == way(1)
    assert way(1) != way(2)
    assert {105.0, 95.0} == set(way(1)[::3])


# Fees


def test_fees_are_taken_from_what_is_received_maker_and_taker_apart() -> None:
    r = replay(FLAT, (100, 102, 100, 101), fees=("0.001", "0.002"))
    r.place("BUY", "MARKET", quantity="1.111")
    r.place("SELL", "LIMIT", quantity="0.777", price="101.13")
    r.engine.step()
    # Taker: 0.002 · 1.111 = 0.002222 BTC. Maker: 0.001 · 0.777 · 101.13 = 0.07857801 USDT.
    assert r.balance("BTC") == ("10.331778", "0")
    assert r.balance("USDT") == ("9967.39943199", "0")
    assert [(t["commission"], t["commissionAsset"], t["isMaker"]) for t in r.call("myTrades")] == [
        ("0.00222200", "BTC", False), ("0.07857801", "USDT", True)]  # fmt: skip


def test_a_fee_is_rounded_down_to_eight_places() -> None:
    r = replay(FLAT, FLAT, fees=("0", "0.00033333"))
    r.place("BUY", "MARKET", quantity="0.333")
    # 0.333 · 0.00033333 = 0.00011099889, of which 0.00011099 is charged.
    assert r.balance("BTC") == ("10.33288901", "0")
