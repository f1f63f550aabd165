"""Resampling loses no extreme and moves no time."""

import numpy as np
from builders import START_MS, random_walk
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.performance import drawdowns
from pipeline.report.candles import candle_length, curve, resample
from pipeline.report.data import Bars

MINUTE = 60_000


def minutes(n: int, start: int = START_MS, seed: int = 0) -> Bars:
    close = random_walk(n, seed)
    opens = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opens, close) * 1.001, np.minimum(opens, close) * 0.999
    return Bars(start + MINUTE * np.arange(n), opens, high, low, close)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 3000), st.sampled_from([3, 5, 60, 240, 1440]), st.integers(0, 5000), st.integers(0, 9)
)  # fmt: skip
def test_candles_keep_first_open_last_close_and_every_extreme(n: int, length: int, offset: int, seed: int) -> None:
    bars = minutes(n, START_MS + offset * MINUTE, seed)
    candles = resample(bars, length * MINUTE)
    assert candles.open[0] == bars.open[0] and candles.close[-1] == bars.close[-1]
    assert candles.high.max() == bars.high.max() and candles.low.min() == bars.low.min()
    assert np.all(candles.times % (length * MINUTE) == 0) and np.all(np.diff(candles.times) == length * MINUTE)
    for time, high, low in zip(candles.times, candles.high, candles.low, strict=True):
        inside = (bars.times >= time) & (bars.times < time + length * MINUTE)
        assert high == bars.high[inside].max() and low == bars.low[inside].min()


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 5_000_000), st.sampled_from([1, 5, 15, 60, 1440]), st.integers(101, 5000))
def test_no_more_candles_than_asked_for(n: int, step: int, at_most: int) -> None:
    length = candle_length(n, step * MINUTE, at_most)
    assert length % (step * MINUTE) == 0
    assert n * step * MINUTE / length + 1 <= at_most or n <= at_most


def test_the_deepest_drawdown_between_two_points_is_kept() -> None:
    times = START_MS + MINUTE * np.arange(1000)
    equity = random_walk(1000, 3, 0.01)
    below = drawdowns(equity)
    points = times[np.unique(np.linspace(0, 999, 40).astype(int))]
    found = curve(times, equity, below, points, equity)
    assert found.drawdown.min() == below.min() and len(found.drawdown) == len(points)
    assert np.array_equal(found.equity, equity[np.searchsorted(times, points)])
