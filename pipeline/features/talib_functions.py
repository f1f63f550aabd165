"""Every TA-Lib function by name: its batch function over a table, its stateful handle bar by bar.

TA-Lib's handles equal its batch functions to the last bit if they are opened on the same first bar.
"""

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.features import TalibFeatures
from pipeline.errors import BadInput
from pipeline.features.family import Block, Columns, Floats, Stream, Times, family
from pipeline.features.memory import memory_bars
from pipeline.features.talib_handles import Handle, InsufficientHistory
from pipeline.lean import without

with without("pandas", "polars"):
    import talib
    from talib import abstract


@dataclass(frozen=True)
class Function:
    """What TA-Lib tells of a function: inputs and parameters in the order of its arguments, outputs."""

    name: str
    inputs: tuple[str, ...]
    parameters: Mapping[str, int | float]
    outputs: tuple[str, ...]
    title: str


@cache
def functions() -> dict[str, Function]:
    """All functions of the installed TA-Lib by name."""
    result = {}
    for name in talib.get_functions():  # type: ignore[no-untyped-call]
        info = abstract.Function(name).info  # type: ignore[attr-defined]
        inputs = itertools.chain.from_iterable([v] if isinstance(v, str) else v for v in info["input_names"].values())
        result[name] = Function(
            name, tuple(inputs), dict(info["parameters"]), tuple(info["output_names"]), info["display_name"]
        )
    return result


def library_version() -> str:
    """Version of the C library; its versions differ in bits."""
    return str(talib.__ta_version__.decode().split()[0])  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Call:
    """One call: a function, its input columns, and all its parameters in order."""

    function: Function
    inputs: tuple[str, ...]
    values: tuple[int | float, ...]
    given: tuple[str, ...]

    def names(self) -> list[str]:
        """Columns joined, function, periods and parameters that were given, and the output if there are several."""
        shown = [
            v for k, v in zip(self.function.parameters, self.values, strict=True) if "period" in k or k in self.given
        ]
        stem = "_".join([*self.inputs, self.function.name, *(f"{v:g}" for v in shown)])
        outputs = self.function.outputs
        if len(outputs) == 1:
            return [stem]
        own = self.function.name.lower()
        return [f"{stem}_{o.removeprefix(own) if o != own else o}" for o in outputs]

    def batch(self, columns: Columns) -> list[Floats]:
        """Outputs [n] as float64."""
        series = [columns[name] for name in self.inputs]
        result = getattr(talib, self.function.name)(*series, *self.values)
        outputs = result if isinstance(result, tuple) else (result,)
        if all(o.dtype == np.float64 for o in outputs):
            return list(outputs)
        # Whole numbers have no NaN: TA-Lib writes 0 while it warms up, which would pass for "no pattern".
        made = [o.astype(np.float64) for o in outputs]
        for output in made:
            output[: self.window() - 1] = np.nan
        return made

    def window(self) -> int:
        """Bars that the first value is made of: all that a window sees, most of the weight of an average."""
        parameters = dict(zip(self.function.parameters, self.values, strict=True))
        return 1 + int(abstract.Function(self.function.name, **parameters).lookback)  # type: ignore[attr-defined]

    def lookback(self) -> int:
        """Bars before which nothing weighs a thousandth of the value; `window` where TA-Lib looks at no more."""
        parameters = dict(zip(self.function.parameters, self.values, strict=True))
        return self.window() + memory_bars(self.function.name, parameters)


# Functions of the bars of their window alone, compared or subtracted; and CCI, which adds up a ring of as many bars, in
# an order that comes again with every turn of it. Their streams are opened on the end of a history.
_OF_THE_WINDOW = {
    "AROON", "AROONOSC", "BOP", "CCI", "DONCHIAN", "MAX", "MIDPOINT", "MIDPRICE", "MIN", "MINMAX", "MOM", "ROC", "ROCP",
    "ROCR", "ROCR100", "TRANGE", "WILLR",
}  # fmt: skip
_WINDOWS = 4


