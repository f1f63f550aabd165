"""Put a local exchange together, and run it: in the foreground, or in a thread beside a test."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.config.sources import SyntheticSource
from pipeline.exchange.local import recorded_engine, sources
from pipeline.exchange.local.archive import archive_file
from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.futures import server as futures
from pipeline.exchange.local.instruments import of_series
from pipeline.exchange.local.journal import Journal
from pipeline.exchange.local.scenario import Scenario
from pipeline.exchange.local.server import LOOPBACK, Server
from pipeline.exchange.local.venue import Venue

_DAY = 86_400_000
_PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Setup:
    """What an exchange is started with.

    data: see `sources.load`. start_ms: where trading begins; earlier bars of the data are history. speed: 0 step by
    step, inf without waiting. journal: a file for its record.
    synthetic: the made-up market, by default one of the seed. market: spot, or um for USD-M futures; funding: file of
    their rates, in which `{symbol}` is filled in. recorded: recordings of books and trades, in the place of data.
    """

    symbols: tuple[str, ...] = ("BTCUSDT",)
    interval: str = "1m"
    data: Path | None = None
    from_ms: int = 0
    start_ms: int = 0
    end_ms: int = 1 << 62
    speed: float = 0.0
    seed: int = 7
    host: str = "127.0.0.1"
    port: int = 0
    synthetic: SyntheticSource | None = None
    scenario: Scenario = field(default_factory=lambda: Scenario.model_validate({}))
    journal: Path | None = None
    recorded: tuple[Path, ...] = ()
    market: Literal["spot", "um"] = "spot"
    funding: Path | None = None


def make(setup: Setup) -> Server:
    """A server that does not run yet. Raises BadInput, MissingInput: the data cannot be used."""
    traders = setup.scenario.accounts

    if setup.recorded:
        recordings = recorded_engine.read(setup.recorded)

        def rebuild() -> Engine:
            return recorded_engine.RecordedEngine(
                recordings,
                [trader.account(number) for number, trader in enumerate(traders)],
                setup.interval,
                seed=setup.seed,
                model=setup.scenario.market,
                filters=setup.scenario.exchange_filters,
                journal=Journal(setup.journal),
            )

        return Server(Venue(rebuild, setup.scenario, setup.seed), host=setup.host, port=setup.port, speed=setup.speed)
    market = setup.synthetic or SyntheticSource(seed=setup.seed)
    series = sources.load(setup.data, list(setup.symbols), setup.interval, setup.from_ms, setup.end_ms, market)
    if setup.market == "um":
        return futures.make(setup, series)

    def build() -> Engine:
        return Engine(
            {symbol: of_series(symbol, one) for symbol, one in series.items()},
            series,
            [trader.account(number) for number, trader in enumerate(traders)],
            start_ms=setup.start_ms,
            seed=setup.seed,
            model=setup.scenario.market,
            filters=setup.scenario.exchange_filters,
            journal=Journal(setup.journal),
        )

    venue = Venue(build, setup.scenario, setup.seed)

    def files(path: str) -> bytes | None:
        # A day's file appears on the day after.
        return archive_file(series, f"data/{path}", venue.engine.now - _DAY)

    return Server(venue, host=setup.host, port=setup.port, speed=setup.speed, files=files)


class Thread:
    """A server in a thread of its own, so that blocking clients and tests can use it.

    `with Thread(Setup(...)) as exchange: …`; `call` runs a function inside its loop.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="local-exchange")
        self.server: Server

    def __enter__(self) -> "Thread":
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def call(self, function: Callable[[Server], Any]) -> Any:
        """Run a function in the server's loop and give its result, once the messages that it made have been sent."""
        assert self._loop is not None

        async def run() -> Any:
            result = function(self.server)
            await self.server.flush()
            return result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_PATIENCE_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            self.server = make(self.setup)
            await self.server.start()
        except BaseException as error:
            self._failure = error
            self._ready.set()
            return
        self._ready.set()
        await self._stop.wait()
        await self.server.stop()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in LOOPBACK or host.startswith("127.")
