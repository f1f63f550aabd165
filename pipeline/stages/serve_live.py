"""`pipeline serve`: puts live trading together from a config's files, and runs it until it is stopped."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.artifacts import Layout, count_rows, exclusive, read_json, read_table, sha256_json
from pipeline.config import Config, interval_ms
from pipeline.errors import BadInput, CheckFailed, ExchangeError, PipelineError
from pipeline.market import candles
from pipeline.stages.control import control_file, kill_file
from pipeline.stages.reporting import Plan, Summary, print_json
from pipeline.stages.runner import Options
from pipeline.stages.times import iso

if TYPE_CHECKING:
    from pipeline.exchange.port import Clock, Exchange
    from pipeline.live.journal import JournalReader
    from pipeline.live.loop import Limits, Loop, Mind
    from pipeline.live.portfolio import Portfolio
    from pipeline.live.strategy import Thresholds
    from pipeline.live.telling import Tell
    from pipeline.models.bundle import Bundle

KEY, SECRET = "PIPELINE_BINANCE_KEY", "PIPELINE_BINANCE_SECRET"
UNTRAINED = "features"


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line.

    live: real orders. once: the bars that have closed, then the end. bars: decided bars, then the end. yes: no
    question. uncertified: a bundle without certificate will do. store: journal in place of the config's. rehearse:
    first time and end of a local exchange's market, in place of the config's exchange. speed: its market time over
    real time; 0 waits for each decision. resume: go on with the last rehearsal's journal.
    """

    live: bool = False
    once: bool = False
    bars: int | None = None
    yes: bool = False
    uncertified: bool = False
    store: str | None = None
    rehearse: tuple[str, str] | None = None
    speed: float = 0.0
    resume: bool = False

    @property
    def mode(self) -> str:
        return "live" if self.live else "shadow"

    def folder(self, layout: Layout) -> Path:
        """Where journal, log and tables go: a rehearsal's are not mixed with those of the real market."""
        return layout.run / "serve" / "rehearsal" if self.rehearse else layout.run / "serve"

    def journal(self, config: Config, layout: Layout) -> "str | Path":
        """The journal's file, or its database."""
        return self.store or (None if self.rehearse else config.serve.store) or self.folder(layout) / "journal.sqlite"


@dataclass(frozen=True)
class Place:
    """Where an exchange is, and how it is paced. rehearsed: the local one that was started for this run."""

    addresses: Any
    keys: Any
    is_replay: bool
    step: Any = None


def serve(options: Options, wish: Wish) -> None:
    """Trade until stopped. Raises BadInput, CheckFailed: before anything is sent. ExchangeError: it is unreachable."""
    try:
        _serve(options, wish)
    except PipelineError as error:
        options.explain(error)
        raise


def _serve(options: Options, wish: Wish) -> None:
    config, layout = options.load()
    if config.serve.simulate_order_execution and wish.live:
        print("serve: simulate_order_execution keeps this in shadow", file=sys.stderr)
        wish = Wish(**{**vars(wish), "live": False})
    plan = plan_serve(config, layout, wish)
    if options.dry_run:
        print_json(plan.json()) if options.json else print(plan.text())
        return
    folder = wish.folder(layout)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(layout.run / "serve" / "serve.lock", f"`pipeline serve` of '{config.name}'"):
        if wish.rehearse and not wish.resume:
            for path in folder.iterdir():
                path.unlink()
        summary = asyncio.run(_run(config, layout, wish))
    if options.json:
        print_json(summary.json())
    else:
        print(summary.text(), flush=True)


