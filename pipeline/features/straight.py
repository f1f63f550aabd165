"""Features of a bar as one list of instructions: of one symbol or of a hundred, all in one compiled call.

Asked one by one, each block wants to know which columns it reads, how many values it gives and how they are related.
None of that changes from bar to bar, and it takes several times as long as the functions themselves; and most of the
code that answers it has left the processor's caches since the bar before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.features.family import Floats, Stream
from pipeline.features.native_call import MOST_INPUTS, MOST_OUTPUTS, prefetch, update_stream
from pipeline.features.talib_functions import TalibBlock, TalibStream
from pipeline.features.window_family import WindowStream
from pipeline.features.windows import CODES, value

Whole = npt.NDArray[np.int64]
# Bytes of a line of the processor's caches; lines of a function's code, and the second line that a handle may lie in.
_LINE, _CODE, _REST = 64, 8, 48
# Of a relation: what it does with two values, and then.
_OWN, _RATIO, _DIFFERENCE, _SHARE = range(4)
_PERCENT, _LOG = 4, 8
_RELATIONS = {None: _OWN, "rel": _RATIO, "diff": _DIFFERENCE, "rel_diff": _SHARE}


@dataclass(frozen=True)
class Instructions:
    """What is the same for all symbols of a config. Values have numbers, slots, in the order in which they are made.

    calls [c, 5 + inputs]: TA-Lib's function by its address, numbers of inputs and outputs, bits of outputs that are
    integers, first slot, columns. relations [r, 4]: what to do, with which two slots, and the slot of the result.
    groups [g, 7]: windows that read the same columns: first window, their number, first of its columns, their number,
    capacity, first place in the memory, longest window. columns: of the groups. windows [w, 4]: code, window, minimum,
    slot. parameters [w, p]: of the codes. slots: how many there are. made: slots of the features, -1 of those that are
    not made here. places: of what is not made here, by stream: its first feature. peeks [c]: of the calls, by its
    address, the function that says what a bar would give.
    """

    calls: Whole
    relations: Whole
    groups: Whole
    columns: Whole
    windows: Whole
    parameters: Floats
    slots: int
    made: Whole
    places: tuple[tuple[int, int], ...]
    peeks: Whole

    def same(self, other: "Instructions") -> bool:
        """Whether both say the same."""
        return all(np.array_equal(own, others) for own, others in zip(self.all(), other.all(), strict=True)) and (
            self.places == other.places
        )

    def all(self) -> tuple[np.ndarray, ...]:
        """The arrays, as `advance` takes them."""
        return (
            self.calls, self.relations, self.groups, self.columns, self.windows, self.parameters, self.made,
        )  # fmt: skip


@dataclass
class Memory:
    """What the instructions change, of one symbol or of several.

    handles [symbols, calls]: addresses of TA-Lib's streams. rows [symbols, n]: of the groups, one after another, each
    [columns, capacity]. filled [symbols, groups]: rows so far.
    """

    handles: Whole
    rows: Floats
    filled: Whole


class Straight:
    """The open streams of a symbol as instructions; from now on they are to be updated by these alone.

    columns: that the streams read. widths: how many features each of the streams gives.
    """

    def __init__(self, streams: Sequence[Stream], columns: Sequence[str], widths: Sequence[int]) -> None:
        text = _Text(columns)
        grouped: dict[tuple[str, ...], list[WindowStream]] = {}
        for stream in streams:
            if isinstance(stream, WindowStream):
                grouped.setdefault(stream.columns, []).append(stream)
        slots = {id(member): slot for members in grouped.values() for member, slot in text.group(members)}
        made: list[int] = []
        places: list[tuple[int, int]] = []
        for number, (stream, width) in enumerate(zip(streams, widths, strict=True)):
            if isinstance(stream, TalibStream):
                made += text.talib(stream)
            elif isinstance(stream, WindowStream):
                made.append(slots[id(stream)])
            else:
                places.append((number, len(made)))
                made += [-1] * width
        self.columns = list(columns)
        self.instructions = text.instructions(made, places)
        self.memory = text.memory()
        # TA-Lib's streams live as long as they are held.
        self._streams = list(streams)
        self._others: list[tuple[int, Callable[..., Sequence[float]]]] = [
            (place, streams[number].update) for number, place in places
        ]

    def finish(self, values: Floats, bar: Any, time_ms: int) -> None:
        """Write what is not made by instructions into the symbol's values [k]."""
        for place, update in self._others:
            given = update(bar, time_ms)
            values[place : place + len(given)] = given


