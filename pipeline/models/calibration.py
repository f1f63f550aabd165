"""Calibration: curves from a classifier's score to the rate at which such scores came true.

Each curve is monotone, so that ranks (and the AUC, but for ties) stay. `apply` takes a table of scores, `one` a single
score; both do the same operations in the same order, so that they agree to the last bit.
"""

import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Floats = npt.NDArray[np.float64]
Method = Literal["isotonic", "sigmoid", "venn_abers"]
_SMALL = 1e-12  # scores are kept this far from 0 and 1 before their log-odds are taken
_ITERATIONS = 100


@dataclass(frozen=True)
class Isotonic:
    """Piecewise linear between knots, constant beyond the outer ones.

    x, y: float64 [m], both ascending, x without ties.
    Source: Zadrozny & Elkan (2002), Transforming classifier scores into accurate multiclass probability estimates.
    """

    x: Floats
    y: Floats

    def apply(self, scores: Floats) -> Floats:
        """Probabilities [n] of scores [n]."""
        x, y = self.x, self.y
        if len(x) == 1:
            return np.full(len(scores), y[0])
        inside = np.minimum(np.maximum(scores, x[0]), x[-1])
        left = np.minimum(np.searchsorted(x, inside, side="right"), len(x) - 1) - 1
        return y[left] + (inside - x[left]) / (x[left + 1] - x[left]) * (y[left + 1] - y[left])

    def one(self, score: float) -> float:
        """The probability of one score."""
        x, y = self.x, self.y
        if len(x) == 1:
            return float(y[0])
        inside = min(max(score, float(x[0])), float(x[-1]))
        left = min(bisect_right(x, inside), len(x) - 1) - 1
        return float(y[left] + (inside - x[left]) / (x[left + 1] - x[left]) * (y[left + 1] - y[left]))


@dataclass(frozen=True)
class Sigmoid:
    """Platt's logistic curve over the score's log-odds, so that a calibrated score has slope 1 and intercept 0.

    Source: Platt (1999), Probabilistic outputs for support vector machines.
    """

    slope: float
    intercept: float

    def apply(self, scores: Floats) -> Floats:
        """Probabilities [n] of scores [n]."""
        total = self.slope * log_odds(scores) + self.intercept
        small = np.exp(-np.abs(total))  # never overflows
        return np.where(total >= 0, 1 / (1 + small), small / (1 + small))

    def one(self, score: float) -> float:
        """The probability of one score."""
        return float(self.apply(np.array([score]))[0])


@dataclass(frozen=True)
class VennAbers:
    """Two probabilities of each score, one of which is calibrated whatever the scores mean, and one made of both.

    For a score s: `low` is the isotonic regression's value at s if the new outcome were 0, `high` if it were 1; the
    probability is high / (1 − low + high). low_x, low: values of the lower one from each knot on (the first knot is
    −∞); high_x, high: values of the upper one up to each knot (the last is ∞).
    Source: Vovk, Petej & Fedorova (2015), Large-scale probabilistic predictors with and without guarantees of validity.
    """

    low_x: Floats
    low: Floats
    high_x: Floats
    high: Floats

    def bounds(self, scores: Floats) -> tuple[Floats, Floats]:
        """Lower and upper probabilities [n] of scores [n]."""
        below = np.searchsorted(self.low_x[1:], scores, side="right")
        above = np.searchsorted(self.high_x[:-1], scores, side="left")
        return self.low[below], self.high[above]

    def apply(self, scores: Floats) -> Floats:
        """Probabilities [n] of scores [n]."""
        low, high = self.bounds(scores)
        return high / (1 - low + high)

    def one(self, score: float) -> float:
        """The probability of one score."""
        low = float(self.low[bisect_right(self.low_x, score, 1) - 1])
        high = float(self.high[bisect_left(self.high_x, score, 0, len(self.high_x) - 1)])
        return high / (1 - low + high)


Curve = Isotonic | Sigmoid | VennAbers


def fit(method: Method, scores: Floats, outcomes: npt.NDArray[np.bool_]) -> Curve:
    """The curve of scores [n] that were made out of sample, and what came of them [n].

    Raises ValueError: there are no rows.
    """
    scores, outcomes = np.asarray(scores, np.float64), np.asarray(outcomes, np.bool_)
    if not len(scores):
        raise ValueError("a calibration curve needs at least one score")
    if method == "sigmoid":
        return fit_sigmoid(scores, outcomes)
    return fit_isotonic(scores, outcomes) if method == "isotonic" else fit_venn_abers(scores, outcomes)