def plan_serve(config: Config, layout: Layout, wish: Wish) -> Plan:
    """Check what serving needs of earlier stages. Raises BadInput, MissingInput: naming it and the stage to run."""
    from pipeline.models.bundle import read_manifest

    if config.simulate.direction != "long" or config.download.market != "spot":
        raise BadInput(
            "serve trades spot, and this config sells short or follows futures",
            "set simulate.direction: long and download.market: spot; `simulate` and `serve --replay` know futures",
        )
    if config.merge.funding:
        raise BadInput("merge.funding: serve follows spot, which has no funding rates", "leave it out")
    inputs: list[Path] = []
    for symbol in config.symbols:
        path = layout.merged(symbol)
        count_rows(path, "merge")
        inputs.append(path)
    notes = [f"mode: {wish.mode}", f"exchange: {'a rehearsal' if wish.rehearse else config.serve.exchange}"]
    if config.signals.predictions != UNTRAINED:
        folder, name = bundle_folder(layout)
        read_manifest(folder)
        inputs.append(folder)
        notes.append(f"bundle: {name}")
    folder = layout.run / "serve"
    outputs = [
        Path(wish.store) if wish.store else layout.journal,
        folder / "decisions.parquet",
        folder / "trades.parquet",
    ]
    return Plan("serve", inputs, outputs, notes=notes)


def bundle_folder(layout: Layout, name: str | None = None) -> tuple[Path, str]:
    """Folder and id of a bundle: the current one, or what was trained last if none has been promoted."""
    from pipeline.stages.retrain import current_bundle

    name = name or current_bundle(layout)
    if name:
        return layout.bundles / name, name
    manifest = read_json(layout.trained / "manifest.json", "train")
    return layout.trained, f"trained-{sha256_json(manifest)[:12]}"


# Parts


def _thresholds(config: Config, layout: Layout, folder: Path) -> "tuple[Thresholds, dict[str, float]]":
    """The thresholds, stops and sizes that the bundle was simulated with."""
    from pipeline.live.strategy import Thresholds
    from pipeline.stages.serve import chosen

    own = folder / "metrics.json"
    choice = chosen(config, layout, own if own.is_file() else None)
    return Thresholds(choice.buy, choice.sell, choice.chosen_by), dict(choice.variant)


def _load(config: Config, layout: Layout, name: str | None = None) -> "tuple[Bundle | None, str, Path]":
    from pipeline.models import bundle

    if config.signals.predictions == UNTRAINED:
        return None, f"rules-{sha256_json(config.model_dump(mode='json'))[:12]}", layout.trained
    folder, name = bundle_folder(layout, name)
    return bundle.load(folder), name, folder


def _evidence(layout: Layout, name: str, bundle: Any) -> tuple[str | None, str | None]:
    """Why a bundle's certificate is not valid, and to which stage the gate has let it."""
    from pipeline.evaluation import certificate

    if bundle is None:
        return None, None
    found = certificate.read(bundle.manifest)
    fault = (
        "there is none: `pipeline retrain` makes one"
        if found is None
        else certificate.valid_for(found, bundle.manifest)
    )
    return fault, None


def _fetched(config: Config) -> tuple[str, ...]:
    # As the merge stage: bars of higher intervals come from where they were downloaded, else from our own bars.
    return tuple(name for name in config.merge.timeframes if name in config.download.also_intervals)


async def _merged(config: Config, layout: Layout, exchange: "Exchange", until_ms: int) -> dict[str, pa.Table]:
    """Merged bars of all symbols up to those that open before a time: the file's, and what has closed since."""
    from pipeline.live.following import extended

    step, fetched = config.step_ms, _fetched(config)
    tables = {symbol: read_table(layout.merged(symbol), "merge") for symbol in config.symbols}
    cut = {symbol: _before(table, until_ms) for symbol, table in tables.items()}
    for symbol, table in cut.items():
        if not table.num_rows:
            raise BadInput(
                f"{layout.merged(symbol)}: has no bars before {iso(until_ms)}",
                "run `pipeline download` and `pipeline merge` for an earlier start",
            )
    begin = min(int(candles.times_ms(table)[-1]) + step for table in cut.values())
    if begin >= until_ms:
        return cut
    names = dict.fromkeys([*config.symbols, *config.merge.symbols])
    bars = {name: await _bars(exchange, name, config.interval, begin, until_ms) for name in names}
    result = {}
    for symbol, table in cut.items():
        higher = {
            interval: await _bars(exchange, symbol, interval, begin - interval_ms(interval), until_ms)
            for interval in fetched
        }
        result[symbol] = extended(config, symbol, table, bars, higher, until_ms)
    return result


