"""The server: one process, one event loop, all shells on one port."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from pipeline.errors import BadInput
from pipeline.exchange.local import wire
from pipeline.exchange.local.clients import Client, close, flush
from pipeline.exchange.local.clocks import Pace
from pipeline.exchange.local.control import Control
from pipeline.exchange.local.faults import Fault
from pipeline.exchange.local.front import Answer, Asked, Connection
from pipeline.exchange.local.rest import Rest
from pipeline.exchange.local.socket_api import SocketApi
from pipeline.exchange.local.streams import Hub
from pipeline.exchange.local.venue import Venue

_MOST_BYTES = 1 << 16
_MESSAGES_PER_SECOND = 5
_PING_SECONDS, _PONG_SECONDS = 20.0, 60.0
_DAY_SECONDS = 86_400.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Server:
    """A local exchange on a port. speed: market time over real time; 0 to go on step by step, inf without waiting.

    files: answers `/data/…` as the bulk archive does: a path to bytes, or None.
    """

    def __init__(
        self,
        venue: Venue,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 0.0,
        files: Callable[[str], bytes | None] | None = None,
    ) -> None:
        self.venue = venue
        self.host = host
        self.port = port
        self.speed = speed
        self.pace: Pace | None = None
        self.hub = Hub(venue)
        self.sockets = SocketApi(venue)
        self.rest = Rest(venue)
        self.control = Control(self)
        self.stepping = asyncio.Lock()
        # Connections of control requests that are being answered: an outage leaves them alone.
        self.spared: set[asyncio.BaseTransport | None] = set()
        self._down_until = 0.0
        self._files = files
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._open: dict[Connection, None] = {}
        venue.on_market = self.hub.on_market
        venue.on_user = self.sockets.on_user
        venue.on_action = self._act
        venue.on_told = self.write

    @property
    def url(self) -> str:
        """Address of the REST API, without `/api`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def speed_word(self) -> str | float:
        """`step`, `max` or a number."""
        return "step" if self.speed == 0 else "max" if self.speed == float("inf") else self.speed

    def is_own_host(self, host: str) -> bool:
        """Whether a request's Host is this machine: another name may have been bound to its address by a stranger."""
        name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
        return name in LOOPBACK or name == self.host

    async def start(self) -> None:
        """Listen. Raises BadInput: the port is taken, or not ours to take."""
        app = web.Application(client_max_size=1 << 20)
        app.add_routes(self.control.routes())
        app.add_routes(
            [
                web.get("/ws", self._market_socket),
                web.get("/ws/{names:.*}", self._market_socket),
                web.get("/stream", self._market_socket),
                web.get("/ws-api/v3", self.sockets.handle),
                web.get("/data/{path:.*}", self._file),
                *self.routes(),
                web.route("*", "/{path:.*}", self.rest.handle),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=False)
        await self._runner.setup()
        await self._listen()
        self._spawn(self._keep_alive())
        self.venue.act()
        if self.speed:
            self.pace = Pace(self.speed, self.venue.engine.now)
            self._spawn(self._go_on(self.pace))

    def routes(self) -> list[web.RouteDef]:
        """What another market answers besides."""
        return []

    async def _listen(self) -> None:
        assert self._runner is not None and isinstance(self._runner.server, web.Server)
        heir = self._runner.server
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: Connection(self, self._open, heir), self.host, self.port, backlog=128, reuse_address=True
            )
        except OSError as error:
            other = "--host" if isinstance(error, socket.gaierror) else "--port"
            raise BadInput(
                f"{self.host}:{self.port}: cannot listen: {error.strerror or error}", f"choose another {other}"
            ) from None
        self.port = self._listener.sockets[0].getsockname()[1]

    def answer(self, asked: Asked) -> Answer:
        """What the front of the server answers; None for what is left to aiohttp."""
        name = self.rest.name_of(asked.method, asked.path)
        if name is None:
            is_step = asked.path == "/_emu/step" and asked.method == "POST"
            return self.control.step(asked) if is_step else None
        return self.rest.reply(name, asked) if self.venue.faults.are_waiting else self.rest.at_once(name, asked)

    async def stop(self) -> None:
        """Close all connections and stop."""
        for task in list(self._tasks):
            task.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            self.spared.clear()
            self._abort()
            await self._runner.cleanup()
        self.venue.engine.journal.close()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        """Wait until what was said has been sent; clients that do not read are left behind."""
        await flush(self._clients())

    def write(self) -> bool:
        """Hand what was said to the connections now; whether that was all of it."""
        waiting = [client for client in self._clients() if not client.write() and not client.stalled]
        return not waiting

    def _clients(self) -> list[Client]:
        return [*self.hub.clients, *(session.client for session in self.sockets.sessions)]

    async def _go_on(self, pace: Pace) -> None:
        """Let the market go by itself."""
        engine, since = self.venue.engine, 0
        while True:
            engine = self.venue.engine
            due = engine.timeline.next_ms
            if due is None:
                return
            wait = 0.0 if self.speed == float("inf") else pace.wait(due)
            since += 1
            if wait > 0.001 or since >= 200:
                since = 0
                await asyncio.sleep(wait)
                if self.speed == float("inf"):
                    await self.flush()
            self.venue.advance()

    async def _keep_alive(self) -> None:
        """Ping market sockets, and close those that do not answer or have been open for a day."""
        loop = asyncio.get_running_loop()
        started: dict[Client, float] = {}
        while True:
            await asyncio.sleep(_PING_SECONDS)
            now = loop.time()
            for client in list(self.hub.clients):
                begun = started.setdefault(client, now)
                if now < client.muted_until:
                    continue
                if now - client.alive > _PONG_SECONDS or now - begun > _DAY_SECONDS:
                    close(client, "clean")
                    continue
                self._spawn(client.ping())
            started = {client: begun for client, begun in started.items() if client in self.hub.clients}

    async def _file(self, request: web.Request) -> web.StreamResponse:
        found = None
        if self._files is not None:
            # A month of minutes takes a while to write; meanwhile the others are served.
            found = await asyncio.get_running_loop().run_in_executor(None, self._files, request.match_info["path"])
        if found is None:
            return web.Response(status=404, text="Not Found")
        return web.Response(body=found, content_type="application/octet-stream")

    # Market sockets

    async def _market_socket(self, request: web.Request) -> web.StreamResponse:
        """`/ws/a/b`, `/ws` with SUBSCRIBE, `/stream?streams=a/b`."""
        raw = not request.path.endswith("/stream")
        listed = request.match_info.get("names", "") if raw else request.query.get("streams", "")
        # Some clients number their sockets in the path, `/ws/0`, and subscribe later.
        names = [name for name in listed.split("/") if name and not name.isdigit()]
        socket = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=_MOST_BYTES)
        await socket.prepare(request)
        client = Client(socket, raw)
        self.hub.add(client)
        try:
            self.hub.subscribe(client, names)
            await self._listen_to(client)
        except ValueError as error:
            # The real one says nothing about an unknown stream; a rehearsal should.
            client.send(json.dumps({"error": {"code": 2, "msg": str(error)}, "id": None}))
            await client.idle.wait()
            close(client, "policy")
        finally:
            self.hub.remove(client)
            await client.ended()
        return socket

    async def _listen_to(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        window, count = loop.time(), 0
        async for message in client.socket:
            client.alive = loop.time()
            if loop.time() - window >= 1:
                window, count = loop.time(), 0
            count += 1
            if count > _MESSAGES_PER_SECOND:
                close(client, "policy")
                return
            if message.type == WSMsgType.PING and loop.time() >= client.muted_until:
                await client.socket.pong(message.data)
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            client.send(wire.dumps(self._requested(client, message.data)))

    def _requested(self, client: Client, data: str | bytes) -> dict[str, Any]:
        """SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY."""
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            return _wrong(None, 3, "Invalid JSON: expected value")
        if not isinstance(message, dict):
            return _wrong(None, 1, "Invalid value type: expected object")
        number, method, params = message.get("id"), message.get("method"), message.get("params", [])
        if isinstance(number, bool) or not isinstance(number, int | str | None):
            return _wrong(None, 1, "Invalid value type: id")
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": sorted(client.names), "id": number}
        if not isinstance(params, list) or len(params) > 2000:
            return _wrong(number, 1, "Invalid value type: expected array")
        if method == "GET_PROPERTY" and params == ["combined"]:
            return {"result": not client.raw, "id": number}
        if method == "SET_PROPERTY" and len(params) == 2 and params[0] == "combined" and isinstance(params[1], bool):
            client.raw = not params[1]
            return {"result": None, "id": number}
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE") or not all(isinstance(one, str) for one in params):
            return _wrong(number, 2, f"Invalid request: unknown method or parameters of {str(method)[:40]!r}")
        try:
            (self.hub.subscribe if method == "SUBSCRIBE" else self.hub.unsubscribe)(client, params)
        except ValueError as error:
            return _wrong(number, 2, str(error))
        return {"result": None, "id": number}

    # Faults

    def _act(self, fault: Fault) -> None:
        self.hub.act(fault)
        self.sockets.act(fault)
        if fault.kind in ("outage", "restart"):
            self._spawn(self._outage(float(fault.arg("seconds"))))

    async def _outage(self, seconds: float) -> None:
        """Refuse connections for a while; one outage in another makes it longer."""
        loop = asyncio.get_running_loop()
        is_down, self._down_until = self._down_until > 0, max(self._down_until, loop.time() + seconds)
        if is_down:
            return
        if self._listener is not None:
            self._listener.close()
        self._abort()
        while (left := self._down_until - loop.time()) > 0:
            await asyncio.sleep(left)
        while True:
            try:
                await self._listen()
                break
            except BadInput:  # Somebody else has taken the port meanwhile.
                await asyncio.sleep(0.1)
        self._down_until = 0.0
        if self.pace is not None:
            self.pace.restart(self.venue.engine.now)

    def _abort(self) -> None:
        for one in list(self._open):
            if one.transport not in self.spared:
                one.transport.abort()
        server = self._runner.server if self._runner is not None else None
        for connection in list(server.connections) if isinstance(server, web.Server) else ():
            if connection.transport is not None and connection.transport not in self.spared:
                connection.transport.abort()


def _wrong(number: int | str | None, code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "msg": message}, "id": number}
