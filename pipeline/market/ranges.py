"""Sets of time ranges: half-open, sorted, apart from one another."""

from collections.abc import Iterable

Range = tuple[int, int]


def union(ranges: Iterable[Range]) -> list[Range]:
    """The same times as few ranges: overlapping and touching ones are joined, empty ones left out."""
    result: list[Range] = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def subtract(wanted: Iterable[Range], known: Iterable[Range]) -> list[Range]:
    """The times of `wanted` that are not in `known`."""
    result, holes = [], union(known)
    for start, end in union(wanted):
        at = start
        for hole_start, hole_end in holes:
            if hole_end <= at or hole_start >= end:
                continue
            if hole_start > at:
                result.append((at, hole_start))
            at = max(at, hole_end)
        if at < end:
            result.append((at, end))
    return result


def clip(ranges: Iterable[Range], start: int, end: int) -> list[Range]:
    """The times of `ranges` within [start, end)."""
    return union((max(a, start), min(b, end)) for a, b in ranges)
