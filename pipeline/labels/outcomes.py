"""When outcomes are known: how many bars after its own a label has been decided, and what it says then."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config
from pipeline.config.labels import FixedHorizon, HighLow, HighLow2, LabelEntry, TripleBarrier
from pipeline.errors import BadInput
from pipeline.labels import compute, fixed_horizon, high_low, high_low2, label_names
from pipeline.market import candles

Floats = npt.NDArray[np.float64]


def outcome_delay(config: Config, label: str) -> int:
    """Bars after which a label is known, whatever the market does: its horizon.

    Raises BadInput: the config does not make the label, or it has no bound, as `topbot2`.
    """
    entry = _entry(config, label)
    spec = entry.spec
    if isinstance(spec, HighLow | FixedHorizon):
        return max(config.bars(horizon) for horizon in spec.horizons)
    if isinstance(spec, HighLow2 | TripleBarrier):
        return config.bars(spec.horizon)
    raise BadInput(
        f"label '{label}': a {entry.kind} can take any number of bars, so nobody knows when its outcome is due",
        "leave its models out of intervals.models",
    )


class Outcomes:
    """A label's outcomes while bars come in one by one; those that `compute` gives for the whole table.

    Raises BadInput: as `outcome_delay`, or the label depends on more than the bars after its own.
    """

    def __init__(self, config: Config, label: str) -> None:
        entry = _entry(config, label)
        self.delay = outcome_delay(config, label)
        if not isinstance(entry.spec, HighLow | HighLow2 | FixedHorizon):
            raise BadInput(
                f"label '{label}': a {entry.kind} depends on all bars before it, and live there are none of them",
                "leave its models out of intervals.models",
            )
        self._label = label
        self._config = config.model_copy(update={"labels": [entry]})
        self._step_ms = config.step_ms
        self._spec = entry.spec
        spec = entry.spec
        lengths = [spec.horizon] if isinstance(spec, HighLow2) else spec.horizons
        self._horizons = [config.bars(length) for length in lengths]
        self._place = label_names(self._config).index(label)

    def over(self, table: pa.Table) -> np.ndarray:
        """The outcome of each bar of a table, float64 [n]; NaN where it is not known."""
        if table.num_rows <= self.delay:
            return np.full(table.num_rows, np.nan)
        return numbers(compute(self._config, table).column(self._label))

    def of_first(self, open_time_ms: npt.NDArray[np.int64], bars: Mapping[str, Floats]) -> float:
        """The outcome of the first of `delay` + 1 neighbouring bars; NaN if it has none.

        bars: high, low and close by name, [delay + 1]. By the functions that `over` calls, without its tables.
        Raises BadInput: they are no neighbours.
        """
        if open_time_ms[-1] - open_time_ms[0] != self.delay * self._step_ms:
            raise BadInput(f"label '{self._label}': bars are missing after {open_time_ms[0]} ms")
        spec, high, low, close = self._spec, bars["high"], bars["low"], bars["close"]
        if isinstance(spec, HighLow):
            columns = high_low.compute(spec, self._horizons, close, high, low)
        elif isinstance(spec, HighLow2):
            columns = high_low2.compute(spec, self._horizons[0], close, high, low)
        else:
            columns = fixed_horizon.compute(spec, self._horizons, close)
        column = columns[self._place]
        return float(column.values[0]) if column.known[0] else math.nan


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A label's column as float64 [n]: 0 and 1 for no and yes, NaN where it is not known."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return candles.column(pa.table({"label": column}), "label")


def _entry(config: Config, label: str) -> LabelEntry:
    for entry in config.labels:
        if label in label_names(config.model_copy(update={"labels": [entry]})):
            return entry
    raise BadInput(f"label '{label}': the config does not make it", "add it to `labels`")
