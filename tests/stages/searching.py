"""A small search: bars with a little momentum, tiny models, blocks of days."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from builders import bars
from ruamel.yaml import YAML

from pipeline.artifacts import Layout, write_table
from pipeline.stages.optimize import Limits, optimize
from pipeline.stages.runner import Options
from pipeline.stages.trials import ledger

N = 2400
FACTS = ("number", "complete", "values", "objective", "by_block")
SEARCH: dict[str, Any] = {
    "symbols": ["AAA"],
    "interval": "1h",
    "seed": 3,
    "workers": 1,
    "features": [{"talib": {"functions": ["ROC", "RSI"], "inputs": ["close"], "periods": [5, 15]}}],
    "labels": [
        {"highlow2": {"thresholds": [1.5], "tolerance": 0.5, "horizon": "12h", "names": ["up"]}},
        {"highlow2": {"function": "low", "thresholds": [1.5], "tolerance": 0.5, "horizon": "12h", "names": ["down"]}},
    ],
    "train": {"algorithms": [{"name": "gb", "rounds": 8, "params": {"num_leaves": 4, "min_data_in_leaf": 50}}]},
    "predict_rolling": {"train_length": "30d", "prediction_size": "5d", "embargo": "6h", "null_paths": 0},
    "signals": {
        "steps": [
            {"combine": {"columns": ["up_gb", "down_gb"]}},
            {"threshold": {"column": "trade_score", "buy": 0.05, "sell": -0.05}},
        ]
    },
    "simulate": {"direction": "both", "costs": {"taker_fee": 0.0002}, "exits": {"stop_loss": 0.03}},
    "risk": {"enabled": False},
    "optimize": {
        "trials": 6,
        "folds": 3,
        "holdout": 0.2,
        "min_trades": 3,
        "startup_trials": 3,
        "space": {
            "signals.steps.1.threshold.buy": {"low": 0.01, "high": 0.2},
            "signals.steps.1.threshold.sell": {"low": -0.2, "high": 0.0},
            "train.algorithms.0.params.num_leaves": {"low": 3, "high": 9},
            "features.0.talib.periods": {"choices": [[5, 15], [8, 24]]},
        },
    },
}
THRESHOLDS = {key: axis for key, axis in SEARCH["optimize"]["space"].items() if key.startswith("signals")}


def write_config(changes: dict[str, Any] | None = None, name: str = "s", **search: Any) -> Path:
    path = Path(f"{name}.yaml")
    declared = SEARCH | (changes or {})
    declared = declared | {"optimize": declared["optimize"] | search}
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(json.loads(json.dumps(declared)), file)
    return path


def write_bars(name: str = "s", seed: int = 0, n: int = N, noise_from: int | None = None) -> None:
    """Merged bars whose returns follow those of the last hour a little; from `noise_from` on they are others."""
    rng = np.random.default_rng(seed)
    change = rng.normal(0, 0.004, n)
    for t in range(12, n):
        change[t] += 0.12 * change[t - 12 : t].mean() * 12**0.5
    if noise_from is not None:
        change[noise_from:] = np.random.default_rng(99).normal(0, 0.006, n - noise_from)
    write_table(Layout(name).merged("AAA"), bars(100 * np.exp(np.cumsum(change)), step_ms=3_600_000))


def search(path: Path, **limits: Any) -> dict[str, Any]:
    """Run it, and return result.json."""
    optimize(Options(path), Limits(**{"workers": 1, **limits}))
    return json.loads((Path("data") / path.stem / "search/result.json").read_text())


def tried(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What a search tried and what came of it."""
    return [{name: trial[name] for name in FACTS} for trial in result["trials"]]


def lines(kind: str, name: str = "s") -> list[Any]:
    return [trial for trial in ledger(Layout(name)).read() if trial.kind == kind]
