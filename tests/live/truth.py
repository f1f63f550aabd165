"""What must hold in the order desk's world, at each moment and at the end: books against the exchange.

Each thing that is wrong is told as `kind: words`; KINDS are the kinds.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from live.checkpoint import copied
from live.network import EXCUSES, TOLD_AT_ONCE
from live.trader import EXPIRES_MS
from live.venue import GUARDS, STEP, SYMBOL, ZERO

from pipeline.live import effects as fx
from pipeline.trading.orders import is_live

if TYPE_CHECKING:
    from live.world import World

KINDS = (
    "lost", "duplicated", "double-counted", "forgotten", "oversold", "unprotected", "loosened", "added", "overfilled",
    "not given up", "halt", "journal", "malformed",
)  # fmt: skip
# A position may be without its stop for as long, of the time in which process and exchange live, if nothing goes wrong;
# and for as much longer after each fault as `network.EXCUSES` says.
BARE_MS = 12_000


def watch_sending(world: "World", effect: fx.Send | fx.SendList) -> None:
    """Nothing is entered on a symbol that is halted, long after its bar, or into a position that is being left."""
    request = effect.request if isinstance(effect, fx.Send) else effect.request.requests[0]
    if request.side != "BUY":
        return
    name, books = request.client_order_id, world.desk.books
    bar = books.entries[name].order.intent.open_time_ms if name in books.entries else world.now
    if books.halted:
        world.wrong.append(f"added: {name} enters a halted symbol")
    if world.now > bar + EXPIRES_MS:
        world.wrong.append(f"added: {name} enters {world.now - bar} ms after its bar")
    guards = [e.order for e in books.of(SYMBOL) if e.order.leg in ("stop", "target")]
    if any(order.fills and order.intent.open_time_ms == bar for order in guards):
        world.wrong.append(f"added: {name} adds to a position that its stop or target has left")


def watch_cover(world: "World") -> None:
    """How long a position has been without its stop, of the time in which the process and the exchange lived."""
    venue = world.venue
    # A stop that came with its entry may leave a lot for the fee; a target alone is no protection.
    missing = venue.sellable - venue.stops
    has_target_only = any(one.request.kind == "LIMIT_MAKER" and one.list_id for one in venue.live.values())
    if missing <= STEP or (venue.selling - venue.jumped >= venue.sellable and not has_target_only):
        world.bare_ms = 0
        # A request that is on its way may have been lost already.
        world.excuses = [one for one in world.excuses if one[0] > world.now - 8000]
    elif world.is_alive and world.now >= world.down_until:
        world.bare_ms += min(world.now - world.watched_ms, 1000)
        world.longest_bare_ms = max(world.longest_bare_ms, world.bare_ms)
        if world.bare_ms > BARE_MS + excused(fault for _, fault in world.excuses):
            world.wrong.append(
                f"unprotected: {venue.sellable} was held without a stop for {world.bare_ms} ms, at {world.now}"
            )
    world.watched_ms = world.now


def excused(faults: Iterable[str]) -> int:
    """How much longer than otherwise a position may be without its stop after some faults."""
    faults = list(faults)
    together = max((EXCUSES[fault] for fault in faults if fault in TOLD_AT_ONCE), default=0)
    return together + sum(EXCUSES.get(fault, 0) for fault in faults if fault not in TOLD_AT_ONCE)


def found(world: "World") -> list[str]:
    """What is wrong at the end; nothing, it is hoped."""
    at_once = [*world.wrong, *world.venue.wrong]
    return [*at_once, *_orders(world), *_position(world), *_intents(world), *_journal(world)]


def _orders(world: "World") -> Iterator[str]:
    """Each order is in the books as it is at the exchange, and there once."""
    venue, books = world.venue, world.desk.books
    for name in sorted(set(venue.names)):
        if venue.names.count(name) > 1:
            yield f"duplicated: {name} was placed {venue.names.count(name)} times"
        if not books.is_ours(name):
            yield f"lost: {name} is at the exchange and not in the books"
    for name, entry in books.entries.items():
        there = venue.orders.get(name)
        if there is None and name in world.checkpoint.entries:
            continue
        executed, alive = (there.executed, there.is_live) if there is not None else (ZERO, False)
        if entry.order.filled != executed:
            kind = "double-counted" if entry.order.filled > executed else "forgotten"
            yield f"{kind}: {name}: {entry.order.filled} in the books, {executed} at the exchange"
        if alive != is_live(entry.order.state):
            yield f"lost: {name} is {entry.order.state} in the books, and {'' if alive else 'not '}live"
        if there is not None and alive and there.request.kind not in (*GUARDS, "LIMIT_MAKER"):
            yield f"not given up: {name}"


def _position(world: "World") -> Iterator[str]:
    """What is held is as the books have it, protected as they want it, or gone if it was to be left."""
    venue, books = world.venue, world.desk.books
    if books.held(SYMBOL) != venue.held:
        yield f"double-counted: {books.held(SYMBOL)} is held in the books, {venue.held} at the exchange"
    if world.flattens and venue.sellable > 0:
        yield f"not given up: {venue.sellable} is still held, and was to be left"
    if venue.sellable > venue.stops + STEP:
        yield f"unprotected: {venue.sellable} is held, and stops are for {venue.stops}"
    wanted = books.protections.get(SYMBOL)
    for order in venue.live.values():
        if order.request.kind in GUARDS and (wanted is None or order.request.stop_price != wanted.stop):
            yield f"unprotected: {order.name} is at {order.request.stop_price}, not {wanted and wanted.stop}"


def _intents(world: "World") -> Iterator[str]:
    """What was wanted was done, and once."""
    venue, books = world.venue, world.desk.books
    intents = [body for kind, body in world.journal if kind == "INTENT"]
    parents = {body["id"]: Decimal(body["plan"]["qty"]) for kind, body in world.journal if kind == "WORK"}
    for parent, qty in parents.items():
        names = {body["id"] for body in intents if body["work"] == parent}
        done = sum((venue.orders[name].executed for name in names if name in venue.orders), ZERO)
        if done > qty:
            yield f"overfilled: plan {parent}: {done} of {qty}"
    bars = [
        body["bar"] for body in intents if body["leg"] == "entry" and not body["work"] and body["id"] in venue.orders
    ]
    for bar in sorted(set(bars)):
        if bars.count(bar) > 1:
            yield f"duplicated: bar {bar} entered {bars.count(bar)} times"
    dropped = {body["id"] for kind, body in world.journal if kind == "STAY"}
    for name in world.trader.promised:
        if name not in dropped and not books.is_ours(name):
            yield f"forgotten: the exit {name} was ordered, and never sent"
    if books.works or books.leaving:
        yield f"forgotten: not done: {list(books.works)} {books.leaving}"


def _journal(world: "World") -> Iterator[str]:
    """The journal tells the books that are in memory, and of others on the account if there were any."""
    told = copied(world.checkpoint)
    for kind, body in world.journal:
        if kind != "BAR":
            told.add(kind, body)
    if vars(told) != vars(world.desk.books):
        yield "journal: it tells other books than those in memory"
    halted = world.desk.books.halted
    if bool(halted) != (world.foreign is not None) and not (halted and world.meddled):
        yield f"halt: {halted}, and {world.foreign} was there"
