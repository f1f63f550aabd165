"""Where `serve` trades: Binance, one of its test exchanges, or a local exchange that is started for a rehearsal."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import Layout
from pipeline.config import Config
from pipeline.errors import BadInput, ExchangeError
from pipeline.live.redaction import Redactor, environment_secrets
from pipeline.stages.serve_wish import Wish
from pipeline.stages.times import iso

KEY, SECRET = "PIPELINE_BINANCE_KEY", "PIPELINE_BINANCE_SECRET"


@dataclass(frozen=True)
class Place:
    """Where an exchange is, and how it is paced. rehearsed: the local one that was started for this run."""

    addresses: Any
    keys: Any
    is_replay: bool
    step: Any = None


@contextlib.asynccontextmanager
async def at_exchange(
    config: Config, layout: Layout, wish: Wish
) -> AsyncIterator[tuple[Place, Any, Any, Any, Redactor]]:
    """The exchange, opened, with what is told of it in the log."""
    from pipeline.exchange.binance.adapter import BinanceExchange
    from pipeline.exchange.port import Unavailable
    from pipeline.live.logs import ServeLog
    from pipeline.live.system import SystemClock
    from pipeline.live.telling import FanOut

    clock = SystemClock()
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(_place(config, layout, wish))
        redactor = Redactor(environment_secrets(os.environ, config.serve.notify.variable))
        redactor.add(*[store for store in (wish.store, config.serve.store) if store and "://" in store])
        log = ServeLog(wish.folder(layout) / "serve.log", config.serve.log, clock.now_ms, redactor)
        stack.callback(log.close)
        stack.enter_context(log.hearing_libraries())
        tell = FanOut(log)
        addresses = os.environ.get(config.serve.notify.variable, "").split()
        if addresses:
            from pipeline.live.alerts import Alerts, services

            alerts = Alerts(
                services(addresses, config.serve.notify.variable), config.serve.notify, redactor, config.name
            )
            stack.callback(alerts.close)
            tell.add(alerts)
        exchange = BinanceExchange(
            place.addresses, place.keys, clock, random.Random(),
            note=lambda kind, words: tell("exchange", kind=kind, reason=words),
        )  # fmt: skip
        try:
            await exchange.open()
        except Unavailable as error:
            await exchange.close()
            raise ExchangeError(
                f"{config.serve.exchange}: the exchange cannot be reached: {error}",
                "look at the network, `serve.exchange` and the exchange's own status",
            ) from None
        try:
            yield place, exchange, clock, tell, redactor
        finally:
            await exchange.close()


@contextlib.contextmanager
def _place(config: Config, layout: Layout, wish: Wish) -> Iterator[Place]:
    from pipeline.exchange.binance.addresses import DEMO, LIVE, TESTNET, Keys, local

    if wish.rehearse is None:
        known = {"live": LIVE, "testnet": TESTNET, "demo": DEMO}
        addresses = known.get(config.serve.exchange) or local(config.serve.exchange)
        yield Place(addresses, _keys() if wish.live else Keys(), bool(addresses.market_clock))
        return
    with _rehearsal(config, layout, wish) as place:
        yield place


def _bands(config: Config) -> Any:
    from pipeline.live.messages import Bands
    from pipeline.signals import threshold_step

    step = threshold_step(config.signals)
    return Bands(step.buy, step.sell)


def _keys() -> Any:
    from pydantic import SecretStr

    from pipeline.exchange.binance.addresses import Keys

    missing = [name for name in (KEY, SECRET) if not os.environ.get(name)]
    if missing:
        raise BadInput(f"--live needs {' and '.join(missing)} in the environment", "export them; they are never stored")
    return Keys(SecretStr(os.environ[KEY]), SecretStr(os.environ[SECRET]))


def _last_bar(config: Config, layout: Layout, wish: Wish) -> int | None:
    """Open time of the last bar in a rehearsal's journal."""
    from pipeline.live.journal import open_reader

    target = wish.journal(config, layout)
    if isinstance(target, Path) and not target.is_file():
        return None
    if wish.live:
        raise BadInput("--resume: the local exchange of a rehearsal forgets its orders", "rehearse in shadow")
    reader = open_reader(target, config.name)
    try:
        return max((int(body["t"]) for _, kind, body in reader.read() if kind == "BAR"), default=None)
    finally:
        reader.close()


@contextlib.contextmanager
def _rehearsal(config: Config, layout: Layout, wish: Wish) -> Iterator[Place]:
    """A local exchange over the config's own bars, which opens at the first time and ends at the second."""
    from pydantic import SecretStr

    from pipeline.exchange.binance.addresses import Keys, local
    from pipeline.exchange.local.running import Setup, Thread

    span = wish.span()
    assert span is not None
    begin, end = span
    if wish.resume and (last := _last_bar(config, layout, wish)) is not None:
        begin = max(begin, last + config.step_ms)
        if begin >= end:
            raise BadInput(f"--rehearse: the last one went on until {iso(begin)}", "leave out --resume to begin anew")
    names = tuple(dict.fromkeys([*config.symbols, *config.merge.symbols]))
    raw = layout.raw / config.download.venue / config.download.market
    setup = Setup(names, config.interval, raw, 0, begin, end, wish.speed)
    with Thread(setup) as exchange:
        trader = setup.scenario.accounts[0]

        async def step() -> bool:
            """One bar on; whether there was one."""

            def forward(server: Any) -> bool:
                before = server.venue.engine.now
                server.venue.step(1)
                return bool(server.venue.engine.now > before)

            return bool(await asyncio.to_thread(exchange.call, forward))

        yield Place(
            local(exchange.server.url), Keys(SecretStr(trader.key), trader.secret), True, None if wish.speed else step
        )  # fmt: skip
