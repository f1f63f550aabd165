"""The driver carries effects out in order, waits for nobody, and stops when it must."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from live.bench import ONE, TWO
from live.virtual import Clock, Exchange, live

from pipeline.errors import ExchangeError, StorageError
from pipeline.exchange.port import Refused, Report, Request, Unavailable, Unclear, WrongKey
from pipeline.live.books import Books, books_of
from pipeline.live.desk import Desk
from pipeline.live.driver import Driver
from pipeline.live.effects import AskOpen, Find, Write
from pipeline.trading.orders import Intent, State


class Life:
    """A driver with its desk, over one log of what is written and what is asked, in order."""

    def __init__(self, slow: bool = False, stalls: float = 1.0) -> None:
        self.stalls = stalls
        self.log: list[Any] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.exchange, self.desk = Exchange(self.log), Desk(Books())
        self.broken: Exception | None = None
        self.folded: list[str] = []
        self.written: list[str] = []
        self.syncs: list[list[str]] = []
        self.due: list[list[Any]] = []
        self.driver = Driver(
            self.desk, self.exchange, self, Clock(), lambda event, /, **more: self.told.append((event, more)),
            lambda kind, body: self.folded.append(kind), lambda symbol: self.due.pop(0) if self.due else [],
            run=self._slowly if slow else None, written=lambda kind, body: self.written.append(kind),
        )  # fmt: skip

    async def _slowly(self, work: Any) -> Any:
        await asyncio.sleep(self.stalls)
        return work()

    def append_all(self, records: Any) -> int:
        if self.broken:
            raise self.broken
        self.syncs.append([kind for kind, _ in records])
        self.log += [(kind, dict(body)) for kind, body in records]
        return len(self.log)

    async def order(self, symbol: str = ONE) -> str:
        intent = Intent("b", symbol, 0)
        request = Request(symbol, "BUY", "MARKET", Decimal(1), intent.client_order_id)
        await self.driver.do(lambda: self.desk.order(intent, request, Clock().now_ms()), [symbol])
        return intent.client_order_id

    def steps(self) -> list[str]:
        return [one[0] if isinstance(one, tuple) else "place" for one in self.log]

    def state(self, name: str) -> State:
        return self.desk.books.entries[name].order.state


def test_what_is_sent_is_on_disk_before_and_its_answer_after():
    async def work():
        life = Life()
        name = await life.order()
        await life.driver.settle(10)
        assert life.steps() == ["INTENT", "SENT", "place", "OUTCOME", "FILL"]
        assert life.folded == ["INTENT", "SENT", "OUTCOME", "FILL"]
        assert life.state(name) == State.FILLED

    live(work)


@pytest.mark.parametrize("stalls", [0.0, 1.0, 4.999, 5.0, 20.0])
def test_an_order_that_the_disk_holds_up_is_accepted_inside_its_window_or_not_sent(stalls):
    async def work():
        life, begun, windows = Life(slow=True, stalls=stalls), Clock().now_ms(), []
        real = life.exchange.place

        async def place(request, window_ms):
            windows.append(window_ms)
            return await real(request, window_ms)

        life.exchange.place = place
        name = await life.order()
        life.stalls = 0.0
        await life.driver.settle(10)
        sent = life.desk.books.entries[name]
        assert sent.sent_ms == begun and windows == ([5000 - round(1000 * stalls)] if stalls < 5 else [])
        assert life.state(name) == (State.FILLED if stalls < 5 else State.REJECTED)
        assert life.desk.is_clear(ONE) and not life.driver.failed.done()

    live(work)


def test_all_records_of_a_turn_are_synced_at_once_and_before_anything_of_it_is_sent():
    async def work():
        life = Life(slow=True)
        life.due = [[Write("PROTECT", {})], [Write("BUNDLE", {})]]
        turn = asyncio.ensure_future(life.order())
        await asyncio.sleep(0.5)
        # What is due is decided by what was decided before, and nothing has left the process yet.
        assert life.folded == ["INTENT", "SENT", "PROTECT", "BUNDLE"]
        assert life.written == [] and life.log == []
        await turn
        assert life.written == life.syncs[0] == ["INTENT", "SENT", "PROTECT", "BUNDLE"]
        await life.driver.settle(10)
        assert life.syncs[1:] == [["OUTCOME", "FILL"]]

    live(work)


def test_what_was_decided_before_a_mistake_in_the_same_turn_is_written_and_sent():
    async def work():
        life = Life()

        def mistake(symbol):
            raise KeyError("x")

        life.driver._react = mistake
        await life.order()
        await asyncio.sleep(1)
        assert life.steps() == ["INTENT", "SENT", "place"] and isinstance(life.driver.failed.exception(), KeyError)

    live(work)


def test_a_record_says_when_it_was_written():
    async def work():
        life = Life()
        life.exchange.delay = 2.0
        begun = Clock().now_ms()
        await life.order()
        await life.driver.settle(10)
        times = {one[0]: one[1]["at"] - begun for one in life.log if isinstance(one, tuple)}
        assert times == {"INTENT": 0, "SENT": 0, "OUTCOME": 2000, "FILL": 2000}

    live(work)


def test_a_request_that_hangs_holds_nobody_up():
    async def work():
        life = Life()
        life.exchange.delay = 1e9
        first = await life.order(ONE)
        await asyncio.sleep(1)
        life.exchange.delay = 0
        second = await life.order(TWO)
        await asyncio.sleep(1)
        assert (life.state(first), life.state(second)) == (State.SENT, State.FILLED)
        await life.driver.close()

    live(work)


@pytest.mark.parametrize("error", [StorageError("the disk is full"), OSError("no"), ValueError("a mistake of ours")])
def test_when_nothing_can_be_written_nothing_is_sent_any_more(error):
    async def work():
        life = Life()
        life.broken = error
        await life.order()
        life.broken = None
        await life.order(TWO)
        await life.driver.settle(10)
        assert life.log == [] == life.written and life.driver.failed.exception() is error

    live(work)


def test_a_mistake_in_what_is_decided_stops_trading_whoever_made_it():
    async def work():
        life = Life()

        def decide():
            raise KeyError("x")

        await life.driver.do(decide)
        await life.order()
        assert life.log == [] and isinstance(life.driver.failed.exception(), KeyError)

    live(work)


def test_a_turn_is_carried_out_whole_if_who_wanted_it_is_cancelled():
    async def work():
        life = Life(slow=True)
        caller = asyncio.ensure_future(life.order())
        await asyncio.sleep(0.5)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        # The next turn waits for it.
        await life.driver.do(lambda: [Write("STOP", {})])
        assert life.steps()[:3] == ["INTENT", "SENT", "place"] and "STOP" in life.steps()
        assert (
            books_of(one for one in life.log if isinstance(one, tuple)).entries.keys() == life.desk.books.entries.keys()
        )
        await life.driver.close()

    live(work)


def test_closing_waits_for_the_turn_and_lets_none_begin_after_it():
    async def work():
        life = Life(slow=True)
        caller = asyncio.ensure_future(life.order())
        await asyncio.sleep(0.5)
        await life.driver.close()
        written = life.steps()
        assert written[:2] == ["INTENT", "SENT"]
        await life.order(TWO)
        await asyncio.sleep(10)
        await caller
        assert life.steps() == written

    live(work)


def failing(life: Life, method: str, *errors: Exception) -> None:
    """Let some calls fail before the others succeed."""
    real, waiting = getattr(life.exchange, method), list(errors)

    async def call(*args: Any) -> Any:
        if waiting:
            raise waiting.pop(0)
        return await real(*args)

    setattr(life.exchange, method, call)


def test_an_answer_that_is_lost_is_asked_for_until_it_comes():
    async def work():
        life = Life()
        real = life.exchange.take

        async def place(request, window_ms):
            real(request)
            raise Unclear("no answer")

        life.exchange.place = place
        failing(life, "find", Unavailable("down"), Unavailable("down"))
        name = await life.order()
        await life.driver.settle(60)
        await asyncio.sleep(30)
        assert life.state(name) == State.FILLED and life.desk.books.held(ONE) == 1
        await life.driver.close()

    live(work)


def test_an_error_that_nobody_foresaw_counts_as_an_answer_that_was_lost():
    async def work():
        life = Life()
        failing(life, "place", RuntimeError("?"))
        name = await life.order()
        await asyncio.sleep(1)
        assert life.state(name) == State.UNKNOWN
        await asyncio.sleep(60)
        # It is not there long after it could have been accepted.
        assert life.state(name) not in (State.UNKNOWN, State.SENT) and life.desk.books.unresolved(ONE) == []
        await life.driver.close()

    live(work)


def test_a_refused_key_ends_trading_in_words_that_a_person_understands():
    async def work():
        life = Life()
        failing(life, "find", WrongKey("bad"))
        await life.driver.do(lambda: [Find(ONE, "x", 0)])
        await asyncio.sleep(1)
        assert isinstance(life.driver.failed.exception(), ExchangeError)

    live(work)


def test_a_refused_question_is_put_again_later_and_holds_up_nobody():
    async def work():
        life = Life()
        failing(life, "find", *[Refused(-1121, "Invalid symbol.")] * 2)
        await life.driver.do(lambda: [Find(ONE, "x", 0)])
        await asyncio.sleep(100)
        assert not life.driver.failed.done()
        assert len(life.driver.failures) == 2 and len(life.driver.requests) == 3

    live(work)


def test_failures_of_more_than_five_minutes_ago_are_forgotten_while_requests_succeed():
    async def work():
        life = Life()
        failing(life, "find", *[Unavailable("down")] * 30)
        for _ in range(20):
            await life.driver.do(lambda: [Find(ONE, "x", 0)])
            await asyncio.sleep(60)
        assert life.driver.failures == [] and len(life.driver.requests) <= 6

    live(work)


def test_requests_of_five_minutes_are_counted_and_no_more():
    async def work():
        life = Life()
        for _ in range(5):
            failing(life, "find", Unavailable("down"))
            await life.driver.do(lambda: [Find(ONE, "x", 0)])
            await asyncio.sleep(100)
        assert len(life.driver.failures) == 3 and len(life.driver.requests) == 7

    live(work)


def test_an_answer_that_was_asked_for_before_a_symbol_was_resumed_does_not_halt_it_again():
    async def work():
        life, theirs = Life(), Report(ONE, "theirs", "NEW", Decimal(0))
        life.exchange.orders["theirs"] = theirs
        real = life.exchange.open_orders

        async def open_orders(symbol):
            found = await real(symbol)
            await asyncio.sleep(2)
            return found

        life.exchange.open_orders = open_orders
        await life.driver.do(lambda: life.desk.replied(theirs, Clock().now_ms()))
        await life.driver.do(lambda: [AskOpen(ONE)])
        await asyncio.sleep(1)
        del life.exchange.orders["theirs"]
        await life.driver.do(lambda: life.desk.resume(ONE, Clock().now_ms()))
        await life.driver.settle(10)
        assert life.steps() == ["HALT", "RESUME"] and life.desk.is_clear(ONE)

    live(work)
