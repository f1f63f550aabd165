"""binance-sdk-spot: REST (`rest`), WebSocket API and streams (`ws`).

Its models are generated from the official documents. It only warns when a reply is not what they declare, and then
loosens them; here a warning is a failure, and so is a field that a model does not know.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import loopback

loopback.guard()

import binance_common.utils  # noqa: E402
from binance_common.configuration import (  # noqa: E402
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_common.errors import Error  # noqa: E402
from binance_sdk_spot.spot import Spot  # noqa: E402
from market_checks import check_market  # noqa: E402
from session import KEY, SECRET, Absent, Refused, Session  # noqa: E402
from stream_checks import check_streams, check_user_stream  # noqa: E402
from trading_checks import check_lists, check_orders, check_refusals  # noqa: E402

_REST = {
    "exchangeInfo": "exchange_info",
    "uiKlines": "ui_klines",
    "trades.recent": "get_trades",
    "trades.historical": "historical_trades",
    "trades.aggregate": "agg_trades",
    "avgPrice": "avg_price",
    "ticker.price": "ticker_price",
    "ticker.book": "ticker_book_ticker",
    "ticker.24hr": "ticker24hr",
    "ticker.tradingDay": "ticker_trading_day",
    "account.status": "get_account",
    "account.commission": "account_commission",
    "account.rateLimits.orders": "rate_limit_order",
    "myFilters": "my_filters",
    "order.place": "new_order",
    "order.status": "get_order",
    "openOrders.status": "get_open_orders",
    "order.cancel": "delete_order",
    "openOrders.cancelAll": "delete_open_orders",
    "order.cancelReplace": "order_cancel_replace",
    "allOrders": "all_orders",
    "myTrades": "my_trades",
    "orderList.place.oco": "order_list_oco",
    "orderList.place.oto": "order_list_oto",
    "orderList.place.otoco": "order_list_otoco",
    "orderList.status": "get_order_list",
    "openOrderLists.status": "open_order_list",
    "allOrderLists": "all_order_list",
    "orderList.cancel": "delete_order_list",
    "order.test": "order_test",
}
# "Conditional fields in order responses" of the documents, which the models leave out.
_CONDITIONAL = {
    "stopPrice",
    "icebergQty",
    "trailingDelta",
    "trailingTime",
    "strategyId",
    "strategyType",
    "expiryReason",
}
# Where the models are wrong: that of the same reply over the WebSocket API has it; a reply without its envelope.
_LEFT_OUT = {
    "DeleteOrderListResponseOrderReportsInner": {"selfTradePreventionMode"},
    "ExchangeInfoResponse": {"id", "status", "result"},
}
# Fields that a reply has only if its order is of some kind.
_SOMETIMES = _CONDITIONAL | {
    *("preventedMatchId", "preventedQuantity", "usedSor", "workingFloor", "sors", "fills"),
    *("pegPriceType", "pegOffsetType", "pegOffsetValue", "peggedPrice"),
    *("priceExponent", "qtyExponent", "multiplierExponent"),  # Of the binary encoding.
}
_OF_LISTS = {"contingencyType", "listStatusType", "listOrderStatus", "listClientOrderId", "transactionTime", "orders"}
_OF_LISTS |= {"orderReports"}
_SOMETIMES_OF: dict[str, set[str]] = {
    "OrderCancelResponseResult": _OF_LISTS,
    "OpenOrdersCancelAllResponseResultInner": _OF_LISTS,
    "ExchangeInfoResponse": {"timezone", "serverTime", "exchangeFilters", "symbols"},  # Over sockets, see above.
    "MyFiltersResponse": {"rateLimits"},  # Of sockets.
    "MyFiltersResponseRateLimitsInner": {"count"},  # Of exchangeInfo too.
    "ExecutionReport": set("vdDjJABuUbak") | {"Cs", "pl", "pL", "pY", "uS", "eR", "gP", "gOT", "gOV", "gp"},
}
_AMOUNTS = ("price", "qty", "quantity")


class _Warnings(logging.Handler):
    """What the client complains about since it was last asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "root":  # Where the client writes.
            self.lines.append(record.getMessage())

    def raise_first(self) -> None:
        """Raises AssertionError: there is one."""
        lines, self.lines = self.lines, []
        assert not lines, " ".join(lines[0].split())


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _typed(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters as the client declares them: snake case, amounts as floats."""
    typed = {}
    for name, value in params.items():
        snake = _snake(name)
        is_amount = isinstance(value, str) and snake.endswith(_AMOUNTS)
        typed[snake] = float(value) if is_amount else value
    return typed


def plain(reply: Any) -> Any:
    """A reply as plain values, after it went through its model. Raises AssertionError: a field that the model lacks.

    The models' own `to_dict` cannot write rows of klines.
    """
    if isinstance(reply, list | tuple):
        return [plain(one) for one in reply]
    if hasattr(reply, "actual_instance"):
        return plain(reply.actual_instance)
    fields = getattr(type(reply), "model_fields", None)
    if fields is None:
        return reply
    extra = getattr(reply, "additional_properties", None) or {}
    unknown = extra.keys() - _CONDITIONAL - _LEFT_OUT.get(type(reply).__name__, set())
    assert not unknown, f"{type(reply).__name__} does not know {sorted(unknown)}"
    values = {field.alias or name: plain(getattr(reply, name)) for name, field in fields.items()}
    values.pop("additional_properties", None)
    filled = {name: value for name, value in values.items() if value is not None}
    _FILLED.setdefault(type(reply).__name__, dict.fromkeys(values, False)).update(dict.fromkeys(filled, True))
    return filled | extra


# Model → field → whether a reply has had it.
_FILLED: dict[str, dict[str, bool]] = {}


def _nothing_missing() -> None:
    """Raises AssertionError: a field that a model declares was in none of its replies."""
    never = [
        f"{model}.{name}"
        for model, fields in _FILLED.items()
        for name, filled in fields.items()
        if not filled and name not in _SOMETIMES | _SOMETIMES_OF.get(model, set())
    ]
    assert not never, f"never there: {', '.join(never)}"


def rest_caller(session: Session, secret: str, warnings: _Warnings) -> Callable[..., Any]:
    """Calls of REST by the names of the WebSocket API."""
    options = ConfigurationRestAPI(api_key=KEY, api_secret=secret, base_path=session.url, timeout=10_000)
    client = Spot(config_rest_api=options).rest_api

    def ask(name: str, **params: Any) -> Any:
        call = getattr(client, _REST.get(name, name), None)
        if call is None:
            raise Absent
        try:
            reply = plain(call(**_typed(params)).data())
        except Error as error:
            raise Refused(getattr(error, "status_code", 0), getattr(error, "error_message", "")) from error
        warnings.raise_first()
        return reply

    return ask


def rest(session: Session, warnings: _Warnings) -> None:
    """All of REST."""
    ask = rest_caller(session, SECRET, warnings)
    check_market(session, ask)
    check_orders(session, ask)
    check_lists(session, ask)
    check_refusals(session, ask, rest_caller(session, "another-secret", warnings))
    session.check("no documented field is missing", _nothing_missing)


def _event(event: Any) -> str:
    """Name of a user event: its model has it only as the name of its class."""
    name = type(event.actual_instance).__name__
    return name[0].lower() + name[1:]


class Sockets:
    """The client's sockets, driven from blocking checks: the loop runs while a check waits."""

    def __init__(self, session: Session, secret: str, warnings: _Warnings) -> None:
        self.loop = asyncio.new_event_loop()
        self.warnings = warnings
        api = ConfigurationWebSocketAPI(api_key=KEY, api_secret=secret, stream_url=session.ws_api)
        streams = ConfigurationWebSocketStreams(stream_url=session.streams.rstrip("/"))
        self._client = Spot(config_ws_api=api, config_ws_streams=streams)
        self.api = self._client.websocket_api
        self.streams = self._client.websocket_streams
        self.run(self.api.create_connection())
        self.run(self.streams.create_connection())

    def run(self, coroutine: Any) -> Any:
        """Wait for a coroutine."""
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 30))

    def ask(self, name: str, **params: Any) -> Any:
        """Call the WebSocket API."""
        call = getattr(self.api, _snake(name.replace("ticker.24hr", "ticker24hr")).replace(".", "_"), None)
        # Its model of this reply lacks the envelope, and nothing is left of the content.
        if call is None or name == "myFilters":
            raise Absent
        told = self.run(call(**_typed(params))).data()
        if isinstance(told, dict) and "error" in told:
            self.warnings.lines.clear()  # The client warns of every refusal.
            raise Refused(told["error"]["code"], told["error"]["msg"])
        self.warnings.raise_first()
        reply = plain(told)
        assert reply.get("status", 200) == 200
        return reply.get("result", {})

    def listen(self, stream: str) -> list[Any]:
        """Subscribe to a market stream."""
        market = self.streams
        calls = {
            "kline_5m": lambda: market.kline(symbol="btcusdt", interval="5m"),
            "trade": lambda: market.trade(symbol="btcusdt"),
            "aggTrade": lambda: market.agg_trade(symbol="btcusdt"),
            "bookTicker": lambda: market.book_ticker(symbol="btcusdt"),
            "depth": lambda: market.diff_book_depth(symbol="btcusdt"),
            "depth5": lambda: market.partial_book_depth(symbol="btcusdt", levels=5),
            "miniTicker": lambda: market.mini_ticker(symbol="btcusdt"),
            "ticker": lambda: market.ticker(symbol="btcusdt"),
        }
        return self._collect(self.run(calls[stream]()))

    def follow(self) -> list[Any]:
        """Subscribe to the user data stream."""
        handle = self.run(self.api.user_data_stream_subscribe_signature()).stream
        return self._collect(handle, lambda event: {"e": _event(event)} | plain(event))

    def _collect(self, handle: Any, read: Callable[[Any], Any] = plain) -> list[Any]:
        messages: list[Any] = []
        handle.on("message", lambda message: messages.append(read(message)))
        self.run(asyncio.sleep(0.2))
        return messages

    def wait(self, condition: Callable[[], bool]) -> None:
        """Receive until a condition holds, at most five seconds."""
        for _ in range(100):
            self.run(asyncio.sleep(0.05))
            if condition():
                break
        self.warnings.raise_first()


def ws(session: Session, warnings: _Warnings) -> None:
    """WebSocket API, market streams and user data stream."""
    sockets = Sockets(session, SECRET, warnings)
    check_market(session, sockets.ask)
    check_orders(session, sockets.ask)
    check_lists(session, sockets.ask)
    stranger = Sockets(session, "another-secret", warnings)
    check_refusals(session, sockets.ask, stranger.ask)
    check_streams(session, sockets.listen, sockets.wait)
    check_user_stream(session, sockets.ask, sockets.follow, sockets.wait)
    session.check("no documented field is missing", _nothing_missing)
    for one in (sockets, stranger):
        one.run(one.api.close_connection(close_session=True))
        one.run(one.streams.close_connection(close_session=True))


if __name__ == "__main__":
    binance_common.utils.relax_model_strictness = lambda model: None
    complaints = _Warnings()
    logging.getLogger().addHandler(complaints)
    here = Session()
    {"rest": rest, "ws": ws}[sys.argv[1]](here, complaints)
    here.done()
