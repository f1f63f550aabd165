"""Stress runs: the same signals where trading is dearer, later, unreliable, or the market is another one."""

from collections.abc import Iterator
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.performance import max_drawdown
from pipeline.trading.market import ATR, CLOSE, HIGH, LOW, OPEN, Market
from pipeline.trading.rules import DAY_MS, Rules
from pipeline.trading.simulation import Simulation, simulate

Array = npt.NDArray[np.float64]
FAILED_ORDERS = 0.05
GAP, GAPS_A_YEAR, GAP_PATHS = 0.05, 24, 20
WORST_DAYS, DAYS_AROUND = 5, 1
# Bars that are resampled at most: more paths of a short history, fewer of a long one.
PATHS, MAX_PATH_BARS = 200, 30_000_000
BLOCK_DAYS = 5


class Outcome(TypedDict):
    """One row of the stress table. Of several paths: the median, and the 5 % worst of return and drawdown."""

    name: str
    what: str
    paths: int
    total_return: float
    total_return_5pct: float | None
    max_drawdown: float
    max_drawdown_5pct: float | None
    trades: float
    losing_share: float | None


def stress(market: Market, rules: Rules, cash: float, seed: int) -> Iterator[Outcome]:
    """All stress runs of a strategy, the configured one first.

    market: with the signals that are traded. rules.origin_ms: time of its first bar. The result follows the seed.
    """
    yield _one("configured", "as configured", simulate(market, rules, cash), cash)
    dear = rules._replace(
        taker_fee=2 * rules.taker_fee, maker_fee=2 * rules.maker_fee, slip=2 * rules.slip,
        half_spread=2 * rules.half_spread, slip_volatility=2 * rules.slip_volatility, impact=2 * rules.impact,
    )  # fmt: skip
    yield _one("costs x 2", "fees, spread and slippage doubled", simulate(market, dear, cash), cash)
    late = rules._replace(latency=rules.latency + 1)
    yield _one("latency + 1", "every order one bar later", simulate(market, late, cash), cash)
    rng = np.random.default_rng(seed)
    fails = rng.random(market.shape) < FAILED_ORDERS
    failing = market.changed(fails=fails)
    yield _one("failed orders", f"{FAILED_ORDERS:.0%} of the orders fail", simulate(failing, rules, cash), cash)
    gapped = [simulate(with_gaps(market, rules, rng), rules, cash) for _ in range(GAP_PATHS)]
    yield _many("gaps", f"{GAPS_A_YEAR} jumps of ±{GAP:.0%} a year at random opens", gapped, cash)
    for day, rows in worst_days(market, rules):
        part = market.part(rows)
        alone = simulate(part, rules._replace(origin_ms=rules.origin_ms + rows.start * rules.step_ms), cash)
        date = np.datetime64(day * DAY_MS, "ms").astype("datetime64[D]")
        yield _one(f"worst day {date}", f"{date} and the day on either side, alone", alone, cash)
    bars = market.shape[0] * market.shape[1]
    paths = int(np.clip(MAX_PATH_BARS // max(1, bars), 20, PATHS))
    resampled = [simulate(bootstrap(market, rules, rng), rules, cash) for _ in range(paths)]
    yield _many(
        "resampled history", f"blocks of {BLOCK_DAYS} days, signals with them, in random order", resampled, cash
    )


def with_gaps(market: Market, rules: Rules, rng: np.random.Generator) -> Market:
    """All prices from some random opens on moved up or down, each symbol by itself."""
    symbols, n = market.shape
    count = max(1, round(GAPS_A_YEAR * n * rules.step_ms / (365 * DAY_MS)))
    numbers, marks = market.numbers.copy(), market.marks.copy()
    for s in range(symbols):
        steps = np.zeros(n)
        at = rng.choice(np.arange(1, n), min(count, n - 1), replace=False)
        steps[at] = rng.choice([np.log1p(GAP), np.log1p(-GAP)], len(at))
        factor = np.exp(np.cumsum(steps))
        numbers[[OPEN, HIGH, LOW, CLOSE, ATR], s] *= factor
        if market.has_marks:
            marks[:, s] *= factor
    return market._replace(numbers=numbers, marks=marks)


def worst_days(market: Market, rules: Rules) -> list[tuple[int, slice]]:
    """UTC days (since the epoch) with the deepest mean fall from open to low, worst first, with their bars."""
    n = market.shape[1]
    days = (rules.origin_ms + np.arange(n) * rules.step_ms) // DAY_MS
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    first_open = market.numbers[OPEN][:, starts]
    lowest = np.minimum.reduceat(market.numbers[LOW], starts, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        falls = np.nanmean(lowest / first_open - 1, axis=0)
    worst = np.argsort(falls, kind="stable")[: min(WORST_DAYS, len(starts))]
    ends = np.append(starts[1:], n)
    first, last = np.maximum(worst - DAYS_AROUND, 0), np.minimum(worst + DAYS_AROUND, len(starts) - 1)
    return [
        (int(days[starts[k]]), slice(int(starts[i]), int(ends[j]))) for k, i, j in zip(worst, first, last, strict=True)
    ]


def bootstrap(market: Market, rules: Rules, rng: np.random.Generator) -> Market:
    """A history of blocks of the real one in random order, of equal length: signals and gates move with their bars.

    Prices are chained by their changes from close to close; all symbols take the same blocks, so what
    correlates stays correlated.
    Source: the circular block bootstrap, Politis & Romano (1992).
    """
    n = market.shape[1]
    length = max(1, min(n, round(BLOCK_DAYS * DAY_MS / rules.step_ms)))
    first = rng.integers(0, n, -(-n // length))
    rows = ((first[:, None] + np.arange(length)) % n).ravel()[:n]
    numbers, flags = market.numbers[:, :, rows], np.ascontiguousarray(market.flags[:, :, rows])
    close = market.numbers[CLOSE]
    before = np.concatenate([market.numbers[OPEN][:, :1], close[:, :-1]], axis=1)
    # The first bar of a block keeps its own gap from the close before it.
    change = (close / before)[:, rows]
    after = close[:, :1] * np.cumprod(change, axis=1)
    scale = after / numbers[CLOSE]
    numbers[[OPEN, HIGH, LOW, CLOSE, ATR]] *= scale
    # The mark price keeps its distance from the last one.
    marks = market.marks[:, :, rows] * scale if market.has_marks else market.marks
    return market._replace(numbers=np.ascontiguousarray(numbers), flags=flags, marks=np.ascontiguousarray(marks))


def _figures(run: Simulation, cash: float) -> tuple[float, float, int]:
    return float(run.equity[-1] / cash - 1), float(max_drawdown(run.equity)[0]), len(run.trades)


def _one(name: str, what: str, run: Simulation, cash: float) -> Outcome:
    total, depth, trades = _figures(run, cash)
    return Outcome(
        name=name, what=what, paths=1, total_return=total, total_return_5pct=None, max_drawdown=depth,
        max_drawdown_5pct=None, trades=trades, losing_share=None,
    )  # fmt: skip


def _many(name: str, what: str, runs: list[Simulation], cash: float) -> Outcome:
    totals, depths, trades = (np.array(column) for column in zip(*(_figures(run, cash) for run in runs), strict=True))
    return Outcome(
        name=name, what=what, paths=len(runs), total_return=float(np.median(totals)),
        total_return_5pct=float(np.quantile(totals, 0.05)), max_drawdown=float(np.median(depths)),
        max_drawdown_5pct=float(np.quantile(depths, 0.05)), trades=float(np.median(trades)),
        losing_share=float(np.mean(totals < 0)),
    )  # fmt: skip
