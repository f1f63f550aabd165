"""Bars of many symbols, put together by the time they opened at: one slow symbol does not hold the others."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.exchange.port import ClosedBar

Bar = Mapping[str, float]


@dataclass(frozen=True)
class Gathered:
    """What there is of one bar of the grid.

    bars: by symbol; None where the exchange has no bar, as a later one of the symbol shows. behind: symbols that have
    not told of theirs in time. late: bars of earlier times that came only now, oldest first, None as above.
    """

    open_time_ms: int
    bars: Mapping[str, Bar | None]
    behind: frozenset[str] = frozenset()
    late: tuple[tuple[str, int, Bar | None], ...] = ()


@dataclass
class _Lane:
    next_ms: int
    waiting: deque[ClosedBar] = field(default_factory=deque)

    def settled(self, time_ms: int) -> bool:
        """Whether it is known what the symbol has at a time."""
        return self.next_ms > time_ms or any(bar.open_time_ms >= time_ms for bar in self.waiting)

    def take(self, until_ms: int, step_ms: int) -> list[tuple[int, Bar | None]]:
        """What is known of the times up to one, the missing ones among them."""
        taken: list[tuple[int, Bar | None]] = []
        while self.next_ms <= until_ms and self.waiting:
            first = self.waiting[0]
            if first.open_time_ms == self.next_ms:
                self.waiting.popleft()
                taken.append((self.next_ms, first.values))
            else:
                taken.append((self.next_ms, None))
            self.next_ms += step_ms
        return taken


class Gatherer:
    """Puts bars together.

    traded: waited for until `patience_ms` after the first bar of a time has come. required: reference symbols, waited
    for however long it takes. next_ms: open time of the first bar expected, by symbol. step_ms: length of a bar.
    """

    def __init__(
        self, traded: Iterable[str], required: Iterable[str], next_ms: Mapping[str, int], step_ms: int, patience_ms: int
    ) -> None:
        self._traded = sorted(traded)
        self._required = sorted(set(required) - set(self._traded))
        self._lanes = {name: _Lane(next_ms[name]) for name in [*self._traded, *self._required]}
        self._step_ms, self._patience_ms = step_ms, patience_ms
        self._next_ms = min(next_ms[name] for name in self._traded)
        self._since_ms: int | None = None

    def put(self, bar: ClosedBar, now_ms: int) -> None:
        """A bar has closed. Bars of a symbol come in order; an earlier one than expected is dropped."""
        lane = self._lanes.get(bar.symbol)
        if lane is None or bar.open_time_ms < lane.next_ms:
            return
        if lane.waiting and bar.open_time_ms <= lane.waiting[-1].open_time_ms:
            return
        lane.waiting.append(bar)
        if self._since_ms is None and bar.open_time_ms >= self._next_ms:
            self._since_ms = now_ms

    def ready(self, now_ms: int) -> Gathered | None:
        """The next bar of the grid, if all of it is there or waited for long enough; call again until None."""
        time = self._next_ms
        if not all(self._lanes[name].settled(time) for name in self._required):
            return None
        open_lanes = [name for name in self._traded if not self._lanes[name].settled(time)]
        if len(open_lanes) == len(self._traded):
            return None
        # A symbol that is behind already is not waited for again.
        hoped = [name for name in open_lanes if self._lanes[name].next_ms == time]
        if hoped and (self._since_ms is None or now_ms < self._since_ms + self._patience_ms):
            return None
        bars: dict[str, Bar | None] = {}
        late: list[tuple[str, int, Bar | None]] = []
        for name in [*self._required, *self._traded]:
            for at, bar in self._lanes[name].take(time, self._step_ms):
                if at == time:
                    bars[name] = bar
                else:
                    late.append((name, at, bar))
        late.sort(key=lambda one: (one[1], one[0] in self._traded, one[0]))
        self._next_ms = time + self._step_ms
        self._since_ms = now_ms if any(lane.waiting for lane in self._lanes.values()) else None
        return Gathered(time, bars, frozenset(open_lanes), tuple(late))

    def wait_ms(self, now_ms: int) -> int | None:
        """How long until a missing symbol is waited for no more, None if nothing is waited for."""
        if self._since_ms is None:
            return None
        return max(self._since_ms + self._patience_ms - now_ms, 0)
