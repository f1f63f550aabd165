"""`pipeline serve --replay`: stored bars through the live strategy, held to the batch files bit by bit."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import Layout, exclusive, read_json, read_schema, read_table, replace_folder, write_table
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput, CheckFailed, PipelineError
from pipeline.market import candles
from pipeline.stages.reporting import Plan, Summary, print_json, progress
from pipeline.stages.runner import Options
from pipeline.stages.times import iso

if TYPE_CHECKING:
    from pipeline.live.replaying import Replay
    from pipeline.models.bundle import Bundle
    from pipeline.stages.history import History
    from pipeline.stages.simulation_result import Choice

EQUAL = "equal"


@dataclass
class Parity:
    """One line of the parity table: values compared, how many of them differ, and in how many bits in all."""

    what: str
    compared: int = 0
    differing: int = 0
    bits: int = 0
    first: str = ""

    def add(self, mine: npt.NDArray, theirs: npt.NDArray, where: "Where") -> None:
        """Compare two arrays of one kind; all NaN count as one pattern."""
        a, b = _pattern(mine), _pattern(theirs)
        self.compared += a.size
        wrong = a != b
        if not wrong.any():
            return
        if not self.differing:
            row = int(np.flatnonzero(wrong)[0])
            self.first = f"{where.name} at {where.time(row)}: {mine[row]!s} instead of {theirs[row]!s}"
        self.differing += int(np.count_nonzero(wrong))
        self.bits += int(np.bitwise_count(a ^ b).sum())

    def line(self) -> str:
        if not self.differing:
            return f"{self.compared:,} {EQUAL}"
        return f"{self.differing:,} of {self.compared:,} differ, in {self.bits:,} bits; first {self.first}"


@dataclass(frozen=True)
class Where:
    """What is compared, and the times of its rows, for the message."""

    name: str
    times: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def time(self, row: int) -> str:
        return iso(int(self.times[row])) if row < len(self.times) else f"row {row}"


def serve_replay(options: Options, span: tuple[str, str], restart_every: int | None = None) -> None:
    """Replay the bars of a span and print what differs from the batch files.

    span: first time and end. restart_every: bars after which everything is built anew from history and saved state.
    Raises BadInput: the span is not within the signals. CheckFailed: something differs.
    """
    try:
        _serve_replay(options, span, restart_every)
    except PipelineError as error:
        options.explain(error)
        raise


def _serve_replay(options: Options, span: tuple[str, str], restart_every: int | None) -> None:
    config, layout = options.load()
    config = within(config, span)
    if options.dry_run:
        plan = plan_replay(config, layout)
        print_json(plan.json()) if options.json else print(plan.text())
        return
    with exclusive(layout.data / ".locks" / f"{config.name}.lock", f"another stage of '{config.name}'"):
        summary, table = run_replay(config, layout, restart_every)
    if options.json:
        print_json(summary.json() | {"parity": [vars(line) for line in table]})
    else:
        print(summary.text(), flush=True)
    if different := [line.what for line in table if line.differing or not line.compared]:
        raise CheckFailed(
            f"replay: {', '.join(different)} differ from the batch files",
            "were the batch stages run after the last change of the config, the bundle and the bars?",
        )


def within(config: Config, span: tuple[str, str]) -> Config:
    """The config with the simulation bound to a span. Raises BadInput: a time is not one, or there is none between."""
    for text in span:
        try:
            utc_ms(text)
        except ValueError:
            raise BadInput(f"--replay: '{text}' is not a time", "write 2024-01-31 or 2024-01-31T12:00") from None
    if utc_ms(span[0]) >= utc_ms(span[1]):
        raise BadInput(f"--replay: {span[1]} is not after {span[0]}")
    simulate = config.simulate.model_copy(update={"start": span[0], "end": span[1]})
    return config.model_copy(update={"simulate": simulate})


def plan_replay(config: Config, layout: Layout) -> Plan:
    """Check that bars, features, signals and, if there are models, the bundle are there."""
    if config.signals.predictions == "rolling":
        raise BadInput(
            "signals.predictions: walk-forward scores are of many models, and one bundle cannot repeat them",
            "run `pipeline predict`, and add --set signals.predictions=predict to `pipeline signals` and to this",
        )
    inputs = []
    for symbol in config.symbols:
        for path, stage in (
            (layout.merged(symbol), "merge"),
            (layout.features(symbol), "features"),
            (layout.signals(symbol), "signals"),
        ):
            read_schema(path, stage)
            inputs.append(path)
    if config.signals.predictions == "predict":
        inputs.append(_bundle_folder(layout))
    folder = layout.run / "serve" / "replay"
    return Plan("serve --replay", inputs, [folder / "decisions.parquet", folder / "trades.parquet"])


def run_replay(config: Config, layout: Layout, restart_every: int | None = None) -> tuple[Summary, list[Parity]]:
    """Replay, compare, and write serve/replay/."""
    from time import perf_counter

    from pipeline.live.replaying import replay
    from pipeline.live.strategy import Thresholds
    from pipeline.stages.history import read_history
    from pipeline.trading.ledger import trade_table

    began = perf_counter()
    plan = plan_replay(config, layout)
    bundle = _load_bundle(config, layout)
    history = read_history(config, layout)
    _require_times(config, history)
    choice = chosen(config, layout)
    merged = {symbol: read_table(layout.merged(symbol), "merge") for symbol in history.symbols}
    thresholds = Thresholds(choice.buy, choice.sell, choice.chosen_by)
    with progress("replay", len(history.times)) as advance:
        done = replay(
            config, bundle, merged, history.times, thresholds, choice.variant, restart_every,
            lambda bars: advance(bars, ""),
        )  # fmt: skip
    table = compare(config, layout, history, choice, done)
    trades = trade_table(done.symbols, done.trades, done.times)

    def fill(folder: Any) -> None:
        write_table(folder / "decisions.parquet", decisions(done))
        write_table(folder / "trades.parquet", trades)

    replace_folder(plan.outputs[0].parent, fill)
    summary = Summary("serve --replay", plan.outputs, seconds=perf_counter() - began)
    summary.figures = {
        "bars": len(done.times) * len(done.symbols),
        "range": f"{iso(int(done.times[0]))} to {iso(int(done.times[-1]) + config.step_ms)}",
        "restarts": done.restarts,
        "thresholds": f"buy {choice.buy:.4g}, sell {choice.sell:.4g} (chosen by {choice.chosen_by})",
        **{line.what: line.line() for line in table},
        "trades": trades.num_rows,
    }
    return summary, table


def chosen(config: Config, layout: Layout, metrics: Path | None = None) -> "Choice":
    """The thresholds that `simulate` traded with; the config's if it has no grid. metrics: a bundle's own."""
    from pipeline.signals import threshold_step
    from pipeline.stages.simulation_result import Choice

    step, path = threshold_step(config.signals), metrics or layout.simulation / "metrics.json"
    grid = config.simulate.grid
    if grid is None or not grid.use:
        return Choice(step.buy, step.sell, "config")
    thresholds = read_json(path, "simulate")["thresholds"]
    if thresholds["chosen_by"] != "grid":
        return Choice(step.buy, step.sell, "config")
    used = dict(thresholds["used"])
    return Choice(used.pop("buy"), used.pop("sell"), "grid", variant=used)


def compare(config: Config, layout: Layout, history: "History", choice: "Choice", done: "Replay") -> list[Parity]:
    """The parity table of a replay."""
    from pipeline.stages.simulation_result import traded_market

    market = traded_market(history, choice)
    features, scores, signals = Parity("features"), Parity("scores"), Parity("signals")
    inputs = Parity("gates and inputs")
    for number, symbol in enumerate(done.symbols):
        own = slice(history.first[number], history.stop[number])
        times = history.times[own]
        for name, mine, theirs in _features(layout, symbol, times, done, own):
            features.add(mine, theirs, Where(f"{symbol} {name}", times))
        for name, mine, theirs in _signals(layout, symbol, times, done, own):
            line = signals if name in ("buy_signal", "sell_signal") else scores
            line.add(mine, theirs, Where(f"{symbol} {name}", times))
        for name, mine, theirs in _market(market, done, number, own):
            (signals if name == "signal" else inputs).add(mine, theirs, Where(f"{symbol} {name}", times))
    return [features, scores, signals, inputs, *_ledgers(config, layout, history, choice, done)]


def decisions(done: "Replay") -> pa.Table:
    """One row for each bar and symbol: what was seen, and what was ordered at its close.

    order: the side entered, exit: the reason for which a position is left, gate: the rule of the bar itself that stood
    against its signal; empty where there is none.
    """
    from pipeline.trading.market import BUY, FILLED, REFUSE_LONG, REFUSE_SHORT, SCORE, SELL, SIGNALS
    from pipeline.trading.reasons import REASONS
    from pipeline.trading.records import EXIT_REASONS

    count, bars = done.orders.shape
    words = np.array(["", *list(REASONS)[1:]], object)
    signal = done.flags[SIGNALS]
    codes = np.where(signal == BUY, done.flags[REFUSE_LONG], 0) + np.where(signal == SELL, done.flags[REFUSE_SHORT], 0)
    columns = {
        "open_time": candles.time_array(np.repeat(done.times, count)),
        "symbol": np.tile(np.array(done.symbols, object), bars),
        "is_filled": done.flags[FILLED].T.ravel() > 0,
        "score": done.numbers[SCORE].T.ravel(),
        "buy_signal": (signal & BUY).T.ravel() > 0,
        "sell_signal": (signal & SELL).T.ravel() > 0,
        "gate": words[codes.T.ravel()],
        "order": np.array(["", "long", "short"], object)[done.orders.T.ravel()],
        "exit": np.array(EXIT_REASONS, object)[done.exits.T.ravel()],
        "equity": np.repeat(done.equity, count),
    }
    return pa.table(columns)


def _features(
    layout: Layout, symbol: str, times: npt.NDArray[np.int64], done: "Replay", own: slice
) -> list[tuple[str, npt.NDArray, npt.NDArray]]:
    table = _at(read_table(layout.features(symbol), "features", ["open_time", *done.names]), times)
    mine = done.features[symbol][own]
    return [(name, mine[:, k], table.column(name).to_numpy()) for k, name in enumerate(done.names)]


def _signals(
    layout: Layout, symbol: str, times: npt.NDArray[np.int64], done: "Replay", own: slice
) -> list[tuple[str, npt.NDArray, npt.NDArray]]:
    table = _at(read_table(layout.signals(symbol), "signals"), times)
    names = [name for name in table.column_names if name not in ("open_time", "in_sample")]
    if missing := set(names) ^ set(done.scores[symbol]):
        raise BadInput(
            f"{layout.signals(symbol)}: has other columns than the config makes: {', '.join(sorted(missing))}",
            "run `pipeline signals` again",
        )
    return [(name, done.scores[symbol][name][own], candles.column(table, name)) for name in names]


def _market(market: Any, done: "Replay", number: int, own: slice) -> list[tuple[str, npt.NDArray, npt.NDArray]]:
    from pipeline.trading.market import FLAGS, MARKS, NUMBERS

    pairs: list[tuple[str, npt.NDArray, npt.NDArray]] = [
        (name, done.numbers[k, number, own], market.numbers[k, number, own]) for k, name in enumerate(NUMBERS)
    ]
    if market.has_marks:
        pairs += [(name, done.marks[k, number, own], market.marks[k, number, own]) for k, name in enumerate(MARKS)]
    return pairs + [(name, done.flags[k, number, own], market.flags[k, number, own]) for k, name in enumerate(FLAGS)]


def _ledgers(config: Config, layout: Layout, history: "History", choice: "Choice", done: "Replay") -> list[Parity]:
    # simulate's own functions on the same range; and its files, if they are of this range.
    from pipeline.live.shadow import shadow_rules
    from pipeline.stages.simulation_result import traded_market
    from pipeline.trading.ledger import trade_table
    from pipeline.trading.simulation import simulate

    rules = shadow_rules(config, int(history.times[0]), choice.variant)
    simulated = simulate(traded_market(history, choice), rules, config.simulate.initial_cash)
    trades, equity, refused = Parity("trade ledger"), Parity("equity"), Parity("signals counted")
    if len(simulated.trades) == len(done.trades):
        for name in done.trades.dtype.names or ():
            trades.add(done.trades[name], simulated.trades[name], Where(f"trade {name}"))
        trades.compared = max(trades.compared, 1)
    else:
        trades.compared = trades.differing = max(len(simulated.trades), len(done.trades))
        trades.first = f"{len(done.trades)} trades instead of {len(simulated.trades)}"
    equity.add(done.equity, simulated.equity, Where("equity", done.times))
    refused.add(done.refused, simulated.refused, Where("reason"))
    lines = [trades, equity, refused]
    stored = layout.simulation / "trades.parquet"
    if stored.is_file() and _same_range(layout, config, history):
        file = Parity("trades.parquet")
        mine, theirs = trade_table(done.symbols, done.trades, done.times), _trades(stored)
        if mine.num_rows == theirs.num_rows:
            file.compared = max(mine.num_rows * mine.num_columns, 1)
            file.differing = sum(a != b for name in mine.column_names for a, b in _pairs(mine, theirs, name))
        else:
            file.compared = file.differing = max(mine.num_rows, theirs.num_rows)
        file.first = f"{mine.num_rows} trades, {theirs.num_rows} in {stored}"
        lines.append(file)
    return lines


def _pairs(mine: pa.Table, theirs: pa.Table, name: str) -> Any:
    return zip(mine.column(name).to_pylist(), theirs.column(name).to_pylist(), strict=True)


def _trades(path: Any) -> pa.Table:
    # read_table refuses a table without rows, which trades may well be.
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read()


def _same_range(layout: Layout, config: Config, history: "History") -> bool:
    period = read_json(layout.simulation / "metrics.json", "simulate")["period"]
    start, end = int(history.times[0]), int(history.times[-1]) + config.step_ms
    return (utc_ms(period["start"]), utc_ms(period["end"])) == (start, end)


def _at(table: pa.Table, times: npt.NDArray[np.int64]) -> pa.Table:
    own = candles.times_ms(table)
    first = int(np.searchsorted(own, times[0]))
    return table.slice(first, len(times))


def _pattern(values: npt.NDArray) -> npt.NDArray:
    if values.dtype.kind != "f":
        return values.astype(np.int64).view(np.uint64)
    canonical = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    return canonical.view(np.uint32 if values.dtype == np.float32 else np.uint64)


def _bundle_folder(layout: Layout) -> Any:
    from pipeline.stages.standing import named

    if (layout.trained / "manifest.json").is_file() or (name := named(layout)) is None:
        return layout.trained
    return layout.bundles / name


def _load_bundle(config: Config, layout: Layout) -> "Bundle | None":
    from pipeline.models import bundle

    return bundle.load(_bundle_folder(layout)) if config.signals.predictions == "predict" else None


def _require_times(config: Config, history: "History") -> None:
    asked = config.simulate.start, config.simulate.end
    assert asked[0] is not None and asked[1] is not None
    start, end = int(history.times[0]), int(history.times[-1]) + config.step_ms
    if utc_ms(asked[0]) < start - config.step_ms or utc_ms(asked[1]) > end + config.step_ms:
        print(f"replay: there are signals from {iso(start)} to {iso(end)} only", file=sys.stderr)
