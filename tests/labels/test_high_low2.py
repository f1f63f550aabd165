"""highlow2 and highlow against the definitions, cell by cell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.labels import HighLow, HighLow2
from pipeline.labels import high_low, high_low2


def _bars(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, n)))
    # Coarse prices, so that equalities and ties happen.
    close = np.round(close, 1)
    high = np.round(close * (1 + np.abs(rng.normal(0, 0.003, n))), 1)
    low = np.round(close * (1 - np.abs(rng.normal(0, 0.003, n))), 1)
    return close, high, low


def _by_definition(spec: HighLow2, h: int, close: np.ndarray, high: np.ndarray, low: np.ndarray, t: int):
    theta, n = spec.thresholds[0], len(close)
    first = second = None
    for k in range(1, min(h, n - 1 - t) + 1):
        if spec.function == "high":
            hit = high[t + k] > close[t] * (1 + theta / 100)
            against = low[t + k] < close[t] * (1 - theta * spec.tolerance / 100)
        else:
            hit = low[t + k] < close[t] * (1 - theta / 100)
            against = high[t + k] > close[t] * (1 + theta * spec.tolerance / 100)
        first = k if hit and first is None else first
        second = k if against and second is None else second
    if first is None and second is None:
        return (False, t + h) if t + h < n else None
    tie = first == second and spec.tie == "success"
    value = first is not None and (second is None or first < second or tie)
    return value, t + min(k for k in (first, second) if k is not None)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 400),
    horizon=st.integers(1, 300),
    function=st.sampled_from(["high", "low"]),
    tie=st.sampled_from(["failure", "success"]),
    threshold=st.sampled_from([0.2, 0.5, 1.5]),
    tolerance=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_highlow2_is_its_definition_cell_by_cell(seed, n, horizon, function, tie, threshold, tolerance):
    close, high, low = _bars(seed, n)
    spec = HighLow2(function=function, thresholds=[threshold], tolerance=tolerance, horizon=horizon, tie=tie)
    column = high_low2.compute(spec, horizon, close, high, low)[0]
    for t in range(n):
        expected = _by_definition(spec, horizon, close, high, low, t)
        assert column.known[t] == (expected is not None)
        if expected is not None:
            assert (bool(column.values[t]), int(column.end[t])) == expected


def test_touching_the_threshold_is_not_crossing_it():
    close, high, low = np.full(3, 100.0), np.array([100.0, 101.0, 101.0]), np.full(3, 100.0)
    spec = HighLow2(thresholds=[1.0], tolerance=1.0, horizon=2)
    assert not high_low2.compute(spec, 2, close, high, low)[0].values[0]


@pytest.mark.parametrize("h", [1, 2, 7, 50])
def test_highlow_is_the_extreme_of_the_next_bars(h):
    close, high, low = _bars(3, 120)
    top, bottom, balance, up, down = high_low.compute(HighLow(horizons=[h], thresholds=[0.5]), [h], close, high, low)
    for t in range(120):
        assert top.known[t] == (t + h < 120)
        if not top.known[t]:
            continue
        highest = 100 * (high[t + 1 : t + h + 1].max() / close[t] - 1)
        lowest = 100 * (low[t + 1 : t + h + 1].min() / close[t] - 1)
        assert top.values[t] == highest and bottom.values[t] == lowest
        assert up.values[t] == (highest >= 0.5) and down.values[t] == (lowest <= -0.5)
        if balance.known[t]:
            rise, fall = max(highest, 0), max(-lowest, 0)
            assert balance.values[t] == 2 * rise / (rise + fall) - 1
