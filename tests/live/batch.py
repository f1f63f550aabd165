"""Downloads, configs and batch runs that live code is held to."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from builders import START_MS, bars, random_walk

from pipeline.artifacts import Layout, write_table
from pipeline.config import Config, interval_ms
from pipeline.market.candles import SCHEMA, time_array
from pipeline.stages.runner import run_stage

LAYOUT = Layout("t")
HOUR = 3_600_000
# A model for each direction, over gaps, higher timeframes of both kinds, a reference symbol and funding.
MODELS: dict[str, Any] = {
    "name": "t",
    "symbols": ["BTCUSDT", "ETHUSDT"],
    "interval": "5m",
    "download": {"source": "synthetic"},
    "merge": {"symbols": ["BTCUSDT"], "timeframes": ["1h", "4h"], "funding": True, "max_filled": 0.5},
    "features": [
        {"talib": {"functions": ["SMA", "EMA"], "periods": [5, 20], "relative": "rel_diff", "relative_base": "last"}},
        {"talib": {"functions": ["RSI"], "inputs": ["close", "BTCUSDT_close", "1h_close"], "periods": [14]}},
        {"talib": {"functions": ["ATR"], "periods": [14], "timeframe": "30m"}},
        {"talib": {"functions": ["ATR"], "periods": [14]}},
        {"stats": {"functions": ["skew"], "windows": [20]}},
        {"time": {"fields": ["hour"]}},
    ],
    "labels": [
        {"highlow2": {"function": "high", "thresholds": [0.4], "tolerance": 0.5, "horizon": "2h", "names": ["up"]}},
        {"highlow2": {"function": "low", "thresholds": [0.4], "tolerance": 0.5, "horizon": "2h", "names": ["down"]}},
    ],
    "train": {
        "max_filled_in_window": 1.0,
        "algorithms": [
            {"name": "gb", "rounds": 10, "params": {"num_leaves": 7, "min_data_in_leaf": 20}},
            {"name": "lc", "kind": "linear"},
        ],
    },
    "signals": {
        "predictions": "predict",
        "steps": [
            {"combine": {"columns": ["up_gb", "down_lc"]}},
            {"smooth": {"columns": ["trade_score"], "name": "smooth_score", "window": 3}},
            {"threshold": {"column": "smooth_score", "buy": 0.05, "sell": -0.05}},
        ],
    },
    "simulate": {"direction": "both", "exits": {"stop_loss": 0.01, "max_bars": "8h"}, "random_entries": 20},
}
# No model: rules over features, averaged for ever, every gate that history can ask, stops at the ATR, funding, and
# exposure that counts correlated symbols together; the second symbol begins later.
RULES: dict[str, Any] = {
    "name": "t",
    "symbols": ["ETHUSDT", "BTCUSDT"],
    "interval": "1h",
    "download": {"source": "synthetic"},
    "merge": {"funding": True, "timeframes": ["4h"], "max_filled": 0.5},
    "features": [
        {"talib": {"functions": ["RSI", "ATR"], "periods": [14]}},
        {"returns": {"functions": ["return"], "periods": [24]}},
        {"taker_flow": {"functions": ["volume_ratio"], "windows": [24]}},
        {"talib": {"functions": ["SMA"], "inputs": ["4h_close"], "periods": [3]}},
    ],
    "signals": {
        "predictions": "features",
        "steps": [
            {
                "rules": {
                    "long": [
                        {"column": "close_RSI_14", "op": "<", "value": 50},
                        {"column": "close_RSI_14", "op": "crosses_above", "value": 30},
                    ],
                    "short": [{"column": "close_RSI_14", "op": ">", "value": 50}],
                    "require": "share",
                }
            },
            {"smooth": {"columns": ["trade_score"], "name": "smooth_score", "window": 4.0}},
            {"threshold": {"column": "smooth_score", "buy": 0.3, "sell": -0.3}},
        ],
    },
    "sizing": {"method": "volatility_target", "target_volatility": 0.5, "span": "2d"},
    "risk": {
        "gates": {
            "score": {"min": 35},
            "volume": {"column": "volume_ratio_24", "min": 0.2},
            "reward_risk": {"trending": 1.0, "ranging": 1.2},
            "windows": [{"start": "2024-01-20", "end": "2024-01-21", "kind": "maintenance"}],
            "session": {"start": "02:00", "end": "22:00"},
            "cool_down": "2h",
        },
        "limits": {"correlated_exposure": 0.6, "symbol_exposure": 0.8, "total_exposure": 1.5},
    },
    "simulate": {
        "direction": "both",
        "leverage": 2,
        "funding": True,
        "exits": {"stop_atr": 2, "take_profit_atr": 3, "atr": "high_low_close_ATR_14"},
        "filters": {"default": {"step_size": 0.001, "min_notional": 5}},
        "random_entries": 20,
    },
}


def config(base: dict[str, Any], **changes: Any) -> Config:
    return Config.model_validate(base | changes)


def write_downloads(declared: Config, n: int, late: int = 0, native: str | None = None, seed: int = 0) -> None:
    """Monthly files with gaps; the second symbol begins `late` bars later. native: also bars of this interval."""
    step = declared.step_ms
    for number, symbol in enumerate(sorted(declared.symbols)):
        rng = np.random.default_rng(seed + number)
        start = START_MS + (late * step if number else 0)
        table = _uneven(random_walk(n, seed + number, 0.003), step, start, rng)
        keep = rng.random(n) > 0.01
        keep[200:230] = False
        keep[[0, -1]] = True
        _store(table.filter(pa.array(keep)), symbol, declared.interval)
        if native:
            higher = interval_ms(native)
            count = n * step // higher
            first = -(-start // higher) * higher
            hours = _uneven(random_walk(count, seed + 50 + number, 0.01), higher, first, rng)
            # Were the last one missing, merge would make all of them of the lower bars.
            whole = (rng.random(count) > 0.05) | (np.arange(count) >= count - 2)
            _store(hours.filter(pa.array(whole)), symbol, native)
        times = np.arange(START_MS, START_MS + n * step, 8 * HOUR) + 7
        rates = {"open_time": time_array(times), "funding_rate": rng.normal(0, 0.0005, len(times))}
        path = LAYOUT.bars("synthetic", "um", symbol, "funding") / "2024-01.parquet"
        write_table(path, pa.table(rates))


def _uneven(close: np.ndarray, step_ms: int, start_ms: int, rng: np.random.Generator) -> pa.Table:
    # Amounts whose sums depend on the order of addition.
    table = bars(close, step_ms=step_ms, start_ms=start_ms, filled=False).cast(SCHEMA)
    for name in ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(rng.lognormal(size=len(close)) * 10))
    return table


def _store(table: pa.Table, symbol: str, interval: str) -> None:
    months = pc.strftime(table["open_time"], format="%Y-%m")
    for month in months.unique().to_pylist():
        path: Path = LAYOUT.bars("synthetic", "spot", symbol, interval) / f"{month}.parquet"
        write_table(path, table.filter(pc.equal(months, month)))


def run_batch(declared: Config, first: str = "merge") -> None:
    """The batch stages from `first` to simulate."""
    learning = ["labels", "train", "predict"] if declared.labels else []
    stages = ["merge", "features", *learning, "signals", "simulate"]
    for stage in stages[stages.index(first) :]:
        run_stage(stage, declared, LAYOUT)
