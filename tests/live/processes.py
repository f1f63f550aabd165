"""The real `pipeline serve` as a process, trading against a local exchange, and what must be true when it has ended."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from builders import START_MS, bars, random_walk

from pipeline.artifacts import Layout, read_table, write_table
from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.exchange.local.operations import call
from pipeline.live.books import Books, books_of
from pipeline.live.journal import JournalReader, open_reader
from pipeline.live.records import KINDS
from pipeline.market.candles import SCHEMA, column, times_ms
from pipeline.stages.runner import run_stage
from pipeline.testing import LocalExchange, Scenario, Setup
from pipeline.trading.orders import is_live

_LIVE = ("NEW", "PARTIALLY_FILLED", "PENDING_NEW")
SYMBOL, STEP, HISTORY = "BTCUSDT", 60_000, 600
# It enters and leaves every few bars, and its stop is hit now and then.
CONFIG: dict[str, Any] = {
    "name": "t",
    "symbols": [SYMBOL],
    "interval": "1m",
    "download": {"source": "synthetic"},
    "features": [{"returns": {"functions": ["return"], "periods": [1]}}],
    "signals": {
        "predictions": "features",
        "steps": [
            {"rules": {"long": [{"column": "close_return_1", "op": ">", "value": 0}],
                       "short": [{"column": "close_return_1", "op": "<", "value": 0}], "require": "any"}},
            {"threshold": {"column": "trade_score", "buy": 0.5, "sell": -0.5}},
        ],
    },
    "sizing": {"fraction": 0.5},
    "risk": {"breakers": {"daily_loss": 0.9, "drawdown": 0.9, "losses_in_a_row": None, "error_rate": 1.0}},
    "simulate": {"exits": {"stop_loss": 0.002, "take_profit": 0.004}, "random_entries": 0},
    "serve": {"order_timeout": 5, "max_decision_age": 20},
}  # fmt: skip


def prepare(n: int) -> Config:
    """Downloads of `n` bars, merged up to the first of them that is traded, and the config, in this folder."""
    declared = Config.model_validate(CONFIG)
    table = bars(random_walk(n, 3, 0.001), step_ms=STEP, start_ms=START_MS, filled=False).cast(SCHEMA)
    for place, name in enumerate(table.column_names):
        if name != "open_time":
            prices = name in ("open", "high", "low", "close")
            amount = {"trades": 1e5, "volume": 1e5 + 0.00001}.get(name, 1e7)
            values = column(table, name) if prices else np.full(n, amount)
            table = table.set_column(place, name, pa.array(np.round(values, 2 if prices else 5)))
    layout = Layout("t")
    write_table(_downloads(), table)
    merge = declared.model_copy(update={"merge": declared.merge.model_copy(update={"end": _iso(HISTORY)})})
    run_stage("merge", merge, layout)
    Path("t.yaml").write_text(json.dumps(CONFIG))
    return declared


def closes() -> dict[int, float]:
    """Closing price by open time of all bars that the exchange has."""
    table = read_table(_downloads(), "download")
    return dict(zip(times_ms(table).tolist(), column(table, "close").tolist(), strict=True))


def _downloads() -> Path:
    return Layout("t").bars("synthetic", "spot", SYMBOL, "1m") / "2024-01.parquet"


def _iso(row: int) -> str:
    return np.datetime64(START_MS + row * STEP, "ms").astype("M8[s]").item().isoformat()


@contextmanager
def market(n: int, seconds: float, scenario: Scenario | None = None) -> Iterator["Market"]:
    """The local exchange, a bar every so many seconds while it is not held."""
    setup = Setup(
        (SYMBOL,), "1m", Path("data/raw/synthetic/spot"), 0, START_MS + HISTORY * STEP, START_MS + n * STEP,
        scenario=scenario or Scenario.model_validate({}),
    )  # fmt: skip
    with LocalExchange(setup) as exchange:
        running = Market(exchange, seconds)
        try:
            yield running
        finally:
            running.hold()


class Market:
    """Moves the exchange on in a thread of its own."""

    def __init__(self, exchange: LocalExchange, seconds: float) -> None:
        self.exchange, self.seconds = exchange, seconds
        self._held, self._moving = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._held.wait(self.seconds):
            with self._moving:
                self.exchange.step()

    @contextmanager
    def still(self) -> Iterator[None]:
        """For the block, no bar closes."""
        with self._moving:
            yield

    def hold(self) -> None:
        """Let it stand still from now on."""
        self._held.set()
        self._thread.join()


class Served:
    """`pipeline serve --live` of this folder, started as often as it is killed."""

    def __init__(self, url: str, key: str, secret: str, *arguments: str) -> None:
        self.command = [
            sys.executable, "-m", "pipeline.cli", "serve", "-c", "t.yaml", "--live", "--yes",
            "--set", f"serve.exchange={url}", *arguments,
        ]  # fmt: skip
        self.environment = {**os.environ, "PIPELINE_BINANCE_KEY": key, "PIPELINE_BINANCE_SECRET": secret}
        self.output = Path("serve.out")
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def begin(self) -> None:
        """Begin; returns at once."""
        self.starts += 1
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=output, env=self.environment, cwd=Path.cwd()
            )  # fmt: skip

    def start(self) -> None:
        """Begin; returns when it trades, and what it was to find out at the exchange is asked for."""
        before = len(told("start"))
        self.begin()
        # On a new machine the first one compiles the core.
        self.wait_for(lambda: len(told("start")) > before, 300)

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def stop(self) -> float:
        """SIGTERM; the seconds until it has ended, by itself and well: 5, but for a machine that does other things."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.terminate()
        assert self.process.wait(60) == 0, self.output.read_text()[-3000:]
        return time.monotonic() - begun

    def wait_for(self, condition: Callable[[], Any], seconds: float, every: float = 0.05) -> None:
        """Until something is so. Fails if it is not in time, or the process has ended."""
        assert self.process is not None
        until = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"it ended by itself: {self.output.read_text()[-3000:]}"
            assert time.monotonic() < until, f"not in time: {self.output.read_text()[-3000:]}"
            time.sleep(every)


