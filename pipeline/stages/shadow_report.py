"""`pipeline shadow-report`: what live trading did, beside a simulation of the same bars by the same bundles."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Layout, read_table, write_text
from pipeline.config import Config, interval_ms
from pipeline.errors import BadInput, CheckFailed, PipelineError
from pipeline.evaluation.shadow import (
    Check,
    Difference,
    Limits,
    Matching,
    ShadowRun,
    Spread,
    match_trades,
    shadow_checks,
    spread,
)
from pipeline.stages.past_bundle import PastBundle, load_past
from pipeline.stages.reporting import print_json, progress
from pipeline.stages.runner import Options
from pipeline.stages.serve_models import config_hash
from pipeline.stages.serve_wish import folder_of
from pipeline.stages.times import iso

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.live.merging import MergedBar
    from pipeline.live.past_run import PastBar, PastRun
    from pipeline.live.strategy import Outlook, Strategy
    from pipeline.trading.rules import Rules

_PART = 10_000
# Of an order's way: decided → sent → answered by the exchange; sent → filled; bar closed → filled.
PARTS = ("sent", "answered", "filled", "whole")
_FIELDS = ("close", "score", "signal", "gate", "order", "exit", "equity")


@dataclass(frozen=True)
class Costs:
    """Implementation shortfall of a leg's orders, means in hundredths of a percent of what was ordered."""

    orders: int
    expected: float
    realised: float
    fees: float
    unfilled: float


@dataclass(frozen=True)
class Report:
    """Everything that is shown. exchange: where the run traded, empty if its journal does not say."""

    run: ShadowRun
    exchange: str
    checks: list[Check]
    first_ms: int
    last_ms: int
    bundles: list[str]
    decided: Spread
    latency: Mapping[str, Mapping[str, Spread]]
    costs: Mapping[str, Costs]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def shadow_report(options: Options, mode: str | None, store: str | None) -> None:
    """Compare, print, and write shadow-report.html where the run left its files. Raises CheckFailed: a check of the
    gate has failed."""
    from pipeline.stages.shadow_page import page, table

    try:
        config, layout = options.load()
        began = time.perf_counter()
        report = compare(config, layout, mode, store)
        path = folder_of(layout, report.exchange) / "shadow-report.html"
        write_text(path, page(config.name, report))
    except PipelineError as error:
        options.explain(error)
        raise
    if options.json:
        print_json(as_json(report) | {"report": str(path), "seconds": round(time.perf_counter() - began, 3)})
    else:
        print(table(report))
        print(f"wrote {path}", flush=True)
    if wrong := [check for check in report.checks if not check.passed]:
        hint = next((check.why for check in wrong if check.why), "")
        names = ", ".join(check.name for check in wrong)
        raise CheckFailed(f"shadow-report: {names} failed", options.spelled_out(hint))


def compare(config: Config, layout: Layout, mode: str | None = None, store: str | None = None) -> Report:
    """The report of a journal's last account. Raises BadInput: there is no run, or nothing to simulate it with."""
    from pipeline.live.journal import open_reader
    from pipeline.live.past_run import bodies, past_run

    with contextlib.closing(open_reader(store or config.serve.store or layout.journal, config.name)) as reader:
        run = past_run(reader.read(), mode)
        return _compared(config, layout, run, lambda bars: bodies(reader.read(), bars))


