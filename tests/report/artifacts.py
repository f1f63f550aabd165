"""A finished run in the contract's files, on a made-up market; simulated by the real stage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from builders import START_MS, bars, random_walk

from pipeline.artifacts import Layout, write_json, write_table
from pipeline.config import Config
from pipeline.stages import simulate
from pipeline.stages.times import iso

HOUR = 3_600_000
GRID = {"buy": {"start": 0.02, "stop": 0.4, "n": 12}, "sell": {"start": -0.4, "stop": -0.02, "n": 10}}
LABELS = ("high_10", "low_10")


def config(symbols: tuple[str, ...] = ("BTCUSDT",), **sections: Any) -> Config:
    """A config of hourly bars whose score is high_10_lgbm − low_10_lgbm, searched over a small grid."""
    steps = [{"combine": {"columns": ["high_10_lgbm", "low_10_lgbm"]}}, {"threshold": {"buy": 0.1, "sell": -0.1}}]
    base: dict[str, Any] = {
        "name": "test",
        "interval": "1h",
        "symbols": list(symbols),
        "signals": {"steps": steps},
        "simulate": {"random_entries": 200, "grid": GRID, "exits": {"stop_loss": 0.03}},
    }
    return Config.model_validate(base | sections)


def write_run(config_: Config, layout: Layout, n: int = 6000, *, edge: float = 0.3, boolean: bool = True) -> None:
    """Bars, labels, scores, folds, a manifest, gaps and signals; then the simulation of them."""
    for number, symbol in enumerate(config_.symbols):
        _write_symbol(config_, layout, symbol, n, edge, number, boolean)
    write_json(
        layout.gaps,
        {s: {"rows": n, "filled": 3, "share": 3 / n, "zero_volume": 3, "gaps": [GAP]} for s in config_.symbols},
    )
    write_json(layout.folds, _folds(n))
    write_json(layout.trained / "manifest.json", _manifest())
    simulate.run(config_, layout)


def metrics_of(layout: Layout) -> Any:
    return json.loads((layout.simulation / "metrics.json").read_text())


def without(*paths: Path) -> None:
    for path in paths:
        path.unlink()


GAP = {"start": iso(START_MS + 100 * HOUR), "end": iso(START_MS + 103 * HOUR), "bars": 3}


def _write_symbol(config_: Config, layout: Layout, symbol: str, n: int, edge: float, seed: int, boolean: bool) -> None:
    rng = np.random.default_rng(seed + 5)
    merged = bars(random_walk(n, seed, 0.006, 30_000.0), step_ms=config_.step_ms)
    filled = np.zeros(n, bool)
    filled[100:103] = True
    merged = merged.set_column(merged.schema.get_field_index("is_filled"), "is_filled", pa.array(filled))
    write_table(layout.merged(symbol), merged)
    close = np.log(merged["close"].to_numpy())
    ahead = np.append(close[12:] - close[:-12], np.zeros(12)) / 0.02
    outcomes = {"high_10": ahead > 1.0, "low_10": ahead < -1.0}
    labels: dict[str, Any] = {"open_time": merged["open_time"]}
    scores: dict[str, Any] = {"open_time": merged["open_time"]}
    for sign, (label, outcome) in zip((1, -1), outcomes.items(), strict=True):
        values = outcome if boolean else sign * ahead
        unknown = np.arange(n) >= n - 12
        labels[label] = pa.array(values, mask=unknown)
        labels[f"{label}_end"] = merged["open_time"]
        noise = rng.normal(size=n)
        smooth = np.convolve(noise, np.ones(24) / 24**0.5, "same")
        for algorithm, known in (("lgbm", edge), ("lc", edge / 2)):
            raw = -1.6 + 0.9 * (known * sign * ahead + smooth)
            scores[f"{label}_{algorithm}"] = 1 / (1 + np.exp(-raw))
    write_table(layout.labels(symbol), pa.table(labels))
    rolling = pa.table({**scores, "fold": pa.array(np.arange(n) // 700, pa.int32())}).slice(n // 6)
    write_table(layout.rolling(symbol), rolling)
    score = scores["high_10_lgbm"] - scores["low_10_lgbm"]
    signals = {
        "open_time": merged["open_time"],
        "trade_score": score,
        "buy_signal": (score >= 0.1) & ~filled,
        "sell_signal": (score <= -0.1) & ~filled,
    }
    write_table(layout.signals(symbol), pa.table(signals).slice(n // 6))


def _folds(n: int) -> dict[str, Any]:
    rng, folds = np.random.default_rng(3), []
    names = [f"{label}_{algorithm}" for label in LABELS for algorithm in ("lgbm", "lc")]
    for number, first in enumerate(range(n // 6, n - 700, 700)):
        at = START_MS + first * HOUR
        folds.append(
            {
                "fold": number,
                "train_start": iso(START_MS),
                "train_end": iso(at),
                "test_start": iso(at),
                "test_end": iso(at + 700 * HOUR),
                "train_rows": first,
                "purged": 4,
                "embargoed": 0,
                "test_rows": 700,
                "scores": {name: _scores(rng) for name in names},
            }
        )
    return {"interval": "1h", "features": 40, "folds": folds, "pooled": {name: _scores(rng) for name in names}}


def _scores(rng: np.random.Generator) -> dict[str, Any]:
    auc = float(0.56 + 0.04 * rng.normal())
    return {"auc": auc, "log_loss": 0.48 - 0.2 * (auc - 0.5), "base_log_loss": 0.48, "brier": 0.15, "rows": 700}


def _manifest() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    names = [f"close_{f}_{p}" for f in ("SMA", "EMA", "RSI", "ROC", "NATR") for p in (3, 6, 14, 24, 72, 144, 288, 576)]
    models = {}
    for label in LABELS:
        gains = np.sort(rng.exponential(size=len(names)))[::-1]
        models[f"{label}_lgbm"] = {
            "label": label,
            "algorithm": "lgbm",
            "importance": dict(zip(names, (gains / gains.sum()).tolist(), strict=True)),
        }
    return {
        "format": 1,
        "name": "test",
        "features": names,
        "train": {"start": iso(START_MS), "end": iso(START_MS + 5000 * HOUR), "rows": 5000},
        "models": models,
        "hashes": {"config": "ab" * 32, "code": "cd" * 32},
        "versions": {"lightgbm": "4.7.0"},
    }
