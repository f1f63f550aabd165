"""61 feature columns over a year of minutes: ours, bare TA-Lib calls, and pandas; then one bar at a time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import talib
from market import year_of_minutes
from measure import best_of, best_of_each, record, report

from pipeline.config.model import Config
from pipeline.features import FeatureStream, compute
from pipeline.market import candles

PERIODS = [5, 10, 15, 30, 45, 60, 90, 120, 180, 240]
FUNCTIONS = ["SMA", "EMA", "RSI", "ROC", "STDDEV", "MAX"]
CONFIG = Config.model_validate(
    {
        "interval": "1m",
        "features": [
            {"talib": {"functions": FUNCTIONS, "inputs": ["close"], "periods": PERIODS}},
            {"talib": {"functions": ["ATR"], "periods": [14]}},
        ],
    }
)


def bare_talib(columns: dict[str, np.ndarray], out: np.ndarray) -> None:
    """The same calls by two threads into the rows of one float32 matrix."""
    close, high, low = columns["close"], columns["high"], columns["low"]
    jobs = [(getattr(talib, name), (close, period)) for name in FUNCTIONS for period in PERIODS]
    jobs.append((talib.ATR, (high, low, close, 14)))

    def run(row: int) -> None:
        function, arguments = jobs[row]
        out[row] = function(*arguments)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(len(jobs))))


def with_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    """The same columns as one writes them in pandas (RSI and ATR by Wilder's smoothing)."""
    close = frame["close"]
    change = close.diff()
    kinds: dict[str, Callable[[int], pd.Series]] = {
        "SMA": lambda p: close.rolling(p).mean(),
        "EMA": lambda p: close.ewm(span=p, adjust=False).mean(),
        "RSI": lambda p: (
            100
            - 100
            / (
                1
                + change.clip(lower=0).ewm(alpha=1 / p, adjust=False).mean()
                / (-change.clip(upper=0)).ewm(alpha=1 / p, adjust=False).mean()
            )
        ),
        "ROC": lambda p: 100 * close.pct_change(p),
        "STDDEV": lambda p: close.rolling(p).std(ddof=0),
        "MAX": lambda p: close.rolling(p).max(),
    }
    columns = {f"{name}_{p}": make(p).astype(np.float32) for name, make in kinds.items() for p in PERIODS}
    before = close.shift()
    span = pd.concat([frame.high - frame.low, (frame.high - before).abs(), (frame.low - before).abs()], axis=1).max(
        axis=1
    )
    columns["ATR_14"] = span.ewm(alpha=1 / 14, adjust=False).mean().astype(np.float32)
    return pd.DataFrame(columns)


def main() -> None:
    table = year_of_minutes().select(["open_time", "close", "high", "low"])
    columns = {name: candles.column(table, name) for name in ("close", "high", "low")}
    frame = pd.DataFrame(columns)
    # Fresh memory for both: filling new pages is part of the cost.
    ours, bare = best_of_each(
        [lambda: compute(CONFIG, table), lambda: bare_talib(columns, np.empty((61, table.num_rows), np.float32))], 9
    )
    report("61 columns × 1 year", ours, bare, 1.15, of="bare TA-Lib, 2 threads")
    pandas = best_of(lambda: with_pandas(frame), 2)
    report("61 columns × 1 year, times faster", 1 / ours, 1 / pandas, 8, True, unit="1/s", of="pandas")

    stream = FeatureStream(CONFIG, table.slice(0, 500_000))
    times = candles.times_ms(table)
    bars = [{name: float(values[i]) for name, values in columns.items()} for i in range(500_000, 520_000)]
    taken = []
    for offset, bar in enumerate(bars):
        start = time.perf_counter_ns()
        stream.update(bar, int(times[500_000 + offset]))
        taken.append((time.perf_counter_ns() - start) / 1000)
    p50, p99 = np.percentile(taken, [50, 99])
    print(f"one bar, 61 columns: p50 {p50:.1f} µs, p99 {p99:.1f} µs")
    record("features", {"name": "one bar, 61 columns", "ours": float(p50), "p99": float(p99), "unit": "µs"})


if __name__ == "__main__":
    main()