def _compared(
    config: Config, layout: Layout, run: "PastRun", seen: "Callable[[Sequence[PastBar]], Iterable[Mapping[str, Any]]]"
) -> Report:
    """seen: the bodies of some bars."""
    merged = {symbol: read_table(layout.merged(symbol), "merge") for symbol in sorted(config.symbols)}
    bars, absent = _on_file(config, run, merged)
    bundles = {name: load_past(config, layout, name) for name in dict.fromkeys(bar.bundle for bar in bars)}
    bundles |= {name: load_past(config, layout, name) for _, name in run.starts if name not in bundles}
    again = _Simulation(config, run, bundles, merged)
    with progress("shadow-report", len(bars)) as advance:
        for number, bar in enumerate(seen(bars)):
            again.live_through(number, bar)
            advance(1, "")
    found = ShadowRun(
        run.mode, len(bars), absent, sum(bar.is_late for bar in bars), again.fields(),
        _matched(run, again, config.step_ms), [bar.age_ms for bar in bars if bar.age_ms is not None],
        config_hash(config) == run.config,
    )  # fmt: skip
    limits = Limits(age_ms=config.serve.max_decision_age * 1000)
    return Report(
        found, run.exchange, shadow_checks(found, limits), bars[0].open_time_ms, bars[-1].open_time_ms, list(bundles),
        spread(found.age_ms), _latency(run), _costs(config, run, merged, again.closes),
    )  # fmt: skip


def as_json(report: Report) -> dict[str, Any]:
    """The report as values that JSON can hold."""
    run = report.run
    pairs = run.trades.pairs
    return {
        "stage": "shadow-report",
        "mode": run.mode,
        "exchange": report.exchange,
        "passed": report.passed,
        "bars": run.bars,
        "first": iso(report.first_ms),
        "last": iso(report.last_ms),
        "bundles": report.bundles,
        "checks": [vars(check) for check in report.checks],
        "trades": {"matched": len(pairs), "missed": len(run.trades.missed), "extra": len(run.trades.extra)},
        "entry_bps": _plain(spread([pair.entry_bps for pair in pairs])),
        "exit_bps": _plain(spread([pair.exit_bps for pair in pairs])),
        "age_ms": _plain(report.decided),
        "latency_ms": {
            leg: {part: _plain(one) for part, one in parts.items()} for leg, parts in report.latency.items()
        },
        "shortfall_bps": {leg: vars(one) for leg, one in report.costs.items()},
        "missed": [dict(trade) for trade in run.trades.missed[:20]],
        "extra": [dict(trade) for trade in run.trades.extra[:20]],
    }


def _plain(one: Spread) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in vars(one).items()}


def _on_file(config: Config, run: "PastRun", merged: "Mapping[str, pa.Table]") -> "tuple[list[PastBar], int]":
    """The bars of the run up to the last one on file, and how many come after it."""
    from pipeline.market import candles

    last = min(int(candles.times_ms(table)[-1]) for table in merged.values())
    first = min(int(candles.times_ms(table)[0]) for table in merged.values())
    bars = [bar for bar in run.bars if bar.open_time_ms <= last]
    if not bars or first > run.origin_ms:
        raise BadInput(
            f"the run's bars, {iso(run.bars[0].open_time_ms)} to {iso(run.bars[-1].open_time_ms)}, are not on file,"
            f" which has {iso(first)} to {iso(last)}",
            "run `pipeline download` and `pipeline merge`, then this again",
        )
    return bars, len(run.bars) - len(bars)


@dataclass
class _Seen:
    # One field over the bars.
    compared: int = 0
    differing: int = 0
    first: str = ""

    def add(self, mine: Any, theirs: Any, where: str) -> None:
        self.compared += 1
        if mine != theirs and not (mine is None and theirs is None):
            self.differing += 1
            self.first = self.first or f"{where}: {mine} instead of {theirs}"


