"""`pipeline serve --live` in a world of virtual time.

Its session, loop, trader and adapter, python-binance, aiohttp and websockets are as they are, and so is the server of
the local exchange; only time, the kernel's sockets and the disk are simulated. One seed gives one trace, byte by byte.

    python tests/live/simulation.py --seed 3 --trace trace.txt        one world, and all that crossed its seams
    python tests/live/simulation.py --seeds 100                       many
"""

import argparse
import asyncio
import contextlib
import gc
import hashlib
import inspect
import io
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from builders import START_MS
from live.processes import (
    CONFIG,
    HISTORY,
    STEP,
    SYMBOL,
    _bars_wrong,
    _unprotected,
    closes,
    disagreements,
    live_of,
    prepare,
)
from live.virtual_network import CALM, HOST, STORM, Network, nothing_but
from live.virtual_time import Crash, Life, VirtualClock, VirtualLoop, owner
from pydantic import SecretStr

from pipeline.artifacts import Layout
from pipeline.config import Config
from pipeline.errors import PipelineError, StorageError
from pipeline.exchange.binance.adapter import BinanceExchange
from pipeline.exchange.binance.addresses import Addresses, Keys
from pipeline.exchange.local.clocks import AuthClock, Pace
from pipeline.exchange.local.faults import Fault
from pipeline.exchange.local.operations import call
from pipeline.exchange.local.running import Setup, make
from pipeline.exchange.local.scenario import DEMO_KEY, DEMO_SECRET, Scenario
from pipeline.exchange.port import Unavailable
from pipeline.live.books import books_of
from pipeline.live.journal_chain import START, Chain, Row, encode, seal_all
from pipeline.live.loop import Limits
from pipeline.live.records import KINDS
from pipeline.live.redaction import Redactor
from pipeline.live.telling import FanOut
from pipeline.stages.serve_place import Place
from pipeline.stages.serve_session import Session
from pipeline.stages.serve_wish import Wish

PORT = 8080
_LEAST_NOTIONAL = Decimal(5)
# How often the disk hangs when a turn is written down, while there is trouble.
STALLS = 0.02
# Bars of trouble, bars until all must have settled, bars in which it must be found settled.
TROUBLE_BARS, CALM_BARS, LOOK_BARS = 12, 5, 3
BEGIN_MS = START_MS + HISTORY * STEP
BARS = HISTORY + TROUBLE_BARS + CALM_BARS + LOOK_BARS + 10
# Where a life ends: kind of crossing, and the most of them that a life is let have before.
CROSSINGS = {"send": 60, "sent": 60, "receive": 80, "append": 15, "torn": 15, "appended": 15, "timer": 400}
# What of the local exchange's menu may happen, with arguments that are over before all must have settled.
MENU: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("ws_drop", "*", {"mode": "clean"}),
    ("ws_drop", "*", {"mode": "rst"}),
    ("ws_half_open", "*", {"seconds": 40}),
    ("outage", "*", {"seconds": 20}),
    ("outage", "*", {"seconds": 75}),
    ("kline_duplicate", "*", {}),
    ("kline_out_of_order", "*", {}),
    ("kline_late_open", "*", {}),
    ("kline_missing", "*", {}),
    ("server_shutdown", "*", {"seconds": 5}),
    ("ws_malformed", "*", {}),
    ("ws_burst", "*", {"messages": 50}),
    ("wsapi_drop", "*", {"mode": "clean"}),
    ("wsapi_drop", "*", {"mode": "rst"}),
    ("wsapi_late_error", "*", {"seconds": 12}),
    ("report_lost", "*", {}),
    ("report_duplicated", "*", {}),
    ("report_reordered", "*", {}),
    ("report_before_reply", "*", {}),
    ("lose_reply", "order*", {"how": "504"}),
    ("lose_reply", "order*", {"how": "-1007"}),
    ("lose_reply", "order*", {"how": "drop"}),
    ("lose_reply", "order*", {"how": "hang", "seconds": 12}),
    ("lose_reply", "*", {"how": "drop"}),
    ("not_accepted", "order*", {"how": "503"}),
    ("not_accepted", "order*", {"how": "-1001"}),
    ("not_accepted", "order*", {"how": "drop"}),
    ("not_accepted", "*", {"how": "503"}),
    ("not_found", "*", {}),
    ("partial_fill", "*", {"share": "0.5", "bars": 1}),
    ("fill_during_cancel", "*", {}),
    ("reject", "order.place", {"code": -2010}),
    ("reject", "orderList.place*", {"code": -2010}),
    ("reject", "order.place", {"code": -1013}),
    ("rate_limit", "*", {"seconds": 5}),
    ("maintenance", "*", {}),
    ("latency", "order*", {"ms": 3000, "jitter_ms": 4000}),
    ("latency", "*", {"ms": 500, "jitter_ms": 1000}),
    ("clock", "*", {"skew_ms": 3000}),
    ("clock", "*", {"skew_ms": -2500}),
    ("restart", "*", {"seconds": 3}),
)


