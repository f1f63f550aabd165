"""The first crossing of a band against a plain loop over the bars after each row."""

import os

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.labels import crossing
from pipeline.labels.crossing import NEITHER, first_crossing


def _naive(
    close: np.ndarray, high: np.ndarray, low: np.ndarray, over: np.ndarray, under: np.ndarray, horizon: int
) -> tuple[list[int], list[int]]:
    ends, kinds = [], []
    for t in range(len(close)):
        upper, lower = close[t] * over[t], close[t] * under[t]
        end, kind = t + horizon, NEITHER
        if not (np.isnan(upper) or np.isnan(lower)):
            for j in range(t + 1, min(t + horizon, len(close) - 1) + 1):
                kind = int(high[j] > upper) + 2 * int(low[j] < lower)
                if kind != NEITHER:
                    end = j
                    break
        ends.append(end)
        kinds.append(kind)
    return ends, kinds


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 150),
    horizon=st.one_of(st.integers(1, 20), st.integers(1, 400)),
    step=st.sampled_from([0.0, 0.3, 3.0]),
    band=st.sampled_from([0.0, 0.003, 0.02, 0.2, np.inf]),
    each=st.booleans(),
    holes=st.sampled_from([0.0, 0.1, 1.0]),
    parts=st.integers(1, 4),
)
@example(seed=0, n=0, horizon=5, step=0.3, band=0.02, each=False, holes=0.0, parts=3)
@example(seed=1, n=64, horizon=500, step=0.3, band=0.02, each=True, holes=0.1, parts=4)
def test_the_first_crossing_is_that_of_a_plain_loop(seed, n, horizon, step, band, each, holes, parts):
    rng = np.random.default_rng(seed)
    # Whole prices, so that bars equal each other and touch levels.
    close = 100 + np.round(np.cumsum(rng.normal(0, step, n)))
    high, low = close + rng.integers(0, 3, n), close - rng.integers(0, 3, n)
    over, under = np.full(n, 1 + band), np.full(n, 1 - band)
    if each:
        over, under = over + rng.choice([0, 0.01, np.inf], n), under - rng.choice([0, 0.01, np.inf], n)
        for one in (over, under, close, high, low):
            one[rng.random(n) < holes * rng.random()] = np.nan
    expected = _naive(close, high, low, over, under, horizon)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossing, "_WORTH_THREADS", 0 if parts > 1 else n + 1)
        patch.setattr(os, "cpu_count", lambda: parts)
        factors = (over, under) if each else (1 + band, 1 - band)
        end, which = first_crossing(close, high, low, *factors, horizon)
    assert (end.tolist(), which.tolist()) == expected


def test_rising_and_falling_prices_keep_every_bar_in_mind():
    n = 500
    for close in (np.arange(1.0, n + 1), np.arange(n, 0.0, -1)):
        expected = _naive(close, close, close, np.full(n, 1.1), np.full(n, 0.9), 300)
        end, which = first_crossing(close, close, close, 1.1, 0.9, 300)
        assert (end.tolist(), which.tolist()) == expected
