"""A look-back is long enough: what came before it moves the value by less than a thousandth."""

import numpy as np
import pytest
from features.markets import config

from pipeline.features import lookback_bars, window_bars
from pipeline.features.memory import SINCE_THE_FIRST_BAR, memory_bars
from pipeline.features.talib_functions import Call, functions

AVERAGES = range(14)


def _bars(seed: int, n: int = 6000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, n)))
    opens = np.append(close[:1], close[:-1])
    high = np.maximum(opens, close) * (1 + np.abs(rng.normal(0, 0.002, n)))
    low = np.minimum(opens, close) * (1 - np.abs(rng.normal(0, 0.002, n)))
    return {"open": opens, "high": high, "low": low, "close": close, "volume": rng.lognormal(2, 1, n)}


def _influence(call: Call, cut: int) -> float:
    """Largest change of the values from `cut` + look-back on if all before `cut` was another market, in spreads."""
    bars, other = _bars(1), _bars(2)
    scale = bars["close"][cut] / other["close"][cut - 1]
    changed = {
        name: np.append(other[name][:cut] * (1 if name == "volume" else scale), values[cut:])
        for name, values in bars.items()
    }
    largest = 0.0
    for own, found in zip(call.batch(bars), call.batch(changed), strict=True):
        after = slice(cut + call.lookback() - 1, None)
        spread = np.nanstd(own[cut:]) or 1.0
        largest = max(largest, float(np.nanmax(np.abs(own[after] - found[after]), initial=0.0)) / spread)
    return largest


def _call(name: str, **parameters: float) -> Call:
    function = functions()[name]
    inputs = tuple("close" if i.startswith("real") else i for i in function.inputs)
    return Call(function, inputs, tuple({**function.parameters, **parameters}.values()), ())


@pytest.mark.parametrize("name", sorted(set(functions()) - SINCE_THE_FIRST_BAR - {"MAVP"}))
@pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning", "ignore:Degrees of freedom:RuntimeWarning")
def test_what_came_before_the_look_back_no_longer_matters(name):
    longer = {p: 40 for p in functions()[name].parameters if p == "timeperiod"}
    for call in (_call(name), _call(name, **longer)):
        assert _influence(call, 2500) < 1e-3, call.lookback()


@pytest.mark.parametrize("kind", AVERAGES)
@pytest.mark.parametrize(("name", "parameter"), [("MA", "matype"), ("BBANDS", "matype"), ("KDJ", "slowk_matype")])
def test_every_kind_of_average_is_known(name, parameter, kind):
    assert _influence(_call(name, **{parameter: kind}), 2500) < 1e-3


@pytest.mark.parametrize(
    ("name", "period", "before"),
    [("EMA", 60, (1 - 2 / 61) ** 208), ("RMA", 60, (1 - 1 / 60) ** 412), ("ATR", 14, (1 - 1 / 14) ** 94)],
)
def test_an_average_weighs_less_than_a_thousandth_and_no_bar_later_than_need_be(name, period, before):
    memory = memory_bars(name, {"timeperiod": period})
    assert before < 1e-3
    assert memory == {"EMA": 208, "RMA": 412, "ATR": 94}[name]
    rate = 2 / (period + 1) if name == "EMA" else 1 / period
    assert (1 - rate) ** (memory - 1) > 1e-3


def test_cascades_are_those_of_their_impulse_response():
    # The response of T3's six averages, one inside the other, computed by filtering an impulse.
    rate, response = 2 / 21, np.zeros(2000)
    response[0] = 1.0
    for _ in range(6):
        for i in range(len(response)):
            response[i] = rate * response[i] + ((1 - rate) * response[i - 1] if i else 0.0)
    tail = 1 - np.cumsum(response)
    assert memory_bars("T3", {"timeperiod": 20}) == int(np.argmax(tail <= 1e-3)) + 6


def test_windows_see_exactly_their_bars():
    for name, periods in {"SMA": 30, "LINEARREG_SLOPE": 14, "STDDEV": 20, "MAX": 7}.items():
        declared = config([{"talib": {"functions": [name], "periods": [periods]}}])
        assert lookback_bars(declared) == window_bars(declared) == periods
    assert _call("CDLEVENINGSTAR").lookback() > 3, "candles compare with the bars before them"
    assert _call("ULTOSC").lookback() == 29


def test_an_ema_looks_back_further_than_its_window():
    declared = config([{"talib": {"functions": ["EMA"], "periods": [60], "timeframe": "1h"}}])
    assert window_bars(declared) == 60 * 12
    assert lookback_bars(declared) == (60 + 208) * 12
