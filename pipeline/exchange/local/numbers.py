"""Amounts as the exchange writes them: decimals with eight places."""

from decimal import ROUND_DOWN, Context, Decimal

ZERO = Decimal(0)
ONE = Decimal(1)
NOTHING = "0.00000000"
_PLACES = Decimal("0.00000001")
# Wide enough for a price times a quantity, each with twenty digits before the point and eight after it.
_CONTEXT = Context(prec=60, rounding=ROUND_DOWN)


def text(value: Decimal) -> str:
    """`1.50000000`."""
    # Most amounts of a report are 0, and formatting a decimal takes a microsecond.
    return f"{value:.8f}" if value else NOTHING


def cut(value: Decimal) -> Decimal:
    """Rounded down to eight places, as the exchange books amounts."""
    return value.quantize(_PLACES, context=_CONTEXT)


def of_float(value: float) -> Decimal:
    """The decimal of eight places that a stored price or quantity stands for."""
    return Decimal(f"{value:.8f}")


def times(a: Decimal, b: Decimal) -> Decimal:
    """a · b, rounded down to eight places."""
    return cut(_CONTEXT.multiply(a, b))


def ratio(a: Decimal, b: Decimal) -> Decimal:
    """a / b, rounded down to eight places."""
    return cut(_CONTEXT.divide(a, b))
