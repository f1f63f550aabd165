"""Returns by day: the period in which Sharpe ratios are judged, since bars of a minute are no independent evidence."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.durations import bars_per_year, interval_ms

Array = npt.NDArray[np.float64]
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Periodic:
    """Returns [n], or [n, strategies]; how many periods a year has; what a period is: `day` or a bar's length."""

    returns: Array
    per_year: float
    period: str


def by_day(times_ms: npt.NDArray[np.int64], equity: Array, interval: str) -> Periodic | None:
    """Returns of UTC days of an equity curve; of bars, where a bar lasts a day or longer.

    times_ms: open times [n] of bars. equity: at their closes, [n] or [n, strategies]; the first is what the returns
    start from. First and last day may be partial. None if equity is used up: there is no return after that.
    """
    if equity.min(initial=np.inf) <= 0:
        return None
    closes, per_year, period = equity, bars_per_year(interval), interval
    if interval_ms(interval) <= DAY_MS:
        # The first row is a start, not a day's end.
        day = times_ms[1:] // DAY_MS
        ends = np.flatnonzero(np.append(day[1:] != day[:-1], True)) if len(day) else np.empty(0, np.int64)
        closes, per_year, period = equity[np.append(0, ends + 1)], 365.0, "day"
    return Periodic(np.asarray(closes[1:] / closes[:-1] - 1), per_year, period)
