"""What an order must pass before it is accepted: state, filters, the position it reduces, margin."""

from decimal import Decimal
from typing import TYPE_CHECKING

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.futures.orders import FuturesOrder
from pipeline.exchange.local.futures.requests import Request
from pipeline.exchange.local.futures.rules import places
from pipeline.exchange.local.instruments import Instrument
from pipeline.exchange.local.matching import Pit
from pipeline.exchange.local.numbers import ZERO, times
from pipeline.trading.filters import Range

if TYPE_CHECKING:
    from pipeline.exchange.local.futures.engine import FuturesEngine

NO_MARGIN = (-2019, "Margin is insufficient.")
REDUCE_ONLY = (-2022, "ReduceOnly Order is rejected.")
DUPLICATE = (-4116, "ClientOrderId is duplicated.")
TOO_PRECISE = (-1111, "Precision is over the maximum defined for this asset.")


def check(engine: "FuturesEngine", account: Account, request: Request) -> None:
    """Refuse what the contract's state or filters forbid. Raises ApiError."""
    pit = engine.pits[request.symbol]
    instrument = pit.instrument
    if instrument.status != "TRADING":
        raise ApiError(-4108, "This contract is in settling or not in trading status.")
    if not account.can_trade:
        raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    if not request.close_position:
        _check_quantity(instrument, request)
    for price in (request.price, request.trigger):
        if price:
            _check_price(instrument, price)
    if request.kind == "LIMIT":
        _check_band(instrument, request, engine.mark(instrument.symbol))
    notional = request.qty * (request.price or pit.price)
    least = instrument.rules.min_notional
    if not request.reduce_only and notional < least:
        raise ApiError(-4164, f"Order's notional must be no smaller than {least:f} (unless you choose reduce only).")


def _check_quantity(instrument: Instrument, request: Request) -> None:
    if request.qty <= 0:
        raise ApiError(-4003, "Quantity less than or equal to zero.")
    lots = instrument.rules.lots
    if _too_fine(request.qty, lots.step):
        raise ApiError(*TOO_PRECISE)
    if request.qty < lots.least:
        raise ApiError(-4004, "Quantity less than min quantity.")
    most = lots.most if request.kind == "LIMIT" or not instrument.rules.market_lots.most else (
        instrument.rules.market_lots.most
    )  # fmt: skip
    if most and request.qty > most:
        raise ApiError(-4005, "Quantity greater than max quantity.")
    if not Range(step=lots.step).holds(request.qty):
        raise ApiError(-4023, "Qty not increased by step size.")


def _check_price(instrument: Instrument, price: Decimal) -> None:
    prices = instrument.rules.prices
    if _too_fine(price, prices.step):
        raise ApiError(*TOO_PRECISE)
    if price < prices.least:
        raise ApiError(-4013, "Price less than min price.")
    if prices.most and price > prices.most:
        raise ApiError(-4002, "Price greater than max price.")
    if not Range(step=prices.step).holds(price):
        raise ApiError(-4014, "Price not increased by tick size.")


def _too_fine(value: Decimal, unit: Decimal) -> bool:
    return unit > 0 and places(value) > places(unit)


def _check_band(instrument: Instrument, request: Request, mark: Decimal) -> None:
    """A limit order must not be much worse than the market for who sends it."""
    up, down = (instrument.number("PERCENT_PRICE", name) for name in ("multiplierUp", "multiplierDown"))
    if request.side == "BUY" and up and request.price > mark * up:
        raise ApiError(-4016, f"Limit price can't be higher than {mark * up:f}.")
    if request.side == "SELL" and request.price < mark * down:
        raise ApiError(-4024, f"Limit price can't be lower than {mark * down:f}.")


def check_orders(engine: "FuturesEngine", account: Account, request: Request) -> None:
    """Refuse one order too many, and an id that a live order has. Raises ApiError."""
    own = [one for one in engine.open_orders(account) if one.symbol == request.symbol]
    if request.client_id and engine.live_by_client_id(account, request.client_id, request.symbol):
        raise ApiError(*DUPLICATE)
    most = engine.instruments[request.symbol].rules.max_orders
    if most and len(own) >= most:
        raise ApiError(-2025, "Reach max open order limit.")


def check_algos(engine: "FuturesEngine", account: Account, request: Request) -> None:
    """The same of conditional orders. Raises ApiError."""
    own = [one for one in engine.open_algos(account) if one.symbol == request.symbol]
    if request.client_id and any(one.client_id == request.client_id for one in own):
        raise ApiError(*DUPLICATE)
    most = engine.instruments[request.symbol].rules.max_stop_orders
    if most and len(own) >= most:
        raise ApiError(-4045, "Reach max stop order limit.")
    if request.close_position and any(one.close_position and one.side == request.side for one in own):
        raise ApiError(
            -4130, "An open stop or take profit order with GTE and closePosition in the direction is existing."
        )


def check_funds(engine: "FuturesEngine", account: Account, order: FuturesOrder) -> None:
    """Refuse what reduces nothing, what a maker must not do, and what the account has no margin for.

    Raises ApiError -2022, -5021, -5022, -2019, -2027.
    """
    pit = engine.pits[order.symbol]
    position = engine.wallet(account).position(order.symbol)
    if order.reduce_only and not position.closable(order.side):
        raise ApiError(*REDUCE_ONLY)
    crosses = order.kind != "LIMIT" or pit.crosses(order.side, order.price)
    if order.tif == "GTX" and crosses:
        raise ApiError(
            -5022,
            "Due to the order could not be executed as maker, the Post Only order will be rejected."
            " The order will not be recorded in the order history",
        )
    if order.tif == "FOK" and not (crosses and sum((qty for _, qty in pit.plan(order)), ZERO) >= order.remaining):
        raise ApiError(
            -5021,
            "Due to the order could not be filled immediately, the FOK order has been rejected."
            " The order will not be recorded in the order history",
        )
    if order.reduce_only:
        return
    notional = _notional(pit, order)
    asset = pit.instrument.quote
    before = engine.reserved(account, asset)
    after = engine.reserved(account, asset, adding=(order.symbol, order.side, notional))
    if after > before and after > account.balance(asset).free:
        raise ApiError(*NO_MARGIN)
    most = engine.brackets.most(position.leverage)
    signed = notional if order.side == "BUY" else -notional
    if abs(position.side * position.cost + signed) > max(most, position.cost):
        raise ApiError(-2027, "Exceeded the maximum allowable position at current leverage.")


def _notional(pit: Pit, order: FuturesOrder) -> Decimal:
    """What a new order would cost; what the book has no more for counts at the price that the rest gets."""
    if order.kind == "LIMIT":
        return times(order.price, order.qty)
    fills = pit.plan(order)
    left = order.qty - sum((qty for _, qty in fills), ZERO)
    worst = fills[-1][0] if fills else pit.price
    return sum((times(price, qty) for price, qty in fills), times(worst, left))
