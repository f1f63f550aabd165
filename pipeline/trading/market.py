"""What the core sees of the market: for each symbol, prices, and what gates, sizing and costs look at."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.trading.bars import Bars

Array = npt.NDArray[np.float64]

TICK, STEP, MIN_QTY, MAX_QTY, MIN_NOTIONAL = range(5)
BUY, SELL = 1, 2


# Rows of `Market.numbers` and of `Market.flags`.
NUMBERS = (
    "open", "high", "low", "close", "volume", "volatility", "atr", "score", "funding", "right_long", "right_short",
)  # fmt: skip
FLAGS = ("filled", "signal", "refuse_long", "refuse_short", "fails")
OPEN, HIGH, LOW, CLOSE, VOLUME, VOLATILITY, ATR, SCORE, FUNDING, RIGHT_LONG, RIGHT_SHORT = range(len(NUMBERS))
FILLED, SIGNALS, REFUSE_LONG, REFUSE_SHORT, FAILS = range(len(FLAGS))
# Rows of `Market.marks`, and what it is without mark prices.
MARKS = ("mark_open", "mark_high", "mark_low")
MARK_OPEN, MARK_HIGH, MARK_LOW = range(len(MARKS))
NO_MARKS = np.zeros((len(MARKS), 0, 0))


class Market(NamedTuple):
    """What happens on one time grid; live, on one bar. Symbols in the order of their names.

    numbers: float64 [len(NUMBERS), symbols, n]: prices; volume in the quote asset; volatility, the forecast of the
    next bar's standard deviation; atr, for stops, in units of the price; score, by whose size entries of one
    bar are ranked; funding, the rate due at the bar's open; right_long and right_short, the probability that a trade
    entered at this close would be right.
    flags: uint8 [len(FLAGS), symbols, n]: filled, made-up bars, on which nothing is traded; signal, BUY, SELL or both;
    refuse_long and refuse_short, the gate that refuses an entry (`gates.refusals`), 0 if none; fails, orders that
    would fill in this bar fail.
    filters: float64 [symbols, 5], TICK to MIN_NOTIONAL, 0 for none. correlation: float64 [days, symbols, symbols], of
    returns known at the start of each UTC day.
    marks: the mark price, by which futures are liquidated and funding is counted, float64 [len(MARKS), symbols, n];
    NO_MARKS where it is not known: then the last price stands in its place.
    """

    numbers: Array
    flags: npt.NDArray[np.uint8]
    filters: Array
    correlation: Array
    marks: Array = NO_MARKS

    @property
    def shape(self) -> tuple[int, int]:
        """Number of symbols and of bars."""
        _, symbols, bars = self.numbers.shape
        return symbols, bars

    @property
    def close(self) -> Array:
        return self.numbers[CLOSE]

    @property
    def score(self) -> Array:
        return self.numbers[SCORE]

    @property
    def filled(self) -> npt.NDArray[np.bool_]:
        return self.flags[FILLED] > 0

    @property
    def signal(self) -> npt.NDArray[np.uint8]:
        return self.flags[SIGNALS]

    def bars(self, symbol: int) -> Bars:
        """One symbol's prices."""
        return Bars(*self.numbers[OPEN : CLOSE + 1, symbol], self.filled[symbol])  # type: ignore[call-arg]

    def of(self, symbol: int) -> "Market":
        """The market of one symbol alone."""
        one = slice(symbol, symbol + 1)
        return Market(
            np.ascontiguousarray(self.numbers[:, one]),
            np.ascontiguousarray(self.flags[:, one]),
            self.filters[one],
            np.ascontiguousarray(self.correlation[:, one, one]),
            np.ascontiguousarray(self.marks[:, one]),
        )

    def at(self, bar: int) -> "Market":
        """One bar of it, as it is given to the core live."""
        return self.part(slice(bar, bar + 1))

    def part(self, rows: slice) -> "Market":
        """Some bars of it; the correlation is that of all of them."""
        return self._replace(
            numbers=np.ascontiguousarray(self.numbers[:, :, rows]),
            flags=np.ascontiguousarray(self.flags[:, :, rows]),
            marks=np.ascontiguousarray(self.marks[:, :, rows]),
        )

    @property
    def has_marks(self) -> bool:
        """Whether the mark price is known."""
        return self.marks.size > 0

    def changed(self, **rows: npt.NDArray) -> "Market":
        """A copy with other rows, by name, [symbols, n] or [n]."""
        numbers, flags = self.numbers.copy(), self.flags.copy()
        for name, values in rows.items():
            if name in NUMBERS:
                numbers[NUMBERS.index(name)] = values
            else:
                flags[FLAGS.index(name)] = values
        return self._replace(numbers=numbers, flags=flags)


def signals_of(buy: npt.NDArray[np.bool_], sell: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Signal codes of flags of the same shape."""
    return buy.astype(np.uint8) * np.uint8(BUY) + sell.astype(np.uint8) * np.uint8(SELL)


def market_of(bars: Bars | list[Bars], signal: npt.NDArray[np.uint8], **context: npt.NDArray) -> Market:
    """A market of bars and signals; what is not given is zero: no gate refuses, no order fails, no filter.

    bars: of one symbol, or of several of equal length. signal: [n] or [symbols, n]. context: rows of NUMBERS and
    FLAGS by name, [n] or [symbols, n]; filters, correlation and marks.
    """
    several = bars if isinstance(bars, list) else [bars]
    shape = (len(several), len(several[0].close))
    numbers, flags = np.zeros((len(NUMBERS), *shape)), np.zeros((len(FLAGS), *shape), np.uint8)
    for symbol, one in enumerate(several):
        numbers[OPEN : CLOSE + 1, symbol] = one[:4]
        flags[FILLED, symbol] = one.filled
    filters = np.asarray(context.pop("filters", np.zeros((shape[0], 5))), np.float64).reshape(shape[0], 5)
    correlation = np.asarray(context.pop("correlation", np.eye(shape[0])[None]), np.float64)
    marks = np.asarray(context.pop("marks", NO_MARKS), np.float64)
    marks = marks.reshape(len(MARKS), *shape) if marks.size else NO_MARKS
    for name, values in (context | {"signal": signal}).items():
        if name in NUMBERS:
            numbers[NUMBERS.index(name)] = values
        else:
            flags[FLAGS.index(name)] = values
    filters, correlation, marks = (np.ascontiguousarray(one) for one in (filters, correlation, marks))
    return Market(numbers, flags, filters, correlation, marks)
