"""Where the orders of one symbol meet its market.

The price moves in straight lines between the points of a bar (`path`), and jumps at the open. On a line an order is
met at exactly its level; in a jump a stop is triggered where the jump ends, a resting limit still fills at its own
price. Levels are met in the order of the path; where two are equal the stop comes first.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from pipeline.exchange.local.history import Row, Series
from pipeline.exchange.local.instruments import Instrument
from pipeline.exchange.local.numbers import ONE, ZERO, of_float, ratio
from pipeline.exchange.local.orders import Order
from pipeline.exchange.local.timeline import POINTS
from pipeline.trading.filters import floor_to

_BIPS = Decimal(10_000)
Level = tuple[Decimal, Decimal]
_UNLIMITED = Decimal("1e15")
_LEAST = Decimal("1e-8")


class MarketModel(BaseModel):
    """How the market fills orders. The defaults are cautious."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Literal["ohlc", "high_first", "low_first", "adverse", "random"] = Field(
        "ohlc", description="Way of the price inside a bar; adverse: first to where a stop waits."
    )
    spread_bps: Decimal = Field(Decimal(1), ge=0, description="Between best bid and ask, in basis points.")
    slippage_bps: Decimal = Field(Decimal(0), ge=0, description="By which a taker's fills are worse, beside the book.")
    levels: int = Field(
        20, ge=0, le=5000, description="Price levels of each side of the book; 0: unlimited at the top."
    )
    level_gap_bps: Decimal = Field(Decimal(1), ge=0, description="Between levels, at least a tick.")
    level_share: Decimal = Field(Decimal("0.02"), gt=0, description="Size of a level as a share of a bar's volume.")
    participation: Decimal = Field(
        Decimal("0.1"), ge=0, le=1, description="Most of a bar's volume that fills resting orders; 0: no bound."
    )
    touch_fill: bool = Field(False, description="A resting order fills at a touch, not only when traded through.")
    queue_share: Decimal = Field(
        Decimal(0), ge=0, description="With touch_fill: volume ahead in the queue, as a share of a level's size."
    )


class Desk(Protocol):
    """What the market place reports to."""

    def traded(self, order: Order, price: Decimal, qty: Decimal, *, maker: bool) -> None:
        """Book a fill."""

    def triggered(self, order: Order) -> None:
        """A stop has been reached: it works from now on."""

    def activated(self, order: Order) -> None:
        """A trailing stop follows the price from now on."""

    def affordable(self, order: Order, price: Decimal) -> Decimal:
        """How much more of it its account can pay for at a price."""


