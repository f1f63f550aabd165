"""What an execution cost: slippage, fees and what was missed."""

from decimal import Decimal

import pytest

from pipeline.errors import BadInput
from pipeline.trading.shortfall import shortfall

D = Decimal


def test_shortfall_adds_what_was_paid_and_what_was_missed() -> None:
    got = shortfall("BUY", D(10), [(D(4), D(101)), (D(4), D(102))], D("0.8"), D(100), D(105), D("0.001"))
    assert got.realised == D(12) / 1000 and got.fees == D("0.0008") and got.unfilled == D(10) / 1000
    assert got.total == D("0.0228") and got.expected == D("0.001"), "what was expected is no part of the cost"


def test_a_sale_above_the_arrival_price_is_a_gain() -> None:
    assert shortfall("SELL", D(10), [(D(10), D(101))], D(0), D(100), D(105)).total == D("-0.01")


@pytest.mark.parametrize(("qty", "arrival"), [(D(0), D(100)), (D(1), D(0))])
def test_there_is_no_shortfall_of_nothing(qty: Decimal, arrival: Decimal) -> None:
    with pytest.raises(BadInput, match="an arrival price"):
        shortfall("BUY", qty, [], D(0), arrival, D(100))