class Rows:
    """The features of several symbols with the same instructions; their memory lies side by side from now on."""

    def __init__(self, symbols: Sequence[Straight]) -> None:
        first = symbols[0]
        if not all(one.instructions.same(first.instructions) for one in symbols[1:]):
            raise ValueError("the symbols have different instructions")
        self.columns, self._features = first.columns, len(first.instructions.made)
        self._symbols, self._peeks = list(symbols), first.instructions.peeks
        parts = [one.memory for one in symbols]
        self.move([
            *first.instructions.all(),
            np.concatenate([part.handles for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.filled for part in parts]),
            np.empty(first.instructions.slots),
        ])  # fmt: skip

    def arrays(self) -> list[np.ndarray]:
        """Instructions, memory of all symbols and slots, as `advance` takes them."""
        return [*self._given, self._values]

    def move(self, arrays: Sequence[np.ndarray]) -> None:
        """Go on with copies of `arrays`."""
        *given, self._values = arrays
        self._given = tuple(given)
        calls, _, groups, *_, handles, rows, filled = given
        self._memory = Memory(handles, rows, filled)
        for s, one in enumerate(self._symbols):
            own = slice(s, s + 1)
            one.memory = Memory(handles[own], rows[own], filled[own])
        peeks = calls.copy()
        peeks[:, 0] = self._peeks
        self._peeking = peeks, *self._given[1:-1]
        self._capacities = groups[:, 4]

    def update(self, which: Whole, columns: Floats) -> Floats:
        """Features [n, k] of the symbols of some numbers [n], after a bar's columns [n, c]; NaN what is not made here.

        Raises RuntimeError: TA-Lib refuses a bar, which it does not if its numbers are finite.
        """
        made = np.empty((len(which), self._features))
        if failed := advance(which, columns, *self._given, self._values, made):
            raise RuntimeError(f"TA-Lib's streams failed with code {failed}")
        return made

    def peek(self, which: Whole, columns: Floats) -> Floats | None:
        """What `update` would give, and nothing changes. None where rows would have to be moved for it."""
        if (self._memory.filled[which] == self._capacities).any():
            return None
        made = np.empty((len(which), self._features))
        # A row behind those that are filled is written over by the next.
        filled = self._memory.filled.copy()
        if advance(which, columns, *self._peeking, filled, self._values, made):
            return None
        return made


class _Text:
    # The instructions so far.
    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = {name: number for number, name in enumerate(columns)}
        self._calls: list[list[int]] = []
        self._peeks: list[int] = []
        self._handles: list[int] = []
        self._relations: list[list[int]] = []
        self._groups: list[list[int]] = []
        self._group_columns: list[int] = []
        self._windows: list[list[int]] = []
        self._parameters: list[tuple[float, ...]] = []
        self._rows: list[Floats] = [np.empty(0)]
        self._filled: list[int] = []
        self._slots = 0

    def _slot(self, count: int = 1) -> int:
        self._slots += count
        return self._slots - count

    def group(self, members: Sequence[WindowStream]) -> list[tuple[WindowStream, int]]:
        """Their slots."""
        history = max((one.history() for one in members), key=lambda rows: rows.shape[1])
        longest = max(one.block.window for one in members)
        # Rows are appended until the buffer is full, then the last window moves to the front.
        buffer = np.zeros((len(history), max(2 * longest, 64)))
        buffer[:, : history.shape[1]] = history
        self._groups.append([
            len(self._windows), len(members), len(self._group_columns), len(history), buffer.shape[1],
            sum(len(rows) for rows in self._rows), longest,
        ])  # fmt: skip
        self._group_columns += [self._columns[name] for name in members[0].columns]
        self._rows.append(buffer.ravel())
        self._filled.append(history.shape[1])
        slots = [self._slot() for _ in members]
        for one, slot in zip(members, slots, strict=True):
            block = one.block
            self._windows.append([CODES[block.code], block.window, block.minimum, slot])
            self._parameters.append(block.parameters)
        return list(zip(members, slots, strict=True))

    def talib(self, stream: TalibStream) -> list[int]:
        """Slots of its features."""
        outputs: list[list[int]] = []
        for call in stream.streams:
            handle, count = call.handle, len(call.call.function.outputs)
            assert handle is not None
            places = [self._columns[name] for name in call.inputs]
            assert len(places) <= MOST_INPUTS and count <= MOST_OUTPUTS
            first = self._slot(count)
            padded = places + [places[0]] * (MOST_INPUTS - len(places))
            self._calls.append(
                [
                    handle.update_address,
                    len(places),
                    count,
                    sum(1 << k for k, whole in enumerate(handle.are_whole) if whole),
                    first,
                    *padded,
                ]
            )
            self._peeks.append(handle.peek_address)
            self._handles.append(handle.address)
            outputs.append(list(range(first, first + count)))
        return (
            [slot for own in outputs for slot in own] if stream.block.is_plain else self._related(stream.block, outputs)
        )

    def _related(self, block: TalibBlock, outputs: list[list[int]]) -> list[int]:
        made = []
        for i, own in enumerate(outputs):
            base = block.base(i)
            kind = _OWN if base is None else _RELATIONS[block.spec.relative]
            kind |= (_PERCENT if block.spec.percent else 0) | (_LOG if block.spec.log else 0)
            for a, b in zip(own, own if base is None else outputs[base], strict=True):
                made.append(self._slot())
                self._relations.append([kind, a, b, made[-1]])
        return made

    def instructions(self, made: list[int], places: list[tuple[int, int]]) -> Instructions:
        parameters = np.zeros((len(self._windows), max((len(own) for own in self._parameters), default=1)))
        for row, own in zip(parameters, self._parameters, strict=True):
            row[: len(own)] = own
        return Instructions(
            _whole(self._calls, 5 + MOST_INPUTS), _whole(self._relations, 4), _whole(self._groups, 7),
            np.array(self._group_columns, np.int64), _whole(self._windows, 4), parameters, self._slots,
            np.array(made, np.int64), tuple(places), np.array(self._peeks, np.int64),
        )  # fmt: skip

    def memory(self) -> Memory:
        return Memory(
            np.array([self._handles], np.int64).reshape(1, -1),
            np.concatenate(self._rows)[None],
            np.array([self._filled], np.int64).reshape(1, -1),
        )


