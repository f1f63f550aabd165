"""Packed flags say the same as the flags."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.trading.bitset import is_set, next_set, packed
from pipeline.trading.compiled import compiled


@compiled(cache=False)
def find(bits: np.ndarray, t: int, end: int) -> int:
    return next_set(bits, t, end)


@compiled(cache=False)
def read(bits: np.ndarray, t: int) -> bool:
    return is_set(bits, t)


@settings(deadline=None)
@given(
    st.integers(0, 300),
    st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(0, 99),
)
def test_the_next_set_flag_is_the_first_one_from_there(n: int, rate: float, t: int, end: int, seed: int) -> None:
    flags = np.random.default_rng(seed).random(n) < rate
    t, end = min(t, n), min(end, n)
    later = [k for k in range(t, end) if flags[k]]
    assert find(packed(flags), t, end) == (later[0] if later else end)
    assert [read(packed(flags), k) for k in range(n)] == flags.tolist()
