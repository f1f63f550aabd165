"""`pipeline labels`: what the models learn to predict, and when each outcome was known."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import Layout, count_rows, read_table, write_table
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.stages.reporting import Plan, Summary


def plan(config: Config, layout: Layout) -> Plan:
    """Check that labels are configured and merged bars are there."""
    from pipeline.labels import label_names

    _require(config)
    rows = sum(count_rows(layout.merged(symbol), "merge") for symbol in config.symbols)
    return Plan(
        "labels",
        [layout.merged(symbol) for symbol in config.symbols],
        [layout.labels(symbol) for symbol in config.symbols],
        rows,
        [column for name in label_names(config) for column in (name, f"{name}_end")],
    )


def run(config: Config, layout: Layout) -> Summary:
    """Label every symbol, one in memory at a time."""
    from pipeline.labels import compute, required_columns
    from pipeline.stages import compiled_functions

    _require(config)
    compiled_functions.install()
    summary = Summary("labels", next="pipeline train")
    for symbol in config.symbols:
        bars = read_table(layout.merged(symbol), "merge", ["open_time", *required_columns(config)])
        labels = compute(config, bars)
        write_table(layout.labels(symbol), labels)
        summary.outputs.append(layout.labels(symbol))
        _describe(summary, symbol, labels)
    return summary


def _require(config: Config) -> None:
    if not config.labels:
        raise BadInput(
            f"{config.name}: labels: no label is configured", "add one; `pipeline list labels` shows them all"
        )


def _describe(summary: Summary, symbol: str, labels: pa.Table) -> None:
    summary.figures[symbol] = f"{labels.num_rows:,} rows"
    for name in labels.schema.names[1::2]:
        column = labels.column(name)
        known = labels.num_rows - column.null_count
        figures: dict[str, Any] = {"known": known}
        if known == 0:
            summary.warnings.append(f"{symbol}: {name} is unknown on every row")
        elif pa.types.is_boolean(column.type):
            rate = pc.mean(column.cast(pa.int8())).as_py()
            figures["true"] = f"{rate:.2%}"
            if rate in (0.0, 1.0):
                summary.warnings.append(f"{symbol}: {name} is {bool(rate)} on every row; no model can learn from it")
        else:
            figures["mean"] = f"{pc.mean(column).as_py():.4g}"
        summary.figures[f"{symbol} {name}"] = ", ".join(
            f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in figures.items()
        )
