"""What an equity curve and its trades amount to, after costs.

Annual figures follow from the bars' interval in a market that never closes (365 days), never from
a default of 252. What is not defined is None, never NaN or infinite.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config.durations import bars_per_year, interval_ms

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Performance = dict[str, float | int | None]


def performance(times_ms: Times, equity: Array, trades: pa.Table, interval: str) -> Performance:
    """Metrics of one period.

    times_ms: open times int64 [n] of consecutive bars. equity: at their closes [n]; the first is what
    the period starts from, so there are n - 1 returns. trades: the contract's trade columns; those
    that the period is to answer for. interval: of the bars.

    total_return, annual_return (compounded): fractions. volatility, sharpe, sortino: of the returns
    per bar, annualised; no risk-free rate. calmar: annual return / depth of the maximum drawdown.
    max_drawdown: ≤ 0; max_drawdown_bars: from the peak before it to the recovery, or to the end.
    win_rate: trades with a profit after costs. profit_factor: their profits / the others' losses.
    expectancy: mean return per trade. exposure: share of the bars with a position. turnover: notional
    bought and sold in a year / mean equity. avg_bars_held. fees: in the quote asset.
    """
    curve = returns_performance(equity, interval)
    return {**curve, **_trade_performance(times_ms, equity, trades, interval)}


def returns_performance(equity: Array, interval: str) -> Performance:
    """The metrics that follow from the equity curve alone."""
    if len(equity) < 2:
        empty = dict.fromkeys(("annual_return", "volatility", "sharpe", "sortino", "calmar"))
        return {"total_return": 0.0, **empty, "max_drawdown": 0.0, "max_drawdown_bars": 0}
    per_year = bars_per_year(interval)
    depth, length = max_drawdown(equity)
    ratios: Performance = dict.fromkeys(("volatility", "sharpe", "sortino"))
    if equity.min() > 0:
        returns = equity[1:] / equity[:-1] - 1
        downside = np.minimum(returns, 0.0)
        ratios = return_ratios(
            len(returns), returns.sum(), np.square(returns - returns.mean()).sum(), np.square(downside).sum(), per_year
        )
    growth = equity[-1] / equity[0]
    annual = annual_return(growth, len(equity) - 1, per_year)
    return {
        "total_return": float(growth - 1),
        "annual_return": annual,
        **ratios,
        "calmar": calmar(annual, depth),
        "max_drawdown": depth,
        "max_drawdown_bars": length,
    }


def return_ratios(n: int, total: float, squares: float, downside_squares: float, per_year: float) -> Performance:
    """Volatility, Sharpe and Sortino ratio of n returns, from their sum, the sum of the squared
    deviations from their mean, and the sum of the squares of the negative ones."""
    mean = total / n
    deviation = math.sqrt(squares / (n - 1)) if n > 1 else 0.0
    downside = math.sqrt(downside_squares / n)
    return {
        "volatility": _finite(deviation * math.sqrt(per_year)) if n > 1 else None,
        "sharpe": _finite(mean / deviation * math.sqrt(per_year)) if deviation > 0 else None,
        "sortino": _finite(mean / downside * math.sqrt(per_year)) if downside > 0 else None,
    }


def annual_return(growth: float, bars: int, per_year: float) -> float | None:
    """Compound return of a year that goes on as the `bars` did, over which equity grew by the factor `growth`."""
    if growth <= 0 or bars <= 0:
        return None
    exponent = math.log(growth) * per_year / bars
    return math.expm1(exponent) if exponent < 700 else None  # beyond a float's range


def calmar(annual: float | None, depth: float) -> float | None:
    """Annual return over the depth of the maximum drawdown."""
    return _finite(annual / -depth) if annual is not None and depth < 0 else None


def drawdowns(equity: Array) -> Array:
    """Fraction below the highest equity so far, ≤ 0 [n]."""
    return np.asarray(equity / np.maximum.accumulate(equity) - 1)


def max_drawdown(equity: Array) -> tuple[float, int]:
    """Deepest drawdown, ≤ 0, and the bars from the peak before it to the recovery, or to the end."""
    below = drawdowns(equity)
    bottom = int(below.argmin())
    if below[bottom] >= 0:
        return 0.0, 0
    peak = int(np.flatnonzero(below[:bottom] == 0)[-1])
    recovered = np.flatnonzero(below[bottom:] == 0)
    end = bottom + int(recovered[0]) if len(recovered) else len(equity) - 1
    return float(below[bottom]), end - peak


def _trade_performance(times_ms: Times, equity: Array, trades: pa.Table, interval: str) -> Performance:
    m = trades.num_rows
    returns, pnl, fees = (_numbers(trades, name) for name in ("return", "pnl", "fees"))
    qty, entry, exit_ = (_numbers(trades, name) for name in ("qty", "entry_price", "exit_price"))
    notional = float((qty * (entry + exit_)).sum())
    years = (len(equity) - 1) / bars_per_year(interval)
    mean_equity = float(equity.mean()) if len(equity) else 0.0
    return {
        "trades": m,
        **trade_ratios(m, int((pnl > 0).sum()), float(pnl[pnl > 0].sum()), float(pnl[pnl < 0].sum())),
        "expectancy": float(returns.mean()) if m else None,
        "exposure": _exposure(times_ms, trades, interval),
        "turnover": _finite(notional / mean_equity / years) if years > 0 and mean_equity > 0 else None,
        "avg_bars_held": float(_numbers(trades, "bars_held").mean()) if m else None,
        "fees": float(fees.sum()),
    }


def trade_ratios(trades: int, wins: int, gains: float, losses: float) -> Performance:
    """Win rate and profit factor of trades that gained `gains` ≥ 0 and lost `losses` ≤ 0 in all."""
    return {
        "win_rate": wins / trades if trades else None,
        "profit_factor": _finite(gains / -losses) if losses < 0 else None,
    }


def _exposure(times_ms: Times, trades: pa.Table, interval: str) -> float | None:
    # Trades of several symbols overlap: the union of their intervals. A trade that ended inside its
    # entry bar was a position in that bar.
    if len(times_ms) < 2:
        return None
    step = interval_ms(interval)
    entry, exit_ = _milliseconds(trades, "entry_time"), _milliseconds(trades, "exit_time")
    start = np.clip((entry - times_ms[0]) // step, 1, len(times_ms))
    stop = np.clip(np.maximum(exit_, entry + step) - times_ms[0], 0, step * len(times_ms)) // step
    change = np.bincount(start, minlength=len(times_ms) + 1) - np.bincount(
        np.maximum(start, stop), minlength=len(times_ms) + 1
    )
    return float((np.cumsum(change[: len(times_ms)]) > 0).sum() / (len(times_ms) - 1))


def _numbers(trades: pa.Table, name: str) -> Array:
    return np.asarray(trades[name].to_numpy(), np.float64)


def _milliseconds(trades: pa.Table, name: str) -> Times:
    column: Any = trades[name].combine_chunks()
    return np.asarray(column.cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
