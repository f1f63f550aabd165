"""`pipeline simulate`: the signals traded on history."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import (
    Layout,
    count_rows,
    read_schema,
    read_table,
    replace_folder,
    write_json,
    write_table,
    write_text,
)
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.stages.reporting import Plan, Summary, progress

if TYPE_CHECKING:
    from pipeline.evaluation.portfolio import Account, Period
    from pipeline.trading.stretches import Bars

PRICES = ("open", "high", "low", "close")
CURVE_POINTS = 2000
Advance = Callable[[int, str], None]


@dataclass(frozen=True)
class History:
    """One symbol's bars, score and configured signals, row by row."""

    symbol: str
    times: npt.NDArray[np.int64]
    bars: "Bars"
    score: npt.NDArray[np.float64]
    buy: npt.NDArray[np.bool_]
    sell: npt.NDArray[np.bool_]
    in_sample: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """The thresholds traded with, and the search that they came from, if there was one."""

    buy: float
    sell: float
    chosen_by: str
    table: pa.Table | None = None
    qualified: int = 0


@dataclass(frozen=True)
class Traded:
    """What became of one symbol: the strategy's account, buy & hold's by period, random rivals of the headline."""

    account: "Account"
    hold: dict[str, "Account"]
    random: npt.NDArray[np.float64]
    counts: dict[str, int]
    in_sample: bool
    score_range: tuple[float, float] | None


def plan(config: Config, layout: Layout) -> Plan:
    """Check that bars and signals are there."""
    from pipeline.signals import threshold_step

    column = threshold_step(config.signals).column
    inputs, rows = [], 0
    for symbol in config.symbols:
        for path, stage, needed in (
            (layout.signals(symbol), "signals", column),
            (layout.merged(symbol), "merge", "is_filled"),
        ):
            if needed not in (names := read_schema(path, stage).names):
                raise BadInput(
                    f"{path}: no column '{needed}'", f"it has: {', '.join(names)}; run `pipeline {stage}` again"
                )
            inputs.append(path)
        rows += count_rows(layout.signals(symbol), "signals")
    grid = config.simulate.grid
    notes = (
        [f"grid of {grid.buy.n} x {grid.sell.n} thresholds, chosen on the first {grid.select_on:.0%} of the bars"]
        if grid
        else []
    )
    return Plan("simulate", inputs, _outputs(config, layout), rows, notes=notes)


def run(config: Config, layout: Layout) -> Summary:
    """Choose thresholds on the selection part, trade the whole range, write simulation/."""
    from pipeline.evaluation.portfolio import together

    plan(config, layout)
    periods = _periods(config, layout)
    with progress("simulate", len(config.symbols) * (2 if config.simulate.grid else 1)) as advance:
        choice = _choose(config, layout, periods, advance)
        traded: dict[str, Traded] = {}
        for number, symbol in enumerate(config.symbols):
            traded[symbol] = _trade(config, _load(config, layout, symbol), choice, periods, number)
            advance(1, symbol)
    whole = together([t.account for t in traded.values()])
    metrics = _metrics(config, choice, periods, whole, traded)
    replace_folder(layout.simulation, lambda folder: _write(folder, choice, whole, traded, metrics))
    return _summary(config, layout, choice, metrics, traded)


def _outputs(config: Config, layout: Layout) -> list[Path]:
    names = ["trades.parquet", "equity.parquet", "grid.parquet", "equity.csv", "metrics.json"]
    return [layout.simulation / name for name in names if config.simulate.grid or name != "grid.parquet"]


def _load(config: Config, layout: Layout, symbol: str) -> History:
    from pipeline.signals import threshold_step
    from pipeline.trading.stretches import Bars

    path = layout.signals(symbol)
    score = threshold_step(config.signals).column
    extra = ["in_sample"] if "in_sample" in read_schema(path, "signals").names else []
    signals = read_table(path, "signals", ["open_time", score, "buy_signal", "sell_signal", *extra])
    merged = read_table(layout.merged(symbol), "merge", ["open_time", *PRICES, "is_filled"])
    times, grid = candles.times_ms(signals), candles.times_ms(merged)
    first = int(np.searchsorted(grid, times[0]))
    if not np.array_equal(grid[first : first + len(times)], times):
        raise BadInput(f"{path}: its bars are not those of {layout.merged(symbol)}", "run `pipeline signals` again")
    start = np.searchsorted(times, utc_ms(config.simulate.start)) if config.simulate.start else 0
    stop = np.searchsorted(times, utc_ms(config.simulate.end)) if config.simulate.end else len(times)
    if stop - start < 2:
        raise BadInput(
            f"simulate: {max(stop - start, 0)} bars of {symbol} lie between simulate.start and simulate.end",
            f"{path} covers {_iso(times[0])} to {_iso(times[-1])}",
        )
    rows = slice(int(start), int(stop))
    bars = slice(first + rows.start, first + rows.stop)
    open_, high, low, close = (candles.column(merged, name)[bars] for name in PRICES)
    return History(
        symbol,
        times[rows],
        Bars(open_, high, low, close, merged["is_filled"].to_numpy()[bars]),
        candles.column(signals, score)[rows],
        signals["buy_signal"].to_numpy()[rows],
        signals["sell_signal"].to_numpy()[rows],
        signals["in_sample"].to_numpy()[rows] if extra else np.zeros(rows.stop - rows.start, np.bool_),
    )


