"""topbot2 against the recursive search that defines it, and its promise about time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.labels import TopBot2
from pipeline.labels import top_bot2


def _recursive(price: np.ndarray, level: float, tolerance: float, is_top: bool) -> tuple[np.ndarray, np.ndarray]:
    """Absolute extremum of an interval, its level and tolerance points, then left and right of them."""
    values = price if is_top else -price
    label, end = np.zeros(len(price), bool), np.full(len(price), -1)
    intervals = [(0, len(price) - 1)]
    while intervals:
        a, b = intervals.pop()
        e = a + int(np.argmax(values[a : b + 1]))
        height, near = (values[e] - fraction * abs(values[e]) for fraction in (level, level * tolerance))
        left = [i for i in range(a, e) if values[i] < height]
        right = [i for i in range(e + 1, b + 1) if values[i] < height]
        if left and right:
            inner_left = max(i for i in range(a, e) if values[i] < near)
            inner_right = min(i for i in range(e + 1, b + 1) if values[i] < near)
            label[inner_left + 1 : inner_right] = True
            end[inner_left + 1 : inner_right] = right[0]
        if left and a < left[-1]:
            intervals.append((a, left[-1]))
        if right and right[0] < b:
            intervals.append((right[0], b))
    return label, end


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(3, 90),
    decimals=st.integers(0, 3),
    level=st.sampled_from([0.01, 0.02, 0.05]),
    tolerance=st.sampled_from([0.1, 0.3, 0.6, 1.0]),
    function=st.sampled_from(["top", "bot"]),
    cut=st.floats(0.1, 1),
)
def test_it_is_the_recursive_search_and_no_known_cell_changes_with_more_data(
    seed, n, decimals, level, tolerance, function, cut
):
    price = np.round(100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, n))), decimals)
    spec = TopBot2(function=function, level=level, tolerances=[tolerance])
    whole = top_bot2.compute(spec, price)[0]
    label, end = _recursive(price, level, tolerance, function == "top")
    assert np.all(whole.known | ~label), "a row of a proven extremum is known"
    assert np.array_equal(whole.values[whole.known], label[whole.known])
    assert np.array_equal(whole.end[label], end[label])

    m = max(2, int(n * cut))
    part = top_bot2.compute(spec, price[:m])[0]
    known_by_then = whole.known[:m] & (whole.end[:m] < m)
    assert np.array_equal(part.known, known_by_then)
    assert np.array_equal(part.values[part.known], whole.values[:m][part.known])
    assert np.array_equal(part.end[part.known], whole.end[:m][part.known])


def test_long_data_need_no_deep_recursion():
    price = np.exp(np.linspace(0, 5, 200_000))  # one trend: a recursive search would split 200,000 times
    column = top_bot2.compute(TopBot2(level=0.01, tolerances=[0.2]), price)[0]
    assert not column.values.any()


def test_a_price_that_begins_later_is_unknown_before_and_as_if_alone_after():
    rng = np.random.default_rng(4)
    price = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, 400)))
    spec = TopBot2(level=0.02, tolerances=[0.2, 0.5])
    late = top_bot2.compute(spec, np.append(np.full(30, np.nan), price))
    for alone, padded in zip(top_bot2.compute(spec, price), late, strict=True):
        assert alone.values.any() and not padded.known[:30].any()
        assert np.array_equal(padded.known[30:], alone.known)
        assert np.array_equal(padded.values[30:], alone.values)
        assert np.array_equal(padded.end[30:][alone.known], alone.end[alone.known] + 30)
    assert not any(column.known.any() for column in top_bot2.compute(spec, np.full(5, np.nan)))