class CallStream:
    """A handle, or, until there is enough history to open one, the bars so far.

    handle: None while there is none.
    """

    def __init__(self, call: Call, columns: Columns) -> None:
        self.call, self.inputs = call, call.inputs
        self.handle: Handle | None = None
        self._waiting: list[list[float]] = []
        history = [np.ascontiguousarray(columns[name]) for name in call.inputs]
        if call.function.name in _OF_THE_WINDOW:
            window = call.window()
            turns = max(0, len(history[0]) // window - _WINDOWS)
            history = [h[turns * window :] for h in history]
        self._open(history)
        if self.handle is None:
            self._waiting = [h.tolist() for h in history]

    def _open(self, history: list[Floats]) -> None:
        try:
            self.handle = Handle(self.call.function.name, history, self.call.values)
        except InsufficientHistory:
            self.handle = None

    def update(self, bar: Mapping[str, float]) -> Sequence[float]:
        """Outputs after a closed bar."""
        values = [bar[name] for name in self.inputs]
        if self.handle is not None:
            return self.handle.update(values)
        for past, value in zip(self._waiting, values, strict=True):
            past.append(value)
        history = {name: np.array(past) for name, past in zip(self.inputs, self._waiting, strict=True)}
        self._open([history[name] for name in self.inputs])
        return [float(o[-1]) for o in self.call.batch(history)]


@dataclass(frozen=True)
class TalibBlock:
    """One function over one set of inputs and all its periods, perhaps each relative to another."""

    calls: tuple[Call, ...]
    spec: TalibFeatures

    @property
    def names(self) -> list[str]:
        return [name for call in self.calls for name in call.names()]

    @property
    def inputs(self) -> list[str]:
        return list(self.calls[0].inputs)

    @property
    def window(self) -> int:
        return max(call.window() for call in self.calls)

    @property
    def lookback(self) -> int:
        return max(call.lookback() for call in self.calls)

    def batch(self, columns: Columns, times: Times) -> Sequence[npt.NDArray]:
        outputs = [call.batch(columns) for call in self.calls]
        if self.is_plain:
            return [o for call in outputs for o in call]
        table = np.array(outputs)  # [periods, outputs, n]
        with np.errstate(divide="ignore", invalid="ignore"):
            related = self._relate(table)
        return list(related.reshape(-1, related.shape[2]))

    def stream(self, columns: Columns, times: Times) -> Stream:
        return TalibStream(self, columns)

    @property
    def is_plain(self) -> bool:
        """Whether no output is related to another, or changed."""
        return self.spec.relative is None and not self.spec.percent and not self.spec.log

    def base(self, i: int) -> int | None:
        """The period that the i-th is relative to; None if it stays as it is."""
        if not self.spec.relative:
            return None
        count = len(self.calls)
        base = {"next": i + 1, "last": count - 1, "prev": i - 1, "first": 0}[self.spec.relative_base]
        return base if 0 <= base < count and base != i else None

    def _relate(self, table: Floats) -> Floats:
        # Elementwise, so one bar gets the bits of the table. The base of the others stays as it is.
        spec = self.spec
        result = table.copy()
        for i in range(len(table)):
            base = self.base(i)
            if base is None:
                continue
            if spec.relative == "rel":
                result[i] = table[i] / table[base]
            elif spec.relative == "diff":
                result[i] = table[i] - table[base]
            else:
                result[i] = (table[i] - table[base]) / table[base]
        if spec.percent:
            result *= 100.0
        if spec.log:
            _log(result.ravel(), result.reshape(-1))
        return result


class TalibStream:
    """The calls of a block bar by bar; `streams` are theirs."""

    def __init__(self, block: TalibBlock, columns: Columns) -> None:
        self.block = block
        self.streams = [CallStream(call, columns) for call in block.calls]

    @property
    def is_open(self) -> bool:
        """Whether every call has its handle."""
        return all(stream.handle is not None for stream in self.streams)

    def update(self, bar: Mapping[str, float], time_ms: int) -> Sequence[float]:
        outputs = [stream.update(bar) for stream in self.streams]
        if self.block.is_plain:
            return [value for call in outputs for value in call]
        with np.errstate(divide="ignore", invalid="ignore"):
            related = self.block._relate(np.array(outputs, dtype=np.float64)[:, :, None])
        return related.ravel().tolist()  # type: ignore[no-any-return]


@compiled()
def _log(values: Floats, result: Floats) -> None:
    # numpy's vectorised logarithm may round other than its scalar one; this is one code for both.
    for i in range(values.shape[0]):
        result[i] = np.log(values[i]) if values[i] > 0 else np.nan


@family("talib")
def blocks(spec: TalibFeatures) -> list[Block]:
    """Blocks of a `talib` entry.

    Raises BadInput: unknown function, parameter or number of inputs.
    """
    result: list[Block] = []
    for name in spec.functions:
        function = _find(name)
        for inputs in _inputs(function, spec):
            calls = _calls(function, inputs, spec)
            if spec.relative is None:
                result += [TalibBlock((call,), spec) for call in calls]
            else:
                result.append(TalibBlock(tuple(calls), spec))
    return result


def _find(name: str) -> Function:
    known = functions()
    if name not in known:
        near = difflib.get_close_matches(name.upper(), known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise BadInput(
            f"talib.functions: '{name}' is not a TA-Lib function",
            f"{hint}`pipeline list features` shows all {len(known)}",
        )
    return known[name]


def _inputs(function: Function, spec: TalibFeatures) -> list[tuple[str, ...]]:
    if not spec.inputs:
        return [function.inputs]
    if len(function.inputs) == 1:
        return [(name,) for name in spec.inputs]
    if len(spec.inputs) != len(function.inputs):
        raise BadInput(
            f"talib.inputs: {function.name} takes {len(function.inputs)} columns, found {len(spec.inputs)}: "
            f"{', '.join(spec.inputs)}",
            f"leave inputs out for {', '.join(function.inputs)}",
        )
    return [tuple(spec.inputs)]


def _calls(function: Function, inputs: tuple[str, ...], spec: TalibFeatures) -> list[Call]:
    for key, value in spec.parameters.items():
        if key not in function.parameters:
            near = difflib.get_close_matches(key, function.parameters, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has: {', '.join(function.parameters) or 'none'}"
            raise BadInput(f"talib.parameters: {function.name} has no parameter '{key}'", hint)
        whole = isinstance(function.parameters[key], int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise BadInput(f"talib.parameters.{key}: must be a {'whole ' if whole else ''}number, found {value!r}")
    defaults = {**function.parameters, **spec.parameters}
    given = tuple(spec.parameters)
    if spec.periods and "timeperiod" in function.parameters:
        for period in spec.periods:
            if period < 1:
                raise BadInput(f"talib.periods: must be at least 1, found {period}")
        calls = [
            Call(function, inputs, _ordered(function, {**defaults, "timeperiod": p}), (*given, "timeperiod"))
            for p in spec.periods
        ]
    else:
        calls = [Call(function, inputs, _ordered(function, defaults), given)]
    for call in calls:
        _require_accepted(call)
    return calls


def _require_accepted(call: Call) -> None:
    # TA-Lib does not tell its ranges, so it is asked. Some are wide where they make no sense: a period of 1 is
    # the bar itself for averages, a difference for ROC, and refused by RSI.
    function, values = call.function, dict(zip(call.function.parameters, call.values, strict=True))
    if _accepts(function, values):
        return
    for key, value in values.items():
        if _accepts(function, {**function.parameters, key: value}):
            continue
        hint = f"its default is {function.parameters[key]:g}"
        if isinstance(value, int) and value < 100:
            least = next(
                (v for v in range(value + 1, 101) if _accepts(function, {**function.parameters, key: v})), None
            )
            hint = f"the least is {least}; {hint}" if least is not None else hint
        raise BadInput(f"talib: {function.name} does not accept {key} = {value:g}", hint)
    shown = ", ".join(f"{key} = {value:g}" for key, value in values.items())
    raise BadInput(f"talib: {function.name} does not accept {shown} together")


def _accepts(function: Function, values: Mapping[str, int | float]) -> bool:
    try:
        getattr(talib, function.name)(*[np.ones(2)] * len(function.inputs), *_ordered(function, values))
    except Exception:  # TA-Lib raises no narrower one
        return False
    return True


def _ordered(function: Function, values: Mapping[str, int | float]) -> tuple[int | float, ...]:
    return tuple(
        float(values[key]) if isinstance(default, float) else int(values[key])
        for key, default in function.parameters.items()
    )
