"""Reads what `pipeline serve` did in shadow, for the report."""

import numpy as np
import pyarrow.parquet as pq

from pipeline.artifacts import Layout, read_json
from pipeline.config import utc_ms
from pipeline.errors import PipelineError
from pipeline.market.candles import times_ms
from pipeline.report.data import ShadowRun


def read_shadow(layout: Layout) -> ShadowRun | None:
    """The shadow run on the market, else the last rehearsal; None if there is neither."""
    for folder, rehearsed in ((layout.run / "serve", False), (layout.run / "serve" / "rehearsal", True)):
        paths = folder / "decisions.parquet", folder / "trades.parquet"
        if not all(path.is_file() for path in paths):
            continue
        # Neither needs a row.
        decisions, trades = (pq.read_table(path) for path in paths)
        decisions = decisions.filter(np.array([mode == "shadow" for mode in decisions["mode"].to_pylist()], bool))
        if not decisions.num_rows:
            continue
        times, equity = times_ms(decisions), decisions["equity"].to_numpy()
        latency = decisions["latency_ms"].to_numpy()
        bundle = str(decisions["bundle"][-1].as_py())
        return ShadowRun(
            rehearsed, bundle, int(times[0]), int(times[-1]), len(np.unique(times)),
            sum(decisions["late"].to_pylist()), float(equity[0]), float(equity[-1]),
            float(np.nanmedian(latency)) if np.isfinite(latency).any() else 0.0,
            [row for row in trades.to_pylist() if row["mode"] == "shadow"], _trained_until(layout, bundle),
        )  # fmt: skip
    return None


def _trained_until(layout: Layout, bundle: str) -> int | None:
    folder = layout.bundles / bundle if (layout.bundles / bundle).is_dir() else layout.trained
    try:
        return utc_ms(str(read_json(folder / "manifest.json", "train")["train"]["label_end"]))
    except (PipelineError, KeyError, ValueError):
        return None
