"""merge → simulate on a year of minutes: by `pipeline run`, which keeps all stages in one process, and by one process
per stage, as DVC and the ancestor do; against the ancestor.

The ancestor's seconds (`QUOTED`) were measured once, on another machine, on the same data with the same features,
labels and walk-forward; it cannot be installed beside us. So its chain is re-stated in `ancestor.py` and run here,
stage by stage in turn with ours. That this is no straw man is shown by the quoted seconds: times the factor of a
LightGBM fit that was timed on that machine and is timed on this one, before and after. The peer of a stage is the
smaller of the two.
"""

import ast
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import lightgbm as lgb
import numpy as np
from features import CONFIG as FEATURES
from market import year_of_minutes
from measure import best_of, real_data, record, report
from stages import Cost, process, stage

import pipeline
from pipeline.features import compute

# Seconds of `fit` on the machine that the ancestor was measured on, binned rows given.
THERE = 5.05
QUOTED = {
    "merge": 1.7,
    "features": 2.4,
    "labels": 10.5,
    "train": 5.9,
    "predict": 4.9,
    "predict-rolling": 18.4,
    "signals": 1.3,
    "simulate": 1.6,
}
CONFIG = """
symbols: [BTCUSD]
interval: 1m
download: {{source: parquet, start: "2018-01-01", end: "2019-01-01", file: {{path: "{bars}"}}}}
features:
  - talib: {{functions: [SMA], inputs: [close], periods: [5, 10, 15, 60]}}
  - talib: {{functions: [LINEARREG_SLOPE, STDDEV], inputs: [close], periods: [5, 10, 15, 30, 60]}}
labels:
  - highlow2: {{function: high, thresholds: [2.0], tolerance: 0.2, horizon: 120, names: [high_20]}}
  - highlow2: {{function: low, thresholds: [2.0], tolerance: 0.2, horizon: 120, names: [low_20]}}
train:
  validation: 0    # the ancestor holds nothing out here either
  algorithms: [{{name: gb, kind: lightgbm, rounds: 50}}]
predict_rolling: {{start: "2018-12-04", train_length: 300d, prediction_size: 10080, steps: 4, null_paths: 0}}
signals:
  steps:
    - combine: {{columns: [high_20_gb, low_20_gb], combine: difference}}
    - threshold: {{buy: 0.05, sell: -0.05}}
"""


def fit() -> None:
    """Print the seconds of the better of two LightGBM fits: a year of minutes, 61 features, binned; 200 rounds of 31
    leaves, two threads; the label is the next bar's direction."""
    bars = year_of_minutes()
    table = compute(FEATURES, bars)
    matrix = np.stack([table.column(name).to_numpy() for name in table.schema.names[1:62]], axis=1)
    close = bars.column("close").to_numpy()
    label = np.append(close[1:] > close[:-1], False).astype(np.float32)
    rows = lgb.Dataset(matrix, label, params={"verbosity": -1}).construct()
    settings = {"objective": "binary", "num_leaves": 31, "num_threads": 2, "verbosity": -1}
    print(best_of(lambda: lgb.train(settings, rows, 200), 1))


def fit_seconds() -> float:
    """The same in a process of its own: what it leaves in memory would count for the stages."""
    # Beside other work, threads that spin while they wait would time that work.
    variables = os.environ | {"OMP_WAIT_POLICY": "passive"}
    run = subprocess.run([sys.executable, __file__, "fit"], check=True, capture_output=True, text=True, env=variables)
    return float(run.stdout)


def main() -> None:
    before = fit_seconds()
    folder = Path(tempfile.mkdtemp(prefix="chain-"))
    bars = real_data() / "bitfinex/BTCUSD_1m_2018.parquet"
    try:
        config = folder / "chain.yaml"
        config.write_text(CONFIG.format(bars=bars))
        stage("download", config, folder)
        # Bytecode as `make setup` writes it; and numba compiles once, in a run that is not counted.
        compileall.compile_dir(Path(pipeline.__file__).parent, quiet=1)
        whole = ("run", config, folder, "--in-place", "--from", "merge", "--to", "simulate")
        stage(*whole)
        costs, theirs = {}, {}
        for name in QUOTED:
            costs[name], theirs[name] = stage(name, config, folder), ancestor(name, folder, bars)
        run = stage(*whole)
        print(_learned(folder))
    finally:
        shutil.rmtree(folder)
    slower = min(before, fit_seconds()) / THERE
    print(f"this machine takes {slower:.2f} × as long for the fit that was timed beside the ancestor ({THERE} s)")
    peers = {name: min(theirs[name].seconds, QUOTED[name] * slower) for name in QUOTED}
    _print(costs, theirs, peers, slower)
    peer, total = sum(peers.values()), sum(cost.seconds for cost in costs.values())
    quoted = sum(QUOTED.values())
    print(f"ours / its {quoted:.0f} s on the other machine: {run.seconds / quoted:.2f} and {total / quoted:.2f}")
    of = "the ancestor, re-stated"
    report("merge → simulate, one process", run.seconds, peer, 0.2, of=of)
    report("merge → simulate, a process per stage", total, peer, 0.2, of=of)
    processor = sum(cost.processor for cost in costs.values())
    its = sum(cost.processor for cost in theirs.values())
    report("processor time, one process", run.processor, its, 0.2, of=of)
    report("processor time, a process per stage", processor, its, 0.2, of=of)
    report("peak memory of a stage", max(c.megabytes for c in costs.values()), 1000, 1, unit="MB", of="the ancestor")


def ancestor(name: str, folder: Path, bars: Path) -> Cost:
    """One stage of the stand-in. Its threads wait without spinning: beside other work, that would cost it fourfold."""
    (folder / "ancestor").mkdir(exist_ok=True)
    given = [str(bars)] if name == "merge" else []
    script = str(Path(__file__).with_name("ancestor.py"))
    return process(folder / "ancestor", name, script, name, str(folder / "ancestor"), *given, OMP_WAIT_POLICY="passive")


def _learned(folder: Path) -> str:
    # Both have done the same work if both know as much out of sample.
    ours = json.loads((folder / "data/chain/rolling/folds.json").read_text())["pooled"]
    theirs = ast.literal_eval((folder / "ancestor/predict-rolling.log").read_text().splitlines()[-1])
    pairs = (f"{name} {ours[f'{name}_gb']['auc']:.3f} and {theirs[name]['auc']:.3f}" for name in theirs)
    return f"AUC out of sample, ours and the stand-in's: {', '.join(pairs)}"


def _print(costs: dict[str, Cost], theirs: dict[str, Cost], peers: dict[str, float], slower: float) -> None:
    head = ("quoted", "× here", "stand-in", "/ quoted", "processor", "ours", "processor", "ours / peer", "peak MB")
    print(f"{'stage':<16}" + "".join(f"{word:>12}" for word in head))
    for name, cost in costs.items():
        its = theirs[name]
        row = (QUOTED[name], QUOTED[name] * slower, its.seconds, its.seconds / QUOTED[name], its.processor)
        row += (cost.seconds, cost.processor, cost.seconds / peers[name], cost.megabytes)
        print(f"{name:<16}" + "".join(f"{value:>12.2f}" for value in row))
        record(
            "chain",
            {
                "name": name, "ours": cost.seconds, "peer": peers[name], "unit": "s", "quoted": QUOTED[name],
                "stand_in": its.seconds, "stand_in_processor": its.processor,
                "processor": cost.processor, "peak_mb": cost.megabytes,
            },
        )  # fmt: skip


if __name__ == "__main__":
    fit() if sys.argv[1:] == ["fit"] else main()
