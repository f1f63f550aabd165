"""The WebSocket API: the same operations over one socket, and the user data stream.

Source: https://developers.binance.com/docs/binance-spot-api-docs/websocket-api
"""

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import WSMsgType, web

from pipeline.exchange.local import wire
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.clients import Client, close
from pipeline.exchange.local.errors import ApiError, missing
from pipeline.exchange.local.faults import Fault
from pipeline.exchange.local.limits import RateLimited
from pipeline.exchange.local.market_data import PUBLIC
from pipeline.exchange.local.operations import OPERATIONS
from pipeline.exchange.local.reports import Event
from pipeline.exchange.local.requests import Params
from pipeline.exchange.local.rest import TIMEOUT
from pipeline.exchange.local.signing import SECURITY, account_of, socket_payload, verify
from pipeline.exchange.local.venue import Venue
from pipeline.exchange.local.weights import CONNECTION

_MOST_BYTES = 1 << 16
_WANTS_LIMITS = "returnRateLimits"
Message = dict[str, Any]


class Session:
    """One socket. since: when it was opened, ms. rate_limits: `false` if its replies leave them out.

    subscriptions: number → account key.
    """

    def __init__(self, client: Client, address: str, since: int, rate_limits: str) -> None:
        self.client = client
        self.address = address
        self.since = since
        self.rate_limits = rate_limits
        self.subscriptions: dict[int, str] = {}
        self.next_subscription = 0

    def send(self, message: Message) -> None:
        """Queue a message."""
        self.client.send(wire.dumps(message))


