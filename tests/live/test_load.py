"""The load on an order's path: its timetable, what is measured, and orders that come to nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from pipeline.exchange.port import Refused, Report, Request, Unclear
from pipeline.live import load as load_module
from pipeline.live.load import Load, Pattern, Signal, milliseconds, succeeded
from pipeline.trading.filters import SymbolFilters
from pipeline.trading.orders import Fill


def test_a_rate_is_kept_on_average_and_is_the_same_for_the_same_seed() -> None:
    pattern = Pattern("500/h", 5000, 500)
    due = pattern.due(60, random.Random(1))
    assert due == sorted(due) and due == pattern.due(60, random.Random(1))
    assert 5000 / due[-1] * 3600 / 60 == pytest.approx(500, rel=0.05)


def test_a_burst_comes_at_once() -> None:
    assert Pattern("burst", 3, None, 2).due(60, random.Random(1)) == [0.0, 0.0, 0.0]


def test_a_part_of_the_way_is_measured_for_those_that_went_it() -> None:
    signals = [
        Signal(0, "A", "entry", 1.0, 1.5, 1.75, 2.0),
        Signal(1, "A", "entry", 1.0, 1.25),
        Signal(2, "A", "x", 1.0),
    ]
    assert milliseconds(signals, "due", "sent") == [500.0, 250.0]
    assert milliseconds(signals, "sent", "replied") == [250.0]
    assert succeeded(signals) == signals[:1]


class VirtualClock:
    """Time that goes on when everybody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now_ms(self) -> int:
        return int(self.time * 1000)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.time += seconds


class Paper:
    """An exchange that fills market orders after some time; `answers` come first."""

    def __init__(self, clock: VirtualClock, answers: Iterable[Exception] = ()) -> None:
        self.clock, self.answers = clock, list(answers)
        self.placed: list[Request] = []
        self.open = self.most = 0

    async def place(self, request: Request, window_ms: int) -> Report:
        self.open += 1
        self.most = max(self.most, self.open)
        # Long enough for others to get their turns.
        for _ in range(20):
            await asyncio.sleep(0)
        self.clock.time += 0.25
        self.open -= 1
        if self.answers:
            raise self.answers.pop(0)
        self.placed.append(request)
        fill = Fill(len(self.placed), request.qty, Decimal(100))
        return Report(request.symbol, request.client_order_id, "FILLED", request.qty, len(self.placed), (fill,))

    async def fills(self, symbol: str, after: int) -> list[Any]:
        return []

    async def find(self, symbol: str, name: str) -> None:
        return None

    async def events(self, symbols: Iterable[str], interval: str, since: Any = None) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Mapping[str, Any]]] = []

    def append(self, kind: str, body: Mapping[str, Any]) -> int:
        self.records.append((kind, body))
        return len(self.records)

    def append_all(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        self.records += records
        return len(self.records)

    def read(self, after: int = 0) -> Iterable[Any]:
        return []


async def under(
    pattern: Pattern, answers: Iterable[Exception] = (), symbols: int = 4
) -> tuple[list[Signal], Paper, Kept, Load]:
    clock, kept = VirtualClock(), Kept()
    paper = Paper(clock, answers)
    names = [f"S{n}USDT" for n in range(symbols)]
    rules = {name: SymbolFilters(name, base_asset=name[:2]) for name in names}
    load = Load(paper, kept, clock, lambda event, /, **fields: None, rules, dict.fromkeys(names, Decimal(1)), "t")  # type: ignore[arg-type]
    signals = await load.run(pattern, 60, 1)
    await load.close()
    return signals, paper, kept, load


def test_every_signal_becomes_a_filled_order_that_the_journal_has() -> None:
    signals, paper, kept, load = asyncio.run(under(Pattern("burst", 12, None, 3)))
    assert len(succeeded(signals)) == 12 and not load.errors
    assert [kind for kind, _ in kept.records].count("FILL") == 12
    assert sum(1 if one.side == "BUY" else -1 for one in paper.placed) == 4
    assert all(one.due <= one.sent <= one.replied <= one.filled for one in signals)  # type: ignore[operator]


@pytest.mark.parametrize("in_flight", [1, 3])
def test_no_more_orders_are_under_way_than_allowed(in_flight: int) -> None:
    _, paper, _, _ = asyncio.run(under(Pattern("burst", 12, None, in_flight)))
    assert paper.most == in_flight


def test_an_order_that_is_refused_counts_as_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "GIVE_UP_S", 0.05)
    signals, _, _, _ = asyncio.run(under(Pattern("burst", 4, None, 1), [Refused(-2010, "no")]))
    assert [one.filled is None for one in signals] == [True, False, False, False]


def test_an_order_whose_reply_was_lost_counts_as_not_filled_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "GIVE_UP_S", 0.05)
    signals, _, _, load = asyncio.run(under(Pattern("burst", 4, None, 1), [Unclear("lost")]))
    assert len(succeeded(signals)) == 3
    assert load.errors == ["Unclear: lost"]
