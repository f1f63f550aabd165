"""A closed bar of all symbols, from its columns to what the trading core sees, in one compiled call.

Asked one after another, features, scores, signals and market take little time themselves. But a server that decides
once a minute finds neither code nor data in the processor's caches, and most of both is Python between the calls.
"""

import itertools
from collections.abc import Mapping, Sequence
from operator import itemgetter
from struct import Struct
from sys import getrefcount

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.features import FeatureStreams
from pipeline.features.native_call import prefetch
from pipeline.features.straight import Rows as FeatureRows
from pipeline.features.straight import advance
from pipeline.live.by_symbol import Rows, Scores
from pipeline.live.market_rows import PRICES, MarketRows, see
from pipeline.live.merging import MergedBar
from pipeline.live.row_scores import RowScores
from pipeline.models.flat_trees import walk
from pipeline.signals import SignalRows
from pipeline.signals.rows import carry_out
from pipeline.trading.market import FLAGS, NUMBERS, Market

Whole = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# Parts of the block, each [rows, width] of eight bytes. Its head says where each begins, and its rows and width.
_HEAD = 3
(
    WHICH, GIVEN, PLACES, LEVELS,
    CALLS, RELATIONS, GROUPS, COLUMNS, WINDOWS, PARAMETERS, MADE, HANDLES, ROWS, FILLED, VALUES,
    SLOTS, FIRST, UNTIL, SIGMOIDS, NEEDED,
    STEPS, NUMBERS_OF_STEPS, INPUTS, STATES,
    FORECASTS, VOLATILITIES,
    EXACT, SCORES, CONTEXT,
) = range(29)  # fmt: skip
# Words of a line of the processor's caches, at which each part begins.
_LINE = 8
_NOT_FINITE = -1
# Parts of a result.
_RESULTS, _NUMBERS, _FLAGS = 5, len(NUMBERS), len(FLAGS)


