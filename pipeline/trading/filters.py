"""The exchange's rules of a symbol, in exact decimals: what may be sent, and why not.

Shared by `serve` before an order is sent and by the local exchange when it arrives; `step_floor` is the rounding
down of quantities for compiled code, in floats and equal to the exact one.
Source: Binance's filters, https://developers.binance.com/docs/binance-spot-api-docs/filters
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Context, Decimal
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.errors import BadInput

ZERO = Decimal(0)
# Division and remainder in more digits than any quantity has in steps of 1e-8, whatever the thread's context is: a
# quotient that is rounded may be rounded up, and then more would be sent than there is.
_EXACT = Context(prec=80)
# What the exchange accepts as a number.
_LEGAL = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
# What can be done about a filter that makes no sense.
_AGAIN = "download the exchange's rules again"


@dataclass(frozen=True)
class Violation:
    """What is wrong with an order: the exchange's code and words."""

    code: int
    message: str

    @property
    def filter(self) -> str:
        """Name of the filter: `LOT_SIZE` of `Filter failure: LOT_SIZE`; empty if it was none."""
        return self.message.removeprefix("Filter failure: ") if self.code == -1013 else ""


@dataclass(frozen=True)
class Range:
    """Least and largest value, and the step between; 0 turns each off."""

    least: Decimal = ZERO
    most: Decimal = ZERO
    step: Decimal = ZERO

    def holds(self, value: Decimal) -> bool:
        """Whether a value lies inside and on the step."""
        if (self.least > 0 and value < self.least) or (self.most > 0 and value > self.most):
            return False
        return self.step == 0 or _EXACT.remainder(value, self.step) == 0


@dataclass(frozen=True)
class Proposal:
    """An order as it would be sent. price: None for a market order; side: BUY or SELL."""

    side: str
    qty: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True)
class Book:
    """What filters compare with: the price, open orders, and what is held with open buys.

    price: the average over `avg_price_mins` of the filters, the last one if that is 0.
    """

    price: Decimal
    open_orders: int = 0
    open_stop_orders: int = 0
    held: Decimal = ZERO