def fit_isotonic(scores: Floats, outcomes: npt.NDArray[np.bool_]) -> Isotonic:
    """The monotone curve nearest to the outcomes in squared error, by pooling neighbours that violate the order."""
    x, weight, total = _grouped(scores, outcomes)
    y = _fitted(weight, total, _first_blocks(weight, total))
    # A knot inside a flat stretch says nothing.
    inner = np.ones(len(x), bool)
    inner[1:-1] = (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:])
    return Isotonic(x[inner], y[inner])


def fit_sigmoid(scores: Floats, outcomes: npt.NDArray[np.bool_]) -> Sigmoid:
    """Maximum likelihood with Platt's targets, which keep it off 0 and 1; by Newton's method with a line search.

    The curve never falls: a score that misled is not turned around, but given up for the rate at which outcomes were
    true.

    Source of the iteration: Lin, Lin & Weng (2007), A note on Platt's probabilistic outputs.
    """
    x = log_odds(scores)
    positives = int(outcomes.sum())
    negatives = len(outcomes) - positives
    target = np.where(outcomes, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = 0.0, float(np.log((positives + 1) / (negatives + 1)))
    loss = _logistic_loss(slope * x + intercept, target)
    for _ in range(_ITERATIONS):
        p = 1 / (1 + np.exp(-np.clip(slope * x + intercept, -500, 500)))
        error, spread = p - target, p * (1 - p)
        gradient = np.array([float(np.sum(error * x)), float(np.sum(error))])
        if np.abs(gradient).max() < 1e-9 * len(x):
            break
        # The small term keeps a perfectly separated or constant score from dividing by nothing.
        a, b, c = float(np.sum(spread * x * x)) + 1e-12, float(np.sum(spread * x)), float(np.sum(spread)) + 1e-12
        determinant = a * c - b * b
        step = np.array([c * gradient[0] - b * gradient[1], a * gradient[1] - b * gradient[0]]) / determinant
        size = 1.0
        while size > 1e-10:
            trial = slope - size * float(step[0]), intercept - size * float(step[1])
            now = _logistic_loss(trial[0] * x + trial[1], target)
            if now < loss - 1e-4 * size * float(gradient @ step):
                slope, intercept, loss = *trial, now
                break
            size /= 2
        else:
            break
    if slope < 0:
        # On these rows the score was worse than none; upside down it would not be better on others.
        mean = float(target.mean())
        return Sigmoid(0.0, float(np.log(mean / (1 - mean))))
    return Sigmoid(slope, intercept)


def fit_venn_abers(scores: Floats, outcomes: npt.NDArray[np.bool_]) -> VennAbers:
    """Both isotonic values at every score, from the blocks that its neighbours pool to on either side."""
    x, weight, total = _grouped(scores, outcomes)
    low, high = _bounds(weight, total)
    # Between two scores the value with outcome 0 is that of the one below, with outcome 1 of the one above: a new
    # outcome at the very bottom or top is pooled with it in any case.
    low_x, low = np.concatenate([[-np.inf], x]), np.concatenate([[0.0], low])
    high_x, high = np.concatenate([x, [np.inf]]), np.concatenate([high, [1.0]])
    first, last = np.append(True, np.diff(low) != 0), np.append(np.diff(high) != 0, True)
    return VennAbers(low_x[first], low[first], high_x[last], high[last])


def to_json(curve: Curve) -> str:
    """Text from which `from_json` makes the same curve, to the last bit."""
    if isinstance(curve, Sigmoid):
        value: dict[str, Any] = {"method": "sigmoid", "slope": curve.slope, "intercept": curve.intercept}
    elif isinstance(curve, Isotonic):
        value = {"method": "isotonic", "x": curve.x.tolist(), "y": curve.y.tolist()}
    else:
        # JSON has no infinity; the outer knots are known.
        value = {"method": "venn_abers", "low_x": curve.low_x[1:].tolist(), "low": curve.low.tolist()}
        value |= {"high_x": curve.high_x[:-1].tolist(), "high": curve.high.tolist()}
    return json.dumps(value, allow_nan=False) + "\n"


def from_json(text: str) -> Curve:
    """The curve of a text made by `to_json`. Raises KeyError or ValueError: it is not one."""
    value = json.loads(text)
    method = value["method"]
    if method == "sigmoid":
        return Sigmoid(float(value["slope"]), float(value["intercept"]))
    arrays = {key: np.array(values, np.float64) for key, values in value.items() if key != "method"}
    if method == "isotonic":
        return Isotonic(arrays["x"], arrays["y"])
    if method == "venn_abers":
        low_x, high_x = np.concatenate([[-np.inf], arrays["low_x"]]), np.concatenate([arrays["high_x"], [np.inf]])
        return VennAbers(low_x, arrays["low"], high_x, arrays["high"])
    raise ValueError(f"no calibration is called '{method}'")


def method_of(curve: Curve) -> Method:
    """The config's name of a curve's kind."""
    names: dict[type, Method] = {Isotonic: "isotonic", Sigmoid: "sigmoid", VennAbers: "venn_abers"}
    return names[type(curve)]


def log_odds(scores: Floats) -> Floats:
    """log(p / (1 − p)) [n], with p kept off 0 and 1."""
    inside = np.minimum(np.maximum(scores, _SMALL), 1 - _SMALL)
    return np.log(inside) - np.log(1 - inside)


def _logistic_loss(total: Floats, target: Floats) -> float:
    return float(np.sum(np.logaddexp(0, total) - target * total))


def _grouped(scores: Floats, outcomes: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    # Distinct scores, ascending; how many outcomes each has, and how many came true.
    x, place = np.unique(scores, return_inverse=True)
    return x, np.bincount(place).astype(np.float64), np.bincount(place, weights=outcomes).astype(np.float64)


@compiled(nogil=True)
def _first_blocks(weight: Floats, total: Floats) -> npt.NDArray[np.int64]:
    # end[i]: where the first pooled block ends in the isotonic regression of the groups i, i + 1, … alone.
    # Counts are whole numbers, so that means are compared without rounding.
    n = len(weight)
    end = np.empty(n, np.int64)
    block_weight, block_total = weight.copy(), total.copy()
    for i in range(n - 1, -1, -1):
        e, w, t = i + 1, weight[i], total[i]
        while e < n and t * block_weight[e] >= block_total[e] * w:
            w, t, e = w + block_weight[e], t + block_total[e], end[e]
        end[i], block_weight[i], block_total[i] = e, w, t
    return end


@compiled(nogil=True)
def _last_blocks(weight: Floats, total: Floats) -> npt.NDArray[np.int64]:
    # start[i]: where the last pooled block begins in the isotonic regression of the groups …, i − 1, i alone.
    n = len(weight)
    start = np.empty(n, np.int64)
    block_weight, block_total = weight.copy(), total.copy()
    for i in range(n):
        s, w, t = i, weight[i], total[i]
        while s > 0 and block_total[s - 1] * w >= t * block_weight[s - 1]:
            w, t, s = w + block_weight[s - 1], t + block_total[s - 1], start[s - 1]
        start[i], block_weight[i], block_total[i] = s, w, t
    return start


@compiled(nogil=True)
def _fitted(weight: Floats, total: Floats, end: npt.NDArray[np.int64]) -> Floats:
    values = np.empty(len(weight))
    i = 0
    while i < len(weight):
        values[i : end[i]] = total[i : end[i]].sum() / weight[i : end[i]].sum()
        i = end[i]
    return values


@compiled(nogil=True)
def _bounds(weight: Floats, total: Floats) -> tuple[Floats, Floats]:
    # The isotonic value of each group with one more outcome, 0 or 1: its block grows to either side until both
    # neighbours fit, and those are the blocks of what lies beyond.
    n = len(weight)
    end, start = _first_blocks(weight, total), _last_blocks(weight, total)
    weights, totals = np.zeros(n + 1), np.zeros(n + 1)
    for i in range(n):
        weights[i + 1], totals[i + 1] = weights[i] + weight[i], totals[i] + total[i]
    low, high = np.empty(n), np.empty(n)
    for i in range(n):
        for outcome in range(2):
            left, right, w, t = i, i + 1, weight[i] + 1.0, total[i] + outcome
            while True:
                if right < n:
                    e = end[right]
                    w2, t2 = weights[e] - weights[right], totals[e] - totals[right]
                    if t * w2 >= t2 * w:
                        w, t, right = w + w2, t + t2, e
                        continue
                if left > 0:
                    s = start[left - 1]
                    w2, t2 = weights[left] - weights[s], totals[left] - totals[s]
                    if t2 * w >= t * w2:
                        w, t, left = w + w2, t + t2, s
                        continue
                break
            if outcome == 0:
                low[i] = t / w
            else:
                high[i] = t / w
    return low, high
