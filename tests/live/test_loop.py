"""The loop: what comes in, what becomes of a bar, and how it ends."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from live.bench import CONFIG, ONE, RULES, STEP, TWO, config
from live.virtual import BEGIN_MS, Clock, Exchange, live

from pipeline.errors import BadInput, ExchangeError
from pipeline.exchange.port import (
    AccountChange,
    ClosedBar,
    Interrupted,
    ListRequest,
    Refused,
    Report,
    Request,
    Unavailable,
    WrongKey,
)
from pipeline.live.books import Books
from pipeline.live.commands import Commands
from pipeline.live.desk import Desk
from pipeline.live.driver import Driver
from pipeline.live.loop import Limits, Loop
from pipeline.live.minds import Mind, Succession
from pipeline.live.portfolio import Portfolio
from pipeline.live.shadow import shadow_rules
from pipeline.live.strategy import Outlook
from pipeline.live.trader import LiveTrader
from pipeline.trading.bars import Bars
from pipeline.trading.market import BUY, market_of

OPEN = BEGIN_MS // STEP * STEP
VALUES = {"close": 10.0}


class Follower:
    """Says buy at each bar for some symbols."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.last_open_ms = OPEN - STEP
        self._symbols = symbols

    def update(self, gathered: Any, higher: Any) -> tuple[Outlook, dict[str, Any]]:
        self.last_open_ms = gathered.open_time_ms
        bars = [Bars(*[np.full(1, 10.0)] * 4, np.zeros(1, bool))] * 2
        signal = np.array([[BUY if symbol in self._symbols else 0] for symbol in (ONE, TWO)], np.uint8)
        scores = {symbol: {"trade_score": 1.0} for symbol in (ONE, TWO)}
        return Outlook(self.last_open_ms, market_of(bars, signal), {}, scores), {}


class Life:
    """A loop over an exchange that a test drives."""

    def __init__(self, *buys: str, limits: Limits | None = None, succession: Succession | None = None) -> None:
        self.config = config(serve=CONFIG["serve"] | {"max_decision_age": 20})
        self.exchange, self.clock, self.journal = Exchange(), Clock(), list[tuple[str, Any]]()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.desk = Desk(Books(), dict(RULES))
        self.portfolio = Portfolio(self.config.symbols, shadow_rules(self.config, OPEN), 0.0)
        start = {"mode": "live", "bundle": "b", "capital": 1000.0, "fresh": True, "interval": "1m", "origin": OPEN}
        self.portfolio.add("START", start)

        def tell(event: str, /, **more: Any) -> None:
            self.told.append((event, more))

        def fold(kind: str, body: Any) -> None:
            if kind == "BAR":
                self.portfolio.advance(body)
            else:
                self.portfolio.add(kind, body)

        self.trader = LiveTrader(self.config, self.portfolio, self.desk, self.desk.rules, self.clock.now_ms, tell)
        self.driver = Driver(self.desk, self.exchange, self, self.clock, tell, fold, self.trader.react)
        self.loop = Loop(
            self.config, Mind(Follower(buys), "b"), self.portfolio, self.trader, self.desk, self.driver, self.exchange,
            self.clock, tell, succession or Succession(lambda: None, None), limits=limits,
        )  # fmt: skip

    def append_all(self, records: Any) -> int:
        self.journal += records
        return len(self.journal)

    async def run(self) -> str:
        await self.loop.reconcile()
        try:
            return await self.loop.run()
        finally:
            await self.driver.close()

    def close_bar(self, number: int = 0) -> None:
        for symbol in (ONE, TWO):
            self.exchange.told.put_nowait(ClosedBar(symbol, OPEN + number * STEP, VALUES))

    async def until(self, number: int, seconds: float) -> None:
        """So many seconds after a bar has closed."""
        await asyncio.sleep((OPEN + (number + 1) * STEP - self.clock.now_ms()) / 1000 + seconds)

    def bodies(self, kind: str) -> list[Any]:
        return [body for one, body in self.journal if one == kind]


def test_orders_of_other_symbols_of_the_account_change_nothing():
    async def work():
        life = Life()
        running = asyncio.ensure_future(life.run())
        life.exchange.told.put_nowait(Report("XYZUSDT", "theirs", "NEW", Decimal(0)))
        await asyncio.sleep(5)
        assert not running.done() and life.bodies("HALT") == []
        life.loop.stop("SIGTERM")
        assert await running == "SIGTERM"

    live(work)


