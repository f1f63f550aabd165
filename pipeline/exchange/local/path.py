"""The way of the price inside a bar: from its open over its extremes to its close.

Nobody knows it; each choice here visits open, high, low and close and moves in straight lines between them, so that
a level is reached at exactly its price. `adverse` is what `simulate` does: the stop comes first.
"""

import random
from collections.abc import Iterable
from typing import Literal, Protocol

Kind = Literal["ohlc", "high_first", "low_first", "adverse", "random"]


class Stop(Protocol):
    """An armed order, of which only the side matters here."""

    side: str


def turning_points(
    kind: Kind, opened: float, high: float, low: float, close: float, stops: Iterable[Stop], draw: random.Random
) -> tuple[float, float, float]:
    """The three prices that the bar goes to after its open.

    kind: `ohlc` visits the extreme that is against the bar's direction first; `adverse` goes first to where an armed
    stop waits, sells below and buys above, and is `ohlc` without any; `random` tosses a coin.
    """
    up_first = close < opened
    if kind == "high_first":
        up_first = True
    elif kind == "low_first":
        up_first = False
    elif kind == "random":
        up_first = draw.random() < 0.5
    elif kind == "adverse":
        sides = {stop.side for stop in stops}
        if sides:
            up_first = "SELL" not in sides
    return (high, low, close) if up_first else (low, high, close)
