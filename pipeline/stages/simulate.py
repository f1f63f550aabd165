"""`pipeline simulate`: the signals traded on history."""

import difflib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import (
    Layout,
    count_rows,
    read_schema,
    replace_folder,
    write_json,
    write_table,
    write_text,
)
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.stages.reporting import Plan, Summary, progress
from pipeline.stages.simulate_differences import not_simulated
from pipeline.stages.simulation_result import (
    Choice,
    Traded,
    describe_outcomes,
    headline_part,
    metrics_of,
    traded_market,
)

if TYPE_CHECKING:
    from pipeline.evaluation.portfolio import Account, Period
    from pipeline.stages.history import History
    from pipeline.trading.rules import Rules
    from pipeline.trading.simulation import Simulation

CURVE_POINTS = 2000
Advance = Callable[[int, str], None]


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
        inputs += _feature_inputs(config, layout, symbol)
    grid = config.simulate.grid
    notes = (
        [f"grid of {grid.buy.n} x {grid.sell.n} thresholds, chosen on the first {grid.select_on:.0%} of the bars"]
        if grid
        else []
    )
    return Plan("simulate", inputs, _outputs(config, layout), rows, notes=notes + not_simulated(config))


def run(config: Config, layout: Layout) -> Summary:
    """Choose thresholds on the selection part, trade the whole range, write simulation/."""
    from pipeline.evaluation.thresholds import variants
    from pipeline.stages import simulate_functions
    from pipeline.stages.history import read_history
    from pipeline.stages.significance import record_trials, searched, significance

    plan(config, layout)
    kept = simulate_functions.install() and len(config.symbols) == 1 and config.simulate.grid is None
    if not kept and not _compiled_before():
        print("simulate: compiling the trading core, once after each change of it; half a minute", file=sys.stderr)
    history = read_history(config, layout)
    periods = _periods(config, history)
    with progress("simulate", (len(variants(config.simulate.grid)) if config.simulate.grid else 0) + 1) as advance:
        choice = _choose(config, history, periods, advance)
        traded = _trade(config, history, choice, periods)
        advance(1, "traded")
    metrics = metrics_of(config, history, choice, periods, traded)
    metrics["stress"] = _stress(config, history, choice) if config.simulate.stress else None
    found = searched(config, history, choice, _rules(config, history), periods[headline_part(config)], _workers(config))
    tried = record_trials(config, layout, choice, periods, traded, found, metrics)
    metrics["trials"] = tried.count
    metrics["significance"] = significance(config, periods, traded, found, tried, metrics)
    replace_folder(layout.simulation, lambda folder: _write(folder, choice, traded, metrics))
    return _summary(config, layout, history, choice, metrics, traded)


def _feature_inputs(config: Config, layout: Layout, symbol: str) -> list[Path]:
    # Feature columns that gates and stops look at.
    from pipeline.trading.gates import gate_columns

    names = [*gate_columns(config.risk).values(), *([config.simulate.exits.atr] if config.simulate.exits.atr else [])]
    if not names:
        return []
    path = layout.features(symbol)
    present = read_schema(path, "features").names
    for name in names:
        if name not in present:
            near = difflib.get_close_matches(name, present, 1)
            hint = f"did you mean '{near[0]}'?" if near else "declare it under features"
            raise BadInput(f"{path}: no column '{name}', which risk.gates or simulate.exits name", hint)
    return [path]


def _outputs(config: Config, layout: Layout) -> list[Path]:
    names = ["trades.parquet", "equity.parquet", "grid.parquet", "equity.csv", "metrics.json"]
    return [layout.simulation / name for name in names if config.simulate.grid or name != "grid.parquet"]


def _periods(config: Config, history: "History") -> dict[str, "Period"]:
    from pipeline.evaluation.portfolio import Period

    start, end = int(history.times[0]), int(history.times[-1]) + config.step_ms
    periods = {"all": Period(start, end)}
    if config.simulate.grid:
        bars = (end - start) // config.step_ms
        split = start + round(bars * config.simulate.grid.select_on) * config.step_ms
        periods |= {"selection": Period(start, split), "evaluation": Period(split, end)}
    return periods


def _rules(config: Config, history: "History", choice: Choice | None = None) -> "Rules":
    from pipeline.trading.rules import rules_of

    rules = rules_of(config.simulate, config.interval, config.sizing, config.risk)
    chosen = choice.variant if choice else {}
    return rules._replace(origin_ms=int(history.times[0]), seed=config.seed, **chosen)  # type: ignore[arg-type]


