"""A strategy on one closed bar after another: features, scores, signals, and what the trading core has to see.

Every number is the one that the batch stages write for the same bar, to the last bit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config
from pipeline.config.meta import second_columns
from pipeline.config.trading import Filters
from pipeline.errors import BadInput
from pipeline.features import FeatureStream, FeatureStreams, compute, feature_names, required_columns
from pipeline.live.by_symbol import Rows, Scores
from pipeline.live.day_correlation import DayCorrelation
from pipeline.live.market_rows import MarketRows
from pipeline.live.merging import MergedBar, bars_of
from pipeline.live.one_call import OneCall
from pipeline.live.row_scores import RowScores
from pipeline.market import candles
from pipeline.models.bundle import Bundle
from pipeline.signals import SignalRows, SignalStream, threshold_step
from pipeline.trading.gates import asks_anything, distances, gate_columns, gate_rules, refusals, windows_at
from pipeline.trading.market import (
    ATR,
    CLOSE,
    MARKS,
    NO_MARKS,
    REFUSE_LONG,
    REFUSE_SHORT,
    SCORE,
    Market,
)
from pipeline.trading.rules import rules_of
from pipeline.trading.volatility import Forecast

Floats = npt.NDArray[np.float64]
Row = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]
FUNDING_EVERY_MS = 8 * 3_600_000
AMOUNTS = ("quote_volume", "volume", "funding_rate")


@dataclass(frozen=True)
class Thresholds:
    """Scores to buy from and to sell to, in place of the config's, and by whom they were chosen."""

    buy: float
    sell: float
    chosen_by: str = "config"


class Outlook(NamedTuple):
    """What one closed bar says.

    market: of this one bar, symbols in the order of their names; `market.signal[:, 0]` are the codes to trade.
    features: float32 [k] by symbol. scores: the columns of the signals file by symbol, buy_signal and sell_signal
    included. A symbol that has no bar yet is missing from both, and made up in `market`.
    """

    open_time_ms: int
    market: Market
    features: Mapping[str, npt.NDArray[np.float32]]
    scores: Mapping[str, Mapping[str, float | bool]]


