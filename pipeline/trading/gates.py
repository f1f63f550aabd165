"""Gates: what a signal has to pass before the account is even looked at; one function for a bar, live and in history.

They depend on the bar alone, not on positions, so history asks them for all bars at once. A gate whose
input is not a number refuses: a rule that cannot be checked is not passed.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.risk import Risk
from pipeline.config.section import utc_ms
from pipeline.trading.reasons import (
    AGAINST_TREND,
    CLOCK_SKEW,
    EVENT,
    LOW_VOLUME,
    MAINTENANCE,
    MIN_SCORE,
    MISSING_INPUT,
    OUTSIDE_SESSION,
    REWARD_RISK,
    RSI_EXTREME,
    STALE_BALANCE,
    STALE_PRICE,
    THIN_BOOK,
    TRADED,
    WIDE_SPREAD,
)
from pipeline.trading.rules import DAY_MS, Rules, minutes_of

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]

INPUTS = (
    "close_time_ms", "score", "volume_ratio", "trend", "regime", "rsi", "stop_distance", "target_distance",
    "spread_bps", "depth_quote", "price_age_s", "balance_age_s", "clock_skew_s", "window",
)  # fmt: skip
(
    CLOSE_TIME, SCORE, VOLUME, TREND, REGIME, RSI, STOP, TARGET, SPREAD, DEPTH, PRICE_AGE, BALANCE_AGE, SKEW, WINDOW,
) = range(len(INPUTS))  # fmt: skip
NO_WINDOW, IN_EVENT, IN_MAINTENANCE = 0.0, 1.0, 2.0
_CHUNK = 1 << 16


class GateRules(NamedTuple):
    """Thresholds of the gates; one that is not asked has the value that everything passes, and `uses_…` False."""

    uses_score: bool = False
    min_score: float = 0.0
    full_score: float = 1.0
    uses_volume: bool = False
    min_volume: float = 0.0
    uses_trend: bool = False
    trend_middle: float = 0.0
    uses_regime: bool = False
    trending_from: float = 0.0
    uses_reward_risk: bool = False
    reward_risk_trending: float = 0.0
    reward_risk_ranging: float = 0.0
    uses_rsi: bool = False
    rsi_low: float = 0.0
    rsi_high: float = 100.0
    uses_spread: bool = False
    max_spread_bps: float = math.inf
    uses_depth: bool = False
    min_depth: float = 0.0
    max_price_age: float = math.inf
    max_balance_age: float = math.inf
    max_clock_skew: float = math.inf
    session_start_ms: int = 0
    session_end_ms: int = DAY_MS


def gate_rules(risk: Risk, *, live: bool = False) -> GateRules:
    """The gates that a config asks. live: spread and depth are measured; in history they need a column."""
    if not risk.enabled:
        return GateRules()
    gates = risk.gates
    rules = GateRules(
        max_price_age=gates.max_price_age, max_balance_age=gates.max_balance_age, max_clock_skew=gates.max_clock_skew
    )
    if gates.score:
        rules = rules._replace(uses_score=True, min_score=gates.score.min, full_score=gates.score.full)
    if gates.volume:
        rules = rules._replace(uses_volume=True, min_volume=gates.volume.min)
    if gates.trend:
        rules = rules._replace(uses_trend=True, trend_middle=gates.trend.middle)
    if gates.regime:
        rules = rules._replace(uses_regime=True, trending_from=gates.regime.trending_from)
    if gates.reward_risk:
        ratio = gates.reward_risk
        rules = rules._replace(
            uses_reward_risk=True, reward_risk_trending=ratio.trending, reward_risk_ranging=ratio.ranging
        )
    if gates.rsi:
        rules = rules._replace(uses_rsi=True, rsi_low=gates.rsi.low, rsi_high=gates.rsi.high)
    if gates.spread and (live or gates.spread.column):
        rules = rules._replace(uses_spread=True, max_spread_bps=gates.spread.max_bps)
    if gates.depth and (live or gates.depth.column):
        rules = rules._replace(uses_depth=True, min_depth=gates.depth.min_quote)
    if gates.session:
        start, end = minutes_of(gates.session.start), minutes_of(gates.session.end)
        rules = rules._replace(session_start_ms=start * 60_000, session_end_ms=end * 60_000)
    return rules


def asks_anything(risk: Risk) -> bool:
    """Whether any gate can refuse a bar whose price, balance and clock are fresh."""
    rules = gate_rules(risk)
    fresh = rules._replace(max_price_age=math.inf, max_balance_age=math.inf, max_clock_skew=math.inf)
    return fresh != GateRules() or (risk.enabled and bool(risk.gates.windows))


def gate_columns(risk: Risk) -> dict[str, str]:
    """Feature columns that the gates read, by the name of the input."""
    gates = risk.gates
    named = {
        "volume_ratio": gates.volume,
        "trend": gates.trend,
        "regime": gates.regime,
        "rsi": gates.rsi,
        "spread_bps": gates.spread,
        "depth_quote": gates.depth,
    }
    return {name: gate.column for name, gate in named.items() if risk.enabled and gate is not None and gate.column}


def windows_at(risk: Risk, close_times_ms: npt.NDArray[np.int64]) -> Array:
    """NO_WINDOW, IN_EVENT or IN_MAINTENANCE [n] at each close; a window includes its start, not its end."""
    inside = np.full(len(close_times_ms), NO_WINDOW)
    for window in risk.gates.windows if risk.enabled else ():
        within = (close_times_ms >= utc_ms(window.start)) & (close_times_ms < utc_ms(window.end))
        inside[within] = np.maximum(inside[within], IN_MAINTENANCE if window.kind == "maintenance" else IN_EVENT)
    return inside


@compiled(error_model="numpy")
def refusal(values: Array, side: int, gates: GateRules) -> int:
    """Code of the first gate that refuses an entry, TRADED if none does.

    values: [len(INPUTS)], in that order. side: 1 long, -1 short.
    """
    if gates.uses_score and not np.isfinite(values[SCORE]):
        return MISSING_INPUT
    if gates.uses_volume and not np.isfinite(values[VOLUME]):
        return MISSING_INPUT
    if gates.uses_trend and not np.isfinite(values[TREND]):
        return MISSING_INPUT
    if gates.uses_regime and not np.isfinite(values[REGIME]):
        return MISSING_INPUT
    if gates.uses_rsi and not np.isfinite(values[RSI]):
        return MISSING_INPUT
    if gates.uses_spread and not np.isfinite(values[SPREAD]):
        return MISSING_INPUT
    if gates.uses_depth and not np.isfinite(values[DEPTH]):
        return MISSING_INPUT
    if gates.uses_reward_risk and not (np.isfinite(values[STOP]) and values[STOP] > 0 and values[TARGET] > 0):
        return MISSING_INPUT
    if not values[PRICE_AGE] <= gates.max_price_age:
        return STALE_PRICE
    if not values[BALANCE_AGE] <= gates.max_balance_age:
        return STALE_BALANCE
    if not abs(values[SKEW]) <= gates.max_clock_skew:
        return CLOCK_SKEW
    if values[WINDOW] == IN_MAINTENANCE:
        return MAINTENANCE
    if values[WINDOW] == IN_EVENT:
        return EVENT
    time_of_day = values[CLOSE_TIME] % DAY_MS
    if not gates.session_start_ms <= time_of_day < gates.session_end_ms:
        return OUTSIDE_SESSION
    if gates.uses_score and 100 * abs(values[SCORE]) / gates.full_score < gates.min_score:
        return MIN_SCORE
    if gates.uses_volume and values[VOLUME] < gates.min_volume:
        return LOW_VOLUME
    if gates.uses_trend and not side * (values[TREND] - gates.trend_middle) > 0:
        return AGAINST_TREND
    if gates.uses_rsi and (values[RSI] > gates.rsi_high if side > 0 else values[RSI] < gates.rsi_low):
        return RSI_EXTREME
    if gates.uses_reward_risk:
        trending = not gates.uses_regime or values[REGIME] >= gates.trending_from
        least = gates.reward_risk_trending if trending else gates.reward_risk_ranging
        # A target of three and a stop of two hundredths are 1.5, whatever their last bits say.
        if values[TARGET] / values[STOP] < least * (1 - 1e-12):
            return REWARD_RISK
    if gates.uses_spread and values[SPREAD] > gates.max_spread_bps:
        return WIDE_SPREAD
    if gates.uses_depth and values[DEPTH] < gates.min_depth:
        return THIN_BOOK
    return TRADED


def refusals(inputs: dict[str, Array], bars: int, gates: GateRules) -> tuple[Codes, Codes]:
    """`refusal` for a long and a short entry at every close, uint8 [bars] each.

    inputs: float64 [bars] by name of INPUTS; what is left out is 0: fresh, synchronous, outside any window.
    """
    long_codes, short_codes = np.empty(bars, np.uint8), np.empty(bars, np.uint8)
    for first in range(0, bars, _CHUNK):
        part = slice(first, min(first + _CHUNK, bars))
        values = np.zeros((part.stop - first, len(INPUTS)))
        for name, column in inputs.items():
            values[:, INPUTS.index(name)] = column[part]
        _refusals(values, gates, long_codes[part], short_codes[part])
    return long_codes, short_codes


def distances(close: Array, atr: Array, rules: Rules) -> tuple[Array, Array]:
    """Distances of stop and target, fractions of the price, of an entry decided at each close [n]."""
    share = np.divide(atr, close, out=np.full(len(close), np.nan), where=(close > 0) & (atr > 0))
    stop = rules.stop_atr * share if rules.stop_atr > 0 else np.full(len(close), rules.stop_loss)
    trail = rules.trail_atr * share if rules.trail_atr > 0 else np.full(len(close), rules.trailing_stop)
    target = rules.target_atr * share if rules.target_atr > 0 else np.full(len(close), rules.take_profit)
    return np.minimum(stop, trail), target


@compiled(nogil=True)
def _refusals(values: Array, gates: GateRules, long_codes: Codes, short_codes: Codes) -> None:
    for t in range(len(values)):
        long_codes[t] = refusal(values[t], 1, gates)
        short_codes[t] = refusal(values[t], -1, gates)
