"""Local exchanges for tests of the shells, and bare clients of them: signed requests and sockets over aiohttp."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import requests

from pipeline.config import utc_ms
from pipeline.exchange.local.scenario import Scenario
from pipeline.exchange.local.server import Server
from pipeline.testing import LocalExchange, Setup

START = utc_ms("2024-01-01")
MINUTE, DAY = 60_000, 86_400_000
RICH = {"accounts": [{"balances": {"USDT": 1_000_000, "BTC": 10}}]}


def exchange(symbols: tuple[str, ...] = ("BTCUSDT",), bars: int = 300, **settings: Any) -> LocalExchange:
    """A synthetic market in minutes with ten hours of history, that stands until it is stepped.

    scenario: a mapping as a scenario file has it; other settings are those of Setup.
    """
    scenario = Scenario.model_validate(RICH | dict(settings.pop("scenario", {})))
    begin = settings.pop("start_ms", START)
    return LocalExchange(
        Setup(symbols, "1m", None, begin - 600 * MINUTE, begin, begin + bars * MINUTE, scenario=scenario, **settings)
    )


def signature(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def stamped(params: Mapping[str, Any]) -> dict[str, Any]:
    return {"timestamp": int(time.time() * 1000), **params}


@dataclass
class Rest:
    """Requests as any client could make them."""

    local: LocalExchange
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False

    def send(
        self, method: str, path: str, query: str = "", body: str | bytes = "", key: str | None = None, **options: Any
    ) -> requests.Response:
        """A request with query and body exactly as they are given."""
        headers = {"X-MBX-APIKEY": key} if key is not None else {}
        headers |= options.pop("headers", {})
        url = f"{self.local.url}{path}" + (f"?{query}" if query else "")
        prepared = requests.Request(method, url, headers=headers, data=body).prepare()
        prepared.url = url
        return self.session.send(prepared, timeout=options.pop("timeout", 60), **options)

    def ask(self, path: str, **params: Any) -> requests.Response:
        return self.send("GET", path, urlencode(params))

    def signed(self, method: str, path: str, **params: Any) -> requests.Response:
        """Signed with the first account's key; everything in the query."""
        query = urlencode(stamped(params))
        return self.send(method, path, f"{query}&signature={signature(self.local.secret, query)}", key=self.local.key)

    def buy(self, **params: Any) -> requests.Response:
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
        order = {key: value for key, value in (order | params).items() if value is not None}
        return self.signed("POST", "/api/v3/order", **order)

    def rest_order(self, **params: Any) -> requests.Response:
        """A buy far below the market."""
        return self.buy(**({"type": "LIMIT", "timeInForce": "GTC", "price": "20000"} | params))

    def emu(self, what: str, **body: Any) -> requests.Response:
        """A control endpoint; POST unless nothing is sent."""
        return self.session.post(f"{self.local.url}/_emu/{what}", json=body, timeout=60)


def code(response: requests.Response) -> tuple[int, int]:
    """HTTP status and the exchange's code."""
    return response.status_code, response.json()["code"]


class Socket:
    """A WebSocket over aiohttp; `async with Socket(local, "/ws") as socket`."""

    def __init__(self, local: LocalExchange, path: str) -> None:
        self.local = local
        self.url = f"{local.url}{path}"
        self.next_id = 1

    async def __aenter__(self) -> "Socket":
        self.session = aiohttp.ClientSession()
        try:
            self.ws = await self.session.ws_connect(self.url, max_msg_size=0, autoping=False)
        except BaseException:
            await self.session.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def send(self, message: Any) -> None:
        await self.ws.send_str(message if isinstance(message, str) else json.dumps(message))

    async def next(self, timeout: float = 60) -> Any:
        """The next message; fails if the socket closes."""
        message = await self.ws.receive(timeout)
        assert message.type == aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def call(self, method: str, params: Any = None, **more: Any) -> Any:
        """A request and the next message."""
        self.next_id += 1
        await self.send({"id": self.next_id, "method": method, **({"params": params} if params is not None else more)})
        return await self.next()

    async def signed(self, method: str, **params: Any) -> Any:
        return await self.call(method, self.sign(**params))

    def sign(self, **params: Any) -> dict[str, Any]:
        """Parameters with key, time and signature, as the WebSocket API takes them."""
        whole = stamped(params) | {"apiKey": self.local.key}
        payload = "&".join(f"{name}={value}" for name, value in sorted(whole.items()))
        return whole | {"signature": signature(self.local.secret, payload)}

    async def waiting(self, quiet: float = 0.1) -> list[Any]:
        """All messages until none comes for a while."""
        found = []
        while True:
            try:
                found.append(await self.next(quiet))
            except TimeoutError:
                return found

    async def closed(self, timeout: float = 60) -> int | None:
        """Read on until the socket closes; its close code."""
        while True:
            message = await self.ws.receive(timeout)
            if message.type == aiohttp.WSMsgType.CLOSE:
                # Not the socket's own code, which is another one if its answer to the closing came too late.
                return int(message.data)
            if message.type in (aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return self.ws.close_code


def inside(local: LocalExchange, function: Callable[[Server], Any]) -> Any:
    """Run a function in the server's loop."""
    return local._thread.call(function)


def forgive(local: LocalExchange) -> None:
    """Lift bans and forget what was used."""
    inside(local, lambda server: server.venue.limits.forgive())


def address(local: LocalExchange) -> tuple[str, int]:
    parts = urlsplit(local.url)
    return str(parts.hostname), int(parts.port or 0)
