"""When funding is due, and at what rate: as given, or one setting at regular times."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadInput
from pipeline.exchange.local.futures.rules import HOUR, Futures
from pipeline.exchange.local.numbers import of_float

Rates = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
_MINUTE = 60_000


class Funding:
    """Rates by symbol and time. given: stamps (ms) and rates of symbols; others have the setting's."""

    def __init__(self, rules: Futures, given: Mapping[str, Rates]) -> None:
        self._rate = rules.funding_rate
        self._step = rules.funding_hours * HOUR
        self._given: dict[str, list[tuple[int, Decimal]]] = {}
        for symbol, (times, rates) in given.items():
            if not np.isfinite(rates).all() or (np.abs(rates) >= 1).any():
                raise BadInput(f"{symbol}: a funding rate is not a fraction", "0.0001 is one basis point")
            # Stamps lie some milliseconds off.
            rounded = (times + _MINUTE // 2) // _MINUTE * _MINUTE
            if len(rounded) and (np.diff(rounded) <= 0).any():
                raise BadInput(f"{symbol}: two funding rates at one time, or not in order")
            self._given[symbol] = [(int(t), of_float(float(r))) for t, r in zip(rounded, rates, strict=True)]

    def past(self, symbol: str, start: int, end: int) -> list[tuple[int, Decimal]]:
        """Times and rates in [start, end], ms."""
        if symbol in self._given:
            given = self._given[symbol]
            return given[bisect_left(given, start, key=_time) : bisect_right(given, end, key=_time)]
        first = -(-start // self._step) * self._step
        return [(time, self._rate) for time in range(first, end + 1, self._step)]

    def next(self, symbol: str, now: int) -> tuple[int, Decimal]:
        """The first time after now and its rate; that of the last known rate where none is left."""
        regular = (now // self._step + 1) * self._step
        given = self._given.get(symbol)
        if given is None:
            return regular, self._rate
        i = bisect_right(given, now, key=_time)
        if i < len(given):
            return given[i]
        return regular, given[-1][1] if given else Decimal(0)


def _time(one: tuple[int, Decimal]) -> int:
    return one[0]
