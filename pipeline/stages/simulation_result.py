"""What came of a simulation: the thresholds traded with, the accounts, and metrics.json."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config

if TYPE_CHECKING:
    from pipeline.evaluation.portfolio import Account, Period
    from pipeline.stages.history import History
    from pipeline.trading.market import Market
    from pipeline.trading.simulation import Simulation


@dataclass(frozen=True)
class Choice:
    """The thresholds traded with, and the search that they came from, if there was one."""

    buy: float
    sell: float
    chosen_by: str
    table: pa.Table | None = None
    qualified: int = 0
    variant: dict[str, float] = field(default_factory=dict)  # stops and sizes that the grid chose


@dataclass(frozen=True)
class Traded:
    """What became of the strategy: its account, each symbol's share, buy & hold by period and symbol, random rivals."""

    simulation: "Simulation"
    whole: "Account"
    parts: dict[str, "Account"]
    hold: dict[str, dict[str, "Account"]]
    random: dict[str, npt.NDArray[np.float64]]
    in_sample: bool


def traded_market(history: "History", choice: Choice) -> "Market":
    """The market with the signals of the thresholds chosen."""
    from pipeline.trading.market import signals_of

    market = history.market
    if choice.chosen_by != "grid":
        return market
    real = ~market.filled
    return market.changed(signal=signals_of((market.score >= choice.buy) & real, (market.score <= choice.sell) & real))


def headline_part(config: Config) -> str:
    """The part of the history whose figures come first: the one on which nothing was chosen."""
    return "evaluation" if config.simulate.grid and config.simulate.grid.use else "all"


def metrics_of(
    config: Config, history: "History", choice: Choice, periods: dict[str, "Period"], traded: Traded
) -> dict[str, Any]:
    """The content of metrics.json."""
    from pipeline.evaluation.portfolio import aligned, iso, monthly_returns, period_performance, together
    from pipeline.evaluation.regimes import by_regime
    from pipeline.signals import threshold_step

    step, grid, interval = threshold_step(config.signals), config.simulate.grid, config.interval
    headline, whole = headline_part(config), traded.whole
    parts = {name: period_performance(whole, period, interval) for name, period in periods.items()}
    hold = {name: together(list(traded.hold[name].values())) for name in periods}
    reasons = whole.trades["exit_reason"].value_counts().to_pylist()
    return {
        "name": config.name,
        "interval": interval,
        "symbols": config.symbols,
        "period": {"start": iso(periods["all"].start), "end": iso(periods["all"].end), "bars": len(whole.times)},
        "split_time": iso(periods["evaluation"].start) if grid else None,
        "thresholds": {
            "configured": {"buy": step.buy, "sell": step.sell},
            "used": {"buy": choice.buy, "sell": choice.sell, **choice.variant},
            "chosen_by": choice.chosen_by,
        },
        "headline_part": headline,
        "headline": parts[headline],
        "parts": parts,
        "buy_and_hold": {name: period_performance(hold[name], period, interval) for name, period in periods.items()},
        "random_entry": _random(config, parts[headline]["total_return"], headline, traded),
        "grid": {"sets": choice.table.num_rows, "qualified": choice.qualified, "metric": grid.metric}
        if grid and choice.table
        else None,
        "by_symbol": {s: period_performance(t, periods[headline], interval) for s, t in traded.parts.items()},
        "by_month": monthly_returns(whole),
        "by_regime": by_regime(whole.times, whole.equity, aligned(whole.times, hold["all"].times, hold["all"].equity)),
        "counts": _counts(history, choice, traded),
        "signals": outcomes(traded.simulation),
        "exit_reasons": {entry["values"]: entry["counts"] for entry in sorted(reasons, key=lambda e: e["values"])},
        "costs": config.simulate.costs.model_dump(),
        "liquidation_price": liquidation_price(config, history),
        "costs_paid": _costs_paid(history, traded.simulation),
        "in_sample": traded.in_sample,
        "trials": 1,
        "trials_this_run": 1 + (choice.table.num_rows if choice.table else 0),
    }


def liquidation_price(config: Config, history: "History") -> dict[str, str] | None:
    """Which price liquidates a position, `mark` or `last`, by symbol; None on spot, where none does."""
    if config.download.market == "spot":
        return None
    return {symbol: "mark" if symbol in history.marked else "last" for symbol in history.symbols}


def outcomes(simulation: "Simulation") -> dict[str, Any]:
    """What became of the signals that a flat core got: their number, those traded, the refused ones by reason."""
    from pipeline.trading.reasons import BREAKERS, REASONS

    words = list(REASONS)
    refused = {words[code]: int(count) for code, count in enumerate(simulation.refused) if count and code}
    return {
        "asked": int(simulation.refused.sum()),
        "traded": int(simulation.refused[0]),
        "refused": dict(sorted(refused.items(), key=lambda item: -item[1])),
        "breaker_trips": int(simulation.account["halts"][0]),
        "halted_at_the_end_by": list(BREAKERS)[int(simulation.account["halted"][0])] or None,
    }


def _costs_paid(history: "History", simulation: "Simulation") -> dict[str, dict[str, float]]:
    # Of closed trades, in the quote asset; spread and slippage are in the prices already.
    def paid(trades: np.ndarray) -> dict[str, float]:
        return {name: float(trades[name].sum()) for name in ("fees", "spread", "slippage", "funding")}

    trades = simulation.trades
    return {"all": paid(trades)} | {s: paid(trades[trades["symbol"] == k]) for k, s in enumerate(history.symbols)}


def _counts(history: "History", choice: Choice, traded: Traded) -> dict[str, int]:
    from pipeline.trading.market import BUY, SELL

    signal = traded_market(history, choice).signal
    return {
        "bars": sum(stop - first for first, stop in zip(history.first, history.stop, strict=True)),
        "buy_signals": int(np.count_nonzero(signal & BUY)),
        "sell_signals": int(np.count_nonzero(signal & SELL)),
        "ambiguous_bars": traded.simulation.ambiguous_bars,
        "filled_bars": sum(
            int(history.market.filled[number, first:stop].sum())
            for number, (first, stop) in enumerate(zip(history.first, history.stop, strict=True))
        ),
    }


def _random(config: Config, actual: float | int | None, part: str, traded: Traded) -> dict[str, Any] | None:
    from pipeline.evaluation.baselines import p_value

    n = config.simulate.random_entries
    if n == 0 or actual is None:
        return None
    returns = np.mean(list(traded.random.values()), axis=0) - 1
    quantiles = {str(q): float(np.quantile(returns, q / 100)) for q in (5, 50, 95)}
    return {"n": n, "part": part, "p_value": p_value(actual, returns), "quantiles": quantiles}


def describe_outcomes(signals: dict[str, Any]) -> str:
    """`142 signals: 61 traded, 38 min_score, 43 cool_down`."""
    words = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in signals["refused"].items()]
    return f"{signals['asked']:,} while flat: " + ", ".join([f"{signals['traded']:,} traded", *words])