class _Simulation:
    # The run's bars lived through again, by the bundle that decided each of them.
    def __init__(
        self, config: Config, run: "PastRun", bundles: Mapping[str, PastBundle], merged: "Mapping[str, pa.Table]"
    ) -> None:
        from pipeline.live.shadow import ShadowTrader
        from pipeline.live.strategy import columns_of

        self._config, self._run, self._bundles, self._merged = config, run, bundles, merged
        names = columns_of(config)
        self._tables = {
            symbol: table.select(["open_time", *[name for name in names if name in table.column_names]])
            for symbol, table in merged.items()
        }
        self._starts = dict(run.starts)
        self._trader = ShadowTrader(len(merged), self._rules(run.starts[0][1]), run.capital)
        self._strategy: Strategy | None = None
        self._deciding = ""
        self._waiting: dict[str, dict[int, MergedBar]] = {}
        self._next: dict[str, int] = {}
        self._seen = {name: _Seen() for name in _FIELDS}
        self.trades: list[dict[str, Any]] = []
        # Closes of the bars at which something was ordered.
        self.closes: dict[int, dict[str, float]] = {}
        self._ordered = {order.open_time_ms for order in run.orders.values()}

    def fields(self) -> dict[str, Difference]:
        return {name: Difference(one.compared, one.differing, one.first) for name, one in self._seen.items()}

    def live_through(self, number: int, bar: Mapping[str, Any]) -> None:
        from pipeline.live.shadow import ShadowTrader

        time_ms = int(bar["t"])
        if time_ms in self._ordered:
            self.closes[time_ms] = {symbol: seen["close"] for symbol, seen in bar["s"].items()}
        if number and number in self._starts:
            # A start takes the stops and sizes of its bundle.
            self._trader = ShadowTrader.restore(self._trader.save(), self._rules(self._starts[number]))
        strategy = self._deciding_at(time_ms, str(bar["bundle"]))
        bars = {symbol: own for symbol in self._tables if (own := self._bar(symbol, time_ms)) is not None}
        outlook = strategy.update(time_ms, bars)
        positions = self._trader.positions
        before = positions["enter_bar"].copy(), positions["leave_bar"].copy()
        done = self._trader.update(outlook)
        self._compare(bar, outlook, before, done.equity)
        from pipeline.live.plain import trade_of

        rules = self._rules(self._starts.get(0, ""))
        self.trades += [trade_of(trade, strategy.symbols[int(trade["symbol"])], rules) for trade in done.trades]

    def _rules(self, bundle: str) -> "Rules":
        from pipeline.live.shadow import shadow_rules
        from pipeline.trading.rules import FIXED_FRACTION

        rules = shadow_rules(self._config, self._run.origin_ms, self._bundles[bundle].variant)
        percent = self._config.serve.percentage_used_for_trade
        return rules if percent is None else rules._replace(sizing=FIXED_FRACTION, fraction=percent / 100)

    def _deciding_at(self, time_ms: int, name: str) -> "Strategy":
        # Another bundle begins on the history up to its first bar, as it did live.
        from pipeline.live.strategy import Strategy
        from pipeline.market import candles

        if self._strategy is None or name != self._deciding:
            past = self._bundles[name]
            cut = {s: int(candles.times_ms(table).searchsorted(time_ms)) for s, table in self._tables.items()}
            history = {s: table.slice(0, cut[s]) for s, table in self._tables.items() if cut[s]}
            self._strategy = Strategy(self._config, past.bundle, history, self._run.origin_ms, past.thresholds)
            self._deciding = name
            self._next, self._waiting = cut, {symbol: {} for symbol in cut}
        return self._strategy

    def _bar(self, symbol: str, time_ms: int) -> "MergedBar | None":
        # As objects bars take ten times the room of a table: some at a time.
        from pipeline.live.merging import bars_of

        table = self._tables[symbol]
        if time_ms not in self._waiting[symbol] and self._next[symbol] < table.num_rows:
            names = [column for column in table.column_names if column not in ("open_time", "is_filled")]
            part = table.slice(self._next[symbol], _PART)
            self._next[symbol] += part.num_rows
            self._waiting[symbol] = {one.open_time_ms: one for one in bars_of(part, names)}
        return self._waiting[symbol].pop(time_ms, None)

    def _compare(self, bar: Mapping[str, Any], outlook: "Outlook", before: tuple[Any, Any], equity: float) -> None:
        from pipeline.trading.market import BUY, CLOSE, REFUSE_LONG, REFUSE_SHORT, SCORE, SELL, SIGNALS
        from pipeline.trading.reasons import REASONS
        from pipeline.trading.records import EXIT_REASONS

        numbers, flags = outlook.market.numbers, outlook.market.flags
        positions = self._trader.positions
        words = ["", *list(REASONS)[1:]]
        at = iso(int(bar["t"]))
        for s, symbol in enumerate(sorted(self._tables)):
            seen = bar["s"].get(symbol)
            if seen is None:
                continue
            signal, score = int(flags[SIGNALS, s, 0]), float(numbers[SCORE, s, 0])
            code = int(flags[REFUSE_LONG if signal == BUY else REFUSE_SHORT, s, 0]) if signal in (BUY, SELL) else 0
            theirs = {
                "close": float(numbers[CLOSE, s, 0]),
                "score": None if math.isnan(score) else score,
                "signal": signal,
                "gate": words[code],
                "order": int(positions["enter"][s]) if positions["enter_bar"][s] != before[0][s] else 0,
                "exit": EXIT_REASONS[int(positions["leave"][s])] if positions["leave_bar"][s] != before[1][s] else "",
            }
            for name, value in theirs.items():
                self._seen[name].add(seen[name], value, f"{symbol} at {at}")
        self._seen["equity"].add(float(bar["equity"]), equity, at)


