"""A trader for the order desk's world: it enters, protects, trails, works plans and leaves, as a seed has it."""

import random
from decimal import Decimal
from typing import TYPE_CHECKING

from live.venue import STEP, SYMBOL

from pipeline.exchange.port import Request
from pipeline.live.desk import Desk
from pipeline.live.effects import Effect, Write
from pipeline.live.records import Protection
from pipeline.trading.execution import Chase, Plan, Pov, Twap
from pipeline.trading.filters import floor_to
from pipeline.trading.orders import Intent

if TYPE_CHECKING:
    from live.world import World

# A bar may enter so long after its close, and a plan may go on entering so long.
FRESH_MS, EXPIRES_MS = 5000, 20_000


class Trader:
    """What the process of a world wants. promised: exits that were ordered, by the names of their orders."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.promised: list[str] = []

    @property
    def desk(self) -> Desk:
        return self.world.desk

    @property
    def now(self) -> int:
        return self.world.now

    @property
    def held(self) -> Decimal:
        """Whole lots of what is held, as the books have it."""
        return floor_to(self.desk.books.held(SYMBOL), STEP)

    def do(self, effects: list[Effect]) -> None:
        self.world.do(effects)

    def look(self) -> None:
        """A second has passed: timers, ticks, trailing stops, and the way out at the end."""
        books, price, calm = self.desk.books, self.world.venue.price, self.now > self.world.calm_ms
        if self.now >= self.world.down_until:
            self.desk.priced(SYMBOL, Decimal(price - 1), Decimal(price + 1))
        if books.works and self.now >= self.world.down_until:
            self.do(self.desk.volume(SYMBOL, Decimal(20), self.now))
            self.do(self.desk.tick(SYMBOL, Decimal(price - 1), Decimal(price + 1), self.now))
        if not calm and self.now // 1000 % 3 == 0 and SYMBOL in books.protections:
            self.do(self.desk.move_stop(SYMBOL, Decimal(price - 25), self.now))
        if calm and self.world.flattens and self.held > 0:
            self.leave(self.world.bar_ms + self.world.calm_ms, 1 + self.world.crossing)
        if self.world.life > 1:
            self.repair(self.now)
        if books.symbols():
            self.do(self.desk.timer(self.now))

    def bar(self, number: int) -> None:
        """A bar has closed: once, and only if it is fresh, something is wanted."""
        if any(kind == "BAR" and body["bar"] == number for kind, body in self.world.journal):
            return
        draw = random.Random(f"bar {self.world.seed} {number}")
        open_time = self.world.begun + (number - self.world.first_bar) * self.world.bar_ms
        promised = None
        if self.now - open_time < FRESH_MS:
            self.repair(open_time)
            if self.held == 0:
                self.enter(draw, open_time)
            elif draw.random() < 0.5:
                promised = self.leave(open_time, 0, draw)
        self.do([Write("BAR", {"bar": number})])
        if promised is not None:
            self.promised.append(promised)

    def repair(self, open_time: int) -> None:
        """After a crash between an entry and its protection, the trader sees that there is none."""
        if self.held >= 2 * STEP and SYMBOL not in self.desk.books.protections:
            wanted = Protection("b", open_time, Decimal(self.world.venue.price - 30))
            self.do(self.desk.protect(SYMBOL, wanted, self.now))

    def enter(self, draw: random.Random, open_time: int) -> None:
        """Buy in one of several ways, with a stop and perhaps a target."""
        desk, price = self.desk, Decimal(self.world.venue.price)
        if SYMBOL in desk.books.protections or desk.books.open(SYMBOL):
            return
        intent, qty = Intent("b", SYMBOL, open_time), STEP * draw.randint(20, 60)
        stop, target = price - 30, price + draw.choice((6, 30)) if draw.random() < 0.6 else None
        wanted = Protection("b", open_time, stop, target, stop - 40 if draw.random() < 0.2 else None)
        kind = draw.choice(("market", "limit", "attached", "attached", "plan", "plan", "late"))
        market = Request(SYMBOL, "BUY", "MARKET", qty, intent.client_order_id)
        limit = Request(SYMBOL, "BUY", "LIMIT", qty, intent.client_order_id, price - draw.choice((0, 3, 10)))
        if kind == "plan":
            plan = self.plan(draw, "BUY", qty)
            self.do(desk.work(plan, intent, self.now, protection=wanted, expires_ms=open_time + EXPIRES_MS))
        elif kind == "market":
            self.do(desk.order(intent, market, self.now, protection=wanted))
        elif kind == "limit":
            self.do(desk.order(intent, limit, self.now, protection=wanted))
        elif kind == "attached":
            self.do(desk.order_protected(intent, limit, wanted, self.now))
        else:
            # The protection comes with a call of its own.
            self.do(desk.order(intent, market, self.now))
            self.do(desk.protect(SYMBOL, wanted, self.now))

    def plan(self, draw: random.Random, side: str, qty: Decimal) -> Plan:
        """One of the plans of execution."""
        band, fallback = Decimal("0.05"), draw.random() < 0.7
        return draw.choice((
            Chase(side, qty, STEP, 3, band, 2000, 10_000, False, fallback),
            Chase(side, qty, STEP, 3, band, 3000, 10_000, True, fallback),
            Twap(side, qty, STEP, 3, self.now, 6000, STEP),
            Twap(side, qty, STEP, 2, self.now, 8000, STEP, 2, band, 2000),
            Pov(side, qty, STEP, Decimal("0.1"), STEP),
        ))  # fmt: skip

    def leave(self, open_time: int, attempt: int, draw: random.Random | None = None) -> str | None:
        """Leave what is held, by an order or a plan; the name of the order, if it is one."""
        books = self.desk.books
        if SYMBOL in books.leaving or books.works or any(e.order.leg == "exit" for e in books.open(SYMBOL)):
            return None
        intent = Intent("b", SYMBOL, open_time, "exit", attempt)
        kind = "market" if draw is None else draw.choice(("market", "limit", "plan"))
        if kind == "plan" and draw is not None and self.held >= 3 * STEP:
            self.do(self.desk.work(self.plan(draw, "SELL", self.held), intent, self.now, reduce_only=True))
            return None
        price = Decimal(self.world.venue.price) if kind == "limit" else None
        request = Request(SYMBOL, "SELL", "LIMIT" if price else "MARKET", self.held, intent.client_order_id, price)
        self.do(self.desk.order(intent, request, self.now, reduce_only=True))
        return request.client_order_id
