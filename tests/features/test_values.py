"""Values against pandas, scipy, TA-Lib itself and formulas written out again."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import talib
from features.markets import config, market

from pipeline.features import compute
from pipeline.market import candles


def _feature(entry: dict, name: str, table=None, interval: str = "5m") -> np.ndarray:
    return compute(config([entry], interval), market() if table is None else table).column(name).to_numpy()


def _series(name: str = "close") -> pd.Series:
    return pd.Series(candles.column(market(), name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", lambda r: r.mean()),
        ("std", lambda r: r.std(ddof=0)),
        ("skew", lambda r: r.apply(scipy.stats.skew, raw=True)),
        ("kurtosis", lambda r: r.apply(scipy.stats.kurtosis, raw=True)),
        ("fmax", lambda r: r.apply(lambda x: np.argmax(x) / len(x), raw=True)),
        ("slope", lambda r: r.apply(lambda x: np.polyfit(range(len(x)), x, 1)[0] if len(x) > 1 else 0, raw=True)),
        ("area", lambda r: r.apply(_area, raw=True)),
        ("lsbm", lambda r: r.apply(_longest_below, raw=True)),
    ],
)
def test_statistics_from_half_a_window_on(name, expected):
    found = _feature({"stats": {"functions": [name], "windows": [20]}}, f"close_{name}_20")
    want = expected(_series().rolling(20, min_periods=10)).to_numpy()
    np.testing.assert_allclose(found, want, rtol=2e-4, atol=1e-6)


def _area(x: np.ndarray) -> float:
    d = x - x[-1]
    return (np.abs(d).sum() + d.sum()) / np.abs(d).sum() - 1


def _longest_below(x: np.ndarray) -> int:
    return max(len(run) for run in "".join("1" if v < x.mean() else " " for v in x).split(" "))


def test_sample_moments_are_those_of_pandas():
    entry = {"stats": {"functions": ["skew", "kurtosis"], "windows": [30], "bias": False}}
    rolling = _series().rolling(30)
    np.testing.assert_allclose(_feature(entry, "close_skew_30")[30:], rolling.skew()[30:], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(_feature(entry, "close_kurtosis_30")[30:], rolling.kurt()[30:], rtol=1e-3, atol=1e-4)


def test_flat_windows_give_defined_values():
    table = market(60).set_column(4, "close", [np.full(60, 100.0)])
    for function, value in {"area": 0, "std": 0, "skew": 0, "slope": 0, "lsbm": 0}.items():
        entry = {"stats": {"functions": [function], "windows": [10]}}
        assert _feature(entry, f"close_{function}_10", table)[-1] == value


def test_talib_columns_are_talibs_under_the_ancestors_names():
    close, high, low = (candles.column(market(), name) for name in ("close", "high", "low"))
    table = compute(
        config(
            [
                {"talib": {"functions": ["SMA", "LINEARREG_SLOPE", "ATR"], "periods": [14]}},
                {"talib": {"functions": ["MACD"]}},
            ]
        ),
        market(),
    )
    expected = {
        "close_SMA_14": talib.SMA(close, 14),
        "close_LINEARREG_SLOPE_14": talib.LINEARREG_SLOPE(close, 14),
        "high_low_close_ATR_14": talib.ATR(high, low, close, 14),
        "close_MACD_12_26_9_hist": talib.MACD(close, 12, 26, 9)[2],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(table.column(name).to_numpy(), values.astype(np.float32))


@pytest.mark.parametrize(("name", "first"), [("CDLDOJI", 10), ("HT_TRENDMODE", 63), ("MAXINDEX", 29)])
def test_whole_numbers_are_unknown_while_they_warm_up(name, first):
    (found,) = compute(config([{"talib": {"functions": [name], "prefix": "x"}}]), market()).columns[1:]
    assert np.flatnonzero(np.isfinite(found.to_numpy())).tolist() == list(range(first, 1500))


@pytest.mark.parametrize("name", ["SMA", "EMA", "ROC", "MOM", "ROCP", "VAR"])
def test_a_period_of_one_is_what_talib_makes_of_it(name):
    close = candles.column(market(), "close")
    want = getattr(talib, name)(close, 1).astype(np.float32)
    entry = {"talib": {"functions": [name], "periods": [1]}}
    np.testing.assert_array_equal(_feature(entry, f"close_{name}_1"), want)


@pytest.mark.parametrize(
    ("base", "of_5", "of_15"), [("next", 15, 60), ("last", 60, 60), ("prev", None, 5), ("first", None, 5)]
)
def test_relative_variants_compare_with_the_period_named(base, of_5, of_15):
    entry = {"talib": {"functions": ["SMA"], "periods": [5, 15, 60], "relative": "rel_diff", "relative_base": base}}
    close = candles.column(market(), "close")
    averages = {p: talib.SMA(close, p) for p in (5, 15, 60)}
    for period, other in ((5, of_5), (15, of_15)):
        own = averages[period]
        want = own if other is None else (own - averages[other]) / averages[other]
        np.testing.assert_array_equal(_feature(entry, f"close_SMA_{period}"), want.astype(np.float32))


def test_volatility_estimators_are_their_formulas():
    o, h, low, c = (np.log(candles.column(market(), n)) for n in ("open", "high", "low", "close"))
    w, ln2 = 20, np.log(2)
    mean = lambda x: pd.Series(x).rolling(w).mean().to_numpy()  # noqa: E731
    satchell = (h - c) * (h - o) + (low - c) * (low - o)
    overnight = np.append(np.nan, o[1:] - c[:-1])
    k = 0.34 / (1.34 + (w + 1) / (w - 1))
    zhang = pd.Series(overnight).rolling(w).var() + k * pd.Series(c - o).rolling(w).var() + (1 - k) * mean(satchell)
    expected = {
        "parkinson": np.sqrt(mean((h - low) ** 2) / (4 * ln2)),
        "garman_klass": np.sqrt(mean(0.5 * (h - low) ** 2 - (2 * ln2 - 1) * (c - o) ** 2)),
        "rogers_satchell": np.sqrt(mean(satchell)),
        "yang_zhang": np.sqrt(zhang),
    }
    for name, want in expected.items():
        found = _feature({"volatility": {"functions": [name], "windows": [w]}}, f"{name}_{w}")
        np.testing.assert_allclose(found[w + 1 :], want[w + 1 :], rtol=1e-4)


def test_the_clock_knows_its_calendar():
    import datetime as dt

    table = market(2000, step_ms=3_600_000)
    entry = {"time": {"fields": ["hour", "day_of_week", "day_of_month", "month", "funding_hours", "session"]}}
    features = compute(config([entry], "1h"), table).to_pandas()
    for i in (0, 5, 777, 1999):
        moment: dt.datetime = features["open_time"][i]
        assert features["time_hour"][i] == moment.hour
        assert features["time_day_of_week"][i] == moment.weekday()
        assert features["time_day_of_month"][i] == moment.day - 1
        assert features["time_month"][i] == moment.month - 1
        assert features["time_funding_hours"][i] == 8 - moment.hour % 8
        assert features["time_session_us"][i] == (13 <= moment.hour < 22)


def test_a_higher_timeframe_enters_only_once_its_bar_has_closed():
    table = market(1500)
    lagged = _feature({"talib": {"functions": ["RSI"], "periods": [14], "timeframe": "1h"}}, "1h_close_RSI_14", table)
    close = candles.column(table, "close")
    hourly = talib.RSI(close[11::12].copy(), 14).astype(np.float32)
    for i in range(600, 1500):
        last_closed_hour = (i + 1) // 12 - 1  # bar i closes at (i + 1) · 5 minutes
        assert lagged[i] == hourly[last_closed_hour]


def test_cross_symbol_correlation_is_that_of_returns():
    own, other = _series().pct_change(), _series("ETHUSDT_close").pct_change()
    entry = {"cross_symbol": {"reference": "ETHUSDT", "functions": ["correlation", "beta"], "windows": [24]}}
    rolling = own.rolling(24)
    np.testing.assert_allclose(
        _feature(entry, "ETHUSDT_correlation_24")[110:], rolling.corr(other)[110:], rtol=1e-3, atol=1e-5
    )
    beta = rolling.cov(other) / other.rolling(24).var()
    np.testing.assert_allclose(_feature(entry, "ETHUSDT_beta_24")[110:], beta[110:], rtol=1e-3, atol=1e-5)


def test_point_of_control_is_where_most_volume_traded():
    table = market(300)
    entry = {"volume_profile": {"functions": ["poc_distance", "poc_share"], "windows": [48], "bins": 10}}
    found = compute(config([entry]), table)
    h, low, c, v = (candles.column(table, n)[252:] for n in ("high", "low", "close", "volume"))
    counts, edges = np.histogram((h + low + c) / 3, bins=10, range=(low.min(), h.max()), weights=v)
    poc = (edges[counts.argmax()] + edges[counts.argmax() + 1]) / 2
    assert found.column("poc_distance_48")[-1].as_py() == pytest.approx(c[-1] / poc - 1, abs=1e-6)
    assert found.column("poc_share_48")[-1].as_py() == pytest.approx(counts.max() / counts.sum(), rel=1e-5)


def test_taker_flow_is_neutral_without_volume():
    table = market(30)
    for name in ("volume", "taker_buy_volume", "trades"):
        table = table.set_column(table.schema.get_field_index(name), name, [np.zeros(30)])
    functions = ["buy_share", "imbalance", "average_trade_size", "volume_ratio"]
    last = compute(config([{"taker_flow": {"functions": functions, "windows": [5]}}]), table).slice(29).to_pylist()[0]
    assert [last[f"{name}_5"] for name in functions] == [0.5, 0, 1, 1]


def test_the_ancestors_set_is_a_window_against_the_base_window_in_percent():
    table = market()
    found = compute(config([{"itblib": {"base_window": 40, "windows": [3]}}]), table).to_pandas()
    volume, close = _series("volume"), _series()
    base, now = volume.rolling(40).mean(), volume.rolling(3).mean()
    np.testing.assert_allclose(found["volume_3"][50:], (100 * (now - base) / base)[50:], rtol=1e-3, atol=1e-3)
    weighted = lambda w: (close * volume).rolling(w).sum() / volume.rolling(w).sum()  # noqa: E731
    known = volume.rolling(3).sum() > 0
    want = 100 * (weighted(3) - weighted(40)) / weighted(40)
    np.testing.assert_allclose(found["close_3"][50:][known], want[50:][known], rtol=1e-2, atol=1e-4)