async def _bars(
    exchange: "Exchange", symbol: str, interval: str, begin: int, end: int
) -> dict[int, Mapping[str, float]]:
    from pipeline.exchange.port import Refused

    try:
        found = await exchange.bars(symbol, interval, begin, end)
    except Refused as error:
        raise BadInput(f"{symbol}: the exchange says: {error}", "does it list this symbol?") from None
    return {bar.open_time_ms: bar.values for bar in found}


def _before(table: pa.Table, until_ms: int) -> pa.Table:
    import numpy as np

    return table.slice(0, int(np.searchsorted(candles.times_ms(table), until_ms)))


# The run


async def _run(config: Config, layout: Layout, wish: Wish) -> Summary:
    from pipeline.live.loop import Limits

    async with _at_exchange(config, layout, wish) as (place, exchange, clock, tell):
        with _journal(config, layout, wish) as journal, ThreadPoolExecutor(1, "journal") as writer:
            session = Session(config, layout, wish, place, exchange, clock, tell, journal, writer)
            limits = Limits(wish.bars, wish.once)
            return await session.run(limits)


class Session:
    """One run of `serve`, from recovery to the last record."""

    def __init__(
        self,
        config: Config,
        layout: Layout,
        wish: Wish,
        place: Place,
        exchange: Any,
        clock: "Clock",
        tell: "Tell",
        journal: Any,
        writer: ThreadPoolExecutor,
    ) -> None:
        self.config, self.layout, self.wish, self.place = config, layout, wish, place
        self.exchange, self.clock, self.tell, self.journal = exchange, clock, tell, journal
        self._writer = writer
        self._trades: list[dict[str, Any]] = []

    async def run(self, limits: "Limits") -> Summary:
        """Recover, follow the market, and say what came of it."""
        from time import perf_counter

        begun = perf_counter()
        loop = await self._start(limits)
        ready = perf_counter() - begun
        if self.wish.live:
            await self._preflight(loop)
        await self._write("START", self._opening)
        loop.portfolio.add("START", self._opening)
        self.tell(
            "start", mode=self.wish.mode, bundle=loop.mind.bundle, symbols=sorted(self.config.symbols),
            bar=iso(loop.mind.follower.last_open_ms), ready_s=round(ready, 3),
        )  # fmt: skip
        with _signals(loop):
            try:
                # Starting is recovering: what the exchange says comes before anything is decided.
                await loop.reconcile()
                async with self._controlled(loop):
                    reason = await loop.run()
            except PipelineError as error:
                self.tell("error", reason=error.message)
                raise
            finally:
                await loop.driver.close()
        await self._write("STOP", {"reason": reason, "at": self.clock.now_ms()})
        await self._in_writer(self._write_tables)
        self.tell("stop", reason=reason, bundle=loop.mind.bundle)
        return self._summary(loop, reason, ready, perf_counter() - begun)

    @contextlib.asynccontextmanager
    async def _controlled(self, loop: "Loop") -> AsyncIterator[None]:
        """For the block, listen to `pipeline status` and its like."""
        from pipeline import __version__
        from pipeline.live.commands import Commands
        from pipeline.live.control import ControlServer

        facts = {
            "version": __version__, "pid": os.getpid(), "since": iso(self.clock.now_ms()),
            "exchange": {"name": "rehearsal" if self.wish.rehearse else self.config.serve.exchange, "connected": True},
        }  # fmt: skip
        commands = Commands(loop, self.clock, self.tell, facts)
        server = ControlServer(control_file(self.layout), commands.by_name(), self.tell)
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    async def _start(self, limits: "Limits") -> "Loop":
        from pipeline.live.desk import Desk, Settings
        from pipeline.live.driver import Driver
        from pipeline.live.kill_switch import KillSwitch
        from pipeline.live.loop import Loop

        config = self.config
        bundle, name, folder = _load(config, self.layout)
        thresholds, variant = _thresholds(config, self.layout, folder)
        portfolio, books = self._recovered(variant)
        mode = self.wish.mode
        step = config.step_ms
        now = await self._market_ms()
        start: dict[str, Any] = {
            "mode": mode, "bundle": name, "config": sha256_json(config.model_dump(mode="json")), "name": config.name,
            "symbols": sorted(config.symbols), "interval": config.interval, "at": self.clock.now_ms(),
        }  # fmt: skip
        fresh = not portfolio.knows(mode)
        # The bar that is open now is the first to be decided; with --once, the one that has closed last.
        origin = now // step * step - (step if self.wish.once else 0)
        start |= {"origin": origin, "capital": await self._capital(), "fresh": fresh}
        rules = {symbol: await self._filters(symbol) for symbol in self.config.symbols} if self.wish.live else {}
        settings = Settings(int(config.serve.order_timeout * 1000), config.serve.test_order_before_submit)
        desk = Desk(books, rules, settings, ignores_others=config.serve.foreign_orders == "ignore")
        driver = Driver(
            desk, self.exchange, self.journal, self.clock, self.tell,
            lambda kind, body: self._fold(portfolio, kind, body),
            lambda symbol: trader.react(symbol),  # noqa: PLW0108  it is made after the driver
            self._in_writer,
        )  # fmt: skip
        trader = self._trader(portfolio, desk)
        self._opening, self._bundle = start, bundle
        last, origin = portfolio.where(mode, origin)
        follower = await self._follower(bundle, origin if last is None else last + step, origin, thresholds)
        from pipeline.live.loop import Mind

        loop = Loop(
            config, Mind(follower, name), portfolio, trader, desk, driver, self.exchange, self.clock, self.tell,
            limits=limits, is_replay=self.place.is_replay, fetched=_fetched(config), current=self._current,
            rethink=lambda wanted, last: self._rethink(wanted, last, portfolio.rules.origin_ms),
            skew_ms=lambda: self.exchange.clock_moved_ms, expires_ms=lambda: self._expires_ms(loop),
            killed=KillSwitch(kill_file(self.layout)).reason, step=self.place.step,
        )  # fmt: skip
        return loop

    async def _preflight(self, loop: "Loop") -> None:
        """Show what was checked, and ask. Raises CheckFailed: something is wrong. BadInput: the answer was no."""
        from pipeline.exchange.port import Unavailable, WrongKey
        from pipeline.live import preflight

        bundle = self._bundle
        fault, promoted = _evidence(self.layout, loop.mind.bundle, bundle)
        rehearsed = self.place.is_replay
        real = not rehearsed and self.config.serve.exchange == "live"
        try:
            checks = [
                *await preflight.at_exchange(
                    self.config, self.exchange, loop.desk.rules, self.exchange.clock_moved_ms, real
                ),
                *preflight.of_config(self.config),
                *preflight.of_bundle(
                    None if bundle is None else bundle.manifest,
                    fault,
                    promoted,
                    self.wish.uncertified or rehearsed,
                    rehearsed,
                ),
            ]
        except WrongKey as error:
            raise BadInput(f"the exchange refuses the key: {error}", f"check {KEY} and {SECRET}") from None
        except Unavailable as error:
            raise ExchangeError(f"the exchange cannot be reached: {error}") from None
        width = max(len(check.name) for check in checks)
        print("before live trading:", *(check.line(width) for check in checks), sep="\n", file=sys.stderr, flush=True)
        if wrong := [check.name for check in checks if check.passed is False]:
            raise CheckFailed(f"serve --live: {', '.join(wrong)} failed", "nothing was sent")
        if not self.wish.yes:
            await asyncio.to_thread(self._confirm)

    def _confirm(self) -> None:
        name = self.config.name
        where = "a rehearsal" if self.wish.rehearse else self.config.serve.exchange
        print(f"Trade real orders at {where}? Type {name} to begin: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != name:
            raise BadInput("serve --live: not confirmed, nothing was sent", f"type {name}, or add --yes")

    def _expires_ms(self, loop: "Loop") -> int | None:
        """When the bundle is too old to trade with."""
        if self._bundle is None or self.place.is_replay:
            return None
        from pipeline.config import utc_ms

        bars = self.config.bars(self.config.risk.breakers.model_expires)
        return utc_ms(str(self._bundle.manifest["created"])) + bars * self.config.step_ms

    def _recovered(self, variant: dict[str, float]) -> "tuple[Portfolio, Any]":
        """Account and books as the journal tells them."""
        from pipeline.live.books import books_of
        from pipeline.live.portfolio import Portfolio
        from pipeline.live.shadow import shadow_rules

        rules = shadow_rules(self.config, 0, variant)
        percent = self.config.serve.percentage_used_for_trade
        if percent is not None:
            from pipeline.trading.rules import FIXED_FRACTION

            rules = rules._replace(sizing=FIXED_FRACTION, fraction=percent / 100)
        portfolio = Portfolio(self.config.symbols, rules, 0.0)
        records: list[tuple[str, Mapping[str, Any]]] = []
        for _, kind, body in self.journal.read():
            portfolio.add(kind, body)
            if kind != "BAR":
                records.append((kind, body))
        return portfolio, books_of(records)

    def _trader(self, portfolio: "Portfolio", desk: Any) -> Any:
        from pipeline.live.trader import LiveTrader
        from pipeline.live.trading import PaperTrader

        if not self.wish.live:
            return PaperTrader(portfolio)
        portfolio.dust = {symbol: float(rules.lots.step) * 0.999 for symbol, rules in desk.rules.items()}
        return LiveTrader(self.config, portfolio, desk, desk.rules, self.clock.now_ms, self.tell)

    async def _filters(self, symbol: str) -> Any:
        from pipeline.exchange.port import Refused, Unavailable

        try:
            return await self.exchange.filters(symbol)
        except Refused as error:
            raise BadInput(f"{symbol}: the exchange says: {error}", "does it list this symbol?") from None
        except Unavailable as error:
            raise ExchangeError(f"the exchange cannot be reached: {error}") from None

    async def _capital(self) -> float:
        """Quote asset to begin with: the config's, or live all that is free."""
        if self.config.serve.capital or not self.wish.live:
            return self.config.serve.capital or self.config.simulate.initial_cash
        rules = await self._filters(self.config.symbols[0])
        quote = self.config.symbols[0].removeprefix(rules.base_asset)
        free = float((await self.exchange.balances()).get(quote, (0, 0))[0])
        if not free > 0:
            raise BadInput(f"the account has no free {quote}", "deposit some, or set serve.capital")
        return free

    async def _follower(self, bundle: Any, begin_ms: int, origin_ms: int, thresholds: Any) -> Any:
        from pipeline.live.following import Follower

        merged = await _merged(self.config, self.layout, self.exchange, begin_ms)
        return Follower(self.config, bundle, merged, origin_ms, thresholds, _fetched(self.config))

    async def _rethink(self, wanted: str, last_open_ms: int, origin_ms: int) -> "Mind":
        from pipeline.live.following import Follower
        from pipeline.live.loop import Mind

        merged = await _merged(self.config, self.layout, self.exchange, last_open_ms + self.config.step_ms)

        def make() -> Mind:
            bundle, name, folder = _load(self.config, self.layout, wanted)
            thresholds, _ = _thresholds(self.config, self.layout, folder)
            follower = Follower(self.config, bundle, merged, origin_ms, thresholds, _fetched(self.config))
            return Mind(follower, name)

        return await asyncio.to_thread(make)

    def _current(self) -> str | None:
        from pipeline.stages.retrain import current_bundle

        return current_bundle(self.layout) if self.config.signals.predictions != UNTRAINED else None

    def _fold(self, portfolio: "Portfolio", kind: str, body: Mapping[str, Any]) -> None:
        if kind == "BAR":
            portfolio.advance(body)
            for trade in body.get("trades", ()):
                self._told_trade(trade)
            return
        portfolio.add(kind, body)
        if kind == "TRADE":
            self._told_trade(body)
        elif kind == "FILL":
            leg = portfolio.legs.get(body["id"])
            self.tell(
                "fill", client_order_id=body["id"], qty=body["qty"], price=body["price"], fee=body["fee"],
                fee_asset=body["fee_asset"], symbol=leg.symbol if leg else "", side=leg.side.lower() if leg else "",
                leg=leg.leg if leg else "", bundle=portfolio.bundle,
            )  # fmt: skip

    def _told_trade(self, trade: Mapping[str, Any]) -> None:
        self._trades.append(dict(trade))
        self.tell("trade", **{key: trade[key] for key in ("symbol", "side", "qty", "pnl", "return", "exit_reason")})

    async def _market_ms(self) -> int:
        from pipeline.exchange.port import Unavailable, WrongKey

        try:
            return int(await self.exchange.server_ms())
        except (Unavailable, WrongKey) as error:
            raise ExchangeError(f"the exchange cannot be reached: {error}") from None

    def _write_tables(self) -> None:
        from pipeline.live import ledgers

        ledgers.update(self.journal, self.wish.folder(self.layout))

    async def _write(self, kind: str, body: Mapping[str, Any]) -> None:
        await self._in_writer(lambda: self.journal.append(kind, body))

    async def _in_writer(self, work: Any) -> Any:
        # A sync of the disk takes longer than the loop may be held.
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def _summary(self, loop: "Loop", reason: str, ready: float, seconds: float) -> Summary:
        account = loop.portfolio.account
        latency = [loop.latency.quantile(share) for share in (0.5, 0.99)]
        folder = self.wish.folder(self.layout)
        return Summary(
            "serve",
            [
                Path(self.wish.journal(self.config, self.layout)),
                folder / "decisions.parquet",
                folder / "trades.parquet",
                folder / "serve.log",
            ],
            {
                "mode": self.wish.mode,
                "bundle": loop.mind.bundle,
                "ended": reason,
                "bars": loop.decided,
                "last bar": iso(loop.mind.follower.last_open_ms),
                "trades": len(self._trades),
                "equity": round(float(account["equity"][0]), 2),
                "ready after": f"{ready:.2f} s",
                "decision": "none" if latency[0] is None else f"p50 {latency[0]:.2f} ms, p99 {latency[1]:.2f} ms",
            },
            seconds=seconds,
        )


@contextlib.contextmanager
def _signals(loop: "Loop") -> Iterator[None]:
    running = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(number, loop.stop, signal.Signals(number).name)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            running.remove_signal_handler(number)


@contextlib.contextmanager
def _journal(config: Config, layout: Layout, wish: Wish) -> "Iterator[JournalReader]":
    from pipeline.live.journal import open_journal

    journal = open_journal(wish.journal(config, layout), config.name)
    try:
        yield journal
    finally:
        journal.close()


@contextlib.asynccontextmanager
async def _at_exchange(config: Config, layout: Layout, wish: Wish) -> "AsyncIterator[tuple[Place, Any, Any, Any]]":
    """The exchange, opened, with what is told of it in the log."""
    from pipeline.exchange.binance.adapter import BinanceExchange
    from pipeline.exchange.port import Unavailable
    from pipeline.live.logs import ServeLog
    from pipeline.live.redaction import Redactor, environment_secrets
    from pipeline.live.system import SystemClock
    from pipeline.live.telling import FanOut

    clock = SystemClock()
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(_place(config, layout, wish))
        redactor = Redactor(environment_secrets(os.environ, config.serve.notify.variable))
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
            raise ExchangeError(f"{config.serve.exchange}: the exchange cannot be reached: {error}") from None
        try:
            yield place, exchange, clock, tell
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

    from pipeline.config import utc_ms
    from pipeline.exchange.binance.addresses import Keys, local
    from pipeline.exchange.local.running import Setup, Thread

    assert wish.rehearse is not None
    try:
        begin, end = (utc_ms(text) for text in wish.rehearse)
    except ValueError as error:
        raise BadInput(f"--rehearse: {error}", "write 2024-01-31 or 2024-01-31T12:00") from None
    if begin >= end:
        raise BadInput(f"--rehearse: {wish.rehearse[1]} is not after {wish.rehearse[0]}")
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
