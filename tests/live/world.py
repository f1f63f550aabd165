"""A world for the order desk: a market, a network that loses and delays, an exchange, and a process that dies.

Everything is drawn from one seed and runs on virtual time, so the same seed gives the same trace; the process can be
made to crash at any crossing, that is before or after any effect is carried out.
"""

import random
from collections.abc import Callable, Container
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop
from typing import Any

from live import truth
from live.checkpoint import copied
from live.network import Faults, Network
from live.trader import Trader
from live.venue import GUARDS, RULES, STEP, SYMBOL, Placed

from pipeline.exchange.port import Request
from pipeline.live import effects as fx
from pipeline.live.books import GUARDS as GUARD_LEGS
from pipeline.live.books import Books
from pipeline.live.clerk import GONE_MS, MARGIN_MS, WINDOW_MS
from pipeline.live.desk import Desk, Settings

BARS, BAR_MS, STEP_MS = 8, 12_000, 1000
# How long nothing is looked at once it is calm and nothing is on its way.
REST_MS = 5000
# After the last bar, and after the last crash, nothing goes wrong any more, and the slowest question is answered.
CALM_MS = GONE_MS + 2 * (WINDOW_MS + MARGIN_MS)
SETTINGS = Settings(order_timeout_ms=6000)


class Crash(Exception):
    """The process is gone."""


@dataclass
class Sometimes:
    """Crossings at which a process dies: each with a probability, and so many at most. Each is asked for once."""

    draw: random.Random
    probability: float
    left: int

    def __contains__(self, crossing: object) -> bool:
        hit = self.left > 0 and self.draw.random() < self.probability
        self.left -= hit
        return hit


def sometimes(seed: int, probability: float, most: int = 12) -> Sometimes:
    """The same crossings for the same seed."""
    return Sometimes(random.Random(f"crash {seed}"), probability, most)