def test_once_ends_when_what_it_bought_is_protected():
    async def work():
        life = Life(ONE, limits=Limits(bars=1))
        life.exchange.delay = 2.0
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        assert await running == "done"
        entry, pair = life.exchange.calls
        assert isinstance(entry, Request) and isinstance(pair, ListRequest)
        assert not life.desk.is_exposed(ONE) and life.desk.books.unresolved(ONE) == []

    live(work)


def test_once_asks_for_an_entry_whose_answer_was_lost_before_it_ends():
    async def work():
        life = Life(ONE, limits=Limits(bars=1))

        async def place(request: Any, window_ms: int) -> Any:
            life.exchange.take(request)
            raise OSError("the connection broke")

        life.exchange.place = place
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        assert await running == "done"
        assert life.desk.books.held(ONE) > 0 and not life.desk.is_exposed(ONE)

    live(work)


def test_a_signal_ends_it_within_five_seconds_though_an_order_hangs():
    async def work():
        life = Life(ONE)
        life.exchange.delay = 1e9
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        await asyncio.sleep(1)
        begun = life.clock.monotonic()
        life.loop.stop("SIGTERM")
        assert await running == "SIGTERM"
        assert life.clock.monotonic() - begun < 5
        assert [body["leg"] for body in life.bodies("INTENT")] == ["entry"]

    live(work)


def test_a_late_bar_is_decided_and_enters_nothing():
    async def work():
        life = Life(ONE, TWO, limits=Limits(bars=1))
        running = asyncio.ensure_future(life.run())
        await life.until(0, 21)
        life.close_bar()
        await running
        (bar,) = life.bodies("BAR")
        assert bar["late"] and life.bodies("INTENT") == []

    live(work)


def test_a_bar_of_unknown_age_is_late_and_goes_on():
    async def work():
        life = Life(ONE, limits=Limits(bars=1))

        async def unknown() -> int:
            raise Unavailable("no clock")

        life.exchange.server_ms = unknown
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        assert await running == "done"
        (bar,) = life.bodies("BAR")
        assert bar["late"] and bar["age_ms"] is None

    live(work)


@pytest.mark.parametrize(("left", "halted"), [(Decimal(3), []), (Decimal(1), [ONE])])
def test_an_event_that_tells_of_less_than_is_booked_is_a_question(left, halted):
    async def work():
        life = Life()
        # Our reply was booked before the account's event of an earlier time has come.
        life.desk.books._position[ONE] = Decimal(3)
        life.exchange.free["AAA"] = Decimal(3)
        running = asyncio.ensure_future(life.run())
        await asyncio.sleep(1)
        life.exchange.free["AAA"] = left
        life.exchange.told.put_nowait(AccountChange({"AAA": (Decimal(0), Decimal(0))}))
        await asyncio.sleep(0.5)
        assert life.bodies("HALT") == []
        await asyncio.sleep(3)
        assert [body["symbol"] for body in life.bodies("HALT")] == halted
        life.loop.stop("SIGTERM")
        await running

    live(work)


def test_what_somebody_else_sold_whole_is_noticed_though_the_answer_leaves_it_out():
    async def work():
        life = Life()
        life.desk.books._position[ONE] = Decimal(3)
        running = asyncio.ensure_future(life.run())
        await asyncio.sleep(1)
        assert [body["symbol"] for body in life.bodies("HALT")] == [ONE]
        life.loop.stop("SIGTERM")
        await running

    live(work)


def test_balances_that_nobody_tells_hold_up_neither_events_nor_timers():
    async def work():
        life = Life(ONE)
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)

        async def hangs() -> Any:
            await asyncio.sleep(1e9)

        life.exchange.balances = hangs
        life.exchange.told.put_nowait(Interrupted("user"))
        ticks = []
        life.desk.timer = lambda now_ms: ticks.append(now_ms) or []
        await asyncio.sleep(100)
        life.close_bar()
        await asyncio.sleep(1)
        assert len(ticks) >= 99 and len(life.bodies("BAR")) == 1
        life.loop.stop("SIGTERM")
        await running

    live(work)


