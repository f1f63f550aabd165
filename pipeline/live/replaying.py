"""Stored bars lived through one by one, as fast as it goes, by the strategy and the shadow account of live trading."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config
from pipeline.live.merging import MergedBar, bars_of
from pipeline.live.shadow import ShadowTrader, shadow_rules
from pipeline.live.strategy import Outlook, Strategy, Thresholds, columns_of
from pipeline.market import candles
from pipeline.models.bundle import Bundle
from pipeline.trading.market import FLAGS, MARKS, NUMBERS
from pipeline.trading.records import TRADE

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Replay:
    """What was decided at each bar, by symbol in the order of their names.

    times: open times in ms [n]. features: float32 [n, k] by symbol, in the order of `names`. scores: the columns of
    the signals file [n] by symbol, buy_signal and sell_signal as 0 and 1. numbers, flags, marks: the market that the
    core saw, [.., symbols, n]; marks are 0 where there were none. orders: side that was entered at each close, 0 for
    none; exits: reason for which an exit was ordered, codes of `records.EXIT_REASONS`; both int8 [symbols, n]. trades:
    records TRADE [m]. restarts: how often everything was built anew.
    """

    symbols: list[str]
    names: list[str]
    times: npt.NDArray[np.int64]
    features: dict[str, npt.NDArray[np.float32]]
    scores: dict[str, dict[str, Floats]]
    marks: Floats
    numbers: Floats
    flags: npt.NDArray[np.uint8]
    orders: npt.NDArray[np.int8]
    exits: npt.NDArray[np.int8]
    equity: Floats
    trades: np.ndarray
    refused: npt.NDArray[np.int64]
    restarts: int


def replay(
    config: Config,
    bundle: Bundle | None,
    merged: Mapping[str, pa.Table],
    times: npt.NDArray[np.int64],
    thresholds: Thresholds | None = None,
    variant: dict[str, float] | None = None,
    restart_every: int | None = None,
    advance: Callable[[int], None] = lambda bars: None,
) -> Replay:
    """Live through the bars that open at `times`, which follow each other on the grid.

    merged: whole merged tables by symbol; bars before `times` are the history that streams open on. variant: stops
    and sizes chosen by simulate's grid. restart_every: bars after which the account is saved as JSON, and everything
    built anew from that and from history. advance: told of the bars done.
    """
    origin = int(times[0])
    rules = shadow_rules(config, origin, variant)
    columns = columns_of(config)
    tables = {symbol: table.select(["open_time", *_present(columns, table)]) for symbol, table in merged.items()}
    trader = ShadowTrader(len(config.symbols), rules, config.simulate.initial_cash)
    length = restart_every or len(times)
    book: _Book | None = None
    for first_row in range(0, len(times), length):
        part = times[first_row : first_row + length]
        if first_row:
            trader = ShadowTrader.restore(json.loads(json.dumps(trader.save())), rules)
        history = {symbol: _rows(table, None, int(part[0])) for symbol, table in tables.items()}
        strategy = Strategy(config, bundle, _nonempty(history), origin, thresholds)
        # Also of a symbol that begins later.
        strategy.has_marks = any(MARKS[0] in table.column_names for table in tables.values())
        book = book or _Book(strategy, len(times))
        bars = {
            symbol: {bar.open_time_ms: bar for bar in _bars(table, int(part[0]), int(part[-1]) + 1)}
            for symbol, table in tables.items()
        }
        for row, time in enumerate(part.tolist(), first_row):
            now: dict[str, MergedBar] = {symbol: own[time] for symbol, own in bars.items() if time in own}
            outlook = strategy.update(time, now)
            book.add(row, outlook, trader)
            advance(1)
    assert book is not None
    return book.close(times, trader, (len(times) - 1) // length)


class _Book:
    # What a replay is remembered by.
    def __init__(self, strategy: Strategy, bars: int) -> None:
        count = len(strategy.symbols)
        self.symbols, self.names = strategy.symbols, strategy.features
        self.features = {s: np.full((bars, len(self.names)), np.nan, np.float32) for s in self.symbols}
        self.scores: dict[str, dict[str, Floats]] = {s: {} for s in self.symbols}
        self.numbers, self.flags = np.zeros((len(NUMBERS), count, bars)), np.zeros((len(FLAGS), count, bars), np.uint8)
        self.marks = np.zeros((len(MARKS), count, bars))
        self.orders, self.exits = np.zeros((count, bars), np.int8), np.zeros((count, bars), np.int8)
        self.equity = np.zeros(bars)
        self.trades: list[np.ndarray] = [np.zeros(0, TRADE)]

    def add(self, row: int, outlook: Outlook, trader: ShadowTrader) -> None:
        for symbol, features in outlook.features.items():
            self.features[symbol][row] = features
            own = self.scores[symbol]
            for name, value in outlook.scores[symbol].items():
                if name not in own:
                    own[name] = np.full(len(self.equity), np.nan)
                own[name][row] = value
        self.numbers[:, :, row], self.flags[:, :, row] = outlook.market.numbers[..., 0], outlook.market.flags[..., 0]
        if outlook.market.has_marks:
            self.marks[:, :, row] = outlook.market.marks[..., 0]
        entering, leaving = trader.positions["enter_bar"].copy(), trader.positions["leave_bar"].copy()
        done = trader.update(outlook)
        positions = trader.positions
        self.orders[:, row] = np.where(positions["enter_bar"] != entering, positions["enter"], 0)
        self.exits[:, row] = np.where(positions["leave_bar"] != leaving, positions["leave"], 0)
        self.equity[row] = done.equity
        if len(done.trades):
            self.trades.append(done.trades)

    def close(self, times: npt.NDArray[np.int64], trader: ShadowTrader, restarts: int) -> Replay:
        done = trader.finish()
        self.equity[-1] = done.equity
        trades = np.concatenate([*self.trades, done.trades])
        return Replay(
            self.symbols, self.names, times, self.features, self.scores, self.marks, self.numbers, self.flags,
            self.orders, self.exits, self.equity, trades, trader.refused, restarts,
        )  # fmt: skip


def _present(columns: list[str], table: pa.Table) -> list[str]:
    return [name for name in columns if name in table.column_names]


def _rows(table: pa.Table, start_ms: int | None, stop_ms: int) -> pa.Table:
    times = candles.times_ms(table)
    first = 0 if start_ms is None else int(np.searchsorted(times, start_ms))
    return table.slice(first, max(int(np.searchsorted(times, stop_ms)) - first, 0))


def _bars(table: pa.Table, start_ms: int, stop_ms: int) -> list[MergedBar]:
    part = _rows(table, start_ms, stop_ms)
    names = [name for name in part.column_names if name not in ("open_time", "is_filled")]
    return bars_of(part, names) if part.num_rows else []


def _nonempty(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    return {symbol: table for symbol, table in tables.items() if table.num_rows}
