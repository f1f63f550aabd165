"""Execution plans: how a quantity is worked into the market. Pure schedules with exact sums, resumable in the middle.

A plan is told what happened (`Tick`, `Volume`, `Filled`, `Ended`) and says what to do next (`Place`, `Cancel`, `Done`):
`plan, action = next_action(plan, event)`. It is a plain value: `from_record(to_record(plan))` goes on as if nothing
had been, and a record is JSON. No plan ever has more than one live order.
"""

from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput, PipelineError
from pipeline.trading.filters import floor_to

ZERO = Decimal(0)
_SIDES = ("BUY", "SELL")


class Overfilled(PipelineError):
    """More was filled than the plan asked for: our books are wrong, and the symbol is halted."""


@dataclass(frozen=True)
class Tick:
    """The time, and the best prices of the book."""

    time_ms: int
    bid: Decimal
    ask: Decimal

    @property
    def usable(self) -> bool:
        """Whether the prices can be acted on."""
        return self.bid.is_finite() and self.ask.is_finite() and 0 < self.bid <= self.ask


@dataclass(frozen=True)
class Volume:
    """Base asset that others traded since the last such event; our own fills are not in it."""

    qty: Decimal


@dataclass(frozen=True)
class Filled:
    """A fill of the live order, not yet counted."""

    qty: Decimal


@dataclass(frozen=True)
class Ended:
    """The live order has ended for certain (filled, canceled, expired, rejected), and all its fills were told."""


Event = Tick | Volume | Filled | Ended


@dataclass(frozen=True)
class Place:
    """Send an order. price: None for market; post_only: refused rather than matched at once."""

    qty: Decimal
    price: Decimal | None
    post_only: bool = False


@dataclass(frozen=True)
class Cancel:
    """Cancel the live order; its outcome has to be known before anything else is sent."""


@dataclass(frozen=True)
class Done:
    """Nothing more will be sent. left: quantity that was not filled."""

    left: Decimal


Action = Place | Cancel | Done | None


@dataclass(frozen=True)
class Chase:
    """One order after another for what is left, each as near the market as it may be; then market, or nothing.

    post_only: wait at our side of the book (`bid` for a buy); else take the other side's price. attempts: limit
    orders at most; band: fraction that the price may run away from the first one, against us; patience_ms: before an
    order is moved; deadline_ms: after the start. fallback: take the rest at market at the end, unless the price has
    left the band. The next order is for the remainder that is proven not filled: exposure is never doubled.
    """

    side: str
    qty: Decimal
    step: Decimal
    attempts: int = 5
    band: Decimal = Decimal("0.002")
    patience_ms: int = 5_000
    deadline_ms: int = 60_000
    post_only: bool = False
    fallback: bool = True
    # Where it stands.
    filled: Decimal = ZERO
    sent: int = 0
    started_ms: int = -1
    placed_ms: int = -1
    reference: Decimal = ZERO
    live: bool = False
    cancelling: bool = False
    taking: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        _check(self, "chase")
        if self.attempts < 0 or self.band < 0 or self.patience_ms < 0 or self.deadline_ms < 0:
            raise BadInput("chase: attempts, band, patience_ms or deadline_ms is negative", "write 0 or more")

    def on(self, event: Event) -> tuple["Chase", Action]:
        """What to do after an event."""
        match event:
            case Filled(qty):
                return replace(self, filled=_more(self.filled, qty, self.qty)), None
            case Ended():
                return replace(self, live=False, cancelling=False), None
            case Tick():
                return self._on_tick(event)
        return self, None

    def _on_tick(self, tick: Tick) -> tuple["Chase", Action]:
        left = floor_to(self.qty - self.filled, self.step)
        if self.live:
            late = tick.time_ms - self.placed_ms >= self.patience_ms or self._expired(tick)
            if late and not self.cancelling and not self.taking:
                return replace(self, cancelling=True), Cancel()
            return self, None
        if self.over or left <= 0:
            return replace(self, over=True), Done(self.qty - self.filled)
        if not tick.usable:
            return self, None
        near, far = (tick.bid, tick.ask) if self.side == "BUY" else (tick.ask, tick.bid)
        price = near if self.post_only else far
        if self.started_ms < 0:
            return replace(self, started_ms=tick.time_ms, reference=price)._sending(tick, left, price)
        return self._sending(tick, left, price)

    def _sending(self, tick: Tick, left: Decimal, price: Decimal) -> tuple["Chase", Action]:
        run = price - self.reference if self.side == "BUY" else self.reference - price
        if run > self.reference * self.band or self.taking:
            return replace(self, over=True), Done(self.qty - self.filled)
        if self.sent < self.attempts and not self._expired(tick):
            after = replace(self, live=True, placed_ms=tick.time_ms, sent=self.sent + 1)
            return after, Place(left, price, self.post_only)
        if not self.fallback:
            return replace(self, over=True), Done(self.qty - self.filled)
        return replace(self, live=True, taking=True, placed_ms=tick.time_ms), Place(left, None)

    def _expired(self, tick: Tick) -> bool:
        return self.started_ms >= 0 and tick.time_ms - self.started_ms >= self.deadline_ms