@dataclass(frozen=True)
class SymbolFilters:
    """All filters of one symbol; a filter that it does not have is off."""

    symbol: str
    prices: Range = Range()
    lots: Range = Range()
    market_lots: Range = Range()
    min_notional: Decimal = ZERO
    max_notional: Decimal = ZERO
    min_notional_for_market: bool = True
    max_notional_for_market: bool = False
    bid_up: Decimal = ZERO
    bid_down: Decimal = ZERO
    ask_up: Decimal = ZERO
    ask_down: Decimal = ZERO
    max_orders: int = 0
    max_stop_orders: int = 0
    max_position: Decimal = ZERO
    avg_price_mins: int = 0
    base_precision: int = 8
    quote_precision: int = 8
    base_asset: str = ""
    # The exchange's names of two filters that come in an older and a newer form.
    percent_filter: str = "PERCENT_PRICE_BY_SIDE"
    notional_filter: str = "NOTIONAL"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Decimal) and not (value.is_finite() and value >= 0):
                raise BadInput(f"{self.symbol}: {self._filter_of(field.name)} has a value of {value}", _AGAIN)
        for name, one in (
            ("PRICE_FILTER", self.prices),
            ("LOT_SIZE", self.lots),
            ("MARKET_LOT_SIZE", self.market_lots),
        ):
            for value in (one.least, one.most, one.step):
                if not (value.is_finite() and value >= 0):
                    raise BadInput(f"{self.symbol}: {name} has a value of {value}", _AGAIN)
            if one.most > 0 and floor_to(one.most, one.step) < max(one.least, one.step):
                raise BadInput(
                    f"{self.symbol}: {name} is impossible: at most {one.most}, at least {one.least}, step {one.step}",
                    "no order could be sent; correct the filter",
                )
        for name, least, most in (
            (self.notional_filter, self.min_notional, self.max_notional),
            (self.percent_filter, self.bid_down, self.bid_up),
            (self.percent_filter, self.ask_down, self.ask_up),
        ):
            if 0 < most < least:
                raise BadInput(
                    f"{self.symbol}: {name} is impossible: at most {most}, at least {least}",
                    "no order could be sent; correct the filter",
                )

    def _filter_of(self, field: str) -> str:
        if field == "max_position":
            return "MAX_POSITION"
        return self.notional_filter if field.endswith("notional") else self.percent_filter

    def floor_qty(self, qty: Decimal, *, market: bool = False) -> Decimal:
        """The largest quantity that may be sent, not above `qty`; 0 if that is below the smallest."""
        both = (self.lots, self.market_lots) if market else (self.lots,)
        # All caps come before the steps: the cap of MARKET_LOT_SIZE is hardly ever a whole number of lots.
        for one in both:
            if one.most > 0:
                qty = min(qty, one.most)
        qty = floor_to(qty, _common_step([one.step for one in both]))
        return ZERO if qty <= 0 or any(qty < one.least for one in both) else qty

    def round_price(self, price: Decimal, side: str) -> Decimal:
        """The nearest price on a tick that is no worse for us: a buy rounds down, a sell up."""
        below = floor_to(price, self.prices.step)
        return below if side == "BUY" or below == price else below + self.prices.step

    def check(self, order: Proposal, book: Book) -> Violation | None:
        """What the exchange would refuse the order for first, in its order; None if it passes all."""
        return self._illegal(order) or self.filtered(order, book)

    def _illegal(self, order: Proposal) -> Violation | None:
        numbers = (
            ("quantity", order.qty, self.base_precision),
            ("price", order.price, self.quote_precision),
            ("stopPrice", order.stop_price, self.quote_precision),
        )
        given = [(name, value, places) for name, value, places in numbers if value is not None]
        for name, value, _ in given:
            if not value.is_finite() or value < 0:
                return Violation(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{_LEGAL}'.")
        for name, value, places in given:
            if value != floor_to(value, Decimal(1).scaleb(-places)):
                return Violation(-1111, f"Parameter '{name}' has too much precision.")
        return None

    def filtered(self, order: Proposal, book: Book) -> Violation | None:
        """The same for an order whose numbers are legal, and have no more decimals than they may."""
        failed = self._off_step(order) or self._out_of_bounds(order, book) or self._one_too_many(order, book)
        return Violation(-1013, f"Filter failure: {failed}") if failed else None

    def _off_step(self, order: Proposal) -> str:
        """The filter of prices or quantities that an order fails; empty if it passes."""
        for price in (order.price, order.stop_price):
            if price is not None and (price <= 0 or not self.prices.holds(price)):
                return "PRICE_FILTER"
        if not self.lots.holds(order.qty) or order.qty <= 0:
            return "LOT_SIZE"
        return "MARKET_LOT_SIZE" if order.price is None and not self.market_lots.holds(order.qty) else ""

    def _out_of_bounds(self, order: Proposal, book: Book) -> str:
        """Whether it is too far from the price, too small or too large."""
        market, at = order.price is None, book.price if order.price is None else order.price
        if not market:
            up, down = (self.bid_up, self.bid_down) if order.side == "BUY" else (self.ask_up, self.ask_down)
            if (up > 0 and at > book.price * up) or at < book.price * down:
                return self.percent_filter
        notional = order.qty * at
        if notional < self.min_notional and (not market or self.min_notional_for_market):
            return self.notional_filter
        if 0 < self.max_notional < notional and (not market or self.max_notional_for_market):
            return self.notional_filter
        return ""

    def _one_too_many(self, order: Proposal, book: Book) -> str:
        """Whether there would be too much or too many with it."""
        if order.side == "BUY" and self.max_position > 0 and book.held + order.qty > self.max_position:
            return "MAX_POSITION"
        if 0 < self.max_orders <= book.open_orders:
            return "MAX_NUM_ORDERS"
        if order.stop_price is not None and 0 < self.max_stop_orders <= book.open_stop_orders:
            return "MAX_NUM_ALGO_ORDERS"
        return ""


def exact(value: float | str | Decimal) -> Decimal:
    """The decimal that a number is written as: `exact(0.1)` is 0.1, not its binary neighbour."""
    # numpy's floats are floats too, but their repr is `np.float64(0.1)`.
    return value if isinstance(value, Decimal) else Decimal(repr(float(value)) if isinstance(value, float) else value)


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` not above a value that is not negative; the value itself if the step is 0."""
    return value if step == 0 else _EXACT.multiply(_EXACT.divide_int(value, step), step)


def _common_step(steps: list[Decimal]) -> Decimal:
    # The smallest quantity that is a multiple of each step; 0 if there is no step.
    used = [step for step in steps if step > 0]
    if not used:
        return ZERO
    places = max(0, *(-int(step.as_tuple().exponent) for step in used))
    return Decimal(math.lcm(*(int(step.scaleb(places)) for step in used))).scaleb(-places)


@compiled(error_model="numpy")
def step_floor(qty: float, step: float) -> float:
    """The largest multiple of `step` not above `qty`, for compiled code: `float(floor_to(exact(qty), exact(step)))`.

    Equal to it to the last bit for steps of at most 12 decimals and quantities of at most 15 digits in them. `qty`
    itself without a step; 0 for a quantity that is not positive, or not a number.

    With m = 10^k the step is a whole number a of units 1/m, and n units are the float n/m, correctly rounded. Rounding
    keeps the order of numbers, so n/m <= qty in floats says the same as in decimals, and the last bit of qty · m,
    which may be wrong, is put right by looking at the units above and below.
    """
    if not qty > 0:
        return 0.0
    if step <= 0:
        return qty
    scale = 1.0
    for _ in range(13):
        # Below half a unit it cannot be a whole number of them; a division takes longer than to see that.
        if step * scale > 0.5:
            units = np.rint(step * scale)
            if units / scale == step:
                break
        scale *= 10.0
    else:
        return np.floor(qty / step) * step
    whole = np.floor(qty * scale)
    if not whole < 9e15:
        return np.floor(qty / step) * step
    if (whole + 1) / scale <= qty:
        whole += 1
    elif whole / scale > qty:
        whole -= 1
    # Most steps are one unit.
    return (whole if units == 1 else whole - np.fmod(whole, units)) / scale


@compiled(error_model="numpy")
def round_level(price: float, side: int, tick: float) -> float:
    """The price of an exit on a tick, no worse for us: a long position sells, so upwards; a short one buys, downwards.

    `float(SymbolFilters.round_price(exact(price), …))` to the last bit, where `step_floor` is exact. The price itself
    without a tick, and where there is no order to place: an infinite level, or one at or below zero.
    """
    if not (tick > 0 and 0 < price < np.inf):
        return price
    below = step_floor(price, tick)
    if side < 0 or below == price:
        return below
    # The next tick, from the middle of the one after it: the sum's own rounding is far smaller than half a tick.
    return step_floor(below + 1.5 * tick, tick)


def from_exchange_info(entry: Mapping[str, Any]) -> SymbolFilters:
    """Filters of one entry of `symbols` in `GET /api/v3/exchangeInfo`, spot or USD-M.

    Raises BadInput: a filter lacks a field, has a value that is not a number, or is impossible.
    """
    symbol = str(entry.get("symbol", "?"))
    found = {str(one.get("filterType")): one for one in entry.get("filters", ())}

    def number(name: str, *keys: str) -> Decimal:
        """Value of a filter under the first of several names; 0 without the filter, and never if it lacks them all."""
        if name not in found:
            return ZERO
        key = next((key for key in keys if key in found[name]), None)
        if key is None:
            raise BadInput(f"{symbol}: {name} has no {keys[0]}", _AGAIN)
        try:
            value = exact(str(found[name][key]))
        except ArithmeticError:
            value = Decimal("NaN")
        if not value.is_finite():
            raise BadInput(f"{symbol}: {name}.{key} is not a number: {found[name][key]!r}", _AGAIN)
        return value

    def span(name: str, unit: str, step: str) -> Range:
        return Range(number(name, f"min{unit}"), number(name, f"max{unit}"), number(name, step))

    percent = "PERCENT_PRICE_BY_SIDE" if "PERCENT_PRICE_BY_SIDE" in found else "PERCENT_PRICE"
    notional = "NOTIONAL" if "NOTIONAL" in found else "MIN_NOTIONAL"
    averaged = found.get(percent, {}).get("avgPriceMins", found.get(notional, {}).get("avgPriceMins", 0))
    return SymbolFilters(
        symbol,
        span("PRICE_FILTER", "Price", "tickSize"),
        span("LOT_SIZE", "Qty", "stepSize"),
        span("MARKET_LOT_SIZE", "Qty", "stepSize"),
        number(notional, "minNotional", "notional"),
        number(notional, "maxNotional") if notional == "NOTIONAL" else ZERO,
        bool(found.get(notional, {}).get("applyMinToMarket", found.get(notional, {}).get("applyToMarket", True))),
        bool(found.get(notional, {}).get("applyMaxToMarket", False)),
        number(percent, "bidMultiplierUp", "multiplierUp"),
        number(percent, "bidMultiplierDown", "multiplierDown"),
        number(percent, "askMultiplierUp", "multiplierUp"),
        number(percent, "askMultiplierDown", "multiplierDown"),
        int(number("MAX_NUM_ORDERS", "maxNumOrders", "limit")),
        int(number("MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders", "limit")),
        number("MAX_POSITION", "maxPosition"),
        int(averaged),
        # The futures' own words come first: there the asset's precision is finer than an order's may be.
        int(entry.get("quantityPrecision", entry.get("baseAssetPrecision", 8))),
        int(entry.get("pricePrecision", entry.get("quotePrecision", 8))),
        str(entry.get("baseAsset", "")),
        percent,
        notional,
    )
