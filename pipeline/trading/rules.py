"""What the trading core is told once: directions, size, costs, exits, limits and breakers, as plain numbers."""

import math
from typing import Any, NamedTuple

import numpy as np

from pipeline.config.durations import bars_covering, bars_in, bars_per_year, interval_ms
from pipeline.config.risk import Risk, Sizing
from pipeline.config.trading import Simulate

# Longer than any history, and far from overflowing when a bar number is added.
NO_LIMIT = 1 << 60
DAY_MS = 86_400_000

FIXED_FRACTION, FIXED_QUOTE, VOLATILITY_TARGET, KELLY, RISK_PER_TRADE = range(5)
SIZING_METHODS = ("fixed_fraction", "fixed_quote", "volatility_target", "kelly", "risk_per_trade")
ANY_PROBABILITY, LINEAR, NORMAL = range(3)
STOP_FIRST, TARGET_FIRST, OHLC, OLHC, RANDOM = range(5)
PATHS = ("stop_first", "target_first", "ohlc", "olhc", "random")


class Rules(NamedTuple):
    """Parameters of the core, as plain numbers; `record` is the form that compiled code takes.

    Shares and distances are fractions; a limit that does not exist is infinite, which puts it out of reach.
    The defaults are no costs, no exits but the opposite signal, all the cash, and no limits at all.
    """

    # Directions that may be entered.
    trade_long: bool = True
    trade_short: bool = False
    # Costs, fractions of the notional or of the price. slip: fixed slippage plus half the spread.
    taker_fee: float = 0.0
    maker_fee: float = 0.0
    slip: float = 0.0
    half_spread: float = 0.0
    slip_volatility: float = 0.0
    impact: float = 0.0
    participation: float = math.inf
    latency: int = 0
    # Exits: distances from the entry price, the trailing stop's from the best price or the close.
    stop_loss: float = math.inf
    take_profit: float = math.inf
    trailing_stop: float = math.inf
    stop_atr: float = 0.0
    target_atr: float = 0.0
    trail_atr: float = 0.0
    trail_from_close: bool = False
    trail_after: float = 0.0
    break_even_after: float = math.inf
    break_even_offset: float = 0.0
    max_bars: int = NO_LIMIT
    path: int = STOP_FIRST
    seed: int = 0
    # Time of the data's bar 0 in ms, bar length, and the session in ms of the UTC day.
    origin_ms: int = 0
    step_ms: int = 60_000
    session_end_ms: int = DAY_MS
    session_flatten: bool = False
    # Futures.
    leverage: float = 1.0
    maintenance: float = 0.0
    liquidation_fee: float = 0.0
    pays_funding: bool = False
    # Sizing.
    sizing: int = FIXED_FRACTION
    fraction: float = 1.0
    quote: float = 0.0
    target_volatility: float = 0.0
    kelly_share: float = 0.5
    kelly_cap: float = 0.1
    kelly_prior: float = 30.0
    kelly_start: float = 0.01
    risk: float = 0.01
    probability: int = ANY_PROBABILITY
    probability_floor: float = 0.5
    probability_full: float = 0.7
    # Limits.
    order_notional: float = math.inf
    order_qty: float = math.inf
    symbol_exposure: float = math.inf
    total_exposure: float = math.inf
    correlated_exposure: float = math.inf
    open_positions: int = NO_LIMIT
    entries_per_day: int = NO_LIMIT
    cool_down: int = 0
    # Breakers.
    daily_loss: float = math.inf
    drawdown: float = math.inf
    losses_in_a_row: int = NO_LIMIT
    pause: int = 0
    reset_next_day: bool = True

    def record(self) -> np.void:
        """The same as a numpy record: one pointer to pass, where a tuple would be copied into every call."""
        record: np.void = self.array()[0]
        return record

    def array(self) -> np.ndarray:
        """The record as an array RULES [1], for `core.step_once`."""
        return np.array([tuple(self)], RULES)


RULES = np.dtype([(name, "f8" if kind is float else "i8") for name, kind in Rules.__annotations__.items()])


