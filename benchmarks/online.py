"""Live trading's one step: bar closed → merged → features → score → signal → core, for one symbol and for a hundred.

Measured in a process of its own that has imported what serving needs and nothing else. Cold: the process is idle for
30 ms before each bar, as it is before a real one. Some bars are rehearsed in that time, every 10 ms as by
`serve.rehearse_every: 0.01`, and told of apart.

How long that takes is as much the machine's doing as ours. So the bare step (`bare.py`) takes turns with it, in a
process of its own, and the goal is told as a ratio to it as well: where the goals were set, it took 76 µs for one
symbol and 2.6 ms for a hundred (p99).
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MINUTE = 60_000
# By the number of symbols: the goal of p99 and what the bare step took when it was set, µs; bars that are lived
# through, as many with rehearsals, and in how many turns.
GOALS = {1: (200.0, 76.0), 100: (5000.0, 2600.0)}
BARS = {1: (1000, 500, 10), 100: (200, 100, 5)}
TALIB = [
    {"talib": {"functions": ["SMA", "EMA", "RSI", "ROC", "STDDEV", "MAX"], "inputs": ["close"],
               "periods": [5, 10, 15, 30, 45, 60, 90, 120, 180, 240]}},
    {"talib": {"functions": ["ATR"], "periods": [14]}},
]  # fmt: skip
# What is the same for all: scores of models of 200 rounds, a threshold, stops.
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
# One model instead of two, which is the work of the bare step.
ONE_MODEL: dict[str, Any] = {
    "predictions": "predict",
    "steps": [
        {"smooth": {"columns": ["up_lgbm"], "name": "smooth_score", "window": 10}},
        {"threshold": {"column": "smooth_score", "buy": 0.55, "sell": 0.45}},
    ],
}
UP, DOWN = "up-lgbm.txt", "down-lgbm.txt"
WARM_UP = 20
SPOILERS = {"numba", "pandas", "sklearn", "polars", "matplotlib", "scipy"}
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume",
           "taker_buy_quote_volume")  # fmt: skip


def prepare(folder: Path) -> None:
    """A year of merged minutes; of each kind a strategy and its bundle; prices for the bare step."""
    import lightgbm as lgb
    import numpy as np
    import pyarrow.parquet as pq
    from market import year_of_minutes

    from pipeline.config import Config
    from pipeline.config.loading import load_config
    from pipeline.features import compute
    from pipeline.market import candles
    from pipeline.models import bundle
    from pipeline.models.fitting import Fitted

    table = year_of_minutes()
    pq.write_table(table, folder / "merged.parquet", row_group_size=1 << 15)
    recent = table.slice(table.num_rows - 20_000)
    np.save(folder / "bars.npy", [candles.column(recent, name) for name in ("high", "low", "close")])
    shipped = _features(load_config(Path(__file__).parents[1] / "configs/btcusdt-1m.yaml"))
    for kind, features, signals in (
        ("one", TALIB, ONE_MODEL), ("two", TALIB, STRATEGY["signals"]), ("shipped", shipped, STRATEGY["signals"]),
    ):  # fmt: skip
        strategy = STRATEGY | {"features": features, "signals": signals}
        rows = compute(Config.model_validate(strategy | {"symbols": ["A"]}), table.slice(200_000, 20_000))
        names = rows.column_names[1:]
        matrix = np.column_stack([rows.column(name).to_numpy() for name in names])[3000:]
        rng = np.random.default_rng(0)
        models = {}
        for name in ("up",) if kind == "one" else ("up", "down"):
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
        (folder / f"{kind}.json").write_text(json.dumps(strategy))


def _features(config: Any) -> list[dict[str, Any]]:
    return [{entry.kind: entry.spec.model_dump(exclude_unset=True)} for entry in config.features]


def serve(folder: Path, kind: str, count: int, bars: int) -> None:
    """Start on a year of history, then live through up to `bars` bars, as many at a time as asked for."""
    started = time.perf_counter()
    from pipeline.lean import keep_small, settle

    keep_small()
    from pipeline.live.compiled_functions import install

    install()
    import pyarrow as pa
    import pyarrow.parquet as pq
    from idle import answer

    from pipeline.config import Config
    from pipeline.live.merging import MergeStream
    from pipeline.live.shadow import ShadowTrader, shadow_rules
    from pipeline.live.strategy import Strategy, columns_of
    from pipeline.market import candles
    from pipeline.models import bundle

    symbols = [f"S{number:03}USDT" for number in range(count)]
    config = Config.model_validate(json.loads((folder / f"{kind}.json").read_text()) | {"symbols": symbols})
    imported = time.perf_counter() - started
    path = folder / "merged.parquet"
    rows = pq.ParquetFile(path).metadata.num_rows - bars

    class Stored(Mapping[str, pa.Table]):
        # One symbol's history at a time, as a server reads it.
        def __getitem__(self, symbol: str) -> pa.Table:
            wanted = list(dict.fromkeys(["open_time", *columns_of(config)]))
            return pq.read_table(path, columns=wanted, use_threads=False).slice(0, rows)

        def __iter__(self) -> Iterator[str]:
            return iter(symbols)

        def __len__(self) -> int:
            return len(symbols)

    groups = pq.ParquetFile(path).num_row_groups
    tail = pq.ParquetFile(path).read_row_groups([groups - 2, groups - 1])
    before = tail.num_rows - bars
    origin = int(candles.times_ms(tail)[before])
    strategy = Strategy(config, bundle.load(folder / kind), Stored(), origin)
    merging = {symbol: MergeStream(config, symbol, tail.slice(0, before)) for symbol in symbols}
    trader = ShadowTrader(count, shadow_rules(config, origin), config.simulate.initial_cash)
    columns = {name: candles.column(tail, name).tolist() for name in COLUMNS}
    arrived = [{name: columns[name][row] for name in COLUMNS} for row in range(before, tail.num_rows)]
    del tail, columns
    ready = time.perf_counter() - started
    settle()
    resident = next(
        int(line.split()[1]) / 1024 for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line
    )
    facts = {"ready": ready, "imports": imported, "rss": resident, "extra": sorted(SPOILERS & set(sys.modules))}
    answer(facts, *_living(strategy, merging, trader, arrived, origin))


def _living(
    strategy: Any, merging: Mapping[str, Any], trader: Any, arrived: list[dict[str, float]], origin: int
) -> tuple[Callable[[int], Callable[[], object]], Callable[[int], None]]:
    """What `idle.answer` wants: the step of a bar, and the rehearsal of the bar before."""
    import numpy as np

    from pipeline.live.merging import Arrivals
    from pipeline.trading.core import step_once
    from pipeline.trading.records import TRADE

    symbols, scratch = list(merging), np.zeros(2 * len(merging) + 2, TRADE)
    rules = trader._record

    def step(number: int) -> Callable[[], object]:
        now, given = origin + number * MINUTE, [dict(arrived[number]) for _ in symbols]

        def due() -> None:
            merged = {s: merging[s].update(now, Arrivals(bar)) for s, bar in zip(symbols, given, strict=True)}
            trader.update(strategy.update(now, merged))

        return due

    def rehearse(number: int) -> None:
        # What `pipeline.live.rehearsing` does, of one symbol and the bar before.
        merged = {symbols[0]: merging[symbols[0]].peek(arrived[number - 1])}
        rehearsed = strategy.peek(origin + number * MINUTE, merged)
        if rehearsed is not None:
            account, signals = trader.account.copy(), rehearsed.market.signal[:, 0].copy()
            account["trades"] = 0
            step_once(account, trader.positions.copy(), scratch, trader.refused.copy(), signals, trader.bars, 0,
                      rehearsed.market, rules)  # fmt: skip

    return step, rehearse


def compare(folder: Path, kind: str, what: str, models: list[str], count: int) -> None:
    """Ours and, if it is of the same models, the bare step, in turn. models: files of those that the bare step asks."""
    import numpy as np
    from idle import Idle
    from measure import record, report

    plain, rehearsed, turns = BARS[count]
    bars = plain + rehearsed + WARM_UP
    files = ",".join(f"{kind}/{name}" for name in models)
    words = [f"{Path(__file__).parent}/bare.py", str(folder), files or f"two/{UP}", str(count), str(bars)]
    times: dict[str, list[Any]] = {"ours": [], "rehearsed": [], "bare": []}
    with Idle([__file__, "serve", str(folder), kind, str(count), str(bars)]) as ours, Idle(words) as bare:
        for process in (ours, bare):
            process.ask(WARM_UP)
        for _ in range(turns):
            times["ours"] += ours.ask(plain // turns)
            times["bare"] += bare.ask(plain // turns)
            times["rehearsed"] += ours.ask(rehearsed // turns, is_rehearsed=True)
        facts = ours.facts
    label = f"{what}, {count} symbol{'s' if count > 1 else ''}"
    found = {name: np.percentile(np.array(own), [50, 99], axis=0).tolist() for name, own in times.items()}
    for name, ((wall, cpu), (wall99, cpu99)) in found.items():
        print(f"{label}, {name}: p50 {wall:.0f} µs, p99 {wall99:.0f} µs; CPU time p50 {cpu:.0f} µs, p99 {cpu99:.0f} µs")
    print(f"{label}: imports {facts['imports']:.2f} s, ready {facts['ready']:.2f} s; RSS {facts['rss']:.0f} MB; "
          f"{facts['extra']}")  # fmt: skip
    record("online", {"name": f"{label}, details", **found, **facts})
    goal, reference = GOALS[count]
    p99, bare99 = found["ours"][1][0], found["bare"][1][0]
    report(f"bar → decision p99, {label}", p99, goal, 1, unit="µs", of="the goal")
    if models:
        report(f"bar → decision p99, {label}", p99, bare99, goal / reference, unit="µs", of="the bare step")
        report(f"bar → decision p50, {label}", found["ours"][0][0], found["bare"][0][0], goal / reference, unit="µs",
               of="the bare step")  # fmt: skip
    report(f"bar → decision p99, rehearsed as serve can, {label}", found["rehearsed"][1][0], goal, 1, unit="µs",
           of="the goal")  # fmt: skip
    report(f"ready, {label}", facts["ready"], 1 + 0.2 * count, 1, unit="s", of="1 s + 0.2 s a symbol-year")
    report(f"RSS, {label}", facts["rss"], 150.0 if count == 1 else 300.0, 1, unit="MB", of="the goal")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="online-") as name:
        subprocess.run([sys.executable, __file__, "prepare", name], check=True)
        subprocess.run([sys.executable, "-m", "pipeline.live.compiled_functions"], check=True)
        for count in BARS:
            compare(Path(name), "one", "61 columns, one model", [UP], count)
            compare(Path(name), "two", "61 columns, two models", [UP, DOWN], count)
            compare(Path(name), "shipped", "btcusdt-1m.yaml, two models", [], count)


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
