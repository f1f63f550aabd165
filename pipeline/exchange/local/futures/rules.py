"""What a contract allows: filters, leverage by notional, maintenance margin, price of liquidation."""

from collections.abc import Sequence
from decimal import ROUND_UP, Context, Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.exchange.local.history import Series
from pipeline.exchange.local.instruments import Instrument, of_series
from pipeline.exchange.local.numbers import ONE, ZERO, cut, text

HOUR = 3_600_000
KINDS = ("LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX")
_EXACT = Context(prec=60)
_UP = Context(prec=60, rounding=ROUND_UP)
_PLACES = Decimal("0.00000001")


class Bracket(BaseModel):
    """A range of position notional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cap: Decimal = Field(gt=0, description="Notional up to which it reaches.")
    leverage: int = Field(ge=1, le=125, description="Most that is allowed in it.")
    maintenance: Decimal = Field(gt=0, lt=1, description="Share of the notional that the margin must hold.")


# Those of BTCUSDT as they stood in 2022.
_BRACKETS = [
    Bracket(cap=Decimal(cap), leverage=leverage, maintenance=Decimal(ratio))
    for cap, leverage, ratio in (
        (50_000, 125, "0.004"),
        (250_000, 100, "0.005"),
        (1_000_000, 50, "0.01"),
        (10_000_000, 20, "0.025"),
        (20_000_000, 10, "0.05"),
        (50_000_000, 5, "0.1"),
        (100_000_000, 4, "0.125"),
        (200_000_000, 3, "0.15"),
        (300_000_000, 2, "0.25"),
        (500_000_000, 1, "0.5"),
    )
]


class Futures(BaseModel):
    """The rules of all contracts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    maker: Decimal = Field(Decimal("0.0002"), ge=0, lt=1, description="Fee of accounts that name none.")
    taker: Decimal = Field(Decimal("0.0005"), ge=0, lt=1, description="Fee of accounts that name none.")
    leverage: int = Field(20, ge=1, le=125, description="Of each symbol at the start.")
    brackets: list[Bracket] = Field(_BRACKETS, min_length=1, description="By notional, ascending.")
    funding_rate: Decimal = Field(
        Decimal("0.0001"), gt=-1, lt=1, description="Where no rates are given: paid by longs to shorts at each time."
    )
    funding_hours: int = Field(8, ge=1, le=24, description="Between funding times, counted from midnight UTC.")
    liquidation_fee: Decimal = Field(
        Decimal("0.0125"), ge=0, lt=1, description="Of the notional, as far as the margin that is left covers it."
    )
    min_notional: Decimal = Field(Decimal(5), ge=0, description="Of an order that is not reduce-only.")

    @model_validator(mode="after")
    def _ascending(self) -> "Futures":
        caps, ratios = [one.cap for one in self.brackets], [one.maintenance for one in self.brackets]
        if caps != sorted(set(caps)) or ratios != sorted(ratios):
            raise ValueError("brackets: notional and maintenance must grow from one to the next")
        return self


class Brackets:
    """Maintenance margin as it grows with the notional, without a jump between brackets.

    floors, amounts: where each bracket begins, and what is taken off its share so that it joins the one before.
    """

    def __init__(self, brackets: Sequence[Bracket]) -> None:
        self.brackets = list(brackets)
        self.floors: list[Decimal] = []
        self.amounts: list[Decimal] = []
        floor, amount, ratio = ZERO, ZERO, brackets[0].maintenance
        for one in brackets:
            amount += floor * (one.maintenance - ratio)
            self.floors.append(floor)
            self.amounts.append(amount)
            floor, ratio = one.cap, one.maintenance

    def index(self, notional: Decimal) -> int:
        """Number of the bracket that holds a notional; the last one beyond all."""
        return next((i for i, one in enumerate(self.brackets) if notional <= one.cap), len(self.brackets) - 1)

    def maintenance(self, notional: Decimal) -> Decimal:
        """Margin below which a position is liquidated."""
        i = self.index(notional)
        return cut(_EXACT.multiply(notional, self.brackets[i].maintenance) - self.amounts[i])

    def most(self, leverage: int) -> Decimal:
        """Largest notional at a leverage."""
        return max((one.cap for one in self.brackets if one.leverage >= leverage), default=ZERO)

    @property
    def most_leverage(self) -> int:
        """Largest leverage of all."""
        return max(one.leverage for one in self.brackets)

    def liquidation_price(self, qty: Decimal, cost: Decimal, margin: Decimal) -> Decimal:
        """Mark price at which the margin and the profit come down to the maintenance margin; 0 if there is none.

        qty: signed; cost: entry price times |qty|; margin: the position's own. With side s, price p and bracket (m, a):
        margin + s (|qty| p − cost) = |qty| p m − a. Rounded to eight places, away from the entry.
        """
        side, size = (ONE, qty) if qty > 0 else (-ONE, -qty)
        for i, one in enumerate(self.brackets):
            share = size * (one.maintenance - side)
            value = margin - side * cost + self.amounts[i]
            price = _EXACT.divide(value, share)
            if price <= 0:
                return ZERO
            # The condition grows with the price, so that only one bracket holds its own solution.
            if size * price <= one.cap or i == len(self.brackets) - 1:
                return cut(price) if qty > 0 else price.quantize(_PLACES, context=_UP)
        return ZERO

    def view(self, symbol: str) -> dict[str, Any]:
        """As `leverageBracket` shows them."""
        return {
            "symbol": symbol,
            "notionalCoef": 1.0,
            "brackets": [
                {
                    "bracket": i + 1,
                    "initialLeverage": one.leverage,
                    "notionalCap": int(one.cap),
                    "notionalFloor": int(self.floors[i]),
                    "maintMarginRatio": float(one.maintenance),
                    "cum": float(self.amounts[i]),
                }
                for i, one in enumerate(self.brackets)
            ],
        }


def contract(symbol: str, series: Series, rules: Futures) -> Instrument:
    """A perpetual contract; tick and lot are read off the data. Raises BadInput: the name tells no quote asset."""
    spot = of_series(symbol, series)
    tick, step = spot.rules.prices.step, spot.rules.lots.step
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": text(tick), "maxPrice": "1000000", "tickSize": text(tick)},
        {"filterType": "LOT_SIZE", "minQty": text(step), "maxQty": "1000000", "stepSize": text(step)},
        {"filterType": "MARKET_LOT_SIZE", "minQty": text(step), "maxQty": "100000", "stepSize": text(step)},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 100},
        {"filterType": "MIN_NOTIONAL", "notional": f"{rules.min_notional:f}"},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": "1.0500",
            "multiplierDown": "0.9500",
            "multiplierDecimal": "4",
        },
    ]
    entry = {
        "symbol": symbol,
        "pair": symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": int(series.open_time[0]),
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spot.base,
        "quoteAsset": spot.quote,
        "marginAsset": spot.quote,
        "pricePrecision": places(tick),
        "quantityPrecision": places(step),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "liquidationFee": f"{rules.liquidation_fee:f}",
        "marketTakeBound": "0.05",
        "filters": filters,
        "orderTypes": list(KINDS),
        "timeInForce": list(TIMES_IN_FORCE),
    }
    return Instrument(symbol, spot.base, spot.quote, entry)


def places(unit: Decimal) -> int:
    """Decimals that a unit has: 2 of 0.01000000."""
    exponent = unit.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