def _choose(config: Config, history: "History", periods: dict[str, "Period"], advance: Advance) -> Choice:
    from pipeline.evaluation.thresholds import axis_values, choose, grid_table, variants
    from pipeline.signals import threshold_step
    from pipeline.trading.grid import scan_thresholds

    step, grid = threshold_step(config.signals), config.simulate.grid
    configured = Choice(step.buy, step.sell, "config")
    if grid is None:
        return configured
    rules = _rules(config, history)
    cash = config.simulate.initial_cash / len(history.symbols)
    split, n = periods["evaluation"].rows(history.times)
    pairs, bars = (axis_values(grid.buy), axis_values(grid.sell)), (max(split - 1, 0), n - max(split, 1))
    # Each symbol by itself, with an equal share of the cash.
    markets = [history.market.of(number) for number in range(len(history.symbols))]
    tables = []
    for variant in variants(grid):
        changed = rules._replace(**variant)  # type: ignore[arg-type]
        tallies = [
            scan_thresholds(market, pairs, changed, cash, split=split, workers=_workers(config)) for market in markets
        ]
        table = grid_table(grid, tallies, [bars] * len(tallies), config.interval)
        for name, value in variant.items():
            table = table.append_column(name, pa.array(np.full(table.num_rows, value)))
        tables.append(table)
        advance(1, ", ".join(f"{name} {value:g}" for name, value in variant.items()) or "thresholds")
    table = pa.concat_tables(tables)
    best, qualified = choose(table, grid.metric, grid.min_trades)
    if best is None or not grid.use:
        return Choice(step.buy, step.sell, "config", table, qualified)
    row = table.slice(best, 1).to_pylist()[0]
    chosen = {name: row[name] for name in variants(grid)[0]}
    return Choice(row["buy"], row["sell"], "grid", table, qualified, chosen)


def _trade(config: Config, history: "History", choice: Choice, periods: dict[str, "Period"]) -> Traded:
    from pipeline.evaluation.baselines import buy_and_hold, holdings, random_growth
    from pipeline.evaluation.portfolio import account, shares
    from pipeline.trading.simulation import simulate

    rules, market = _rules(config, history, choice), traded_market(history, choice)
    cash = config.simulate.initial_cash
    simulation = simulate(market, rules, cash)
    hold: dict[str, dict[str, Account]] = {name: {} for name in periods}
    random = {}
    headline = periods[headline_part(config)]
    for number, symbol in enumerate(history.symbols):
        own = slice(history.first[number], history.stop[number])
        bars, times = market.bars(number).part(own), history.times[own]
        for name, period in periods.items():
            rows = _rows(period, times)
            held = buy_and_hold(bars.part(rows), rules, cash / len(history.symbols))
            hold[name][symbol] = account([symbol], times[rows], bars.close[None, rows], held)
        rows = _rows(headline, times)
        trades = simulation.trades[simulation.trades["symbol"] == number]
        first = rows.start + own.start
        of_period = holdings(
            trades["entry_bar"] - first, trades["exit_bar"] - first, trades["side"], 1, rows.stop - rows.start
        )
        random[symbol] = random_growth(
            bars.part(rows),
            of_period,
            rules,
            _mean_share(simulation, trades) * len(history.symbols),
            config.simulate.random_entries,
            config.seed + number,
        )
    rows = _rows(headline, history.times)
    return Traded(
        simulation,
        account(history.symbols, history.times, market.close, simulation),
        shares(history.symbols, history.times, market.close, simulation, rules.taker_fee),
        hold,
        random,
        bool(history.in_sample[:, rows].any()),
    )


def trade_headline(config: Config, history: "History") -> tuple[Choice, dict[str, Any]]:
    """The thresholds that `simulate` would trade a history with, and the figures that it would show first."""
    from pipeline.evaluation.portfolio import account, period_performance
    from pipeline.trading.simulation import simulate

    periods = _periods(config, history)
    choice = _choose(config, history, periods, lambda steps, what: None)
    market = traded_market(history, choice)
    simulation = simulate(market, _rules(config, history, choice), config.simulate.initial_cash)
    whole = account(history.symbols, history.times, market.close, simulation)
    return choice, dict(period_performance(whole, periods[headline_part(config)], config.interval))


def _stress(config: Config, history: "History", choice: Choice) -> list[dict[str, Any]]:
    from pipeline.evaluation.stress import stress

    market, rules = traded_market(history, choice), _rules(config, history, choice)
    outcomes = []
    with progress("simulate: stress", 11) as advance:
        for outcome in stress(market, rules, config.simulate.initial_cash, config.seed):
            outcomes.append(dict(outcome))
            advance(1, outcome["name"])
    return outcomes


def _mean_share(simulation: "Simulation", trades: np.ndarray) -> float:
    # Part of the equity that a trade took, fee included, on average.
    if not len(trades):
        return 0.0
    equity = simulation.equity[np.maximum(trades["entry_bar"] - 1, 0)]
    spent = trades["qty"] * trades["entry_price"]
    return float(np.mean(np.divide(spent, equity, where=equity > 0, out=np.zeros(len(trades)))))


def _rows(period: "Period", times: npt.NDArray[np.int64]) -> slice:
    # With the bar before the period, whose close it starts from.
    first, stop = period.rows(times)
    return slice(max(first - 1, 0), max(stop, 1))


