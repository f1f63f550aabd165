"""The loop of live trading: closed bars become decisions, once and in order, and nothing is acted on late."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.exchange.port import (
    AccountChange,
    Clock,
    ClosedBar,
    Event,
    Exchange,
    Interrupted,
    Quote,
    Report,
    Traded,
    Unavailable,
)
from pipeline.exchange.waiting import woken_within
from pipeline.live.desk import Desk
from pipeline.live.driver import Driver
from pipeline.live.effects import Effect, Write
from pipeline.live.gathering import Gathered, Gatherer
from pipeline.live.higher_bars import HigherBars
from pipeline.live.holdings import Holdings
from pipeline.live.latency import Latency
from pipeline.live.minds import Mind, Succession
from pipeline.live.portfolio import Portfolio
from pipeline.live.quoting import wants_quotes
from pipeline.live.saying import Days, say_bar
from pipeline.live.telling import Tell, in_our_words
from pipeline.live.trader_port import Trader
from pipeline.trading.reasons import BREAKER_CODES, CODES
from pipeline.trading.records import BREAKER

# How often conditions that no event tells of are looked at.
_LOOK_SECONDS = 1.0
# A symbol whose bar is this late after the first one's is gone on without.
_PATIENCE_SHARE = 0.5
# In a market that waits for us: how long a bar may take to come, and orders to be done.
_SILENCE_SECONDS = 1.0
_SETTLE_SECONDS = 30.0
# At the end, what was sent may be answered, and what was bought be protected; after a signal only for so long.
_WIND_UP_SECONDS, _HURRY_SECONDS = 30.0, 3.0
_ENDS = ("done", "caught up", "the market has ended")


@dataclass
class Limits:
    """When to stop. bars: after so many decided bars. when_caught_up: after the bars that had closed by the start."""

    bars: int | None = None
    when_caught_up: bool = False


class Loop:
    """Follows the market until it is stopped.

    succession: of other bundles. is_replay: the market is history that runs at another speed than the clock. fetched:
    higher intervals that are asked for when they close. killed: why the kill switch stops trading, if it does. skew_ms:
    of our clock. step: moves a market that waits for us on by a bar, and says whether there was one.
    """

    def __init__(
        self,
        config: Config,
        mind: Mind,
        portfolio: Portfolio,
        trader: Trader,
        desk: Desk,
        driver: Driver,
        exchange: Exchange,
        clock: Clock,
        tell: Tell,
        succession: Succession,
        *,
        limits: Limits | None = None,
        is_replay: bool = False,
        fetched: tuple[str, ...] = (),
        killed: Callable[[], str] = lambda: "",
        skew_ms: Callable[[], float] = lambda: 0.0,
        step: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.config, self.mind, self.portfolio = config, mind, portfolio
        self.desk, self.driver = desk, driver
        self.latency = Latency()
        self.last_event_ms = 0
        self.market_ms = mind.follower.last_open_ms
        self.decided = 0
        self.stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.succession = succession
        self._trader, self._exchange, self._clock, self._tell = trader, exchange, clock, tell
        self._limits, self._is_replay = limits or Limits(), is_replay
        self.killed, self._skew_ms = killed, skew_ms
        self._step, self._stepped_at = step, -1.0
        self._step_ms = config.step_ms
        self._waiting: asyncio.Queue[ClosedBar] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._came: dict[int, float] = {}
        self._days = Days(tell, config.step_ms)
        self._balance_age_ms = config.risk.gates.max_balance_age * 1000
        self._reconciled_ms = 0
        self._told = ""
        self._higher = HigherBars(config, fetched, exchange, clock)
        self.holdings = Holdings(desk, driver, trader, exchange, clock)
        last = mind.follower.last_open_ms
        names = [*config.symbols, *config.merge.symbols]
        # A market that waits for us shows by its next bar that there was none.
        patience = int(config.serve.max_decision_age * 1000 * _PATIENCE_SHARE) if step is None else 1 << 50
        self._gatherer = Gatherer(
            config.symbols, config.merge.symbols, dict.fromkeys(names, last + self._step_ms), self._step_ms, patience
        )
        self._names = list(dict.fromkeys(names))
        self._first_ms = last + self._step_ms

    # Life

    def stop(self, reason: str) -> None:
        """End after what is being done now."""
        if not self.stopped.done():
            self.stopped.set_result(reason)

    async def run(self) -> str:
        """Until `stop`, or until it cannot go on. Returns why it ended. Raises what made trading impossible."""
        listening, deciding, looking = [
            asyncio.ensure_future(one) for one in (self._listen(), self._decide_on(), self._look())
        ]  # fmt: skip
        work = [listening, deciding, looking]
        if self.portfolio.mode == "live" and wants_quotes(self.config):
            work.append(asyncio.ensure_future(self._follow_quotes()))
        ends: list[asyncio.Future[Any]] = [*work, self.stopped, self.driver.failed]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            deciding.cancel()
            await self._wind_up()
        finally:
            for task in work:
                task.cancel()
            self.succession.close()
            await asyncio.gather(*work, return_exceptions=True)
        for one in [self.driver.failed, *work]:
            if one.done() and not one.cancelled() and (error := one.exception()):
                raise in_our_words(error)
        return self.stopped.result() if self.stopped.done() else "the market has ended"

    async def _wind_up(self) -> None:
        """Nobody looks after orders from now on: wait for the answers to those that were sent, and for protection."""
        if not self.stopped.done():
            return
        seconds = _WIND_UP_SECONDS if self.stopped.result() in _ENDS else _HURRY_SECONDS
        until = self._clock.monotonic() + seconds
        while self._is_unsettled() and not self.driver.failed.done() and self._clock.monotonic() < until:
            await self.driver.do(lambda: self.desk.timer(self._clock.now_ms()), self.config.symbols)
            await self._clock.sleep(0.05)

    def _is_unsettled(self) -> bool:
        desk, books = self.desk, self.desk.books
        return any(
            books.unresolved(symbol) or symbol in books.leaving or desk.is_exposed(symbol) for symbol in books.symbols()
        )

    # What comes in

    async def _listen(self) -> None:
        now = self._clock.now_ms
        since = dict.fromkeys(self._names, self._first_ms)
        async for event in self._exchange.events(self._names, self.config.interval, since):
            self.last_event_ms = now()
            await self._hear(event)

    async def _hear(self, event: Event) -> None:
        now = self._clock.now_ms
        if isinstance(event, ClosedBar):
            self._came.setdefault(event.open_time_ms, self._clock.monotonic())
            self._gatherer.put(event, now())
            self._changed.set()
        elif isinstance(event, Report):
            # The account may trade other symbols as well.
            if event.symbol in self.config.symbols or self.desk.books.is_ours(event.client_order_id):
                await self.driver.do(lambda: self.desk.replied(event, now()), [event.symbol])
        elif isinstance(event, AccountChange):
            self._trader.heard(event, now())
            self.holdings.doubt()
        elif isinstance(event, Interrupted):
            self._tell("exchange", reason=f"the {event.stream} stream began anew: comparing with the exchange")
            await self._reconcile()

    async def _follow_quotes(self) -> None:
        """Let plans and trailing stops follow the book, each symbol at most every so often."""
        least, looked = self.config.serve.trailing_interval, dict.fromkeys(self.config.symbols, -1e9)
        async for told in self._exchange.quotes(self.config.symbols):
            if isinstance(told, Traded):
                if self.desk.books.works_of(told.symbol):
                    await self.driver.do(partial(self._on_traded, told), [told.symbol])
            elif self._clock.monotonic() - looked[told.symbol] >= least:
                looked[told.symbol] = self._clock.monotonic()
                await self.driver.do(partial(self._on_quote, told), [told.symbol])

    def _on_traded(self, told: Traded) -> list[Effect]:
        return self.desk.volume(told.symbol, told.qty, self._clock.now_ms())

    def _on_quote(self, told: Quote) -> list[Effect]:
        return self._trader.on_tick(told.symbol, told.bid, told.ask, self._clock.now_ms())

    async def reconcile(self) -> None:
        """Ask the exchange what is true, and wait for the balances. In shadow there is nothing to compare."""
        await self._recover()
        if self.portfolio.mode == "live":
            await self.holdings.ask()

    async def _reconcile(self) -> None:
        """The same without waiting: while an answer hangs, events and timers go on."""
        await self._recover()
        if self.portfolio.mode == "live":
            self.holdings.ask_soon()

    async def _recover(self) -> None:
        self._reconciled_ms = self._clock.now_ms()
        if self.portfolio.mode == "live":
            await self.driver.do(lambda: self.desk.recover(self.config.symbols, self._clock.now_ms()))

    # Bars

    async def _decide_on(self) -> None:
        while True:
            now = self._clock.now_ms()
            gathered = self._gatherer.ready(now)
            if gathered is not None:
                await self._on_bar(gathered)
                # Others get their turn between two bars of a long way to catch up.
                await self._clock.sleep(0)
                continue
            if await self._is_done():
                self.stop("caught up" if self._limits.when_caught_up else "done")
                return
            if self._step is not None and not await self._move_market(self._step):
                self.stop("the market has ended")
                return
            wait = self._gatherer.wait_ms(now) if self._step is None else None
            await woken_within(self._clock, _LOOK_SECONDS if wait is None else max(wait, 1) / 1000, self._changed)
            self._changed.clear()

    async def _move_market(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """Let a market that waits for us go on, once all that was ordered is done; False at its end."""
        now = self._clock.monotonic()
        # A bar that never came does not exist: the market is silent there.
        if self._stepped_at >= 0 and now - self._stepped_at < _SILENCE_SECONDS:
            return True
        await self.driver.settle(_SETTLE_SECONDS)
        self._changed.clear()
        if not await step():
            return False
        self._stepped_at = self._clock.monotonic()
        return True

    async def _is_done(self) -> bool:
        if self._limits.bars is not None and self.decided >= self._limits.bars:
            return True
        if not self._limits.when_caught_up:
            return False
        with contextlib.suppress(Unavailable):
            last = await self._exchange.server_ms() // self._step_ms * self._step_ms - self._step_ms
            return self.mind.follower.last_open_ms >= last
        return False

    async def _on_bar(self, gathered: Gathered) -> None:
        time = gathered.open_time_ms
        await self._swap()
        higher = await self._higher.closed_with(time)
        age_ms = await self._age_ms(time)
        begun = self._clock.monotonic()
        outlook, _ = self.mind.follower.update(gathered, higher)
        self.succession.passed(gathered, higher)
        late = age_ms > self.config.serve.max_decision_age * 1000
        refuse = self._refusals(late)
        facts = {
            "at": self._clock.now_ms(), "bundle": self.mind.bundle, "late": late,
            "age_ms": round(age_ms, 3) if isfinite(age_ms) else None,
        }  # fmt: skip
        await self.driver.do(lambda: self._trader.on_bar(outlook, refuse, facts), self.config.symbols)
        self.latency.add((self._clock.monotonic() - begun) * 1000)
        self.decided += 1
        self._stepped_at = -1.0
        self._came = {at: when for at, when in self._came.items() if at > time}
        if self.mind.watch is not None:
            self.mind.watch.update(outlook)
        say_bar(self._tell, outlook, self.portfolio, self.mind.bundle, late)
        self._days.decided(time, self.portfolio, self.mind.bundle)
        if self._limits.bars is not None and self.decided >= self._limits.bars:
            self.stop("done")

    async def _age_ms(self, open_time_ms: int) -> float:
        """How long ago the bar closed, by the exchange's clock."""
        close_ms = open_time_ms + self._step_ms
        try:
            now = self.market_ms = await self._exchange.server_ms()
        except Unavailable:
            return float("inf")
        if not self._is_replay:
            return float(now - close_ms)
        # History may run faster than we do: late is what came when the next bar had closed as well.
        if self._step is None and now >= close_ms + self._step_ms:
            return float(now - close_ms)
        return (self._clock.monotonic() - self._came.get(open_time_ms, self._clock.monotonic())) * 1000

    def _refusals(self, late: bool) -> dict[str, int]:
        refuse = self._trader.refusals(self._clock.now_ms())
        everything = 0
        if late:
            everything = CODES["stale_price"]
        elif self.portfolio.paused:
            everything = CODES["halted"]
        elif self.config.risk.enabled and abs(self._skew_ms()) > self.config.risk.gates.max_clock_skew * 1000:
            everything = CODES["clock_skew"]
        return dict.fromkeys(self.config.symbols, everything) if everything else refuse

    # What no event tells of

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            await self._break_if_due()
            await self.driver.do(lambda: self.desk.timer(self._clock.now_ms()), self.config.symbols)
            await self.holdings.look_for_missing()
            self.holdings.look_at_fees()
            now = self._clock.now_ms()
            if now - self._reconciled_ms > self.config.serve.reconcile_every * 1000:
                await self._reconcile()
            elif self.portfolio.mode == "live" and now - self._trader.balance_ms > self._balance_age_ms / 2:
                self.holdings.ask_soon()
            try:
                self.succession.look(self.mind)
            except (PipelineError, OSError, ValueError) as error:
                self._trouble(f"no other bundle can be looked for: {error}")

    def _trouble(self, reason: str) -> None:
        """Tell of what goes on, once."""
        if reason != self._told:
            self._told = reason
            self._tell("error", reason=reason)

    async def _break_if_due(self) -> None:
        breakers, now = self.config.risk.breakers, self._clock.now_ms()
        word = ""
        if reason := self.killed():
            word = "kill_switch"
        elif self.config.risk.enabled:
            failed, asked = len(self.driver.failures), len(self.driver.requests)
            drifted = self.mind.watch.alarm() if self.mind.watch is not None else None
            if asked >= 20 and failed > breakers.error_rate * asked:
                word, reason = "error_rate", f"{failed} of {asked} requests failed in five minutes"
            elif not self._is_replay and await self._is_stale():
                word, reason = "stale_data", "no closed bar for too long"
            elif self.mind.expires_ms is not None and now > self.mind.expires_ms:
                word, reason = "model_expired", f"bundle {self.mind.bundle} is older than allowed"
            elif drifted and self.config.risk.breakers.drift:
                word, reason = "model_drifted", drifted
        if word and not self.portfolio.account["halted"][0]:
            await self.trip(word, reason)

    def flattening(self, reason: int, symbols: Collection[str]) -> list[Effect]:
        """What leaves positions, for a reason of `records.EXIT_REASONS`."""
        return self._trader.flatten(reason, symbols)

    async def _is_stale(self) -> bool:
        with contextlib.suppress(Unavailable):
            due = self.mind.follower.last_open_ms + 2 * self._step_ms
            allowed = self.config.bars(self.config.risk.breakers.max_data_age) * self._step_ms
            return await self._exchange.server_ms() > due + allowed
        return False

    async def trip(self, word: str, reason: str) -> None:
        """Stop trading by a breaker: entries are cancelled, positions left."""
        body = {"breaker": word, "code": BREAKER_CODES[word], "reason": reason, "at": self._clock.now_ms()}
        self._tell("breaker", breaker=word, reason=reason, bundle=self.mind.bundle)
        await self.driver.do(
            lambda: [Write("BREAKER", body), *self.flattening(BREAKER, self.config.symbols)], self.config.symbols
        )  # fmt: skip

    # Another bundle

    async def _swap(self) -> None:
        """Decide by another bundle from this bar on, if one is ready."""
        mind, rejected = self.succession.ready()
        if rejected:
            why = self.succession.rejected[rejected]
            self._tell("error", bundle=rejected, reason=f"not taken: {why}; {self.mind.bundle} goes on")
        if mind is not None:
            body = {"bundle": mind.bundle, "before": self.mind.bundle, "at": self._clock.now_ms()}
            await self.driver.do(lambda: [Write("BUNDLE", body)])
            self._tell("bundle", bundle=mind.bundle, before=self.mind.bundle)
            self.mind = mind
            if mind.rules is not None:
                self.portfolio.follow(mind.rules)
