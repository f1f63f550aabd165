"""The REST API: `/api/v3` and what clients use of `/sapi/v1`."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

from aiohttp import web

from pipeline.exchange.local import wire
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.faults import Fault
from pipeline.exchange.local.front import Asked, Reply
from pipeline.exchange.local.limits import RateLimited
from pipeline.exchange.local.numbers import text
from pipeline.exchange.local.operations import OPERATIONS
from pipeline.exchange.local.requests import Params
from pipeline.exchange.local.signing import SECURITY, account_of, rest_payload, verify
from pipeline.exchange.local.venue import Venue

_GET, _POST, _PUT, _DELETE = "GET", "POST", "PUT", "DELETE"
# (method, path) → what it does, by the names of the WebSocket API.
PUBLIC_ROUTES = {
    "/api/v3/ping": "ping",
    "/api/v3/time": "time",
    "/api/v3/exchangeInfo": "exchangeInfo",
    "/api/v3/klines": "klines",
    "/api/v3/uiKlines": "uiKlines",
    "/api/v3/depth": "depth",
    "/api/v3/trades": "trades.recent",
    "/api/v3/historicalTrades": "trades.historical",
    "/api/v3/aggTrades": "trades.aggregate",
    "/api/v3/avgPrice": "avgPrice",
    "/api/v3/ticker/price": "ticker.price",
    "/api/v3/ticker/bookTicker": "ticker.book",
    "/api/v3/ticker/24hr": "ticker.24hr",
    "/api/v3/ticker": "ticker",
    "/api/v3/ticker/tradingDay": "ticker.tradingDay",
    "/api/v3/executionRules": "executionRules",
    "/api/v3/referencePrice": "referencePrice",
    "/sapi/v1/system/status": "systemStatus",
}
SIGNED_ROUTES = {
    (_POST, "/api/v3/order"): "order.place",
    (_GET, "/api/v3/order"): "order.status",
    (_DELETE, "/api/v3/order"): "order.cancel",
    (_POST, "/api/v3/order/test"): "order.test",
    (_POST, "/api/v3/order/cancelReplace"): "order.cancelReplace",
    (_GET, "/api/v3/openOrders"): "openOrders.status",
    (_DELETE, "/api/v3/openOrders"): "openOrders.cancelAll",
    (_GET, "/api/v3/allOrders"): "allOrders",
    (_POST, "/api/v3/orderList/oco"): "orderList.place.oco",
    (_POST, "/api/v3/orderList/oto"): "orderList.place.oto",
    (_POST, "/api/v3/orderList/otoco"): "orderList.place.otoco",
    (_GET, "/api/v3/orderList"): "orderList.status",
    (_DELETE, "/api/v3/orderList"): "orderList.cancel",
    (_GET, "/api/v3/openOrderList"): "openOrderLists.status",
    (_GET, "/api/v3/allOrderList"): "allOrderLists",
    (_GET, "/api/v3/account"): "account.status",
    (_GET, "/api/v3/account/commission"): "account.commission",
    (_GET, "/api/v3/myTrades"): "myTrades",
    (_GET, "/api/v3/rateLimit/order"): "account.rateLimits.orders",
    (_GET, "/api/v3/myFilters"): "myFilters",
    (_GET, "/sapi/v1/asset/tradeFee"): "tradeFee",
    (_GET, "/sapi/v1/account/apiRestrictions"): "apiRestrictions",
}
KEY_HEADER = b"x-mbx-apikey"
_HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
TIMEOUT = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."


class Rest:
    """Answers requests of one venue. public, signed: its paths, and what they do."""

    public: ClassVar[Mapping[str, str]] = PUBLIC_ROUTES
    signed: ClassVar[Mapping[tuple[str, str], str]] = SIGNED_ROUTES

    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    def name_of(self, method: str, path: str) -> str | None:
        """What a request does, by the names of the WebSocket API; None if it is none of these."""
        name = self.public.get(path) if method == _GET else None
        return name or self.signed.get((method, path))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request below `/api` and `/sapi`, from aiohttp."""
        method, path = request.method, request.path
        name = self.name_of(method, path)
        if name is None:
            return _unknown(method, path, path in self.public or any(path == one for _, one in self.signed)).response()
        query, body = _wire(request.rel_url.raw_query_string), await request.read()
        key = request.headers.get("X-MBX-APIKEY")
        headers = {} if key is None else {KEY_HEADER: key.encode("utf-8", "surrogateescape")}
        reply = await self.reply(
            name, Asked(method, path, query, body, headers, request.remote or "", request.transport)
        )
        return web.Response(status=500) if reply is None else reply.response()

    def at_once(self, name: str, asked: Asked) -> Reply:
        """The reply where no fault waits."""
        try:
            params = parse(asked.query, asked.body)
            self.venue.charge(asked.address, name, params)
            account, content = self._done(name, asked, params)
        except ApiError as error:
            return self._refusal(error, asked.address)
        reply = self._told(name, asked.address, account, content)
        if account is not None:
            self._tell_user()
        return reply

    async def reply(self, name: str, asked: Asked) -> Reply | None:
        """The reply, after what faults do before it; None if the connection was broken."""
        venue = self.venue
        if not venue.faults.are_waiting:
            return self.at_once(name, asked)
        try:
            params = parse(asked.query, asked.body)
            venue.charge(asked.address, name, params)
            for fault in venue.take("before", name) + venue.take("rest", name):
                if fault.kind == "not_accepted" and fault.arg("how") in ("drop", "hang"):
                    return await lost(fault, asked)
                answer = await self._before(fault, asked, params)
                if answer is not None:
                    return answer
            account, content = self._done(name, asked, params)
        except ApiError as error:
            return self._refusal(error, asked.address)
        for fault in venue.take("after", name):
            venue.deliver()
            return await lost(fault, asked)
        reply = self._told(name, asked.address, account, content)
        if account is not None:
            self._tell_user()
        return reply

    def _done(self, name: str, asked: Asked, params: dict[str, str]) -> tuple[Account | None, Any]:
        """Who asked, if it had to be signed, and the answer. Raises ApiError."""
        venue, account = self.venue, None
        if (asked.method, asked.path) in self.signed:
            account = account_of(asked.header(KEY_HEADER), venue.engine.accounts)
            verify(account, params, rest_payload(asked.query, asked.body), venue.clock.now())
            own = {key: value for key, value in params.items() if key not in SECURITY}
        else:
            own = params
        content = self._answer(name, account, own)
        venue.refund(asked.address, name, own)
        return account, content

    def _told(self, name: str, address: str, account: Account | None, content: Any) -> Reply:
        now = self.venue.clock.now()
        headers = self._headers(address, now)
        if account is not None and name in OPERATIONS and OPERATIONS[name].orders:
            short, day = self.venue.limits.order_counts(account.key, now)
            headers["X-MBX-ORDER-COUNT-10S"], headers["X-MBX-ORDER-COUNT-1D"] = str(short), str(day)
        return Reply(wire.dump_bytes(content), 200, headers)

    def _tell_user(self) -> None:
        """Hand out events before the reply, or after it is written, which happens without another turn in between."""
        venue = self.venue
        if not venue.engine.outbox:
            return
        if venue.is_early():
            venue.deliver()
            venue.on_told()
        else:
            asyncio.get_running_loop().call_soon(venue.deliver)

    def _answer(self, name: str, account: Account | None, params: dict[str, str]) -> Any:
        venue = self.venue
        if name == "ping":
            Params(params).done()
            return {}
        if name == "time":
            Params(params).done()
            return {"serverTime": venue.clock.now()}
        if name == "systemStatus":
            return {"status": 0, "msg": "normal"}
        if account is None:
            return venue.ask(name, params)
        if name == "tradeFee":
            return self._fees(account, params)
        if name == "apiRestrictions":
            return _RESTRICTIONS
        return venue.run(account, name, params)

    def _fees(self, account: Account, params: dict[str, str]) -> list[dict[str, str]]:
        p = Params(params)
        symbols = [p.symbol(self.venue.engine.instruments).symbol] if "symbol" in params else self.venue.engine.pits
        p.done()
        maker, taker = text(account.maker), text(account.taker)
        return [{"symbol": symbol, "makerCommission": maker, "takerCommission": taker} for symbol in symbols]

    def _headers(self, address: str, now: int) -> dict[str, str]:
        used = str(self.venue.limits.used(address, now))
        return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}

    def _refusal(self, error: ApiError, address: str) -> Reply:
        now = self.venue.clock.now()
        headers = self._headers(address, now)
        if isinstance(error, RateLimited):
            headers["Retry-After"] = str(max(-(-(error.until - now) // 1000), 1))
        asyncio.get_running_loop().call_soon(self.venue.deliver)
        return _json(error.body(), error.status, headers)

    async def _before(self, fault: Fault, asked: Asked, params: dict[str, str]) -> Reply | None:
        """A fault before the request is looked at; None if it goes on. Raises ApiError."""
        kind, venue = fault.kind, self.venue
        if kind == "latency":
            delay = float(fault.arg("ms")) + venue.faults.draw(float(fault.arg("jitter_ms")))
            await asyncio.sleep(delay / 1000)
            return None
        if kind == "fill_during_cancel":
            venue.fill_before_cancel(params)
            return None
        if kind == "reject":
            raise ApiError(int(fault.arg("code")), str(fault.arg("message")) or "Rejected by a scenario.")
        if kind == "not_found":
            raise ApiError(-2013, "Order does not exist.")
        if kind == "rate_limit":
            until = venue.clock.now() + int(float(fault.arg("seconds")) * 1000)
            venue.limits.ban(asked.address, int(float(fault.arg("seconds")) * 1000), venue.clock.now())
            raise RateLimited(-1003, "Too many requests; please use the websocket for live updates.", 429, until)
        if kind == "waf":
            return _page("403 Forbidden", 403)
        if kind == "maintenance":
            return _page("System maintenance", 200)
        if fault.arg("how") == "503":
            return _page("503 Service Temporarily Unavailable", 503)
        raise ApiError(-1001, "Internal error; unable to process your request. Please try again.", 500)


async def lost(fault: Fault, asked: Asked) -> Reply | None:
    """The reply does not come: an error of the gateway, or None: a broken connection, at once or after silence."""
    how = str(fault.arg("how"))
    if how == "504":
        return _page("504 Gateway Time-out", 504)
    if how == "-1007":
        return _json({"code": -1007, "msg": TIMEOUT}, 504, {})
    if how in ("hang", "mute"):
        await asyncio.sleep(float(fault.arg("seconds")))
    if isinstance(asked.transport, asyncio.WriteTransport):
        asked.transport.abort()
    return None


def parse(query: bytes, body: bytes) -> dict[str, str]:
    """Parameters of query and body; the query's are used where both have one.

    Raises ApiError: -1101 one is there twice, -1100 bytes that are no text.
    """
    if not body or not query:
        return _pairs(body or query)
    return _pairs(body) | _pairs(query)


def _pairs(part: bytes) -> dict[str, str]:
    """Of query or body. Raises ApiError: -1101, -1100."""
    found: dict[str, str] = {}
    pairs: Iterable[Sequence[str]]
    if part.isascii() and b"%" not in part and b"+" not in part:
        # As nearly all come, and so nothing has to be looked at byte by byte.
        pairs = [pair.partition("=") for pair in part.decode().split("&") if pair]
    else:
        pairs = ([_decoded(one) for one in pair.partition(b"=")] for pair in part.split(b"&") if pair)
    for name, _, value in pairs:
        if name in found:
            raise ApiError(-1101, f"Duplicate values for parameter '{_shown(name)}'.")
        found[name] = value
    return found


def _decoded(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise ApiError(-1100, "Illegal characters found in a parameter.") from None


def _wire(query: str) -> bytes:
    """A query as it came; bytes that are no text have been put aside as surrogates."""
    return query.encode("utf-8", "surrogateescape")


def _shown(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]", "?", name)[:40]


def _unknown(method: str, path: str, is_known: bool) -> Reply:
    if path.startswith("/api/v3/userDataStream"):
        return _json({"code": -1000, "msg": "This endpoint has been retired; use the WebSocket API."}, 410, {})
    if is_known:
        return _json({"code": -1000, "msg": f"Request method '{method}' is not supported."}, 405, {})
    return _page("404 Not Found", 404)


def _page(title: str, status: int) -> Reply:
    return Reply(_HTML.format(title).encode(), status, kind="text/html; charset=utf-8")


def _json(reply: Any, status: int, headers: dict[str, str]) -> Reply:
    return Reply(wire.dump_bytes(reply), status, headers)


_RESTRICTIONS = {
    "ipRestrict": False,
    "createTime": 0,
    "enableReading": True,
    "enableSpotAndMarginTrading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "enableMargin": False,
    "enableFutures": False,
    "permitsUniversalTransfer": False,
    "enableVanillaOptions": False,
    "enableFixApiTrade": False,
    "enableFixReadOnly": False,
    "enablePortfolioMarginTrading": False,
}
