"""Which pair of thresholds to trade with: chosen on the first part of the data, shown on both."""

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config.durations import bars_per_year
from pipeline.config.trading import Grid, GridAxis
from pipeline.evaluation.performance import annual_return, calmar, return_ratios, trade_ratios

Array = npt.NDArray[np.float64]

PARTS = ("selection", "evaluation")
METRICS = ("total_return", "sharpe", "sortino", "calmar", "max_drawdown", "win_rate", "profit_factor")


# Parameters of the rules that a grid can vary beside the thresholds.
VARIED = ("stop_loss", "take_profit", "trailing_stop", "fraction")


def variants(grid: Grid) -> list[dict[str, float]]:
    """All combinations of stops and sizes that a grid tries; one empty one if it tries thresholds alone."""
    given = [(name, getattr(grid, name)) for name in VARIED if getattr(grid, name)]
    return [
        dict(zip([name for name, _ in given], values, strict=True))
        for values in itertools.product(*(values for _, values in given))
    ]


def axis_values(axis: GridAxis) -> Array:
    """The thresholds of one axis, ends included."""
    return np.linspace(axis.start, axis.stop, axis.n)


def grid_table(grid: Grid, tallies: list[np.ndarray], bars: list[tuple[int, int]], interval: str) -> pa.Table:
    """One row for each pair with sell < buy: buy, sell, and the metrics of both parts.

    tallies: for each symbol, `pipeline.trading.grid.TALLY` [n_buy, n_sell, 2]. bars: for each symbol, the
    number of returns in each part. With several symbols, of equal capital, total_return is the
    portfolio's, trades are all of theirs, win_rate and profit_factor pool them, and the other metrics
    are means over the symbols in which they are defined.
    """
    buys, sells = axis_values(grid.buy), axis_values(grid.sell)
    pairs = [(i, j) for i in range(len(buys)) for j in range(len(sells)) if sells[j] < buys[i]]
    columns: dict[str, Any] = {
        "buy": pa.array([buys[i] for i, _ in pairs], pa.float64()),
        "sell": pa.array([sells[j] for _, j in pairs], pa.float64()),
    }
    for part, name in enumerate(PARTS):
        rows = [_metrics([t[i, j, part] for t in tallies], [b[part] for b in bars], interval) for i, j in pairs]
        for metric in METRICS:
            columns[f"{name}_{metric}"] = pa.array([row[metric] for row in rows], pa.float64())
        columns[f"{name}_trades"] = pa.array([row["trades"] for row in rows], pa.int64())
    return pa.table(columns)


def choose(table: pa.Table, metric: str, min_trades: int) -> tuple[int | None, int]:
    """The row of `grid_table` that did best in the selection part, and how many rows qualified.

    A row qualifies with `min_trades` trades in that part and a defined metric. Ties go to more trades,
    then to the higher buy, then to the lower sell threshold: the stricter rule. The evaluation part is not
    looked at.
    """
    value = table[f"selection_{metric}"].to_numpy()
    trades = table["selection_trades"].to_numpy()
    rows = np.flatnonzero(~np.isnan(value) & (trades >= max(min_trades, 1)))
    if len(rows) == 0:
        return None, 0
    buy, sell = table["buy"].to_numpy(), table["sell"].to_numpy()
    best = np.lexsort((sell[rows], -buy[rows], -trades[rows], -value[rows]))[0]
    return int(rows[best]), len(rows)


def _metrics(tallies: list[Any], bars: list[int], interval: str) -> dict[str, Any]:
    per_year = bars_per_year(interval)
    each = [_one(t, n, per_year) for t, n in zip(tallies, bars, strict=True)]
    trades = sum(int(t["trades"]) for t in tallies)
    pooled = trade_ratios(
        trades,
        sum(int(t["wins"]) for t in tallies),
        sum(float(t["gains"]) for t in tallies),
        sum(float(t["losses"]) for t in tallies),
    )
    means = {m: _mean([one[m] for one in each]) for m in ("sharpe", "sortino", "calmar", "max_drawdown")}
    start = sum(float(t["start"]) for t in tallies)
    return {"total_return": sum(float(t["end"]) for t in tallies) / start - 1, **means, **pooled, "trades": trades}


def _one(tally: Any, n: int, per_year: float) -> dict[str, float | None]:
    depth = float(tally["max_drawdown"])
    result: dict[str, float | None] = {"sharpe": None, "sortino": None, "calmar": None, "max_drawdown": depth}
    if n < 1:
        return result
    result["calmar"] = calmar(annual_return(float(tally["end"] / tally["start"]), n, per_year), depth)
    if tally["lowest"] > 0:
        total, squares = float(tally["returns"]), float(tally["squares"])
        ratios = return_ratios(
            n, total, max(squares - total * total / n, 0.0), float(tally["downside_squares"]), per_year
        )
        result |= {"sharpe": ratios["sharpe"], "sortino": ratios["sortino"]}
    return result


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
