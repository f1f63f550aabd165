"""What each request weighs, over REST and over the WebSocket API.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits and each endpoint's page.
"""

import json

from pipeline.exchange.local.market_data import PUBLIC
from pipeline.exchange.local.operations import OPERATIONS

_OTHERS = {"ping": 1, "time": 1, "exchangeInfo": 20, "account.rateLimits.orders": 40}
_OTHERS |= {"systemStatus": 1, "tradeFee": 1, "apiRestrictions": 1}
# Methods that only the WebSocket API has: subscriptions and sessions.
_SOCKET = 2
CONNECTION = 2
_DEPTH = ((100, 5), (500, 25), (1000, 50))
_DEEPEST = 250


def weight_of(name: str, params: dict[str, str]) -> int:
    """Weight of an operation with its parameters, which need not be valid."""
    if name == "order.test":
        return 20 if params.get("computeCommissionRates", "").lower() == "true" else 1
    if name == "myTrades":
        return 5 if "orderId" in params else 20
    if name in OPERATIONS:
        return OPERATIONS[name].cost(params)
    return _weight_of_question(name, params) if name in PUBLIC else _OTHERS.get(name, _SOCKET)


def _weight_of_question(name: str, params: dict[str, str]) -> int:
    """Weight of a public question, which may depend on how much it asks for."""
    count = 1 if "symbol" in params else _symbols(params.get("symbols", ""))
    if name == "depth" and _is_number(params.get("limit", "")):
        limit = int(params["limit"])
        return next((weight for most, weight in _DEPTH if limit <= most), _DEEPEST)
    if name in ("ticker.price", "ticker.book"):
        return 2 if "symbol" in params else 4
    if name == "ticker.24hr":
        return 80 if not count or count > 100 else 40 if count > 20 else 2
    # Four for each symbol, up to fifty of them.
    return 4 * min(count or 1, 50) if name in ("ticker", "ticker.tradingDay") else PUBLIC[name][1]


def is_free(name: str) -> bool:
    """Whether a success costs nothing: placing and canceling orders, since April 2026; refusals cost their weight."""
    return name in OPERATIONS and OPERATIONS[name].changes


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _symbols(text: str) -> int:
    """How many symbols a list names; 0 if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return 0
    return len(found) if isinstance(found, list) else 0
