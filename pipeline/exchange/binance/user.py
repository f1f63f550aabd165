"""The user data stream: a subscription over the WebSocket API that is never taken to be alive without being asked."""

import asyncio
import contextlib
import uuid
from typing import Any

from binance.exceptions import BinanceAPIException
from binance.ws.websocket_api import WebsocketAPI

from pipeline.exchange.binance.client import Client
from pipeline.exchange.binance.errors import Call, Meaning, judge
from pipeline.exchange.binance.sockets import BinanceLine, Lost, Watch, connect, discard
from pipeline.exchange.port import Barred, WrongKey

# How often the other end is asked whether it is there; silence is normal.
WATCH = Watch(check_s=30.0)
_ANSWER_SECONDS = 5


class _Socket(WebsocketAPI):  # type: ignore[misc]
    """python-binance's, with two changes: events of all kinds come out of `recv`, from the first one on, and a reply
    that comes after its time is dropped instead of ending the socket without a word."""

    TIMEOUT = _ANSWER_SECONDS

    def _handle_message(self, msg: Any) -> Any:
        message = self.json_loads(msg)
        if isinstance(message, dict):
            if "event" in message:
                return message["event"]
            if message.get("id") not in self._responses:
                return None
        return super()._handle_message(msg)


class UserLine(BinanceLine):
    """A socket of the WebSocket API that is subscribed to the account's events."""

    def __init__(self, socket: _Socket, client: Client) -> None:
        super().__init__(socket)
        self.client = client

    async def check(self) -> None:
        # Silence is what a lost subscription looks like, and a ban is not made longer by asking.
        with contextlib.suppress(Barred):
            self.client.budget.check_bar()
            await self.ask("time")

    async def ask(self, method: str, **params: Any) -> Any:
        """The result of a request. Raises what python-binance raises."""
        if self.socket.ws is None:
            raise Lost("closed")
        name = str(uuid.UUID(int=self.client.draw.getrandbits(128)))
        asked = asyncio.ensure_future(self.socket.request(name, {"id": name, "method": method, "params": params}))
        try:
            # Not awaited itself: its `wait_for` may lose a cancel.
            await asyncio.wait([asked])
        finally:
            asked.cancel()
        return asked.result()


async def subscribe(client: Client, url: str, is_local: bool) -> UserLine:
    """Open a line and subscribe to the account's events.

    Raises WrongKey, Barred, Unavailable, what python-binance raises.
    """
    client.budget.check_bar()
    seen = client.time.syncs
    socket = _Socket(url)
    try:
        await connect(socket, is_local)
        line = UserLine(socket, client)
        await line.ask("userDataStream.subscribe.signature", **client.binance.signed_for_socket())
    except BinanceAPIException as error:
        verdict = judge(error, Call.READ, client.time.now_ms())
    except BaseException:
        await discard(socket)
        raise
    else:
        return line
    await discard(socket)
    if verdict.meaning is Meaning.CLOCK:
        await client.sync(seen)
    elif verdict.meaning is Meaning.BARRED:
        client.budget.bar(verdict.after_s)
    elif verdict.meaning is Meaning.WRONG_KEY:
        raise WrongKey(verdict.message)
    raise Lost(f"the subscription was refused: {verdict.message}")
