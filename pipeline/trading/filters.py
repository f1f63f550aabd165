"""The exchange's rules of a symbol, in exact decimals: what may be sent, and why not.

Shared by `serve` before an order is sent and by the local exchange when it arrives; the compiled core rounds
with `costs.floor_to_step`, which a test holds equal to this.
Source: Binance's filters, https://developers.binance.com/docs/binance-spot-api-docs/filters
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from pipeline.errors import BadInput

ZERO = Decimal(0)


@dataclass(frozen=True)
class Violation:
    """What is wrong with an order: the exchange's code and words."""

    code: int
    message: str

    @property
    def filter(self) -> str:
        """Name of the filter: `LOT_SIZE` of `Filter failure: LOT_SIZE`."""
        return self.message.rpartition(" ")[2]


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
        return self.step == 0 or (value - self.least) % self.step == 0 or value % self.step == 0


@dataclass(frozen=True)
class Proposal:
    """An order as it would be sent. price: None for a market order; side: BUY or SELL."""

    side: str
    qty: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True)
class Book:
    """What filters compare with: the last or average price, open orders, and what is held with open buys."""

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

    def __post_init__(self) -> None:
        for name, one in (
            ("PRICE_FILTER", self.prices),
            ("LOT_SIZE", self.lots),
            ("MARKET_LOT_SIZE", self.market_lots),
        ):
            if min(one.least, one.most, one.step) < 0:
                raise BadInput(f"{self.symbol}: {name} has a negative value", "download the exchange's rules again")
            if one.most > 0 and one.most < max(one.least, one.step):
                raise BadInput(
                    f"{self.symbol}: {name} is impossible: at most {one.most}, at least {max(one.least, one.step)}",
                    "no order could be sent; correct the filter",
                )
        if 0 < self.max_notional < self.min_notional:
            raise BadInput(
                f"{self.symbol}: NOTIONAL is impossible: at most {self.max_notional}, at least {self.min_notional}",
                "no order could be sent; correct the filter",
            )

    def floor_qty(self, qty: Decimal, *, market: bool = False) -> Decimal:
        """The largest quantity that may be sent, not above `qty`; 0 if that is below the smallest."""
        for one in (self.lots, self.market_lots) if market else (self.lots,):
            if one.most > 0:
                qty = min(qty, one.most)
            qty = floor_to(qty, one.step)
            if one.least > 0 and qty < one.least:
                return ZERO
        return max(qty, ZERO)

    def round_price(self, price: Decimal, side: str) -> Decimal:
        """The nearest price on a tick that is no worse for us: a buy rounds down, a sell up."""
        tick = self.prices.step
        if tick == 0:
            return price
        return (price / tick).to_integral_value(ROUND_FLOOR if side == "BUY" else ROUND_CEILING) * tick

    def check(self, order: Proposal, book: Book) -> Violation | None:
        """The first filter that the order fails, in the exchange's order; None if it passes all."""
        prices = [price for price in (order.price, order.stop_price) if price is not None]
        market, at = order.price is None, book.price if order.price is None else order.price
        notional = order.qty * at
        up, down = (self.bid_up, self.bid_down) if order.side == "BUY" else (self.ask_up, self.ask_down)
        failures = (
            ("PRICE_FILTER", any(not self.prices.holds(price) for price in prices)),
            ("LOT_SIZE", not self.lots.holds(order.qty) or order.qty <= 0),
            ("MARKET_LOT_SIZE", market and not self.market_lots.holds(order.qty)),
            (
                "PERCENT_PRICE_BY_SIDE",
                any((up > 0 and price > book.price * up) or price < book.price * down for price in prices),
            ),
            (
                "NOTIONAL",
                (notional < self.min_notional and (not market or self.min_notional_for_market))
                or (0 < self.max_notional < notional and (not market or self.max_notional_for_market)),
            ),
            (
                "MAX_POSITION",
                order.side == "BUY" and self.max_position > 0 and book.held + order.qty > self.max_position,
            ),
            ("MAX_NUM_ORDERS", self.max_orders > 0 and book.open_orders >= self.max_orders),
            (
                "MAX_NUM_ALGO_ORDERS",
                order.stop_price is not None
                and self.max_stop_orders > 0
                and book.open_stop_orders >= self.max_stop_orders,
            ),
        )
        failed = next((name for name, fails in failures if fails), None)
        return None if failed is None else Violation(-1013, f"Filter failure: {failed}")


def exact(value: float | str | Decimal) -> Decimal:
    """The decimal that a number is written as: `exact(0.1)` is 0.1, not its binary neighbour."""
    return value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` not above a value; the value itself if the step is 0."""
    return value if step == 0 else (value / step).to_integral_value(ROUND_FLOOR) * step


def from_exchange_info(entry: Mapping[str, Any]) -> SymbolFilters:
    """Filters of one entry of `symbols` in `GET /api/v3/exchangeInfo`, spot or USD-M.

    Raises BadInput: a filter lacks a field, has a value that is not a number, or is impossible.
    """
    symbol = str(entry.get("symbol", "?"))
    found = {one.get("filterType"): one for one in entry.get("filters", ())}

    def number(name: str, key: str, default: str = "0") -> Decimal:
        raw = found.get(name, {}).get(key, default)
        try:
            return exact(str(raw))
        except ArithmeticError:
            raise BadInput(f"{symbol}: {name}.{key} is not a number: {raw!r}", "download the rules again") from None

    def span(name: str, unit: str, step: str) -> Range:
        return Range(number(name, f"min{unit}"), number(name, f"max{unit}"), number(name, step))

    notional = found.get("NOTIONAL") or found.get("MIN_NOTIONAL") or {}
    name = str(notional.get("filterType", "NOTIONAL"))
    sided, plain = "PERCENT_PRICE_BY_SIDE", "PERCENT_PRICE"
    by_side = sided in found
    return SymbolFilters(
        symbol,
        span("PRICE_FILTER", "Price", "tickSize"),
        span("LOT_SIZE", "Qty", "stepSize"),
        span("MARKET_LOT_SIZE", "Qty", "stepSize"),
        number(name, "minNotional" if "minNotional" in notional else "notional"),
        number(name, "maxNotional"),
        bool(notional.get("applyMinToMarket", notional.get("applyToMarket", True))),
        bool(notional.get("applyMaxToMarket", False)),
        number(sided, "bidMultiplierUp") if by_side else number(plain, "multiplierUp"),
        number(sided, "bidMultiplierDown") if by_side else number(plain, "multiplierDown"),
        number(sided, "askMultiplierUp") if by_side else number(plain, "multiplierUp"),
        number(sided, "askMultiplierDown") if by_side else number(plain, "multiplierDown"),
        int(number("MAX_NUM_ORDERS", "maxNumOrders" if "maxNumOrders" in found.get("MAX_NUM_ORDERS", {}) else "limit")),
        int(number("MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders")),
        number("MAX_POSITION", "maxPosition"),
    )
