"""The same bits over a table and bar by bar before the rounding to float32 could hide a difference, on markets as
they were: streams opened in the middle of history, and opened again on the way."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from features.markets import OWN, TALIB, config, market

from pipeline.config.model import Config
from pipeline.features import executor, feature_names
from pipeline.features.talib_functions import functions
from pipeline.market import candles, grid

# Beside those of the other tests: hours of minute bars, the extremes of a candle among them.
HOURLY = [
    {"talib": {"functions": ["EMA", "ATR", "MACD"], "timeframe": "1h", "prefix": "hourly"}},
    {"volatility": {"functions": ["yang_zhang"], "windows": [10], "timeframe": "15m"}},
    {"taker_flow": {"functions": ["buy_share", "delta"], "windows": [4], "timeframe": "15m"}},
]


def _bits(values: np.ndarray) -> np.ndarray:
    """float64 bit patterns, with one pattern for all NaN."""
    return np.where(np.isnan(values), np.nan, values).view(np.uint64)


def _same(declared: Config, table: pa.Table, restarts: list[int], last: int) -> None:
    """Streams opened on the rows before each of `restarts` say what the whole table says, up to row `last`."""
    names = feature_names(declared)
    expected = _bits(executor.values(declared, table, np.float64))
    columns = {name: candles.column(table, name) for name in table.schema.names[1:] if name != "is_filled"}
    times = candles.times_ms(table)
    for start, stop in zip(restarts, [*restarts[1:], last], strict=True):
        stream = executor.FeatureStream(declared, table.slice(0, start))
        for i in range(start, stop):
            found = stream.update_exactly({name: column[i] for name, column in columns.items()}, int(times[i]))
            differ = np.flatnonzero(_bits(found) != expected[:, i])
            assert not differ.size, f"opened at {start}, row {i}: {[names[j] for j in differ]}"


def test_streams_equal_the_table_before_rounding() -> None:
    _same(config(TALIB + OWN), market(), [1, 90, 400, 1200], 1500)


def test_every_talib_function_agrees_from_its_first_bars_on() -> None:
    table = market(460).append_column("periods", pa.array(np.full(460, 10.0)))
    _same(config([{"talib": {"functions": list(functions()), "prefix": "all"}}]), table, [1, 40, 130], 460)


def test_a_difference_in_the_last_bit_of_a_double_is_seen() -> None:
    declared, table = config([{"talib": {"functions": ["EMA"], "periods": [20]}}]), market(600)
    assert feature_names(declared) == ["close_EMA_20"]
    # An average that began a bar later ends within rounding of float32, and yet is another.
    late = table.slice(1)
    kept, exact = (executor.values(declared, table, dtype)[0, 220:260] for dtype in (np.float32, np.float64))
    assert np.array_equal(kept, executor.values(declared, late, np.float32)[0, 219:259])
    assert not np.array_equal(_bits(exact), _bits(executor.values(declared, late, np.float64)[0, 219:259]))


def _minutes(path: Path, start: str, end: str) -> pa.Table:
    """Real minute bars from a time inside an hour, the missing ones filled as `pipeline merge` fills them."""
    table = pq.read_table(path)
    first, past = (int(np.datetime64(moment, "ms").astype(np.int64)) for moment in (start, end))
    times = table["open_time"].to_numpy().astype(np.int64)
    rows = np.flatnonzero((times >= first) & (times < past))
    bars = table.take(pa.array(rows))
    volume = bars["volume"].to_numpy()
    share = np.random.default_rng(0).random(len(rows))
    columns = {name: bars[name].to_numpy().astype(np.float64) for name in ("open", "high", "low", "close", "volume")}
    columns |= {"quote_volume": volume * columns["close"], "trades": np.ceil(volume * 5)}
    columns |= {"taker_buy_volume": volume * share, "taker_buy_quote_volume": volume * share * columns["close"]}
    return grid.fill(
        pa.table({"open_time": candles.time_array(times[rows]), **columns}, schema=candles.SCHEMA), "1m", first, past
    )


def test_real_minutes_with_a_reference_symbol_from_inside_an_hour(real_data: Path) -> None:
    table = _minutes(real_data / "spot/BTCUSDT_1m.parquet", "2024-10-01T03:25", "2024-10-05T09:00")
    other = candles.column(
        _minutes(real_data / "spot/ETHUSDT_1m.parquet", "2024-10-01T03:25", "2024-10-05T09:00"), "close"
    )
    table = table.append_column("ETHUSDT_close", pa.array(np.where(np.arange(len(other)) < 137, np.nan, other)))
    table = table.append_column("periods", pa.array(np.full(table.num_rows, 10.0)))
    every = {"talib": {"functions": list(functions()), "prefix": "all"}}
    _same(config([every, *TALIB, *OWN, *HOURLY], "1m"), table, [2900, 3331, 3360, 4001], 4300)


def test_real_minutes_across_an_outage_of_the_exchange(real_data: Path) -> None:
    table = _minutes(real_data / "spot/BTCUSDT_1m.parquet", "2021-04-23T07:40", "2021-04-25T14:00")
    filled = np.flatnonzero(table["is_filled"].to_numpy())
    assert len(filled) == 284, "2021-04-25 04:01 to 08:44"
    table = table.append_column("ETHUSDT_close", table["open"])
    _same(config([*TALIB, *OWN, *HOURLY], "1m"), table, [2300, int(filled[100]), int(filled[-1]) + 1], table.num_rows)
