"""Simulate against vectorbt: one run, a grid of 100 x 100 thresholds, metrics; on a year of minutes.

    pip install vectorbt                                  # into any environment (or the extra `bench` here)
    VECTORBT_PYTHON=/that/bin/python python benchmarks/simulate.py

vectorbt runs in its own process (this file with `--peer`), because it need not share our environment;
without VECTORBT_PYTHON this interpreter is tried. Each is timed after a warm-up, data in memory.
The peer's grid is extrapolated from single runs over the grid, as it simulates column by column.
"""

import gc
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MINUTE = 60_000
STOPS = {"stop_loss": 0.02, "take_profit": 0.03, "trailing_stop": 0.015}
FEE, SLIPPAGE, CASH = 0.001, 0.0001, 10_000.0
BUYS, SELLS = np.linspace(0.5, 3, 100), np.linspace(-3, -0.5, 100)


def year_of_minutes(folder: Path) -> dict[str, np.ndarray]:
    """Bitfinex 2018 on the complete minute grid, with a score: how far the price is below its hour's mean."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "bitfinex" / "BTCUSD_1m_2018.parquet")
    rows = (table["open_time"].to_numpy() - table["open_time"][0].as_py()) // MINUTE
    n = int(rows[-1]) + 1
    filled = np.ones(n, bool)
    filled[rows] = False
    known = np.maximum.accumulate(np.where(filled, 0, np.arange(n)))
    data = {"filled": filled}
    for name in ("close", "open", "high", "low"):
        column = np.empty(n)
        column[rows] = table[name].to_numpy()
        data[name] = np.where(filled, data.get("close", column)[known], column)
    log = np.log(data["close"])
    total = np.concatenate([[0.0], np.cumsum(log)])
    below = np.zeros(n)
    below[59:] = (total[60:] - total[:-60]) / 60 - log[59:]
    score = below / below.std()
    data["score"] = np.where(filled, np.nan, score)
    return data


def peer_python() -> str | None:
    """An interpreter that has vectorbt, if there is one."""
    for python in (os.environ.get("VECTORBT_PYTHON"), sys.executable):
        if (
            python
            and subprocess.run([python, "-c", "import vectorbt"], capture_output=True, check=False).returncode == 0
        ):
            return python
    return None


def run_peer(
    python: str, data: dict[str, np.ndarray], runs: list[dict[str, Any]], repeats: int = 3
) -> list[dict[str, Any]]:
    """vectorbt's trades and fastest time for each run: `buy` and `sell` thresholds and options."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(inputs, **data, runs=np.array(repr(runs)), repeats=repeats)
        subprocess.run(
            [python, __file__, "--peer", inputs, outputs], check=True, cwd=folder, env={**os.environ, "PYTHONPATH": ""}
        )
        with np.load(outputs) as results:
            fields = ("entry", "exit", "entry_price", "exit_price", "pnl", "seconds", "stats_seconds")
            return [{name: results[f"{name}_{i}"] for name in fields} for i in range(len(runs))]


def peer(inputs: str, outputs: str) -> None:
    """The part that runs where vectorbt is installed."""
    import ast

    import vectorbt as vbt

    with np.load(inputs) as file:
        data = dict(file)
    results: dict[str, Any] = {}
    for i, run in enumerate(ast.literal_eval(str(data["runs"]))):
        buy, sell = data["score"] >= run.pop("buy"), data["score"] <= run.pop("sell")
        with_stats = run.pop("stats", False)
        # A signal at a close is an order at the next open.
        entries, exits = np.r_[False, buy[:-1]], np.r_[False, sell[:-1]]
        prices = {name: data[name] for name in ("open", "high", "low", "close")}

        def simulate(entries: Any = entries, exits: Any = exits, prices: Any = prices, run: Any = run) -> Any:
            return vbt.Portfolio.from_signals(
                **prices, price=prices["open"], entries=entries, exits=exits, init_cash=CASH,
                stop_entry_price="fillprice", freq="1min", **run,
            )  # fmt: skip

        simulate()
        seconds = []
        for _ in range(int(data["repeats"])):
            start = time.perf_counter()
            portfolio = simulate()
            seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        if with_stats:
            portfolio.stats()
        records = portfolio.trades.values
        fields = {
            "entry": "entry_idx",
            "exit": "exit_idx",
            "entry_price": "entry_price",
            "exit_price": "exit_price",
            "pnl": "pnl",
        }
        results |= {f"{ours}_{i}": records[theirs] for ours, theirs in fields.items()}
        results |= {f"seconds_{i}": min(seconds), f"stats_seconds_{i}": time.perf_counter() - start}
    np.savez(outputs, **results)


