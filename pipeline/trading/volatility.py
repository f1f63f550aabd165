"""Forecasts of the next bar's volatility from past closes: over a table, or one close at a time, by one step."""

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.durations import bars_covering
from pipeline.config.risk import Sizing

Array = npt.NDArray[np.float64]
# Squared returns before which a forecast is not given.
WARM_UP = 30


class Forecast:
    """EWMA or GARCH(1,1) forecast of a bar's standard deviation, of log returns.

    state: float64 [4], all that it remembers. weights: of `forecast_step`.

    EWMA: variance v ← v + 2/(span + 1)·(r² − v). GARCH: v ← (1 − α − β)·V + α·r² + β·v, V the mean of all
    squared returns so far (variance targeting). Only past closes are used; the first 30 give NaN.
    Sources: RiskMetrics (1996); Bollerslev (1986); Engle & Mezrich (1996) for the targeting.
    """

    def __init__(self, sizing: Sizing, interval: str) -> None:
        span = max(2, bars_covering(sizing.span, interval))
        garch = sizing.forecast == "garch"
        self.weights = (sizing.garch_alpha, sizing.garch_beta) if garch else (2 / (span + 1), -1.0)
        self.state = np.zeros(4)  # returns so far, mean square, variance, last close

    def update(self, close: float) -> float:
        """The forecast after one more close."""
        return float(forecast_step(self.state, close, *self.weights))

    def over(self, close: Array, filled: npt.NDArray[np.bool_]) -> Array:
        """The forecast after each close [n]; made-up bars leave it as it is."""
        result = np.empty(len(close))
        _loop(self.state, close, filled, *self.weights, result)
        return result


@compiled(error_model="numpy")
def forecast_step(state: Array, close: float, alpha: float, beta: float) -> float:
    """The forecast after one more close. alpha, beta: GARCH's, or EWMA's weight of the newest and -1."""
    if state[3] > 0 and close > 0:
        change = np.log(close / state[3])
        square = change * change
        state[0] += 1
        state[1] += (square - state[1]) / state[0]
        if state[0] <= WARM_UP:
            state[2] = state[1]
        elif beta < 0:
            state[2] += alpha * (square - state[2])
        else:
            state[2] = (1 - alpha - beta) * state[1] + alpha * square + beta * state[2]
    state[3] = close
    return np.sqrt(state[2]) if state[0] >= WARM_UP else np.nan


@compiled(error_model="numpy")
def _loop(state: Array, close: Array, filled: npt.NDArray[np.bool_], alpha: float, beta: float, result: Array) -> None:
    value = np.nan
    for t in range(len(close)):
        if not filled[t]:
            value = forecast_step(state, close[t], alpha, beta)
        result[t] = value
