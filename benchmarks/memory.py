"""Peak memory of each stage on five years of minute bars: at most 2 GB."""

import shutil
import tempfile
from pathlib import Path

from measure import record, report
from stages import stage

STAGES = (
    "download",
    "merge",
    "features",
    "labels",
    "train",
    "predict",
    "predict-rolling",
    "signals",
    "simulate",
    "output",
)
CONFIG = """
symbols: [BTCUSDT]
interval: 1m
download: {source: synthetic, start: "2019-01-01", end: "2024-01-01"}
features:
  - talib: {functions: [SMA, EMA], inputs: [close], periods: [5, 15, 60, 240], relative: rel_diff}
  - talib: {functions: [RSI, ROC, CMO, LINEARREG_ANGLE], inputs: [close], periods: [5, 14, 30, 60, 240]}
  - talib: {functions: [CCI, WILLR, MFI, ADX, NATR], periods: [14, 60, 240]}
  - stats: {functions: [skew, lsbm, std, slope, area], windows: [30, 120, 480]}
  - volatility: {functions: [parkinson, garman_klass], windows: [60, 240]}
labels:
  - highlow2: {function: high, thresholds: [1.0], tolerance: 0.3, horizon: 4h, names: [high_10]}
  - highlow2: {function: low, thresholds: [1.0], tolerance: 0.3, horizon: 4h, names: [low_10]}
train:
  algorithms: [{name: gb, kind: lightgbm, rounds: 30}]
predict_rolling: {train_length: 1460d, prediction_size: 90d, window: expanding}
signals:
  steps:
    - combine: {columns: [high_10_gb, low_10_gb], combine: difference}
    - threshold: {buy: 0.05, sell: -0.05}
simulate:
  grid: {buy: {start: 0.0, stop: 0.4, n: 20}, sell: {start: -0.4, stop: 0.0, n: 20}}
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="memory-"))
    peaks = {}
    try:
        config = folder / "memory.yaml"
        config.write_text(CONFIG)
        for name in STAGES:
            cost = stage(name, config, folder)
            peaks[name] = cost.megabytes
            print(f"{name:<18}{cost.megabytes:>9.0f} MB {cost.seconds:>8.1f} s", flush=True)
            record("memory", {"name": name, "peak_mb": cost.megabytes, "seconds": cost.seconds})
    finally:
        shutil.rmtree(folder)
    report("peak memory, 5 years of minutes", max(peaks.values()), 2048, 1, unit="MB", of="the limit")


if __name__ == "__main__":
    main()
