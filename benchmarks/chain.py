"""merge → simulate on a year of minutes against the ancestor's figures: by `pipeline run`, which keeps all
stages in one process, and by one process per stage, as DVC and the ancestor do.

The ancestor's seconds were measured once on the same data with the same features, labels and walk-forward
(it cannot be installed beside us); so this ratio, unlike the others, compares two runs on different machines. The
LightGBM fit that was timed beside the ancestor is timed here again, before and after, and the ratio is also given
for a machine as fast as that one.
"""

import compileall
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
from stages import stage

import pipeline
from pipeline.features import compute

# Seconds of `fit` on the machine that the ancestor was measured on, binned rows given.
THERE = 5.05
ANCESTOR = {
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
    run = subprocess.run([sys.executable, __file__, "fit"], check=True, capture_output=True, text=True)
    return float(run.stdout)


def main() -> None:
    before = fit_seconds()
    folder = Path(tempfile.mkdtemp(prefix="chain-"))
    try:
        config = folder / "chain.yaml"
        config.write_text(CONFIG.format(bars=real_data() / "bitfinex/BTCUSD_1m_2018.parquet"))
        stage("download", config, folder)
        # Bytecode as `make setup` writes it; and numba compiles once, in a run that is not counted.
        compileall.compile_dir(Path(pipeline.__file__).parent, quiet=1)
        whole = ("run", config, folder, "--in-place", "--from", "merge", "--to", "simulate")
        stage(*whole)
        costs = {name: stage(name, config, folder) for name in ANCESTOR}
        run = stage(*whole)
    finally:
        shutil.rmtree(folder)
    slower = min(before, fit_seconds()) / THERE
    print(f"{'stage':<18}{'seconds':>9}{'processor':>11}{'ancestor':>10}{'peak MB':>9}")
    for name, cost in costs.items():
        print(f"{name:<18}{cost.seconds:>9.2f}{cost.processor:>11.2f}{ANCESTOR[name]:>10.1f}{cost.megabytes:>9.0f}")
        record(
            "chain",
            {
                "name": name, "ours": cost.seconds, "peer": ANCESTOR[name], "unit": "s",
                "processor": cost.processor, "peak_mb": cost.megabytes,
            },
        )  # fmt: skip
    one_process, total = run.seconds, sum(cost.seconds for cost in costs.values())
    processor = sum(cost.processor for cost in costs.values())
    print(f"seconds of processor time: {run.processor:.1f} in one process, {processor:.1f} in one for each stage")
    report("merge → simulate, one process", one_process, sum(ANCESTOR.values()), 0.2, of="the ancestor")
    report("merge → simulate, a process per stage", total, sum(ANCESTOR.values()), 0.2, of="the ancestor")
    print(f"this machine takes {slower:.2f} × as long for the fit that was timed beside the ancestor ({THERE} s)")
    there = sum(ANCESTOR.values()) * slower
    report("one process, machines made equal", one_process, there, 0.2, of="the ancestor")
    report("a process per stage, machines made equal", total, there, 0.2, of="the ancestor")
    report("peak memory of a stage", max(c.megabytes for c in costs.values()), 1000, 1, unit="MB", of="the ancestor")


if __name__ == "__main__":
    fit() if sys.argv[1:] == ["fit"] else main()