class Strategy:
    """All symbols of a config, from merged bars to the core's one-bar market.

    bundle: None for a strategy whose steps read features. history: merged bars by symbol from the first bar that the
    batch features began at; a symbol without any begins with its first bar. origin_ms: the bar that trading began at,
    from which the correlation of the symbols is learnt. thresholds: the config's if None.
    Raises BadInput: the bundle does not fit the config, or signals, gates or stops read a column that is no feature.
    """

    def __init__(
        self,
        config: Config,
        bundle: Bundle | None,
        history: Mapping[str, pa.Table],
        origin_ms: int,
        thresholds: Thresholds | None = None,
    ) -> None:
        step = threshold_step(config.signals)
        self.symbols = sorted(config.symbols)
        self.features = feature_names(config)
        self._config = config
        self._score = step.column
        self._thresholds = thresholds or Thresholds(step.buy, step.sell)
        self._scorer = RowScores(config, bundle, self.features)
        self._lanes = [_Lane(config, self._scorer, history.get(symbol), symbol) for symbol in self.symbols]
        self._number = {symbol: s for s, symbol in enumerate(self.symbols)}
        self._together: FeatureStreams | None = None
        self._signals: SignalRows | None = None
        self._one_call: OneCall | None = None
        self._rows = MarketRows(
            [lane.forecast for lane in self._lanes], [lane.volatility for lane in self._lanes],
            self._thresholds.buy, self._thresholds.sell,
        )  # fmt: skip
        # As history's: the gates look at the config's stops, not at those that a grid has chosen.
        self._rules = rules_of(config.simulate, config.interval)
        self._gates = gate_rules(config.risk)
        wanted = gate_columns(config.risk)
        atr = config.simulate.exits.atr
        for name in [*wanted.values(), *([atr] if atr else [])]:
            if name not in self.features:
                raise BadInput(f"'{name}', which risk.gates or simulate.exits name, is not among the features")
        self._pays = config.simulate.funding
        # Whether a symbol has a mark price; who knows of bars that are still to come sets it.
        self.has_marks = config.download.marks and any(MARKS[0] in history[one].column_names for one in history)
        self._wanted = {name: self.features.index(column) for name, column in wanted.items()}
        self._atr = self.features.index(atr) if atr else -1
        self._asks = self._atr >= 0 or asks_anything(config.risk)
        self._filters = np.array([_filters(config, symbol) for symbol in self.symbols])
        limits = config.risk.limits
        correlated = len(self.symbols) > 1 and config.risk.enabled and limits.correlated_exposure is not None
        self._correlation = DayCorrelation(self.symbols, origin_ms, config.step_ms, history) if correlated else None
        judges = {side: name for name, (_, side) in second_columns(config).items()} if config.sizing.probability else {}
        self._judged = [(2, judges.get(1)), (3, judges.get(-1))] if judges else []
        self._identity = np.eye(len(self.symbols))[None]

    def update(self, open_time_ms: int, bars: Mapping[str, MergedBar]) -> Outlook:
        """The outlook after the bars of one time have closed.

        bars: by symbol; a symbol is missing before its first bar and after its last.
        Raises BadInput: a bar does not follow the one before it; others may have taken theirs.
        """
        own = self._number
        if len(bars) < len(own):
            # Symbols in the order of their names.
            own = {symbol: row for row, symbol in enumerate(s for s in self.symbols if s in bars)}
        made = self._one_call.update(own, bars, open_time_ms) if self._one_call is not None and own else None
        if made is not None:
            market, by_symbol, scores = made.market, made.rows, made.scores
        else:
            which = [self._number[symbol] for symbol in own]
            features, columns, numbers = self._seen(which, [bars[symbol] for symbol in own], open_time_ms)
            by_symbol, scores = Rows(own, features), Scores(own, *columns)
            market = Market(*numbers, self._filters, self._identity)
            if self._one_call is None and own:
                self._one_call = self._in_one_call(open_time_ms)
        if self._asks:
            self._gate(market.numbers, market.flags, by_symbol, open_time_ms + self._config.step_ms)
        if self._correlation is not None:
            market = market._replace(correlation=self._correlation.update(open_time_ms, bars))
        if (marks := self._marks(bars)) is not NO_MARKS:
            market = market._replace(marks=marks)
        return Outlook(open_time_ms, market, by_symbol, scores)

    def catch_up(self, symbol: str, bar: MergedBar) -> None:
        """Take a symbol's bar that came after its time had been decided without it; nothing is traded on it.

        Raises BadInput: it does not follow the one before it.
        """
        self._seen([self._number[symbol]], [bar], bar.open_time_ms)

    def peek(self, open_time_ms: int, bars: Mapping[str, MergedBar]) -> Outlook | None:
        """Something like the outlook if these bars had closed, by the code that makes it; nothing changes.

        Features that are not made together, rules, intervals and correlation are left out. None before the first bar.
        """
        which = [s for s, symbol in enumerate(self.symbols) if symbol in bars]
        given = [bars[self.symbols[s]] for s in which]
        if self._together is None or self._signals is None or not which:
            return None
        features = self._together.peek(which, [bar.values for bar in given])
        if features is None or self._lanes[0].intervals is not None:
            return None
        np.nan_to_num(features, copy=False)
        rows, filled = np.array(which, np.int64), np.array([bar.filled for bar in given], np.bool_)
        columns, sides = self._signals.peek(rows, self._scorer.rows(features, open_time_ms), filled)
        own = {self.symbols[s]: row for row, s in enumerate(which)}
        by_symbol = Rows(own, features)
        numbers, flags = self._rows.peek(rows, given, filled, self._given(which, given, columns, self._signals.names))
        if self._asks:
            self._gate(numbers, flags, by_symbol, open_time_ms + self._config.step_ms)
        market = Market(numbers, flags, self._filters, self._identity)
        return Outlook(open_time_ms, market, by_symbol, Scores(own, self._signals.names, columns, sides))

    def _in_one_call(self, open_time_ms: int) -> OneCall | None:
        # None if some part of a bar has to be asked by itself.
        if self._together is None or self._signals is None or self._pays or self._judged:
            return None
        rows, trees = self._together.rows(), self._scorer.arrays(open_time_ms)
        if rows is None or trees is None or not self._signals.is_whole:
            return None
        return OneCall(
            self._number, self._config.step_ms, self._together, rows, self._scorer, trees, self._signals, self._score,
            self._rows, len(self.features), self._filters,
        )  # fmt: skip

    def _seen(
        self, which: list[int], bars: list[MergedBar], open_time_ms: int
    ) -> tuple[Matrix, tuple[list[str], Floats, Flags], tuple[Floats, Flags]]:
        """Features, scores, and numbers and flags of the market, after a bar of the symbols of some numbers."""
        rows, filled = np.array(which, np.int64), np.array([bar.filled for bar in bars], np.bool_)
        features = self._features(which, bars, open_time_ms)
        if not which:
            nothing = np.empty((0, 0))
            return (
                features,
                ([], nothing, np.empty(0, np.uint8)),
                self._rows.update(rows, bars, filled, np.zeros((0, 4))),
            )
        names, scores = self._scored(which, bars, features, open_time_ms)
        if self._signals is None:
            self._signals = SignalRows([lane.signals for lane in self._lanes], names)
        columns, sides = self._signals.update(rows, scores, filled)
        given = self._given(which, bars, columns, self._signals.names)
        return features, (self._signals.names, columns, sides), self._rows.update(rows, bars, filled, given)

    def _marks(self, bars: Mapping[str, MergedBar]) -> Floats:
        # As history's: where one symbol has a mark price, others have their last price in its place.
        if not self.has_marks:
            return NO_MARKS
        marks = np.zeros((len(MARKS), len(self.symbols), 1))
        for symbol, bar in bars.items():
            for row, (name, price) in enumerate(zip(MARKS, candles.PRICES, strict=False)):
                marks[row, self._number[symbol], 0] = bar.values[name if name in bar.values else price]
        return marks

    def _given(self, which: list[int], bars: list[MergedBar], columns: Floats, names: list[str]) -> Floats:
        # What the market has of scores and funding.
        given = np.zeros((len(which), 4))
        given[:, 0] = columns[:, names.index(self._score)]
        if self._pays:
            given[:, 1] = [self._lanes[s].funding(bar) for s, bar in zip(which, bars, strict=True)]
        for place, name in self._judged:
            given[:, place] = np.nan if name is None else columns[:, names.index(name)]
        return given

    def _features(self, which: list[int], bars: list[MergedBar], open_time_ms: int) -> Matrix:
        if self._together is None and all(lane.features is not None for lane in self._lanes):
            self._together = FeatureStreams([lane.features for lane in self._lanes if lane.features is not None])
        made = None
        if self._together is not None and which:
            made = self._together.update(which, [bar.values for bar in bars], open_time_ms)
        if made is None:
            alone = [self._lanes[s].features_of(bar) for s, bar in zip(which, bars, strict=True)]
            made = np.array(alone, np.float32).reshape(len(which), len(self.features))
        return made

    def _scored(
        self, which: list[int], bars: list[MergedBar], features: Matrix, open_time_ms: int
    ) -> tuple[list[str], Floats]:
        # Columns that the signals' steps read.
        scores, names = self._scorer.rows(features, open_time_ms), self._scorer.names
        if self._lanes[0].intervals is None:
            return names, scores
        ranged = [
            self._lanes[s].with_intervals(bar.open_time_ms, bar.values, dict(zip(names, row, strict=True)))
            for s, bar, row in zip(which, bars, scores.tolist(), strict=True)
        ]
        return list(ranged[0]), np.array([list(one.values()) for one in ranged])

    def _gate(self, numbers: Floats, flags: Flags, features: Mapping[str, Row], close_ms: int) -> None:
        # The symbols of one bar are to the gates what the bars of one symbol are in history.
        count = len(self.symbols)
        atr = self._column(features, self._atr) if self._atr >= 0 else np.zeros(count)
        numbers[ATR, :, 0] = [_number(value) for value in atr.tolist()]
        stop, target = distances(numbers[CLOSE, :, 0], atr, self._rules)
        inputs = {name: self._column(features, place) for name, place in self._wanted.items()}
        window = windows_at(self._config.risk, np.full(count, close_ms))
        inputs |= {"close_time_ms": np.full(count, float(close_ms)), "score": numbers[SCORE, :, 0], "window": window}
        inputs |= {"stop_distance": stop, "target_distance": target}
        flags[REFUSE_LONG, :, 0], flags[REFUSE_SHORT, :, 0] = refusals(inputs, count, self._gates)

    def _column(self, features: Mapping[str, Row], place: int) -> Floats:
        # A feature of all symbols; not a number for one that has no bar.
        return np.array([features[s][place] if s in features else np.nan for s in self.symbols], np.float64)


