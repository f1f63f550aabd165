"""`pipeline features`: the config's features over every symbol's bars."""

import numpy as np
import pyarrow as pa

from pipeline.artifacts import Layout, count_rows, read_schema, read_table, write_table
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.stages.reporting import Plan, Summary


def plan(config: Config, layout: Layout) -> Plan:
    """Check that features are declared soundly and that merged bars have their inputs."""
    from pipeline.features import feature_names, required_columns

    _require(config)
    for symbol in config.symbols:
        present = read_schema(layout.merged(symbol), "merge").names
        for name in required_columns(config):
            if name not in present:
                raise BadInput(
                    f"{layout.merged(symbol)}: no column '{name}', which a feature needs",
                    f"it has: {', '.join(present)}",
                )
    return Plan(
        "features",
        [layout.merged(symbol) for symbol in config.symbols],
        [layout.features(symbol) for symbol in config.symbols],
        sum(count_rows(layout.merged(symbol), "merge") for symbol in config.symbols),
        feature_names(config),
    )


def run(config: Config, layout: Layout) -> Summary:
    """Compute every symbol, one in memory at a time."""
    from pipeline.features import compute, required_columns

    _require(config)
    summary = Summary("features", next=_next(config))
    needed = required_columns(config)
    for symbol in config.symbols:
        path = layout.merged(symbol)
        present = [name for name in needed if name in read_schema(path, "merge").names]
        table = compute(config, read_table(path, "merge", ["open_time", *present]))
        _inspect(summary, symbol, table)
        write_table(layout.features(symbol), table)
        summary.outputs.append(layout.features(symbol))
    return summary


def _require(config: Config) -> None:
    if not config.features:
        raise BadInput(
            f"{config.name}: features: none is configured", "add some; `pipeline list features` shows them all"
        )


def _next(config: Config) -> str:
    if config.labels:
        return "pipeline labels"
    reads_features = config.signals.predictions == "features"
    return "pipeline signals" if reads_features else "add `labels` to the config, then pipeline labels"


def _inspect(summary: Summary, symbol: str, table: pa.Table) -> None:
    warm_up, constant, holes = 0, [], []
    times = candles.times_ms(table)
    for name in table.schema.names[1:]:
        values = table.column(name).to_numpy()
        finite = np.isfinite(values)
        if not finite.any():
            raise BadInput(
                f"{symbol}: feature '{name}' has no value on any of {table.num_rows:,} rows",
                "its window is longer than the data, or its input is never known: shorten it or download more bars",
            )
        first = int(finite.argmax())
        warm_up = max(warm_up, first)
        known = values[first:][finite[first:]]
        if missing := len(values) - first - len(known):
            at = candles.iso(int(times[first + int(finite[first:].argmin())]))
            holes.append(f"{name} ({missing:,} bars, the first {at})")
        if known.min() == known.max():
            constant.append(name)
    summary.figures[f"{symbol} rows"] = table.num_rows
    summary.figures[f"{symbol} features"] = table.num_columns - 1
    summary.figures[f"{symbol} warm-up"] = f"{warm_up:,} bars"
    if holes:
        more = f" and {len(holes) - 8} more" if len(holes) > 8 else ""
        summary.warnings.append(
            f"{symbol}: not a number after the warm-up, so these bars neither train nor get a score:"
            f" {', '.join(holes[:8])}{more}"
        )
    if constant:
        summary.warnings.append(f"{symbol}: constant, so it tells nothing: {', '.join(constant[:8])}")
