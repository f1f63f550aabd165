"""Filters in exact decimals, on the exchange's own descriptions."""

import json
import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.trading.filters import (
    Book,
    Proposal,
    Range,
    SymbolFilters,
    exact,
    floor_to,
    from_exchange_info,
    round_level,
    step_floor,
)

D = Decimal
BTC = from_exchange_info(
    {
        "symbol": "BTCUSDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "120.5", "stepSize": "0.00000000"},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": "5.00", "applyMinToMarket": True, "maxNotional": "9000000.00",
             "applyMaxToMarket": False},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
    }
)  # fmt: skip
BOOK = Book(D(50_000))


@pytest.mark.parametrize(
    ("order", "failure"),
    [
        (Proposal("BUY", D("0.001"), D("50000.01")), None),
        (Proposal("BUY", D("0.001"), D("50000.005")), "PRICE_FILTER"),
        (Proposal("SELL", D("0.001"), D("50000"), D("49999.999")), "PRICE_FILTER"),
        (Proposal("BUY", D("0.000015"), D("500000")), "LOT_SIZE"),
        (Proposal("BUY", D("0"), D("50000")), "LOT_SIZE"),
        (Proposal("SELL", D("120.50001")), "MARKET_LOT_SIZE"),
        (Proposal("SELL", D("120.5")), None),
        (Proposal("BUY", D("0.001"), D("250000.00")), None),
        (Proposal("BUY", D("0.001"), D("250000.01")), "PERCENT_PRICE_BY_SIDE"),
        (Proposal("SELL", D("0.001"), D("9999.99")), "PERCENT_PRICE_BY_SIDE"),
        (Proposal("BUY", D("0.0001"), D("50000")), None),
        (Proposal("BUY", D("0.0001"), D("49999.99")), "NOTIONAL"),
        (Proposal("BUY", D("0.00009")), "NOTIONAL"),
        (Proposal("BUY", D("181"), D("50000")), "NOTIONAL"),
    ],
)
def test_orders_fail_in_the_exchanges_words(order: Proposal, failure: str | None) -> None:
    found = BTC.check(order, BOOK)
    assert (found and found.filter) == failure
    if found:
        assert (found.code, found.message) == (-1013, f"Filter failure: {failure}")


def test_numbers_of_orders_are_filters_too() -> None:
    order = Proposal("BUY", D("0.001"), D("50000"), D("50000"))
    assert BTC.check(order, Book(D(50_000), open_orders=199, open_stop_orders=4)) is None
    assert BTC.check(order, Book(D(50_000), open_orders=200)).filter == "MAX_NUM_ORDERS"  # type: ignore[union-attr]
    assert BTC.check(order, Book(D(50_000), open_stop_orders=5)).filter == "MAX_NUM_ALGO_ORDERS"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("filters", "name"),
    [
        ({"lots": Range(D(1), D("0.5"))}, "LOT_SIZE"),
        ({"lots": Range(D(0), D("0.5"), D(1))}, "LOT_SIZE"),
        ({"lots": Range(D("0.3"), D("0.45"), D("0.25"))}, "LOT_SIZE"),
        ({"market_lots": Range(D("NaN"))}, "MARKET_LOT_SIZE"),
        ({"prices": Range(D(0), D(0), D(-1))}, "PRICE_FILTER"),
        ({"min_notional": D("Infinity")}, "NOTIONAL"),
        ({"max_position": D(-1)}, "MAX_POSITION"),
        ({"bid_up": D("0.5"), "bid_down": D(2)}, "PERCENT_PRICE_BY_SIDE"),
        ({"min_notional": D(10), "max_notional": D(5)}, "NOTIONAL"),
    ],
)
def test_impossible_filters_are_refused_by_name(filters: dict, name: str) -> None:
    with pytest.raises(BadInput, match=f"X: {name}"):
        SymbolFilters("X", **filters)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 8))
def test_quantities_round_down_to_what_may_be_sent(units: int, places: int) -> None:
    step = D(1).scaleb(-places)
    qty = D(units).scaleb(-10)
    floored = SymbolFilters("X", lots=Range(step=step)).floor_qty(qty)
    assert floored <= qty < floored + step and floored % step == 0


@settings(max_examples=1000, deadline=None)
@given(
    # Steps of the exchange are powers of ten, but nothing says that they have to be.
    st.one_of(st.integers(-8, 3).map(lambda k: D(1).scaleb(k)), st.sampled_from([D("0.5"), D("0.0025"), D("0.3")])),
    st.integers(1, 10**7),
    st.one_of(st.just(0.0), st.floats(-1, 1), st.sampled_from([1e-15, -1e-15, 1e-9, -1e-9])),
    st.sampled_from([-math.inf, math.inf, 0]),
)
def test_the_compiled_floor_is_the_exact_one_to_the_last_bit(
    step: Decimal, lots: int, part: float, towards: float
) -> None:
    qty = float(lots * step) + part * float(step)
    qty = math.nextafter(qty, towards) if towards else qty
    if qty <= 0 or qty / 10.0 ** step.as_tuple().exponent >= 1e15:
        return
    assert step_floor(qty, float(step)) == float(floor_to(exact(qty), step))


