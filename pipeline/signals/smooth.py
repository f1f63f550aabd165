"""Averages of scores: over columns, then over time.

The averages over time are pandas' `rolling(window, min_periods=window // 2).mean()` and
`ewm(span, min_periods=span // 2, adjust=False).mean()`, with one difference: a bar whose own score
is unknown has no smoothed score either. A simple window is summed afresh at each bar, so its value
depends on the window alone, whenever the stream was started; an exponential average depends on the
first bar, as it must. Over unknown scores the weights are those that pandas documents for adjust=False, which pandas
3.1 itself does not keep to.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.trading import Smooth

Scores = npt.NDArray[np.float64]


class Ewm(NamedTuple):
    """State of an exponential average: its value, the weight of the past in it, values seen."""

    mean: float = math.nan
    weight: float = 1.0
    known: int = 0


def smooth(columns: Scores, spec: Smooth) -> Scores:
    """Smoothed score [n] of the rows of `columns` [n, k]; NaN where it is not known (yet)."""
    values = point(columns, spec.point_threshold)
    if spec.window is None:
        return values
    least = _least(spec.window)
    if isinstance(spec.window, int):
        return simple(values, spec.window, least)
    return exponential(values, _alpha(spec.window), least)


class SmoothStream:
    """The same, bar by bar: `update` takes the columns [k] of one bar and returns its smoothed score.

    state: float64 [n], all that it remembers: the window's values, or an average's value, the weight of the past in it,
    and values seen. least, alpha: of `smooth_step`.
    """

    def __init__(self, spec: Smooth) -> None:
        self.spec = spec
        simple_window = isinstance(spec.window, int)
        self.least = 0 if spec.window is None else _least(spec.window)
        self.alpha = 0.0 if spec.window is None or simple_window else _alpha(spec.window)
        self.state = np.full(spec.window, np.nan) if isinstance(spec.window, int) else np.array(Ewm())

    def update(self, columns: Sequence[float]) -> float:
        value = point_one(columns, self.spec.point_threshold)
        if self.spec.window is None:
            return value
        return float(smooth_step(self.state, value, self.least, self.alpha))


def point(columns: Scores, point_threshold: float | None) -> Scores:
    """Mean of each row [n]; with a point threshold 1 where the mean reaches it, else 0. NaN if any is NaN."""
    total = columns[:, 0].copy()
    for j in range(1, columns.shape[1]):
        total += columns[:, j]
    mean: Scores = total / columns.shape[1]
    if point_threshold is None:
        return mean
    return np.where(np.isnan(mean), np.nan, (mean >= point_threshold).astype(np.float64))


def point_one(values: Sequence[float], point_threshold: float | None) -> float:
    """`point` of one row, by Python's arithmetic, which rounds as numpy's."""
    total = values[0]
    for value in values[1:]:
        total += value
    mean = total / len(values)
    if point_threshold is None or math.isnan(mean):
        return mean
    return 1.0 if mean >= point_threshold else 0.0


@compiled()
def window_mean(window: Scores, least: int) -> float:
    """Mean of the values known in a window, oldest first; NaN if the last or too many are unknown."""
    if np.isnan(window[-1]):
        return np.nan
    total, count = 0.0, 0
    for value in window:
        if not np.isnan(value):
            total += value
            count += 1
    return total / count if count >= least else np.nan


@compiled()
def smooth_step(state: Scores, value: float, least: int, alpha: float) -> float:
    """The smoothed score after one more value. alpha: of an exponential average, 0 for a window."""
    if alpha == 0:
        for k in range(len(state) - 1):
            state[k] = state[k + 1]
        state[-1] = value
        return window_mean(state, least)
    after = ewm_step(Ewm(state[0], state[1], int(state[2])), value, alpha)
    state[0], state[1], state[2] = after.mean, after.weight, after.known
    return after.mean if after.known >= least and not np.isnan(value) else np.nan


@compiled()
def simple(values: Scores, window: int, least: int) -> Scores:
    """`window_mean` of the last `window` values at each of them."""
    result = np.empty(len(values))
    for t in range(len(values)):
        result[t] = window_mean(values[max(0, t - window + 1) : t + 1], least)
    return result


@compiled()
def ewm_step(state: Ewm, value: float, alpha: float) -> Ewm:
    """The state after one more value; an unknown value lets the weight of the past decay."""
    if np.isnan(value):
        return Ewm(state.mean, state.weight * (1 - alpha), state.known)
    if state.known == 0:
        return Ewm(value, 1.0, 1)
    past = state.weight * (1 - alpha)
    mean = (past * state.mean + alpha * value) / (past + alpha)
    return Ewm(mean, 1.0, state.known + 1)


@compiled()
def exponential(values: Scores, alpha: float, least: int) -> Scores:
    """`ewm_step` over all values; NaN before `least` values and where the value itself is NaN."""
    result = np.empty(len(values))
    state = Ewm(np.nan, 1.0, 0)
    for t in range(len(values)):
        state = ewm_step(state, values[t], alpha)
        result[t] = state.mean if state.known >= least and not np.isnan(values[t]) else np.nan
    return result


def _least(window: float) -> int:
    return max(1, int(window // 2))


def _alpha(span: float) -> float:
    return 2 / (span + 1)
