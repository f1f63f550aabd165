"""What a config may say, and what it is told when it is wrong."""

import hashlib

import numpy as np
import pytest
from features.markets import config, market

from pipeline.errors import BadInput
from pipeline.features import FeatureStream, catalogue, compute, custom_hashes, feature_names, lookback_bars
from pipeline.market import candles


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"talib": {"functions": ["SMAA"]}}, r"features\[0\].talib.functions: 'SMAA' is not a TA-Lib function"),
        ({"talib": {"functions": ["MACD"], "parameters": {"fastperiodd": 3}}}, "MACD has no parameter 'fastperiodd'"),
        ({"talib": {"functions": ["MACD"], "parameters": {"fastperiod": 2.5}}}, "must be a whole number, found 2.5"),
        ({"talib": {"functions": ["ATR"], "inputs": ["close"]}}, "ATR takes 3 columns, found 1"),
        ({"talib": {"functions": ["SMA"], "periods": [0]}}, "must be at least 1, found 0"),
        ({"talib": {"functions": ["RSI"], "periods": [1]}}, "RSI does not accept timeperiod = 1"),
        ({"talib": {"functions": ["ATR"], "periods": [200000]}}, "ATR does not accept timeperiod = 200000"),
        ({"talib": {"functions": ["MACD"], "parameters": {"fastperiod": 1}}}, "MACD does not accept fastperiod = 1"),
        ({"talib": {"functions": ["BBANDS"], "parameters": {"matype": 20}}}, "BBANDS does not accept matype = 20"),
        (
            {"talib": {"functions": ["BBANDS"], "parameters": {"nbdevup": float("nan")}}},
            "does not accept nbdevup = nan",
        ),
        ({"talib": {"functions": ["SMA"], "parameters": {"timeperiod": 10**12}}}, "does not accept timeperiod"),
        ({"talib": {"functions": ["SMA"], "timeframe": "1m"}}, "1m is not a longer multiple of 5m"),
        ({"custom": {"function": "nowhere:f", "lookback": 3, "names": ["x"]}}, "cannot be imported"),
        ({"custom": {"function": "math:nothing", "lookback": 3, "names": ["x"]}}, "has no function 'nothing'"),
    ],
)
def test_wrong_declarations_are_refused_by_name(entry, message):
    with pytest.raises(BadInput, match=message):
        feature_names(config([entry]))


def test_a_near_miss_is_suggested():
    with pytest.raises(BadInput) as error:
        feature_names(config([{"talib": {"functions": ["SMAA"]}}]))
    assert "did you mean 'SMA'?" in error.value.hint


def test_a_feature_made_twice_is_refused():
    entry = {"talib": {"functions": ["SMA"], "periods": [5]}}
    with pytest.raises(BadInput, match=r"'close_SMA_5' is made twice, first by features\[0\]"):
        feature_names(config([entry, entry]))


def test_a_missing_column_is_named_with_the_nearest_one():
    with pytest.raises(BadInput, match="no column 'clsoe'") as error:
        compute(config([{"stats": {"functions": ["mean"], "inputs": ["clsoe"], "windows": [5]}}]), market(50))
    assert "did you mean 'close'?" in error.value.hint


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_hole_inside_a_column_is_refused_before_talib_sees_it(bad):
    table = market(100)
    close = candles.column(table, "close").copy()
    close[60] = bad
    table = table.set_column(table.schema.get_field_index("close"), "close", [close])
    with pytest.raises(BadInput, match="'close' is not a finite number at 2024-01-01T05:00"):
        compute(config([{"talib": {"functions": ["RSI"]}}]), table)


def test_a_column_known_late_starts_late():
    table = market(300, reference_from=120)
    entry = {"talib": {"functions": ["SMA"], "inputs": ["ETHUSDT_close"], "periods": [10]}}
    values = compute(config([entry]), table).column("ETHUSDT_close_SMA_10").to_numpy()
    assert np.isnan(values[: 120 + 9]).all() and np.isfinite(values[120 + 9 :]).all()


def test_custom_functions_see_their_look_back_and_nothing_else(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def spread(window, scale=1):\n    return scale * (window['high'].max() - window['low'].min())\n")
    entry = {
        "custom": {
            "function": f"{path}:spread",
            "inputs": ["high", "low"],
            "lookback": 7,
            "names": ["spread"],
            "parameters": {"scale": 2},
        }
    }
    table, declared = market(60), config([entry])
    values = compute(declared, table).column("spread").to_numpy()
    high, low = candles.column(table, "high"), candles.column(table, "low")
    assert np.isnan(values[:6]).all()
    assert values[30] == np.float32(2 * (high[24:31].max() - low[24:31].min()))
    stream = FeatureStream(declared, table.slice(0, 3))
    for i in range(3, 60):
        found = stream.update({"high": high[i], "low": low[i]}, int(candles.times_ms(table)[i]))[0]
        assert found == values[i] or (np.isnan(found) and np.isnan(values[i]))


def test_a_failing_custom_function_is_named_with_its_row(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def f(window):\n    return 1 / 0\n")
    entry = {"custom": {"function": f"{path}:f", "lookback": 4, "names": ["x"]}}
    with pytest.raises(BadInput, match="failed at row 3: ZeroDivisionError"):
        compute(config([entry]), market(20))


def test_lookback_counts_base_bars():
    assert lookback_bars(config([{"stats": {"functions": ["mean"], "windows": [30]}}])) == 30
    assert lookback_bars(config([{"stats": {"functions": ["mean"], "windows": [30], "timeframe": "1h"}}])) == 360


def test_the_catalogue_lists_every_function_and_family():
    listed = catalogue()
    assert sum(name.startswith("talib ") for name in listed) >= 201
    assert {"stats", "time", "custom", "ichimoku"} <= set(listed)


def test_the_source_of_a_custom_feature_has_a_hash_in_a_file_or_a_module(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def f(window):\n    return 1.0\n")
    references = [f"{path}:f", "statistics:mean", "math:fsum"]
    entries = [{"custom": {"function": r, "lookback": 2, "names": [f"x{i}"]}} for i, r in enumerate(references)]
    found = custom_hashes(config(entries))
    assert list(found) == [f"custom/{r}" for r in references]
    assert found[f"custom/{path}:f"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(BadInput, match="no such file"):
        custom_hashes(config([{"custom": {"function": "none.py:f", "lookback": 2, "names": ["x"]}}]))
