"""What the core sees of the market: for each symbol, prices, and what gates, sizing and costs look at."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.trading.bars import Bars

Array = npt.NDArray[np.float64]

TICK, STEP, MIN_QTY, MAX_QTY, MIN_NOTIONAL = range(5)
BUY, SELL = 1, 2


class Market(NamedTuple):
    """Arrays [symbols, n] on one time grid; live, [symbols, 1]. Symbols in the order of their names.

    open, high, low, close: prices. filled: made-up bars, on which nothing is traded. volume: in the quote
    asset. volatility: forecast of the next bar's standard deviation. atr: for stops, in units of the price.
    score: entries of one bar are ranked by its size. signal: BUY, SELL or both. refuse_long, refuse_short:
    code of the gate that refuses an entry (`gates.refusals`), 0 if none. funding: rate due at the bar's
    open. fails: orders that would fill in this bar fail. filters [symbols, 5]: TICK to MIN_NOTIONAL, 0 for
    none. correlation [days, symbols, symbols]: of returns known at the start of each UTC day.
    """

    open: Array
    high: Array
    low: Array
    close: Array
    filled: npt.NDArray[np.bool_]
    volume: Array
    volatility: Array
    atr: Array
    score: Array
    signal: npt.NDArray[np.uint8]
    refuse_long: npt.NDArray[np.uint8]
    refuse_short: npt.NDArray[np.uint8]
    funding: Array
    fails: npt.NDArray[np.bool_]
    filters: Array
    correlation: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Number of symbols and of bars."""
        symbols, bars = self.close.shape
        return symbols, bars

    def bars(self, symbol: int) -> Bars:
        """One symbol's prices."""
        return Bars(*(column[symbol] for column in self[:5]))

    def of(self, symbol: int) -> "Market":
        """The market of one symbol alone."""
        one = slice(symbol, symbol + 1)
        return Market(*(column[one] for column in self[:-1]), self.correlation[:, one, one])  # type: ignore[arg-type, call-arg]


def signals_of(buy: npt.NDArray[np.bool_], sell: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Signal codes of flags of the same shape."""
    return buy.astype(np.uint8) * np.uint8(BUY) + sell.astype(np.uint8) * np.uint8(SELL)


def market_of(bars: Bars | list[Bars], signal: npt.NDArray[np.uint8], **context: npt.NDArray) -> Market:
    """A market of bars and signals; what is not given is zero: no gate refuses, no order fails, no filter.

    bars: of one symbol, or of several of equal length. signal: [n] or [symbols, n]. context: fields of
    `Market` by name, [n] or [symbols, n].
    """
    several = bars if isinstance(bars, list) else [bars]
    columns = [np.ascontiguousarray(np.stack(column)) for column in zip(*several, strict=True)]
    shape = columns[0].shape
    kinds = {"signal": np.uint8, "refuse_long": np.uint8, "refuse_short": np.uint8, "fails": np.bool_}
    given = context | {"signal": signal}
    for name in Market._fields[5:-2]:
        value = given.get(name)
        kind = kinds.get(name, np.float64)
        columns.append(
            np.zeros(shape, kind) if value is None else np.ascontiguousarray(value, kind).reshape(shape)  # type: ignore[arg-type]
        )
    filters = np.asarray(given.get("filters", np.zeros((shape[0], 5))), np.float64).reshape(shape[0], 5)
    correlation = np.asarray(given.get("correlation", np.eye(shape[0])[None]), np.float64)
    return Market(*columns, np.ascontiguousarray(filters), np.ascontiguousarray(correlation))  # type: ignore[call-arg]
