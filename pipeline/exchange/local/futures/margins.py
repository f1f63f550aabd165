"""What an account changes of its margin: leverage, and the margin of a position."""

from decimal import Decimal
from typing import TYPE_CHECKING

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.futures import checks, reports
from pipeline.exchange.local.numbers import ZERO, ratio

if TYPE_CHECKING:
    from pipeline.exchange.local.futures.engine import FuturesEngine

_TOO_LITTLE = (-4051, "Isolated balance insufficient.")


def set_leverage(engine: "FuturesEngine", account: Account, symbol: str, leverage: int) -> None:
    """Of a symbol; the margin of an open position stays as it is. Raises ApiError -4028, -4161, -2027, -2019."""
    position = engine.wallet(account).position(symbol)
    if not 1 <= leverage <= engine.brackets.most_leverage:
        raise ApiError(-4028, f"Leverage {leverage} is not valid")
    if position.qty and leverage < position.leverage:
        raise ApiError(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions.")
    if position.cost > engine.brackets.most(leverage):
        raise ApiError(-2027, "Exceeded the maximum allowable position at current leverage.")
    before, position.leverage = position.leverage, leverage
    asset = engine.instruments[symbol].quote
    if leverage < before and engine.reserved(account, asset) > account.balance(asset).free:
        position.leverage = before
        raise ApiError(*checks.NO_MARGIN)
    engine.outbox.append((account.key, reports.leverage_update(symbol, leverage, engine.now)))


def add_margin(engine: "FuturesEngine", account: Account, symbol: str, amount: Decimal) -> None:
    """Move free balance to a position, or back if negative. Raises ApiError -4053, -4051."""
    position, asset = engine.wallet(account).position(symbol), engine.instruments[symbol].quote
    if not position.qty:
        raise ApiError(-4053, "Cannot add position margin: position is 0.")
    mark = engine.mark(symbol)
    least = ratio(abs(position.notional(mark)), Decimal(position.leverage))
    left = position.margin + amount + min(position.unrealized(mark), ZERO)
    if amount > engine.available(account, asset) or (amount < 0 and left < least):
        raise ApiError(*_TOO_LITTLE)
    position.margin += amount
    account.balance(asset).free -= amount
    engine.moved(account, symbol, "MARGIN_TRANSFER")