def rules_of(simulate: Simulate, interval: str, sizing: Sizing | None = None, risk: Risk | None = None) -> Rules:
    """The rules that a config's sections describe; without sizing all the cash, without risk no limits."""
    costs, exits, sizing = simulate.costs, simulate.exits, sizing or Sizing()
    rules = Rules(
        trade_long=simulate.direction in ("long", "both"),
        trade_short=simulate.direction in ("short", "both"),
        taker_fee=float(costs.taker_fee),
        maker_fee=float(costs.maker_fee),
        slip=(costs.slippage_bps + costs.spread_bps / 2) / 10_000,
        half_spread=costs.spread_bps / 20_000,
        slip_volatility=float(costs.slippage_volatility),
        impact=float(costs.impact),
        participation=_limit(costs.participation),
        latency=costs.latency_bars,
        stop_loss=_limit(exits.stop_loss),
        take_profit=_limit(exits.take_profit),
        trailing_stop=_limit(exits.trailing_stop),
        stop_atr=exits.stop_atr or 0.0,
        target_atr=exits.take_profit_atr or 0.0,
        trail_atr=exits.trailing_atr or 0.0,
        trail_from_close=exits.trailing_from == "close",
        trail_after=float(exits.trailing_after),
        break_even_after=_limit(exits.break_even_after),
        break_even_offset=float(exits.break_even_offset),
        max_bars=NO_LIMIT if exits.max_bars is None else bars_in(exits.max_bars, interval),
        path=PATHS.index(simulate.ambiguous),
        step_ms=interval_ms(interval),
        leverage=float(simulate.leverage),
        maintenance=float(simulate.maintenance_margin) if simulate.leverage > 1 else 0.0,
        liquidation_fee=float(costs.liquidation_fee),
        pays_funding=simulate.funding,
        sizing=SIZING_METHODS.index(sizing.method),
        fraction=float(sizing.fraction),
        quote=sizing.quote or 0.0,
        target_volatility=sizing.target_volatility / math.sqrt(bars_per_year(interval)),
        kelly_share=float(sizing.kelly_share),
        kelly_cap=float(sizing.kelly_cap),
        kelly_prior=float(sizing.kelly_prior),
        kelly_start=float(sizing.kelly_start),
        risk=float(sizing.risk),
        **_probability(sizing),
    )
    return rules if risk is None or not risk.enabled else _limited(rules, risk, interval, simulate.leverage)


def _limited(rules: Rules, risk: Risk, interval: str, leverage: float) -> Rules:
    limits, breakers, session = risk.limits, risk.breakers, risk.gates.session
    return rules._replace(
        session_end_ms=minutes_of(session.end) * 60_000 if session else DAY_MS,
        session_flatten=bool(session and session.flatten),
        order_notional=_limit(limits.order_notional),
        order_qty=_limit(limits.order_qty),
        symbol_exposure=limits.symbol_exposure * leverage,
        total_exposure=limits.total_exposure * leverage,
        correlated_exposure=_limit(limits.correlated_exposure),
        open_positions=limits.open_positions,
        entries_per_day=limits.orders_per_day,
        cool_down=bars_covering(risk.gates.cool_down, interval),
        daily_loss=_limit(breakers.daily_loss),
        drawdown=_limit(breakers.drawdown),
        losses_in_a_row=NO_LIMIT if breakers.losses_in_a_row is None else breakers.losses_in_a_row,
        pause=bars_covering(breakers.cool_down, interval),
        reset_next_day=breakers.reset == "next_day",
    )


def _probability(sizing: Sizing) -> dict[str, Any]:
    if sizing.probability is None:
        return {}
    shape = {"linear": LINEAR, "normal": NORMAL}[sizing.probability.shape]
    floor, full = sizing.probability.floor, sizing.probability.full
    return {"probability": shape, "probability_floor": float(floor), "probability_full": float(full)}


def minutes_of(clock: str) -> int:
    """Minutes since midnight of `HH:MM`."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _limit(value: float | None) -> float:
    return math.inf if value is None else float(value)
