"""Binance spot as trading sees it: orders, questions, and events that do not stop."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from binance.ws.streams import BinanceSocketManager

from pipeline.config import interval_ms
from pipeline.exchange.binance import reports
from pipeline.exchange.binance.addresses import Addresses, Keys
from pipeline.exchange.binance.bars import Feed, klines, of_message
from pipeline.exchange.binance.client import TIMEOUTS, WINDOW_MS, Client, Note, Timeouts
from pipeline.exchange.binance.errors import Call
from pipeline.exchange.binance.quotes import follow_quotes
from pipeline.exchange.binance.replies import each, executed, understood
from pipeline.exchange.binance.sockets import BinanceLine, Keeper, Line, Lost, Message, Watch, connect, for_klines
from pipeline.exchange.binance.user import WATCH, subscribe
from pipeline.exchange.port import (
    AccountChange,
    AccountLimits,
    Clock,
    ClosedBar,
    Event,
    Interrupted,
    ListRequest,
    Permissions,
    Quote,
    Refused,
    Report,
    Request,
    Traded,
    Unavailable,
    Unclear,
)
from pipeline.trading.filters import SymbolFilters, from_exchange_info
from pipeline.trading.orders import Fill

_NO_SUCH_ORDER, _UNKNOWN_ORDER, _UNKNOWN_SYMBOL = -2013, -2011, -1121
# A list that is not there has a code of its own, but not in all versions.
_NO_SUCH_LIST = (-2013, -2018)
_TRADES = 1000
# A path with more of them is longer than some proxies like.
_STREAMS = 100
_REMEMBERED = 10_000
_LIVE = ("NEW", "PARTIALLY_FILLED", "PENDING_NEW")


class BinanceExchange:
    """`port.Exchange` over Binance. Made inside the running loop; `open` it first, `close` it last.

    keys: none for market data alone. note: told of what an operator should know, as a kind and a sentence.
    """

    def __init__(
        self,
        addresses: Addresses,
        keys: Keys,
        clock: Clock,
        draw: random.Random,
        *,
        note: Note = lambda kind, words: None,
        timeouts: Timeouts = TIMEOUTS,
        user_watch: Watch = WATCH,
        market_watch: Watch | None = None,
    ) -> None:
        self._addresses = addresses
        self._keys = keys
        self._clock = clock
        self._draw = draw
        self._note = note
        self._client = Client(addresses, keys, clock, draw, note, timeouts)
        self._user_watch = user_watch
        self._market_watch = market_watch
        # The exchange's numbers of orders → our names: its list of trades has the numbers only.
        self._names: dict[tuple[str, int], str] = {}

    async def open(self) -> None:
        """Measure the exchange's clock. Raises Unavailable, Barred."""
        await self._client.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    @property
    def clock_moved_ms(self) -> float:
        """By how much the last measurement of the exchange's clock corrected what was believed."""
        return self._client.time.moved_ms

    # Questions

    async def server_ms(self) -> int:
        """The exchange's time; a replay's market time. Raises Unavailable, Barred."""
        return await self._client.market_ms()

    async def filters(self, symbol: str) -> SymbolFilters:
        """Rules of a symbol, asked anew. Raises Refused, Unavailable, Barred. BadInput: they make no sense."""
        reply = await self._client.read(self._client.binance._get, 20, path="exchangeInfo", data={"symbol": symbol})
        limit = understood(reports.weight_limit, reply)
        if limit:
            self._client.budget.limit = limit
        entry = next((one for one in reply.get("symbols", ()) if one.get("symbol") == symbol), None)
        if entry is None:
            raise Refused(_UNKNOWN_SYMBOL, f"there is no symbol {symbol}")
        return from_exchange_info(entry)

    async def find(self, symbol: str, client_order_id: str) -> Report | None:
        """An order by its name, None if the exchange does not know it (yet). Raises Unavailable, Barred, WrongKey."""
        ask = self._client.binance.get_order
        try:
            reply = await self._client.read(ask, 4, symbol=symbol, origClientOrderId=client_order_id)
        except Refused as error:
            if error.code == _NO_SUCH_ORDER:
                return None
            raise
        return self._named(understood(reports.found, reply))

    async def find_list(self, symbol: str, list_client_order_id: str) -> list[Report] | None:
        """Orders of a list by its name as far as they are known, None if the exchange does not know it (yet).

        Raises Unavailable, Barred, WrongKey.
        """
        ask = self._client.binance.v3_get_order_list
        try:
            reply = await self._client.read(ask, 4, origClientOrderId=list_client_order_id)
        except Refused as error:
            if error.code in _NO_SUCH_LIST:
                return None
            raise
        found = [await self.find(symbol, name) for name in understood(reports.listed, reply)]
        return [report for report in found if report is not None]

    async def open_orders(self, symbol: str) -> list[Report]:
        """Live orders of the account. Raises Unavailable, Barred, WrongKey."""
        reply = await self._client.read(self._client.binance.get_open_orders, 6, symbol=symbol)
        return [self._named(one) for one in understood(each(reports.found), reply)]

    async def fills(self, symbol: str, after_trade_id: int) -> list[tuple[str, Fill]]:
        """Fills with larger trade ids, oldest first, with their order's name. Raises Unavailable, Barred, WrongKey."""
        rows: list[tuple[int, Fill]] = []
        after = after_trade_id
        while True:
            ask = self._client.binance.get_my_trades
            reply = await self._client.read(ask, 20, symbol=symbol, fromId=max(after + 1, 0), limit=_TRADES)
            page = [row for row in understood(each(reports.traded), reply) if row[1].trade_id > after]
            page.sort(key=lambda row: row[1].trade_id)
            rows += page
            if len(reply) < _TRADES or not page:
                break
            after = page[-1][1].trade_id
        return [(await self._name(symbol, order), fill) for order, fill in rows]

    async def permissions(self) -> Permissions:
        """What the key may do. Raises Refused (a test exchange does not tell), Unavailable, Barred, WrongKey."""
        reply = await self._client.read(self._client.binance.get_account_api_permissions, 1)
        return understood(reports.permitted, reply)

    async def fees(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Fees as maker and as taker, fractions. Raises Refused, Unavailable, Barred, WrongKey."""
        ask = self._client.binance._get
        reply = await self._client.read(ask, 20, path="account/commission", signed=True, data={"symbol": symbol})
        return understood(reports.commission, reply)

    async def limits(self, symbol: str) -> AccountLimits:
        """What the account may have open, and move in one order.

        Raises Refused (not every exchange tells), Unavailable, Barred, WrongKey.
        """
        ask = self._client.binance._get
        reply = await self._client.read(ask, 40, path="myFilters", signed=True, data={"symbol": symbol})
        return understood(reports.limits, reply)

    async def price(self, symbol: str) -> Decimal:
        """The last price of a symbol. Raises Refused, Unavailable, Barred."""
        reply = await self._client.read(self._client.binance._get, 2, path="ticker/price", data={"symbol": symbol})
        return understood(reports.price, reply)

    async def balances(self) -> Mapping[str, tuple[Decimal, Decimal]]:
        """Free and locked by asset, without those of which there is nothing. Raises Unavailable, Barred, WrongKey."""
        reply = await self._client.read(self._client.binance.get_account, 20, omitZeroBalances="true")
        return understood(reports.held, reply)

    async def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> list[ClosedBar]:
        """Closed bars with open times in [start_ms, end_ms), oldest first. Raises Refused, Unavailable, Barred."""
        now = await self._client.market_ms()
        found = await klines(self._client, symbol, interval, start_ms, end_ms)
        return [kline.bar(symbol) for kline in found if kline.close_ms < now]

    # Orders

    async def place(self, request: Request, window_ms: int) -> Report:
        """Send an order, once. Raises Refused, Unclear, Unavailable, Barred, WrongKey."""
        send = self._client.binance.create_order
        reply = await self._client.change(send, Call.PLACE, window_ms, reports.order_params(request))
        return self._named(executed(reports.placed, reply))

    async def place_list(self, request: ListRequest, window_ms: int) -> list[Report]:
        """Send orders as one, once. Raises Refused, Unclear, Unavailable, Barred, WrongKey."""
        path, params = reports.list_path(request), reports.list_params(request)

        async def send(**signed: Any) -> Any:
            # Below its methods: the one for a pair makes up names.
            return await self._client.binance._post(path, True, data=signed)

        reply = await self._client.change(send, Call.PLACE, window_ms, params)
        return [self._named(one) for one in executed(reports.placed_list, reply)]

    async def cancel_list(self, symbol: str, list_client_order_id: str) -> list[Report]:
        """Cancel what is live of a list; it is cancelled as well if it was so before.

        Raises Refused (nothing of it is live), Unclear, Unavailable, Barred, WrongKey.
        """
        params = {"symbol": symbol, "listClientOrderId": list_client_order_id}
        reply, refusal = await self._remove(self._client.binance.v3_delete_order_list, params)
        if refusal is not None:
            return await self._list_was_cancelled(symbol, list_client_order_id, refusal)
        return [self._named(one) for one in executed(reports.cancelled_list, reply)]

    async def test(self, request: Request) -> None:
        """Let the exchange check an order. Raises Refused, Unavailable, Barred, WrongKey."""
        await self._client.read(self._client.binance.create_test_order, 1, **reports.order_params(request))

    async def cancel(self, symbol: str, client_order_id: str) -> Report:
        """Cancel an order; it is cancelled as well if it was so before.

        Raises Refused (it is not live), Unclear, Unavailable, Barred, WrongKey.
        """
        params = {"symbol": symbol, "origClientOrderId": client_order_id}
        reply, refusal = await self._remove(self._client.binance.cancel_order, params)
        if refusal is not None:
            return await self._was_cancelled(symbol, client_order_id, refusal)
        return self._named(executed(reports.cancelled, reply))

    async def _remove(self, send: Callable[..., Any], params: dict[str, str]) -> tuple[Any, Refused | None]:
        """The reply to a cancel, or its refusal where nothing of that name is live."""
        try:
            return await self._client.change(send, Call.REMOVE, WINDOW_MS, params), None
        except Refused as error:
            if error.code != _UNKNOWN_ORDER:
                raise
            return None, error

    async def _was_cancelled(self, symbol: str, client_order_id: str, refusal: Refused) -> Report:
        """After "unknown order": a cancel whose connection broke is sent again below, and finds nothing."""
        try:
            report = await self.find(symbol, client_order_id)
        except Unavailable as error:
            raise Unclear(f"the cancel was refused, and the order cannot be asked for: {error}") from None
        if report is not None and report.status == "CANCELED":
            return report
        if report is not None and report.status in _LIVE:
            raise Unclear("the cancel was refused, yet the order seems live")
        raise refusal

    async def _list_was_cancelled(self, symbol: str, name: str, refusal: Refused) -> list[Report]:
        """The same after the cancel of a list."""
        try:
            orders = await self.find_list(symbol, name)
        except Unavailable as error:
            raise Unclear(f"the cancel was refused, and the list cannot be asked for: {error}") from None
        if orders and all(report.status == "CANCELED" for report in orders):
            return orders
        if orders and any(report.status in _LIVE for report in orders):
            raise Unclear("the cancel was refused, yet the list seems live")
        raise refusal

    # Events

    async def events(
        self, symbols: Iterable[str], interval: str, since_ms: Mapping[str, int] | None = None
    ) -> AsyncIterator[Event]:
        """Closed bars and account events as they come, for ever.

        since_ms: open time of the first bar by symbol; without it the one that is open when this begins.
        `Interrupted("user")` comes each time that the account's
        events begin anew, at the start too: what is true then has to be asked for.
        Raises WrongKey. Refused: there is no such symbol.
        """
        queue: asyncio.Queue[Event | asyncio.Future[None]] = asyncio.Queue()
        names = list(dict.fromkeys(symbols))
        since = since_ms or {}
        feeds = {symbol: Feed(self._client, symbol, interval, queue.put_nowait, since.get(symbol)) for symbol in names}
        work = [feed.run() for feed in feeds.values()]
        for at in range(0, len(names), _STREAMS):
            work.append(self._market({name: feeds[name] for name in names[at : at + _STREAMS]}, interval).run())
        if self._keys:
            work.append(self._user(queue.put_nowait).run())
        tasks = [asyncio.ensure_future(one) for one in work]
        for task in tasks:
            task.add_done_callback(queue.put_nowait)
        try:
            while True:
                event = await queue.get()
                if isinstance(event, asyncio.Future):
                    event.result()
                else:
                    yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def quotes(self, symbols: Iterable[str]) -> AsyncIterator[Quote | Traded]:
        """Best prices and trades as they come, for ever; of a symbol that waits only the latest price is kept."""

        async def build(names: list[str]) -> Line:
            return await self._streams([f"{name}@{kind}" for name in names for kind in ("bookTicker", "aggTrade")])

        return follow_quotes(symbols, build, self._clock, self._draw, self._note)

    async def _streams(self, names: list[str]) -> Line:
        """A new socket of market streams."""
        manager = type("Manager", (BinanceSocketManager,), {"STREAM_URL": f"{self._addresses.streams}/"})
        socket = manager(self._client.binance).multiplex_socket(names)
        await connect(socket, self._addresses.is_local)
        return BinanceLine(socket)

    def _market(self, feeds: Mapping[str, Feed], interval: str) -> Keeper:
        """The socket that tells when bars close."""
        suffix = f"@kline_{interval}"

        async def build() -> Line:
            return await self._streams([f"{name.lower()}{suffix}" for name in feeds])

        def on_message(message: Message) -> None:
            event = message.get("data")
            if not isinstance(event, dict) or event.get("e") != "kline" or event.get("s") not in feeds:
                return
            try:
                if event["k"]["x"] is True and event["k"]["i"] == interval:
                    feeds[event["s"]].on_closed(of_message(event["k"]))
            except reports.MALFORMED:
                raise Lost("a bar that is not understood") from None

        def on_open() -> None:
            for feed in feeds.values():
                feed.look()

        watch = self._market_watch or for_klines(interval_ms(interval))
        return Keeper("market", build, on_message, on_open, watch, self._clock, self._draw, self._note)

    def _user(self, tell: Callable[[Event], None]) -> Keeper:
        """The socket that tells of the account."""
        known: dict[tuple[Any, ...], None] = {}

        async def build() -> Line:
            return await subscribe(self._client, self._addresses.socket_api, self._addresses.is_local)

        def on_message(message: Message) -> None:
            key = reports.event_key(message)
            if key is not None:
                if key in known:
                    return
                known[key] = None
                if len(known) > _REMEMBERED:
                    del known[next(iter(known))]
            try:
                event = reports.event(message)
            except reports.MALFORMED:
                raise Lost("an event that is not understood") from None
            if isinstance(event, Report):
                event = self._named(event)
            if isinstance(event, Report | AccountChange):
                tell(event)

        def on_open() -> None:
            tell(Interrupted("user"))

        return Keeper("user", build, on_message, on_open, self._user_watch, self._clock, self._draw, self._note)

    # Replies

    def _named(self, report: Report) -> Report:
        """Remember which order a number is."""
        self._names[report.symbol, report.order_id] = report.client_order_id
        while len(self._names) > _REMEMBERED:
            del self._names[next(iter(self._names))]
        return report

    async def _name(self, symbol: str, order_id: int) -> str:
        """Our name of an order, asked for if it was not seen before; empty if the exchange has forgotten it."""
        if (symbol, order_id) not in self._names:
            try:
                reply = await self._client.read(self._client.binance.get_order, 4, symbol=symbol, orderId=order_id)
            except Refused:
                return ""
            self._named(understood(reports.found, reply))
        return self._names[symbol, order_id]
