"""The track record of a simulation, as a bundle keeps it for the gate."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Layout, read_json, read_table
from pipeline.config import utc_ms
from pipeline.evaluation.gate import Record, record_of
from pipeline.market import candles

FILE = "record.json"


def track_record(layout: Layout) -> Record:
    """Of the part whose figures come first. Raises MissingInput, BadInput: `simulate` has not left its files."""
    metrics = read_json(layout.simulation / "metrics.json", "simulate")
    table = read_table(layout.simulation / "equity.parquet", "simulate", ["open_time", "equity"])
    times, equity = candles.times_ms(table), candles.column(table, "equity")
    start = utc_ms(metrics["split_time"] if metrics["headline_part"] == "evaluation" else metrics["period"]["start"])
    # With the bar before, whose close it starts from.
    first = max(int(np.searchsorted(times, start)) - 1, 0)
    with pq.ParquetFile(layout.simulation / "trades.parquet") as file:
        trades = file.read(columns=["exit_time", "pnl"])
    inside = pc.greater_equal(pc.cast(trades["exit_time"], pa.int64()), start)
    pnl = trades.filter(inside)["pnl"].to_numpy()
    return record_of(times[first:], equity[first:], pnl, bool(metrics["in_sample"]))
