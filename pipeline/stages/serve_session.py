"""One run of `pipeline serve`: recovery, the loop with everything around it, and what came of it."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import lean
from pipeline.artifacts import Layout
from pipeline.config import Config
from pipeline.errors import BadInput, CheckFailed, PipelineError
from pipeline.stages.control import control_file, kill_file
from pipeline.stages.reporting import Summary
from pipeline.stages.serve_bars import fetched_of
from pipeline.stages.serve_minds import make_mind
from pipeline.stages.serve_models import UNTRAINED, allowed, config_hash, evidence, variant_of
from pipeline.stages.serve_place import KEY, SECRET, Place
from pipeline.stages.serve_wish import REHEARSAL, Wish
from pipeline.stages.times import iso

if TYPE_CHECKING:
    from pipeline.exchange.port import Clock
    from pipeline.live.loop import Limits, Loop
    from pipeline.live.minds import Mind
    from pipeline.live.portfolio import Portfolio
    from pipeline.live.redaction import Redactor
    from pipeline.live.telling import Tell
    from pipeline.models.bundle import Bundle
    from pipeline.trading.rules import Rules

_TOLD_OF_A_TRADE = (
    "symbol", "side", "qty", "entry_price", "exit_price", "bars_held", "pnl", "return", "exit_reason",
)  # fmt: skip


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
        redactor: "Redactor",
        journal: Any,
        writer: ThreadPoolExecutor,
    ) -> None:
        self.config, self.layout, self.wish, self.place = config, layout, wish, place
        self.exchange, self.clock, self.tell, self.journal = exchange, clock, tell, journal
        self._redactor, self._writer = redactor, writer
        self._trades: list[dict[str, Any]] = []

    async def run(self, limits: "Limits") -> Summary:
        """Recover, follow the market, and say what came of it."""
        begun = self.clock.monotonic()
        loop = await self._start(limits)
        ready = self.clock.monotonic() - begun
        lean.settle()
        if self.wish.live:
            await self._preflight(loop)
        await self._write("START", self._opening)
        loop.portfolio.add("START", self._opening)
        self.tell(
            "start", name=self.config.name, mode=self.wish.mode, bundle=loop.mind.bundle,
            symbols=sorted(self.config.symbols), bar=iso(loop.mind.follower.last_open_ms), ready_s=round(ready, 3),
        )  # fmt: skip
        for note in loop.mind.notes:
            self.tell("bundle", level="warning", bundle=loop.mind.bundle, reason=note)
        with _signals(loop):
            try:
                # Starting is recovering: what the exchange says comes before anything is decided.
                await loop.reconcile()
                async with self._controlled(loop), self._rehearsed(loop):
                    reason = await loop.run()
            except PipelineError as error:
                self.tell("error", reason=error.message)
                raise
            except Exception as error:
                # Not foreseen: whoever is away from the screen hears of it too.
                self.tell("error", reason=f"serve has failed: {type(error).__name__}: {error}")
                raise
            finally:
                await loop.driver.close()
        await self._write("STOP", {"reason": reason, "at": self.clock.now_ms()})
        await self._in_writer(self._write_tables)
        self.tell("stop", reason=reason, bundle=loop.mind.bundle)
        return self._summary(loop, reason, ready, self.clock.monotonic() - begun)

    @contextlib.asynccontextmanager
    async def _controlled(self, loop: "Loop") -> AsyncIterator[None]:
        """For the block, listen to `pipeline status` and its like."""
        from pipeline import __version__
        from pipeline.live.commands import Commands
        from pipeline.live.control import ControlServer

        facts = {
            "version": __version__, "pid": os.getpid(), "since": iso(self.clock.now_ms()),
            "quote_asset": self._quote(loop),
            "exchange": {"name": REHEARSAL if self.wish.rehearse else self.config.serve.exchange, "connected": True},
        }  # fmt: skip
        commands = Commands(loop, self.clock, self.tell, facts)
        server = ControlServer(control_file(self.layout), commands.by_name(), self.tell)
        self._redactor.add(server.token)
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
        from pipeline.live.minds import Succession

        config, mode, step = self.config, self.wish.mode, self.config.step_ms
        rules = {symbol: await self._filters(symbol) for symbol in config.symbols} if self.wish.live else {}
        dust = {symbol: float(one.lots.step) * 0.999 for symbol, one in rules.items()}
        portfolio, books = self._recovered(variant_of(config, self.layout), dust)
        # The bar that is open now is the first to be decided; with --once, the one that has closed last.
        first = await self._market_ms() // step * step - (step if self.wish.once else 0)
        settings = Settings(int(config.serve.order_timeout * 1000), config.serve.test_order_before_submit)
        desk = Desk(books, rules, settings, ignores_others=config.serve.foreign_orders == "ignore")
        driver = Driver(
            desk, self.exchange, self.journal, self.clock, self.tell,
            lambda kind, body: self._fold(portfolio, kind, body),
            lambda symbol: trader.react(symbol),  # noqa: PLW0108  it is made after the driver
            self._in_writer,
            lambda kind, body: self._written(portfolio, kind, body),
        )  # fmt: skip
        trader = self._trader(portfolio, desk)
        last, origin = portfolio.where(mode, first)
        mind, self._bundle = await self._think(first if last is None else last + step, origin)
        self._opening = {
            "mode": mode, "bundle": mind.bundle, "config": config_hash(config),
            "name": config.name, "symbols": sorted(config.symbols), "interval": config.interval,
            "at": self.clock.now_ms(), "origin": first, "capital": await self._capital(),
            "fresh": not portfolio.knows(mode),
            "exchange": REHEARSAL if self.wish.rehearse else config.serve.exchange,
        }  # fmt: skip
        succession = Succession(self._current, lambda wanted, last: self._rethink(wanted, last, origin))
        return Loop(
            config, mind, portfolio, trader, desk, driver, self.exchange, self.clock, self.tell, succession,
            limits=limits, is_replay=self.place.is_replay, fetched=fetched_of(config),
            skew_ms=lambda: self.exchange.clock_moved_ms, killed=KillSwitch(kill_file(self.layout)).reason,
            step=self.place.step,
        )  # fmt: skip

    def _rehearsed(self, loop: "Loop") -> contextlib.AbstractAsyncContextManager[None]:
        """Decisions rehearsed around closes, where bars close by the clock."""
        from pipeline.live.rehearsing import Rehearsal

        rehearsal = Rehearsal(lambda: loop.mind.follower, loop.portfolio, self.clock, self.tell)
        return rehearsal.every(0.0 if self.place.is_replay else self.config.serve.rehearse_every)

    async def _preflight(self, loop: "Loop") -> None:
        """Show what was checked, and ask. Raises CheckFailed: something is wrong. BadInput: the answer was no."""
        from pipeline.exchange.port import Unavailable, WrongKey
        from pipeline.live import preflight
        from pipeline.live.telling import in_our_words

        bundle = self._bundle
        fault, promoted = evidence(self.config, self.layout, loop.mind.bundle, bundle)
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
                    allowed(self.config.serve.exchange),
                ),
                *preflight.of_capital(self.config, real),
            ]
        except WrongKey as error:
            raise BadInput(f"the exchange refuses the key: {error}", f"check {KEY} and {SECRET}") from None
        except Unavailable as error:
            raise in_our_words(error) from None
        width = max(len(check.name) for check in checks)
        print("before live trading:", *(check.line(width) for check in checks), sep="\n", file=sys.stderr, flush=True)
        if wrong := [check.name for check in checks if check.passed is False]:
            raise CheckFailed(f"serve --live: {', '.join(wrong)} failed", "nothing was sent")
        if not self.wish.yes:
            await asyncio.to_thread(self._confirm)

    def _quote(self, loop: "Loop") -> str:
        symbol = self.config.symbols[0]
        rules = loop.desk.rules.get(symbol)
        return symbol.removeprefix(rules.base_asset) if rules else ""

    def _confirm(self) -> None:
        name = self.config.name
        where = "a rehearsal" if self.wish.rehearse else self.config.serve.exchange
        print(f"Trade real orders at {where}? Type {name} to begin: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != name:
            raise BadInput("serve --live: not confirmed, nothing was sent", f"type {name}, or add --yes")

    def _recovered(self, variant: dict[str, float], dust: dict[str, float]) -> "tuple[Portfolio, Any]":
        """Account and books as the journal tells them. dust: less than a lot, by symbol, with which a position ends."""
        from pipeline.live.books import books_of
        from pipeline.live.portfolio import Portfolio

        portfolio = Portfolio(self.config.symbols, self._rules(variant), 0.0, dust)
        records: list[tuple[str, Mapping[str, Any]]] = []
        for _, kind, body in self.journal.read():
            portfolio.add(kind, body)
            if kind == "START":
                self._require_same_exchange(body)
            if kind != "BAR":
                records.append((kind, body))
        return portfolio, books_of(records)

    def _require_same_exchange(self, start: Mapping[str, Any]) -> None:
        """Raises BadInput: orders in the journal are another exchange's, where nobody would find them."""
        before, now = start.get("exchange"), REHEARSAL if self.wish.rehearse else self.config.serve.exchange
        if self.wish.live and start["mode"] == "live" and before not in (None, now):
            raise BadInput(
                f"the journal is of live trading at {before}, and serve.exchange is {now}",
                "give this one a journal of its own: --store FILE, or serve.store",
            )

    def _rules(self, variant: dict[str, float]) -> "Rules":
        """Rules of the trading core. variant: stops and sizes that a bundle was simulated with."""
        from pipeline.live.shadow import shadow_rules
        from pipeline.trading.rules import FIXED_FRACTION

        rules = shadow_rules(self.config, 0, variant)
        percent = self.config.serve.percentage_used_for_trade
        return rules if percent is None else rules._replace(sizing=FIXED_FRACTION, fraction=percent / 100)

    def _trader(self, portfolio: "Portfolio", desk: Any) -> Any:
        from pipeline.live.trader import LiveTrader
        from pipeline.live.trading import PaperTrader

        if not self.wish.live:
            return PaperTrader(portfolio)
        return LiveTrader(self.config, portfolio, desk, desk.rules, self.clock.now_ms, self.tell)

    async def _filters(self, symbol: str) -> Any:
        from pipeline.exchange.port import Refused, Unavailable
        from pipeline.live.telling import in_our_words

        try:
            return await self.exchange.filters(symbol)
        except Refused as error:
            raise BadInput(f"{symbol}: the exchange says: {error}", "does it list this symbol?") from None
        except Unavailable as error:
            raise in_our_words(error) from None

    async def _capital(self) -> float:
        """Quote asset to begin with: the config's, or live all that is free."""
        if self.config.serve.capital or not self.wish.live:
            return self.config.serve.capital or self.config.simulate.initial_cash
        rules = await self._filters(self.config.symbols[0])
        quote = self.config.symbols[0].removeprefix(rules.base_asset)
        from pipeline.exchange.port import Unavailable, WrongKey
        from pipeline.live.telling import in_our_words

        try:
            free = float((await self.exchange.balances()).get(quote, (0, 0))[0])
        except WrongKey as error:
            raise BadInput(f"the exchange refuses the key: {error}", f"check {KEY} and {SECRET}") from None
        except Unavailable as error:
            raise in_our_words(error) from None
        if not free > 0:
            raise BadInput(f"the account has no free {quote}", "deposit some, or set serve.capital")
        return free

    async def _think(self, begin_ms: int, origin_ms: int, wanted: str | None = None) -> "tuple[Mind, Bundle | None]":
        from pipeline.exchange.port import Unavailable
        from pipeline.live.telling import in_our_words

        try:
            return await make_mind(
                self.config, self.layout, self.exchange, self.wish, begin_ms, origin_ms, self.place.is_replay, wanted
            )  # fmt: skip
        except Unavailable as error:
            raise in_our_words(error) from None

    async def _rethink(self, wanted: str, last_open_ms: int, origin_ms: int) -> "Mind":
        mind, _ = await self._think(last_open_ms + self.config.step_ms, origin_ms, wanted)
        mind.rules = self._rules(variant_of(self.config, self.layout, wanted))
        return mind

    def _current(self) -> str | None:
        from pipeline.stages.standing import named

        return named(self.layout) if self.config.signals.predictions != UNTRAINED else None

    def _fold(self, portfolio: "Portfolio", kind: str, body: Mapping[str, Any]) -> None:
        if kind == "BAR":
            portfolio.advance(body)
        else:
            portfolio.add(kind, body)

    def _written(self, portfolio: "Portfolio", kind: str, body: Mapping[str, Any]) -> None:
        """Tell of what is on disk now."""
        if kind == "BAR":
            for trade in body.get("trades", ()):
                self._told_trade(trade)
        elif kind == "TRADE":
            self._told_trade(body)
        elif kind == "FILL":
            leg = portfolio.legs.get(body["id"])
            self.tell(
                "fill", client_order_id=body["id"], qty=body["qty"], price=body["price"], fee=body["fee"],
                fee_asset=body["fee_asset"], symbol=leg.symbol if leg else "", side=leg.side.lower() if leg else "",
                leg=leg.leg if leg else "", bundle=portfolio.bundle, bar=iso(portfolio.last_open_ms or 0),
            )  # fmt: skip

    def _told_trade(self, trade: Mapping[str, Any]) -> None:
        self._trades.append(dict(trade))
        self.tell("trade", **{key: trade[key] for key in _TOLD_OF_A_TRADE})

    async def _market_ms(self) -> int:
        from pipeline.exchange.port import Unavailable, WrongKey
        from pipeline.live.telling import in_our_words

        try:
            return int(await self.exchange.server_ms())
        except (Unavailable, WrongKey) as error:
            raise in_our_words(error) from None

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
