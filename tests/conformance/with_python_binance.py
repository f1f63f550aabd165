"""python-binance: `Client` (`sync`); `AsyncClient`, market sockets (`async`); WebSocket API, user socket (`ws`)."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any

import loopback

loopback.guard()

from binance import AsyncClient, BinanceSocketManager, Client  # noqa: E402
from binance.exceptions import BinanceAPIException  # noqa: E402
from market_checks import check_market  # noqa: E402
from session import KEY, SECRET, Absent, Refused, Session  # noqa: E402
from stream_checks import check_streams, check_user_stream  # noqa: E402
from trading_checks import check_lists, check_orders, check_refusals  # noqa: E402

_REST = {
    "ping": "ping",
    "time": "get_server_time",
    "exchangeInfo": "get_exchange_info",
    "klines": "get_klines",
    "uiKlines": "get_ui_klines",
    "depth": "get_order_book",
    "trades.recent": "get_recent_trades",
    "trades.historical": "get_historical_trades",
    "trades.aggregate": "get_aggregate_trades",
    "avgPrice": "get_avg_price",
    "ticker.price": "get_symbol_ticker",
    "ticker.book": "get_orderbook_ticker",
    "ticker.24hr": "get_ticker",
    "ticker": "get_symbol_ticker_window",
    "ticker.tradingDay": "v3_get_ticker_trading_day",
    "account.status": "get_account",
    "account.commission": "v3_get_account_commission",
    "account.rateLimits.orders": "get_current_order_count",
    "order.place": "create_order",
    "order.test": "create_test_order",
    "order.status": "get_order",
    "openOrders.status": "get_open_orders",
    "order.cancel": "cancel_order",
    "openOrders.cancelAll": "cancel_all_open_orders",
    "order.cancelReplace": "cancel_replace_order",
    "allOrders": "get_all_orders",
    "myTrades": "get_my_trades",
    "orderList.place.oco": "create_oco_order",
    "orderList.place.oto": "v3_post_order_list_oto",
    "orderList.place.otoco": "v3_post_order_list_otoco",
    "orderList.status": "v3_get_order_list",
    "openOrderLists.status": "get_open_oco_orders",
    "allOrderLists": "v3_get_all_order_list",
    "orderList.cancel": "v3_delete_order_list",
}
_SOCKETS = {
    "ping": "ws_ping",
    "time": "ws_get_time",
    "exchangeInfo": "ws_get_exchange_info",
    "klines": "ws_get_klines",
    "uiKlines": "ws_get_uiKlines",
    "depth": "ws_get_order_book",
    "trades.recent": "ws_get_recent_trades",
    "trades.historical": "ws_get_historical_trades",
    "trades.aggregate": "ws_get_aggregate_trades",
    "avgPrice": "ws_get_avg_price",
    "ticker.price": "ws_get_symbol_ticker",
    "ticker.book": "ws_get_orderbook_ticker",
    "ticker.24hr": "ws_get_ticker",
    "ticker": "ws_get_symbol_ticker_window",
    "ticker.tradingDay": "ws_get_trading_day_ticker",
    "account.status": "ws_get_account",
    "account.commission": "ws_get_commission_rates",
    "account.rateLimits.orders": "ws_get_account_rate_limits_orders",
    "order.place": "ws_create_order",
    "order.test": "ws_create_test_order",
    "order.status": "ws_get_order",
    "openOrders.status": "ws_get_open_orders",
    "order.cancel": "ws_cancel_order",
    "openOrders.cancelAll": "ws_cancel_all_open_orders",
    "order.cancelReplace": "ws_cancel_and_replace_order",
    "allOrders": "ws_get_all_orders",
    "myTrades": "ws_get_my_trades",
    "orderList.place.oco": "ws_create_oco_order",
    "orderList.place.oto": "ws_create_oto_order",
    "orderList.place.otoco": "ws_create_otoco_order",
    "orderList.status": "ws_get_oco_order",
    "openOrderLists.status": "ws_get_oco_open_orders",
    "orderList.cancel": "ws_cancel_oco_order",
}


def _addresses(session: Session) -> dict[str, str]:
    """Class attributes that point a client at the exchange; there is no other way to do it."""
    return {
        "API_URL": f"{session.url}/api",
        "MARGIN_API_URL": f"{session.url}/sapi",
        "WS_API_URL": session.ws_api,
    }


def _caller(client: Any, names: dict[str, str], wait: Callable[[Any], Any]) -> Callable[..., Any]:
    """Calls by the names of the WebSocket API. wait: gives what a call returns, or what comes of its coroutine."""

    def ask(name: str, **params: Any) -> Any:
        call = getattr(client, names.get(name, "-"), None)
        if call is None:
            raise Absent
        try:
            return wait(call(**params))
        except BinanceAPIException as error:
            raise Refused(error.code, error.message) from error

    return ask


def sync(session: Session) -> None:
    """REST through `Client`."""

    def caller(secret: str) -> Callable[..., Any]:
        client = type("LocalClient", (Client,), _addresses(session))(KEY, secret)
        return _caller(client, _REST, lambda reply: reply)

    _all(session, caller(SECRET), caller("another-secret"))


def _all(session: Session, ask: Callable[..., Any], stranger: Callable[..., Any]) -> None:
    check_market(session, ask)
    check_orders(session, ask)
    check_lists(session, ask)
    check_refusals(session, ask, stranger)


class Loop:
    """An `AsyncClient` and its sockets, driven from blocking checks: the loop runs while a check waits."""

    def __init__(self, session: Session) -> None:
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)  # The sockets look there for the loop that they read in.
        self.session = session
        self.client = self.make(SECRET)
        manager = type("LocalManager", (BinanceSocketManager,), {"STREAM_URL": session.streams})
        self.manager = manager(self.client, max_queue_size=5000)
        self._tasks: list[Any] = []

    def make(self, secret: str) -> Any:
        """A client with a secret."""
        local = type("LocalClient", (AsyncClient,), _addresses(self.session))
        return self.run(local.create(KEY, secret))

    def run(self, coroutine: Any) -> Any:
        """Wait for a coroutine."""
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 30))

    def listen(self, stream: str) -> list[Any]:
        """Subscribe to a market stream."""
        manager = self.manager
        sockets = {
            "kline_5m": lambda: manager.kline_socket("BTCUSDT", "5m"),
            "trade": lambda: manager.trade_socket("BTCUSDT"),
            "aggTrade": lambda: manager.aggtrade_socket("BTCUSDT"),
            "bookTicker": lambda: manager.symbol_book_ticker_socket("BTCUSDT"),
            "depth": lambda: manager.depth_socket("BTCUSDT"),
            "depth5": lambda: manager.depth_socket("BTCUSDT", depth="5"),
            "miniTicker": lambda: manager.symbol_miniticker_socket("BTCUSDT"),
            "ticker": lambda: manager.symbol_ticker_socket("BTCUSDT"),
        }
        return self._collect(sockets[stream]())

    def follow(self) -> list[Any]:
        """Subscribe to the user data stream."""
        return self._collect(self.manager.user_socket())

    def _collect(self, socket: Any) -> list[Any]:
        messages: list[Any] = []

        async def receive() -> None:
            while True:
                messages.append(await socket.recv())

        self.run(socket.__aenter__())
        self._tasks.append(self.loop.create_task(receive()))
        self.run(asyncio.sleep(0.2))
        return messages

    def wait(self, condition: Callable[[], bool]) -> None:
        """Receive until a condition holds, at most five seconds."""
        for _ in range(100):
            self.run(asyncio.sleep(0.05))
            if condition():
                return

    def close(self) -> None:
        """Stop receiving."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self.loop.run_until_complete(task)


def async_(session: Session) -> None:
    """REST through `AsyncClient`, and market sockets."""
    loop = Loop(session)
    stranger = _caller(loop.make("another-secret"), _REST, loop.run)
    _all(session, _caller(loop.client, _REST, loop.run), stranger)
    check_streams(session, loop.listen, loop.wait)
    loop.close()


def ws(session: Session) -> None:
    """WebSocket API, and the user socket."""
    loop = Loop(session)
    ask = _caller(loop.client, _SOCKETS, loop.run)
    _all(session, ask, _caller(loop.make("another-secret"), _SOCKETS, loop.run))
    check_user_stream(session, ask, loop.follow, loop.wait)
    loop.close()


if __name__ == "__main__":
    here = Session()
    {"sync": sync, "async": async_, "ws": ws}[sys.argv[1]](here)
    here.done()
