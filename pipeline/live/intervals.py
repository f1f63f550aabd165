"""Intervals around a symbol's scores as bars come in, equal to those of the predictions file to the last bit."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.labels.outcomes import Outcomes
from pipeline.market import candles
from pipeline.models.bundle import Bundle
from pipeline.models.conformal import IntervalStream

Floats = npt.NDArray[np.float64]
_PRICES = ("high", "low", "close")
_ENDS = ("_low", "_high")


def interval_names(config: Config, bundle: Bundle) -> list[str]:
    """Models of a bundle that get intervals. Raises BadInput: `intervals.models` names one that it does not have."""
    if config.intervals is None:
        return []
    for name in config.intervals.models:
        if name not in bundle.models:
            raise BadInput(f"intervals.models: no model '{name}' in the bundle", f"it has: {', '.join(bundle.models)}")
    return list(config.intervals.models) or list(bundle.models)


def models_read(columns: Sequence[str], intervals: Sequence[str]) -> list[str]:
    """The models whose scores or intervals these columns are.

    intervals: models that have some.
    """
    ends = {f"{name}{end}": name for name in intervals for end in _ENDS}
    return list(dict.fromkeys(ends.get(column, column) for column in columns))


class LaneIntervals:
    """One symbol's intervals of the models that the signals read.

    columns: that the signals read. Scores of bars that the bundle learned from teach nothing.
    Raises BadInput: the outcomes of such a model cannot be told from the newest bars.
    """

    def __init__(self, config: Config, bundle: Bundle, columns: Sequence[str]) -> None:
        assert config.intervals is not None
        names = [name for name in interval_names(config, bundle) if any(f"{name}{end}" in columns for end in _ENDS)]
        labels = {name: str(bundle.manifest["models"][name]["label"]) for name in names}
        ends = {f"{name}{end}" for name in interval_names(config, bundle) for end in _ENDS}
        self._unread = (ends | set(bundle.models)) - set(columns)
        self._outcomes = {label: Outcomes(config, label) for label in labels.values()}
        self._streams: dict[str, tuple[str, IntervalStream]] = {}
        for name, label in labels.items():
            bounded = bundle.manifest["models"][name]["base_rate"] is not None
            stream = IntervalStream(config.intervals, self._outcomes[label].delay, bounded)
            self._streams[name] = (label, stream)
        seen = dt.datetime.fromisoformat(bundle.manifest["train"]["label_end"])
        self._seen_until_ms = round(seen.timestamp() * 1000)
        longest = max((one.delay for one in self._outcomes.values()), default=0)
        self._newest = _Newest(longest + 1)

    def over(self, times: Sequence[int], history: pa.Table, scores: Mapping[str, Floats]) -> dict[str, Floats]:
        """What `update` would give for each bar of a merged table [n]; it goes on after the last."""
        outcomes = {label: one.over(history) for label, one in self._outcomes.items()}
        made = {f"{name}{end}": np.full(len(times), np.nan) for name in self._streams for end in _ENDS}
        for name, (label, stream) in self._streams.items():
            delay, own = self._outcomes[label].delay, outcomes[label].tolist()
            for t, (time, score) in enumerate(zip(times, scores[name].tolist(), strict=True)):
                known = own[t - delay] if t >= delay else math.nan
                ends = stream.update(score if time > self._seen_until_ms else math.nan, known)
                made[f"{name}_low"][t], made[f"{name}_high"][t] = ends
        tail = slice(max(len(times) - self._newest.most, 0), len(times))
        columns = [candles.column(history, name)[tail].tolist() for name in _PRICES]
        for time, *prices in zip(times[tail], *columns, strict=True):
            self._newest.add(time, prices)
        return {name: values for name, values in {**scores, **made}.items() if name not in self._unread}

    def update(self, open_time_ms: int, prices: Mapping[str, float], scores: Mapping[str, float]) -> dict[str, float]:
        """The scores and intervals that are read, after one more bar.

        prices: high, low and close. scores: of the models by name.
        """
        self._newest.add(open_time_ms, [prices[name] for name in _PRICES])
        outcomes = {label: self._known(one) for label, one in self._outcomes.items()}
        made: dict[str, float] = dict(scores)
        for name, (label, stream) in self._streams.items():
            score = scores[name] if open_time_ms > self._seen_until_ms else math.nan
            made[f"{name}_low"], made[f"{name}_high"] = stream.update(score, outcomes[label])
        return {name: value for name, value in made.items() if name not in self._unread}

    def _known(self, outcomes: Outcomes) -> float:
        # The outcome that this bar's close has made known.
        count = outcomes.delay + 1
        if self._newest.count < count:
            return math.nan
        times, prices = self._newest.last(count)
        return outcomes.of_first(times, prices)


class _Newest:
    # The newest bars' times and prices, where a run of them is one piece of memory.
    def __init__(self, most: int) -> None:
        self.count = 0
        self.most, self._end = most, 0
        self._times = np.zeros(2 * most, np.int64)
        self._prices = np.zeros((len(_PRICES), 2 * most))

    def add(self, time: int, prices: Sequence[float]) -> None:
        if self._end == 2 * self.most:
            self._times[: self.most] = self._times[self.most :]
            self._prices[:, : self.most] = self._prices[:, self.most :]
            self._end = self.most
        self._times[self._end], self._prices[:, self._end] = time, prices
        self._end += 1
        self.count = min(self.count + 1, self.most)

    def last(self, count: int) -> tuple[npt.NDArray[np.int64], dict[str, Floats]]:
        run = slice(self._end - count, self._end)
        return self._times[run], {name: row[run] for name, row in zip(_PRICES, self._prices, strict=True)}
