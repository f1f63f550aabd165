"""Maintenance margin and liquidation prices, worked out by hand."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.exchange.local.futures.rules import Brackets, Futures

FUTURES = Futures.model_validate({})
BRACKETS = Brackets(FUTURES.brackets)


def test_amounts_join_the_brackets_as_binance_publishes_them() -> None:
    assert BRACKETS.amounts[:6] == [0, 50, 1300, 16300, 266300, 1266300]


@pytest.mark.parametrize(
    ("notional", "expected"), [("10000", "40"), ("50000", "200"), ("100000", "450"), ("2000000", "33700")]
)
def test_maintenance_margin(notional: str, expected: str) -> None:
    assert BRACKETS.maintenance(Decimal(notional)) == Decimal(expected)


def test_long_of_one_at_10000_with_tenfold_leverage_is_liquidated_at_9036_14457831() -> None:
    # 1000 + p − 10000 = 0.004 p: p = 9000 / 0.996 = 9036.144578313…
    assert BRACKETS.liquidation_price(Decimal(1), Decimal(10_000), Decimal(1000)) == Decimal("9036.14457831")


def test_short_of_one_at_10000_with_tenfold_leverage_is_liquidated_at_10956_17529881() -> None:
    # 1000 + 10000 − p = 0.004 p: p = 11000 / 1.004 = 10956.175298804…
    assert BRACKETS.liquidation_price(Decimal(-1), Decimal(10_000), Decimal(1000)) == Decimal("10956.17529881")


def test_a_long_that_falls_into_a_lower_bracket_is_liquidated_by_that_one() -> None:
    # 6 at 10,000 with margin 15,000; in the first bracket: 15000 + 6 p − 60000 = 0.024 p: p = 45000 / 5.976, 45,180 in
    # all; the second one would begin at 50,000.
    expected = (Decimal(45_000) / Decimal("5.976")).quantize(Decimal("1e-8"), "ROUND_DOWN")
    assert BRACKETS.liquidation_price(Decimal(6), Decimal(60_000), Decimal(15_000)) == expected


def test_a_position_whose_margin_covers_everything_has_no_liquidation_price() -> None:
    assert BRACKETS.liquidation_price(Decimal(1), Decimal(10_000), Decimal(10_000)) == 0


@given(
    size=st.decimals("0.001", "1000", places=3),
    price=st.decimals("1", "100000", places=2),
    leverage=st.integers(1, 125),
    long=st.booleans(),
)
def test_margin_equals_maintenance_at_the_liquidation_price(
    size: Decimal, price: Decimal, leverage: int, long: bool
) -> None:
    side = 1 if long else -1
    cost = size * price
    margin = (cost / leverage).quantize(Decimal("1e-8"))
    level = BRACKETS.liquidation_price(side * size, cost, margin)
    if level == 0:
        return
    left = margin + side * (size * level - cost)
    assert abs(left - BRACKETS.maintenance(size * level)) <= size * Decimal("2e-8") + Decimal("1e-7")


def test_brackets_that_do_not_grow_are_refused() -> None:
    row = {"cap": 100, "leverage": 10, "maintenance": "0.01"}
    with pytest.raises(ValidationError, match="must grow"):
        Futures.model_validate({"brackets": [row, row]})
