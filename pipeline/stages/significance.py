"""What a simulation proves, after all that was tried: the section `significance` of metrics.json."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import Layout
from pipeline.config import Config
from pipeline.stages.simulation_result import Choice, Traded, headline_part

if TYPE_CHECKING:
    from pipeline.evaluation.portfolio import Period
    from pipeline.evaluation.trials import Tried
    from pipeline.stages.history import History
    from pipeline.trading.rules import Rules

Array = npt.NDArray[np.float64]
# Sets of the grid whose returns are looked at, and the bars that this may take: three seconds of one core.
MOST_SETS, FEWEST_SETS, MAX_BARS = 200, 50, 60_000_000
DAYS_A_BLOCK = 5
FEWEST_BLOCKS = 6
DECIMALS = 4


@dataclass(frozen=True)
class Searched:
    """What a sample of the grid's sets did.

    returns: over the whole range [periods, sets]. sharpes: annual, in the part shown, of the sets that have one.
    effective: independent trials that all sets amount to. clusters: of alike sets. sets: of the whole grid.
    """

    returns: Array
    sharpes: list[float]
    effective: float
    clusters: int
    sets: int


def searched(
    config: Config, history: "History", choice: Choice, rules: "Rules", part: "Period", workers: int
) -> Searched | None:
    """Trade a random sample of the grid's sets, the chosen one among them; None without a grid.

    rules: those of the config; each set puts its own stops and sizes in. part: that the figures shown are of.
    """
    if choice.table is None or config.simulate.grid is None or not choice.table.num_rows:
        return None
    from pipeline.evaluation.daily import daily_returns
    from pipeline.evaluation.effective_trials import effective_trials
    from pipeline.evaluation.significance import annual_sharpe
    from pipeline.evaluation.thresholds import variants

    table, names = choice.table, list(variants(config.simulate.grid)[0])
    rows = _sample(choice, len(history.times) * len(history.symbols), config.seed)
    sets = [{name: table[name][row].as_py() for name in ("buy", "sell", *names)} for row in rows.tolist()]
    shown = _rows(part, history.times)

    def trade(one: dict[str, float]) -> tuple[Array | None, float | None]:
        equity = _equity(history, rules, one, config.simulate.initial_cash)
        own = daily_returns(history.times[shown], equity[shown])
        return daily_returns(history.times, equity), None if own is None else annual_sharpe(own)

    with ThreadPoolExecutor(max_workers=min(workers, os.cpu_count() or 1)) as pool:
        outcomes = list(pool.map(trade, sets))
    # A set that used up its capital has no returns after that.
    kept = [returns for returns, _ in outcomes if returns is not None]
    returns = np.stack(kept, axis=1) if kept else np.empty((0, 0))
    alike = effective_trials(returns, of=table.num_rows, seed=config.seed)
    sharpes = [round(sharpe, DECIMALS) for _, sharpe in outcomes if sharpe is not None]
    return Searched(returns, sharpes, alike.n, alike.clusters, table.num_rows)


def significance(
    config: Config,
    periods: Mapping[str, "Period"],
    traded: Traded,
    found: Searched | None,
    tried: "Tried",
    metrics: Mapping[str, Any],
) -> dict[str, Any] | None:
    """The section, of the part whose figures come first; None if the equity was used up.

    tried: all of the ledger, this run included. metrics: the other sections.
    """
    from pipeline.evaluation.daily import daily_returns
    from pipeline.evaluation.portfolio import aligned, together
    from pipeline.evaluation.significance import deflated

    part = headline_part(config)
    own = _shown(config, periods, traded)
    if own is None:
        return None
    evidence = deflated(own, tried)
    hold, times = (
        together(list(traded.hold[part].values())),
        traded.whole.times[_rows(periods[part], traded.whole.times)],
    )
    held = daily_returns(times, aligned(times, hold.times, hold.equity))
    section: dict[str, Any] = {
        "part": part,
        "returns": "daily",
        **asdict(evidence),
        "passes": evidence.passes and not traded.in_sample,
        "overfitting": _overfitting(found, config.seed),
        "grid_sample": None
        if found is None
        else {
            "sets": found.sets,
            "traded": found.returns.shape[1],
            "clusters": found.clusters,
            "effective": found.effective,
        },
        "than_holding": None if held is None else _than_holding(own, held, config.seed),
    }
    if traded.in_sample:
        section["sentence"] = f"In sample, so no evidence whatever it says: {section['sentence']}"
    section["sentences"] = [*_sentences(section), *_random_entry(metrics)]
    return section


def record_trials(
    config: Config,
    layout: Layout,
    choice: Choice,
    periods: Mapping[str, "Period"],
    traded: Traded,
    found: Searched | None,
    metrics: Mapping[str, Any],
) -> "Tried":
    """Into the ledger: the run, and the grid as one line of many sets. Returns all that was ever tried."""
    from pipeline.evaluation.significance import annual_sharpe
    from pipeline.evaluation.thresholds import axis_values, variants
    from pipeline.stages.trials import record

    grid, end = config.simulate.grid, metrics["period"]["end"]
    inputs = [path(symbol) for symbol in config.symbols for path in (layout.signals, layout.merged)]
    sections = ("symbols", "interval", "signals", "sizing", "risk", "simulate")
    # Another look at what was traded is no other trial.
    looks = {name: type(config.simulate).model_fields[name].default for name in ("stress", "random_entries")}
    config = config.model_copy(update={"simulate": config.simulate.model_copy(update=looks)})
    own = _shown(config, periods, traded)
    sharpe = None if own is None else annual_sharpe(own)
    known = None if sharpe is None else [round(sharpe, DECIMALS)]
    used = {"buy": choice.buy, "sell": choice.sell, **choice.variant, "chosen_by": choice.chosen_by}
    # What the grid chose is one of its sets.
    counted = 0.0 if choice.chosen_by == "grid" else None
    run = [(used, 1, "sharpe", metrics["headline"]["sharpe"])]
    book = record(config, layout, "simulate", sections, inputs, run, end, known, counted)
    if grid is not None and choice.table is not None:
        values = choice.table[f"selection_{grid.metric}"].to_numpy()
        best = float(np.nanmax(values)) if np.isfinite(values).any() else None
        axes = {"buy": list(axis_values(grid.buy)), "sell": list(axis_values(grid.sell))}
        axes |= {name: list(getattr(grid, name)) for name in variants(grid)[0]}
        sets = [(axes, choice.table.num_rows, grid.metric, best)]
        known, counted = (found.sharpes, found.effective) if found else (None, None)
        book = record(config, layout, "grid", sections, inputs, sets, end, known, counted)
    return book.tried()


def _shown(config: Config, periods: Mapping[str, "Period"], traded: Traded) -> Array | None:
    from pipeline.evaluation.daily import daily_returns

    rows = _rows(periods[headline_part(config)], traded.whole.times)
    return daily_returns(traded.whole.times[rows], traded.whole.equity[rows])


def _rows(period: "Period", times: npt.NDArray[np.int64]) -> slice:
    # With the bar before the period, whose close it starts from.
    first, stop = period.rows(times)
    return slice(max(first - 1, 0), stop)


def _sample(choice: Choice, bars: int, seed: int) -> npt.NDArray[np.int64]:
    # Random rows, since every tenth row of a table of pairs would be every tenth of one threshold alone.
    assert choice.table is not None
    total = choice.table.num_rows
    size = min(total, int(np.clip(MAX_BARS // max(bars, 1), FEWEST_SETS, MOST_SETS)))
    rows = np.random.default_rng(seed).permutation(total)[:size]
    used = (choice.table["buy"].to_numpy() == choice.buy) & (choice.table["sell"].to_numpy() == choice.sell)
    for name, value in choice.variant.items():
        used &= choice.table[name].to_numpy() == value
    chosen = np.flatnonzero(used)
    if len(chosen) and chosen[0] not in rows:
        rows[-1] = chosen[0]
    return np.sort(rows)


def _equity(history: "History", rules: "Rules", one: Mapping[str, float], cash: float) -> Array:
    # As the grid trades: each symbol by itself, with an equal share of the cash.
    from pipeline.trading.market import signals_of
    from pipeline.trading.simulation import simulate

    varied = {name: value for name, value in one.items() if name not in ("buy", "sell")}
    changed = rules._replace(**varied)  # type: ignore[arg-type]
    total = np.zeros(len(history.times))
    for number in range(len(history.symbols)):
        market = history.market.of(number)
        real = ~market.filled
        signal = signals_of((market.score >= one["buy"]) & real, (market.score <= one["sell"]) & real)
        total += simulate(market.changed(signal=signal), changed, cash / len(history.symbols)).equity
    return total


def _overfitting(found: Searched | None, seed: int) -> dict[str, Any] | None:
    from pipeline.evaluation.overfitting import BLOCKS, pbo

    if found is None:
        return None
    # A set that never trades would be neither better nor worse.
    returns = found.returns[:, np.ptp(found.returns, axis=0) > 0] if len(found.returns) else found.returns
    periods, sets = returns.shape
    blocks = min(BLOCKS, periods // DAYS_A_BLOCK // 2 * 2)
    if blocks < FEWEST_BLOCKS or sets < 2:
        return None
    return asdict(pbo(returns, blocks, periods=periods, seed=seed))


def _than_holding(own: Array, held: Array, seed: int) -> dict[str, Any] | None:
    from pipeline.evaluation.bootstrap import FEWEST_PERIODS, better

    if len(own) < FEWEST_PERIODS:
        return None
    names = ("The strategy's Sharpe ratio", "buy & hold's")
    return asdict(better(own, held, names=names, seed=seed))


def _sentences(section: Mapping[str, Any]) -> list[str]:
    # What the report and the summary say, most important first.
    said = [section["sentence"]]
    if section["min_trl"] is not None and not section["passes"]:
        said.append(
            f"Had it been the only trial, {section['min_trl']:,.0f} days of this would be enough "
            f"(there are {section['n']:,}; PSR {section['psr']:.2f})."
        )
    if section["power"] is not None:
        said.append(
            f"A strategy with a true Sharpe ratio of 3 would pass here in {section['power']:.0%} of the cases; "
            f"it takes {section['detectable']:.1f} to pass in four of five."
        )
    said += [section[name]["sentence"] for name in ("overfitting", "than_holding") if section[name]]
    return said


def _random_entry(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics["random_entry"]:
        return []
    p, n = metrics["random_entry"]["p_value"], metrics["random_entry"]["n"]
    verdict = "which luck alone does rarely" if p <= 0.05 else "so its entries are no better than luck"
    as_well = round(p * (n + 1)) - 1  # the p-value counts the strategy among its rivals
    return [f"{as_well:,} of {n:,} strategies that entered at random did at least as well (p = {p:.3f}), {verdict}."]