def episodes(data: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The data with a signal to enter each day and one to leave 21 hours later, and the bars of the entries.

    So each trade stands for itself: one that differs does not shift those after it.
    """
    score = np.zeros(len(data["close"]))
    score[600::1440], score[1900::1440] = 1.0, -1.0
    entries = np.flatnonzero(score > 0) + 1
    return data | {"score": score}, entries[entries < len(score)]


def flat_at(data: dict[str, np.ndarray], bars: np.ndarray) -> dict[str, np.ndarray]:
    """The data with some bars that stay at their open: there vectorbt's stops and ours see the same."""
    changed = dict(data)
    for name in ("high", "low", "close"):
        changed[name] = data[name].copy()
        changed[name][bars] = data["open"][bars]
    return changed


# Each stop alone: our rule, vectorbt's options.
ONE_STOP = {
    "stop-loss": ({"stop_loss": 0.01}, {"sl_stop": 0.01}),
    "take-profit": ({"take_profit": 0.01}, {"tp_stop": 0.01}),
    "trailing stop": ({"trailing_stop": 0.01}, {"sl_stop": 0.01, "sl_trail": True}),
}


def same_stops(python: str, data: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Our trades and vectorbt's of each stop alone, on a signal a day."""
    from pipeline.trading.bars import Bars
    from pipeline.trading.market import market_of, signals_of
    from pipeline.trading.rules import Rules
    from pipeline.trading.simulation import simulate

    runs = [{"buy": 0.5, "sell": -0.5, "fees": FEE, **theirs} for _, theirs in ONE_STOP.values()]
    peers = run_peer(python, data, runs, repeats=1)
    prices = [data[name] for name in ("open", "high", "low", "close")]
    bars = Bars(*prices, np.zeros(len(prices[0]), bool))
    market = market_of(bars, signals_of(data["score"] > 0.5, data["score"] < -0.5))
    return {
        name: (simulate(market, Rules(taker_fee=FEE, maker_fee=FEE, **ours), CASH).trades, found)
        for (name, (ours, _)), found in zip(ONE_STOP.items(), peers, strict=True)
    }


def agreement(ours: np.ndarray, theirs: dict[str, np.ndarray]) -> float:
    """Share of all trades, ours and theirs, that both made: same bars, prices to 1e-9."""
    mine = {(t["entry_bar"], t["exit_bar"]): (t["entry_price"], t["exit_price"]) for t in ours}
    same = 0
    for entry, exit_, paid, got in zip(
        *(theirs[k] for k in ("entry", "exit", "entry_price", "exit_price")), strict=True
    ):
        prices = mine.get((entry, exit_))
        same += prices is not None and bool(np.allclose(prices, (paid, got), rtol=1e-9))
    return same / max(1, len(mine) + len(theirs["entry"]) - same)


def main() -> None:  # noqa: PLR0915
    """Time both, print the ratios."""
    from measure import best_of, real_data, report

    from pipeline.evaluation.performance import performance
    from pipeline.trading.bars import Bars
    from pipeline.trading.core import step_once
    from pipeline.trading.grid import scan_thresholds
    from pipeline.trading.ledger import trade_table
    from pipeline.trading.market import market_of, signals_of
    from pipeline.trading.reasons import COUNT
    from pipeline.trading.records import TRADE, new_account, new_positions
    from pipeline.trading.rules import VOLATILITY_TARGET, Rules
    from pipeline.trading.simulation import simulate

    data = year_of_minutes(real_data())
    bars = Bars(*(data[name] for name in ("open", "high", "low", "close", "filled")))
    score, n = data["score"], len(data["score"])
    times = MINUTE * np.arange(n, dtype=np.int64)
    rules = Rules(taker_fee=FEE, maker_fee=FEE, slip=SLIPPAGE, **STOPS)

    buy, sell = score >= 1.5, score <= -1.5
    market = market_of(bars, signals_of(buy, sell), score=score)
    plain_run = best_of(lambda: simulate(market, rules, CASH), 9)
    # Everything on: sizing, gates asked for every bar, limits, breakers, filters.
    rng = np.random.default_rng(0)
    everything = rules._replace(
        sizing=VOLATILITY_TARGET, target_volatility=0.0008, order_notional=50_000.0, symbol_exposure=1.0,
        total_exposure=1.0, correlated_exposure=1.0, open_positions=5, entries_per_day=50, cool_down=2,
        daily_loss=0.08, drawdown=0.3, losses_in_a_row=5, pause=240,
    )  # fmt: skip
    full = market.changed(
        volatility=rng.uniform(0.0005, 0.002, (1, n)),
        refuse_long=(rng.random((1, n)) < 0.2).astype(np.uint8) * np.uint8(10),
    )._replace(filters=np.array([[0.01, 1e-5, 1e-5, 0.0, 5.0]]))
    single = best_of(lambda: simulate(full, everything, CASH), 9)

    account, positions, ledger = new_account(CASH), new_positions(1), np.empty(20_000, TRADE)
    record = everything.array()
    refused, taken = np.zeros(COUNT, np.int64), []
    gc.disable()
    for t in range(20_000):
        now = full.signal[:, t].copy()
        column = full.at(t)
        began = time.perf_counter_ns()
        step_once(account, positions, ledger, refused, now, t, 0, column, record)
        taken.append((time.perf_counter_ns() - began) / 1000)
    gc.enable()
    taken = taken[100:]  # the first ones load the compiled code

    def with_metrics() -> None:
        result = simulate(full, everything, CASH)
        performance(times, result.equity, trade_table(["BTCUSD"], result.trades, times), "1m")

    metrics = best_of(with_metrics, 5)
    workers = os.cpu_count() or 1
    scan_thresholds(full, (BUYS[:1], SELLS[:1]), everything, CASH, split=n // 2, workers=workers)
    grid, busy = np.inf, np.inf
    for _ in range(3):
        start, started = time.perf_counter(), time.process_time()
        tallies = scan_thresholds(full, (BUYS, SELLS), everything, CASH, split=n // 2, workers=workers)
        grid, busy = min(grid, time.perf_counter() - start), min(busy, time.process_time() - started)
    for title, trades, seconds in (
        ("full core", simulate(full, everything, CASH).trades, single),
        ("no sizing, no limits", simulate(market, rules, CASH).trades, plain_run),
    ):
        print(f"{n:,} bars; single run, {title}: {len(trades):,} trades, {n / seconds / 1e6:.0f} Mbar/s")
    report("step called singly, p99", float(np.percentile(taken, 99)), 20, 1, unit="µs", of="limit")
    print(f"{'':<44} p50 {np.percentile(taken, 50):.1f} µs")
    print(f"grid: {tallies['trades'].sum():,} trades on {workers} threads, metrics of two parts each")
    # Where others use the machine too, the threads wait: what they would take alone is said as well.
    print(f"grid: {busy:.2f} s of processor time, {busy / workers:.2f} s on {workers} idle cores")

    python = peer_python()
    if python is None:
        print("vectorbt is not installed: no ratios (see the top of this file)")
        return
    stops = {
        "sl_stop": STOPS["trailing_stop"],
        "sl_trail": True,
        "tp_stop": STOPS["take_profit"],
        "fees": FEE,
        "slippage": SLIPPAGE,
    }
    sample = [{"buy": float(BUYS[i]), "sell": float(SELLS[j]), **stops} for i in (0, 50, 99) for j in (0, 50, 99)]
    plain = {"buy": 1.5, "sell": -1.5, "fees": FEE, "slippage": SLIPPAGE}
    loss = {"buy": 1.5, "sell": -1e9, "fees": FEE, "sl_stop": 0.02}
    first, no_stops, stop_only, *cells = run_peer(
        python, data, [{"buy": 1.5, "sell": -1.5, **stops, "stats": True}, plain, loss, *sample]
    )
    print("both runs below: vectorbt with stops, target and fees alone; ours with every rule on as well")
    report("one run, full core", single, float(first["seconds"]), 1 / 10, of="vectorbt from_signals")
    print(f"{'':<44} {float(first['seconds']) / single:.0f} x faster (goal 10 x, stretch 40 x)")
    whole = float(np.mean([cell["seconds"] for cell in cells])) * len(BUYS) * len(SELLS)
    report("grid 100 x 100", grid, whole, 1 / 100, of="vectorbt, from 9 of 10,000 sets")
    print(f"{'':<44} {whole / grid:.0f} x faster (goal 100 x)")
    report("trades and metrics", metrics, 0.05, 1.0, of="limit")
    print(f"{'':<44} vectorbt's run and stats() take {float(first['seconds'] + first['stats_seconds']):.1f} s")

    # The peer knows no made-up bars: compare as if all were real.
    real = bars._replace(filled=np.zeros(n, bool))
    only_costs = rules._replace(stop_loss=np.inf, take_profit=np.inf, trailing_stop=np.inf)
    mine = simulate(market_of(real, signals_of(buy, sell)), only_costs, CASH).trades
    print(f"trades equal to vectorbt's, next-open fills and costs: {agreement(mine, no_stops):.2%} of {len(mine)}")
    stop_rules = only_costs._replace(stop_loss=0.02, slip=0.0)
    mine = simulate(market_of(real, signals_of(buy, sell & False)), stop_rules, CASH).trades
    print(f"trades equal to vectorbt's, stop-loss only: {agreement(mine, stop_only):.2%} of {len(mine)}")
    # A year of days, a trade each; then the same where the entry bar, which only we look at, stays at its open.
    daily, entries = episodes(data)
    for words, chosen in (("", daily), (", entry bars flat", flat_at(daily, entries))):
        for name, (ours, theirs) in same_stops(python, chosen).items():
            print(f"trades equal to vectorbt's, {name}{words}: {agreement(ours, theirs):.2%} of {len(ours)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:4])
    else:
        main()
