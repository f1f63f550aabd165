"""From the decision to the order on the wire: serve's loop, desk, journal and client against a local exchange.

The exchange is a process of its own on loopback, on a processor of its own where there are two: else the kernel, in the
midst of a send, lets it read what was sent, which no exchange does elsewhere. It goes on by a bar when the loop is done
with the one before and the machine has been left alone for 30 ms. A decision exists when the trading core has returned;
an order is on the wire when its signed request has been handed to the socket. Every second bar enters, with a stop and
a target that are placed when it is filled; the others leave, and then the cancel of that pair goes out first. In the
idle time as many bytes are appended to a file beside the journal and synced: what this disk takes for it, on top of
which the journal comes.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from asyncio import selector_events
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from measure import record, report
from pydantic import SecretStr

from pipeline.config import Config
from pipeline.exchange.binance.adapter import BinanceExchange
from pipeline.exchange.binance.addresses import Keys, local
from pipeline.exchange.binance.client import SigningClient
from pipeline.exchange.local.scenario import DEMO_KEY, DEMO_SECRET
from pipeline.lean import settle
from pipeline.live import trader as trader_module
from pipeline.live.books import Books
from pipeline.live.compiled_functions import install
from pipeline.live.desk import Desk
from pipeline.live.driver import Driver
from pipeline.live.journal import SqliteJournal
from pipeline.live.loop import Limits, Loop
from pipeline.live.minds import Mind, Succession
from pipeline.live.portfolio import Portfolio
from pipeline.live.shadow import shadow_rules
from pipeline.live.strategy import Outlook
from pipeline.live.system import SystemClock
from pipeline.live.trader import LiveTrader
from pipeline.trading.bars import Bars
from pipeline.trading.market import BUY, SELL, market_of

IDLE_S, MINUTE = 0.03, 60_000
START = 1_704_067_200_000
# Bars with one symbol, and with twenty that all order at once.
ALONE, TOGETHER, SYMBOLS = 1040, 60, 20
WARM_UP = 20
GOAL_MS = 5.0
PROCESSORS = sorted(os.sched_getaffinity(0))
# What a decision and an entry are in the journal's log.
_BYTES = 8192
SCENARIO = """
limits: {weight_per_minute: 1000000000, orders_per_10s: 1000000000, orders_per_day: 1000000000}
accounts: [{balances: {USDT: 100000000}}]
"""
_NAME = re.compile(rb"(?:newClientOrderId|listClientOrderId)=([A-Za-z0-9_-]+)")


def config(symbols: list[str]) -> Config:
    """One that enters and leaves as it is told, with a stop and a target."""
    return Config.model_validate({
        "name": "wire", "symbols": symbols, "interval": "1m", "download": {"source": "synthetic"},
        "features": [{"returns": {"functions": ["return"], "periods": [1]}}],
        "signals": {"predictions": "features", "steps": [
            {"rules": {"long": [{"column": "close_return_1", "op": ">", "value": 0}], "require": "any"}},
            {"threshold": {"column": "trade_score", "buy": 0.5, "sell": -0.5}},
        ]},
        "sizing": {"fraction": 0.02},
        "risk": {"enabled": False},
        "simulate": {"exits": {"stop_loss": 0.2, "take_profit": 0.4}, "random_entries": 0},
        "serve": {"order_timeout": 60, "max_decision_age": 20},
    })  # fmt: skip


@dataclass
class Marks:
    """When things happened to the order of a name, seconds. journal, commits: seconds and calls since the decision."""

    decided: float = 0.0
    journal: float = 0.0
    commits: int = 0
    times: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))

    def mark(self, name: str, what: str) -> None:
        """Now, unless it has happened before."""
        self.times[name].setdefault(what, time.perf_counter())


class Follower:
    """Says buy and sell in turn, of all symbols at once."""

    def __init__(self, symbols: list[str], last_open_ms: int) -> None:
        self.symbols, self.last_open_ms, self.count = symbols, last_open_ms, 0

    def update(self, gathered: Any, higher: Any) -> tuple[Outlook, dict[str, Any]]:
        """The next bar."""
        self.last_open_ms = gathered.open_time_ms
        bars = []
        for symbol in self.symbols:
            bar = gathered.bars[symbol]
            one = [np.full(1, bar[name]) for name in ("open", "high", "low", "close")]
            bars.append(Bars(*one, np.zeros(1, bool)))
        signal = np.full((len(self.symbols), 1), SELL if self.count % 2 else BUY, np.uint8)
        self.count += 1
        return Outlook(self.last_open_ms, market_of(bars, signal), {}, {}), {}


class Exchange:
    """A local exchange in a process of its own."""

    def __init__(self, folder: Path, symbols: list[str], bars: int) -> None:
        scenario = folder / "scenario.yaml"
        scenario.write_text(SCENARIO)
        end = time.strftime("%Y-%m-%d", time.gmtime((START + bars * MINUTE) / 1000 + 86_400))
        names = [word for symbol in symbols for word in ("--symbol", symbol)]
        os.sched_setaffinity(0, PROCESSORS[-1:])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "exchange", "--port", "0", "--json", "--speed", "step",
             "--start", "2024-01-01", "--end", end, "--scenario", scenario, *names],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.sched_setaffinity(0, PROCESSORS[:-1] or PROCESSORS)
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def processor_s(self) -> float:
        """Processor time so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)


