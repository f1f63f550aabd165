"""User data streams of futures: listen keys, and the sockets that are opened with them."""

import asyncio
import hashlib
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from pipeline.exchange.local import wire
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.clients import Client, close
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.reports import Event

if TYPE_CHECKING:
    from pipeline.exchange.local.futures.streams import FuturesHub
    from pipeline.exchange.local.futures.venue import FuturesVenue

_HOUR = 3_600_000
_MOST_BYTES = 1 << 16
_UNKNOWN_KEY = (-1125, "This listenKey does not exist.")


class UserStreams:
    """Who listens to which account. hub: of the market's sockets, whose faults these sockets share."""

    def __init__(self, venue: "FuturesVenue", hub: "FuturesHub") -> None:
        self.venue = venue
        self.hub = hub
        self._expires: dict[str, int] = {}
        self._accounts: dict[str, str] = {}
        self._sockets: dict[Client, str] = {}
        self._late: list[tuple[str, Event]] = []

    def start(self, account: Account) -> str:
        """An account's listen key, good for an hour from now."""
        key = hashlib.sha256(f"listen {account.uid} {account.key}".encode()).hexdigest()
        self._accounts[key] = account.key
        self._expires[key] = self.venue.clock.now() + _HOUR
        return key

    def keep(self, account: Account) -> str:
        """Let it be good for another hour. Raises ApiError -1125: it has expired, or there was none."""
        key = next((key for key, owner in self._accounts.items() if owner == account.key), "")
        if not self.is_key(key):
            raise ApiError(*_UNKNOWN_KEY)
        return self.start(account)

    def stop(self, account: Account) -> None:
        """No more of it; its sockets close."""
        for key in [key for key, owner in self._accounts.items() if owner == account.key]:
            del self._accounts[key], self._expires[key]
            for client, followed in self._sockets.items():
                if followed == key:
                    close(client, "clean")

    def drop(self, mode: str) -> None:
        """Close all sockets, as a fault has it."""
        for client in list(self._sockets):
            close(client, mode)

    def is_key(self, key: str) -> bool:
        """Whether it is a listen key that has not expired."""
        return self._expires.get(key, 0) > self.venue.clock.now()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A socket, until it closes: `/f/private/ws?listenKey=KEY` or `/f/private/ws/KEY`."""
        key = request.query.get("listenKey") or request.match_info.get("names", "")
        socket = web.WebSocketResponse(compress=False, max_msg_size=_MOST_BYTES, autoping=True)
        await socket.prepare(request)
        if not self.is_key(key):
            await socket.close(code=1008, message=b"Invalid listen key")
            return socket
        client = Client(socket, raw=True)
        self._sockets[client] = key
        self.hub.add(client)
        try:
            async for message in socket:
                client.alive = asyncio.get_running_loop().time()
                if message.type == WSMsgType.TEXT:
                    client.send(wire.dumps({"error": {"code": 1, "msg": "This socket takes no requests"}, "id": None}))
        finally:
            self._sockets.pop(client, None)
            self.hub.remove(client)
            await client.ended()
        return socket

    def on_user(self, key: str, event: Event) -> None:
        """Send an account's event to all who follow it."""
        if event.get("_late"):
            self._late.append((key, {name: value for name, value in event.items() if name != "_late"}))
            return
        late, self._late = self._late, []
        for one_key, one in [(key, event), *late]:
            body = wire.dumps(one)
            for client, followed in self._sockets.items():
                if self._accounts.get(followed) == one_key and self.is_key(followed):
                    client.send(body)
