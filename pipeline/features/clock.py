"""Features of the bar's open time: hour, day, session, time to the next funding."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.features import TimeFeatures
from pipeline.features.family import Block, Columns, Stream, Times, family

_HOUR, _DAY = 3_600_000, 86_400_000


def _month(t: Times) -> Times:
    return (t.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)) % 12


def _day_of_month(t: Times) -> Times:
    days = t.astype("datetime64[ms]").astype("datetime64[D]")
    return (days - days.astype("datetime64[M]")).astype(np.int64)


# field → (value from 0 on, length of its cycle); 1 January 1970 was a Thursday
_FIELDS: dict[str, tuple[Callable[[Times], npt.NDArray], float]] = {
    "hour": (lambda t: t // _HOUR % 24, 24),
    "minute_of_day": (lambda t: t // 60_000 % 1440, 1440),
    "day_of_week": (lambda t: (t // _DAY + 3) % 7, 7),
    "day_of_month": (_day_of_month, 31),
    "month": (_month, 12),
    "funding_hours": (lambda t: 8 - t % (8 * _HOUR) / _HOUR, 8),
}
# Hours UTC of the busy part of each region's day; they overlap.
_SESSIONS = {"asia": (0, 8), "europe": (7, 16), "us": (13, 22)}


@dataclass(frozen=True)
class TimeBlock:
    """Columns of one field: the number, or its place on a circle, or one column per session."""

    field: str
    cyclic: bool

    @property
    def names(self) -> list[str]:
        if self.field == "session":
            return [f"time_session_{name}" for name in _SESSIONS]
        return [f"time_{self.field}_sin", f"time_{self.field}_cos"] if self.cyclic else [f"time_{self.field}"]

    @property
    def inputs(self) -> list[str]:
        return []

    @property
    def window(self) -> int:
        return 1

    @property
    def lookback(self) -> int:
        return 1

    def batch(self, columns: Columns, times: Times) -> Sequence[npt.NDArray]:
        if self.field == "session":
            hour = times // _HOUR % 24
            return [((hour >= start) & (hour < stop)).astype(np.float64) for start, stop in _SESSIONS.values()]
        function, cycle = _FIELDS[self.field]
        number = function(times).astype(np.float64)
        if not self.cyclic:
            return [number]
        circle = np.empty((2, len(number)))
        _circle(number, cycle, circle)
        return list(circle)

    def stream(self, columns: Columns, times: Times) -> Stream:
        return _TimeStream(self)


class _TimeStream:
    def __init__(self, block: TimeBlock) -> None:
        self._block = block

    def update(self, bar: Mapping[str, float], time_ms: int) -> Sequence[float]:
        return [float(c[0]) for c in self._block.batch({}, np.array([time_ms], np.int64))]


@compiled()
def _circle(number: npt.NDArray[np.float64], cycle: float, result: npt.NDArray[np.float64]) -> None:
    # Scalar sine and cosine for one row and for many, so that both round alike.
    for i in range(number.shape[0]):
        angle = 2.0 * np.pi * number[i] / cycle
        result[0, i], result[1, i] = np.sin(angle), np.cos(angle)


@family("time")
def blocks(spec: TimeFeatures) -> list[Block]:
    """One block per field."""
    return [TimeBlock(field, spec.cyclic) for field in spec.fields]
