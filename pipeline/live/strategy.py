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
from pipeline.features import FeatureStream, compute, feature_names, required_columns
from pipeline.live.day_correlation import DayCorrelation
from pipeline.live.merging import MergedBar
from pipeline.live.row_scores import RowScores
from pipeline.market import candles
from pipeline.models.bundle import Bundle
from pipeline.signals import SignalStream, threshold_step
from pipeline.trading.gates import asks_anything, distances, gate_columns, gate_rules, refusals, windows_at
from pipeline.trading.market import (
    ATR,
    BUY,
    CLOSE,
    FILLED,
    FLAGS,
    FUNDING,
    NUMBERS,
    OPEN,
    REFUSE_LONG,
    REFUSE_SHORT,
    RIGHT_LONG,
    RIGHT_SHORT,
    SCORE,
    SELL,
    SIGNALS,
    Market,
)
from pipeline.trading.rules import rules_of
from pipeline.trading.volatility import Forecast

Floats = npt.NDArray[np.float64]
Row = npt.NDArray[np.float32]
FUNDING_EVERY_MS = 8 * 3_600_000
# Rows of a market that one bar fills at once.
_SEEN = slice(OPEN, FUNDING + 1)
AMOUNTS = ("quote_volume", "volume", "funding_rate")


@dataclass(frozen=True)
class Thresholds:
    """Scores to buy from and to sell to, in place of the config's, and by whom they were chosen."""

    buy: float
    sell: float
    chosen_by: str = "config"


@dataclass(frozen=True)
class Outlook:
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
        self._lanes = {symbol: _Lane(config, self._scorer, history.get(symbol), symbol) for symbol in self.symbols}
        # As history's: the gates look at the config's stops, not at those that a grid has chosen.
        self._rules = rules_of(config.simulate, config.interval)
        self._gates = gate_rules(config.risk)
        wanted = gate_columns(config.risk)
        atr = config.simulate.exits.atr
        for name in [*wanted.values(), *([atr] if atr else [])]:
            if name not in self.features:
                raise BadInput(f"'{name}', which risk.gates or simulate.exits name, is not among the features")
        self._wanted = {name: self.features.index(column) for name, column in wanted.items()}
        self._atr = self.features.index(atr) if atr else -1
        self._asks = self._atr >= 0 or asks_anything(config.risk)
        self._filters = np.array([_filters(config, symbol) for symbol in self.symbols])
        limits = config.risk.limits
        correlated = len(self.symbols) > 1 and config.risk.enabled and limits.correlated_exposure is not None
        self._correlation = DayCorrelation(self.symbols, origin_ms, config.step_ms, history) if correlated else None
        judges = {side: name for name, (_, side) in second_columns(config).items()} if config.sizing.probability else {}
        self._judged = [(RIGHT_LONG, judges.get(1)), (RIGHT_SHORT, judges.get(-1))] if judges else []
        self._identity = np.eye(len(self.symbols))[None]

    def update(self, open_time_ms: int, bars: Mapping[str, MergedBar]) -> Outlook:
        """The outlook after the bars of one time have closed.

        bars: by symbol; a symbol is missing before its first bar and after its last.
        Raises BadInput: a bar does not follow the one before it; symbols before it, by name, have taken theirs.
        """
        count, close_ms = len(self.symbols), open_time_ms + self._config.step_ms
        numbers, flags = np.zeros((len(NUMBERS), count, 1)), np.zeros((len(FLAGS), count, 1), np.uint8)
        features, scores = {}, {}
        buy, sell = self._thresholds.buy, self._thresholds.sell
        for s, symbol in enumerate(self.symbols):
            bar = bars.get(symbol)
            if bar is None:
                flags[FILLED, s] = 1
                numbers[SCORE, s] = np.nan
                continue
            seen = self._lanes[symbol].update(bar)
            features[symbol], scores[symbol] = seen.features, seen.scores
            score = float(seen.scores[self._score])
            # One assignment of all rows costs as much as one of them; the ATR is the gates'.
            numbers[_SEEN, s, 0] = (*seen.prices, seen.quote_volume, seen.volatility, 0.0, score, seen.funding)
            for place, name in self._judged:
                numbers[place, s, 0] = np.nan if name is None else seen.scores[name]
            if bar.filled:
                flags[FILLED, s, 0] = 1
            elif score >= buy or score <= sell:
                flags[SIGNALS, s, 0] = BUY * (score >= buy) + SELL * (score <= sell)
        if self._asks:
            self._gate(numbers, flags, features, close_ms)
        correlation = self._identity
        if self._correlation is not None:
            correlation = self._correlation.update(open_time_ms, bars)
        return Outlook(open_time_ms, Market(numbers, flags, self._filters, correlation), features, scores)

    def catch_up(self, symbol: str, bar: MergedBar) -> None:
        """Take a symbol's bar that came after its time had been decided without it; nothing is traded on it.

        Raises BadInput: it does not follow the one before it.
        """
        self._lanes[symbol].update(bar)

    def _gate(self, numbers: Floats, flags: npt.NDArray[np.uint8], features: Mapping[str, Row], close_ms: int) -> None:
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


