"""What the models learn to predict: each label with the bar that decides it, and unknown where open."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.config import Config
from pipeline.config.labels import FixedHorizon, HighLow, HighLow2, LabelEntry, Meta, TopBot2, TripleBarrier
from pipeline.errors import BadInput
from pipeline.labels.column import LabelColumn
from pipeline.market import candles

__all__ = ["LabelColumn", "catalogue", "compute", "label_names", "required_columns"]


def catalogue() -> dict[str, str]:
    """Each kind of label and what it means, for `pipeline list labels`."""
    return {name: (field.annotation.__args__[0].__doc__ or "") for name, field in LabelEntry.model_fields.items()}  # type: ignore[union-attr]


def label_names(config: Config) -> list[str]:
    """Label columns of a config, in the order of the file, without their `_end` columns.

    Raises BadInput: two entries make the same name, or a horizon is not a whole number of bars.
    """
    names = [name for number, entry in enumerate(config.labels) for name in _names(config, number, entry)]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"labels: '{name}' is made twice", "give one of them another name with `names: [...]`")
    return names


def required_columns(config: Config) -> list[str]:
    """Bar columns that the config's labels are computed from."""
    needed = {"close", "high", "low"} | {e.spec.column for e in config.labels if isinstance(e.spec, TopBot2)}
    return sorted(needed)


def compute(config: Config, table: pa.Table) -> pa.Table:
    """All labels over a bar table.

    table: open_time and the columns of `required_columns`, on a complete grid, [n].
    Returns open_time, then per label its values (bool or float64, null = unknown) and `{label}_end`
    (time of the bar that decided it, null where the label is).
    Raises BadInput: a horizon is longer than the data, a column is missing, or the bars are no complete grid.
    """
    names = label_names(config)
    times = candles.grid_times_ms(table, config.step_ms)
    arrays: dict[str, pa.Array] = {"open_time": candles.time_array(times)}
    columns = (
        column for number, entry in enumerate(config.labels) for column in _compute(config, number, entry, table)
    )
    for name, column in zip(names, columns, strict=True):
        unknown = ~column.known
        arrays[name] = pa.array(column.values, mask=unknown)
        end = pa.array(times[np.clip(column.end, 0, len(times) - 1)], pa.int64(), mask=unknown)
        arrays[f"{name}_end"] = end.cast(arrays["open_time"].type)
    return pa.table(arrays)


def _names(config: Config, number: int, entry: LabelEntry) -> list[str]:
    from pipeline.labels import fixed_horizon, high_low, high_low2, meta, top_bot2, triple_barrier

    spec = entry.spec
    if isinstance(spec, HighLow):
        return high_low.names(spec, [_bars(config, number, entry, h) for h in spec.horizons])
    if isinstance(spec, HighLow2):
        return high_low2.names(spec, _bars(config, number, entry, spec.horizon))
    if isinstance(spec, FixedHorizon):
        return fixed_horizon.names(spec, [_bars(config, number, entry, h) for h in spec.horizons])
    if isinstance(spec, TopBot2):
        return top_bot2.names(spec)
    if isinstance(spec, Meta):
        return meta.names(spec)
    assert isinstance(spec, TripleBarrier)
    return triple_barrier.names(spec)


def _compute(config: Config, number: int, entry: LabelEntry, table: pa.Table) -> Iterator[LabelColumn]:
    from pipeline.labels import fixed_horizon, high_low, high_low2, meta, top_bot2, triple_barrier

    spec, rows = entry.spec, table.num_rows

    def bars(length: int | str) -> int:
        horizon = _bars(config, number, entry, length)
        if horizon >= rows:
            raise BadInput(
                f"labels[{number}].{entry.kind}: the horizon of {horizon} bars is longer than the data ({rows} rows)",
                "shorten the horizon or download more bars",
            )
        return horizon

    close, high, low = (candles.column(table, name) for name in ("close", "high", "low"))
    if isinstance(spec, HighLow):
        yield from high_low.compute(spec, [bars(h) for h in spec.horizons], close, high, low)
    elif isinstance(spec, HighLow2):
        yield from high_low2.compute(spec, bars(spec.horizon), close, high, low)
    elif isinstance(spec, FixedHorizon):
        yield from fixed_horizon.compute(spec, [bars(h) for h in spec.horizons], close)
    elif isinstance(spec, TopBot2):
        if spec.column not in table.schema.names:
            raise BadInput(f"labels[{number}].topbot2.column: the merged table has no column '{spec.column}'")
        yield from top_bot2.compute(spec, candles.column(table, spec.column))
    elif isinstance(spec, Meta):
        span = _bars(config, number, entry, spec.volatility_span)
        yield from meta.compute(spec, bars(spec.horizon), span, close, high, low)
    elif isinstance(spec, TripleBarrier):
        span = _bars(config, number, entry, spec.volatility_span)
        yield triple_barrier.compute(spec, bars(spec.horizon), span, close, high, low)


def _bars(config: Config, number: int, entry: LabelEntry, length: int | str) -> int:
    try:
        bars = config.bars(length)
    except ValueError as error:
        raise BadInput(f"labels[{number}].{entry.kind}: {error}") from None
    if bars < 1:
        raise BadInput(f"labels[{number}].{entry.kind}: a horizon must be at least one bar")
    return bars
