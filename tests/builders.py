"""Small tables for tests, so that each test shows only the lines that matter."""

import numpy as np
import pyarrow as pa

from pipeline.market.candles import COLUMNS, PRICES, time_array

START_MS = 1_704_067_200_000  # 2024-01-01T00:00Z


def bars(
    close: np.ndarray | list[float],
    *,
    step_ms: int = 60_000,
    start_ms: int = START_MS,
    spread: float = 0.001,
    filled: bool = True,
) -> pa.Table:
    """A merged bar table around the given closes: each opens at the last close; highs and lows enclose both."""
    close = np.asarray(close, dtype=np.float64)
    opens = np.concatenate([close[:1], close[:-1]])
    columns = {
        "open_time": time_array(start_ms + step_ms * np.arange(len(close), dtype=np.int64)),
        "open": opens,
        "high": np.maximum(opens, close) * (1 + spread),
        "low": np.minimum(opens, close) * (1 - spread),
        "close": close,
        "volume": np.full(len(close), 10.0),
        "quote_volume": 10.0 * close,
        "trades": np.full(len(close), 100.0),
        "taker_buy_volume": np.full(len(close), 5.0),
        "taker_buy_quote_volume": 5.0 * close,
    }
    assert set(columns) == {"open_time", *COLUMNS} and set(PRICES) <= set(columns)
    if filled:
        columns["is_filled"] = np.zeros(len(close), dtype=bool)
    return pa.table(columns)


def random_walk(n: int, seed: int = 0, volatility: float = 0.001, start: float = 100.0) -> np.ndarray:
    """Closes [n] of a geometric random walk."""
    return start * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, volatility, n)))