@contextlib.contextmanager
def watched(marks: Marks) -> Any:
    """Look at the decision, the signature and the socket while they are used."""
    decide, signed = trader_module.decide, SigningClient._get_request_kwargs
    write = selector_events._SelectorSocketTransport.write

    def decided(*args: Any) -> Any:
        made = decide(*args)
        marks.decided, marks.journal, marks.commits = time.perf_counter(), 0.0, 0
        return made

    def signing(self: Any, method: str, is_signed: bool, *args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        made = signed(self, method, is_signed, *args, **kwargs)
        if is_signed and method != "get":
            name = kwargs["data"].get("newClientOrderId") or kwargs["data"].get("listClientOrderId")
            marks.times[name].setdefault("signing", begun)
            marks.mark(name, "signed")
            if method == "delete":
                marks.mark(name, "cancel")
        return made

    def writing(self: Any, data: Any) -> None:
        begun = time.perf_counter()
        write(self, data)
        if (found := _NAME.search(bytes(data))) is not None:
            name = found[1].decode()
            marks.times[name].setdefault("writing", begun)
            marks.mark(name, "written")

    trader_module.decide = decided
    SigningClient._get_request_kwargs = signing
    selector_events._SelectorSocketTransport.write = writing
    try:
        yield
    finally:
        trader_module.decide = decide
        SigningClient._get_request_kwargs = signed
        selector_events._SelectorSocketTransport.write = write


class Run:
    """A loop over an exchange, so many bars long, and what was seen of it."""

    def __init__(self, exchange: Exchange, folder: Path, symbols: list[str]) -> None:
        self.exchange, self.folder, self.symbols = exchange, folder, symbols
        self.marks = Marks()
        self.rows: list[dict[str, float]] = []
        self.on_disk = 0.0
        self.exits: list[float] = []
        self.warm_up = WARM_UP if len(symbols) == 1 else 6
        self.begun = 0.0, 0.0
        self.bare: list[float] = []
        self.all_done: list[float] = []

    async def live(self, bars: int) -> None:
        """Trade for so many bars."""
        clock = SystemClock()
        keys = Keys(SecretStr(DEMO_KEY), SecretStr(DEMO_SECRET))
        adapter = BinanceExchange(local(self.exchange.url), keys, clock, random.Random(1))
        await adapter.open()
        path = self.folder / "journal.sqlite"
        file = os.open(self.folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            with SqliteJournal(path) as journal, ThreadPoolExecutor(1, "journal") as writer, watched(self.marks):
                async with aiohttp.ClientSession() as control:
                    await self._loop(adapter, journal, clock, writer, control, file, bars)
        finally:
            os.close(file)
            await adapter.close()

    async def _loop(
        self, adapter: Any, journal: Any, clock: Any, writer: Any, control: Any, file: int, bars: int
    ) -> None:
        settings, marks = config(self.symbols), self.marks
        rules = {symbol: await adapter.filters(symbol) for symbol in self.symbols}
        portfolio = Portfolio(settings.symbols, shadow_rules(settings, START), 0.0)
        opening = {"mode": "live", "bundle": "b", "capital": 1e4, "fresh": True, "interval": "1m", "origin": START}
        portfolio.add("START", opening)
        desk = Desk(Books(), rules)
        count = 0

        def fold(kind: str, body: Mapping[str, Any]) -> None:
            portfolio.advance(body) if kind == "BAR" else portfolio.add(kind, body)
            if kind == "FILL":
                marks.mark(body["id"], "filled")

        async def in_writer(work: Callable[[], Any]) -> Any:
            begun = time.perf_counter()
            try:
                return await asyncio.get_running_loop().run_in_executor(writer, work)
            finally:
                marks.journal += time.perf_counter() - begun
                marks.commits += 1

        self._time_appends(journal)
        self._time_orders(adapter)

        async def step() -> bool:
            nonlocal count
            self._take(count)
            await self._rest(file)
            async with control.post(f"{self.exchange.url}/_emu/step", json={"bars": 1}) as reply:
                await reply.read()
            count += 1
            return count <= bars

        trader = LiveTrader(settings, portfolio, desk, rules, clock.now_ms, lambda event, /, **more: None)
        driver = Driver(desk, adapter, journal, clock, self._told, fold, trader.react, in_writer)
        follower = Follower(self.symbols, START - MINUTE)
        loop = Loop(
            settings, Mind(follower, "b"), portfolio, trader, desk, driver, adapter, clock, self._told,  # type: ignore[arg-type]
            Succession(lambda: None, None), limits=Limits(bars=bars), is_replay=True, step=step,
        )  # fmt: skip
        await loop.reconcile()
        settle()
        try:
            await loop.run()
        finally:
            await driver.close()
        self._take(count)

    async def _rest(self, file: int) -> None:
        """Leave the machine alone, and see what the disk takes."""
        await asyncio.sleep(IDLE_S)
        begun = time.perf_counter()
        os.write(file, b"x" * _BYTES)
        os.fdatasync(file)
        self.bare.append(time.perf_counter() - begun)
        await asyncio.sleep(IDLE_S / 3)
        self.on_disk = 0.0

    def _time_appends(self, journal: Any) -> None:
        append = journal.append_all

        def timed(records: Any) -> Any:
            begun = time.perf_counter()
            try:
                return append(records)
            finally:
                self.on_disk += time.perf_counter() - begun

        journal.append_all = timed

    def _time_orders(self, adapter: Any) -> None:
        place, marks = adapter.place, self.marks

        async def placing(request: Any, window_ms: int) -> Any:
            name = request.client_order_id
            marks.mark(name, "placing")
            if request.side == "BUY":
                marks.mark(name, "entry")
            marks.times[name] |= {
                "decided": marks.decided, "journal": marks.journal, "commits": marks.commits, "disk": self.on_disk,
            }  # fmt: skip
            answer = await place(request, window_ms)
            marks.mark(name, "replied")
            return answer

        adapter.place = placing

    def _told(self, event: str, /, **more: Any) -> None:
        if event in ("error", "halt"):
            print(f"{event}: {more}", file=sys.stderr)

    def _take(self, bar: int) -> None:
        """What the last bar's orders came to, ms."""
        times, self.marks.times = self.marks.times, defaultdict(dict)
        if bar <= self.warm_up:
            self.begun = time.process_time(), self.exchange.processor_s()
            return
        done = []
        if bar % 2 == 0:
            self.exits += [(one["written"] - self.marks.decided) * 1e3 for one in times.values() if "cancel" in one]
        for one in times.values():
            if "entry" in one and "filled" in one:
                done.append(one["filled"])
                self.rows.append({
                    "planning": (one["placing"] - one["decided"] - one["journal"]) * 1e3,
                    "journal": one["journal"] * 1e3,
                    "on disk": one["disk"] * 1e3,
                    "commits": one["commits"],
                    "before signing": (one["signing"] - one["placing"]) * 1e3,
                    "signing": (one["signed"] - one["signing"]) * 1e3,
                    "http client": (one["writing"] - one["signed"]) * 1e3,
                    "socket": (one["written"] - one["writing"]) * 1e3,
                    "wire": (one["written"] - one["decided"]) * 1e3,
                    "wire without the disk": (one["written"] - one["decided"] - one["disk"]) * 1e3,
                    "reply": (one["replied"] - one["written"]) * 1e3,
                    "booked": (one["filled"] - one["replied"]) * 1e3,
                })  # fmt: skip
        if done:
            self.all_done.append((max(done) - self.marks.decided) * 1e3)


def quantiles(values: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(values), sorted(values)[int(len(values) * 0.99)]


def tell(run: Run, symbols: int, ours: float, theirs: float) -> bool:
    """Print and record what was seen; whether the goal is met. ours, theirs: processor time, seconds."""
    rows = run.rows
    print(f"{symbols} symbols: {len(rows)} entries, {len(run.exits)} exits; ms at the median and the 99th percentile")
    parts = {part: [row[part] for row in rows] for part in rows[0]}
    parts |= {"all orders of a bar booked": run.all_done, "exit: decision → its cancel": run.exits}
    parts["a bare append and sync"] = [1e3 * one for one in run.bare]
    for part, values in parts.items():
        p50, p99 = quantiles(values)
        print(f"  {part:<28} {p50:9.3f} {p99:9.3f}")
        record("wire", {"name": f"{symbols} symbols, {part}", "ours": p50, "p99": p99, "unit": "ms"})
    print(f"  processor time for an entry and its exit: ours {ours / len(rows) * 1e3:.2f} ms,", end=" ")
    print(f"the exchange's {theirs / len(rows) * 1e3:.2f} ms")
    p99 = quantiles(parts["wire"])[1]
    return report(f"decision → wire, {symbols} symbols, p99", p99, GOAL_MS, 1, unit="ms", of="goal")


def main() -> None:
    """Print the figures."""
    install()
    print(f"{os.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}")
    met = True
    for symbols, bars in ((1, ALONE), (SYMBOLS, TOGETHER)):
        names = [f"S{number:02}USDT" for number in range(symbols)]
        with tempfile.TemporaryDirectory(prefix="wire-", dir=Path(__file__).parent) as name:
            exchange = Exchange(Path(name), names, bars)
            run = Run(exchange, Path(name), names)
            try:
                asyncio.run(run.live(bars))
                ours, theirs = time.process_time() - run.begun[0], exchange.processor_s() - run.begun[1]
            finally:
                exchange.close()
        met &= tell(run, symbols, ours, theirs)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