def _whole(rows: list[list[int]], width: int) -> Whole:
    return np.array(rows, np.int64).reshape(len(rows), width)


@compiled(nogil=True, error_model="numpy")
def advance(
    which: Whole,
    given: Floats,
    calls: Whole,
    relations: Whole,
    groups: Whole,
    columns: Whole,
    windows: Whole,
    parameters: Floats,
    made: Whole,
    handles: Whole,
    rows: Floats,
    filled: Whole,
    values: Floats,
    features: Floats,
) -> int:
    # Features [n, k] of symbols `which` [n] after a bar `given` [n, columns]; TA-Lib's code if it refuses one.
    at = values.ctypes.data
    integers = values.view(np.int32)
    if len(which) > 0:
        _fetch_handles(handles[which[0]])
        _fetch_code(calls)
    for i in range(len(which)):
        s, bar = which[i], given[i]
        if i + 1 < len(which):
            _fetch_handles(handles[which[i + 1]])
        for c in range(len(calls)):
            call = calls[c]
            first = call[4]
            code = update_stream(
                call[0], handles[s, c], call[1], call[2], bar[call[5]], bar[call[6]], bar[call[7]], bar[call[8]],
                at + 8 * first,
            )  # fmt: skip
            if code != 0:
                return code
            if call[3] != 0:
                for k in range(call[2]):
                    if call[3] >> k & 1:
                        values[first + k] = integers[2 * (first + k)]
        for r in range(len(relations)):
            values[relations[r, 3]] = _related(relations[r, 0], values[relations[r, 1]], values[relations[r, 2]])
        for g in range(len(groups)):
            _roll(groups[g], columns, bar, windows, parameters, rows[s], filled[s, g : g + 1], values)
        for k in range(len(made)):
            features[i, k] = values[made[k]] if made[k] >= 0 else np.nan
    return 0


@compiled(nogil=True)
def _fetch_handles(handles: Whole) -> None:
    # They are small and lie anywhere: those of a symbol are fetched at once, while the one before is updated.
    for c in range(len(handles)):
        prefetch(handles[c])
        prefetch(handles[c] + _REST)


@compiled(nogil=True)
def _fetch_code(calls: Whole) -> None:
    for c in range(len(calls)):
        for line in range(_CODE):
            prefetch(calls[c, 0] + _LINE * line)


@compiled(nogil=True, error_model="numpy")
def _related(kind: int, own: float, base: float) -> float:
    # In the order in which `TalibBlock` relates whole columns.
    what, result = kind & 3, own
    if what == _RATIO:
        result = own / base
    elif what == _DIFFERENCE:
        result = own - base
    elif what == _SHARE:
        result = (own - base) / base
    if kind & _PERCENT:
        result *= 100.0
    if kind & _LOG:
        result = np.log(result) if result > 0 else np.nan
    return result


@compiled(nogil=True)
def _roll(
    group: Whole,
    columns: Whole,
    bar: Floats,
    windows: Whole,
    parameters: Floats,
    rows: Floats,
    filled: Whole,
    values: Floats,
) -> None:
    # One more row of a group's columns, and the values of its windows.
    column, wide, capacity, place, longest = group[2], group[3], group[4], group[5], group[6]
    buffer = rows[place : place + wide * capacity].reshape(wide, capacity)
    last = filled[0]
    if last == capacity:
        for k in range(wide):
            for row in range(longest):
                buffer[k, row] = buffer[k, last - longest + row]
        last = longest
    for k in range(wide):
        buffer[k, last] = bar[columns[column + k]]
    stop = last + 1
    filled[0] = stop
    for w in range(group[0], group[0] + group[1]):
        first = max(0, stop - windows[w, 1])
        known = stop - first >= windows[w, 2]
        values[windows[w, 3]] = value(windows[w, 0], parameters[w], buffer, first, stop) if known else np.nan
