"""The server of a futures exchange, and how it is put together."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from pipeline.config.sources import FileSource, SyntheticSource
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.archive import archive_file
from pipeline.exchange.local.faults import Fault
from pipeline.exchange.local.futures import marks
from pipeline.exchange.local.futures.engine import FuturesEngine
from pipeline.exchange.local.futures.funding import Rates
from pipeline.exchange.local.futures.rest import FuturesRest
from pipeline.exchange.local.futures.rules import contract
from pipeline.exchange.local.futures.streams import FuturesHub
from pipeline.exchange.local.futures.users import UserStreams
from pipeline.exchange.local.futures.venue import FuturesVenue
from pipeline.exchange.local.history import DAY, Series
from pipeline.exchange.local.journal import Journal
from pipeline.exchange.local.scenario import ScenarioError, Trader
from pipeline.exchange.local.server import Server
from pipeline.exchange.local.socket_api import SocketApi
from pipeline.market import files

if TYPE_CHECKING:
    from pipeline.exchange.local.running import Setup


class _UserSockets(SocketApi):
    """In the place of spot's WebSocket API, which is not served: its faults concern the user data streams."""

    def __init__(self, venue: FuturesVenue, users: UserStreams) -> None:
        super().__init__(venue)
        self.users = users

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Not here."""
        return web.Response(status=404, text="Not Found")

    def act(self, fault: Fault) -> None:
        """Do a fault to the sockets."""
        if fault.kind == "wsapi_drop":
            self.users.drop(str(fault.arg("mode")))


class FuturesServer(Server):
    """A local futures exchange on a port; see `Server`."""

    def __init__(
        self, venue: FuturesVenue, *, host: str, port: int, speed: float, files: Callable[[str], bytes | None]
    ) -> None:
        super().__init__(venue, host=host, port=port, speed=speed, files=files)
        hub = FuturesHub(venue)
        self.users = UserStreams(venue, hub)
        self.sockets = _UserSockets(venue, self.users)
        self.hub, self.rest = hub, FuturesRest(venue, self.users)
        venue.on_market, venue.on_user = hub.on_market, self.users.on_user

    def routes(self) -> list[web.RouteDef]:
        """Streams below `/f/`, by category as since 2026 or without, and user data."""
        found = [web.get("/f/private/ws", self.users.handle), web.get("/f/private/ws/{names}", self.users.handle)]
        for base in ("/f", "/f/market", "/f/public"):
            found += [
                web.get(f"{base}/ws", self._market_socket),
                web.get(f"{base}/ws/{{names:.*}}", self._any_socket),
                web.get(f"{base}/stream", self._market_socket),
            ]
        return found

    async def _any_socket(self, request: web.Request) -> web.StreamResponse:
        if self.users.is_key(request.match_info["names"]):
            return await self.users.handle(request)
        return await self._market_socket(request)


def make(setup: "Setup", series: Mapping[str, Series]) -> FuturesServer:
    """A server that does not run yet. Raises BadInput, MissingInput: the data cannot be used."""
    rules, scenario = setup.scenario.futures, setup.scenario
    if scenario.exchange_filters.are_there or any(trader.max_asset for trader in scenario.accounts):
        raise ScenarioError("exchange_filters and max_asset are the spot market's", "leave them out with --market um")
    mark_prices = marks.load(setup.data, series, setup.synthetic or SyntheticSource(seed=setup.seed))
    rates = {symbol: _rates(setup.funding, symbol) for symbol in series} if setup.funding else {}

    def account(trader: Trader, number: int) -> Account:
        made = trader.account(number)
        made.maker = trader.maker if "maker" in trader.model_fields_set else rules.maker
        made.taker = trader.taker if "taker" in trader.model_fields_set else rules.taker
        return made

    def build() -> FuturesEngine:
        return FuturesEngine(
            {symbol: contract(symbol, one, rules) for symbol, one in series.items()},
            series,
            [account(trader, number) for number, trader in enumerate(setup.scenario.accounts)],
            start_ms=setup.start_ms,
            seed=setup.seed,
            model=setup.scenario.market,
            journal=Journal(setup.journal),
            futures=rules,
            rates=rates,
            mark_prices=mark_prices,
        )

    venue = FuturesVenue(build, setup.scenario, setup.seed)

    def archive(path: str) -> bytes | None:
        # A day's file appears on the day after.
        # Files of the mark price are klines by another name.
        known = mark_prices if "/markPriceKlines/" in path else series
        return archive_file(known, f"data/{path}".replace("/markPriceKlines/", "/klines/"), venue.engine.now - DAY)

    return FuturesServer(venue, host=setup.host, port=setup.port, speed=setup.speed, files=archive)


def _rates(path: Path, symbol: str) -> Rates:
    """Funding rates of a file; `{symbol}` in its name is filled in."""
    return files.read_funding(FileSource(path=str(path)), symbol)
