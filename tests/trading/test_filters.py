"""Filters in exact decimals, on the exchange's own descriptions."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.trading.costs import floor_to_step
from pipeline.trading.filters import Book, Proposal, Range, SymbolFilters, exact, floor_to, from_exchange_info

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
        ({"prices": Range(D(0), D(0), D(-1))}, "PRICE_FILTER"),
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


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 8), st.floats(0, 0.999))
def test_the_compiled_floor_gives_the_float_nearest_to_the_exact_one(lots: int, places: int, part: float) -> None:
    step = D(1).scaleb(-places)
    multiple = float(lots * step)
    assert floor_to_step(multiple, float(step)) == multiple, "a multiple is left as it is"
    # Between lots, but not within the last bits of one.
    if 1e-3 < part < 0.999:
        between = float((lots + exact(part)) * step)
        assert floor_to_step(between, float(step)) == float(floor_to(exact(between), step))


def test_floats_are_taken_as_they_are_written() -> None:
    assert exact(0.1) == D("0.1") and exact("0.30") == D("0.3")
    assert floor_to(exact(0.3), exact(0.1)) == D("0.3")
    assert floor_to_step(0.3, 0.1) == 0.3 and floor_to_step(0.7, 0.1) == 0.7


def test_prices_round_in_our_favour() -> None:
    assert BTC.round_price(D("100.019"), "BUY") == D("100.01")
    assert BTC.round_price(D("100.011"), "SELL") == D("100.02")


def test_recorded_exchange_info_is_understood(real_data: Path) -> None:
    responses = real_data / "fixtures/nautechsystems+nautilus_trader/tests/integration_tests/adapters/binance/resources"
    for name in ("spot", "futures"):
        recorded = json.loads((responses / f"http_responses/http_{name}_market_exchange_info.json").read_text())
        symbols = [from_exchange_info(entry) for entry in recorded["symbols"]]
        assert symbols and all(one.prices.step > 0 and one.lots.step > 0 for one in symbols)
        assert any(one.min_notional > 0 for one in symbols)
