"""binance-connector: REST (`rest`)."""

import sys
from collections.abc import Callable
from typing import Any

import loopback

loopback.guard()

from binance.error import ClientError  # noqa: E402
from binance.spot import Spot  # noqa: E402
from market_checks import check_market  # noqa: E402
from session import KEY, SECRET, Absent, Refused, Session  # noqa: E402
from trading_checks import check_lists, check_orders, check_refusals  # noqa: E402

_CALLS = {
    "ping": "ping",
    "time": "time",
    "exchangeInfo": "exchange_info",
    "klines": "klines",
    "uiKlines": "ui_klines",
    "depth": "depth",
    "trades.recent": "trades",
    "trades.historical": "historical_trades",
    "trades.aggregate": "agg_trades",
    "avgPrice": "avg_price",
    "ticker.price": "ticker_price",
    "ticker.book": "book_ticker",
    "ticker.24hr": "ticker_24hr",
    "ticker": "rolling_window_ticker",
    "ticker.tradingDay": "trading_day_ticker",
    "account.status": "account",
    "account.commission": "query_commission_rates",
    "account.rateLimits.orders": "get_order_rate_limit",
    "order.place": "new_order",
    "order.test": "new_order_test",
    "order.status": "get_order",
    "openOrders.status": "get_open_orders",
    "order.cancel": "cancel_order",
    "openOrders.cancelAll": "cancel_open_orders",
    "order.cancelReplace": "cancel_and_replace",
    "allOrders": "get_orders",
    "myTrades": "my_trades",
    "orderList.place.oco": "new_oco_order",
    "orderList.place.oto": "new_oto_order",
    "orderList.place.otoco": "new_otoco_order",
    "orderList.status": "get_oco_order",
    "openOrderLists.status": "get_oco_open_orders",
    "allOrderLists": "get_oco_orders",
    "orderList.cancel": "cancel_oco_order",
}


def caller(client: Spot) -> Callable[..., Any]:
    """Calls by the names of the WebSocket API."""

    def ask(name: str, **params: Any) -> Any:
        if name not in _CALLS:
            raise Absent
        try:
            return getattr(client, _CALLS[name])(**params)
        except ClientError as error:
            raise Refused(error.error_code, error.error_message) from error

    return ask


def rest(session: Session) -> None:
    """All of REST."""
    ask = caller(Spot(KEY, SECRET, base_url=session.url))
    check_market(session, ask)
    check_orders(session, ask)
    check_lists(session, ask)
    check_refusals(session, ask, caller(Spot(KEY, "another-secret", base_url=session.url)))


if __name__ == "__main__":
    session = Session()
    {"rest": rest}[sys.argv[1]](session)
    session.done()