class Tail:
    """The journal as it grows: its records so far, and the books that they add up to."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.books = Books()
        self._reader: JournalReader | None = None
        self._number = 0

    def look(self) -> list[tuple[str, dict[str, Any]]]:
        """What has been written since."""
        path = Path("data/t/serve/journal.sqlite")
        if self._reader is None:
            if not path.is_file():
                return []
            with suppress(PipelineError):
                self._reader = open_reader(path, "t")
            return []
        new = []
        for number, kind, body in self._reader.read(self._number):
            self._number = number
            new.append((kind, dict(body)))
            if kind in KINDS:
                self.books.add(kind, body)
        self.records += new
        return new

    def bars(self) -> list[dict[str, Any]]:
        """Of the records, those of decided bars."""
        return [body for kind, body in self.records if kind == "BAR"]

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()


def told(event: str) -> list[dict[str, Any]]:
    """Lines of the log of one kind."""
    path = Path("data/t/serve/serve.log")
    if not path.is_file():
        return []
    lines = [line for line in path.read_text().split("\n") if f'"event":"{event}"' in line]
    return [json.loads(line) for line in lines if line.endswith("}")]


def journal() -> list[tuple[str, dict[str, Any]]]:
    """What it has written down, by a reader that changes nothing."""
    reader = open_reader(Path("data/t/serve/journal.sqlite"), "t")
    try:
        reader.verify()
        return [(kind, dict(body)) for _, kind, body in reader.read()]
    finally:
        reader.close()


def bars_decided() -> int:
    """How many bars there are in the journal by now."""
    return sum(kind == "BAR" for kind, _ in journal())


def wrong_when_settled(exchange: LocalExchange, seconds: float = 60, foreign: Collection[str] = ()) -> list[str]:
    """What is wrong once the market stands still and replies, events and questions have had the time to come."""
    until = time.monotonic() + seconds
    while (wrong := wrong_at_the_end(exchange, foreign)) and time.monotonic() < until:
        time.sleep(0.2)
    return wrong


def wrong_at_the_end(exchange: LocalExchange, foreign: Collection[str] = ()) -> list[str]:
    """What the journal and the exchange do not agree on, and what must not have happened at all.

    foreign: client ids of orders that somebody else has placed on purpose.
    """
    records = journal()
    books = books_of((kind, body) for kind, body in records if kind in KINDS)
    wrong = _bars_wrong(records)
    orders = _all(exchange, "allOrders", "orderId")
    others = {order["orderId"] for order in orders if order["clientOrderId"] in foreign}
    orders = [order for order in orders if order["orderId"] not in others]
    trades = [trade for trade in _all(exchange, "myTrades", "id", "fromId") if trade["orderId"] not in others]
    wrong += disagreements(books, records, orders, trades)
    wrong += _unprotected(books, live_of(orders))
    legs = [(b["bar"], b["leg"], b["attempt"]) for k, b in records if k == "INTENT" and b["leg"] == "entry"]
    if len(legs) != len(set(legs)):
        wrong.append("an entry was tried twice")
    return wrong


def disagreements(
    books: Books, records: list[tuple[str, dict[str, Any]]], orders: list[dict[str, Any]], trades: list[dict[str, Any]]
) -> list[str]:
    """What a journal, whose books these are, and the exchange's lists of orders and trades do not agree on."""
    names = [order["clientOrderId"] for order in orders]
    ours = {body["id"] for kind, body in records if kind == "INTENT"}
    wrong = [f"{name} is at the exchange twice" for name, count in Counter(names).items() if count > 1]
    wrong += [f"{name} is at the exchange and not in the journal" for name in set(names) - ours]
    told = sorted(int(body["trade_id"]) for kind, body in records if kind == "FILL")
    if told != sorted(int(trade["id"]) for trade in trades):
        wrong.append(f"fills: {len(told)} in the journal, {len(trades)} at the exchange")
    position = sum((Decimal(t["qty"]) if t["isBuyer"] else -Decimal(t["qty"]) for t in trades), Decimal(0))
    if books.position(SYMBOL) != position:
        wrong.append(f"position: {books.position(SYMBOL)} in the books, {position} at the exchange")
    open_ = live_of(orders)
    live = {entry.order.client_order_id for entry in books.live()}
    if live != set(open_):
        ends = {order["clientOrderId"]: (order["status"], order["executedQty"]) for order in orders}
        wrong.append(f"open orders: {sorted(live)} in the books, {sorted(open_)} at the exchange; there all: {ends}")
    return wrong


