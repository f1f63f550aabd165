"""An exchange for the order desk's world: it matches resting orders with a price, and knows what must never happen."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from pipeline.exchange.port import ListRequest, Report, Request
from pipeline.trading.filters import Range, SymbolFilters, floor_to
from pipeline.trading.orders import Fill

SYMBOL = "BTCUSDT"
STEP, FEE = Decimal("0.1"), Decimal("0.001")
ZERO = Decimal(0)
RULES = SymbolFilters(
    SYMBOL, Range(step=Decimal(1)), Range(STEP, Decimal(1000), STEP), min_notional=Decimal(150), base_asset="BTC"
)
LIVE = ("NEW", "PARTIALLY_FILLED", "PENDING_NEW")
GUARDS = ("STOP_LOSS", "STOP_LOSS_LIMIT")


class No(Exception):
    """The exchange refuses."""


@dataclass(slots=True)
class Placed:
    """An order as the exchange has it. visible_ms: since when it can be found; armed: a stop that waits."""

    request: Request
    visible_ms: int
    list_id: str = ""
    status: str = "NEW"
    armed: bool = False
    executed: Decimal = ZERO
    fills: list[Fill] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.request.client_order_id

    @property
    def left(self) -> Decimal:
        return self.request.qty - self.executed if self.status in LIVE else ZERO

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    def report(self, fills: tuple[Fill, ...] = ()) -> Report:
        return Report(SYMBOL, self.name, self.status, self.executed, 0, fills)


class Venue:
    """Orders, a price and the truth of what is held. tell: hears what the user stream would tell.

    partial: probability that a fill is for a part only. wrong: what must never happen and did.
    """

    def __init__(self, seed: int, tell: Callable[[Report], None], partial: Callable[[], bool]) -> None:
        self.random = random.Random(f"venue {seed}")
        self.tell = tell
        self.partial = partial
        self.price = 1000
        self.trade = 100
        self.held = ZERO
        self.orders: dict[str, Placed] = {}
        self.live: dict[str, Placed] = {}
        self.lists: dict[str, list[str]] = {}
        self.names: list[str] = []
        self.wrong: list[str] = []
        self.drift = self.random.choice((-1, 1))
        self.fee_asset = self.random.choice(("BTC", "BTC", "BNB"))
        self.best_stop: dict[tuple[str, ...], Decimal] = {}

    # Requests

    def place(self, request: Request, visible_ms: int) -> Placed:
        """Accept an order. Raises No."""
        self._refuse([request])
        order = self._accept(request, visible_ms, "")
        self._start(order)
        return order

    def place_list(self, request: ListRequest, visible_ms: int) -> list[Placed]:
        """Accept a list. Raises No."""
        if any(self.orders[one].is_live for one in self.lists.get(request.list_client_order_id, ())):
            raise No("Duplicate order sent.")
        self._refuse([request.working] if request.working else request.legs)
        made = [self._accept(one, visible_ms, request.list_client_order_id) for one in request.requests]
        self.lists[request.list_client_order_id] = [one.name for one in made]
        if request.working is not None:
            for one in made[1:]:
                one.status = "PENDING_NEW"
        for one in made if request.working is None else made[:1]:
            self._start(one)
        return made

    def cancel(self, name: str) -> Placed | None:
        """Cancel a live order; None if it is not."""
        order = self.live.get(name)
        if order is not None:
            self._end(order, "CANCELED")
        return order

    def cancel_list(self, list_id: str) -> list[Placed]:
        """Cancel what is live of a list."""
        live = [self.live[name] for name in self.lists.get(list_id, ()) if name in self.live]
        for order in live:
            if order.is_live:
                self._end(order, "CANCELED")
        return live

    def withdraw(self, order: Placed) -> None:
        """Somebody else cancels an order with its list."""
        self.cancel_list(order.list_id) if order.list_id else self.cancel(order.name)

    def forget(self, order: Placed) -> None:
        """An order that was not filled is gone with its list, and nobody is told."""
        names = self.lists.get(order.list_id, [order.name])
        if not any(self.orders[name].executed for name in names):
            for name in names:
                del self.orders[name], self.live[name]
            self.lists.pop(order.list_id, None)

    # Matching

    def move(self, gap: int = 0) -> None:
        """The price moves, or falls by a gap, and what it reaches is filled, at times in part."""
        self.price = min(max(700, self.price - gap + self.drift * self.random.choice((-9, -5, -2, 0, 1, 3, 8))), 1400)
        self.match()

    def match(self) -> None:
        """Fill what the price has reached."""
        for order in list(self.live.values()):
            if order.is_live and order.status != "PENDING_NEW":
                if order.armed and self._triggers(order):
                    order.armed = False
                    self._others_expire(order)
                if not order.armed and self._crosses(order):
                    self._take(order)

    @property
    def stops(self) -> Decimal:
        """Quantity for which a stop rests, or sells."""
        return sum((o.left for o in self.live.values() if o.request.kind in GUARDS and self._guards(o)), ZERO)

    @property
    def jumped(self) -> Decimal:
        """Quantity of stops that were triggered where nobody takes their limit."""
        stops = [o for o in self.live.values() if o.request.kind in GUARDS and o.status != "PENDING_NEW"]
        return sum((o.left for o in stops if not self._guards(o)), ZERO)

    @property
    def selling(self) -> Decimal:
        """Quantity that live orders may sell: of a pair, one leg."""
        total, pairs = ZERO, dict[str, Decimal]()
        for order in self.live.values():
            if order.request.side == "SELL" and order.status != "PENDING_NEW":
                if order.list_id:
                    pairs[order.list_id] = max(pairs.get(order.list_id, ZERO), order.left)
                else:
                    total += order.left
        return sum(pairs.values(), total)

    @property
    def sellable(self) -> Decimal:
        """What of the position can be sold at all."""
        qty = floor_to(self.held, STEP)
        return qty if qty * (self.price - 60) >= RULES.min_notional else ZERO

    # Inside

    def _refuse(self, requests: Iterable[Request]) -> None:
        kinds = {one.kind for one in requests}
        for one in requests:
            if one.client_order_id in self.live:
                raise No("Duplicate order sent.")
            if one.qty <= 0 or one.qty != floor_to(one.qty, STEP):
                self.wrong.append(f"malformed: {one.client_order_id}: a quantity of {one.qty}")
            pair = len(kinds) > 1
            if one.kind in GUARDS and (one.stop_price or 0) >= self.price:
                raise No(
                    "The relationship of the prices is not correct." if pair else "Order would trigger immediately."
                )
            limit = one.price or ZERO
            if one.kind == "LIMIT_MAKER" and (limit <= self.price if one.side == "SELL" else limit >= self.price):
                raise No("The relationship of the prices is not correct." if pair else "Order would immediately match.")

    def _accept(self, request: Request, visible_ms: int, list_id: str) -> Placed:
        order = Placed(request, visible_ms, list_id, armed=request.kind in GUARDS)
        self.names.append(order.name)
        self.orders[order.name] = self.live[order.name] = order
        return order

    def _start(self, order: Placed) -> None:
        self.check(order)
        if order.request.kind == "MARKET":
            self._take(order)
            if order.is_live:
                self._end(order, "EXPIRED")
        elif order.request.kind == "LIMIT" and self._crosses(order):
            self._take(order)
        elif order.is_live:
            self.tell(order.report())

    def check(self, order: Placed) -> None:
        """What must hold when an order begins to work."""
        if order.request.side == "SELL" and self.selling > self.held:
            self.wrong.append(f"oversold: {order.name}: {self.selling} is being sold, and {self.held} is held")
        if order.request.kind in GUARDS:
            key = tuple(order.name.split("-")[0:1])
            if (order.request.stop_price or ZERO) < self.best_stop.get(key, ZERO):
                self.wrong.append(f"loosened: {order.name}: the stop was loosened to {order.request.stop_price}")
            self.best_stop[key] = order.request.stop_price or ZERO

    def _guards(self, order: Placed) -> bool:
        """Whether a stop waits, or sells; its limit may be out of reach once it was triggered."""
        return order.status != "PENDING_NEW" and (order.armed or self._crosses(order))

    def _triggers(self, order: Placed) -> bool:
        return self.price <= (order.request.stop_price or ZERO)

    def _crosses(self, order: Placed) -> bool:
        request = order.request
        if request.kind in ("MARKET", "STOP_LOSS"):
            return True
        limit = request.price or ZERO
        return self.price <= limit if request.side == "BUY" else self.price >= limit

    def _take(self, order: Placed) -> None:
        half = floor_to(order.left / 2, STEP)
        self.fill(order, half if self.partial() and half > 0 else order.left)
        if order.request.kind == "LIMIT_MAKER" and order.request.side == "SELL" and order.is_live:
            # It touched the target, and turned.
            self.price -= 20
        if order.request.kind == "STOP_LOSS" and order.is_live and self.random.random() < 0.3:
            # A market order for which the book is too thin.
            self._end(order, "EXPIRED")

    def fill(self, order: Placed, qty: Decimal) -> None:
        """Fill a quantity of an order."""
        self.trade += 1
        is_buy = order.request.side == "BUY"
        asset = (self.fee_asset if is_buy else "USDT") if self.fee_asset == "BTC" else "BNB"
        fee = qty * FEE if asset == "BTC" else Decimal("0.01")
        order.fills.append(Fill(self.trade, qty, Decimal(self.price), fee, asset))
        order.executed += qty
        self.held += (qty if is_buy else -qty) - (fee if asset == "BTC" else 0)
        if self.held < 0:
            self.wrong.append(f"oversold: {order.name}: {-self.held} more was sold than was held")
        done = order.executed == order.request.qty
        order.status = "FILLED" if done else "PARTIALLY_FILLED"
        if done:
            self.live.pop(order.name, None)
        self.tell(order.report((order.fills[-1],)))
        self._progress(order)

    def _end(self, order: Placed, status: str) -> None:
        order.status = status
        self.live.pop(order.name, None)
        self.tell(order.report())
        self._progress(order)

    def _progress(self, order: Placed) -> None:
        """What a fill or an end means for the list of an order."""
        if not order.list_id:
            return
        others = [self.orders[one] for one in self.lists.get(order.list_id, ()) if one != order.name]
        pending = [one for one in others if one.status == "PENDING_NEW"]
        if pending and order.status == "FILLED":
            for one in pending:
                one.status = "NEW"
            for one in pending:
                self.check(one)
                self.tell(one.report())
        elif pending and not order.is_live:
            for one in pending:
                one.status = order.status
                self.live.pop(one.name, None)
                self.tell(one.report())
        elif order.executed or order.status == "CANCELED":
            self._others_expire(order)

    def _others_expire(self, order: Placed) -> None:
        for name in self.lists.get(order.list_id, ()):
            other = self.orders[name]
            if other is not order and other.is_live and other.status != "PENDING_NEW" and other.request.side == "SELL":
                other.status = "EXPIRED"
                self.live.pop(name, None)
                self.tell(other.report())
