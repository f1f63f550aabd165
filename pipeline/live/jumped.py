"""Stops with a limit that the price has jumped over: they were triggered where nobody takes their limit."""

from collections.abc import Iterable
from decimal import Decimal

from pipeline.live.books import Entry
from pipeline.trading.orders import is_live

# How long the price may stay beyond the limit until the position is sold at market.
JUMPED_MS = 5000


class JumpedStops:
    """Since when the price has been beyond the limit of a symbol's stop."""

    def __init__(self) -> None:
        self._prices: dict[str, tuple[Decimal, Decimal]] = {}
        self._since: dict[str, int] = {}

    def priced(self, symbol: str, bid: Decimal, ask: Decimal) -> None:
        """The best prices of a symbol, or the close of a bar as both."""
        self._prices[symbol] = bid, ask

    def rests(self, symbol: str) -> None:
        """A stop is sent: prices of before say nothing of it, and who told them may have fallen silent since."""
        self._prices.pop(symbol, None)

    def is_due(self, symbol: str, guards: Iterable[Entry], now_ms: int) -> bool:
        """Whether what protects a symbol has been jumped over for too long."""
        if symbol not in self._prices or not any(is_jumped(one, *self._prices[symbol]) for one in guards):
            self._since.pop(symbol, None)
            return False
        return now_ms - self._since.setdefault(symbol, now_ms) >= JUMPED_MS


def is_jumped(stop: Entry, bid: Decimal, ask: Decimal) -> bool:
    """Whether an order is a stop that rests, and its limit is out of the market's reach."""
    limit = stop.request.price
    if stop.order.leg != "stop" or limit is None or stop.is_unresolved or not is_live(stop.order.state):
        return False
    return bid < limit if stop.order.side == "SELL" else ask > limit