def _periods(config: Config, layout: Layout) -> dict[str, "Period"]:
    from pipeline.evaluation.portfolio import Period

    times = [_load(config, layout, symbol).times for symbol in config.symbols]
    start, end = min(int(t[0]) for t in times), max(int(t[-1]) for t in times) + config.step_ms
    periods = {"all": Period(start, end)}
    if config.simulate.grid:
        bars = (end - start) // config.step_ms
        split = start + round(bars * config.simulate.grid.select_on) * config.step_ms
        periods |= {"selection": Period(start, split), "evaluation": Period(split, end)}
    return periods


def _choose(config: Config, layout: Layout, periods: dict[str, "Period"], advance: Advance) -> Choice:
    from pipeline.evaluation.thresholds import axis_values, choose, grid_table
    from pipeline.signals import threshold_step
    from pipeline.trading.grid import scan_thresholds
    from pipeline.trading.rules import rules_of

    step, grid = threshold_step(config.signals), config.simulate.grid
    configured = Choice(step.buy, step.sell, "config")
    if grid is None:
        return configured
    rules = rules_of(config.simulate, config.interval)
    cash = config.simulate.initial_cash / len(config.symbols)
    tallies, bars = [], []
    for symbol in config.symbols:
        history = _load(config, layout, symbol)
        split, n = periods["evaluation"].rows(history.times)
        pairs = axis_values(grid.buy), axis_values(grid.sell)
        tallies.append(
            scan_thresholds(history.bars, history.score, pairs, rules, cash, split=split, workers=_workers(config))
        )
        bars.append((max(split - 1, 0), n - max(split, 1)))
        advance(1, symbol)
    table = grid_table(grid, tallies, bars, config.interval)
    best, qualified = choose(table, grid.metric, grid.min_trades)
    if best is None or not grid.use:
        return Choice(step.buy, step.sell, "config", table, qualified)
    return Choice(table["buy"][best].as_py(), table["sell"][best].as_py(), "grid", table, qualified)


def _trade(config: Config, history: History, choice: Choice, periods: dict[str, "Period"], number: int) -> Traded:
    from pipeline.evaluation.baselines import buy_and_hold, holdings, random_growth
    from pipeline.evaluation.portfolio import account
    from pipeline.trading.rules import rules_of
    from pipeline.trading.simulation import simulate

    rules = rules_of(config.simulate, config.interval)
    cash = config.simulate.initial_cash / len(config.symbols)
    buy, sell = history.buy, history.sell
    if choice.chosen_by == "grid":
        real = ~history.bars.filled
        buy, sell = (history.score >= choice.buy) & real, (history.score <= choice.sell) & real
    simulation = simulate(history.bars, buy, sell, rules, cash)

    hold = {}
    for name, period in periods.items():
        rows = _rows(period, history)
        held = buy_and_hold(history.bars.part(rows), rules, cash)
        hold[name] = account(history.symbol, history.times[rows], history.bars.close[rows], held)
    rows = _rows(periods[_headline(config)], history)
    trades = simulation.trades
    of_period = holdings(
        trades["entry_bar"] - rows.start, trades["exit_bar"] - rows.start, trades["side"], 1, rows.stop - rows.start
    )
    random = random_growth(
        history.bars.part(rows), of_period, rules, config.simulate.random_entries, config.seed + number
    )
    known = history.score[np.isfinite(history.score)]
    return Traded(
        account(history.symbol, history.times, history.bars.close, simulation),
        hold,
        random,
        {
            "bars": len(history.times),
            "buy_signals": int(buy.sum()),
            "sell_signals": int(sell.sum()),
            "ambiguous_bars": simulation.ambiguous_bars,
            "filled_bars": int(history.bars.filled.sum()),
        },
        bool(history.in_sample[rows].any()),
        (float(known.min()), float(known.max())) if len(known) else None,
    )


def _rows(period: "Period", history: History) -> slice:
    # With the bar before the period, whose close it starts from.
    first, stop = period.rows(history.times)
    return slice(max(first - 1, 0), max(stop, 1))


def _headline(config: Config) -> str:
    return "evaluation" if config.simulate.grid and config.simulate.grid.use else "all"