def live_of(orders: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of orders at the exchange, those that are live, by client id."""
    return {order["clientOrderId"]: order for order in orders if order["status"] in _LIVE}


def _all(exchange: LocalExchange, name: str, number: str, start: str = "") -> list[dict[str, Any]]:
    """All rows of a question that is answered by the thousand, asked past the exchange's limits.

    number: the field that they are ordered by; start: the parameter that says from which number on.
    """
    rows: list[dict[str, Any]] = []
    while True:
        params = {"symbol": SYMBOL, "limit": "1000", start or number: str(rows[-1][number] + 1 if rows else 0)}
        page = exchange._thread.call(partial(_ask, name=name, params=params))
        rows += page
        if len(page) < 1000:
            return rows


def _ask(server: Any, name: str, params: dict[str, str]) -> Any:
    engine = server.venue.engine
    return call(engine, next(iter(engine.accounts.values())), name, params)


def _unprotected(books: Books, open_: dict[str, Any]) -> list[str]:
    held = books.held(SYMBOL)
    # Half a cent of a base asset cannot be sold, and needs no stop.
    if held <= Decimal("0.0001") or any(e.order.leg == "exit" and is_live(e.order.state) for e in books.open(SYMBOL)):
        return []
    stops = [order for order in open_.values() if "STOP" in order["type"]]
    covered = sum((Decimal(order["origQty"]) - Decimal(order["executedQty"]) for order in stops), Decimal(0))
    return [] if held * Decimal("0.99") <= covered <= held else [f"{held} is held, and stops are for {covered}"]


def _bars_wrong(records: list[tuple[str, dict[str, Any]]]) -> list[str]:
    times = [body["t"] for kind, body in records if kind == "BAR"]
    expected = list(range(times[0], times[0] + len(times) * STEP, STEP)) if times else []
    return [] if times == expected else ["a bar was decided twice, out of order, or not at all"]
