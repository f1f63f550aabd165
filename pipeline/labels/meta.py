"""`meta`: is the trade right that a signal would enter here? One label for each side, known at the barrier.

Whether there is a signal is not looked at: the second-stage model picks the bars that have one.
Source: López de Prado, Advances in Financial Machine Learning (2018), 3.6.
"""

import numpy as np
import numpy.typing as npt

from pipeline.config.labels import Meta, TripleBarrier
from pipeline.labels import triple_barrier
from pipeline.labels.column import LabelColumn

Floats = npt.NDArray[np.float64]


def names(spec: Meta) -> list[str]:
    """`{name}_long`, `{name}_short`, or both."""
    return [f"{spec.name}_{side}" for side in _sides(spec)]


def compute(spec: Meta, horizon: int, span: int, close: Floats, high: Floats, low: Floats) -> list[LabelColumn]:
    """For each side: True if the return at the barrier, or at the time limit, is more than the cost."""
    columns = []
    for side in _sides(spec):
        barrier = TripleBarrier(
            horizon=horizon, profit_take=spec.profit_take, stop_loss=spec.stop_loss, min_return=spec.min_return,
            side=side, output="return", tie=spec.tie,
        )  # fmt: skip
        outcome = triple_barrier.compute(barrier, horizon, span, close, high, low)
        columns.append(LabelColumn(outcome.values > spec.cost, outcome.known, outcome.end))
    return columns


def _sides(spec: Meta) -> list[str]:
    return ["long", "short"] if spec.side == "both" else [spec.side]
