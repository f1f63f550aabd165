"""Bars of a higher timeframe made from the base bars, over a table and bar by bar, with the same additions
in the same order; each enters only once it has closed."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.features.family import Columns, Floats, Times

_FIRST, _MAX, _MIN, _LAST, _SUM = range(5)
_SUMMED = {"volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"}


def _rule(name: str) -> int:
    # Columns of other symbols follow the same rule as their own: ETHUSDT_high is a maximum.
    base = name.split("_", 1)[1] if name.split("_", 1)[0].isupper() and "_" in name else name
    return {"open": _FIRST, "high": _MAX, "low": _MIN}.get(base, _SUM if base in _SUMMED else _LAST)


@compiled()
def _group(values: Floats, bars: npt.NDArray[np.int64], rule: int, result: Floats) -> None:
    k = -1
    for i in range(values.shape[0]):
        if i == 0 or bars[i] != bars[i - 1]:
            k += 1
            result[k] = values[i]
        elif rule == _MAX:
            result[k] = max(result[k], values[i])
        elif rule == _MIN:
            result[k] = min(result[k], values[i])
        elif rule == _SUM:
            result[k] += values[i]
        elif rule == _LAST:
            result[k] = values[i]


def higher_bars(columns: Columns, times: Times, step_ms: int, higher_ms: int) -> tuple[Times, dict[str, Floats]]:
    """Higher bars that are whole and have closed by the end of the table: open times [m] and columns [m].

    One that the table begins inside of is left out: its open and its extremes are not known.
    """
    bars = times // higher_ms
    starts = np.flatnonzero(np.diff(bars, prepend=bars[0] - 1))
    count = len(starts)
    grouped = {name: np.empty(count) for name in columns}
    for name, values in columns.items():
        _group(values, bars, _rule(name), grouped[name])
    opens = bars[starts] * higher_ms
    if times[0] % higher_ms:
        opens, grouped = opens[1:], {name: values[1:] for name, values in grouped.items()}
    if len(opens) and opens[-1] + higher_ms > times[-1] + step_ms:  # still open
        opens, grouped = opens[:-1], {name: values[:-1] for name, values in grouped.items()}
    return opens, grouped


class HigherBar:
    """The higher bar that is being built from base bars."""

    def __init__(self, names: list[str], step_ms: int, higher_ms: int) -> None:
        self._rules = {name: _rule(name) for name in names}
        self._step_ms, self._higher_ms = step_ms, higher_ms
        self._open = -1
        self._whole = False
        self._values: dict[str, float] = {}

    def add(self, bar: Mapping[str, float], time_ms: int) -> tuple[dict[str, float], int] | None:
        """Add a closed base bar; the higher bar and its open time if that closes it."""
        number = time_ms // self._higher_ms
        if number != self._open:
            self._whole = self._open >= 0 or time_ms % self._higher_ms == 0
            self._open = number
            self._values = {name: bar[name] for name in self._rules}
        else:
            held = self._values
            for name, rule in self._rules.items():
                if rule == _MAX:
                    held[name] = max(held[name], bar[name])
                elif rule == _MIN:
                    held[name] = min(held[name], bar[name])
                elif rule == _SUM:
                    held[name] += bar[name]
                elif rule == _LAST:
                    held[name] = bar[name]
        if self._whole and time_ms + self._step_ms == (number + 1) * self._higher_ms:
            return dict(self._values), number * self._higher_ms
        return None
