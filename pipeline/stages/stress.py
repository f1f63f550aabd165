"""`pipeline stress`: the path of an order under load, on a local exchange that is started for it."""

import asyncio
import datetime as dt
import math
import os
import platform
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import read_json, write_json
from pipeline.errors import BadInput, CheckFailed
from pipeline.evaluation.shadow import Spread, spread
from pipeline.stages.reporting import print_json

if TYPE_CHECKING:
    from pipeline.exchange.local.running import Setup
    from pipeline.live.load import Load, Pattern, Signal

FORMAT = 1
FOLDER = Path("runs/stress")
SYMBOLS = tuple(f"{base}USDT" for base in (
    "AAVE", "ADA", "ALGO", "ATOM", "AVAX", "BCH", "BNB", "BTC", "DOGE", "DOT", "ETC", "ETH", "FIL", "LINK", "LTC",
    "NEAR", "SOL", "TRX", "UNI", "XRP",
))  # fmt: skip
_START = 1_704_067_200_000
_DAY = 86_400_000
# What each order is worth, in the quote asset.
_WORTH = Decimal(100)
_PARTS = (("sent", "due", "sent"), ("order", "sent", "replied"), ("filled", "due", "filled"))
_LABELS = {"sent": "signal → sent", "order": "sent → reply", "filled": "signal → filled"}


@dataclass(frozen=True)
class Result:
    """One pattern. seconds: of the clock. parts: sent, order and filled, ms."""

    name: str
    signals: int
    filled: int
    seconds: float
    parts: Mapping[str, Spread]
    errors: Sequence[str]

    @property
    def success(self) -> float:
        return self.filled / self.signals

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name,
            "signals": self.signals,
            "filled": self.filled,
            "success": self.success,
            "seconds": round(self.seconds, 3),
            **{
                f"{part}_ms": {key: _number(value) for key, value in vars(one).items()}
                for part, one in self.parts.items()
            },
            "errors": list(self.errors[:5]),
        }


def patterns(hours: float) -> "list[Pattern]":
    """What is run: three rates for so many hours of the timetable, and one burst between them."""
    from pipeline.live.load import Pattern

    def steady(rate: int) -> Pattern:
        return Pattern(f"{rate:,}/h", max(round(rate * hours), 2), rate)

    return [steady(100), Pattern("burst of 100, 20 in flight", 100, None, 20), steady(500), steady(1000)]


def stress(speed: float, hours: float, seed: int, least: float, as_json: bool, folder: Path = FOLDER) -> None:
    """Run all patterns, print the table, write runs/stress/TIME.json, and compare it with the run before.

    speed: the timetable's time over the clock's. least: share of signals that have to be filled.
    Raises CheckFailed: fewer were.
    """
    if speed <= 0 or hours <= 0:
        raise BadInput("stress: --speed and --hours must be above 0")
    if not 0 <= least <= 1:
        raise BadInput(f"stress: --least is a share from 0 to 1, found {least:g}", "0.99 asks for 99 of 100")
    results = asyncio.run(_run(patterns(hours), speed, seed))
    before = latest(folder)
    told = {
        "format": FORMAT,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "speed": speed,
        "hours": hours,
        "seed": seed,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "patterns": [result.json() for result in results],
    }
    path = folder / f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H-%M-%S}.json"
    write_json(path, told)
    if as_json:
        print_json(told | {"output": str(path)})
    else:
        print(table(results, before), f"wrote {path}", sep="\n", flush=True)
    if bad := [result.name for result in results if result.success < least]:
        raise CheckFailed(f"stress: fewer than {least:.1%} of the orders were filled: {', '.join(bad)}")


