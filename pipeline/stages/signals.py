"""`pipeline signals`: scores → buy_signal, sell_signal."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import Layout, count_rows, read_schema, read_table, write_table
from pipeline.config import Config
from pipeline.config.meta import second_columns
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.stages.reporting import Plan, Summary, progress

# What a predictions file has besides scores.
NOT_SCORES = ("open_time", "fold", "in_sample")


def plan(config: Config, layout: Layout) -> Plan:
    """Check that the predictions have the columns that the steps read."""
    from pipeline.signals import check_columns

    stage, paths = _predictions(config, layout)
    columns: list[str] = []
    rows = 0
    for path in paths.values():
        names = [name for name in read_schema(path, stage).names if name not in NOT_SCORES]
        columns = [*check_columns(config.signals, names, str(path)), *carried(config, names, path, stage)]
        rows += count_rows(path, stage)
    merged = [layout.merged(symbol) for symbol in config.symbols]
    for path in merged:
        read_schema(path, "merge")
    made = [step.spec.name for step in config.signals.steps if hasattr(step.spec, "name")]
    return Plan(
        "signals",
        inputs=[*paths.values(), *merged],
        outputs=[layout.signals(symbol) for symbol in config.symbols],
        rows=rows,
        columns=[*columns, *dict.fromkeys(made), "buy_signal", "sell_signal"],
    )


def run(config: Config, layout: Layout) -> Summary:
    """Write signals/{symbol}.parquet: every bar from the first to the last prediction."""
    plan(config, layout)
    summary = Summary("signals", next="pipeline simulate")
    bars = buys = sells = 0
    with progress("signals", len(config.symbols)) as advance:
        for symbol in config.symbols:
            table = signal_table(config, layout, symbol)
            path = layout.signals(symbol)
            write_table(path, table)
            summary.outputs.append(path)
            bars += table.num_rows
            counts = {name: int(np.count_nonzero(table[name].to_numpy())) for name in ("buy_signal", "sell_signal")}
            buys, sells = buys + counts["buy_signal"], sells + counts["sell_signal"]
            if not sum(counts.values()):
                summary.warnings.append(f"{symbol}: no signal at all; {_range(config, table)}")
            advance(1, symbol)
    summary.figures = {
        "bars": bars,
        "buy signals": buys,
        "sell signals": sells,
        "scores from": config.signals.predictions,
    }
    return summary


def _predictions(config: Config, layout: Layout) -> tuple[str, dict[str, Path]]:
    if config.signals.predictions == "features":
        return "features", {symbol: layout.features(symbol) for symbol in config.symbols}
    if config.signals.predictions == "rolling":
        return "predict-rolling", {symbol: layout.rolling(symbol) for symbol in config.symbols}
    return "predict", {symbol: layout.predictions(symbol) for symbol in config.symbols}


def signal_table(config: Config, layout: Layout, symbol: str) -> pa.Table:
    """One symbol's signals from its predictions: every bar from the first to the last of them."""
    from pipeline.signals import check_columns, compute

    stage, paths = _predictions(config, layout)
    path = paths[symbol]
    present = [name for name in read_schema(path, stage).names if name not in NOT_SCORES]
    scores = [*check_columns(config.signals, present, str(path)), *carried(config, present, path, stage)]
    extra = ["in_sample"] if stage == "predict" and "in_sample" in read_schema(path, stage).names else []
    predictions = read_table(path, stage, ["open_time", *scores, *extra])
    merged = read_table(layout.merged(symbol), "merge", ["open_time", "is_filled"])

    predicted, times = candles.times_ms(predictions), candles.times_ms(merged)
    first, last = np.searchsorted(times, predicted[[0, -1]])
    times = times[first : last + 1]
    rows = np.searchsorted(times, predicted)
    if len(times) == 0 or rows[-1] >= len(times) or not np.array_equal(times[rows], predicted):
        raise BadInput(f"{path}: has bars that {layout.merged(symbol)} does not have", f"run `pipeline {stage}` again")
    filled = merged["is_filled"].to_numpy()[first : last + 1]

    columns = compute(
        config.signals, {name: _spread(candles.column(predictions, name), rows, len(times)) for name in scores}, filled
    )
    table = pa.table({"open_time": candles.time_array(times), **columns})
    if extra:
        in_sample = np.zeros(len(times), np.bool_)
        in_sample[rows] = predictions["in_sample"].to_numpy()
        table = table.append_column("in_sample", pa.array(in_sample))
    return table


def carried(config: Config, present: list[str], path: Path, stage: str) -> list[str]:
    """Second-stage columns that sizes read; the signals file carries them along.

    Raises BadInput: the predictions do not have them.
    """
    wanted = list(second_columns(config)) if config.sizing.probability is not None else []
    for name in wanted:
        if name not in present:
            raise BadInput(
                f"{path}: no column '{name}', which sizing.probability reads",
                "run `pipeline train` again" if stage == "predict" else f"run `pipeline {stage}` again",
            )
    return wanted


def _spread(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    # Bars without a prediction have a NaN score, and so no signal.
    spread = np.full(n, np.nan)
    spread[rows] = values
    return spread


def _range(config: Config, table: pa.Table) -> str:
    from pipeline.signals import threshold_step

    step = threshold_step(config.signals)
    score = candles.column(table, step.column)
    score = score[np.isfinite(score)]
    seen = (
        f"{step.column} ranges over [{score.min():.4g}, {score.max():.4g}]"
        if len(score)
        else f"{step.column} is never known"
    )
    return f"{seen}, thresholds are buy {step.buy:g} and sell {step.sell:g}"
