"""One fault after another for a real `pipeline serve` that trades, with what is expected of it and how long it takes.

Recovery is counted from the moment that a fault begins, or from its end if it lasts, until a bar that closed after that
has been decided in time, and nothing of the symbol is halted, unresolved or unprotected.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from live.processes import STEP, SYMBOL, Market, Served, Tail, closes, told, wrong_when_settled

from pipeline.live.desk import Desk
from pipeline.testing import LocalExchange
from pipeline.trading.filters import from_exchange_info

# The least time that a machine which does many other things is given for anything.
PATIENCE = 120.0


class Witness:
    """What happens at the exchange, with times by this process's clock: requests, refusals, and faults."""

    def __init__(self, exchange: LocalExchange) -> None:
        self.requests: list[tuple[float, str, dict[str, str]]] = []
        self.refusals: list[tuple[float, int]] = []
        self.faults: list[tuple[float, str]] = []
        server = exchange._thread.server
        venue, rest = server.venue, server.rest
        charge, refuse, take = venue.charge, rest._refusal, venue.faults.take

        def charged(address: str, name: str, raw: dict[str, str]) -> None:
            self.requests.append((time.monotonic(), name, dict(raw)))
            charge(address, name, raw)

        def refused(error: Any, address: str) -> Any:
            self.refusals.append((time.monotonic(), error.code))
            return refuse(error, address)

        def took(point: Any, what: str, bar: int, now: int) -> Any:
            found = take(point, what, bar, now)
            self.faults += [(time.monotonic(), fault.kind) for fault in found]
            return found

        venue.charge, rest._refusal, venue.faults.take = charged, refused, took


@dataclass
class Fault:
    """A fault of the menu. lasts: seconds that it goes on after it has begun."""

    kind: str
    where: str = "*"
    count: int = 1
    lasts: float = 0.0
    args: dict[str, Any] = field(default_factory=dict)


class Life:
    """A serve process, the market that it lives in, and all that is known of both."""

    def __init__(self, served: Served, market: Market) -> None:
        self.served, self.market, self.exchange = served, market, market.exchange
        self.tail, self.witness = Tail(), Witness(market.exchange)
        self.foreign: set[str] = set()
        self.revised: set[int] = set()
        # Notes of the adapter before the case that is going on.
        self.notes = 0
        self.closes = closes()
        client = self.exchange.client()
        self.rules = {SYMBOL: from_exchange_info(client.get_symbol_info(SYMBOL))}

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Wait for something that the journal or the exchange shows."""

        def looked() -> Any:
            self.tail.look()
            return condition()

        self.served.wait_for(looked, seconds, every=0.03)

    def is_clear(self) -> bool:
        """Whether the symbol could be entered, as far as orders are concerned."""
        return Desk(self.tail.books, self.rules).is_clear(SYMBOL)

    def decided(self, close_ms: int) -> list[dict[str, Any]]:
        """Bars that closed after a time, decided soon enough to be acted on."""
        return [body for body in self.tail.bars()[-200:] if body["t"] + STEP > close_ms and not body["late"]]

    def market_ms(self) -> int:
        """Where the market is."""
        return int(self.exchange._thread.call(lambda server: server.venue.engine.now))

    def recovered(self, since: float) -> float:
        """Wait until it trades again; the seconds since."""
        close_ms = self.market_ms()
        self.until(lambda: self.decided(close_ms) and self.is_clear())
        return time.monotonic() - since

    def inflict(self, fault: Fault) -> tuple[float, float]:
        """Let it happen; when it began and ended."""
        seen, args = len(self.witness.faults), dict(fault.args)
        self.exchange.fault(fault.kind, where=fault.where, count=fault.count, **args)
        self.until(lambda: any(kind == fault.kind for _, kind in self.witness.faults[seen:]))
        begun = next(at for at, kind in self.witness.faults[seen:] if kind == fault.kind)
        self.until(lambda: time.monotonic() >= begun + fault.lasts, fault.lasts + PATIENCE)
        return begun, begun + fault.lasts

    def check(self) -> list[str]:
        """What the journal and the exchange disagree on while the market stands still."""
        with self.market.still():
            return wrong_when_settled(self.exchange, PATIENCE, self.foreign)

    @contextmanager
    def story(self) -> Iterator["Story"]:
        """What happens in the block."""
        self.tail.look()
        self.notes = len(told("exchange"))
        part = Story(self, time.monotonic(), len(self.tail.records), self.notes)
        yield part
        self.tail.look()
        part.close()


@dataclass
class Story:
    """What happened in some time: records of the journal, requests to the exchange, notes of the adapter."""

    life: Life
    begun: float
    _record: int
    _note: int
    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    requests: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Gather it."""
        self.records = self.life.tail.records[self._record :]
        self.requests = [one for one in self.life.witness.requests if one[0] >= self.begun]
        self.codes = [code for at, code in self.life.witness.refusals if at >= self.begun]
        self.notes = [str(one["reason"]) for one in told("exchange")[self._note :]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Bodies of the records of a kind."""
        return [body for one, body in self.records if one == kind]

    def has_note(self, pattern: str) -> bool:
        """Whether the adapter has said something."""
        return any(re.search(pattern, note) for note in self.notes)

    def sent_twice(self) -> list[str]:
        """Names that went to the exchange in more than one order."""
        names = [
            raw[key]
            for _, name, raw in self.requests if name == "order.place" or name.startswith("orderList.place")
            for key in raw if key.endswith("lientOrderId")
        ]  # fmt: skip
        return sorted({name for name in names if names.count(name) > 1})


@dataclass(frozen=True)
class Case:
    """A case of the table: what is done, what is expected in words, and how that is seen.

    held: of the story, what was not as expected, empty if all was. counted: recovery counts from the fault's `begin` or
    `end`. is_long: only in `make soak`.
    """

    code: str
    words: str
    expected: str
    act: Callable[[Life], tuple[float, float]]
    held: Callable[[Story], list[str]] = lambda story: []
    counted: str = "begin"
    is_long: bool = False


def live_through(life: Life, case: Case) -> tuple[float, list[str]]:
    """A case from calm to calm: seconds of recovery, and what was not as expected."""
    life.recovered(time.monotonic())
    with life.story() as story:
        begun, ended = case.act(life)
        seconds = life.recovered(ended if case.counted == "end" else begun)
        wrong = life.check()
    # An order whose time was refused was not executed, and may be signed anew.
    twice = [] if -1021 in story.codes else [f"{name} was sent twice" for name in story.sent_twice()]
    return seconds, [*wrong, *twice, *_stale(story), *case.held(story)]


def _stale(story: Story) -> list[str]:
    """Bars that were acted on too late, or though they do not exist."""
    wrong = []
    for body in story.of("BAR"):
        seen = body["s"][SYMBOL]
        if seen["order"] and (body["late"] or seen["filled"]):
            wrong.append(f"bar {body['t']} entered, late or made up")
        is_made = seen["filled"] or body["t"] in story.life.revised
        if not is_made and seen["close"] != story.life.closes[body["t"]]:
            wrong.append(f"bar {body['t']} was decided with another close than it has")
    return wrong