def market(side: str, qty: Decimal, step: Decimal) -> Chase:
    """A plan that is one market order; what the book could not fill is left."""
    return Chase(side, qty, step, attempts=0)


@dataclass(frozen=True)
class Slice:
    """A part of a parent order, due at a time."""

    due_ms: int
    qty: Decimal


@dataclass(frozen=True)
class Twap:
    """TWAP: equal parts at equal distances of time, whole lots each; they add up to `qty` exactly.

    Lots that do not divide evenly go to the first slices, one each. Each slice is worked by a limit chase that ends
    before the next one is due, or by a market order where `attempts` is 0; what it left, and slices that were missed
    while we were away, are added to the next.
    least: the smallest quantity that may be sent, so that no slice is refused.
    Raises BadInput: a quantity that is not a whole number of lots, or slices below a lot or `least`.
    """

    side: str
    qty: Decimal
    step: Decimal
    slices: int
    start_ms: int
    duration_ms: int
    least: Decimal = ZERO
    attempts: int = 0
    band: Decimal = Decimal("0.002")
    patience_ms: int = 5_000
    post_only: bool = False
    # Where it stands.
    released: int = 0
    filled: Decimal = ZERO
    child: Chase | None = None

    def __post_init__(self) -> None:
        _check(self, "twap")
        if self.slices < 1 or self.duration_ms < 0 or self.step <= 0:
            raise BadInput(
                f"twap: {self.slices} slices in {self.duration_ms} ms, step {self.step}",
                "at least one slice, no negative duration, and a lot step are needed",
            )
        if floor_to(self.qty, self.step) != self.qty:
            raise BadInput(f"twap: {self.qty} is not a whole number of lots of {self.step}", "round it down first")
        smallest = self.step * (self.qty // self.step // self.slices)
        if smallest < max(self.step, self.least):
            raise BadInput(
                f"twap: {self.qty} in {self.slices} slices of {smallest}, below {max(self.step, self.least)}",
                "use fewer slices",
            )

    @property
    def schedule(self) -> tuple[Slice, ...]:
        """The slices, in order of time."""
        each, more = divmod(int(self.qty // self.step), self.slices)
        return tuple(
            Slice(self.start_ms + self.duration_ms * number // self.slices, self.step * (each + (number < more)))
            for number in range(self.slices)
        )

    def on(self, event: Event) -> tuple["Twap", Action]:
        """What to do after an event."""
        if isinstance(event, Filled):
            child = self.child and self.child.on(event)[0]
            return replace(self, filled=_more(self.filled, event.qty, self.qty), child=child), None
        if self.child is not None:
            child, action = self.child.on(event)
            if not isinstance(action, Done):
                return replace(self, child=child), action
        return replace(self, child=None)._release(event) if isinstance(event, Tick) else (self, None)

    def _release(self, tick: Tick) -> tuple["Twap", Action]:
        due = [part for part in self.schedule if part.due_ms <= tick.time_ms]
        wanted = sum((part.qty for part in due), ZERO) - self.filled
        if len(due) > self.released and wanted > 0:
            child = Chase(
                self.side, wanted, self.step, self.attempts, self.band, self.patience_ms,
                max(1, self.duration_ms // self.slices), self.post_only,
            )  # fmt: skip
            child, action = child.on(tick)
            # Without usable prices the slice stays due.
            return (self, None) if action is None else (replace(self, released=len(due), child=child), action)
        if len(due) == self.slices:
            return self, Done(self.qty - self.filled)
        return self, None


@dataclass(frozen=True)
class Pov:
    """POV: market orders that follow the market's volume at a rate, until the parent is done.

    rate: share of the volume traded, ours included, that is never exceeded over any window of `Volume` events: an
    order is at most rate / (1 − rate) of the volume told with the event that it answers. Budget that is not used at
    once (below a lot or `least`, or an order is still live) lapses, as carrying it over would break the bound.
    """

    side: str
    qty: Decimal
    step: Decimal
    rate: Decimal
    least: Decimal = ZERO
    # Where it stands.
    filled: Decimal = ZERO
    live: bool = False

    def __post_init__(self) -> None:
        _check(self, "pov")
        if not 0 < self.rate < 1:
            raise BadInput(f"pov: participation of {self.rate}", "write a fraction between 0 and 1")
        if self.step <= 0:
            raise BadInput(f"pov: step of {self.step}", "a lot step is needed")

    def on(self, event: Event) -> tuple["Pov", Action]:
        """What to do after an event."""
        match event:
            case Filled(qty):
                return replace(self, filled=_more(self.filled, qty, self.qty)), None
            case Ended():
                return replace(self, live=False), None
            case Volume(qty) if not self.live and qty.is_finite() and qty > 0:
                return self._follow(qty)
        return self, None if self.live or self._left > 0 else Done(self.qty - self.filled)

    @property
    def _left(self) -> Decimal:
        # What can still be sent.
        left = floor_to(self.qty - self.filled, self.step)
        return left if left >= self.least else ZERO

    def _follow(self, others: Decimal) -> tuple["Pov", Action]:
        if self._left == 0:
            return self, Done(self.qty - self.filled)
        # In whole lots at once: a quotient that is rounded may be rounded up.
        lots = others * self.rate // ((1 - self.rate) * self.step)
        child = min(lots * self.step, self._left)
        if child < max(self.step, self.least):
            return self, None
        return replace(self, live=True), Place(child, None)


Plan = Chase | Twap | Pov
_PLANS: dict[str, type[Chase] | type[Twap] | type[Pov]] = {"chase": Chase, "twap": Twap, "pov": Pov}


def next_action(plan: Plan, event: Event) -> tuple[Plan, Action]:
    """The plan after an event, and what to do now. Raises Overfilled: the fills exceed the parent."""
    return plan.on(event)


def to_record(plan: Plan) -> dict[str, Any]:
    """A plan with where it stands as plain values that JSON can hold; decimals are text, so that none is rounded."""
    record: dict[str, Any] = {"plan": next(name for name, kind in _PLANS.items() if isinstance(plan, kind))}
    for field in fields(plan):
        value = getattr(plan, field.name)
        record[field.name] = (
            str(value) if isinstance(value, Decimal) else to_record(value) if isinstance(value, Chase) else value
        )
    return record


def from_record(record: dict[str, Any]) -> Plan:
    """The plan that a record holds. Raises BadInput: it is not one of ours."""
    values = dict(record) if isinstance(record, dict) else {}
    name = values.pop("plan", None)
    if name not in _PLANS:
        raise BadInput(f"execution plan: {name!r} is not a plan", f"known are {', '.join(_PLANS)}")
    kind = _PLANS[name]
    wrong = {field.name for field in fields(kind)} ^ set(values)
    if wrong:
        raise BadInput(f"execution plan {name}: {', '.join(sorted(wrong))} missing or unknown", "the record is damaged")
    for field in fields(kind):
        values[field.name] = _restored(values[field.name], field.type, f"execution plan {name}: {field.name}")
    return kind(**values)


def _restored(value: Any, kind: Any, what: str) -> Any:
    if kind is Decimal and isinstance(value, str):
        try:
            number = Decimal(value)
        except ArithmeticError:
            number = Decimal("NaN")
        if number.is_finite():
            return number
    elif isinstance(kind, type) and type(value) is kind and kind is not Decimal:
        return value
    elif kind == Chase | None:
        child = value if value is None else from_record(value)
        if child is None or isinstance(child, Chase):
            return child
    raise BadInput(f"{what} cannot be {value!r}", "the record is damaged")


def _check(plan: Plan, name: str) -> None:
    if plan.side not in _SIDES:
        raise BadInput(f"{name}: side {plan.side!r}", "write BUY or SELL")
    for what, value in (("qty", plan.qty), ("step", plan.step), ("filled", plan.filled)):
        if not value.is_finite() or value < 0:
            raise BadInput(f"{name}: {what} of {value}", "write 0 or more")


def _more(filled: Decimal, qty: Decimal, parent: Decimal) -> Decimal:
    if not 0 < qty <= parent - filled:
        raise Overfilled(
            f"a fill of {qty} would make {filled + qty} of {parent}",
            "reconcile the symbol before anything else is sent",
        )
    return filled + qty
