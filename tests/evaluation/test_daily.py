"""Returns by day chain to the whole, whatever the bars."""

import numpy as np
import pytest
from builders import START_MS, random_walk
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.durations import interval_ms
from pipeline.evaluation.daily import daily_returns


@given(
    interval=st.sampled_from(["1m", "15m", "1h", "4h", "1d"]),
    n=st.integers(2, 400),
    offset=st.integers(0, 2000),
    seed=st.integers(0, 100),
)
def test_returns_chain_to_the_whole(interval: str, n: int, offset: int, seed: int) -> None:
    step = interval_ms(interval)
    times, equity = START_MS + step * (offset + np.arange(n)), random_walk(n, seed)
    found = daily_returns(times, equity)
    assert found is not None
    assert np.prod(1 + found) == pytest.approx(equity[-1] / equity[0])
    # As many as there are days with a bar after the first, which the returns start from.
    assert len(found) == len(np.unique(times[1:] // 86_400_000))


def test_a_days_return_is_from_midnight_to_midnight() -> None:
    times = START_MS + 3_600_000 * np.arange(-1, 49)
    equity = np.concatenate([[100.0], np.linspace(100, 110, 24), np.linspace(110, 99, 24), [99.0]])
    found = daily_returns(times, equity)
    assert found is not None and found == pytest.approx([0.1, -0.1, 0.0])


def test_used_up_equity_has_no_returns_and_one_bar_none() -> None:
    times = START_MS + 3_600_000 * np.arange(3)
    assert daily_returns(times, np.array([100.0, 0.0, 0.0])) is None
    alone = daily_returns(times[:1], np.array([100.0]))
    assert alone is not None and len(alone) == 0