class _Lane:
    # One symbol. Its streams open with the first bar, in history or here.
    def __init__(self, config: Config, scorer: "RowScores", history: pa.Table | None, symbol: str) -> None:
        self._config, self._scorer, self._symbol = config, scorer, symbol
        self._inputs = required_columns(config)
        self.features: FeatureStream | None = None
        self.signals = SignalStream(config.signals)
        self.forecast = Forecast(config.sizing, config.interval)
        self.volatility = np.nan
        self.intervals = scorer.intervals()
        if history is not None and history.num_rows:
            self._open(history)

    def _open(self, history: pa.Table) -> None:
        rows = history.num_rows
        memory = signal_memory(self._config)
        if memory is None:
            # An exponential average remembers everything: the scores of all bars, at the speed of a table.
            self.features = FeatureStream(self._config, history)
            self._replay_scores(history)
        else:
            begin = max(rows - memory, 1)
            self.features = FeatureStream(self._config, history.slice(0, begin))
            if rows <= memory:
                self._signal(self._first_row(history.slice(0, 1)), *_first(history))
            for bar in bars_of(history.slice(begin), self._inputs):
                self._signal(self.features.update(bar.values, bar.open_time_ms), bar.open_time_ms, bar.filled)
        filled = history.column("is_filled").to_numpy()
        self.volatility = float(self.forecast.over(candles.column(history, "close"), filled)[-1])

    def _first_row(self, one: pa.Table) -> npt.NDArray[np.float32]:
        table = compute(self._config, one)
        return np.array([table.column(name)[0].as_py() for name in table.column_names[1:]], np.float32)

    def _replay_scores(self, history: pa.Table) -> None:
        table = compute(self._config, history)
        predictions = self._scorer.over(table)
        if self.intervals is not None:
            predictions = self.intervals.over(candles.times_ms(history).tolist(), history, predictions)
        filled = history.column("is_filled").to_numpy()
        names = list(predictions)
        for t, values in enumerate(zip(*(column.tolist() for column in predictions.values()), strict=True)):
            self.signals.update(dict(zip(names, values, strict=True)), bool(filled[t]))

    def _signal(self, features: Row, open_time_ms: int, filled: bool) -> None:
        self.signals.update(self._scorer.one(features, open_time_ms), filled)

    def features_of(self, bar: MergedBar) -> Row:
        """Features after one more bar. Raises BadInput: it does not follow the one before it."""
        if self.features is None:
            one = pa.table(
                {"open_time": candles.time_array(np.array([bar.open_time_ms]))}
                | {name: np.array([bar.values[name]], np.float64) for name in self._inputs}
            )
            made = self._first_row(one)
            self.features = FeatureStream(self._config, one)
            return made
        try:
            return self.features.update(bar.values, bar.open_time_ms)
        except BadInput as error:
            raise BadInput(f"{self._symbol}: {error.message}", error.hint) from None

    def with_intervals(
        self, open_time_ms: int, prices: Mapping[str, float], scores: Mapping[str, float]
    ) -> Mapping[str, float]:
        """Scores, and the intervals around them that are read."""
        return scores if self.intervals is None else self.intervals.update(open_time_ms, prices, scores)

    def funding(self, bar: MergedBar) -> float:
        """The rate that is due at a bar's open."""
        # The last rate is carried along; it is paid at the times of settlement.
        due = bar.open_time_ms % FUNDING_EVERY_MS < self._config.step_ms
        if due and "funding_rate" not in bar.values:
            raise BadInput(
                f"{self._symbol}: no column 'funding_rate', which simulate.funding pays", "set merge.funding"
            )
        return _number(bar.values["funding_rate"]) if due else 0.0