class World(Network):
    """One run. crashes: numbers of the crossings at which the process dies.

    wrong: what has been wrong so far; `faults_found` adds what is wrong at the end. injected: faults of the network and
    the exchange; crashed: how often the process died.
    """

    def __init__(
        self,
        seed: int,
        crashes: Container[int] = (),
        make: Callable[..., Desk] = Desk,
        faults: Faults | None = None,
        *,
        bar_ms: int = BAR_MS,
        reconcile_ms: int = 30_000,
        forgetful: bool = False,
    ) -> None:
        super().__init__(seed, faults)
        self.seed, self.crashes, self.make = seed, crashes, make
        self.bar_ms, self.forgetful = bar_ms, forgetful
        self.settle_ms = CALM_MS + 2 * (bar_ms - BAR_MS) // 4
        self.reconcile_ms = reconcile_ms
        self.first_bar = self.begun = self.end_ms = self.pace = self.next_step = 0
        self.checkpoint = Books()
        self.journal: list[tuple[str, dict[str, Any]]] = []
        self.crossing = self.crashed = 0
        self.trace: list[tuple[int, object]] = []
        self.wrong: list[str] = []
        self.bare_ms = self.longest_bare_ms = self.watched_ms = 0
        self.foreign: str | None = None
        self.meddled = False
        self.flattens = False
        self.trader = Trader(self)

    # Time

    def run(self) -> "World":
        """Live through some bars, and until everything has settled."""
        draw = random.Random(f"plan {self.seed} {self.first_bar}")
        self.begun = self.now
        span = BARS * self.bar_ms
        self.calm_ms = self.now + span
        self.end_ms = self.calm_ms + self.settle_ms
        for number in range(self.first_bar, self.first_bar + BARS):
            open_in = (number - self.first_bar) * self.bar_ms
            self.at(open_in + 1, lambda n=number: self.for_process(lambda: self.trader.bar(n)))
        self.flattens = draw.random() < 0.5
        if draw.random() < self.faults.outage:
            self.at(draw.randrange(span), lambda: self.go_down(draw.choice((3000, 15_000))))
        self.foreign = f"theirs-{self.now}" if draw.random() < self.faults.foreign else None
        self.meddled = False
        if self.foreign is not None:
            self.at(draw.randrange(span // 2), self.meddle)
        self.step_after(STEP_MS)
        # Long before the next comparison, what is not ours is to be known at the end.
        self.at(span + 1, lambda: self.for_process(lambda: self.do(self.desk.recover([SYMBOL], self.now))))
        if not self.life:
            self.start()
        while self.queue and self.now < self.end_ms:
            self.now, _, what = heappop(self.queue)
            what()
        return self

    def step_after(self, wait: int) -> None:
        """Let the market's next moment be then, and not when it would have been."""
        self.pace += 1
        self.next_step = self.now + wait
        self.at(wait, lambda pace=self.pace: self.step(pace))

    def step(self, pace: int) -> None:
        """A moment of the market: prices move, and the process is told of them."""
        if pace != self.pace:
            return
        calm = self.now >= self.calm_ms
        if self.now >= self.down_until:
            if not calm:
                self.venue.move(120 if self.chance("gap") else 0)
            elif self.venue.live:
                self.venue.match()
        truth.watch_cover(self)
        self.for_process(self.trader.look)
        is_leaving = calm and self.flattens and (self.venue.sellable > 0 or self.trader.held > 0)
        rest = REST_MS if calm else STEP_MS
        self.step_after(STEP_MS if is_leaving or not self.is_quiet else max(rest, self.bar_ms // 12))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way: nothing is held, or it is protected as it is wanted to be."""
        if not self.is_alive or self.desk.is_exposed(SYMBOL) or self.venue.sellable > self.venue.stops + STEP:
            return False
        books = self.desk.books
        return not (books.works or books.leaving) and all(
            e.order.leg in GUARD_LEGS and not e.is_unresolved for e in books.open(SYMBOL)
        )

    def go_down(self, length: int) -> None:
        """The exchange restarts: it answers nothing, and keeps its state."""
        self.injected += 1
        self.down_until = self.now + length

    def meddle(self) -> None:
        """Somebody else trades on the account, or cancels what protects a position; or the exchange forgets it."""
        self.injected += 1
        kind = self.random.choice(("order", "cancel", "forget"))
        guards = [one for one in self.venue.live.values() if one.request.kind in GUARDS and one.status == "NEW"]
        if guards and kind != "order":
            # Whether we had asked for the same nobody knows.
            self.foreign, self.meddled = None, True
            self.excuses.append((self.now, kind))
            (self.venue.forget if kind == "forget" else self.venue.withdraw)(guards[0])
            return
        request = Request(SYMBOL, "BUY", "LIMIT", Decimal(1), self.foreign or "", Decimal(1))
        self.venue.orders[request.client_order_id] = self.venue.live[request.client_order_id] = Placed(request, 0)

    def settle(self) -> None:
        """After a run without fault: forget what is over, so that the next run begins where this one ended."""
        venue = self.venue
        if self.foreign is not None:
            venue.live.pop(self.foreign, None)
        if self.desk.books.halted:
            self.crashes = ()
            self.do(self.desk.resume(SYMBOL, self.now))
        for kind, body in self.journal:
            if kind != "BAR":
                self.checkpoint.add(kind, body)
        self.journal = []
        live_lists = {order.list_id for order in venue.live.values()}
        venue.lists = {name: names for name, names in venue.lists.items() if name in live_lists}
        venue.orders = {n: o for n, o in venue.orders.items() if o.is_live or o.list_id in venue.lists}
        venue.best_stop = dict(list(venue.best_stop.items())[-1:])
        venue.drift = -venue.drift
        venue.names, self.trace, self.excuses, self.trader.promised = [], [], [], []
        self.first_bar += BARS

    # The process

    def start(self) -> None:
        """Start, or start again: read the journal, recover, and reconcile again now and then."""
        self.life += 1
        self.is_alive = True
        life = self.life
        books = copied(self.checkpoint)
        for kind, body in self.journal:
            if kind != "BAR":
                books.add(kind, body)
        self.desk = self.make(books, {SYMBOL: RULES}, SETTINGS)
        self.for_process(lambda: self.do(self.desk.recover([SYMBOL], self.now)))

        def again() -> None:
            if self.is_alive and life == self.life:
                self.for_process(lambda: self.do(self.desk.recover([SYMBOL], self.now)))
                self.at(self.reconcile_ms, again)

        self.at(self.reconcile_ms, again)
        if life > 1:
            # Bars that closed while it was away are seen now; those already lived through are in the journal.
            seen = (self.now - self.begun) // self.bar_ms + 1
            for number in range(self.first_bar, self.first_bar + min(BARS, seen)):
                self.later(1, lambda n=number: self.trader.bar(n))

    def for_process(self, what: Callable[[], object]) -> None:
        """Do something in the process, which may die of it and is started again after a while."""
        if not self.is_alive:
            return
        try:
            what()
        except Crash:
            self.is_alive = False
            self.crashed += 1
            self.excuses.append((self.now, "crash"))
            self.trace.append((self.now, f"crash at {self.crossing}"))
            self.end_ms = max(self.end_ms, self.now + self.settle_ms)
            self.at(self.random.choice((5, 1500, 20_000)), self.start)

    def cross(self) -> None:
        self.crossing += 1
        if self.crossing in self.crashes:
            raise Crash

    def do(self, effects: list[fx.Effect]) -> None:
        """Carry out effects in order."""
        for effect in effects:
            self.cross()
            self.trace.append((self.now, effect))
            match effect:
                case fx.Write(kind, body):
                    if not self.forgetful:
                        self.journal.append((kind, dict(body)))
                case fx.Send(request):
                    truth.watch_sending(self, effect)
                    self.send(request.client_order_id, lambda r=request: [self.venue.place(r, self.visible())], effect)
                case fx.SendList(request):
                    truth.watch_sending(self, effect)
                    name = request.list_client_order_id
                    self.send(name, lambda r=request: self.venue.place_list(r, self.visible()), effect)
                case fx.Cancel(_, name):
                    self.cancel(name, self.venue.cancel)
                case fx.CancelList(_, name):
                    self.cancel(name, self.venue.cancel_list)
                case fx.Find(_, _, when) | fx.FindList(_, _, when):
                    self.later(max(when - self.now, 0), lambda e=effect: self.ask(e))
                case fx.AskFills() | fx.AskOpen():
                    self.later(20, lambda e=effect: self.ask(e))
            self.cross()
        if effects and self.next_step > self.now + STEP_MS:
            self.step_after(STEP_MS)

    def later(self, delay: int, what: Callable[[], object]) -> None:
        """Let the process do something later, if it is alive and still lives by then."""
        life = self.life
        if self.is_alive:
            self.at(delay, lambda: self.for_process(what) if life == self.life else None)

    def hear(self, delay: int, tell: Callable[[], list[fx.Effect]]) -> None:
        """Let the desk hear something later, if the process still lives by then."""
        self.later(delay, lambda: self.do(tell()))

    def faults_found(self) -> list[str]:
        """What is wrong at the end; nothing, it is hoped."""
        return truth.found(self)


def crossings(seed: int, make: Callable[..., Desk] = Desk, faults: Faults | None = None) -> int:
    """How many crossings a run of a seed has without a crash."""
    return World(seed, (), make, faults).run().crossing
