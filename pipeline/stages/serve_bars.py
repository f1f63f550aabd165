"""Merged bars up to the moment: the file's, and what has closed since, from the exchange."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.artifacts import Layout, read_table
from pipeline.config import Config, interval_ms
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.stages.times import iso

if TYPE_CHECKING:
    from pipeline.exchange.port import Exchange


def fetched_of(config: Config) -> tuple[str, ...]:
    # As the merge stage: bars of higher intervals come from where they were downloaded, else from our own bars.
    return tuple(name for name in config.merge.timeframes if name in config.download.also_intervals)


async def merged_until(config: Config, layout: Layout, exchange: "Exchange", until_ms: int) -> dict[str, pa.Table]:
    """Merged bars of all symbols up to those that open before a time: the file's, and what has closed since."""
    from pipeline.live.following import extended

    step, fetched = config.step_ms, fetched_of(config)
    tables = {symbol: read_table(layout.merged(symbol), "merge") for symbol in config.symbols}
    cut = {symbol: _before(table, until_ms) for symbol, table in tables.items()}
    for symbol, table in cut.items():
        if not table.num_rows:
            raise BadInput(
                f"{layout.merged(symbol)}: has no bars before {iso(until_ms)}",
                "run `pipeline download` and `pipeline merge` for an earlier start",
            )
    begin = min(int(candles.times_ms(table)[-1]) + step for table in cut.values())
    if begin >= until_ms:
        return cut
    names = dict.fromkeys([*config.symbols, *config.merge.symbols])
    bars = {name: await _bars(exchange, name, config.interval, begin, until_ms) for name in names}
    result = {}
    for symbol, table in cut.items():
        higher = {
            interval: await _bars(exchange, symbol, interval, begin - interval_ms(interval), until_ms)
            for interval in fetched
        }
        result[symbol] = extended(config, symbol, table, bars, higher, until_ms)
    return result


async def _bars(
    exchange: "Exchange", symbol: str, interval: str, begin: int, end: int
) -> dict[int, Mapping[str, float]]:
    from pipeline.exchange.port import Refused

    try:
        found = await exchange.bars(symbol, interval, begin, end)
    except Refused as error:
        raise BadInput(f"{symbol}: the exchange says: {error}", "does it list this symbol?") from None
    return {bar.open_time_ms: bar.values for bar in found}


def _before(table: pa.Table, until_ms: int) -> pa.Table:
    import numpy as np

    return table.slice(0, int(np.searchsorted(candles.times_ms(table), until_ms)))
