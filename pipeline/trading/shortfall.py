"""Implementation shortfall: what an execution cost against the price at which it was decided."""

from dataclasses import dataclass
from decimal import Decimal

from pipeline.errors import BadInput


@dataclass(frozen=True)
class Shortfall:
    """What an execution cost, as fractions of the order's worth at the decision; positive is worse.

    expected: slippage that the simulation would have charged; realised: slippage paid; fees; unfilled: what the price
    has run away on the part that was not filled. total: the implementation shortfall, without `expected`.
    Source: Perold (1988), The implementation shortfall.
    """

    expected: Decimal
    realised: Decimal
    fees: Decimal
    unfilled: Decimal

    @property
    def total(self) -> Decimal:
        """Slippage, fees and missed price together."""
        return self.realised + self.fees + self.unfilled


def shortfall(
    side: str,
    qty: Decimal,
    fills: list[tuple[Decimal, Decimal]],
    fees: Decimal,
    arrival: Decimal,
    last: Decimal,
    expected: Decimal = Decimal(0),
) -> Shortfall:
    """Shortfall of an order. fills: (qty, price); fees: quote asset; arrival: price at the decision; last: price at the
    end; expected: slippage that the simulation would have charged.

    Raises BadInput: there was no quantity or no arrival price to compare with.
    """
    if side not in ("BUY", "SELL") or not qty > 0 or not arrival > 0:
        raise BadInput(f"shortfall: {side} {qty} at {arrival}", "an order has a side, a quantity and an arrival price")
    sign = 1 if side == "BUY" else -1
    filled = sum((q for q, _ in fills), Decimal(0))
    paid = sum((q * p for q, p in fills), Decimal(0))
    worth = qty * arrival
    return Shortfall(
        expected,
        sign * (paid - filled * arrival) / worth,
        fees / worth,
        sign * (qty - filled) * (last - arrival) / worth,
    )
