"""Bars that labels span: half-open, counted from the first bar that any of them touches."""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def checked(spans: Indices) -> tuple[Indices, Indices]:
    """First bars and the bars after the last, each [n], of spans [n, 2]; the smallest first bar becomes 0.

    Raises ValueError: a span is empty or reversed (names the first).
    """
    spans = np.asarray(spans, np.int64).reshape(-1, 2)
    wrong = np.flatnonzero(spans[:, 0] >= spans[:, 1])
    if wrong.size:
        start, end = spans[wrong[0]]
        raise ValueError(f"label {wrong[0]} spans no bar: [{start}, {end})")
    low = spans[:, 0].min() if len(spans) else 0
    return spans[:, 0] - low, spans[:, 1] - low
