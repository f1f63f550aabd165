"""Requests to Binance: python-binance's client with a signing clock, limits, retries and errors of our own.

Each request is signed with the exchange's time and a window, counted against the minute's weight, not sent during a
ban, and its error is judged once. What only reads is tried again; what changes something is sent once.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
from binance.async_client import AsyncClient

from pipeline.exchange.binance.addresses import Addresses, Keys
from pipeline.exchange.binance.budget import Budget
from pipeline.exchange.binance.errors import EXPECTED, Call, Meaning, Verdict, judge, understood
from pipeline.exchange.binance.timing import EVERY_SECONDS, ServerTime
from pipeline.exchange.port import Clock, Unavailable, WrongKey

Note = Callable[[str, str], None]
# How long a signed request may be on its way unless it says otherwise.
WINDOW_MS = 5000
_TRIES = 5
_LONGEST_PAUSE = 8.0
# After the exchange's clock was found so far from where it was believed to be, it is measured again so soon.
_JUMP_MS, _CONFIRM_SECONDS = 100.0, 5.0
_CONNECTIONS, _KEEP_ALIVE_SECONDS = 100, 90.0
_USED_WEIGHT = "X-MBX-USED-WEIGHT-1M"


@dataclass(frozen=True)
class Timeouts:
    """Seconds for a connection, for silence of the other end, and for a whole request."""

    connect: float = 10.0
    read: float = 30.0
    total: float = 60.0


TIMEOUTS = Timeouts()


class SigningClient(AsyncClient):  # type: ignore[misc]
    """python-binance's client, signing with a given clock; its own adds a difference that it measures once.

    server_ms: the exchange's time. Made inside the running loop.
    """

    def __init__(self, keys: Keys, server_ms: Callable[[], int], **options: Any) -> None:
        self.server_ms = server_ms
        super().__init__(keys.key.get_secret_value(), keys.secret.get_secret_value(), **options)

    def _get_request_kwargs(self, method: str, signed: bool, force_params: bool = False, **kwargs: Any) -> Any:
        if signed:
            if not self.API_KEY or not self.API_SECRET:
                raise WrongKey("no key and secret were given")
            data = kwargs["data"]
            data.setdefault("timestamp", self.server_ms())
            data.setdefault("recvWindow", WINDOW_MS)
            data["signature"] = self._generate_signature(data)
        return super()._get_request_kwargs(method, False, force_params, **kwargs)

    def signed_for_socket(self, **params: Any) -> dict[str, Any]:
        """Parameters of a request of the WebSocket API with key, time, window and signature."""
        whole = {"timestamp": self.server_ms(), "recvWindow": WINDOW_MS} | params
        return dict(self._sign_ws_params(whole, self._generate_ws_api_signature))


class Client:
    """One account's requests. Made inside the running loop; `close` it.

    note: told of what an operator should know, as a kind and a sentence without secrets.
    """

    def __init__(
        self,
        addresses: Addresses,
        keys: Keys,
        clock: Clock,
        draw: random.Random,
        note: Note,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self.clock = clock
        self.draw = draw
        self.note = note
        self.time = ServerTime(clock, self._ask_time)
        self.budget = Budget(clock, self.time.now_ms)
        self._market_clock = addresses.market_clock
        named = {
            "API_URL": f"{addresses.rest.rstrip('/')}/api",
            "MARGIN_API_URL": f"{addresses.rest.rstrip('/')}/sapi",
            "WS_API_URL": addresses.socket_api,
        }
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answered)
        self.binance = type("LocatedClient", (SigningClient,), named)(
            keys,
            self.time.now_ms,
            session_params={
                "connector": aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS),
                "trace_configs": [trace],
                "trust_env": not addresses.is_local,
            },
            requests_params={
                "timeout": aiohttp.ClientTimeout(
                    total=timeouts.total,
                    connect=timeouts.connect,
                    sock_connect=timeouts.connect,
                    sock_read=timeouts.read,
                )
            },
        )
        self._syncing: asyncio.Task[None] | None = None
        self._confirming: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Measure the exchange's time, and go on doing so. Raises Unavailable, Barred."""
        await self.sync()
        if self._syncing is None:
            self._syncing = asyncio.ensure_future(self._keep_time())

    async def close(self) -> None:
        """Close all connections."""
        for task in (self._syncing, self._confirming):
            if task is not None:
                task.cancel()
        await self.binance.session.close()

    async def read(self, ask: Callable[..., Awaitable[Any]], weight: int, **params: Any) -> Any:
        """The answer to a question, tried again while the exchange cannot be reached.

        ask: a method of `binance`. Raises Refused, Unavailable, Barred, WrongKey.
        """
        for attempt in range(_TRIES):
            seen = self.time.syncs
            found = await self._ask(ask, weight, params)
            if isinstance(found, Verdict) and found.meaning is Meaning.CLOCK:
                await self.sync(seen)
                found = await self._ask(ask, weight, params)
            if not isinstance(found, Verdict):
                return found
            if found.meaning is not Meaning.UNAVAILABLE or attempt == _TRIES - 1:
                break
            await self.clock.sleep(max(self._pause(attempt), found.after_s if found.after_s > 1 else 0.0))
        raise found.error()

    async def change(
        self,
        send: Callable[..., Awaitable[Any]],
        call: Call,
        window_ms: int,
        params: Mapping[str, str],
        weight: int = 1,
    ) -> Any:
        """The answer to an order or a cancel, sent once.

        It cannot be executed later than `window_ms` after this call, however long it waits on its way.
        Raises Refused, Unclear, Unavailable, Barred, WrongKey.
        """
        self.budget.take_now(weight)
        seen, begun = self.time.syncs, self.clock.monotonic()
        found = await self._once(send, weight, call, {**params, "recvWindow": window_ms})
        if isinstance(found, Verdict) and found.meaning is Meaning.CLOCK:
            await self.sync(seen)
            # Its time was refused, so it was not executed; what is left of the window is signed anew.
            left = window_ms - int((self.clock.monotonic() - begun) * 1000)
            if left > 0:
                self.budget.take_now(weight)
                found = await self._once(send, weight, call, {**params, "recvWindow": left})
        if isinstance(found, Verdict):
            raise found.error()
        return found

    @property
    def is_replay(self) -> bool:
        """Whether bars close by a clock of their own."""
        return bool(self._market_clock)

    async def market_ms(self) -> int:
        """The time by which bars close. Raises Unavailable, Barred."""
        if not self._market_clock:
            return self.time.now_ms()

        async def ask() -> Any:
            async with self.binance.session.get(self._market_clock) as reply:
                return await reply.json()

        return int((await self.read(ask, 0))["market"])

    async def sync(self, seen: int = -1) -> None:
        """Measure the exchange's time, unless it was since `time.syncs` was `seen`. Raises Unavailable, Barred."""
        await self.time.sync(seen)
        if abs(self.time.moved_ms) > 1:
            self.note("clock", f"the exchange's clock is {self.time.moved_ms:+.0f} ms from where it was believed to be")
        if abs(self.time.moved_ms) > _JUMP_MS and (self._confirming is None or self._confirming.done()):
            self._confirming = asyncio.ensure_future(self._confirm_time())

    async def _ask(self, ask: Callable[..., Awaitable[Any]], weight: int, params: dict[str, Any]) -> Any:
        await self.budget.take(weight)
        return await self._once(ask, weight, Call.READ, params)

    async def _once(self, ask: Callable[..., Awaitable[Any]], weight: int, call: Call, params: dict[str, Any]) -> Any:
        """One request whose weight has been taken; an answer or a verdict."""
        try:
            # python-binance adds what it signs to the parameters.
            return understood(await ask(**params))
        except EXPECTED as error:
            verdict = judge(error, call, self.time.now_ms())
        finally:
            self.budget.done(weight)
        if verdict.meaning is Meaning.BARRED:
            self.budget.bar(verdict.after_s)
            self.note("barred", f"nothing is sent for {verdict.after_s:.0f} s: {verdict.message}")
        return verdict

    async def _ask_time(self) -> int:
        reply = await self.read(self.binance.get_server_time, 1)
        if not (isinstance(reply, dict) and isinstance(reply.get("serverTime"), int)):
            raise Unavailable("a reply that is not understood; is this the address of an exchange?")
        return int(reply["serverTime"])

    async def _confirm_time(self) -> None:
        """Whether the clock stays where it has jumped to: until that is known it is not to be relied on."""
        await self.clock.sleep(_CONFIRM_SECONDS)
        self._confirming = None
        with contextlib.suppress(Unavailable):
            await self.sync()

    async def _keep_time(self) -> None:
        while True:
            await self.clock.sleep(EVERY_SECONDS)
            try:
                await self.sync()
            except Unavailable as error:
                self.note("clock", f"the exchange's time could not be measured: {error}")

    async def _answered(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        used = str(end.response.headers.get(_USED_WEIGHT, ""))
        if used.isascii() and used.isdigit():
            self.budget.told(int(used))

    def _pause(self, attempt: int) -> float:
        """0.25-0.5 s after the first failure, then twice as long each time."""
        return min(0.5 * 2**attempt, _LONGEST_PAUSE) * self.draw.uniform(0.5, 1.0)
