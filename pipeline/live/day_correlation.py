"""Correlation of the symbols' daily returns, learnt bar by bar."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.live.merging import MergedBar
from pipeline.market import candles
from pipeline.trading.correlation import WINDOW_DAYS, daily_correlation
from pipeline.trading.rules import DAY_MS

Floats = npt.NDArray[np.float64]


class DayCorrelation:
    """The day's matrix, from the closes at the ends of the days before it, as history learns it.

    symbols: in the order of their names. origin_ms: the bar that trading began at. history: merged bars by symbol.
    """

    def __init__(self, symbols: list[str], origin_ms: int, step_ms: int, history: Mapping[str, pa.Table]) -> None:
        self._symbols, self._origin_ms = symbols, origin_ms
        self._day = -1
        self._now = np.full(len(symbols), np.nan)
        self._ends: list[Floats] = []
        self._matrix = np.ones((1, len(symbols), len(symbols)))
        self._catch_up(history, step_ms)

    def _catch_up(self, history: Mapping[str, pa.Table], step_ms: int) -> None:
        closes: dict[int, dict[str, float]] = {}
        for symbol in self._symbols:
            if symbol not in history:
                continue
            table = history[symbol]
            times, close = candles.times_ms(table), candles.column(table, "close")
            first = int(np.searchsorted(times, self._origin_ms))
            days = times[first:] // DAY_MS
            # The first close of a symbol and the last ones of its days are all that the matrices are made of.
            rows = np.flatnonzero(np.append(np.diff(days) != 0, True)) if len(days) else np.empty(0, np.int64)
            for row in dict.fromkeys([0, *rows.tolist()]) if len(days) else ():
                closes.setdefault(int(times[first + row]), {})[symbol] = float(close[first + row])
        for time in sorted(closes):
            self._add(time, closes[time])
        if closes:
            self._learn()

    def update(self, open_time_ms: int, bars: Mapping[str, MergedBar]) -> Floats:
        """The matrix [1, symbols, symbols] at a bar."""
        if self._add(open_time_ms, {symbol: bar.values["close"] for symbol, bar in bars.items()}):
            self._learn()
        return self._matrix

    def _add(self, open_time_ms: int, closes: Mapping[str, float]) -> bool:
        day = open_time_ms // DAY_MS
        begins = day != self._day
        if begins:
            if self._day >= 0:
                self._ends = [*self._ends, self._now.copy()][-(WINDOW_DAYS + 1) :]
            self._day = day
        for s, symbol in enumerate(self._symbols):
            if symbol in closes:
                if np.isnan(self._now[s]):
                    # Before its first bar a symbol's price stands still, in history as well.
                    for end in self._ends:
                        end[s] = closes[symbol]
                self._now[s] = closes[symbol]
        return begins

    def _learn(self) -> None:
        # One bar a day, and any close for today's, at which nothing is looked.
        closes = np.ascontiguousarray(np.stack([*self._ends, self._now], axis=1))
        first = (self._day - len(self._ends)) * DAY_MS
        self._matrix = np.ascontiguousarray(daily_correlation(closes, first, DAY_MS)[-1:])
