"""Divergence on a path drawn by hand, and against a search over the whole series."""

import numpy as np

from pipeline.features.divergence import _HEAD, _loop


def run(close: list[float], oscillator: list[float], confirm: int, window: int) -> list[float]:
    state = np.full(_HEAD + 2 * (2 * confirm + 1), np.nan)
    state[0] = 0.0
    result = np.empty(len(close))
    _loop(state, np.array(close), np.array(oscillator), confirm, window, result)
    return result.tolist()


def test_a_lower_low_with_a_higher_oscillator_is_bullish_once_it_is_confirmed() -> None:
    close = [10, 9, 8, 9, 10, 9, 7, 9, 10, 11, 12]
    rising = [0, 0, -5, 0, 0, 0, -3, 0, 0, 0, 0]
    assert run(close, rising, 1, 6) == [0] * 7 + [1, 1, 1, 1], "known one bar after the low"
    falling = [0, 0, -3, 0, 0, 0, -5, 0, 0, 0, 0]
    assert run(close, falling, 1, 6) == [0] * 11, "the oscillator confirms the low"
    assert run(close, rising, 1, 3) == [0] * 11, "the lows are too far apart"


def test_bearish_is_the_mirror_image() -> None:
    close = [-c for c in [10, 9, 8, 9, 10, 9, 7, 9, 10, 11, 12]]
    assert run(close, [0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 0], 1, 6) == [0] * 7 + [-1] * 4


def test_it_equals_a_search_that_sees_all_swings() -> None:
    rng = np.random.default_rng(3)
    close, oscillator = np.cumsum(rng.normal(size=800)), rng.normal(size=800)
    oscillator[:30] = np.nan
    confirm, window = 2, 25
    expected, last, sign = [], -(10**9), 0.0
    swings: dict[int, list[int]] = {1: [], -1: []}
    for t in range(800):
        m = t - confirm
        if m - confirm >= 30:
            around = [close[i] for i in range(m - confirm, t + 1) if i != m]
            for s in (1, -1):
                if all(s * close[m] < s * c for c in around):
                    if swings[s]:
                        b = swings[s][-1]
                        if (
                            m - b <= window
                            and s * (close[m] - close[b]) < 0
                            and s * (oscillator[m] - oscillator[b]) > 0
                        ):
                            last, sign = t, float(s)
                    swings[s].append(m)
        expected.append(np.nan if t < 30 else sign if t - last < window else 0.0)
    assert np.array_equal(run(close.tolist(), oscillator.tolist(), confirm, window), expected, equal_nan=True)
    assert len(set(np.array(expected)[30:])) == 3
