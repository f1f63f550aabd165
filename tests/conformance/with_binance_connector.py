"""binance-connector: REST (`rest`), WebSocket API and streams (`ws`)."""

import json
import queue
import sys
import time
from collections.abc import Callable
from typing import Any

import loopback

loopback.guard()

from binance.error import ClientError  # noqa: E402
from binance.spot import Spot  # noqa: E402
from binance.websocket.spot.websocket_api import SpotWebsocketAPIClient  # noqa: E402
from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient  # noqa: E402
from market_checks import check_market  # noqa: E402
from session import KEY, SECRET, Absent, Refused, Session  # noqa: E402
from stream_checks import check_streams  # noqa: E402
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


_SOCKETS = _CALLS | {
    "ping": "ping_connectivity",
    "time": "server_time",
    "depth": "order_book",
    "trades.recent": "recent_trades",
    "trades.aggregate": "aggregate_trades",
    "ticker.book": "ticker_book",
    "ticker": "ticker",
    "account.rateLimits.orders": "order_rate_limit",
    "order.cancelReplace": "cancel_replace_order",
    "allOrders": "order_history",
    "openOrderLists.status": "get_open_oco_orders",
    "allOrderLists": "oco_history",
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


class Sockets:
    """One socket of the WebSocket API, and one for each market stream; the client reads each in a thread."""

    def __init__(self, session: Session, secret: str = SECRET) -> None:
        self._streams = session.streams.rstrip("/")
        self._replies: queue.Queue[Any] = queue.Queue()
        self._api = SpotWebsocketAPIClient(
            stream_url=session.ws_api,
            api_key=KEY,
            api_secret=secret,
            on_message=lambda _, text: self._replies.put(json.loads(text)),
        )
        self._open: list[Any] = [self._api]

    def ask(self, name: str, **params: Any) -> Any:
        """Call the WebSocket API, and wait for the reply."""
        call = getattr(self._api, _SOCKETS.get(name, "-"), None)
        if call is None:
            raise Absent
        if name == "trades.historical":
            params["apiKey"] = KEY
        call(**params)
        reply = self._replies.get(timeout=10)
        if "error" in reply:
            raise Refused(reply["error"]["code"], reply["error"]["msg"])
        assert reply["status"] == 200
        return reply["result"]

    def listen(self, stream: str) -> list[Any]:
        """Subscribe to a market stream."""
        replies: list[Any] = []
        messages: list[Any] = []

        def receive(_: Any, text: str) -> None:
            message = json.loads(text)
            (replies if "result" in message or "error" in message else messages).append(message)

        client = SpotWebsocketStreamClient(stream_url=self._streams, on_message=receive)
        self._open.append(client)
        calls: dict[str, Callable[[], None]] = {
            "kline_5m": lambda: client.kline("btcusdt", "5m"),
            "trade": lambda: client.trade("btcusdt"),
            "aggTrade": lambda: client.agg_trade("btcusdt"),
            "bookTicker": lambda: client.book_ticker("btcusdt"),
            "depth": lambda: client.diff_book_depth("btcusdt"),
            "depth5": lambda: client.partial_book_depth("btcusdt", level=5),
            "miniTicker": lambda: client.mini_ticker("btcusdt"),
            "ticker": lambda: client.ticker("btcusdt"),
        }
        calls[stream]()
        self.wait(lambda: bool(replies))
        assert replies[0]["result"] is None, replies[0]
        return messages

    def wait(self, condition: Callable[[], bool]) -> None:
        """Let the threads read until a condition holds, at most five seconds."""
        for _ in range(100):
            time.sleep(0.05)
            if condition():
                return

    def close(self) -> None:
        """Close all sockets."""
        for one in self._open:
            one.stop()


def ws(session: Session) -> None:
    """WebSocket API and market streams; the client's user data stream is the one that was retired."""
    sockets, stranger = Sockets(session), Sockets(session, "another-secret")
    check_market(session, sockets.ask)
    check_orders(session, sockets.ask)
    check_lists(session, sockets.ask)
    check_refusals(session, sockets.ask, stranger.ask)
    check_streams(session, sockets.listen, sockets.wait)
    sockets.close()
    stranger.close()


if __name__ == "__main__":
    here = Session()
    {"rest": rest, "ws": ws}[sys.argv[1]](here)
    here.done()
