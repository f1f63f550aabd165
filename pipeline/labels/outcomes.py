"""When outcomes are known: how many bars after its own a label has been decided, and what it says then."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.config import Config
from pipeline.config.labels import FixedHorizon, HighLow, HighLow2, LabelEntry, TripleBarrier
from pipeline.errors import BadInput
from pipeline.labels import compute, label_names
from pipeline.market import candles


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

    def over(self, table: pa.Table) -> np.ndarray:
        """The outcome of each bar of a table, float64 [n]; NaN where it is not known."""
        if table.num_rows <= self.delay:
            return np.full(table.num_rows, np.nan)
        return numbers(compute(self._config, table).column(self._label))

    def of_first(self, open_time_ms: Sequence[int], bars: Mapping[str, Sequence[float]]) -> float:
        """The outcome of the first of `delay` + 1 neighbouring bars; NaN if it has none.

        bars: high, low and close by name, [delay + 1].
        """
        columns = {name: np.array(values, np.float64) for name, values in bars.items()}
        table = pa.table({"open_time": candles.time_array(np.array(open_time_ms)), **columns})
        return float(self.over(table)[0])


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
