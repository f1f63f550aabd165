"""The network of the order desk's world: what it loses, delays, repeats and refuses, drawn from a seed."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from live.venue import SYMBOL, No, Placed, Venue

from pipeline.exchange.port import Report
from pipeline.live import effects as fx
from pipeline.live.clerk import GONE_MS, LOOK_MS
from pipeline.live.desk import Desk

# How much longer than otherwise a position may be without its stop after a fault, ms: a lost order is proven absent
# after 15 seconds, a fill that was not told is found by a look at the account every 30, a refused stop is tried again.
EXCUSES = {
    "never_arrives": 17_000, "reply_lost": 17_000, "arrives_late": 17_000, "unavailable": 10_000, "refused": 10_000,
    "lag": 10_000, "query_fails": 2_000, "partial": 5_000, "cancel_lost": 12_000,
    "cancel_never_arrives": 12_000, "crash": 20_000, "event_lost": LOOK_MS + 3000, "cancel": LOOK_MS + 3000,
    "forget": LOOK_MS + GONE_MS + 12_000, "stalled": 20_000,
}  # fmt: skip
# Whatever was not told, one look at the open orders tells.
TOLD_AT_ONCE = ("event_lost", "cancel", "forget")


@dataclass(frozen=True)
class Faults:
    """Probabilities of what goes wrong."""

    never_arrives: float = 0.12
    arrives_late: float = 0.2
    reply_lost: float = 0.2
    unavailable: float = 0.06
    refused: float = 0.03
    lag: float = 0.4
    event_lost: float = 0.3
    event_twice: float = 0.2
    query_fails: float = 0.1
    partial: float = 0.4
    cancel_lost: float = 0.2
    cancel_never_arrives: float = 0.15
    outage: float = 0.3
    foreign: float = 0.1
    slow: float = 0.1
    gap: float = 0.01
    stalled: float = 0.03


class Network:
    """Time, an exchange, and what goes wrong between it and a process, of which `later` and `do` are the subclass's."""

    desk: Desk

    def __init__(self, seed: int, faults: Faults | None) -> None:
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.venue = Venue(seed, self.event, lambda: self.chance("partial"))
        self.now = self.calm_ms = self.down_until = self.injected = self.count = self.life = 0
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.excuses: list[tuple[int, str]] = []
        self.is_alive = False

    def at(self, delay: int, what: Callable[[], None]) -> None:
        """Let something happen later."""
        self.count += 1
        heapq.heappush(self.queue, (self.now + delay, self.count, what))

    def later(self, delay: int, what: Callable[[], None]) -> None:
        """Let the process do something later, if it is alive and still lives by then."""
        raise NotImplementedError

    def hear(self, delay: int, tell: Callable[[], list[fx.Effect]]) -> None:
        """Let the desk hear something later, if the process still lives by then."""
        raise NotImplementedError

    def chance(self, fault: str) -> bool:
        """Whether something goes wrong; never once it is calm."""
        hit = self.random.random() < getattr(self.faults, fault) and self.now < self.calm_ms
        if hit:
            self.injected += 1
            self.excuses.append((self.now, fault))
        return hit

    def visible(self) -> int:
        return self.now + (self.random.randint(100, 4000) if self.chance("lag") else 0)

    def send(self, name: str, place: Callable[[], list[Placed]], effect: fx.Send | fx.SendList) -> None:
        desk = self.desk
        left = effect.sent_ms + effect.window_ms - self.now
        if left <= 0:
            self.hear(0, lambda: desk.unsent(name, self.now))
            return
        if left == effect.window_ms and self.chance("stalled"):
            # The disk takes so long to write down that it is sent.
            self.later(self.random.randint(100, 20_000), lambda: self.send(name, place, effect))
            return
        if self.now < self.down_until or self.chance("unavailable"):
            self.hear(10, lambda: desk.unsent(name, self.now))
            return
        if self.chance("never_arrives"):
            self.hear(6000, lambda: desk.lost(name, self.now))
            return
        late = self.chance("arrives_late")
        delay = self.random.randint(10, max(left - 10, 10)) if late else self.random.randint(5, 50)
        reply = not self.chance("reply_lost")
        life = self.life

        def accept() -> None:
            there = reply and life == self.life and self.is_alive
            if self.now < self.down_until:
                self.hear_if(there, 6000, lambda: desk.lost(name, self.now))
                return
            try:
                if self.chance("refused"):
                    raise No("Account has insufficient balance for requested action.")
                placed = place()
            except No as no:
                why = str(no)
                self.hear_if(there, 10, lambda: desk.refused(name, -2010, why, self.now))
                if not there and life == self.life:
                    self.hear(6000, lambda: desk.lost(name, self.now))
                return
            with_fills = self.random.random() < 0.5
            reports = [one.report(tuple(one.fills) if with_fills else ()) for one in placed]
            if not reply:
                if life == self.life:
                    self.hear(6000, lambda: desk.lost(name, self.now))
            elif isinstance(effect, fx.Send):
                self.hear_if(there, self.random.randint(5, 50), lambda: desk.replied(reports[0], self.now))
            else:
                self.hear_if(there, self.random.randint(5, 50), lambda: desk.replied_list(name, reports, self.now))

        self.at(delay, accept)

    def hear_if(self, there: bool, delay: int, tell: Callable[[], list[fx.Effect]]) -> None:
        """The same, if who asked is still there: its connection is gone with it."""
        if there:
            self.hear(delay, tell)

    def event(self, report: Report) -> None:
        """An event of the user stream: late, twice, or never."""
        if self.now < self.down_until:
            return
        times = 0 if self.chance("event_lost") else 2 if self.chance("event_twice") else 1
        for _ in range(times):
            self.hear(self.random.randint(1, 3000), lambda: self.desk.replied(report, self.now))

    def cancel(self, name: str, end: Callable[[str], Any]) -> None:
        desk, life = self.desk, self.life
        if self.now < self.down_until or self.chance("unavailable"):
            self.hear(10, lambda: desk.cancel_refused(name, self.now))
            return
        lost = self.chance("cancel_lost")

        def arrive() -> None:
            ended = None if self.now < self.down_until else end(name)
            if life != self.life:
                return
            if lost or self.now < self.down_until:
                self.hear(6000, lambda: desk.lost(name, self.now))
            elif not ended:
                self.hear(10, lambda: desk.cancel_refused(name, self.now))
            elif isinstance(ended, Placed):
                report = ended.report()
                self.hear(10, lambda: desk.replied(report, self.now))
            else:
                reports = [one.report() for one in ended]
                self.hear(10, lambda: desk.replied_list(name, reports, self.now))

        if self.chance("cancel_never_arrives"):
            self.hear(6000, lambda: desk.lost(name, self.now))
            return
        self.at(self.random.randint(5, 500), arrive)

    def ask(self, effect: fx.Effect) -> None:
        """A question, asked until it is answered."""
        if self.now < self.down_until or self.chance("query_fails"):
            self.later(1000, lambda: self.ask(effect))
            return
        asked, desk, venue = self.now, self.desk, self.venue
        # What happens until a slow answer comes is not in it.
        wait = self.random.randint(20, 1500) if self.chance("slow") else 20
        match effect:
            case fx.Find(_, name):
                report = self.seen(name)
                self.hear(wait, lambda: desk.found(name, report, asked, self.now))
            case fx.FindList(_, name):
                names = venue.lists.get(name, [])
                known = [one for one in map(self.seen, names) if one is not None] or None
                self.hear(wait, lambda: desk.found_list(name, known, asked, self.now))
            case fx.AskFills(_, after):
                fills = [(one.name, fill) for one in venue.orders.values() for fill in one.fills]
                told = sorted((row for row in fills if row[1].trade_id > after), key=lambda row: row[1].trade_id)
                self.hear(wait, lambda: desk.fills(SYMBOL, told, self.now))
            case fx.AskOpen():
                live = [one.report() for one in venue.live.values()]
                self.hear(wait, lambda: desk.open_orders(SYMBOL, live, asked, self.now))

    def seen(self, name: str) -> Report | None:
        order = self.venue.orders.get(name)
        return order.report() if order is not None and order.visible_ms <= self.now else None
