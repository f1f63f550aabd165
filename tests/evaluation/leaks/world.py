"""A small synthetic market that the whole chain has run over, to plant leaks in."""

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline.artifacts import Layout
from pipeline.config import Config
from pipeline.evaluation.certificate import Certificate
from pipeline.stages.runner import run_stage
from pipeline.stages.verify import certify

LAYOUT = Layout("t")
FEATURES: list[dict[str, Any]] = [
    {"talib": {"functions": ["RSI", "ROC"], "inputs": ["close"], "periods": [5, 14]}},
    {"stats": {"functions": ["skew"], "windows": [20]}},
]
TRAIN: dict[str, Any] = {
    "algorithms": [{"name": "gb", "rounds": 5, "params": {"num_leaves": 7, "min_data_in_leaf": 50}}]
}
CHAIN = ("labels", "features", "train", "predict-rolling", "signals", "simulate")


def config(*features: dict[str, Any], **changes: Any) -> Config:
    base: dict[str, Any] = {
        "name": "t",
        "symbols": ["BTCUSDT"],
        "interval": "15m",
        "seed": 3,
        "download": {
            "source": "synthetic",
            "start": "2023-01-01",
            "end": "2023-02-01",
            "synthetic": {"seed": 5, "outages_per_year": 300, "edge": 0.2},
        },
        "features": [*FEATURES, *features],
        "labels": [{"highlow2": {"thresholds": [0.8], "tolerance": 0.5, "horizon": "3h", "names": ["up"]}}],
        "train": {**TRAIN, "exclude": ["leak"]},
        "predict_rolling": {"train_length": "10d", "prediction_size": "5d", "embargo": "1h", "null_paths": 0},
        "signals": {"steps": [{"threshold": {"column": "up_gb", "buy": 0.3, "sell": 0.2}}]},
        "simulate": {
            "random_entries": 0,
            "exits": {"max_bars": 6},
            "grid": {
                "min_trades": 1,
                "buy": {"start": 0.1, "stop": 0.5, "n": 5},
                "sell": {"start": 0.05, "stop": 0.2, "n": 3},
            },
        },
    }
    return Config.model_validate(base | changes)


def run(declared: Config, *stages: str) -> None:
    for stage in stages:
        run_stage(stage, declared, LAYOUT)


def made(folder: Path) -> None:
    """The files of the whole chain below the current folder; made once, and copied from `folder` after that."""
    if not folder.is_dir():
        with contextlib.chdir(tempfile.mkdtemp(dir=folder.parent)):
            run(config(), "download", "merge", *CHAIN)
            shutil.move(Path.cwd(), folder)
    shutil.copytree(folder, ".", dirs_exist_ok=True)


def failed(certificate: Certificate, column: str) -> set[str]:
    """Checks that a column did not pass."""
    return {one.check for one in certificate.findings if one.column == column and not one.passed}


def certified(declared: Config, *stages: str) -> Certificate:
    """The fast certificate of a config after some of its stages have run again."""
    run(declared, *stages)
    return certify(declared, LAYOUT, "fast")
