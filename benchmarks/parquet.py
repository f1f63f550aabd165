"""Writing and reading the two kinds of table the pipeline keeps, against pandas with its defaults.

    python benchmarks/parquet.py

Features are what a stage writes and the next one reads: 60 float32 columns on the real minutes of
BTCUSDT. Bars are kept for long: the ten columns of `candles.SCHEMA`. Both sides write to the same
folder and the file is in the page cache when it is read.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import best_of, real_data, report

from pipeline.artifacts import read_table, write_table
from pipeline.config.sources import FileSource
from pipeline.market import files
from pipeline.market.candles import COLUMNS, column

PERIODS = (5, 10, 14, 20, 30, 50, 60, 100, 120, 200, 300, 400)


def features(bars: pa.Table) -> pa.Table:
    """Relative averages, oscillators and ranges, as a config's `features` would name them."""
    import talib

    close, high, low = (column(bars, name) for name in ("close", "high", "low"))
    columns: dict[str, np.ndarray] = {}
    for period in PERIODS:
        columns[f"close_SMA_{period}"] = talib.SMA(close, period) / close - 1
        columns[f"close_RSI_{period}"] = talib.RSI(close, period)
        columns[f"close_ROC_{period}"] = talib.ROC(close, period)
        columns[f"high_low_close_ATR_{period}"] = talib.ATR(high, low, close, period) / close
        columns[f"close_LINEARREG_SLOPE_{period}"] = talib.LINEARREG_SLOPE(close, period) / close
    return pa.table({"open_time": bars["open_time"], **{n: v.astype(np.float32) for n, v in columns.items()}})


def compare(kind: str, table: pa.Table, write_goal: float, size_goal: float, folder: Path) -> None:
    """Write, size and read of one table beside pandas."""
    import pandas as pd

    frame = table.to_pandas()
    ours, theirs = folder / "ours.parquet", folder / "pandas.parquet"
    shape = f"{kind}, {table.num_rows:,} x {table.num_columns}"
    # Three rounds: these tables take seconds, and the second round repeats to a few percent.
    write = best_of(lambda: write_table(ours, table), 3)
    report(f"{shape}: write", write, best_of(lambda: frame.to_parquet(theirs), 3), 1 / write_goal, of="pandas")
    sizes = (path.stat().st_size / 1e6 for path in (ours, theirs))
    report(f"{shape}: size", *sizes, size_goal, unit="MB", of="pandas")
    read = best_of(lambda: read_table(ours, "features"), 3)
    report(f"{shape}: read", read, best_of(lambda: pd.read_parquet(theirs), 3), 1.0, of="pandas")


def main() -> None:
    path = str(real_data() / "spot" / "{symbol}_{interval}.parquet")
    bars = files.read(FileSource(path=path), "parquet", "BTCUSDT", "1m", 0, 1 << 60)
    with tempfile.TemporaryDirectory() as folder:
        compare("features", features(bars), 4.0, 0.6, Path(folder))
        compare("bars", bars.select(["open_time", *COLUMNS]), 1.0, 0.8, Path(folder))


if __name__ == "__main__":
    main()