class Pit:
    """One symbol: its bars, the price now, and the open orders.

    position: bars of the series that are closed. points: (open, high, low, close, share of the volume) of the bar that
    is going on, None before it opens.
    """

    def __init__(self, instrument: Instrument, series: Series, model: MarketModel, desk: Desk, position: int) -> None:
        self.instrument = instrument
        self.series = series
        self.model = model
        self.desk = desk
        self.position = position
        self.last = float(series.close[position - 1] if position else series.open[0])
        self.points: tuple[float, float, float, float, float] | None = None
        # The bar that opened last.
        self.bar: Row = (-1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0, 0)
        self._next: tuple[int, int] = (-1, -1)
        # Of the last bars: where they ended, and their average price.
        self._average: tuple[int, Decimal | None] = (-1, None)
        self._priced = (self.last, of_float(self.last))
        self._half_spread = model.spread_bps / 2 / _BIPS
        self.open: dict[int, Order] = {}
        self.budget: Decimal | None = None
        self.eaten = {"BUY": ZERO, "SELL": ZERO}
        # Lists for which this bar was found to be ambiguous.
        self.unclear: set[int] = set()
        self.recorded: RecordedBook | None = None
        # Most that the next orders may take, while a fault says so.
        self.cap: Decimal | None = None

    @property
    def price(self) -> Decimal:
        """The last price."""
        if self._priced[0] != self.last:
            self._priced = (self.last, of_float(self.last))
        return self._priced[1]

    @property
    def armed(self) -> list[Order]:
        """Stops that wait for their price."""
        return [order for order in self.open.values() if order.armed]

    @property
    def opens(self) -> int:
        """When the next bar opens, or the one that is going on did, ms; -1 after the last one."""
        at, time = self._next
        if at != self.position:
            at = self.position
            time = int(self.series.open_time[at]) if at < len(self.series) else -1
            self._next = (at, time)
        return time

    def begin(self) -> None:
        """The next bar opens: the price jumps to its open."""
        self.bar = self.series.row(self.position)
        opened = self.bar[1]
        self.points = (opened, opened, opened, opened, 0.0)
        self.unclear = set()
        share = self.model.participation
        self.budget = of_float(self.bar[5]) * share if share else None
        self.move(opened, jump=True)

    def go(self, to: float, share: float) -> None:
        """The price moves on inside the bar, and a part of its volume is traded."""
        assert self.points is not None
        opened, high, low, _, before = self.points
        self.points = (opened, max(high, to), min(low, to), to, before + share)
        self.move(to)

    def end(self) -> None:
        """The bar closes."""
        self.points = None
        self.position += 1

    def forming(self) -> Row | None:
        """The bar that is going on, None between bars."""
        row = self.unrounded()
        if row is None:
            return None
        volume, quote, bought, quote_bought = (round(row[at], 8) for at in (5, 6, 8, 9))
        return (*row[:5], volume, quote, row[7], bought, quote_bought, row[10])

    def unrounded(self) -> Row | None:
        """The same with volumes of more than eight decimals, for who writes them with eight."""
        if self.points is None:
            return None
        opened, high, low, close, share = self.points
        # A recorded market goes on without its bars.
        whole = self.bar if self.bar[0] == self.opens else self.series.row(self.position)
        time, _, _, _, _, volume, quote, trades, bought, quote_bought, first = whole
        volume, quote, bought, quote_bought = volume * share, quote * share, bought * share, quote_bought * share
        return (time, opened, high, low, close, volume, quote, int(trades * share), bought, quote_bought, first)

    def tick(self, phase: int, now: int) -> tuple[Any, ...]:
        """The trade that brings the price to a point of the bar: price, quantity, time, trade id, buyer is maker."""
        volume, count, bought, first = self.bar[5], self.bar[7], self.bar[8], self.bar[10]
        trade = first + min(count * phase // POINTS, max(count - 1, 0))
        return ("tick", self.instrument.symbol, self.last, volume / POINTS, now, trade, bought * 2 < volume)

    def average_price(self) -> Decimal:
        """Volume-weighted price of the last five minutes of bars, the last price if nothing was traded."""
        if self._average[0] == self.position:
            return self._average[1] or self.price
        since = slice(max(self.position - max(1, 300_000 // self.series.step), 0), self.position)
        volume, quote = float(self.series.volume[since].sum()), float(self.series.quote_volume[since].sum())
        average = of_float(quote / volume) if volume > 0 else None
        self._average = (self.position, average)
        return average or self.price

    # The book

    def top(self) -> tuple[Decimal, Decimal]:
        """Best bid and ask as they are shown, at least a tick apart."""
        if self.recorded is not None:
            return self.recorded.top()
        bid, ask = self._best("SELL", ZERO), self._best("BUY", ZERO)
        return bid, max(ask, bid + self.instrument.rules.prices.step)

    def depth(self, limit: int) -> tuple[list[Level], list[Level]]:
        """Bids and asks as they are shown, best first."""
        if self.recorded is not None:
            return self.recorded.side("SELL", limit), self.recorded.side("BUY", limit)
        bid, ask = self.top()
        gap, size = self._gap(), self._size()
        count = min(limit, self.model.levels or 1)
        bids = [(bid - gap * i, size) for i in range(count) if bid - gap * i > 0]
        return bids, [(ask + gap * i, size) for i in range(count)]

    def _best(self, side: str, extra_bps: Decimal) -> Decimal:
        """What a taker of a side meets first."""
        tick = self.instrument.rules.prices.step
        part = (self.model.spread_bps / 2 + extra_bps) / _BIPS if extra_bps else self._half_spread
        if side == "BUY":
            exact = self.price * (ONE + part)
            below = floor_to(exact, tick)
            return below if below == exact else below + tick
        return max(floor_to(self.price * (ONE - part), tick), tick)

    def _gap(self) -> Decimal:
        tick = self.instrument.rules.prices.step
        return max(floor_to(self.price * self.model.level_gap_bps / _BIPS, tick), tick)

    def _size(self) -> Decimal:
        """Of one level: a share of the volume of the last closed bar that had any, at least the smallest lot."""
        if not self.model.levels:
            return _UNLIMITED
        rules = self.instrument.rules
        volume = float(self.series.volume[self.position - 1]) if self.position else 0.0
        return max(floor_to(of_float(volume) * self.model.level_share, rules.lots.step), rules.lots.least)

    def levels(self, side: str) -> Iterator[Level]:
        """Prices and sizes that a taker meets, less what was taken since the price last moved."""
        eaten = self.eaten[side]
        if self.recorded is not None:
            found = iter(self.recorded.side(side, 5000))
        else:
            best, gap, size = self._best(side, self.model.slippage_bps), self._gap(), self._size()
            step = gap if side == "BUY" else -gap
            found = ((best + step * i, size) for i in range(self.model.levels or 1))
        for price, size in found:
            if price <= 0:
                return
            left = size - eaten
            eaten = max(eaten - size, ZERO)
            if left > 0:
                yield price, left

    def crosses(self, side: str, price: Decimal) -> bool:
        """Whether a limit order would take at once."""
        if self.recorded is None:
            # Most orders rest far away: no level is better than the first, whatever has been taken.
            first = self._best(side, self.model.slippage_bps)
            if price < first if side == "BUY" else price > first:
                return False
        best = next(self.levels(side), None)
        return best is not None and (price >= best[0] if side == "BUY" else price <= best[0])

    # Taking

    def plan(self, order: Order) -> list[Level]:
        """The fills of an order that takes now, level by level; fewer than it asks for if the book is thin."""
        step = self.instrument.rules.lots.step
        fills: list[Level] = []
        left, quote_left = order.remaining, order.quote_qty
        if self.cap is not None:
            left, quote_left = min(left, floor_to(left * self.cap, step)), min(quote_left, quote_left * self.cap)
        for price, size in self.levels(order.side):
            if order.is_limit and (price > order.price if order.side == "BUY" else price < order.price):
                break
            qty = min(floor_to(ratio(quote_left, price), step), size) if order.quote_qty else min(left, size)
            if qty <= 0:
                break
            fills.append((price, qty))
            left -= qty
            quote_left -= price * qty
            if not order.quote_qty and left <= 0:
                break
        return fills

    def take(self, order: Order) -> None:
        """Fill what can be filled at once, as far as the account can pay."""
        step = self.instrument.rules.lots.step
        for price, qty in self.plan(order):
            paid = min(qty, floor_to(self.desk.affordable(order, price), step))
            if paid <= 0:
                return
            self.eaten[order.side] += paid
            self.desk.traded(order, price, paid, maker=False)
            if paid < qty:
                return

    # Moving

    def move(self, to: float, *, jump: bool = False) -> None:
        """Bring the price to another, meeting the orders on the way."""
        self.eaten = {"BUY": ZERO, "SELL": ZERO}
        if not self.open:
            self.last = to
            return
        target = of_float(to)
        while (met := self._first(target, jump)) is not None:
            level, order = met
            self._follow(level)
            here = float(target if jump else level)
            if here != self.last:
                self.last, self.eaten = here, {"BUY": ZERO, "SELL": ZERO}
            self._meet(order)
        self._follow(target)
        if to != self.last:
            self.last, self.eaten = to, {"BUY": ZERO, "SELL": ZERO}

    def _first(self, target: Decimal, jump: bool) -> tuple[Decimal, Order] | None:
        """The order that the price meets first on its way to the target, and where."""
        here = self.price
        best: tuple[tuple[Decimal, bool, int], Decimal, Order] | None = None
        for order in self.open.values():
            level = self._level(order, here, target)
            if level is not None:
                rank = (abs(level - here), not order.armed, order.id)
                if best is None or rank < best[0]:
                    best = (rank, target if jump and order.armed else level, order)
        return None if best is None else (best[1], best[2])

    def _level(self, order: Order, here: Decimal, target: Decimal) -> Decimal | None:
        """Where on the way from here to the target an order is met; None if it is not."""
        if order.armed:
            level, below = self.trigger(order)
            if below:
                return min(level, here) if target <= level else None
            return max(level, here) if target >= level else None
        if self.budget is not None and self.budget < max(self.instrument.rules.lots.step, _LEAST):
            return None
        touched = self.model.touch_fill
        if order.side == "BUY":
            return min(order.price, here) if target < order.price or (touched and target == order.price) else None
        return max(order.price, here) if target > order.price or (touched and target == order.price) else None

    @staticmethod
    def trigger(order: Order) -> tuple[Decimal, bool]:
        """Price that an armed order waits for, and whether falling prices reach it."""
        if not order.trailing:
            return order.stop_price, order.triggers_below
        if not order.active:
            return order.stop_price, order.triggers_below
        part = Decimal(order.trailing) / _BIPS
        return (order.extreme * (ONE - part), True) if order.side == "SELL" else (order.extreme * (ONE + part), False)

    def is_reached(self, order: Order) -> bool:
        """Whether the price has reached what a stop waits for."""
        level, below = self.trigger(order)
        return self.price <= level if below else self.price >= level

    def _follow(self, price: Decimal) -> None:
        """Trailing stops follow the price."""
        for order in self.open.values():
            if order.active and order.armed:
                order.extreme = max(order.extreme, price) if order.side == "SELL" else min(order.extreme, price)

    def _meet(self, order: Order) -> None:
        if order.armed:
            if order.trailing and not order.active:
                self.desk.activated(order)
            else:
                self.desk.triggered(order)
            return
        qty = order.remaining
        if self.budget is not None:
            qty = min(qty, floor_to(self.budget, self.instrument.rules.lots.step))
            if self.model.queue_share and order.queue > 0:
                # Who stands ahead in the queue is served first.
                ahead = min(order.queue, self.budget)
                order.queue -= ahead
                self.budget -= ahead
                qty = min(qty, floor_to(self.budget, self.instrument.rules.lots.step))
            self.budget -= qty
        if qty > 0:
            self.desk.traded(order, order.price, qty, maker=True)

    def rest(self, order: Order) -> None:
        """Put an order on the book, behind those who are there."""
        order.queue = self._size() * self.model.queue_share if self.model.queue_share else ZERO
        self.open[order.id] = order

    def ambiguous(self) -> list[int]:
        """Ids of order lists of which two legs lie inside the bar that is going on: its path decides between them."""
        if self.points is None or not self.open:
            return []
        i = self.position
        high, low = of_float(float(self.series.high[i])), of_float(float(self.series.low[i]))
        inside: dict[int, int] = {}
        for order in self.open.values():
            if order.list_id >= 0:
                level = self.trigger(order)[0] if order.armed else order.price
                inside[order.list_id] = inside.get(order.list_id, 0) + (low <= level <= high)
        return sorted(one for one, count in inside.items() if count > 1)


class RecordedBook(Protocol):
    """A book that was recorded rather than made up. update_id: of its state."""

    update_id: int

    def top(self) -> tuple[Decimal, Decimal]:
        """Best bid and ask."""

    def side(self, taker: str, limit: int) -> list[Level]:
        """Levels that a taker of a side meets, best first."""