def latest(folder: Path) -> dict[str, Any] | None:
    """The run before, None if there is none of this format."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        told = read_json(path, "stress")
        if isinstance(told, dict) and told.get("format") == FORMAT:
            return told
    return None


def table(results: Sequence[Result], before: Mapping[str, Any] | None) -> str:
    """One line a pattern, and how much slower its 99th percentiles are than in the run before."""
    old = {one["name"]: one for one in before["patterns"]} if before else {}
    width = max(len(result.name) for result in results)
    head = "".join(f"  {_LABELS[part] + ', ms p50/p95/p99':>34}" for part, _, _ in _PARTS)
    lines = [f"stress: {'pattern':<{width}}  filled{head}"]
    for result in results:
        cells = "".join(f"  {_shown(result.parts[part]):>34}" for part, _, _ in _PARTS)
        lines.append(f"        {result.name:<{width}}  {result.success:>6.1%}{cells}")
        lines += [f"        {'':<{width}}  {error}" for error in dict.fromkeys(result.errors[:3])]
    if before:
        lines.append(f"p99 against {before['created']}:")
        for result in results:
            if result.name in old and old[result.name]["signals"] == result.signals:
                ratios = [_ratio(result.parts[part], old[result.name][f"{part}_ms"]) for part, _, _ in _PARTS]
                shown = ", ".join(f"{_LABELS[part]} {r}" for (part, _, _), r in zip(_PARTS, ratios, strict=True))
                lines.append(f"        {result.name:<{width}}  {shown}")
    return "\n".join(lines)


def _shown(one: Spread) -> str:
    return f"{one.p50:.1f} / {one.p95:.1f} / {one.p99:.1f}" if one.count else "none"


def _ratio(now: Spread, then: Mapping[str, Any]) -> str:
    return f"{now.p99 / then['p99']:.2f} ×" if now.count and then.get("p99") else "unknown"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


# The run


async def _run(wanted: "Sequence[Pattern]", speed: float, seed: int) -> list[Result]:
    from pipeline.exchange.local.running import Thread

    with tempfile.TemporaryDirectory(prefix="stress-") as folder, Thread(_setup(speed, seed)) as exchange:
        results = []
        for number, pattern in enumerate(wanted):
            print(f"stress: {pattern.name}: {pattern.signals} signals", file=sys.stderr, flush=True)
            results.append(await _pattern(exchange, pattern, speed, seed, Path(folder) / f"{number}.sqlite"))
        return results


def _setup(speed: float, seed: int) -> "Setup":
    from pipeline.exchange.local.running import Setup
    from pipeline.exchange.local.scenario import Scenario

    # The timetable is faster than the clock that limits count by, and so are the limits.
    limits = {"weight_per_minute": int(6000 * max(speed, 10)), "orders_per_10s": int(100 * max(speed, 10))}
    scenario = Scenario.model_validate({"accounts": [{"balances": {"USDT": "1000000000"}}], "limits": limits})
    return Setup(
        SYMBOLS, "1m", None, _START - _DAY // 24, _START, _START + 2 * _DAY, 1.0, seed, scenario=scenario
    )  # fmt: skip


async def _pattern(exchange: Any, pattern: "Pattern", speed: float, seed: int, path: Path) -> Result:
    from pydantic import SecretStr

    from pipeline.exchange.binance.adapter import BinanceExchange
    from pipeline.exchange.binance.addresses import Keys, local
    from pipeline.live.journal import SqliteJournal, create
    from pipeline.live.system import SystemClock

    create(path)
    clock, trader = SystemClock(), exchange.setup.scenario.accounts[0]
    keys = Keys(SecretStr(trader.key), trader.secret)
    adapter = BinanceExchange(local(exchange.server.url), keys, clock, random.Random(seed))
    await adapter.open()
    try:
        with SqliteJournal(path) as journal, ThreadPoolExecutor(1, "journal") as writer:
            load = await _load(adapter, journal, clock, pattern, writer)
            begun = clock.monotonic()
            try:
                signals = await load.run(pattern, speed, seed)
            finally:
                await load.close()
            return _result(pattern, signals, clock.monotonic() - begun, load.errors)
    finally:
        await adapter.close()


async def _load(adapter: Any, journal: Any, clock: Any, pattern: "Pattern", writer: ThreadPoolExecutor) -> "Load":
    from pipeline.live.load import Load

    rules = {symbol: await adapter.filters(symbol) for symbol in SYMBOLS}
    qty = {}
    for symbol, one in rules.items():
        bars = await adapter.bars(symbol, "1m", _START - _DAY // 24, _START)
        close = Decimal(str(bars[-1].values["close"]))
        qty[symbol] = one.floor_qty(_WORTH / close, market=True)

    async def in_writer(work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(writer, work)

    return Load(adapter, journal, clock, lambda event, /, **fields: None, rules, qty, "stress", in_writer)


def _result(pattern: "Pattern", signals: "Sequence[Signal]", seconds: float, errors: Sequence[str]) -> Result:
    from pipeline.live.load import milliseconds, succeeded

    parts = {name: spread(milliseconds(signals, begin, end)) for name, begin, end in _PARTS}
    return Result(pattern.name, len(signals), len(succeeded(signals)), seconds, parts, errors)
