"""Markets and configs for feature tests."""

import numpy as np
import pyarrow as pa
from builders import bars, random_walk

from pipeline.config.model import Config

STATS = ["mean", "std", "skew", "kurtosis", "lsbm", "fmax", "area", "slope"]
OWN = [
    {"stats": {"functions": STATS, "windows": [5, 30]}},
    {"stats": {"functions": ["skew", "kurtosis"], "windows": [30], "bias": False, "prefix": "sample"}},
    {"stats": {"functions": ["std"], "windows": [12], "timeframe": "1h"}},
    {
        "returns": {
            "functions": ["return", "log_return", "lag", "difference"],
            "periods": [1, 7],
            "ratios": [["high", "low"]],
        }
    },
    {"time": {"fields": ["hour", "minute_of_day", "day_of_week", "day_of_month", "month", "session", "funding_hours"]}},
    {"time": {"fields": ["hour", "month"], "cyclic": True}},
    {
        "volatility": {
            "functions": ["parkinson", "garman_klass", "rogers_satchell", "yang_zhang", "realized"],
            "windows": [20],
        }
    },
    {
        "volume_profile": {
            "functions": ["poc_distance", "value_area_position", "poc_share", "value_area_low", "value_area_high"],
            "windows": [48],
        }
    },
    {"ichimoku": {}},
    {
        "taker_flow": {
            "functions": ["buy_share", "imbalance", "average_trade_size", "volume_ratio", "delta"],
            "windows": [12],
        }
    },
    {
        "cross_symbol": {
            "reference": "ETHUSDT",
            "functions": ["correlation", "beta", "return_spread"],
            "windows": [24],
        }
    },
    {
        "rank": {
            "functions": ["rank", "zscore", "minmax", "percent_b", "bandwidth"],
            "inputs": ["volume"],
            "windows": [24],
        }
    },
    {"divergence": {"oscillators": ["macd", "rsi", "cci"], "windows": [20, 60], "confirm": 2}},
    {"itblib": {"base_window": 40, "windows": [3, 10]}},
]
TALIB = [
    {"talib": {"functions": ["SMA", "ROC"], "inputs": ["close"], "periods": [1], "prefix": "one"}},
    {"talib": {"functions": ["SMA", "RSI"], "inputs": ["close", "ETHUSDT_close"], "periods": [5, 15]}},
    {
        "talib": {
            "functions": ["SMA"],
            "periods": [5, 15, 60],
            "relative": "rel_diff",
            "relative_base": "last",
            "percent": True,
            "prefix": "r",
        }
    },
    {"talib": {"functions": ["SMA"], "periods": [5], "log": True, "prefix": "log"}},
    {"talib": {"functions": ["MACD", "BBANDS", "STOCH", "OBV", "CDLDOJI"]}},
    {"talib": {"functions": ["RSI", "ATR"], "timeframe": "1h"}},
]


def config(features: list[dict], interval: str = "5m") -> Config:
    return Config.model_validate({"interval": interval, "features": features})


def market(n: int = 1500, seed: int = 0, step_ms: int = 300_000, reference_from: int = 77) -> pa.Table:
    """Bars with uneven volume and a reference symbol that is known only from some row on."""
    rng = np.random.default_rng(seed)
    table = bars(random_walk(n, seed), step_ms=step_ms)
    volume = rng.lognormal(size=n) * 10
    volume[rng.random(n) < 0.02] = 0.0
    other = random_walk(n, seed + 1)
    other[:reference_from] = np.nan
    for name, values in {
        "volume": volume,
        "taker_buy_volume": volume * rng.random(n),
        "trades": np.ceil(volume * 3),
        "ETHUSDT_close": other,
    }.items():
        place = table.schema.get_field_index(name)
        array = pa.array(values)
        table = table.append_column(name, array) if place < 0 else table.set_column(place, name, array)
    return table


def row(table: pa.Table, i: int) -> dict[str, float]:
    return {
        name: float(table.column(name)[i].as_py())
        for name in table.schema.names
        if name not in ("open_time", "is_filled")
    }


def bits(table: pa.Table) -> np.ndarray:
    """The float32 bit patterns [k, n], with one pattern for all NaN."""
    matrix = np.stack([table.column(name).to_numpy() for name in table.schema.names[1:]])
    return np.where(np.isnan(matrix), np.float32(np.nan), matrix).view(np.uint32)