# How entries and exits are worked into the market, by kind of world.
PLANS: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {
    3: ({"plan": "limit"}, {"plan": "limit"}),
    4: ({"plan": "twap", "duration": 20, "slices": 4}, {"plan": "market"}),
    5: ({"plan": "post_only"}, {"plan": "twap", "duration": 20, "slices": 4}),
}


class Steady(Pace):
    """A market that goes on behind an exchange that cannot be reached."""

    def restart(self, market_ms: int) -> None:
        """What has happened meanwhile is caught up with."""


class Disk:
    """A journal on a disk that survives the process: `append` is there when it returns, and may tear if it does not."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.rows_: list[Row] = []
        self.torn = 0
        self._note = note

    def append(self, kind: str, body: Mapping[str, Any]) -> int:
        """Write a record. Raises as `append_all`."""
        return self.append_all([(kind, body)])

    def append_all(self, records: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
        """Write records, all of them or none. Raises StorageError: their process is dead."""
        life = owner()
        texts = [(kind, encode(kind, body)) for kind, body in records]
        rows = seal_all(len(self.rows_), self.rows_[-1].hash if self.rows_ else START, texts)
        if life is None:
            raise StorageError("the journal belongs to the process", "")
        life.cross("append")
        try:
            life.cross("torn")
        except Crash:
            # Half of it is on the disk: its checksum is wrong, and who opens the journal next drops it whole.
            whole = " ".join(f"{kind} {text}" for kind, text in texts)
            self._note(f"torn {rows[0].number} {whole[: len(whole) // 2]}")
            self.torn += 1
            raise
        self.rows_ += rows
        for row in rows:
            self._note(f"record {row.number} {row.kind} {row.body}")
        life.cross("appended")
        return rows[-1].number

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Rows as they are stored, each checked."""
        chain = Chain("journal")
        for row in list(self.rows_):
            if chain.follow(row).number > after:
                yield row

    def read(self, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Records after a number."""
        chain = Chain("journal")
        for row in self.rows(after):
            yield row.number, row.kind, chain.body(row)


@contextlib.contextmanager
def unheard_dead() -> Iterator[None]:
    """For the block, let nobody hear what coroutines say when they are thrown away.

    What a process was doing when it died is never resumed. Python closes it when it finds it: its blocks are left by
    an error, and those that would wait for something say that no loop is running any more.
    """
    hook = sys.unraisablehook

    def hear(what: Any) -> None:
        if not (inspect.iscoroutine(what.object) or inspect.isasyncgen(what.object)):
            hook(what)

    sys.unraisablehook = hear
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = hook


class World:
    """One world of a seed. crashes: how often the process dies at most; quiet: nothing goes wrong but that; menu: how
    many faults of the exchange, of some kinds if they are given; bars: of trouble.

    text: the trace, a line for each crossing. counts: crossings by kind of the last life.
    """

    def __init__(
        self,
        seed: int,
        crashes: int = 6,
        *,
        quiet: bool = False,
        menu: int = 12,
        bars: int = TROUBLE_BARS,
        kinds: Collection[str] = (),
    ) -> None:
        self.seed, self.left, self.bars = seed, crashes, bars
        self.quiet, self.menu, self.kinds = quiet, 0 if quiet else menu, kinds
        self.draw = random.Random(f"world {seed}")
        self.loop = VirtualLoop(random.Random(f"disk {seed}"))
        self.network = Network(self.loop, random.Random(f"network {seed}"), self.note)
        self.disk = Disk(self.note)
        self.trace: list[str] = []
        self.life: Life | None = None
        self.lives = self.crashed = self.exits = 0
        self.counts: Counter[str] = Counter()
        self.crashed_at: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self._death: tuple[str, int] | None = None
        self._calm = self._ended = False
        self._stopping: asyncio.Task[Any] | None = None
        self._context = copy_context()

    @property
    def text(self) -> str:
        """The whole trace."""
        return "\n".join(self.trace) + "\n"

    def note(self, what: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.loop.time():.6f} {what}")

    # The world

    def run(self) -> list[str]:
        """Live through it; what is wrong at the end, which had better be nothing."""
        entropy = random.Random(f"entropy {self.seed}")
        asyncio.set_event_loop(self.loop)
        with (
            nothing_but(entropy, lambda: BEGIN_MS / 1000 + self.loop.time()),
            contextlib.redirect_stderr(io.StringIO()),
            unheard_dead(),
        ):
            try:
                return self.loop.run_until_complete(self._run())
            finally:
                self.loop.close()
                asyncio.set_event_loop(None)

    async def _run(self) -> list[str]:
        wall = lambda: BEGIN_MS / 1000 + self.loop.time()  # noqa: E731
        setup = Setup(
            (SYMBOL,), "1m", Path("data/raw/synthetic/spot"), 0, BEGIN_MS, START_MS + BARS * STEP, port=PORT,
            seed=self.seed, scenario=Scenario(faults=self._faults(), reports="random"),
        )  # fmt: skip
        self.server = make(setup)
        self.server.venue.clock = AuthClock(wall)
        await self.server.start()
        self.server.pace = Steady(1.0, self.server.venue.engine.now, self.loop.time)
        self.server._spawn(self.server._go_on(self.server.pace))
        self.network.weather = CALM if self.quiet else STORM
        self.loop.stalls = 0.0 if self.quiet else STALLS
        self.loop.call_later(self.bars * STEP / 1000, self._calm_down)
        self._begin()
        await asyncio.sleep((self.bars + CALM_BARS) * STEP / 1000)
        wrong = await self._settled()
        wrong += await self._stop()
        self._ended = True
        await self.server.stop()
        return [*wrong, *self._always(), *(f"nobody took: {one}" for one in self.loop.faults)]

    def _faults(self) -> list[Fault]:
        draw, span = self.draw, max(self.bars * STEP - 80_000, STEP)
        menu = [one for one in MENU if not self.kinds or one[0] in self.kinds]
        chosen = [draw.choice(menu) for _ in range(self.menu)]
        faults = []
        for kind, where, args in chosen:
            at = BEGIN_MS + draw.randrange(2000, span)
            faults.append(Fault.model_validate({"kind": kind, "where": where, "args": args, "at": {"time": at}}))
        return faults

    def _calm_down(self) -> None:
        """From now on nothing goes wrong any more."""
        self._calm = True
        self.network.weather = CALM
        self.loop.stalls = 0.0
        waiting = [one["id"] for one in self.server.venue.faults.view()]
        for number in waiting:
            self.server.venue.faults.remove(number)
        self.happened = Counter(one["kind"] for one in self.server.venue.faults.history)
        self.server.venue.clock.set(0, 0.0)
        for pipe in list(self.network.pipes.values()):
            if pipe.deaf or pipe.other.deaf:
                self.network._cut(pipe)

    # The process

    def _begin(self) -> None:
        if self._ended:
            return
        self.lives += 1
        self.counts = Counter()
        self._death = None
        if self.left > 0 and not self._calm:
            kind = self.draw.choice(list(CROSSINGS))
            self._death = kind, int(CROSSINGS[kind] ** self.draw.random())
        self.life = Life(self.lives, self._crossed)
        self.note(f"life {self.lives}")
        task = self.loop.begin(self.life, self._live(self.lives))
        life = self.life
        task.add_done_callback(lambda done: self._exited(life, done), context=self._context)
        self._stopping = task

    def _crossed(self, life: Life, kind: str) -> None:
        self.counts[kind] += 1
        if self._death == (kind, self.counts[kind]) and not self._calm:
            self.left -= 1
            self.crashed += 1
            self.crashed_at[kind] += 1
            self.note(f"crash {kind} {self.counts[kind]}")
            self._end(life)
            raise Crash

    def _exited(self, life: Life, task: "asyncio.Task[Any]") -> None:
        """It has ended by itself, as a process that its supervisor starts again; or at last because it was told to."""
        if life.dead:
            return
        error = task.exception() if not task.cancelled() else None
        self.note(f"exit {error!r}")
        if error is not None and not isinstance(error, PipelineError):
            self.loop.faults.append(f"life {life.number} ended with {error!r}")
        self.exits += error is not None
        self._end(life, again=error is not None)

    def _end(self, life: Life, again: bool = True) -> None:
        self.loop.bury(life)
        self.network.bury(life)
        if again:
            wait = self.draw.choice((0.01, 2.0, 20.0))
            self.loop.call_later(wait, self._begin, context=self._context)

    async def _live(self, number: int) -> None:
        config, layout = Config.model_validate(config_of(self.seed)), Layout("t")
        clock = VirtualClock(self.loop, BEGIN_MS, random.Random(f"skew {self.seed} {number}").randint(-400, 400))
        tell = FanOut(lambda event, fields: self.note(f"tell {event} {encode('tell', _plain(fields))}"))
        keys = Keys(SecretStr(DEMO_KEY), SecretStr(DEMO_SECRET))
        url = f"{HOST}:{PORT}"
        exchange = BinanceExchange(
            Addresses(f"http://{url}", f"ws://{url}", f"ws://{url}/ws-api/v3"), keys, clock,
            random.Random(f"adapter {self.seed} {number}"),
            note=lambda kind, words: tell("exchange", kind=kind, reason=words),
        )  # fmt: skip
        try:
            await exchange.open()
        except Unavailable as error:
            await exchange.close()
            raise StorageError(f"the exchange cannot be reached: {error}", "") from None
        place = Place(None, keys, False)
        wish = Wish(live=True, yes=True, uncertified=True)
        with ThreadPoolExecutor(1) as writer:
            session = Session(config, layout, wish, place, exchange, clock, tell, Redactor(()), self.disk, writer)
            try:
                await session.run(Limits())
            finally:
                await exchange.close()

    # The end

    async def _settled(self) -> list[str]:
        """What is still wrong when replies, events and questions have had the time to come."""
        until = self.loop.time() + LOOK_BARS * STEP / 1000
        while (wrong := self.wrong()) and self.loop.time() < until:
            await asyncio.sleep(5)
        return wrong

    async def _stop(self) -> list[str]:
        """SIGTERM; what is wrong after it."""
        begun = self.loop.time()
        handler = self.loop.signals.get(signal.SIGTERM)
        if handler is None or self._stopping is None:
            return ["it does not trade at the end"]
        handler()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._stopping), 30)
        seconds = self.loop.time() - begun
        wrong = [f"it took {seconds:.1f} s to stop"] if seconds >= 5 else []
        kinds = [row.kind for row in self.disk.rows_]
        return wrong + self.wrong() + ([] if kinds[-1:] == ["STOP"] else ["it did not say that it stopped"])

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        """Of the journal."""
        return [(kind, body) for _, kind, body in self.disk.read()]

    def wrong(self) -> list[str]:
        """What journal and exchange do not agree on now."""
        engine = self.server.venue.engine
        account = engine.accounts[DEMO_KEY]
        orders = call(engine, account, "allOrders", {"symbol": SYMBOL, "limit": "1000"})
        trades = call(engine, account, "myTrades", {"symbol": SYMBOL, "limit": "1000"})
        return _wrong_with(self.records(), orders, trades)

    def _always(self) -> list[str]:
        """What must never have happened."""
        records, wrong, real = self.records(), [], closes()
        bars = [body for kind, body in records if kind == "BAR"]
        for body in bars:
            seen = body["s"][SYMBOL]
            if seen["order"] and (body["late"] or seen["filled"]):
                wrong.append(f"bar {body['t']} entered, late or made up")
            if not seen["filled"] and seen["close"] != real[body["t"]]:
                wrong.append(f"bar {body['t']} was decided with another close than it has")
        due = ((self.server.venue.engine.now - 5000) // STEP - 1) * STEP
        if not bars or bars[-1]["t"] < due:
            wrong.append(f"the bar of {due} was not decided")
        names = [f"{body['id']}" for kind, body in records if kind == "INTENT"]
        wrong += [f"{name} was intended twice" for name, count in Counter(names).items() if count > 1]
        return wrong


def config_of(seed: int) -> dict[str, Any]:
    """What is traded: market orders, limit orders with a list of stop and target, stops that trail, or plans."""
    # Rehearsals every few milliseconds would be most of what happens; none of them may make a difference.
    serve = {**CONFIG["serve"], "exchange": f"http://{HOST}:{PORT}", "rehearse_every": 0.2 * (seed % 2)}
    config = {**CONFIG, "serve": serve, "simulate": {**CONFIG["simulate"]}}
    kind = seed % 6
    if kind == 1:
        serve["limit_price_adjustment"] = 0.0005
    elif kind == 2:
        config["simulate"]["exits"] = {"stop_loss": 0.002, "take_profit": 0.004, "trailing_stop": 0.002}
    elif kind in PLANS:
        serve["entry"], serve["exit"] = PLANS[kind]
    return config


def _wrong_with(
    records: list[tuple[str, dict[str, Any]]], orders: list[dict[str, Any]], trades: list[dict[str, Any]]
) -> list[str]:
    books = books_of((kind, body) for kind, body in records if kind in KINDS)
    wrong = _bars_wrong(records) + disagreements(books, records, orders, trades)
    least = _LEAST_NOTIONAL / Decimal(trades[-1]["price"]) if trades else Decimal(0)
    # What cannot be sold needs no stop.
    return wrong + (_unprotected(books, live_of(orders)) if books.held(SYMBOL) > least * Decimal("1.01") else [])


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | int | float | None) else str(value) for name, value in fields.items()
    }


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """A folder with the bars of the world, which is the current one for the block."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            prepare(BARS)
            yield
        finally:
            os.chdir(before)


@dataclass
class Came:
    """What a world came to."""

    words: str
    is_wrong: bool
    crashes: int
    faults: int
    text: str


def lived(seed: int, asked: argparse.Namespace) -> Came:
    """Live through a world in a prepared folder."""
    begun = time.monotonic()
    world = World(seed, asked.crashes, quiet=asked.quiet, menu=asked.menu, bars=asked.bars)
    wrong = world.run()
    kinds = Counter(row.kind for row in world.disk.rows_)
    digest = hashlib.sha256(world.text.encode()).hexdigest()[:16]
    faults = sum(world.happened.values()) + world.network.troubles + world.loop.stalled
    words = (
        f"seed {seed}: {world.crashed} crashes, {world.exits} exits, {faults} faults, {kinds['BAR']} bars, "
        f"{kinds['FILL']} fills, {len(world.trace)} lines {digest}, {time.monotonic() - begun:.1f} s {wrong or 'well'}"
    )
    return Came(words, bool(wrong), world.crashed, faults, world.text if asked.trace else "")


def main() -> int:
    """Run it; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="The real process in a simulated world.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--crashes", type=int, default=6)
    parser.add_argument("--menu", type=int, default=12)
    parser.add_argument("--bars", type=int, default=TROUBLE_BARS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--trace", type=Path, help="file for what crossed the seams of the last world")
    asked = parser.parse_args()
    if asked.trace:
        asked.trace = asked.trace.resolve()
    bad = crashed = faults = 0
    with prepared(), multiprocessing.get_context("fork").Pool(asked.jobs) as workers:
        seeds = range(asked.seed, asked.seed + asked.seeds)
        for came in workers.imap(partial(lived, asked=asked), seeds):
            bad, crashed, faults = bad + came.is_wrong, crashed + came.crashes, faults + came.faults
            print(came.words, flush=True)
            if asked.trace:
                asked.trace.write_text(came.text)
    print(f"{asked.seeds} worlds, {crashed} crashes, {faults} faults, {bad} wrong")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
