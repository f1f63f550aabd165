"""Divergence: the price makes a new extreme, an oscillator does not; from confirmed swing points only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.features import DivergenceFeatures, TalibFeatures
from pipeline.features.family import Block, Columns, Floats, Stream, Times, family
from pipeline.features.talib_functions import Call, CallStream
from pipeline.features.talib_functions import blocks as talib_blocks

# The oscillator of each name: TA-Lib function and which of its outputs.
OSCILLATORS = {"macd": ("MACD", 2), "rsi": ("RSI", 0), "cci": ("CCI", 0)}


@dataclass(frozen=True)
class DivergenceBlock:
    """1 after a bullish divergence, -1 after a bearish one, for `window` bars from its confirmation; else 0.

    A swing low is a close below all `confirm` closes on either side: it is known `confirm` bars later, and
    only then used. Bullish: a swing low below the one before it, at most `window` bars apart, with a higher
    oscillator. Bearish is the mirror image at swing highs. NaN while the oscillator warms up.
    """

    oscillator: str
    call: Call
    output: int
    window: int
    confirm: int

    @property
    def names(self) -> list[str]:
        return [f"divergence_{self.oscillator}_{self.window}"]

    @property
    def inputs(self) -> list[str]:
        return list(dict.fromkeys(["close", *self.call.inputs]))

    @property
    def lookback(self) -> int:
        # The divergence was confirmed at most `window` bars ago, its two swings lie at most `window` apart.
        return self.call.lookback() + 2 * self.window + 2 * self.confirm - 1

    def batch(self, columns: Columns, times: Times) -> Sequence[npt.NDArray]:
        oscillator = np.ascontiguousarray(self.call.batch(columns)[self.output])
        result = np.empty(len(oscillator))
        _loop(self._state(), columns["close"], oscillator, self.confirm, self.window, result)
        return [result]

    def stream(self, columns: Columns, times: Times) -> Stream:
        return _DivergenceStream(self, columns)

    def _state(self) -> Floats:
        # Bars seen; last swing low and high as (bar, close, oscillator); bar and sign of the last divergence;
        # then the last closes and oscillator values.
        state = np.full(_HEAD + 2 * (2 * self.confirm + 1), np.nan)
        state[0] = 0.0
        return state


class _DivergenceStream:
    def __init__(self, block: DivergenceBlock, columns: Columns) -> None:
        self._block, self._call = block, CallStream(block.call, columns)
        self._state = block._state()
        if len(columns["close"]):
            oscillator = np.ascontiguousarray(block.call.batch(columns)[block.output])
            close = np.ascontiguousarray(columns["close"])
            _loop(self._state, close, oscillator, block.confirm, block.window, np.empty(len(close)))

    def update(self, bar: Mapping[str, float], time_ms: int) -> Sequence[float]:
        oscillator = self._call.update(bar)[self._block.output]
        return [_step(self._state, bar["close"], oscillator, self._block.confirm, self._block.window)]


_HEAD = 9


@compiled()
def _step(state: Floats, close: float, oscillator: float, confirm: int, window: int) -> float:
    size = 2 * confirm + 1
    bar = state[0]
    state[0] += 1
    closes, values = state[_HEAD : _HEAD + size], state[_HEAD + size :]
    for i in range(size - 1):
        closes[i] = closes[i + 1]
        values[i] = values[i + 1]
    closes[size - 1], values[size - 1] = close, oscillator
    middle, level, at = closes[confirm], values[confirm], bar - confirm
    if not np.isnan(values[0]) and not np.isnan(closes[0]):
        low = high = True
        for i in range(size):
            if i != confirm:
                low = low and middle < closes[i]
                high = high and middle > closes[i]
        for side in range(2):
            if low if side == 0 else high:
                sign = 1.0 if side == 0 else -1.0
                before = state[1 + 3 * side : 4 + 3 * side]
                # Comparisons with NaN, when there was no swing before, are False.
                if at - before[0] <= window and sign * (middle - before[1]) < 0 and sign * (level - before[2]) > 0:
                    state[7], state[8] = bar, sign
                before[0], before[1], before[2] = at, middle, level
    if np.isnan(oscillator):
        return np.nan
    return state[8] if bar - state[7] < window else 0.0


@compiled()
def _loop(state: Floats, close: Floats, oscillator: Floats, confirm: int, window: int, result: Floats) -> None:
    for t in range(len(close)):
        result[t] = _step(state, close[t], oscillator[t], confirm, window)


@family("divergence")
def divergence(spec: DivergenceFeatures) -> list[Block]:
    """One column for each oscillator and window."""
    made: list[Block] = []
    for name in spec.oscillators:
        function, output = OSCILLATORS[name]
        (block,) = talib_blocks(TalibFeatures(functions=[function]))
        call = block.calls[0]  # type: ignore[attr-defined]
        made += [DivergenceBlock(name, call, output, window, spec.confirm) for window in spec.windows]
    return made
