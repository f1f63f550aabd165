"""Accounts: what a strategy held bar by bar, for one symbol or for several together, and by period."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.performance import Performance, drawdowns, performance
from pipeline.trading.ledger import trade_table
from pipeline.trading.simulation import Simulation, quantities

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Account:
    """Equity, cash and quantity [n] at the closes of the bars that open at `times` (ms), and the closed trades."""

    times: Times
    equity: Array
    cash: Array
    qty: Array
    trades: pa.Table


@dataclass(frozen=True)
class Period:
    """Bars with start ≤ open_time < end, in milliseconds."""

    start: int
    end: int

    def rows(self, times: Times) -> tuple[int, int]:
        """First row, and the row after the last, of the period."""
        first, stop = np.searchsorted(times, [self.start, self.end])
        return int(first), int(stop)


def account(symbols: Sequence[str], times: Times, close: Array, simulation: Simulation) -> Account:
    """The account of a whole simulation. close: [symbols, n]; position_qty is the sum over the symbols."""
    held = [quantities(simulation.trades, number, len(times)) for number in range(len(symbols))]
    value = np.sum([qty * np.nan_to_num(price) for qty, price in zip(held, close, strict=True)], axis=0)
    trades = trade_table(symbols, simulation.trades, times)
    return Account(times, simulation.equity, simulation.equity - value, np.sum(held, axis=0), trades)


def shares(
    symbols: Sequence[str], times: Times, close: Array, simulation: Simulation, entry_fee: float
) -> dict[str, Account]:
    """What each symbol contributed: an equal share of the first equity, and its own profits and losses.

    close: [symbols, n]. entry_fee: fraction of the notional. Open positions count at the close, their entry fee
    at once, funding and parts that were left early when the trade is closed; but for those two the shares add
    up to the whole at each close.
    """
    if len(symbols) == 1:
        return {symbols[0]: account(symbols, times, close, simulation)}
    start = float(simulation.equity[0]) / len(symbols)
    result = {}
    for number, symbol in enumerate(symbols):
        own = simulation.trades[simulation.trades["symbol"] == number]
        equity, qty = np.full(len(times), start), np.zeros(len(times))
        for trade in own:
            held = slice(trade["entry_bar"], trade["exit_bar"])
            signed = trade["side"] * trade["qty"]
            qty[held] = signed
            paid = trade["qty"] * trade["entry_price"] * entry_fee
            equity[held] += signed * (close[number, held] - trade["entry_price"]) - paid
            equity[trade["exit_bar"] :] += trade["pnl"]
        trades = trade_table(symbols, own, times)
        result[symbol] = Account(times, equity, equity - qty * np.nan_to_num(close[number]), qty, trades)
    return result


def together(accounts: Sequence[Account]) -> Account:
    """The sum of several accounts over all their bars; one that has not begun counts with its first cash.

    Trades are ordered by exit, then by entry, then by symbol.
    """
    if len(accounts) == 1:
        return accounts[0]
    times = np.unique(np.concatenate([a.times for a in accounts]))
    equity = np.sum([aligned(times, a.times, a.equity) for a in accounts], axis=0)
    cash = np.sum([aligned(times, a.times, a.cash) for a in accounts], axis=0)
    qty = np.sum([aligned(times, a.times, a.qty) for a in accounts], axis=0)
    trades = pa.concat_tables([a.trades for a in accounts])
    order = [(key, "ascending") for key in ("exit_time", "entry_time", "symbol")]
    return Account(times, equity, cash, qty, trades.sort_by(order))


def aligned(times: Times, own_times: Times, values: Array) -> Array:
    """`values` at `own_times` carried to `times`: the last known one, before the first the first."""
    return values[np.clip(np.searchsorted(own_times, times, side="right") - 1, 0, None)]


def period_performance(whole: Account, period: Period, interval: str) -> Performance:
    """Metrics of a period of an account; its trades are those that were closed in it.

    The period starts from the equity at the close before its first bar.
    """
    first, stop = period.rows(whole.times)
    rows = slice(max(first - 1, 0), stop)
    exits = pc.cast(whole.trades["exit_time"], pa.int64())
    inside = pc.and_(pc.greater_equal(exits, period.start), pc.less(exits, period.end))
    return performance(whole.times[rows], whole.equity[rows], whole.trades.filter(inside), interval)


def monthly_returns(whole: Account) -> dict[str, float]:
    """Return of each calendar month (UTC), such as {"2024-01": 0.02}."""
    months = whole.times.astype("datetime64[ms]").astype("datetime64[M]")
    last = np.flatnonzero(np.append(months[1:] != months[:-1], True))
    ends = whole.equity[last]
    starts = np.concatenate([whole.equity[:1], ends[:-1]])
    return {str(month): float(end / start - 1) for month, start, end in zip(months[last], starts, ends, strict=True)}


def equity_table(whole: Account, parts: dict[str, Account]) -> pa.Table:
    """The contract's equity table; with several symbols also each one's equity and quantity."""
    columns = {
        "open_time": pa.array(whole.times, pa.int64()).cast(pa.timestamp("ms", "UTC")),
        "equity": whole.equity,
        "cash": whole.cash,
        "position_qty": whole.qty,
        "drawdown": drawdowns(whole.equity),
    }
    if len(parts) > 1:
        for symbol, part in parts.items():
            columns[f"{symbol}_equity"] = aligned(whole.times, part.times, part.equity)
            columns[f"{symbol}_position_qty"] = aligned(whole.times, part.times, part.qty)
    return pa.table(columns)


def curve_csv(whole: Account, hold: Account, points: int) -> str:
    """CSV of at most `points` rows, evenly spaced, the last included: open_time, equity, buy_and_hold, drawdown."""
    rows = np.unique(np.linspace(0, len(whole.times) - 1, points).astype(np.int64))
    held = aligned(whole.times, hold.times, hold.equity)
    below = drawdowns(whole.equity)
    lines = [f"{iso(whole.times[i])},{whole.equity[i]:.6g},{held[i]:.6g},{below[i]:.6g}" for i in rows]
    return "\n".join(["open_time,equity,buy_and_hold,drawdown", *lines]) + "\n"


def iso(time_ms: int) -> str:
    """ISO 8601 in UTC: 2024-01-01T00:00:00Z."""
    return dt.datetime.fromtimestamp(int(time_ms) / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
