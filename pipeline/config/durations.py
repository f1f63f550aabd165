"""Intervals (`5m`) and durations (`30d`, `4h`, or a number of bars) in milliseconds and bars.

Only intervals of fixed length that divide a day are supported: on those a complete grid is plain
arithmetic from the epoch. Binance's 3d, 1w and 1M are not.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdwy])")


def interval_ms(interval: str) -> int:
    """Length of a bar in milliseconds: `interval_ms("5m") == 300_000`."""
    if interval not in INTERVALS:
        raise ValueError(f"'{interval}' is not an interval; choose one of {', '.join(INTERVALS)}")
    return duration_ms(interval)


def duration_ms(duration: str) -> int:
    """Milliseconds of `90s`, `15m`, `4h`, `30d`, `2w` or `1y` (365 days).

    Raises ValueError: the text is not a number followed by one of those units.
    """
    match = _DURATION.fullmatch(duration.strip())
    if not match:
        raise ValueError(f"'{duration}' is not a duration; write a number and one of s, m, h, d, w, y: '4h', '30d'")
    return round(float(match[1]) * _UNIT_MS[match[2]])


def bars_in(length: int | str, interval: str) -> int:
    """Number of bars in `length`, which is a number of bars already or a duration.

    Raises ValueError: the duration is not a whole number of bars.
    """
    if isinstance(length, int):
        return length
    total, step = duration_ms(length), interval_ms(interval)
    if total % step:
        raise ValueError(f"'{length}' is not a whole number of {interval} bars")
    return total // step


def bars_covering(length: int | str, interval: str) -> int:
    """Fewest bars that cover `length`: for waiting times, which need not be whole numbers of bars."""
    return length if isinstance(length, int) else -(-duration_ms(length) // interval_ms(interval))


def bars_per_year(interval: str) -> float:
    """Bars in 365 days of a market that never closes; the annualisation of every metric."""
    return _UNIT_MS["y"] / interval_ms(interval)


def _check_interval(value: str) -> str:
    interval_ms(value)
    return value


def _check_length(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("write a number of bars or a duration such as '4h' or '30d'")
    if isinstance(value, str):
        if value.strip().isdigit():
            value = int(value)
        else:
            duration_ms(value)
            return value
    if value < 0:
        raise ValueError("must not be negative")
    return value


Interval = Annotated[str, AfterValidator(_check_interval), WithJsonSchema({"type": "string", "enum": list(INTERVALS)})]
# A number of bars or a duration; `bars_in` makes bars of it once the interval is known.
Length = Annotated[
    int | str,
    BeforeValidator(_check_length),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _DURATION.pattern}]}),
]
