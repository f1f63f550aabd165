"""Merged bars and features on disk for the stages that learn."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from builders import bars

from pipeline.artifacts import Layout, write_table
from pipeline.config.model import Config
from pipeline.stages.runner import run_stage

LAYOUT = Layout("t")


def config(**changes) -> Config:
    base = {
        "name": "t",
        "symbols": ["AAA", "BBB"],
        "interval": "5m",
        "features": [{"stats": {"functions": ["mean"], "windows": [20]}}],
        "labels": [
            {"highlow2": {"thresholds": [0.8], "tolerance": 0.5, "horizon": "2h", "names": ["up"]}},
            {"fixed_horizon": {"horizons": [12]}},
        ],
        "train": {
            "algorithms": [
                {"name": "gb", "rounds": 15, "early_stopping": 5, "params": {"num_leaves": 7}},
                {"name": "lc", "kind": "linear"},
            ]
        },
        "predict_rolling": {"train_length": "10d", "prediction_size": "5d", "embargo": "1h"},
    }
    return Config.model_validate(base | changes)


def write_inputs(declared: Config, n: int = 9000, folder: Path = Path()) -> None:
    """Bars whose next return depends a little on the feature `signal`, features, and labels of them."""
    layout = Layout("t", data=folder / "data", models=folder / "MODELS")
    for number, symbol in enumerate(declared.symbols):
        rng = np.random.default_rng(number)
        signal = rng.normal(size=n)
        change = 0.0015 * rng.normal(size=n) + 0.0006 * np.append(0.0, signal[:-1])
        table = bars(100 * np.exp(np.cumsum(change)), step_ms=300_000)
        filled = np.zeros(n, bool)
        filled[3000:3010] = True
        table = table.set_column(table.schema.get_field_index("is_filled"), "is_filled", [filled])
        noise = {f"noise{j}": rng.normal(size=n).astype(np.float32) for j in range(3)}
        noise["noise0"][:30] = np.nan
        features = {"open_time": table.column("open_time"), "signal": signal.astype(np.float32), **noise}
        write_table(layout.merged(symbol), table)
        write_table(layout.features(symbol), pa.table(features))
    run_stage("labels", declared, layout)
