"""Rehearsals of the decision: nothing comes of them but what they are for."""

from types import SimpleNamespace
from typing import Any

import pytest
from live.bench import Bench
from live.test_loop import OPEN, Life, live
from live.test_strategy import PLAIN, by_time, tables
from live.test_strategy import config as declared_config

from pipeline.live.following import Follower
from pipeline.live.gathering import Gathered
from pipeline.live.portfolio import Portfolio
from pipeline.live.rehearsing import Rehearsal
from pipeline.live.shadow import ShadowTrader, shadow_rules
from pipeline.live.strategy import Outlook, Strategy
from pipeline.market.candles import COLUMNS

FEATURES = [
    *PLAIN["features"],
    {"talib": {"functions": ["SMA", "RSI", "OBV"], "periods": [5, 14]}},
    {"stats": {"functions": ["skew"], "inputs": ["close"], "windows": [40]}},
    {"time": {"fields": ["hour"]}},
]  # fmt: skip
SMOOTH = [
    {"smooth": {"columns": ["close_return_3"], "name": "score", "window": 4}},
    {"smooth": {"columns": ["score"], "name": "slow", "window": 5.0}},
    {"threshold": {"column": "slow", "buy": 0.001, "sell": -0.001}},
]
RULES = [
    {"rules": {"long": [{"column": "close_return_3", "op": "crosses_above", "value": 0}]}},
    {"threshold": {"buy": 1, "sell": -1}},
]


@pytest.mark.parametrize("steps", [SMOOTH, RULES], ids=["smooth", "rules"])
def test_decisions_are_the_same_with_and_without_rehearsals(steps: list[dict[str, Any]]) -> None:
    declared = declared_config(PLAIN, features=FEATURES, signals={"predictions": "features", "steps": steps})
    merged = tables(260)
    at = by_time(declared, merged)
    origin = list(at)[100]

    def lived(rehearsed: bool) -> list[tuple[bytes, ...]]:
        strategy = Strategy(declared, None, {s: t.slice(0, 100) for s, t in merged.items()}, origin)
        trader = ShadowTrader(2, shadow_rules(declared, origin), 1000.0)
        made, told = [], 0
        for time, now in at.items():
            if time < origin:
                continue
            if rehearsed:
                # Another bar than the one that comes, of one symbol and of both.
                other = {s: bar._replace(values={n: 2 * v for n, v in bar.values.items()}) for s, bar in now.items()}
                for some in (other, dict(list(other.items())[:1])):
                    told += strategy.peek(time, some) is not None
            outlook = strategy.update(time, now)
            stepped = trader.update(outlook)
            rows = [row.tobytes() for row in outlook.features.values()] + [repr(dict(outlook.scores)).encode()]
            made.append((*rows, outlook.market.numbers.tobytes(), outlook.market.flags.tobytes(),
                         repr(stepped.equity).encode(), trader.positions.tobytes()))  # fmt: skip
        assert told > 200 if rehearsed else told == 0
        return made

    assert lived(True) == lived(False)


@pytest.mark.parametrize("mode", ["shadow", "live"])
def test_a_rehearsal_leaves_the_account_and_the_merged_bars_as_they_are(mode: str) -> None:
    declared = declared_config(PLAIN)
    merged = tables(60)
    origin = next(iter(by_time(declared, merged)))
    follower = Follower(declared, None, {s: t.slice(0, 50) for s, t in merged.items()}, origin)
    portfolio = Portfolio(declared.symbols, shadow_rules(declared, follower.last_open_ms), 1000.0)
    portfolio.mode = mode
    rehearsal = Rehearsal(lambda: follower, portfolio, Bench().trader, lambda *a, **k: None)  # type: ignore[arg-type]
    rehearsal.once()
    assert rehearsal.count == 0
    bar = dict.fromkeys(COLUMNS, 10.0)

    def take() -> Outlook:
        time = follower.last_open_ms + follower.step_ms
        return follower.update(Gathered(time, dict.fromkeys(declared.symbols, bar)))[0]

    take()
    kept = [array.tobytes() for array in (portfolio.account, portfolio.positions, portfolio.refused)]
    before = follower.last_open_ms
    for _ in range(3):
        rehearsal.once()
    assert rehearsal.count == 3 and follower.last_open_ms == before
    assert [array.tobytes() for array in (portfolio.account, portfolio.positions, portfolio.refused)] == kept
    assert take().open_time_ms == before + follower.step_ms


def test_rehearsals_are_held_around_closes_only_and_end_with_the_first_that_fails() -> None:
    async def work() -> None:
        life, times = Life(), list[int]()

        class Counted:
            last_open_ms, step_ms = OPEN, 60_000

            def peek(self) -> None:
                times.append(life.clock.now_ms())
                if len(times) > 100:
                    raise ValueError("no")

        told: list[Any] = []
        follower: Any = Counted()
        rehearsal = Rehearsal(lambda: follower, life.portfolio, life.clock, lambda *a, **k: told.append(k))
        async with rehearsal.every(0.0):
            await life.until(1, 10)
        assert times == []
        follower.last_open_ms = OPEN + 60_000
        async with rehearsal.every(0.02):
            await life.until(2, 10)
            assert all(OPEN + 179_800 <= at <= OPEN + 181_000 for at in times) and 50 < len(times) < 65
            assert times[0] < OPEN + 180_000 < OPEN + 180_900 < times[-1]
            follower.last_open_ms = OPEN + 120_000
            await life.until(3, 10)
        assert len(times) == 101 and "no more rehearsals" in told[0]["reason"]

    live(work)


def test_no_rehearsal_is_held_after_the_end() -> None:
    async def work() -> None:
        life, times = Life(), list[int]()
        follower: Any = SimpleNamespace(last_open_ms=OPEN, step_ms=60_000, peek=lambda: times.append(0))
        async with Rehearsal(lambda: follower, life.portfolio, life.clock, lambda *a, **k: None).every(0.02):
            await life.until(1, 0.1)
        held = len(times)
        await life.until(1, 0.9)
        assert len(times) == held > 10

    live(work)


def test_a_trade_that_a_rehearsal_closes_lies_within_its_own_ledger() -> None:
    declared = declared_config(PLAIN)
    merged = tables(60)
    origin = next(iter(by_time(declared, merged)))
    follower = Follower(declared, None, {s: t.slice(0, 50) for s, t in merged.items()}, origin)
    portfolio = Portfolio(declared.symbols, shadow_rules(declared, follower.last_open_ms), 1000.0)
    rehearsal = Rehearsal(lambda: follower, portfolio, Bench().trader, lambda *a, **k: None)  # type: ignore[arg-type]
    bar = dict.fromkeys(COLUMNS, 10.0)
    follower.update(Gathered(follower.last_open_ms + follower.step_ms, dict.fromkeys(declared.symbols, bar)))
    portfolio.account["trades"] = 1  # of which live trading may have had any number
    for name, value in {"side": 1, "qty": 2.0, "entry_price": 10.0, "mark": 10.0, "stop": 0.0, "leave": 1}.items():
        portfolio.positions[name] = value
    rehearsal.once()
    assert rehearsal._trades["qty"].tolist()[0] == 2.0 and portfolio.account["trades"][0] == 1