class SocketApi:
    """All sockets of the WebSocket API."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.sessions: dict[Session, None] = {}
        self._late: list[tuple[str, Event]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A socket, until it closes."""
        address = request.remote or ""
        try:
            self.venue.limits.charge(address, CONNECTION, self.venue.clock.now())
        except ApiError as error:
            return web.json_response(error.body(), status=error.status)
        socket = web.WebSocketResponse(compress=False, max_msg_size=_MOST_BYTES, autoping=True)
        await socket.prepare(request)
        session = Session(
            Client(socket, raw=True),
            address,
            self.venue.clock.now(),
            request.query.get(_WANTS_LIMITS, "true"),
        )
        self.sessions[session] = None
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self.receive(session, message.data)
                    session.client.write()
        finally:
            self.sessions.pop(session, None)
            await session.client.ended()
        return socket

    def receive(self, session: Session, data: str | bytes) -> None:
        """One request; the answer is queued, or comes later if a fault says so."""
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            session.send({"id": None, "status": 400, "error": {"code": -1135, "msg": "Invalid JSON Request"}})
            return
        number, name, raw = message.get("id"), message.get("method"), message.get("params", {})
        if (number is not None and not isinstance(number, int | str)) or isinstance(number, bool):
            number = None
        try:
            if not isinstance(name, str):
                raise missing("method")
            params = _params(raw)
        except ApiError as error:
            session.send(self._refusal(session, number, error))
            return
        faults = self.venue.take("before", name) + self.venue.take("late", name)
        delays = [fault for fault in faults if fault.kind == "latency"]
        if delays:
            delay = sum(float(f.arg("ms")) + self.venue.faults.draw(float(f.arg("jitter_ms"))) for f in delays) / 1000
            asyncio.get_running_loop().call_later(delay, self._run, session, number, name, params, faults)
        else:
            self._run(session, number, name, params, faults)

    def _run(self, session: Session, number: Any, name: str, params: dict[str, str], faults: list[Fault]) -> None:
        try:
            for fault in faults:
                if self._before(fault, session, number, params):
                    return
            result = self._answer(session, name, params)
            reply: Message = {"id": number, "status": 200, "result": result}
            self.venue.refund(session.address, name, params)
        except ApiError as error:
            session.send(self._refusal(session, number, error, params))
            self.venue.deliver()
            return
        for fault in self.venue.take("after", name):
            self.venue.deliver()
            if fault.arg("how") == "drop":
                close(session.client, "rst")
            elif fault.arg("how") in ("-1007", "504"):
                session.send(self._refusal(session, number, ApiError(-1007, TIMEOUT, 408)))
            return
        if self.venue.engine.outbox and self.venue.is_early():
            self.venue.deliver()
        session.send(reply | self._limits(session, name, params))
        self.venue.deliver()

    def _answer(self, session: Session, name: str, params: dict[str, str]) -> Any:
        """What a method gives. Raises ApiError."""
        venue = self.venue
        venue.charge(session.address, name, params)
        own = {key: value for key, value in params.items() if key not in (*SECURITY, _WANTS_LIMITS)}
        if name == "ping":
            return {}
        if name == "time":
            return {"serverTime": venue.clock.now()}
        if name == "exchangeInfo" or name in PUBLIC:
            return venue.ask(name, own)
        if name in OPERATIONS or name == "account.rateLimits.orders":
            return venue.run(self._account(params), name, own)
        if name == "userDataStream.subscribe.signature":
            return self._subscribe(session, self._account(params))
        if name == "userDataStream.unsubscribe":
            return self._unsubscribe(session, Params(own))
        if name == "session.subscriptions":
            return [{"subscriptionId": one} for one in session.subscriptions]
        if name == "session.status":
            now = venue.clock.now()
            return {"apiKey": None, "authorizedSince": None, "connectedSince": session.since, "returnRateLimits": True,
                    "serverTime": now, "userDataStream": bool(session.subscriptions)}  # fmt: skip
        if name in ("session.logon", "userDataStream.subscribe"):
            raise ApiError(-4056, "HMAC_SHA256 API key is not supported.")
        if name == "session.logout":
            raise ApiError(-4062, "WebSocket session is not authenticated.")
        raise ApiError(-1000, f"Unknown method '{name[:60]}'.", 404)

    def _account(self, params: dict[str, str]) -> Account:
        if "apiKey" not in params:
            raise missing("apiKey")
        account = account_of(params["apiKey"], self.venue.engine.accounts)
        verify(account, params, socket_payload(params), self.venue.clock.now())
        return account

    @staticmethod
    def _subscribe(session: Session, account: Account) -> Message:
        if account.key in session.subscriptions.values():
            raise ApiError(-2035, "User Data Stream subscription already active.")
        number = session.next_subscription
        session.next_subscription += 1
        session.subscriptions[number] = account.key
        return {"subscriptionId": number}

    @staticmethod
    def _unsubscribe(session: Session, p: Params) -> Message:
        number = p.integer("subscriptionId")
        p.done()
        chosen = list(session.subscriptions) if number is None else [number]
        if not chosen or any(one not in session.subscriptions for one in chosen):
            raise ApiError(-2036, "User Data Stream subscription not active.")
        for one in chosen:
            del session.subscriptions[one]
        return {}

    def _before(self, fault: Fault, session: Session, number: Any, params: dict[str, str]) -> bool:
        """A fault before a request is looked at; True if there is no answer. Raises ApiError."""
        kind = fault.kind
        if kind == "reject":
            raise ApiError(int(fault.arg("code")), str(fault.arg("message")) or "Rejected by a scenario.")
        if kind == "not_found":
            raise ApiError(-2013, "Order does not exist.")
        if kind == "rate_limit":
            now, length = self.venue.clock.now(), int(float(fault.arg("seconds")) * 1000)
            self.venue.limits.ban(session.address, length, now)
            raise RateLimited(-1003, "Too many requests; please use the websocket for live updates.", 429, now + length)
        if kind == "fill_during_cancel":
            self.venue.fill_before_cancel(params)
        if kind == "wsapi_late_error":
            late = self._refusal(session, number, ApiError(-1007, TIMEOUT, 408))
            asyncio.get_running_loop().call_later(float(fault.arg("seconds")), session.send, late)
            return True
        if kind == "not_accepted":
            if fault.arg("how") in ("503", "-1001"):
                raise ApiError(-1001, "Internal error; unable to process your request. Please try again.", 500)
            if fault.arg("how") == "drop":
                close(session.client, "rst")
            return True
        return False

    def _refusal(
        self, session: Session, number: Any, error: ApiError, params: Mapping[str, str] = MappingProxyType({})
    ) -> Message:
        told: Message = error.body()
        if isinstance(error, RateLimited):
            told["data"] = {"serverTime": self.venue.clock.now(), "retryAfter": error.until}
        return {"id": number, "status": error.status, "error": told} | self._limits(session, "", params)

    def _limits(self, session: Session, name: str, params: Mapping[str, str]) -> Message:
        """Rate limits for a reply; empty if the connection or the request says that it does not want them."""
        if params.get(_WANTS_LIMITS, session.rate_limits) == "false":
            return {}
        now = self.venue.clock.now()
        rules = [self.venue.limits.weight_rule(session.address, now)]
        if name in OPERATIONS and OPERATIONS[name].orders:
            rules = self.venue.limits.order_rules(params["apiKey"], now) + rules
        return {"rateLimits": rules}

    # User data

    def on_user(self, key: str, event: Event) -> None:
        """Send an account's event to all who follow it."""
        if event.get("_late"):
            self._late.append((key, {name: value for name, value in event.items() if name != "_late"}))
            return
        self._send(key, event)
        late, self._late = self._late, []
        for one_key, one in late:
            self._send(one_key, one)

    def _send(self, key: str, event: Event) -> None:
        for session in self.sessions:
            for number, followed in session.subscriptions.items():
                if followed == key:
                    session.send({"subscriptionId": number, "event": event})

    def act(self, fault: Fault) -> None:
        """Do a fault to the sockets."""
        if fault.kind == "wsapi_drop":
            for session in list(self.sessions):
                close(session.client, str(fault.arg("mode")))
        elif fault.kind == "server_shutdown":
            loop = asyncio.get_running_loop()
            for session in list(self.sessions):
                session.send({"event": {"e": "serverShutdown", "E": self.venue.engine.now}})
                loop.call_later(float(fault.arg("seconds")), close, session.client, "clean")


def _params(raw: Any) -> dict[str, str]:
    """Parameters as text. Raises ApiError -1100: they are no object, or one of them is no plain value."""
    if not isinstance(raw, dict):
        raise ApiError(-1100, "Illegal characters found in parameter 'params'; legal range is an object.")
    params = {}
    for name, value in raw.items():
        if name == "symbols" and isinstance(value, list) and all(isinstance(one, str) for one in value):
            params[name] = json.dumps(value)
        elif isinstance(value, dict | list):
            raise ApiError(-1100, "Illegal characters found in a parameter.")
        else:
            params[name] = _written(value)
    if any("\ud800" <= character <= "\udfff" for text in (*params, *params.values()) for character in text):
        # Half a character, which cannot be written as bytes to verify a signature.
        raise ApiError(-1100, "Illegal characters found in a parameter.")
    return params


def _written(value: Any) -> str:
    """A JSON value as the text that is signed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
