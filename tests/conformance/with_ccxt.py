"""ccxt: its unified calls over REST (`rest`), and ccxt.pro's over sockets (`pro`).

What has no unified call is checked through the raw calls that ccxt makes of each endpoint.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import loopback

loopback.guard()

import ccxt  # noqa: E402
import ccxt.pro  # noqa: E402
from market_checks import check_market  # noqa: E402
from operations import ROWS  # noqa: E402
from session import KEY, SECRET, Absent, Refused, Session  # noqa: E402
from trading_checks import check_lists  # noqa: E402
from unified_checks import check_unified_market, check_unified_orders, check_unified_refusals, check_watching  # noqa: E402

_RAW = {
    "ping": "publicGetPing",
    "exchangeInfo": "publicGetExchangeInfo",
    "klines": "publicGetKlines",
    "uiKlines": "publicGetUiKlines",
    "trades.historical": "publicGetHistoricalTrades",
    "avgPrice": "publicGetAvgPrice",
    "ticker": "publicGetTicker",
    "ticker.price": "publicGetTickerPrice",
    "ticker.tradingDay": "publicGetTickerTradingDay",
    "account.rateLimits.orders": "privateGetRateLimitOrder",
    "order.status": "privateGetOrder",
    "orderList.place.oco": "privatePostOrderListOco",
    "orderList.place.oto": "privatePostOrderListOto",
    "orderList.place.otoco": "privatePostOrderListOtoco",
    "orderList.status": "privateGetOrderList",
    "openOrderLists.status": "privateGetOpenOrderList",
    "allOrderLists": "privateGetAllOrderList",
    "orderList.cancel": "privateDeleteOrderList",
}
_NOT_UNIFIED = frozenset(
    {"ping", "uiKlines", "historical trades", "avgPrice", "ticker rolling window", "ticker trading day"}
    | {"order rate limits", *ROWS["Order lists"]}
)


def _pointed(kind: Any, session: Session, secret: str) -> Any:
    """A client that knows spot alone, and no other address than the exchange's."""
    options = {
        "defaultType": "spot",
        "fetchCurrencies": False,
        "fetchMargins": False,
        "fetchMarkets": {"types": ["spot"]},
    }
    client = kind({"apiKey": KEY, "secret": secret, "options": options, "enableRateLimit": False})
    for name, path in (("public", "/api/v3"), ("private", "/api/v3"), ("v1", "/api/v1"), ("sapi", "/sapi/v1")):
        client.urls["api"][name] = session.url + path
    return client


def _raw_caller(client: Any) -> Callable[..., Any]:
    """Raw calls by the names of the WebSocket API."""

    def ask(name: str, **params: Any) -> Any:
        if name not in _RAW:
            raise Absent
        try:
            return getattr(client, _RAW[name])(params)
        except ccxt.BaseError as error:
            body = json.loads(client.last_http_response)
            raise Refused(body["code"], body["msg"]) from error

    return ask


def rest(session: Session) -> None:
    """Unified calls over REST, and raw ones for the rest."""
    client, stranger = (_pointed(ccxt.binance, session, secret) for secret in (SECRET, "another-secret"))
    client.load_markets()

    def call(name: str, *args: Any) -> Any:
        return getattr(client, name)(*args)

    check_unified_market(session, client, call, sockets=False)
    check_unified_orders(session, call, sockets=False)
    session.only = _NOT_UNIFIED
    check_market(session, _raw_caller(client))
    check_lists(session, _raw_caller(client))
    session.only = None
    check_unified_refusals(session, call, stranger.fetch_balance, lambda: client.publicGetKlines(_UNKNOWN))


_UNKNOWN = {"symbol": "NOSUCHUSDT", "interval": "5m"}


def pro(session: Session) -> None:
    """Unified calls over sockets."""
    loop = asyncio.new_event_loop()

    def run(coroutine: Any) -> Any:
        return loop.run_until_complete(asyncio.wait_for(coroutine, 30))

    async def make(secret: str) -> Any:
        client = _pointed(ccxt.pro.binance, session, secret)
        client.urls["api"]["ws"]["spot"] = f"{session.streams}ws"
        client.urls["api"]["ws"]["ws-api"]["spot"] = session.ws_api
        await client.load_markets()
        return client

    client, stranger = run(make(SECRET)), run(make("another-secret"))

    def call(name: str, *args: Any) -> Any:
        over_sockets = getattr(client, f"{name}_ws", None)
        if over_sockets is None or name in _SWAPS_ONLY:
            raise Absent
        return run(over_sockets(*args))

    try:
        check_unified_market(session, client, call, sockets=True)
        check_unified_orders(session, call, sockets=True)
        check_unified_refusals(session, call, lambda: run(stranger.fetch_balance_ws()), None)
        check_watching(session, client, run, loop.create_task)
    finally:
        run(client.close())
        run(stranger.close())


# They exist and refuse spot.
_SWAPS_ONLY = ("fetch_order_book", "fetch_ticker")

if __name__ == "__main__":
    here = Session()
    {"rest": rest, "pro": pro}[sys.argv[1]](here)
    here.done()
