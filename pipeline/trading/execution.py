"""Execution plans: how a quantity is worked into the market. Pure schedules with exact sums, resumable in the middle.

A plan is told what happened (`Tick`, `Volume`, `Ended`) and says what to do next (`Place`, `Cancel`, `Done`). It is a
plain value: saved with `asdict` and rebuilt, it goes on as if nothing had been.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from pipeline.errors import BadInput
from pipeline.trading.filters import floor_to

ZERO = Decimal(0)


@dataclass(frozen=True)
class Tick:
    """The time, and the best prices of the book."""

    time_ms: int
    bid: Decimal
    ask: Decimal


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
    orders at most; band: fraction that the price may leave the first one; patience_ms: before an order is moved;
    deadline_ms: after the start. fallback: take the rest at market at the end. At most one order is live, and the
    next one is for the remainder that is proven not filled: exposure is never doubled.
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

    def on_tick(self, tick: Tick) -> tuple["Chase", Action]:
        """What to do at a moment."""
        left = floor_to(self.qty - self.filled, self.step)
        if self.live:
            late = tick.time_ms - self.placed_ms >= self.patience_ms or self._expired(tick)
            if late and not self.cancelling and not self.taking:
                return replace(self, cancelling=True), Cancel()
            return self, None
        if left <= 0:
            return self, Done(self.qty - self.filled)
        near, far = (tick.bid, tick.ask) if self.side == "BUY" else (tick.ask, tick.bid)
        price = near if self.post_only else far
        first = self.started_ms < 0
        reference = price if first else self.reference
        out_of_band = abs(price / reference - 1) > self.band
        started = tick.time_ms if first else self.started_ms
        after = replace(self, reference=reference, started_ms=started)
        if self.sent >= self.attempts or out_of_band or after._expired(tick):
            if not self.fallback or self.taking or out_of_band:
                return after, Done(self.qty - self.filled)
            return replace(after, live=True, taking=True, placed_ms=tick.time_ms), Place(left, None)
        after = replace(after, live=True, placed_ms=tick.time_ms, sent=self.sent + 1)
        return after, Place(left, price, self.post_only)

    def on_fill(self, qty: Decimal) -> "Chase":
        """A fill of the live order."""
        return replace(self, filled=self.filled + qty)

    def on_end(self) -> "Chase":
        """The live order has ended for certain (filled, canceled, expired, rejected), all its fills booked."""
        return replace(self, live=False, cancelling=False)

    def _expired(self, tick: Tick) -> bool:
        return self.started_ms >= 0 and tick.time_ms - self.started_ms >= self.deadline_ms


def market(side: str, qty: Decimal, step: Decimal) -> Chase:
    """A plan that is one market order."""
    return Chase(side, qty, step, attempts=0)


@dataclass(frozen=True)
class Slice:
    """A part of a parent order, due at a time."""

    due_ms: int
    qty: Decimal


def twap(qty: Decimal, slices: int, start_ms: int, duration_ms: int, step: Decimal) -> list[Slice]:
    """Equal parts at equal distances of time, whole lots each; they add up to `qty` exactly.

    Lots that do not divide evenly go to the first slices, one each; what is less than a lot to the last one.
    Raises BadInput: fewer lots than slices.
    """
    if slices < 1:
        raise BadInput(f"twap: {slices} slices", "at least one is needed")
    lot = step if step > 0 else qty / slices
    lots = int(qty / lot)
    if lots < slices:
        raise BadInput(f"twap: {qty} is {lots} lots of {lot}, fewer than {slices} slices", "use fewer slices")
    each, more = divmod(lots, slices)
    parts = [lot * (each + (number < more)) for number in range(slices)]
    parts[-1] += qty - sum(parts, ZERO)
    return [Slice(start_ms + duration_ms * k // slices, part) for k, part in enumerate(parts)]


@dataclass(frozen=True)
class Participation:
    """POV: follow the market's volume at a rate, until the parent is done.

    rate: share of the volume traded, ours included, that is never exceeded over any stretch that begins at the
    start; step: lot.
    """

    qty: Decimal
    rate: Decimal
    step: Decimal
    seen: Decimal = ZERO
    sent: Decimal = ZERO

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise BadInput(f"pov: participation of {self.rate}", "write a fraction between 0 and 1")

    def on_volume(self, others: Decimal) -> tuple["Participation", Decimal]:
        """The child to send after more volume was traded by others; 0 for none.

        Each child is at most rate / (1 − rate) of the volume that came since the one before it, so no window that
        ends with a child holds more of ours than the rate allows, but for lots carried over from its first bar.
        """
        allowed = floor_to(others * self.rate / (1 - self.rate), self.step)
        child = min(allowed, self.qty - self.sent)
        return replace(self, seen=self.seen + others, sent=self.sent + child), child

    @property
    def done(self) -> bool:
        """Whether all of the parent has been sent."""
        return self.sent >= self.qty


@dataclass(frozen=True)
class Shortfall:
    """What an execution cost against the price at the decision, as fractions of it; positive is worse.

    total: implementation shortfall: delay + impact + fees + what was not filled, at the last price.
    Source: Perold (1988), The implementation shortfall.
    """

    expected: Decimal
    realised: Decimal
    fees: Decimal
    unfilled: Decimal

    @property
    def total(self) -> Decimal:
        return self.realised + self.fees + self.unfilled


def shortfall(
    side: str,
    qty: Decimal,
    fills: list[tuple[Decimal, Decimal]],
    fees: Decimal,
    arrival: Decimal,
    last: Decimal,
    expected: Decimal = ZERO,
) -> Shortfall:
    """Shortfall of an order. fills: (qty, price); fees: quote asset; arrival: price at the decision; last: price at the
    end; expected: slippage that the simulation would have charged."""
    sign = 1 if side == "BUY" else -1
    filled = sum((q for q, _ in fills), ZERO)
    paid = sum((q * p for q, p in fills), ZERO)
    worth = qty * arrival
    return Shortfall(
        expected,
        sign * (paid - filled * arrival) / worth,
        fees / worth,
        sign * (qty - filled) * (last - arrival) / worth,
    )
