"""One closed bar of all symbols as the trading core sees it, in arrays whose rows are symbols."""

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.live.merging import MergedBar
from pipeline.trading.market import (
    BUY,
    CLOSE,
    FILLED,
    FLAGS,
    FUNDING,
    NUMBERS,
    OPEN,
    RIGHT_LONG,
    SCORE,
    SELL,
    SIGNALS,
    VOLATILITY,
    VOLUME,
)
from pipeline.trading.volatility import Forecast, forecast_step

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]
# Columns of a bar that the core looks at.
PRICES = ("open", "high", "low", "close", "quote_volume")
_PRICES = itemgetter(*PRICES)
_LARGEST = float(np.finfo(np.float64).max)


class MarketRows:
    """What the core sees of each bar, but for gates and correlation.

    forecasts: of the symbols, and their values so far; both go on here. buy, sell: scores to buy from and to sell to.
    levels: the forecasts' weights, buy and sell.
    """

    def __init__(self, forecasts: Sequence[Forecast], values: Sequence[float], buy: float, sell: float) -> None:
        self._states = np.stack([one.state for one in forecasts])
        self._values = np.array(values, np.float64)
        self.levels = (*forecasts[0].weights, buy, sell)

    def arrays(self) -> list[np.ndarray]:
        """Forecasts' states and values of all symbols, as `see` takes them."""
        return [self._states, self._values]

    def move(self, arrays: Sequence[np.ndarray]) -> None:
        """Go on with copies of `arrays`."""
        self._states, self._values = arrays

    def update(
        self, which: Whole, bars: Sequence[MergedBar], filled: npt.NDArray[np.bool_], given: Floats
    ) -> tuple[Floats, Flags]:
        """`Market.numbers` and `Market.flags` of all symbols after a bar of those of some numbers [n].

        given: their scores, funding rates that are due, and probabilities that a long and a short trade would be right
        [n, 4].
        """
        return self._seen(self._states, self._values, which, bars, filled, given)

    def peek(
        self, which: Whole, bars: Sequence[MergedBar], filled: npt.NDArray[np.bool_], given: Floats
    ) -> tuple[Floats, Flags]:
        """What `update` would give, and nothing changes."""
        return self._seen(self._states.copy(), self._values.copy(), which, bars, filled, given)

    def _seen(
        self,
        states: Floats,
        values: Floats,
        which: Whole,
        bars: Sequence[MergedBar],
        filled: npt.NDArray[np.bool_],
        given: Floats,
    ) -> tuple[Floats, Flags]:
        count = len(values)
        numbers, flags = np.zeros((len(NUMBERS), count, 1)), np.zeros((len(FLAGS), count, 1), np.uint8)
        try:
            rows = [_PRICES(bar.values) for bar in bars]
        except KeyError:
            rows = [_prices(bar.values) for bar in bars]
        prices = np.array(rows, np.float64).reshape(len(bars), 5)
        see(which, prices, filled, given, states, values, *self.levels, numbers, flags)
        return numbers, flags


def _prices(values: Mapping[str, float]) -> tuple[float, ...]:
    # Bars of a file may have no amount in the quote asset.
    return (
        values["open"], values["high"], values["low"], values["close"],
        values["quote_volume"] if "quote_volume" in values else values.get("volume", 0.0) * values["close"],
    )  # fmt: skip


@compiled(nogil=True, error_model="numpy")
def see(
    which: Whole,
    prices: Floats,
    filled: npt.NDArray[np.bool_],
    given: Floats,
    states: Floats,
    values: Floats,
    alpha: float,
    beta: float,
    buy: float,
    sell: float,
    numbers: Floats,
    flags: Flags,
) -> None:
    """The numbers and flags of a bar; both are zero before."""
    # Who has no bar is made up, and has no score.
    flags[FILLED, :, 0] = 1
    numbers[SCORE, :, 0] = np.nan
    for i in range(len(which)):
        s, score = which[i], given[i, 0]
        flags[FILLED, s, 0] = filled[i]
        if not filled[i]:
            values[s] = forecast_step(states[s], prices[i, 3], alpha, beta)
            flags[SIGNALS, s, 0] = (BUY if score >= buy else 0) + (SELL if score <= sell else 0)
        for k in range(CLOSE - OPEN + 1):
            numbers[OPEN + k, s, 0] = prices[i, k]
        numbers[VOLUME, s, 0] = finite(prices[i, 4])
        numbers[VOLATILITY, s, 0] = values[s]
        numbers[SCORE, s, 0] = score
        numbers[FUNDING, s, 0] = given[i, 1]
        numbers[RIGHT_LONG, s, 0], numbers[RIGHT_LONG + 1, s, 0] = given[i, 2], given[i, 3]


@compiled()
def finite(value: float) -> float:
    """As np.nan_to_num."""
    if math.isnan(value):
        return 0.0
    return min(max(value, -_LARGEST), _LARGEST)