@settings(max_examples=500, deadline=None)
@given(st.floats(1e-8, 1e6), st.integers(0, 8))
def test_the_compiled_floor_is_the_exact_one_for_any_quantity(qty: float, places: int) -> None:
    step = D(1).scaleb(-places)
    assert step_floor(qty, float(step)) == float(floor_to(exact(qty), step))


def test_the_compiled_floor_sends_nothing_where_there_is_nothing() -> None:
    assert step_floor(math.nan, 0.1) == step_floor(-1.0, 0.1) == step_floor(0.0, 0.1) == 0.0
    assert step_floor(0.123, 0.0) == 0.123
    assert step_floor(0.99999999999, 1.0) == 0.0, "nearly a lot is not a lot"


def test_floors_do_not_round_whatever_the_decimal_context_is() -> None:
    qty = D("2.99999999999999999999999999999999")
    with localcontext(prec=6):
        assert floor_to(qty, D(1)) == 2
        assert floor_to(D("1234567.891"), D("0.01")) == D("1234567.89")


def test_a_cap_that_is_no_whole_number_of_lots_gives_a_quantity_that_passes() -> None:
    odd = SymbolFilters("X", lots=Range(D("0.001"), D(100), D("0.001")), market_lots=Range(D(0), D("1.23456789")))
    assert odd.floor_qty(D(50), market=True) == D("1.234")
    assert odd.check(Proposal("BUY", D("1.234")), BOOK) is None
    uneven = SymbolFilters("X", lots=Range(step=D("0.4")), market_lots=Range(step=D("0.6")))
    assert uneven.floor_qty(D(3), market=True) == D("2.4") and uneven.floor_qty(D(3)) == D("2.8")


def test_a_number_off_the_step_fails_though_it_is_on_it_counted_from_the_least() -> None:
    shifted = SymbolFilters("X", lots=Range(D("0.5"), D(0), D(1)))
    assert shifted.check(Proposal("BUY", D("1.5")), BOOK).filter == "LOT_SIZE"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("order", "code", "message"),
    [
        (Proposal("BUY", D("0.001000001"), D(50_000)), -1111, "Parameter 'quantity' has too much precision."),
        (Proposal("BUY", D("0.001"), D("5E+4"), D("50000.000000001")), -1111, "Parameter 'stopPrice' has too much"),
        (Proposal("BUY", D("NaN"), D(50_000)), -1100, "Illegal characters found in parameter 'quantity'"),
        (Proposal("BUY", D(1), D(-1)), -1100, "Illegal characters found in parameter 'price'"),
    ],
)
def test_what_is_no_legal_number_is_refused_before_any_filter(order: Proposal, code: int, message: str) -> None:
    found = BTC.check(order, BOOK)
    assert found and found.code == code and found.message.startswith(message) and found.filter == ""


def test_the_percent_filter_looks_at_the_price_and_not_at_the_stop() -> None:
    far = Proposal("SELL", D("0.001"), D(10_000), D(9_000))
    assert BTC.check(far, BOOK) is None