def _write(folder: Path, choice: Choice, traded: Traded, metrics: dict[str, Any]) -> None:
    from pipeline.evaluation.portfolio import curve_csv, equity_table, together

    write_table(folder / "trades.parquet", traded.whole.trades)
    write_table(folder / "equity.parquet", equity_table(traded.whole, traded.parts))
    if choice.table is not None:
        write_table(folder / "grid.parquet", choice.table)
    write_text(
        folder / "equity.csv", curve_csv(traded.whole, together(list(traded.hold["all"].values())), CURVE_POINTS)
    )
    write_json(folder / "metrics.json", metrics)


def _compiled_before() -> bool:
    from pipeline import trading

    return any(Path(trading.__path__[0], "__pycache__").glob("simulation._run_*.nbi"))


def _thresholds(choice: Choice, configured: dict[str, float]) -> str:
    chosen = f"buy {choice.buy:.4g}, sell {choice.sell:.4g} (chosen by {choice.chosen_by}"
    if (choice.buy, choice.sell) == (configured["buy"], configured["sell"]):
        return chosen + ")"
    # Whoever has just changed them in `signals` wonders why nothing else did.
    return f"{chosen}, not those of signals: buy {configured['buy']:.4g}, sell {configured['sell']:.4g})"


def _liquidation(prices: dict[str, str]) -> str:
    words = [f"{price} price" for price in dict.fromkeys(prices.values())]
    if len(words) == 1:
        return words[0]
    return ", ".join(f"{symbol} {price} price" for symbol, price in prices.items())


def _summary(
    config: Config, layout: Layout, history: "History", choice: Choice, metrics: dict[str, Any], traded: Traded
) -> Summary:
    summary = Summary("simulate", _outputs(config, layout), next="pipeline output")
    part = metrics["headline_part"]
    headline, hold = metrics["headline"], metrics["buy_and_hold"][part]
    summary.figures = {
        "part shown": part + (f" (from {metrics['split_time']})" if part == "evaluation" else ""),
        "thresholds": _thresholds(choice, metrics["thresholds"]["configured"]),
        "total return": _signed(headline["total_return"]),
        "buy & hold": _signed(hold["total_return"]),
        "sharpe": headline["sharpe"],
        "max drawdown": _signed(headline["max_drawdown"]),
        "trades": headline["trades"],
        "win rate": None if headline["win_rate"] is None else f"{headline['win_rate']:.1%}",
        "p-value against random entries": metrics["random_entry"]["p_value"] if metrics["random_entry"] else None,
    }
    if prices := metrics["liquidation_price"]:
        summary.figures["liquidation by"] = _liquidation(prices)
        bare = [symbol for symbol, price in prices.items() if price == "last"]
        if bare and config.download.mark_price is not False:
            summary.warnings.append(
                f"{', '.join(bare)}: liquidation looks at the last price, whose wicks go further than the mark's; "
                "`pipeline download` and `pipeline merge` bring that one with download.mark_price: true"
            )
    if metrics["significance"]:
        summary.figures["luck, by daily returns"] = metrics["significance"]["sentence"]
        if metrics["significance"]["overfitting"]:
            summary.figures["overfitting"] = metrics["significance"]["overfitting"]["sentence"]
    for row in metrics["stress"] or []:
        summary.figures[f"stress: {row['name']}"] = _stress_line(row)
    if metrics["in_sample"]:
        summary.warnings.append(
            "in sample: the models saw some of these bars in training; these figures are no evidence"
        )
    summary.warnings += not_simulated(config)
    grid = config.simulate.grid
    if grid and grid.use and choice.chosen_by == "config":
        summary.warnings.append(
            f"no pair of thresholds made {grid.min_trades} trades with a defined {grid.metric} in the selection part; "
            "those of `signals` are used"
        )
    signals = metrics["signals"]
    summary.figures["signals"] = describe_outcomes(signals)
    if signals["halted_at_the_end_by"]:
        summary.warnings.append(
            f"trading was stopped by the breaker '{signals['halted_at_the_end_by']}' and not taken up again"
        )
    if not traded.whole.trades.num_rows:
        known = [score[np.isfinite(score)] for score in history.market.score]
        ranges = [f"{s} {k.min():.4g} to {k.max():.4g}" for s, k in zip(history.symbols, known, strict=True) if len(k)]
        summary.warnings.append(
            f"no trades at all: scores range {'; '.join(ranges) or 'nowhere (all unknown)'}, "
            f"thresholds are buy {choice.buy:g} and sell {choice.sell:g}"
        )
    return summary


def _stress_line(row: dict[str, Any]) -> str:
    worst = f", worst 5 % {_signed(row['total_return_5pct'])}" if row["total_return_5pct"] is not None else ""
    depth, trades = _signed(row["max_drawdown"]), row["trades"]
    return f"{_signed(row['total_return'])}{worst}, drawdown {depth}, {trades:,.0f} trades"


def _workers(config: Config) -> int:
    return config.workers or os.cpu_count() or 1


def _signed(fraction: float) -> str:
    return f"{fraction:+.2%}"