def signal_memory(config: Config) -> int | None:
    """Bars before the next one on which its signals depend; None for all, as with an exponential average."""
    if config.intervals is not None:
        return None
    memory = 0
    for step in config.signals.steps:
        if step.smooth is not None and step.smooth.window is not None:
            if isinstance(step.smooth.window, float):
                return None
            memory += step.smooth.window - 1
        elif step.rules is not None:
            memory += 1
    return memory


def columns_of(config: Config) -> list[str]:
    """Columns of the merged bars that a strategy reads, `is_filled` included."""
    names = [*required_columns(config), *candles.PRICES, *AMOUNTS[:2], "is_filled"]
    if config.simulate.funding:
        names.append("funding_rate")
    if config.download.marks:
        names += MARKS
    return list(dict.fromkeys(names))


def _first(table: pa.Table) -> tuple[int, bool]:
    return int(candles.times_ms(table.slice(0, 1))[0]), bool(table.column("is_filled")[0].as_py())


def _number(value: float) -> float:
    # As np.nan_to_num, which takes longer than all the rest of a gate.
    return value if math.isfinite(value) else float(np.nan_to_num(value))


def _filters(config: Config, symbol: str) -> list[float]:
    one = config.simulate.filters.get(symbol, config.simulate.filters.get("default", Filters()))
    return [one.tick_size, one.step_size, one.min_qty, one.max_qty or 0.0, one.min_notional]
