"""Bars of a higher timeframe are whole, and enter once they have closed."""

import numpy as np
from features.markets import bits, config, market

from pipeline.features import FeatureStream, compute
from pipeline.features.higher import HigherBar, higher_bars
from pipeline.market import candles

MINUTE, HOUR = 60_000, 3_600_000


def test_a_bar_that_the_data_begin_inside_of_is_not_used() -> None:
    times = np.arange(25 * MINUTE, 205 * MINUTE, 5 * MINUTE)
    values = np.arange(len(times), dtype=float)
    opens, grouped = higher_bars({"close": values, "open": values}, times, 5 * MINUTE, HOUR)
    assert opens.tolist() == [HOUR, 2 * HOUR], "neither the first hour nor the one still open"
    assert grouped["open"].tolist() == [7, 19] and grouped["close"].tolist() == [18, 30]
    building = HigherBar(["open", "close"], 5 * MINUTE, HOUR)
    closed = [building.add({"open": v, "close": v}, int(t)) for t, v in zip(times, values, strict=True)]
    assert [one for one in closed if one] == [
        ({"open": 7.0, "close": 18.0}, HOUR), ({"open": 19.0, "close": 30.0}, 2 * HOUR),
    ]  # fmt: skip


def test_data_shorter_than_one_higher_bar_have_none() -> None:
    times = np.arange(25 * MINUTE, 50 * MINUTE, 5 * MINUTE)
    opens, grouped = higher_bars({"close": np.ones(len(times))}, times, 5 * MINUTE, HOUR)
    assert len(opens) == len(grouped["close"]) == 0


def test_streams_opened_anywhere_agree_where_the_data_begin_inside_a_bar() -> None:
    table = market().slice(5)
    declared = config([{"talib": {"functions": ["SMA", "ATR"], "periods": [3], "timeframe": "1h"}}])
    expected = bits(compute(declared, table))
    columns = {name: candles.column(table, name) for name in table.schema.names[1:] if name != "is_filled"}
    times = candles.times_ms(table)
    for opened in (1, 7, 8, 9, 200):
        stream = FeatureStream(declared, table.slice(0, opened))
        for i in range(opened, 400):
            values = stream.update({name: column[i] for name, column in columns.items()}, int(times[i]))
            found = np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)
            assert np.array_equal(found, expected[:, i]), (opened, i)