def _matched(run: "PastRun", again: _Simulation, step_ms: int) -> Matching:
    # On an exchange an order may be filled a bar later than on paper.
    return match_trades(run.trades, again.trades, step_ms if run.mode == "live" else 0)


def _latency(run: "PastRun") -> dict[str, dict[str, Spread]]:
    """How long the parts of an order's way took, ms, by leg and part; stops follow fills instead, and are left out."""
    decided = {bar.open_time_ms: bar for bar in run.bars}
    taken: dict[str, dict[str, list[float]]] = {}
    first: set[tuple[str, str, int]] = set()
    for order in run.orders.values():
        key = order.symbol, order.leg, order.open_time_ms
        if order.sent_ms is None or order.leg not in ("entry", "exit") or key in first:
            continue
        first.add(key)
        bar, parts = decided.get(order.open_time_ms), taken.setdefault(order.leg, {part: [] for part in PARTS})
        if bar is not None:
            parts["sent"].append(order.sent_ms - bar.at_ms)
        if order.answered_ms is not None:
            parts["answered"].append(order.answered_ms - order.sent_ms)
        if order.filled_ms is not None:
            parts["filled"].append(order.filled_ms - order.sent_ms)
            if bar is not None and bar.age_ms is not None:
                parts["whole"].append(bar.age_ms + order.filled_ms - bar.at_ms)
    return {leg: {part: spread(values) for part, values in parts.items()} for leg, parts in sorted(taken.items())}


def _costs(
    config: Config, run: "PastRun", merged: "Mapping[str, pa.Table]", closes: Mapping[int, Mapping[str, float]]
) -> dict[str, Costs]:
    """Implementation shortfall of entries and exits against the close that they were decided at."""
    from pipeline.market import candles
    from pipeline.trading.shortfall import shortfall

    costs = config.simulate.costs
    expected = Decimal(str((costs.slippage_bps + costs.spread_bps / 2) / 10_000))
    times = {symbol: candles.times_ms(table) for symbol, table in merged.items()}
    taken: dict[str, list[Any]] = {}
    for order in run.orders.values():
        if order.leg not in ("entry", "exit") or order.open_time_ms not in closes or order.symbol not in merged:
            continue
        arrival = Decimal(str(closes[order.open_time_ms][order.symbol]))
        # What was not filled could have been bought at the next bar's close at the latest.
        row = int(times[order.symbol].searchsorted(order.open_time_ms + interval_ms(run.interval)))
        after = candles.column(merged[order.symbol].slice(row, 1), "close")
        last = Decimal(str(float(after[0]))) if len(after) else arrival
        found = shortfall(order.side, order.qty, order.fills, order.fees_quote(), arrival, last, expected)
        taken.setdefault(order.leg, []).append(found)
    return {leg: _mean(values) for leg, values in sorted(taken.items())}


def _mean(found: Sequence[Any]) -> Costs:
    def over(name: str) -> float:
        return float(sum((getattr(one, name) for one in found), Decimal(0)) / len(found)) * 10_000

    return Costs(len(found), over("expected"), over("realised"), over("fees"), over("unfilled"))