class Seen:
    """A bar of n symbols, in one piece of memory, `block`, of which the arrays are views.

    features: [n, k]. columns: of scores [n, names]. sides: [n]. market: of all symbols. rows, scores: features and
    columns by symbol.
    """

    __slots__ = ("_counts", "_parts", "block", "columns", "features", "market", "rows", "scores", "sides")

    def __init__(
        self, places: Mapping[str, int], width: int, names: list[str], filters: Floats, correlation: Floats
    ) -> None:
        n, count = len(places), len(filters)
        words = [-(-n * width // 2), n * len(names), -(-n // 8), len(NUMBERS) * count, -(-len(FLAGS) * count // 8)]
        begins = np.cumsum([_RESULTS + 2, *words])
        block = self.block = np.zeros(begins[-1], np.int64)
        block[0], block[1], block[2 : 2 + _RESULTS] = n, len(names), begins[:-1]
        parts = [block[begin:end] for begin, end in itertools.pairwise(begins)]
        self.features = parts[0].view(np.float32)[: n * width].reshape(n, width)
        self.columns = parts[1].view(np.float64).reshape(n, len(names))
        self.sides = parts[2].view(np.uint8)[:n]
        numbers = parts[3].view(np.float64).reshape(len(NUMBERS), count, 1)
        flags = parts[4].view(np.uint8)[: len(FLAGS) * count].reshape(len(FLAGS), count, 1)
        self.market = Market(numbers, flags, filters, correlation)
        self.rows, self.scores = Rows(places, self.features), Scores(places, names, self.columns, self.sides)
        self._parts = (
            block, self.features, self.columns, self.sides, numbers, flags, self.market, self.rows, self.scores,
        )  # fmt: skip
        del block, parts, numbers, flags
        self._counts = tuple(map(getrefcount, self._parts))

    def is_free(self) -> bool:
        """Whether nobody else has any of it still."""
        return tuple(map(getrefcount, self._parts)) == self._counts


class OneCall:
    """Features, scores, signals and market of symbols, which can still be asked one by one: they keep the same memory.

    width: how many features there are. score: the column that is the market's score. filters: of the market.
    """

    def __init__(
        self,
        symbols: Mapping[str, int],
        step_ms: int,
        streams: FeatureStreams,
        rows: FeatureRows,
        scores: RowScores,
        trees: Sequence[np.ndarray],
        signals: SignalRows,
        score: str,
        market: MarketRows,
        width: int,
        filters: Floats,
    ) -> None:
        self._step_ms, self._symbols, count = step_ms, symbols, len(symbols)
        self._width, self._names, self._filters, self._identity = width, signals.names, filters, np.eye(count)[None]
        columns = [*rows.columns, *(name for name in PRICES if name not in rows.columns)]
        parts: list[np.ndarray] = [
            np.arange(count), np.zeros((count, len(columns) + 1)),
            np.array([*(columns.index(name) for name in PRICES), signals.names.index(score)]), np.array(market.levels),
            *rows.arrays(), *trees, *signals.arrays(), *market.arrays(),
            np.zeros((count, width)), np.zeros((count, len(scores.names))), np.zeros((count, 4)),
        ]  # fmt: skip
        self._block, views = laid(parts)
        rows.move(views[CALLS : VALUES + 1])
        scores.move(views[SLOTS : NEEDED + 1])
        signals.move(views[STEPS : STATES + 1])
        market.move(views[FORECASTS : VOLATILITIES + 1])
        row, begin = Struct(f"{len(columns) + 1}d"), 8 * int(self._block[_HEAD * GIVEN])
        self._pack, self._columns = row.pack_into, itemgetter(*columns)
        self._offsets = [begin + row.size * i for i in range(count)]
        self._lanes = list(zip(symbols, self._offsets, streams.streams, strict=True))
        self._which, self._given = views[WHICH], self._block.data
        # One is written while the other may still be looked at.
        self._next, self._last = self._seen(symbols), self._seen(symbols)

    def update(self, places: Mapping[str, int], bars: Mapping[str, MergedBar], open_time_ms: int) -> Seen | None:
        """What a bar makes of the symbols that have one, by the order of their names.

        None, and no bar is taken, if each part has to be asked by itself: for what it has to complain of.
        """
        lanes, pack, columns, block, given = self._lanes, self._pack, self._columns, self._block, self._given
        before = open_time_ms - self._step_ms
        if len(places) < len(lanes):
            numbers = [self._symbols[symbol] for symbol in places]
            lanes = [(lanes[s][0], at, lanes[s][2]) for s, at in zip(numbers, self._offsets, strict=False)]
        try:
            for symbol, offset, stream in lanes:
                _, values, filled = bars[symbol]
                pack(given, offset, *columns(values), filled)
                if stream.last_ms != before:
                    return None
        except KeyError:
            return None
        if len(places) == len(self._lanes):
            seen, self._next = self._next, self._last
            self._last = seen = seen if seen.is_free() else self._seen(places)
            failed = decide(block, seen.block)
        else:
            seen = self._seen(places)
            self._which[: len(numbers)] = numbers
            failed = decide(block, seen.block)
            self._which[:] = range(len(self._which))
        if failed == _NOT_FINITE:
            return None
        if failed:
            raise RuntimeError(f"TA-Lib's streams failed with code {failed}")
        for _, _, stream in lanes:
            stream.last_ms = open_time_ms
        return seen

    def _seen(self, places: Mapping[str, int]) -> Seen:
        return Seen(places, self._width, self._names, self._filters, self._identity)


def laid(parts: Sequence[np.ndarray]) -> tuple[Whole, list[np.ndarray]]:
    """A block of copies of some arrays of eight bytes a number, [n] or [n, m], and these copies."""
    begins = [-(-_HEAD * len(parts) // _LINE) * _LINE]
    for part in parts:
        begins.append(begins[-1] + -(-part.size // _LINE) * _LINE)
    # numpy's memory begins at 16 bytes.
    whole = np.zeros(begins[-1] + _LINE, np.int64)
    spare = -whole.ctypes.data // 8 % _LINE
    block = whole[spare : spare + begins[-1]]
    views = []
    for number, (part, begin) in enumerate(zip(parts, begins, strict=False)):
        block[_HEAD * number : _HEAD * (number + 1)] = begin, len(part), part.shape[1] if part.ndim > 1 else 1
        views.append(block[begin : begin + part.size].view(part.dtype).reshape(part.shape))
        views[-1][...] = part
    return block, views


@compiled()
def _line(block: Whole, part: int) -> Whole:
    # A part [n].
    begin = block[_HEAD * part]
    return block[begin : begin + block[_HEAD * part + 1]]


@compiled()
def _table(block: Whole, part: int) -> Whole:
    # A part [n, m].
    begin, rows, width = block[_HEAD * part], block[_HEAD * part + 1], block[_HEAD * part + 2]
    return block[begin : begin + rows * width].reshape(rows, width)


@compiled()
def _of(result: Whole, number: int, words: int) -> Whole:
    # A part of what `Seen` has.
    begin = result[2 + number]
    return result[begin : begin + words]


@compiled(error_model="numpy")
def decide(block: Whole, result: Whole) -> int:
    """What `Seen` has, of the first rows given.

    Returns 0, TA-Lib's code if it refuses a bar, or, nothing being changed, _NOT_FINITE if a number is not.
    """
    n = result[0]
    given, which = _table(block, GIVEN).view(np.float64)[:n], _line(block, WHICH)[:n]
    if not _are_finite(given):
        return _NOT_FINITE
    # The trees are fetched while the features are made.
    slots = _line(block, SLOTS)
    for line in range(len(slots) // _LINE):
        prefetch(slots.ctypes.data + 8 * _LINE * line)
    exact = _table(block, EXACT).view(np.float64)[:n]
    failed = advance(
        which, given, _table(block, CALLS), _table(block, RELATIONS), _table(block, GROUPS), _line(block, COLUMNS),
        _table(block, WINDOWS), _table(block, PARAMETERS).view(np.float64), _line(block, MADE), _table(block, HANDLES),
        _table(block, ROWS).view(np.float64), _table(block, FILLED), _line(block, VALUES).view(np.float64), exact,
    )  # fmt: skip
    if failed != 0:
        return failed
    width, names = exact.shape[1], result[1]
    features = _of(result, 0, (n * width + 1) // 2).view(np.float32)[: n * width].reshape(n, width)
    columns = _of(result, 1, n * names).view(np.float64).reshape(n, names)
    sides = _of(result, 2, (n + 7) // 8).view(np.uint8)[:n]
    for i in range(n):
        for k in range(width):
            features[i, k] = exact[i, k]
    _scored(block, features, columns)
    filled = np.empty(n, np.bool_)
    for i in range(n):
        filled[i], sides[i] = given[i, given.shape[1] - 1] != 0, 0
    steps = _table(block, STEPS)
    carry_out(
        0, len(steps), which, filled, steps, _table(block, NUMBERS_OF_STEPS).view(np.float64), _line(block, INPUTS),
        _table(block, STATES).view(np.float64), columns, sides,
    )  # fmt: skip
    _see(block, result, which, given, filled, columns)
    return 0


@compiled()
def _are_finite(given: Floats) -> bool:
    for i in range(given.shape[0]):
        for k in range(given.shape[1]):
            if not np.isfinite(given[i, k]):
                return False
    return True


@compiled(error_model="numpy")
def _scored(block: Whole, features: npt.NDArray[np.float32], columns: Floats) -> None:
    # What the steps read, in front of what they make.
    needed, until = _line(block, NEEDED), _line(block, UNTIL)
    scores = _table(block, SCORES).view(np.float64)[: len(features)]
    if len(until) > 0:
        slots = _line(block, SLOTS)
        walk(
            slots.view(np.float64), slots.view(np.float32), slots.view(np.uint16), _line(block, FIRST), until,
            _line(block, SIGMOIDS).view(np.float64), features, needed, scores,
        )  # fmt: skip
    else:
        for i in range(len(features)):
            for k in range(len(needed)):
                scores[i, k] = features[i, needed[k]]
    for i in range(len(features)):
        for k in range(scores.shape[1]):
            columns[i, k] = scores[i, k]


@compiled(error_model="numpy")
def _see(
    block: Whole, result: Whole, which: Whole, given: Floats, filled: npt.NDArray[np.bool_], columns: Floats
) -> None:
    # The market's numbers and flags.
    places, levels = _line(block, PLACES), _line(block, LEVELS).view(np.float64)
    context, prices = _table(block, CONTEXT).view(np.float64)[: len(which)], np.empty((len(which), 5))
    for i in range(len(which)):
        context[i, 0] = columns[i, places[5]]
        for k in range(5):
            prices[i, k] = given[i, places[k]]
    states, values = _table(block, FORECASTS).view(np.float64), _line(block, VOLATILITIES).view(np.float64)
    count = len(values)
    numbers = _of(result, 3, _NUMBERS * count).view(np.float64)
    flags = _of(result, 4, (_FLAGS * count + 7) // 8).view(np.uint8)[: _FLAGS * count]
    numbers[:] = 0.0
    flags[:] = 0
    see(
        which, prices, filled, context, states, values, levels[0], levels[1], levels[2], levels[3],
        numbers.reshape(_NUMBERS, count, 1), flags.reshape(_FLAGS, count, 1),
    )  # fmt: skip
