"""Features of many symbols in one call: each symbol's own, whoever else is asked, and in whatever order."""

import numpy as np
import pytest

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.features import FeatureStream, FeatureStreams
from pipeline.market import candles
from tests.builders import bars, random_walk

FEATURES = [
    {"talib": {"functions": ["SMA", "STOCH"], "periods": [3, 8], "relative": "rel_diff", "relative_base": "last"}},
    {"talib": {"functions": ["CDLDOJI", "SUPERTREND", "ATR"], "periods": [5]}},
    {"talib": {"functions": ["ROC"], "inputs": ["close"], "periods": [2, 4], "percent": True, "log": True}},
    {"stats": {"functions": ["skew", "area"], "inputs": ["close"], "windows": [6, 20]}},
    {"time": {"fields": ["hour"]}},
]  # fmt: skip


def declared(features: list) -> Config:
    return Config.model_validate({"name": "t", "symbols": ["BTCUSDT"], "interval": "1m", "features": features})


@pytest.mark.parametrize("more", [[], [{"talib": {"functions": ["RSI"], "periods": [3], "timeframe": "5m"}}]])
def test_symbols_asked_together_have_the_features_of_each_alone(more: list) -> None:
    config = declared([*FEATURES, *more])
    tables = [bars(random_walk(400, seed=seed)) for seed in range(4)]
    alone = [FeatureStream(config, table.slice(0, 300)) for table in tables]
    single = [FeatureStream(config, table.slice(0, 300)) for table in tables]
    together = FeatureStreams(single)
    columns = [{n: candles.column(t, n) for n in t.column_names if n not in ("open_time", "is_filled")} for t in tables]
    times = candles.times_ms(tables[0])
    rng = np.random.default_rng(0)
    for row in range(300, 400):
        bar = [{name: float(values[row]) for name, values in own.items()} for own in columns]
        wanted = [stream.update(own, int(times[row])) for stream, own in zip(alone, bar, strict=True)]
        which = [int(s) for s in rng.permutation(4)[: 4 if row % 7 else 2]]
        made = together.update(which, [bar[s] for s in which], int(times[row]))
        assert made is not None and made.tobytes() == np.stack([wanted[s] for s in which]).tobytes()
        for s in set(range(4)) - set(which):
            assert single[s].update(bar[s], int(times[row])).tobytes() == wanted[s].tobytes()


def test_one_that_has_something_to_complain_of_is_left_to_itself_and_nobody_takes_the_bar() -> None:
    config, table = declared(FEATURES), bars(random_walk(320))
    streams = [FeatureStream(config, table.slice(0, 300)) for _ in range(2)]
    together, times = FeatureStreams(streams), candles.times_ms(table)
    names = [name for name in table.column_names if name not in ("open_time", "is_filled")]
    good = {name: float(candles.column(table, name)[300]) for name in names}
    assert together.update([0, 1], [good, good | {"close": np.nan}], int(times[300])) is None
    assert together.update([0, 1], [good, good], int(times[301])) is None
    with pytest.raises(BadInput, match="'close'"):
        streams[1].update(good | {"close": np.nan}, int(times[300]))
    assert together.update([0, 1], [good, good], int(times[300])) is not None
