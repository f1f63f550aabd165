"""The control endpoints below `/_emu`, and the page at `/`.

A page of another origin cannot use them: requests that change something must be JSON, which browsers do not send
across origins unasked, and the Host must be this machine's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from pipeline.errors import PipelineError
from pipeline.exchange.local import wire
from pipeline.exchange.local.faults import KINDS, Fault
from pipeline.exchange.local.front import Answer, Asked, Reply
from pipeline.exchange.local.numbers import text

if TYPE_CHECKING:
    from pipeline.exchange.local.server import Server

_MOST_BARS = 1_000_000
_WRONG = (PipelineError, ValueError, TypeError)


class Control:
    """Time, faults and state of one server."""

    def __init__(self, server: "Server") -> None:
        self.server = server

    def routes(self) -> list[web.RouteDef]:
        """What is answered."""
        return [
            web.get("/", self._page),
            web.get("/_emu/clock", self._guarded(self._clock)),
            web.post("/_emu/step", self._guarded(self._step)),
            web.get("/_emu/state", self._guarded(self._state)),
            web.get("/_emu/faults", self._guarded(self._menu)),
            web.post("/_emu/fault", self._guarded(self._add)),
            web.delete("/_emu/fault/{number}", self._guarded(self._remove)),
            web.get("/_emu/journal", self._guarded(self._journal)),
        ]

    def _guarded(
        self, handler: Callable[[web.Request], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def run(request: web.Request) -> web.StreamResponse:
            refusal = self._refusal(request.host, request.method, request.content_type)
            if refusal is not None:
                return _said(*refusal)
            self.server.spared.add(request.transport)
            try:
                reply = await handler(request)
            except (ValidationError, *_WRONG) as error:
                first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
                return _said(400, first)
            finally:
                self.server.spared.discard(request.transport)
            if isinstance(reply, web.StreamResponse):
                return reply
            return web.json_response(reply)

        return run

    def _refusal(self, host: str, method: str, kind: str) -> tuple[int, str] | None:
        """Status and words for a request that a page of another origin may have sent."""
        if not self.server.is_own_host(host):
            return 403, f"this is {self.server.url}; the request names another host"
        if method != "GET" and kind != "application/json":
            return 415, "send JSON, with Content-Type: application/json"
        return None

    async def _page(self, request: web.Request) -> web.StreamResponse:
        page = resources.files("pipeline.exchange.local").joinpath("page.html").read_text(encoding="utf-8")
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": _POLICY})

    async def _clock(self, request: web.Request) -> dict[str, Any]:
        return self.clock()

    def clock(self) -> dict[str, Any]:
        """Both clocks, and how far the market has gone."""
        venue = self.server.venue
        timeline = venue.engine.timeline
        return {
            "market": venue.engine.now,
            "auth": venue.clock.now(),
            "bar": venue.bars,
            "open_time": None if timeline.done else timeline.opened,
            "speed": self.server.speed_word,
            "done": timeline.done,
        }

    def step(self, asked: Asked) -> Answer:
        """`POST /_emu/step` from the front: one bar is done at once, if nobody has to be waited for."""
        server = self.server
        refusal = self._refusal(asked.header(b"host") or "", asked.method, _kind(asked.header(b"content-type") or ""))
        if refusal is not None:
            return _told(refusal[0], {"error": refusal[1]})
        try:
            bars = self._bars(asked.body)
            if bars > 1 or server.stepping.locked() or server.venue.faults.are_waiting:
                return self._step_later(bars, asked)
            server.venue.step()
            return _told(200, self.clock()) if server.write() else self._step_later(0, asked)
        except _WRONG as error:
            return _told(400, {"error": str(error)})

    async def _step_later(self, bars: int, asked: Asked) -> Reply:
        self.server.spared.add(asked.transport)
        try:
            return _told(200, await self._go_on(bars))
        except _WRONG as error:
            return _told(400, {"error": str(error)})
        finally:
            self.server.spared.discard(asked.transport)

    async def _step(self, request: web.Request) -> dict[str, Any]:
        return await self._go_on(self._bars(await request.read()))

    def _bars(self, data: bytes) -> int:
        """How many bars a step goes. Raises ValueError."""
        body = _object(data)
        bars = body.pop("bars", 1)
        if body:
            raise ValueError(f"step takes bars, not {', '.join(body)}")
        if not isinstance(bars, int) or isinstance(bars, bool) or not 0 < bars <= _MOST_BARS:
            raise ValueError(f"bars: a whole number from 1 to {_MOST_BARS:,}, not {bars!r}")
        if self.server.pace is not None:
            raise ValueError("the market goes by itself here; start it with --speed step")
        return bars

    async def _go_on(self, bars: int) -> dict[str, Any]:
        """Step, and wait until everything has been sent."""
        async with self.server.stepping:
            for done in range(bars):
                if self.server.venue.engine.done:
                    break
                self.server.venue.step()
                if done % 64 == 63:
                    await self.server.flush()
                    await asyncio.sleep(0)
            await self.server.flush()
        return self.clock()

    async def _state(self, request: web.Request) -> dict[str, Any]:
        venue = self.server.venue
        engine = venue.engine
        accounts = [
            {"uid": account.uid, "balances": account.rows(omit_zero=True)} for account in engine.accounts.values()
        ]
        live = [order.view() for account in engine.accounts.values() for order in engine.open_orders(account)]
        recent = [trade.view() for trades in engine.trades.values() for trade in trades[-20:]]
        markets = []
        for symbol, pit in engine.pits.items():
            bid, ask = pit.top()
            first = max(pit.position - 120, 0)
            markets.append(
                {
                    "symbol": symbol,
                    "status": pit.instrument.status,
                    "last": text(pit.price),
                    "bid": text(bid),
                    "ask": text(ask),
                    "closes": [float(value) for value in pit.series.close[first : pit.position]],
                }
            )
        return {
            "clock": self.clock(),
            "interval": engine.interval,
            "markets": markets,
            "accounts": accounts,
            "orders": live[-200:],
            "trades": sorted(recent, key=lambda row: -row["id"])[:50],
            "waiting": venue.faults.view(),
            "happened": venue.faults.history[-20:][::-1],
            "sockets": {"market": len(self.server.hub.clients), "api": len(self.server.sockets.sessions)},
            "ambiguous_bars": engine.ambiguous_bars,
            "journal": engine.journal.count,
        }

    async def _menu(self, request: web.Request) -> list[dict[str, Any]]:
        return [
            {"kind": name, "case": kind.case, "words": kind.words, "args": kind.args} for name, kind in KINDS.items()
        ]

    async def _add(self, request: web.Request) -> dict[str, Any]:
        fault = Fault.model_validate(_object(await request.read()))
        return {"id": self.server.venue.add_fault(fault)}

    async def _remove(self, request: web.Request) -> dict[str, Any]:
        self.server.venue.faults.remove(int(request.match_info["number"]))
        return {}

    async def _journal(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=self.server.venue.engine.journal.text(), content_type="application/x-ndjson")


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


def _object(body: bytes) -> dict[str, Any]:
    """The body of a request. Raises ValueError: it is no JSON object."""
    try:
        found = orjson.loads(body) if body else {}
    except ValueError:
        raise ValueError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("send a JSON object")
    return found


def _kind(header: str) -> str:
    """A content type without its parameters."""
    return header.partition(";")[0].strip().lower()


def _told(status: int, body: dict[str, Any]) -> Reply:
    return Reply(wire.dump_bytes(body), status, kind="application/json; charset=utf-8")


def _said(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
