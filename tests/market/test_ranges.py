"""Ranges against sets of whole numbers."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.market.ranges import Range, clip, subtract, union

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def points(ranges: list[Range]) -> set[int]:
    return {n for start, end in ranges for n in range(start, end)}


@settings(max_examples=150)
@given(RANGES, RANGES, st.integers(0, 40), st.integers(0, 40))
def test_ranges_behave_as_sets(a: list[Range], b: list[Range], start: int, end: int) -> None:
    assert points(union(a)) == points(a)
    assert points(subtract(a, b)) == points(a) - points(b)
    assert points(clip(a, start, end)) == points(a) & set(range(start, end))
    for result in (union(a), subtract(a, b), clip(a, start, end)):
        assert all(x < y for x, y in result)
        assert all(first[1] < second[0] for first, second in itertools.pairwise(result))
