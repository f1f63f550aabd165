"""Live trading's one step: bar closed → merged → features → score → signal → core, for one symbol and for a hundred.

Measured in a process of its own that has imported what serving needs and nothing else. Cold: the machine is left alone
for 30 ms before each bar, as it is before a real one. Every second bar is rehearsed in that time, every 10 ms as by
`serve.rehearse_every: 0.01`, and told of apart.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

IDLE_S, REHEARSE_S = 0.03, 0.01
MINUTE = 60_000
TALIB = [
    {"talib": {"functions": ["SMA", "EMA", "RSI", "ROC", "STDDEV", "MAX"], "inputs": ["close"],
               "periods": [5, 10, 15, 30, 45, 60, 90, 120, 180, 240]}},
    {"talib": {"functions": ["ATR"], "periods": [14]}},
]  # fmt: skip
# What is the same for both: scores of models of 200 rounds, a threshold, stops.
STRATEGY: dict[str, Any] = {
    "name": "online",
    "interval": "1m",
    "features": TALIB,
    "labels": [{"fixed_horizon": {"horizons": [60]}}],
    "train": {"algorithms": [{"name": "lgbm"}]},
    "signals": {
        "predictions": "predict",
        "steps": [
            {"combine": {"columns": ["up_lgbm", "down_lgbm"], "name": "trade_score", "combine": "difference"}},
            {"smooth": {"columns": ["trade_score"], "name": "smooth_score", "window": 10}},
            {"threshold": {"column": "smooth_score", "buy": 0.1, "sell": -0.1}},
        ],
    },
    "simulate": {"exits": {"stop_loss": 0.02, "max_bars": "1d"}},
}
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume",
           "taker_buy_quote_volume")  # fmt: skip


def prepare(folder: Path) -> None:
    """A year of merged minutes, and bundles of two models for each set of features."""
    import lightgbm as lgb
    import numpy as np
    import pyarrow.parquet as pq
    from market import year_of_minutes

    from pipeline.config import Config
    from pipeline.config.loading import load_config
    from pipeline.features import compute
    from pipeline.models import bundle
    from pipeline.models.fitting import Fitted

    table = year_of_minutes()
    pq.write_table(table, folder / "merged.parquet", row_group_size=1 << 16)
    shipped = load_config(Path(__file__).parents[1] / "configs/btcusdt-1m.yaml")
    for kind, features in (("talib", TALIB), ("shipped", _features(shipped))):
        config = Config.model_validate(STRATEGY | {"symbols": ["A"], "features": features})
        part = table.slice(200_000, 20_000)
        rows = compute(config, part)
        names = rows.column_names[1:]
        matrix = np.column_stack([rows.column(name).to_numpy() for name in names])[3000:]
        rng = np.random.default_rng(0)
        models = {}
        for name in ("up", "down"):
            label = (rng.random(len(matrix)) < 0.5 + 0.3 * np.sign(matrix[:, 3] - np.median(matrix[:, 3]))).astype(
                float
            )
            settings = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "num_threads": 1}
            booster = lgb.train(settings, lgb.Dataset(matrix, label, feature_name=names), 200)
            models[f"{name}_lgbm"] = (f"{name}-lgbm", Fitted(booster, "lightgbm", True, 200))
        facts = {name: {"kind": "lightgbm", "objective": "classification", "rounds": 200} for name in models}
        manifest = {"format": bundle.FORMAT, "models": facts, "features": names, "interval": "1m", "train": {"rows": 1},
                    "config": {"hash": "x"}, "versions": bundle.versions()}  # fmt: skip
        bundle.save(folder / kind, manifest, models)
        (folder / f"{kind}.json").write_text(json.dumps(features))


def _features(config: Any) -> list[dict[str, Any]]:
    return [{entry.kind: entry.spec.model_dump(exclude_unset=True)} for entry in config.features]


def serve(folder: Path, kind: str, count: int, bars: int) -> dict[str, float]:
    """Start on a year of history, then live through `bars` bars; times in µs, memory in MB."""
    started = time.perf_counter()
    from pipeline.lean import keep_small, settle

    keep_small()
    from pipeline.live.compiled_functions import install

    install()
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.config import Config
    from pipeline.live.merging import MergeStream
    from pipeline.live.shadow import ShadowTrader, shadow_rules
    from pipeline.live.strategy import Strategy, columns_of
    from pipeline.market import candles
    from pipeline.models import bundle

    symbols = [f"S{number:03}USDT" for number in range(count)]
    features = json.loads((folder / f"{kind}.json").read_text())
    config = Config.model_validate(STRATEGY | {"symbols": symbols, "features": features})
    imported = time.perf_counter() - started
    path = folder / "merged.parquet"
    rows = pq.ParquetFile(path).metadata.num_rows - bars - 100

    class Stored(Mapping[str, pa.Table]):
        # One symbol's history at a time, as a server reads it.
        def __getitem__(self, symbol: str) -> pa.Table:
            wanted = list(dict.fromkeys(["open_time", *columns_of(config)]))
            return pq.read_table(path, columns=wanted, use_threads=False).slice(0, rows)

        def __iter__(self) -> Iterator[str]:
            return iter(symbols)

        def __len__(self) -> int:
            return len(symbols)

    tail = pq.ParquetFile(path).read_row_groups([pq.ParquetFile(path).num_row_groups - 1])
    before = tail.num_rows - bars - 100
    times = candles.times_ms(tail)
    origin = int(times[before])
    strategy = Strategy(config, bundle.load(folder / kind), Stored(), origin)
    merging = {symbol: MergeStream(config, symbol, tail.slice(0, before)) for symbol in symbols}
    rules = shadow_rules(config, origin)
    trader = ShadowTrader(count, rules, config.simulate.initial_cash)
    columns = {name: candles.column(tail, name).tolist() for name in COLUMNS}
    arrived = [{name: columns[name][row] for name in COLUMNS} for row in range(before, tail.num_rows)]
    del tail, columns
    ready = time.perf_counter() - started
    settle()
    taken, spent, python = _lived(strategy, merging, trader, rules.array(), arrived[: bars + 20], origin)
    p50, p99 = np.percentile(taken[20::2], [50, 99])
    cpu50, cpu99 = np.percentile(spent[20::2], [50, 99])
    warm50, warm99 = np.percentile(taken[21::2], [50, 99])
    resident = next(
        int(line.split()[1]) / 1024 for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line
    )
    spoilers = sorted({"numba", "pandas", "sklearn", "polars", "matplotlib", "scipy"} & set(sys.modules))
    return {"p50": float(p50), "p99": float(p99), "cpu_p50": float(cpu50), "cpu_p99": float(cpu99),
            "rehearsed_p50": float(warm50), "rehearsed_p99": float(warm99),
            "python": float(np.median(python)), "ready": ready, "imports": imported, "rss": resident,
            "trades": int(trader.account["trades"][0]), "extra": spoilers}  # type: ignore[dict-item]  # fmt: skip


def _lived(
    strategy: Any, merging: Mapping[str, Any], trader: Any, rules: Any, arrived: list[dict[str, float]], origin: int
) -> tuple[list[float], list[float], list[float]]:
    """Wall and processor time of each bar, every second one rehearsed, and how fast Python was before it; µs."""
    import numpy as np

    from pipeline.live.merging import Arrivals
    from pipeline.trading.core import step_once
    from pipeline.trading.records import TRADE

    taken, spent, python = [], [], []
    symbols, scratch = list(merging), np.zeros(2 * len(merging) + 2, TRADE)
    for number, own in enumerate(arrived):
        now = origin + number * MINUTE
        given = [dict(own) for _ in symbols]
        python.append(_python_speed())
        for _ in range(round(IDLE_S / REHEARSE_S) - 1 if number % 2 else 0):
            time.sleep(REHEARSE_S)
            # What `pipeline.live.rehearsing` does, of one symbol and the bar before.
            rehearsed = strategy.peek(now, {symbols[0]: merging[symbols[0]].peek(arrived[number - 1])})
            if rehearsed is not None:
                account, signals = trader.account.copy(), rehearsed.market.signal[:, 0].copy()
                account["trades"] = 0
                step_once(account, trader.positions.copy(), scratch, trader.refused.copy(), signals, trader.bars, 0,
                          rehearsed.market, rules)  # fmt: skip
        time.sleep(REHEARSE_S if number % 2 else IDLE_S)
        begin, used = time.perf_counter_ns(), time.thread_time_ns()
        merged = {s: merging[s].update(now, Arrivals(bar)) for s, bar in zip(symbols, given, strict=True)}
        trader.update(strategy.update(now, merged))
        spent.append((time.thread_time_ns() - used) / 1000)
        taken.append((time.perf_counter_ns() - begin) / 1000)
    return taken, spent, python


def _python_speed() -> float:
    # µs of a thousand additions: how fast the machine is just now, and how much of it is ours.
    begin = time.perf_counter_ns()
    sum(range(1000))
    return (time.perf_counter_ns() - begin) / 1000


def main() -> None:
    from measure import record, report

    with tempfile.TemporaryDirectory(prefix="online-") as name:
        subprocess.run([sys.executable, __file__, "prepare", name], check=True)
        subprocess.run([sys.executable, "-m", "pipeline.live.compiled_functions"], check=True)
        for kind, what in (("talib", "61 columns"), ("shipped", "btcusdt-1m.yaml")):
            for count, bars in ((1, 1000), (100, 200)):
                # The first of two runs may have to compile.
                for number in (2, bars) if count == 1 else (bars,):
                    words = [sys.executable, __file__, "serve", name, kind, str(count), str(number)]
                    done = subprocess.run(words, check=True, capture_output=True, text=True, env=os.environ)
                found = json.loads(done.stdout)
                label = f"{what}, {count} symbol{'s' if count > 1 else ''}"
                print(f"{label}: p50 {found['p50']:.0f} µs, p99 {found['p99']:.0f} µs; rehearsed p50 "
                      f"{found['rehearsed_p50']:.0f} µs, p99 {found['rehearsed_p99']:.0f} µs; CPU time p50 "
                      f"{found['cpu_p50']:.0f} µs, p99 {found['cpu_p99']:.0f} µs, while a thousand additions took "
                      f"{found['python']:.1f} µs; imports {found['imports']:.2f} s, "
                      f"ready {found['ready']:.2f} s; RSS {found['rss']:.0f} MB; {found['extra']}")  # fmt: skip
                record("online", {"name": f"{label}, details", **found})
                limit = 200.0 if count == 1 else 5000.0
                report(f"bar → decision p99, {label}", found["p99"], limit, 1, unit="µs", of="the goal")
                rehearsed = f"bar → decision p99, rehearsed as serve does, {label}"
                report(rehearsed, found["rehearsed_p99"], limit, 1, unit="µs", of="the goal")
                report(f"ready, {label}", found["ready"], 1 + 0.2 * count, 1, unit="s", of="1 s + 0.2 s a symbol-year")
                report(f"RSS, {label}", found["rss"], 150.0 if count == 1 else 300.0, 1, unit="MB", of="the goal")


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["serve"]:
        print(json.dumps(serve(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))
    else:
        main()
