"""A world for the order desk: a market, a network that loses and delays, an exchange, and a process that dies.

Everything is drawn from one seed and runs on virtual time, so the same seed gives the same trace; the process can be
made to crash at any crossing, that is before or after any effect is carried out.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipeline.exchange.port import Report, Request
from pipeline.live.books import Books, books_of
from pipeline.live.clerk import MARGIN_MS, WINDOW_MS
from pipeline.live.desk import Desk
from pipeline.live.effects import AskFills, AskOpen, Cancel, Effect, Find, Send, Write
from pipeline.trading.orders import Fill, Intent, is_live

SYMBOL = "BTCUSDT"
BAR_MS = 12_000
BARS = 6
# After the last bar there is time for the slowest question to be answered.
END_MS = BARS * BAR_MS + 20 * (WINDOW_MS + MARGIN_MS)
UNIT = Decimal("0.1")


class Crash(Exception):
    """The process is gone."""


@dataclass
class Placed:
    """An order as the exchange has it."""

    request: Request
    accepted_ms: int
    visible_ms: int
    status: str = "NEW"
    fills: list[Fill] = field(default_factory=list)

    @property
    def executed(self) -> Decimal:
        return sum((fill.qty for fill in self.fills), Decimal(0))

    def report(self, fills: tuple[Fill, ...] = ()) -> Report:
        return Report(SYMBOL, self.request.client_order_id, self.status, self.executed, 0, fills)


@dataclass(frozen=True)
class Faults:
    """Probabilities of what goes wrong."""

    never_arrives: float = 0.15
    arrives_late: float = 0.2
    reply_lost: float = 0.25
    lag: float = 0.4
    event_lost: float = 0.3
    event_twice: float = 0.2
    query_fails: float = 0.1
    partial: float = 0.4
    cancel_lost: float = 0.2
    cancel_never_arrives: float = 0.15


class World:
    """One run. crash_at: number of the crossing at which the process dies, 0 for never."""

    def __init__(
        self,
        seed: int,
        crash_at: int = 0,
        make: Callable[[Books], Desk] = Desk,
        faults: Faults | None = None,
        **policy: bool,
    ) -> None:
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.make = make
        self.policy = policy
        self.now = 0
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self.placed: list[Placed] = []
        self.trade = 100
        self.journal: list[tuple[str, dict[str, Any]]] = []
        self.crossing = 0
        self.crash_at = crash_at
        self.life = 0
        self.is_alive = False
        self.desk: Desk
        self.trace: list[tuple[int, object]] = []

    # Time

    def at(self, delay: int, what: Callable[[], None]) -> None:
        """Let something happen later."""
        self.count += 1
        heapq.heappush(self.queue, (self.now + delay, self.count, what))

    def run(self) -> "World":
        """Live through all of it."""
        for bar in range(BARS):
            self.at(bar * BAR_MS + 1, lambda bar=bar: self.is_alive and self.for_process(lambda: self.bar(bar)))
        self.start()
        while self.queue and self.now < END_MS:
            self.now, _, what = heapq.heappop(self.queue)
            what()
        return self

    # The process

    def start(self) -> None:
        """Start, or start again: read the journal, recover, and reconcile again now and then."""
        self.life += 1
        self.is_alive = True
        life = self.life
        self.desk = self.make(books_of(self.journal))
        self.for_process(lambda: self.do(self.desk.recover([SYMBOL], self.now)))

        def again() -> None:
            if self.is_alive and life == self.life:
                self.for_process(lambda: self.do(self.desk.recover([SYMBOL], self.now)))
                self.at(30_000, again)

        self.at(30_000, again)
        if life > 1:
            # Bars that closed while it was away are seen now; those already lived through are in the journal.
            for bar in range(min(BARS, self.now // BAR_MS + 1)):
                self.later(1, lambda bar=bar: self.bar(bar))

    def for_process(self, what: Callable[[], None]) -> None:
        """Do something in the process, which may die of it and is started again after a while."""
        try:
            what()
        except Crash:
            self.is_alive = False
            self.trace.append((self.now, f"crash at {self.crossing}"))
            self.at(self.random.choice((5, 1500, 20_000)), self.start)

    def cross(self) -> None:
        self.crossing += 1
        if self.crossing == self.crash_at:
            raise Crash

    def do(self, effects: list[Effect]) -> None:
        """Carry out effects in order."""
        for effect in effects:
            self.cross()
            self.trace.append((self.now, effect))
            if isinstance(effect, Write):
                if not self.policy.get("forgetful"):
                    self.journal.append((effect.kind, dict(effect.body)))
            elif isinstance(effect, Send):
                self.send(effect.request)
            elif isinstance(effect, Cancel):
                self.cancel(effect.client_order_id)
            elif isinstance(effect, Find):
                self.later(max(effect.not_before_ms - self.now, 0), lambda e=effect: self.find(e))
            elif isinstance(effect, AskFills):
                self.later(20, lambda e=effect: self.ask_fills(e))
            elif isinstance(effect, AskOpen):
                self.later(20, self.ask_open)
            self.cross()

    def later(self, delay: int, what: Callable[[], None]) -> None:
        """Let the process do something later, if it is alive and still lives by then."""
        life = self.life
        if self.is_alive:
            self.at(delay, lambda: self.is_alive and life == self.life and self.for_process(what))

    def hear(self, delay: int, tell: Callable[[], list[Effect]]) -> None:
        """Let the desk hear something later, if the process still lives by then."""
        self.later(delay, lambda: self.do(tell()))

    def bar(self, number: int) -> None:
        """A bar has closed: once, and only if it is fresh, something is wanted."""
        if any(kind == "BAR" and body["bar"] == number for kind, body in self.journal):
            return
        wish = random.Random(f"{number}")
        side = "BUY" if number % 3 < 2 else "SELL"
        if self.now - number * BAR_MS < 5000:
            kind = wish.choice(("MARKET", "LIMIT"))
            intent = Intent("b", SYMBOL, number * BAR_MS, "entry" if side == "BUY" else "exit")
            held = self.desk.books.position(SYMBOL)
            qty = UNIT * wish.randint(2, 9) if side == "BUY" else max(held, UNIT)
            price = Decimal(100) if kind == "LIMIT" else None
            request = Request(SYMBOL, side, kind, qty, intent.client_order_id, price)
            self.do(self.desk.order(intent, request, self.now, reduce_only=number % 2 == 1))
            if kind == "LIMIT":
                # Sometimes before the order itself has arrived.
                wait = wish.choice((1000, 3000, 20_000))
                self.hear(wait, lambda: self.desk.cancel(intent.client_order_id))
        self.do([Write("BAR", {"bar": number})])

    # The network and the exchange

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def send(self, request: Request) -> None:
        faults = self.faults
        if self.chance(faults.never_arrives):
            self.hear(6000, lambda: self.desk.lost(request.client_order_id, self.now))
            return
        late = self.chance(faults.arrives_late)
        delay = self.random.randint(10, WINDOW_MS - 10) if late else self.random.randint(5, 50)
        reply = not self.chance(faults.reply_lost)
        life = self.life
        self.at(delay, lambda: self.accept(request, reply, life))

    def accept(self, request: Request, reply: bool, life: int) -> None:
        name = request.client_order_id
        if any(
            one.request.client_order_id == name and one.status in ("NEW", "PARTIALLY_FILLED") for one in self.placed
        ):
            self.hear(10, lambda: self.desk.refused(name, -2010, "Duplicate order sent."))
            return
        lag = self.random.randint(100, 4000) if self.chance(self.faults.lag) else 0
        order = Placed(request, self.now, self.now + lag)
        self.placed.append(order)
        if request.kind == "MARKET":
            part = self.chance(self.faults.partial)
            self.fill(order, UNIT * int(request.qty / UNIT / 2) if part else request.qty)
            if order.executed < request.qty:
                order.status = "EXPIRED"
                self.event(order.report())
        else:
            for _ in range(self.random.randint(0, 2)):
                self.at(self.random.randint(10, 25_000), lambda: self.fill(order, UNIT))
        report = order.report(tuple(order.fills) if self.chance(0.5) else ())
        if life != self.life or not self.is_alive:
            return  # Who asked is gone; its connection with it.
        if reply:
            self.hear(self.random.randint(5, 50), lambda: self.desk.replied(report, self.now))
        else:
            self.hear(6000, lambda: self.desk.lost(name, self.now))

    def fill(self, order: Placed, qty: Decimal) -> None:
        qty = min(qty, order.request.qty - order.executed)
        if order.status not in ("NEW", "PARTIALLY_FILLED") or qty <= 0:
            return
        self.trade += 1
        order.fills.append(Fill(self.trade, qty, Decimal(100), Decimal(0), "BTC"))
        order.status = "FILLED" if order.executed == order.request.qty else "PARTIALLY_FILLED"
        self.event(order.report((order.fills[-1],)))

    def event(self, report: Report) -> None:
        """An event of the user stream: late, twice, or never."""
        times = 0 if self.chance(self.faults.event_lost) else 2 if self.chance(self.faults.event_twice) else 1
        for _ in range(times):
            self.hear(self.random.randint(1, 3000), lambda: self.desk.replied(report, self.now))

    def cancel(self, name: str) -> None:
        lost = self.chance(self.faults.cancel_lost)

        def arrive() -> None:
            order = next((one for one in self.placed if one.request.client_order_id == name), None)
            if order is None or order.status not in ("NEW", "PARTIALLY_FILLED"):
                self.hear(10, lambda: self.desk.cancel_refused(name, self.now))
                return
            order.status = "CANCELED"
            report = order.report()
            self.event(report)
            if lost:
                self.hear(6000, lambda: self.desk.lost(name, self.now))
            else:
                self.hear(10, lambda: self.desk.replied(report, self.now))

        if self.chance(self.faults.cancel_never_arrives):
            self.hear(6000, lambda: self.desk.lost(name, self.now))
            return
        self.at(self.random.randint(5, 500), arrive)

    def find(self, effect: Find) -> None:
        if self.chance(self.faults.query_fails):
            self.later(1000, lambda: self.find(effect))
            return
        asked = self.now
        known = [one for one in self.placed if one.request.client_order_id == effect.client_order_id]
        visible = [one for one in known if one.visible_ms <= self.now]
        report = visible[-1].report() if visible else None
        self.hear(20, lambda: self.desk.found(effect.client_order_id, report, asked, self.now))

    def ask_fills(self, effect: AskFills) -> None:
        if self.chance(self.faults.query_fails):
            self.later(1000, lambda: self.ask_fills(effect))
            return
        told = [
            (one.request.client_order_id, fill) for one in self.placed for fill in one.fills
            if fill.trade_id > effect.after_trade_id
        ]  # fmt: skip
        self.hear(20, lambda: self.desk.fills(SYMBOL, told))

    def ask_open(self) -> None:
        live = [one.report() for one in self.placed if one.status in ("NEW", "PARTIALLY_FILLED")]
        self.hear(20, lambda: self.desk.open_orders(SYMBOL, live, self.now))

    # What must hold

    def faults_found(self) -> list[str]:
        """What is wrong at the end; nothing, it is hoped."""
        wrong = []
        books = self.desk.books
        names = [one.request.client_order_id for one in self.placed]
        for name in sorted(set(names)):
            if names.count(name) > 1:
                wrong.append(f"{name} was placed {names.count(name)} times")
            if name not in books.entries:
                wrong.append(f"{name} is at the exchange and not in the books")
        for name, entry in books.entries.items():
            there = [one for one in self.placed if one.request.client_order_id == name]
            executed = sum((one.executed for one in there), Decimal(0))
            if entry.order.filled != executed:
                wrong.append(f"{name}: {entry.order.filled} in the books, {executed} at the exchange")
            alive = any(one.status in ("NEW", "PARTIALLY_FILLED") for one in there)
            if alive != is_live(entry.order.state):
                wrong.append(f"{name} is {entry.order.state} in the books, and {'' if alive else 'not '}live")
        if books.halted:
            wrong.append(f"halted: {books.halted}")
        if books_of(self.journal).entries != books.entries:
            wrong.append("the journal tells other books than those in memory")
        intents = {(e.order.intent.open_time_ms, e.order.leg) for e in books.entries.values()}
        for bar, leg in sorted(intents):
            tried = [n for n, e in books.entries.items() if (e.order.intent.open_time_ms, e.order.leg) == (bar, leg)]
            if sum(name in names for name in tried) > 1:
                wrong.append(f"bar {bar}, {leg}: {tried} are all at the exchange")
        return wrong


def crossings(seed: int, make: Callable[[Books], Desk] = Desk, faults: Faults | None = None, **policy: bool) -> int:
    """How many crossings a run of a seed has without a crash."""
    return World(seed, 0, make, faults, **policy).run().crossing
