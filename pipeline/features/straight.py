"""One bar's features in one straight line of calls, written for the streams that are open and compiled once.

The loop over blocks asks for each of them which columns it reads, how many values it gives and how they are related;
none of that changes from bar to bar, and it takes twice as long as the functions themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

from pipeline.features.family import Stream
from pipeline.features.talib_functions import TalibStream
from pipeline.features.window_family import WindowGroup, WindowStream

Step = Callable[[Mapping[str, float], int], list[float]]


def straight_step(streams: Sequence[Stream], columns: Sequence[str]) -> Step | None:
    """What `[value for stream in streams for value in stream.update(bar, time_ms)]` does, equal to the last bit.

    columns: that the streams read. From now on these are to be updated by it alone. None: not all of them are open yet,
    because TA-Lib wants more history.
    """
    if not all(stream.is_open for stream in streams if isinstance(stream, TalibStream)):
        return None
    text = _Text(columns)
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, stream in enumerate(streams):
        if isinstance(stream, WindowStream):
            groups.setdefault(stream.columns, []).append(number)
    for names, members in groups.items():
        text.group(names, members, WindowGroup([streams[n] for n in members]))  # type: ignore[misc]
    for number, stream in enumerate(streams):
        if isinstance(stream, TalibStream):
            text.talib(number, stream)
        elif not isinstance(stream, WindowStream):
            text.call(number, stream)
    return text.compiled(len(streams))


class _Text:
    # The source, and the names in it that stand for objects.
    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = {name: f"c{number}" for number, name in enumerate(columns)}
        self._scope: dict[str, Any] = {}
        self._lines: list[str] = []
        self._values: dict[int, str] = {}

    def group(self, names: Sequence[str], members: Sequence[int], group: WindowGroup) -> None:
        stem = f"g{members[0]}"
        self._scope[stem] = group.update
        made = [f"{stem}_{k}" for k in range(len(members))]
        self._lines.append(f"{', '.join(made)}, = {stem}(({', '.join(self._columns[n] for n in names)},))")
        self._values |= dict(zip(members, made, strict=True))

    def call(self, number: int, stream: Stream) -> None:
        self._scope[f"s{number}"] = stream.update
        self._values[number] = f"*s{number}(bar, time_ms)"

    def talib(self, number: int, stream: TalibStream) -> None:
        outputs = []
        for k, call in enumerate(stream.streams):
            self._scope[f"h{number}_{k}"] = call.take
            own = [f"v{number}_{k}_{o}" for o in range(call.outputs)]
            given = ", ".join(self._columns[name] for name in call.inputs)
            self._lines.append(f"{', '.join(own)} = h{number}_{k}({given})")
            outputs.append(own)
        flat = [name for own in outputs for name in own]
        if stream.is_plain:
            self._values[number] = ", ".join(flat)
            return
        self._scope[f"b{number}"] = stream.related
        table = f"[{', '.join('[' + ', '.join(own) + ']' for own in outputs)}]"
        formulas = stream.formulas(outputs)
        if formulas is None:
            self._values[number] = f"*b{number}({table})"
            return
        # Only a division by zero is an error to Python's numbers, and a number to numpy's.
        made = ", ".join(f"r{number}_{k}" for k in range(len(flat)))
        self._lines += [
            "try:",
            f"    {made}, = {', '.join(formulas)},",
            "except ZeroDivisionError:",
            f"    {made}, = b{number}({table})",
        ]
        self._values[number] = made

    def compiled(self, count: int) -> Step:
        body = [
            "def step(bar, time_ms):",
            *(f"    {own} = bar[{name!r}]" for name, own in self._columns.items()),
            *(f"    {line}" for line in self._lines),
            f"    return [{', '.join(self._values[number] for number in range(count))}]",
        ]
        # Of our own names, numbers, and names of columns as literals.
        exec(_compiled("\n".join(body)), self._scope)
        return self._scope["step"]  # type: ignore[no-any-return]


@lru_cache(maxsize=16)
def _compiled(source: str) -> CodeType:
    # The symbols of a config share it.
    return compile(source, "<features>", "exec")
