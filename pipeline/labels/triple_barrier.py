"""`triple_barrier`: profit-take, stop-loss or time limit, whichever comes first."""

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.labels import TripleBarrier
from pipeline.labels.column import LabelColumn
from pipeline.labels.crossing import BOTH, LOWER, NEITHER, UPPER, first_crossing

Floats = npt.NDArray[np.float64]


def names(spec: TripleBarrier) -> list[str]:
    """The one name of the label."""
    return [spec.name]


def compute(spec: TripleBarrier, horizon: int, span: int, close: Floats, high: Floats, low: Floats) -> LabelColumn:
    """Outcome of a trade entered at each close (or each CUSUM event; other rows are unknown).

    Barriers lie at close·(1 ± max(multiple·σ, min_return)), σ = exponential standard deviation of
    returns over `span` bars; a multiple of 0 removes that barrier. Both in one bar: `tie`.
    output bool: profit first; class: 1 profit, −1 stop, 0 time; return: at the barrier, or at the
    close after `horizon` bars, positive if the side earns.
    Source: López de Prado, Advances in Financial Machine Learning (2018), 3.2-3.4 and 2.5.2.1 (CUSUM).
    """
    n = len(close)
    sigma = volatility(close, span)
    take = np.maximum(spec.profit_take * sigma, spec.min_return) if spec.profit_take else np.full(n, np.inf)
    stop = np.maximum(spec.stop_loss * sigma, spec.min_return) if spec.stop_loss else np.full(n, np.inf)
    usable = np.isfinite(sigma) & (sigma > 0)
    above, below = (take, stop) if spec.side == "long" else (stop, take)
    over, under = np.where(usable, 1 + above, np.nan), np.where(usable, 1 - below, np.nan)
    end, which = first_crossing(close, high, low, over, under, horizon)
    profit_side, loss_side = (UPPER, LOWER) if spec.side == "long" else (LOWER, UPPER)
    won = (which == profit_side) | ((which == BOTH) & (spec.tie == "success"))
    lost = (which == loss_side) | ((which == BOTH) & (spec.tie == "failure"))
    timed = np.arange(n, dtype=np.int64) + horizon
    known = usable & ((which != NEITHER) | (timed < n))
    if spec.events == "cusum":
        known &= cusum_events(close, spec.cusum * sigma)
    if spec.output == "bool":
        values: npt.NDArray = won
    elif spec.output == "class":
        values = won.astype(np.float64) - lost
    else:
        sign = 1.0 if spec.side == "long" else -1.0
        held = sign * (close[np.minimum(timed, n - 1)] / close - 1)
        values = np.where(won, take, np.where(lost, -stop, held))
    return LabelColumn(values, known, end)


def volatility(close: Floats, span: int) -> Floats:
    """Exponential standard deviation of close-to-close returns [n]; NaN until there are two."""
    import pandas as pd

    returns = np.full(len(close), np.nan)
    returns[1:] = close[1:] / close[:-1] - 1
    return pd.Series(returns).ewm(span=span).std().to_numpy()


@compiled()
def cusum_events(close: Floats, threshold: Floats) -> npt.NDArray[np.bool_]:
    """Rows at which the summed return since the last event exceeds the row's threshold, up or down."""
    events = np.zeros(close.shape[0], np.bool_)
    up = down = 0.0
    for t in range(1, close.shape[0]):
        change = close[t] / close[t - 1] - 1
        up, down = max(0.0, up + change), min(0.0, down + change)
        if up > threshold[t] or down < -threshold[t]:
            events[t] = True
            up = down = 0.0
    return events