def test_older_forms_of_filters_fail_under_their_own_names() -> None:
    old = from_exchange_info(
        {
            "symbol": "X",
            "filters": [
                {"filterType": "PERCENT_PRICE", "multiplierUp": "1.5", "multiplierDown": "0.5", "avgPriceMins": 5},
                {"filterType": "MIN_NOTIONAL", "minNotional": "10", "applyToMarket": False, "avgPriceMins": 5},
            ],
        }
    )
    assert old.avg_price_mins == 5
    assert old.check(Proposal("BUY", D(1), D(16)), Book(D(10))).filter == "PERCENT_PRICE"  # type: ignore[union-attr]
    assert old.check(Proposal("BUY", D("0.9"), D(10)), Book(D(10))).filter == "MIN_NOTIONAL"  # type: ignore[union-attr]
    assert old.check(Proposal("BUY", D("0.9")), Book(D(10))) is None, "does not apply to market orders"


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"filterType": "LOT_SIZE", "minQty": "0.1", "maxQty": "9"}, "XY: LOT_SIZE has no stepSize"),
        ({"filterType": "PRICE_FILTER", "minPrice": "x", "maxPrice": "9", "tickSize": "1"}, "PRICE_FILTER.minPrice"),
        ({"filterType": "MAX_POSITION", "maxPosition": "NaN"}, "MAX_POSITION.maxPosition is not a number: 'NaN'"),
        ({"filterType": "PRICE_FILTER", "minPrice": "0", "maxPrice": "9", "tickSize": "-1"}, "XY: PRICE_FILTER"),
    ],
)
def test_filters_that_cannot_be_read_are_refused_and_not_taken_as_off(filters: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        from_exchange_info({"symbol": "XY", "filters": [filters]})


def test_floats_are_taken_as_they_are_written() -> None:
    assert exact(np.float64(0.1)) == D("0.1") and type(exact(np.float64(0.1))) is Decimal
    assert exact(0.1) == D("0.1") and exact("0.30") == D("0.3")
    assert floor_to(exact(0.3), exact(0.1)) == D("0.3")
    assert step_floor(0.3, 0.1) == 0.3 and step_floor(0.7, 0.1) == 0.7


def test_prices_round_in_our_favour() -> None:
    assert BTC.round_price(D("100.019"), "BUY") == D("100.01")
    assert BTC.round_price(D("100.011"), "SELL") == D("100.02")


@settings(max_examples=1000, deadline=None)
@given(
    st.one_of(st.integers(-8, 2).map(lambda k: D(1).scaleb(k)), st.sampled_from([D("0.5"), D("0.0025"), D("0.3")])),
    st.integers(1, 10**7),
    st.one_of(st.just(0.0), st.floats(0, 1), st.sampled_from([1e-15, -1e-15, 1e-9, -1e-9])),
    st.sampled_from([-math.inf, math.inf, 0]),
    st.sampled_from(["SELL", "BUY"]),
)
def test_simulated_exits_stand_on_the_ticks_that_live_trading_places_them_on(
    tick: Decimal, ticks: int, part: float, towards: float, exit_side: str
) -> None:
    level = float(ticks * tick) + part * float(tick)
    level = math.nextafter(level, towards) if towards else level
    placed = SymbolFilters("X", prices=Range(step=tick)).round_price(exact(level), exit_side)
    side = 1 if exit_side == "SELL" else -1
    rounded = round_level(level, side, float(tick))
    assert rounded == float(placed) and exact(rounded) % tick == 0
    assert side * rounded >= side * level, "no worse for us"
    assert round_level(rounded, side, float(tick)) == rounded


def test_a_level_that_is_no_price_is_left_alone() -> None:
    for level in (math.inf, -math.inf, 0.0, -3.7):
        assert round_level(level, 1, 0.5) == round_level(level, -1, 0.5) == level
    assert math.isnan(round_level(math.nan, 1, 0.5)) and round_level(1.23, 1, 0.0) == 1.23


def recorded(fixtures: Path) -> Iterator[dict[str, Any]]:
    """Entries of every exchangeInfo that was recorded: spot, Binance US, futures; some 2,000 symbols."""
    for name in ("BINANCE", "BINANCE_US", "BINANCE_FUTURES"):
        line = (fixtures / f"cryptofeed/{name}.0").read_text().split("\n", 1)[0]
        yield from json.JSONDecoder().raw_decode(line[line.index("{") :])[0]["symbols"]
    for path in (fixtures / "nautechsystems+nautilus_trader").rglob("http_*_exchange_info.json"):
        yield from json.loads(path.read_text())["symbols"]


def test_recorded_exchange_info_is_understood(real_data: Path) -> None:
    entries = list(recorded(real_data / "fixtures"))
    assert len(entries) > 1900
    for entry in entries:
        one = from_exchange_info(entry)
        assert one.prices.step > 0 and one.lots.step > 0 and one.min_notional > 0 and one.bid_up > one.bid_down > 0
        assert {one.percent_filter, one.notional_filter} <= {f["filterType"] for f in entry["filters"]}


def test_what_is_rounded_for_a_recorded_symbol_passes_its_filters(real_data: Path) -> None:
    for entry in recorded(real_data / "fixtures"):
        one = from_exchange_info(entry)
        if entry["status"] != "TRADING":
            continue  # what is no longer traded may have the most peculiar filters
        price = one.round_price(max(one.prices.least, 1000 * one.prices.step) * D("1.2345678"), "BUY")
        for market in (False, True):
            for wanted in (D(10) ** 12 / 3, one.min_notional / price * D("1.1") + one.lots.least):
                qty = one.floor_qty(wanted, market=market)
                order = Proposal("BUY", qty, None if market else price)
                found = one.check(order, Book(price))
                assert found is None or found.filter in ("MIN_NOTIONAL", "MAX_POSITION"), (one, order, found)