class _Seen(NamedTuple):
    # What one symbol's bar says by itself.
    features: Row
    scores: Mapping[str, float | bool]
    prices: tuple[float, float, float, float]
    quote_volume: float
    volatility: float
    funding: float


class _Lane:
    # One symbol. Its streams open with the first bar, in history or here.
    def __init__(self, config: Config, scorer: "RowScores", history: pa.Table | None, symbol: str) -> None:
        self._config, self._scorer, self._symbol = config, scorer, symbol
        self._inputs = required_columns(config)
        self._features: FeatureStream | None = None
        self._signals = SignalStream(config.signals)
        self._forecast = Forecast(config.sizing, config.interval)
        self._volatility = np.nan
        self._pays = config.simulate.funding
        self._intervals = scorer.intervals()
        if history is not None and history.num_rows:
            self._open(history)

    def _open(self, history: pa.Table) -> None:
        rows = history.num_rows
        memory = signal_memory(self._config)
        if memory is None:
            # An exponential average remembers everything: the scores of all bars, at the speed of a table.
            self._features = FeatureStream(self._config, history)
            self._replay_scores(history)
        else:
            begin = max(rows - memory, 1)
            self._features = FeatureStream(self._config, history.slice(0, begin))
            if rows <= memory:
                self._signal(self._first_row(history.slice(0, 1)), *_first(history))
            for bar in bars_of(history.slice(begin), self._inputs):
                self._signal(self._features.update(bar.values, bar.open_time_ms), bar.open_time_ms, bar.filled)
        filled = history.column("is_filled").to_numpy()
        self._volatility = float(self._forecast.over(candles.column(history, "close"), filled)[-1])

    def _first_row(self, one: pa.Table) -> npt.NDArray[np.float32]:
        table = compute(self._config, one)
        return np.array([table.column(name)[0].as_py() for name in table.column_names[1:]], np.float32)

    def _replay_scores(self, history: pa.Table) -> None:
        table = compute(self._config, history)
        predictions = self._scorer.over(table)
        if self._intervals is not None:
            predictions = self._intervals.over(candles.times_ms(history).tolist(), history, predictions)
        filled = history.column("is_filled").to_numpy()
        names = list(predictions)
        for t, values in enumerate(zip(*(column.tolist() for column in predictions.values()), strict=True)):
            self._signals.update(dict(zip(names, values, strict=True)), bool(filled[t]))

    def _signal(
        self, features: Row, open_time_ms: int, filled: bool, prices: Mapping[str, float] | None = None
    ) -> Mapping[str, float | bool]:
        scores = self._scorer.one(features, open_time_ms)
        if self._intervals is not None and prices is not None:
            scores = self._intervals.update(open_time_ms, prices, scores)
        return self._signals.update(scores, filled)

    def update(self, bar: MergedBar) -> _Seen:
        values = bar.values
        if self._features is None:
            one = pa.table(
                {"open_time": candles.time_array(np.array([bar.open_time_ms]))}
                | {name: np.array([values[name]], np.float64) for name in self._inputs}
            )
            features = self._first_row(one)
            self._features = FeatureStream(self._config, one)
        else:
            try:
                features = self._features.update(values, bar.open_time_ms)
            except BadInput as error:
                raise BadInput(f"{self._symbol}: {error.message}", error.hint) from None
        scores = self._signal(features, bar.open_time_ms, bar.filled, values)
        close = values["close"]
        if not bar.filled:
            self._volatility = self._forecast.update(close)
        return _Seen(
            features,
            scores,
            (values["open"], values["high"], values["low"], close),
            _number(values["quote_volume"] if "quote_volume" in values else values.get("volume", 0.0) * close),
            self._volatility,
            self._funding(bar) if self._pays else 0.0,
        )

    def _funding(self, bar: MergedBar) -> float:
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
    return list(dict.fromkeys(names))


def bars_of(table: pa.Table, names: list[str]) -> list[MergedBar]:
    """The rows of a merged table with some of their columns."""
    times, filled = candles.times_ms(table).tolist(), table.column("is_filled").to_pylist()
    columns = [candles.column(table, name).tolist() for name in names]
    rows = zip(*columns, strict=True) if columns else (() for _ in times)
    return [
        MergedBar(time, dict(zip(names, row, strict=True)), made)
        for time, made, row in zip(times, filled, rows, strict=True)
    ]


def _first(table: pa.Table) -> tuple[int, bool]:
    return int(candles.times_ms(table.slice(0, 1))[0]), bool(table.column("is_filled")[0].as_py())


def _number(value: float) -> float:
    # As np.nan_to_num, which takes longer than all the rest of a gate.
    return value if math.isfinite(value) else float(np.nan_to_num(value))


def _filters(config: Config, symbol: str) -> list[float]:
    one = config.simulate.filters.get(symbol, config.simulate.filters.get("default", Filters()))
    return [one.tick_size, one.step_size, one.min_qty, one.max_qty or 0.0, one.min_notional]
