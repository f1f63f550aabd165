"""Carries effects out: the only place where the order desk meets the disk and the exchange.

One thing happens at a time: whoever wants something of the desk takes its turn, and the effects of a turn are begun
before the next one. First all of its records are on disk, by one sync; then the rest begins, in order. What takes time
at the exchange goes on by itself and comes back as a turn of its own, so a request that hangs holds nobody up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.port import Clock, Exchange, Refused, Unavailable, Unclear, WrongKey
from pipeline.live.desk import Desk
from pipeline.live.effects import (
    Alert,
    AskFills,
    AskOpen,
    Cancel,
    CancelList,
    Effect,
    Find,
    FindList,
    Send,
    SendList,
    TestOrder,
    Write,
)
from pipeline.live.seams import Journal
from pipeline.live.telling import Tell, in_our_words

# An order that breaks a filter, or has too many digits.
_RULES_BROKEN = (-1013, -1111)
Decide = Callable[[], list[Effect]]
Key = tuple[str, ...]
# After a turn about a symbol, the trader looks whether something is due; it cannot go on for ever.
_ROUNDS = 8
# A question that was refused is put again after so long.
_REFUSED_SECONDS = 30.0


@dataclass(frozen=True)
class _Turn:
    # What one turn has decided: kinds and bodies of its records, and the other effects.
    records: list[tuple[str, dict[str, Any]]]
    others: list[Effect]


class Driver:
    """Effects of one desk.

    fold: given each record when it is decided, so that what is due next is decided by it; until the turn's records are
    on disk nothing of them leaves the process. written: given each once it is on disk. react: what is due for a symbol
    after something was heard of it.
    failed: done with an error when trading cannot go on: the disk has failed, the key is refused, or our books
    contradict themselves. requests, failures: of the exchange, each as a time in ms.
    """

    def __init__(
        self,
        desk: Desk,
        exchange: Exchange,
        journal: Journal,
        clock: Clock,
        tell: Tell,
        fold: Callable[[str, Mapping[str, Any]], None],
        react: Callable[[str], list[Effect]] = lambda symbol: [],
        run: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None,
        written: Callable[[str, Mapping[str, Any]], None] = lambda kind, body: None,
    ) -> None:
        self.desk = desk
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.requests: list[int] = []
        self.failures: list[int] = []
        self.sent: list[tuple[str, int]] = []
        self._exchange, self._journal, self._clock, self._tell = exchange, journal, clock, tell
        self._fold, self._react, self._written = fold, react, written
        self._run = run or _directly
        self._turn = asyncio.Lock()
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: dict[Key, asyncio.Task[None]] = {}
        # Questions whose answer is on its way, and those that were put again meanwhile.
        self._under_way: set[Key] = set()
        self._again: dict[Key, Effect] = {}

    async def do(self, decide: Decide, symbols: Iterable[str] = ()) -> None:
        """Take a turn: carry out what is decided in it, and then what is due for the symbols.

        A turn that has begun is carried out whole, even if who wanted it is cancelled: else the journal would lack what
        the books have.
        """
        await self._turn.acquire()
        turn = asyncio.ensure_future(self._guarded(decide, symbols))
        turn.add_done_callback(lambda _: self._turn.release())
        await asyncio.shield(turn)

    async def close(self) -> None:
        """Let go of what is under way at the exchange; what became of it is asked for at the next start."""
        async with self._turn:
            self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settle(self, seconds: float) -> None:
        """Wait until nothing is under way at the exchange, for so long at most."""
        until = self._clock.monotonic() + seconds
        while any(not task.done() for task in self._tasks) and self._clock.monotonic() < until:
            await self._clock.sleep(0.01)

    def go(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Let something else go on beside the turns, which hold nobody up; if it fails, trading cannot go on."""
        return self._start(work)

    # A turn

    async def _guarded(self, decide: Decide, symbols: Iterable[str]) -> None:
        if self.failed.done() or self._closed:
            return
        turn = _Turn([], [])
        try:
            try:
                self._take(decide(), turn)
                for symbol in symbols:
                    for _ in range(_ROUNDS):
                        if not (effects := self._react(symbol)):
                            break
                        self._take(effects, turn)
            finally:
                # What was decided before a mistake is in the books, and is to be on the disk.
                await self._carry(turn)
        except Exception as error:
            # The disk, books that contradict themselves, or a mistake of ours: the books may have what the journal has
            # not, and nothing may be sent any more. Stops rest on the exchange.
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Trading cannot go on."""
        if not self.failed.done():
            self.failed.set_exception(in_our_words(error))

    def _take(self, effects: Iterable[Effect], turn: "_Turn") -> None:
        """Book records, so that what follows from them can be decided in the same turn."""
        for effect in effects:
            if isinstance(effect, Write):
                # When it was written down is what is known of the time of most of them.
                body = {"at": self._clock.now_ms(), **effect.body}
                turn.records.append((effect.kind, body))
                self._fold(effect.kind, body)
            else:
                turn.others.append(effect)

    async def _carry(self, turn: "_Turn") -> None:
        """Write all records of a turn at once: one sync of the disk, then the world hears of it."""
        if turn.records:
            await self._run(lambda: self._journal.append_all(turn.records))
        for kind, body in turn.records:
            self._written(kind, body)
        for effect in turn.others:
            self._begin(effect)

    def _begin(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._start(self._send(effect))
            case SendList():
                self._start(self._send_list(effect))
            case TestOrder():
                self._start(self._test(effect))
            case Cancel():
                self._start(self._cancel(effect.symbol, effect.client_order_id))
            case CancelList():
                self._start(self._cancel_list(effect.symbol, effect.list_client_order_id))
            case Find():
                self._ask(("order", effect.client_order_id), effect, self._find(effect))
            case FindList():
                self._ask(("list", effect.list_client_order_id), effect, self._find_list(effect))
            case AskFills():
                self._ask(("fills", effect.symbol, str(effect.after_trade_id)), effect, self._fills(effect))
            case AskOpen():
                self._ask(("open", effect.symbol), effect, self._open(effect))
            case Alert():
                event = "halt" if effect.code == "halted" else "error"
                self._tell(event, code=effect.code, reason=effect.text)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ask(self, key: Key, effect: Effect, work: Any) -> None:
        # A question that has been put already is not put twice; but what it is answered may be older than this one.
        before = self._asking.get(key)
        if before is not None and not before.done():
            work.close()
            if key in self._under_way:
                self._again[key] = effect
            return
        task = self._asking[key] = self._start(work)
        task.add_done_callback(lambda _: self._asking.pop(key, None) if self._asking.get(key) is task else None)

    async def _watched(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)

    # At the exchange

    async def _send(self, effect: Send) -> None:
        request = effect.request
        name, symbol = request.client_order_id, request.symbol
        report = await self._changed(lambda left_ms: self._exchange.place(request, left_ms), symbol, name, effect)
        if report is not None:
            await self.do(lambda: self.desk.replied(report, self._clock.now_ms()), [symbol])

    async def _send_list(self, effect: SendList) -> None:
        request = effect.request
        name, symbol = request.list_client_order_id, request.symbol
        reports = await self._changed(lambda left_ms: self._exchange.place_list(request, left_ms), symbol, name, effect)
        if reports is not None:
            await self.do(lambda: self.desk.replied_list(name, reports, self._clock.now_ms()), [symbol])

    async def _changed(
        self, send: Callable[[int], Awaitable[Any]], symbol: str, name: str, effect: Send | SendList
    ) -> Any:
        """The answer to an order that is sent now; None if there was none, of which the desk has been told."""
        now, unsent = self._clock.now_ms, self.desk.unsent
        # The disk may have held it up, and where it is not found is proof by the time that was written down.
        left_ms = min(effect.sent_ms + effect.window_ms - now(), effect.window_ms)
        if left_ms <= 0:
            self._tell("error", symbol=symbol, client_order_id=name, reason="not sent: writing it down took too long")
            await self.do(lambda: unsent(name, now()), [symbol])
            return None
        self.sent.append((name, now()))
        del self.sent[:-1000]
        try:
            answer = await send(left_ms)
        except Refused as error:
            code, message = error.code, error.message
            self._count(True)
            if code in _RULES_BROKEN:
                await self._learn(symbol)
            await self.do(lambda: self.desk.refused(name, code, message, now()), [symbol])
        except Unavailable as error:
            self._failed(symbol, name, error)
            await self.do(lambda: unsent(name, now()), [symbol])
        except WrongKey as error:
            await self.do(lambda: unsent(name, now()), [symbol])
            self.fail(error)
        except Exception as error:
            # Unclear, or not foreseen: it may have been executed.
            self._failed(symbol, name, error)
            await self.do(lambda: self.desk.lost(name, now()), [symbol])
        else:
            self._count(True)
            return answer
        return None

    async def _learn(self, symbol: str) -> None:
        """An order broke a rule of its symbol: the rules have changed, and are asked for anew."""
        try:
            rules = await self._exchange.filters(symbol)
        except (Refused, Unavailable, WrongKey, BadInput) as error:
            self._tell("error", symbol=symbol, reason=f"the symbol's rules cannot be asked for: {error}")
            return
        if rules != self.desk.rules.get(symbol):
            self._tell("exchange", symbol=symbol, reason="the symbol's rules have changed: orders follow the new ones")
            await self.do(lambda: self.desk.learn(symbol, rules, self._clock.now_ms()))

    async def _test(self, effect: TestOrder) -> None:
        name, symbol = effect.request.client_order_id, effect.request.symbol
        now = self._clock.now_ms
        try:
            await self._exchange.test(effect.request)
        except Refused as error:
            code, message = error.code, error.message
            await self.do(lambda: self.desk.refused(name, code, message, now()), [symbol])
        except (Unavailable, Unclear) as error:
            self._failed(symbol, name, error)
            await self.do(lambda: self.desk.untested(name, now()), [symbol])
        else:
            self._count(True)
            await self.do(lambda: self.desk.tested(name, now()), [symbol])

    async def _cancel(self, symbol: str, name: str) -> None:
        report = await self._cancelled(lambda: self._exchange.cancel(symbol, name), symbol, name)
        if report is not None:
            await self.do(lambda: self.desk.replied(report, self._clock.now_ms()), [symbol])

    async def _cancel_list(self, symbol: str, name: str) -> None:
        reports = await self._cancelled(lambda: self._exchange.cancel_list(symbol, name), symbol, name)
        if reports is not None:
            await self.do(lambda: self.desk.replied_list(name, reports, self._clock.now_ms()), [symbol])

    async def _cancelled(self, cancel: Callable[[], Awaitable[Any]], symbol: str, name: str) -> Any:
        now = self._clock.now_ms
        try:
            answer = await cancel()
        except Refused:
            self._count(True)
            await self.do(lambda: self.desk.cancel_refused(name, now()), [symbol])
        except Unavailable as error:
            self._failed(symbol, name, error)
            await self.do(lambda: self.desk.cancel_refused(name, now()), [symbol])
        except Unclear as error:
            self._failed(symbol, name, error)
            await self.do(lambda: self.desk.lost(name, now()), [symbol])
        else:
            self._count(True)
            return answer
        return None

    def _failed(self, symbol: str, name: str, error: Exception) -> None:
        self._count(False)
        self._tell("error", symbol=symbol, client_order_id=name, reason=f"{type(error).__name__}: {error}")

    async def _find(self, effect: Find) -> None:
        wait = effect.not_before_ms - self._clock.now_ms()
        if wait > 0:
            await self._clock.sleep(wait / 1000)
        key = ("order", effect.client_order_id)
        asked, report = await self._answer(key, lambda: self._exchange.find(effect.symbol, effect.client_order_id))
        await self.do(
            lambda: self.desk.found(effect.client_order_id, report, asked, self._clock.now_ms()), [effect.symbol]
        )

    async def _find_list(self, effect: FindList) -> None:
        wait = effect.not_before_ms - self._clock.now_ms()
        if wait > 0:
            await self._clock.sleep(wait / 1000)
        name = effect.list_client_order_id
        asked, reports = await self._answer(("list", name), lambda: self._exchange.find_list(effect.symbol, name))
        await self.do(lambda: self.desk.found_list(name, reports, asked, self._clock.now_ms()), [effect.symbol])

    async def _fills(self, effect: AskFills) -> None:
        key = ("fills", effect.symbol, str(effect.after_trade_id))
        _, told = await self._answer(key, lambda: self._exchange.fills(effect.symbol, effect.after_trade_id))
        await self.do(lambda: self.desk.fills(effect.symbol, told, self._clock.now_ms()), [effect.symbol])

    async def _open(self, effect: AskOpen) -> None:
        symbol = effect.symbol
        asked, told = await self._answer(("open", symbol), lambda: self._exchange.open_orders(symbol))
        await self.do(lambda: self.desk.open_orders(symbol, told, asked, self._clock.now_ms()), [symbol])

    async def _answer(self, key: Key, ask: Callable[[], Awaitable[Any]]) -> tuple[int, Any]:
        """When the exchange was asked, and what it said; asked until it says something."""
        self._under_way.add(key)
        try:
            while True:
                asked = self._clock.now_ms()
                try:
                    answer = await ask()
                except Unavailable as error:
                    self._count(False)
                    await self._clock.sleep(max(error.after_s, 0.2))
                except Refused as error:
                    # A symbol that has been taken off, or a question that is not understood: the others go on.
                    self._count(False)
                    self._tell("error", reason=f"{' '.join(key)}: the exchange refuses to answer: {error}")
                    await self._clock.sleep(_REFUSED_SECONDS)
                else:
                    break
        finally:
            self._under_way.discard(key)
            # The task is forgotten: the desk may want to ask again, or has asked already.
            self._asking.pop(key, None)
            again = self._again.pop(key, None)
        self._count(True)
        if again is not None:
            self._begin(again)
        return asked, answer

    def _count(self, good: bool) -> None:
        now = self._clock.now_ms()
        self.requests.append(now)
        if not good:
            self.failures.append(now)
        for times in (self.requests, self.failures):
            # Five minutes are looked at.
            while times and times[0] < now - 300_000:
                times.pop(0)


async def _directly(work: Callable[[], Any]) -> Any:
    return work()