def _metrics(
    config: Config, choice: Choice, periods: dict[str, "Period"], whole: "Account", traded: dict[str, Traded]
) -> dict[str, Any]:
    from pipeline.evaluation.portfolio import iso, monthly_returns, period_performance, together
    from pipeline.signals import threshold_step

    step, grid, interval = threshold_step(config.signals), config.simulate.grid, config.interval
    headline = _headline(config)
    parts = {name: period_performance(whole, period, interval) for name, period in periods.items()}
    hold = {name: together([t.hold[name] for t in traded.values()]) for name in periods}
    reasons = whole.trades["exit_reason"].value_counts().to_pylist()
    costs = config.simulate.costs.model_dump()
    return {
        "name": config.name,
        "interval": interval,
        "symbols": config.symbols,
        "period": {"start": iso(periods["all"].start), "end": iso(periods["all"].end), "bars": len(whole.times)},
        "split_time": iso(periods["evaluation"].start) if grid else None,
        "thresholds": {
            "configured": {"buy": step.buy, "sell": step.sell},
            "used": {"buy": choice.buy, "sell": choice.sell},
            "chosen_by": choice.chosen_by,
        },
        "headline_part": headline,
        "headline": parts[headline],
        "parts": parts,
        "buy_and_hold": {name: period_performance(hold[name], period, interval) for name, period in periods.items()},
        "random_entry": _random(config, parts[headline]["total_return"], periods[headline], traded),
        "grid": {"sets": choice.table.num_rows, "qualified": choice.qualified, "metric": grid.metric}
        if grid and choice.table
        else None,
        "by_symbol": {s: period_performance(t.account, periods[headline], interval) for s, t in traded.items()},
        "by_month": monthly_returns(whole),
        "counts": {key: sum(t.counts[key] for t in traded.values()) for key in next(iter(traded.values())).counts},
        "exit_reasons": {entry["values"]: entry["counts"] for entry in sorted(reasons, key=lambda e: e["values"])},
        "costs": costs,
        "in_sample": any(t.in_sample for t in traded.values()),
        "trials": choice.table.num_rows if choice.table else 1,
    }


def _random(
    config: Config, actual: float | int | None, period: "Period", traded: dict[str, Traded]
) -> dict[str, Any] | None:
    from pipeline.evaluation.baselines import p_value

    n = config.simulate.random_entries
    if n == 0 or actual is None:
        return None
    starts = np.array([t.account.equity[max(period.rows(t.account.times)[0] - 1, 0)] for t in traded.values()])
    returns = sum(w * t.random for w, t in zip(starts / starts.sum(), traded.values(), strict=True)) - 1
    quantiles = {str(q): float(np.quantile(returns, q / 100)) for q in (5, 50, 95)}
    return {"n": n, "part": _headline(config), "p_value": p_value(actual, returns), "quantiles": quantiles}


def _write(folder: Path, choice: Choice, whole: "Account", traded: dict[str, Traded], metrics: dict[str, Any]) -> None:
    from pipeline.evaluation.portfolio import curve_csv, equity_table, together

    write_table(folder / "trades.parquet", whole.trades)
    write_table(folder / "equity.parquet", equity_table(whole, {s: t.account for s, t in traded.items()}))
    if choice.table is not None:
        write_table(folder / "grid.parquet", choice.table)
    write_text(
        folder / "equity.csv", curve_csv(whole, together([t.hold["all"] for t in traded.values()]), CURVE_POINTS)
    )
    write_json(folder / "metrics.json", metrics)


def _summary(
    config: Config, layout: Layout, choice: Choice, metrics: dict[str, Any], traded: dict[str, Traded]
) -> Summary:
    summary = Summary("simulate", _outputs(config, layout), next="pipeline output")
    headline, hold = metrics["headline"], metrics["buy_and_hold"][metrics["headline_part"]]
    summary.figures = {
        "part shown": metrics["headline_part"] + (f" (from {metrics['split_time']})" if metrics["split_time"] else ""),
        "thresholds": f"buy {choice.buy:.4g}, sell {choice.sell:.4g} (chosen by {choice.chosen_by})",
        "total return": _signed(headline["total_return"]),
        "buy & hold": _signed(hold["total_return"]),
        "sharpe": headline["sharpe"],
        "max drawdown": _signed(headline["max_drawdown"]),
        "trades": headline["trades"],
        "win rate": None if headline["win_rate"] is None else f"{headline['win_rate']:.1%}",
        "p-value against random entries": metrics["random_entry"]["p_value"] if metrics["random_entry"] else None,
    }
    if metrics["in_sample"]:
        summary.warnings.append(
            "in sample: the models saw some of these bars in training; these figures are no evidence"
        )
    grid = config.simulate.grid
    if grid and grid.use and choice.chosen_by == "config":
        summary.warnings.append(
            f"no pair of thresholds made {grid.min_trades} trades with a defined {grid.metric} in the selection part; "
            "those of `signals` are used"
        )
    if not any(t.account.trades.num_rows for t in traded.values()):
        ranges = [f"{s} {t.score_range[0]:.4g} to {t.score_range[1]:.4g}" for s, t in traded.items() if t.score_range]
        summary.warnings.append(
            f"no trades at all: scores range {'; '.join(ranges) or 'nowhere (all unknown)'}, "
            f"thresholds are buy {choice.buy:g} and sell {choice.sell:g}"
        )
    return summary


def _workers(config: Config) -> int:
    return config.workers or os.cpu_count() or 1


def _signed(fraction: float) -> str:
    return f"{fraction:+.2%}"


def _iso(time_ms: int) -> str:
    from pipeline.evaluation.portfolio import iso

    return iso(time_ms)