@pytest.mark.parametrize(("price", "costs"), [(Decimal(300), 0.3), (None, None)])
def test_a_fee_in_a_third_asset_is_booked_at_its_price_of_that_time(price, costs):
    async def work():
        life = Life(ONE, limits=Limits(bars=1))
        life.exchange.free["BNB"] = Decimal(1)
        life.portfolio.rules = life.portfolio.rules._replace(taker_fee=0.001)

        async def priced(symbol: str) -> Decimal:
            assert symbol == "BNBUSDT"
            if price is None:
                raise Refused(-1121, "Invalid symbol.")
            return price

        take = life.exchange.take

        def paid(request: Request) -> Report:
            report = take(request)
            fills = tuple(replace(fill, fee=Decimal("0.001"), fee_asset="BNB") for fill in report.fills)
            return replace(report, fills=fills)

        life.exchange.price, life.exchange.take = priced, paid
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        await running
        (fill,) = life.bodies("FILL")
        spent = float(fill["qty"]) * 10
        fee = 1000 - float(life.portfolio.account["cash"][0]) - spent
        assert fee == pytest.approx(costs or spent * 0.001, abs=1e-6)
        assert fill.get("fee_price") == (None if price is None else "300")

    live(work)


def test_the_kill_switch_is_not_reset_while_its_file_is_there():
    async def work():
        life, thrown = Life(limits=Limits(bars=2)), ["kill switch: odd"]
        life.loop.killed = lambda: thrown[-1]
        commands = Commands(life.loop, life.clock, life.loop._tell, {})
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        await life.until(0, 5)
        with pytest.raises(BadInput, match="kill switch: odd: the file is still there"):
            await commands.reset_breaker({"breakers": ["kill_switch"]})
        assert life.bodies("RESET") == []
        thrown.append("")
        assert "trading goes on" in (await commands.reset_breaker({}))["message"]
        await life.until(1, 1)
        life.close_bar(1)
        await running
        assert len(life.bodies("BREAKER")) == len(life.bodies("RESET")) == 1

    live(work)


def test_quote_asset_that_is_gone_is_not_spent():
    async def work():
        life = Life(ONE, limits=Limits(bars=1))
        life.exchange.free = {}
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        await running
        assert life.bodies("INTENT") == [] and len(life.bodies("LAPSE")) == 1

    live(work)


@pytest.mark.parametrize("error", [WrongKey("bad"), Refused(-1121, "Invalid symbol.")])
def test_an_exchange_that_refuses_us_ends_it_in_words_that_a_person_understands(error):
    async def work():
        life = Life()
        life.exchange.told.put_nowait(error)
        with pytest.raises(ExchangeError):
            await life.run()

    live(work)


def successor(error: Exception) -> Succession:
    async def rethink(name: str, last: int) -> Mind:
        raise error

    return Succession(lambda: "c", rethink)


@pytest.mark.parametrize("error", [BadInput("it is damaged"), ValueError("it is odd"), MemoryError()])
def test_whatever_is_wrong_with_another_bundle_the_one_that_decides_goes_on(error):
    async def work():
        life = Life(limits=Limits(bars=1), succession=successor(error))
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        assert await running == "done"
        assert list(life.loop.succession.rejected) == ["c"] and [e for e, _ in life.told].count("error") == 1

    live(work)


def test_a_name_of_a_bundle_that_cannot_be_read_is_told_once_and_the_loop_goes_on():
    def wanted() -> str:
        raise OSError("unreadable")

    async def rethink(name: str, last: int) -> Mind:
        raise AssertionError

    async def work():
        life = Life(limits=Limits(bars=1), succession=Succession(wanted, rethink))
        running = asyncio.ensure_future(life.run())
        await life.until(0, 1)
        life.close_bar()
        assert await running == "done"
        assert [e for e, _ in life.told].count("error") == 1

    live(work)


def test_it_forgets_when_bars_came_once_they_are_decided():
    async def work():
        life = Life(limits=Limits(bars=5))
        running = asyncio.ensure_future(life.run())
        for number in range(5):
            await life.until(number, 1)
            life.close_bar(number)
        await running
        assert life.loop._came == {} and [bar["n"] for bar in life.bodies("BAR")] == list(range(5))

    live(work)


def test_another_bundle_brings_the_stops_that_it_was_simulated_with():
    async def rethink(name: str, last: int) -> Mind:
        follower = Follower(())
        follower.last_open_ms = last
        return Mind(follower, name, rules=shadow_rules(config(), 0, {"stop_loss": 0.07}))

    async def work():
        life = Life(limits=Limits(bars=1), succession=Succession(lambda: "c", rethink))
        running = asyncio.ensure_future(life.run())
        await life.until(0, 5)
        life.close_bar()
        await running
        assert life.loop.mind.bundle == "c" and life.portfolio.rules.stop_loss == 0.07
        assert float(life.portfolio.record["stop_loss"][0]) == 0.07 and life.portfolio.rules.origin_ms == OPEN

    live(work)
