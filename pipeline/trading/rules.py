"""What the trading core is told once: directions, size, costs and exit distances, as plain numbers."""

import math
from typing import NamedTuple

from pipeline.config.durations import bars_in
from pipeline.config.trading import Simulate

# Longer than any history, and far from overflowing when a bar number is added.
NO_LIMIT = 1 << 60


class Rules(NamedTuple):
    """Parameters of the core; a tuple of numbers, so that compiled code takes it as it is.

    trade_long, trade_short: directions that may be entered.
    fraction: share of the equity put into one position.
    taker_fee, maker_fee: fractions of the notional.
    slip: slippage plus half the spread, a fraction of the price; paid by every market order.
    stop_loss, take_profit, trailing_stop: fractions of the entry price (the trailing stop's: of the
    best price since entry); infinite where there is none, which puts the level out of reach.
    max_bars: bars after which a position is closed.
    stop_first: when a bar touches stop and target, the stop is taken to come first.
    """

    trade_long: bool
    trade_short: bool
    fraction: float
    taker_fee: float
    maker_fee: float
    slip: float
    stop_loss: float
    take_profit: float
    trailing_stop: float
    max_bars: int
    stop_first: bool


def rules_of(simulate: Simulate, interval: str) -> Rules:
    """The rules that a config's `simulate` section describes."""
    costs, exits = simulate.costs, simulate.exits
    return Rules(
        trade_long=simulate.direction in ("long", "both"),
        trade_short=simulate.direction in ("short", "both"),
        fraction=float(simulate.fraction),
        taker_fee=float(costs.taker_fee),
        maker_fee=float(costs.maker_fee),
        slip=(costs.slippage_bps + costs.spread_bps / 2) / 10_000,
        stop_loss=_distance(exits.stop_loss),
        take_profit=_distance(exits.take_profit),
        trailing_stop=_distance(exits.trailing_stop),
        max_bars=NO_LIMIT if exits.max_bars is None else bars_in(exits.max_bars, interval),
        stop_first=simulate.ambiguous == "stop_first",
    )


def _distance(fraction: float | None) -> float:
    return math.inf if fraction is None else float(fraction)
