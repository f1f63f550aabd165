"""`pipeline drift`: the newest bars against the training range of the bundle, in a table; exit 1 on an alarm."""

import datetime as dt
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import Layout, read_schema, read_table
from pipeline.config import Config
from pipeline.errors import BadInput, CheckFailed, PipelineError
from pipeline.market import candles
from pipeline.models.bundle import Bundle
from pipeline.models.drift.monitor import DriftMonitor, Finding
from pipeline.stages.reporting import Plan, print_json
from pipeline.stages.runner import Options
from pipeline.stages.times import iso

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SHOWN = 15


@dataclass(frozen=True)
class Looked:
    """What one symbol's bars since the training said.

    bars: since the last one trained on. judged: whether there are enough for a window; if not, no distribution was
    compared. window_bars: of a window. alarm: in words, None if there is none.
    """

    symbol: str
    bars: int
    until: str
    judged: bool
    window_bars: int
    findings: list[Finding]
    alarm: str | None


def drift(options: Options) -> None:
    """Print the table of each symbol.

    Raises CheckFailed: something has drifted. BadInput: the bundle was trained without a reference, or on other
    features than there are.
    """
    try:
        _drift(options)
    except PipelineError as error:
        options.explain(error)
        raise


def _drift(options: Options) -> None:
    config, layout = options.load()
    folder = bundle_folder(layout)
    if options.dry_run:
        plan = _plan(config, layout, folder)
        print_json(plan.json()) if options.json else print(plan.text())
        return
    found = look(config, layout, folder)
    alarms = {one.symbol: one.alarm for one in found if one.alarm}
    if options.json:
        symbols = {one.symbol: _plain(one) for one in found}
        print_json({"stage": "drift", "bundle": str(folder), "alarm": bool(alarms), "symbols": symbols})
    else:
        print("\n\n".join(_text(one, folder) for one in found), flush=True)
    if alarms:
        words = "; ".join(f"{symbol}: {alarm}" for symbol, alarm in alarms.items())
        raise CheckFailed(f"drift: {words}", "look at the table; `pipeline retrain` trains anew")


def bundle_folder(layout: Layout) -> Path:
    """The promoted bundle; before there is one, the models that `train` wrote. Raises BadInput: it is not there."""
    from pipeline.stages import serve_models

    return serve_models.bundle_folder(layout)[0]


def look(config: Config, layout: Layout, folder: Path) -> list[Looked]:
    """Let a monitor live through every symbol's bars since the training of the bundle in `folder`.

    Raises MissingInput, BadInput: bundle, features, labels or bars are not there, or do not fit each other.
    """
    from pipeline.models import bundle

    loaded = bundle.load(folder)
    if "drift" not in loaded.manifest:
        raise BadInput(f"{folder}: was trained before drift could be looked at", "run `pipeline train` again")
    if loaded.manifest["interval"] != config.interval:
        raise BadInput(f"{folder}: learned from {loaded.manifest['interval']} bars, and these are {config.interval}")
    return [_look(config, layout, loaded, symbol) for symbol in config.symbols]


def _look(config: Config, layout: Layout, loaded: Bundle, symbol: str) -> Looked:
    reference, path = loaded.manifest["drift"], layout.features(symbol)
    monitor = DriftMonitor(reference, config.drift)
    times = candles.times_ms(read_table(path, "features", ["open_time"]))
    merged = read_table(layout.merged(symbol), "merge", ["open_time", "is_filled"])
    if not np.array_equal(candles.times_ms(merged), times):
        raise BadInput(f"{path}: has other rows than {layout.merged(symbol)}", "run `pipeline features` again")
    since = round(dt.datetime.fromisoformat(loaded.manifest["train"]["label_end"]).timestamp() * 1000)
    rows = np.flatnonzero((times > since) & ~merged["is_filled"].to_numpy())
    names = list(dict.fromkeys([*monitor.features, *loaded.features]))
    if missing := [name for name in names if name not in read_schema(path, "features").names]:
        raise BadInput(f"{path}: no feature '{missing[0]}', which the bundle wants", "run `pipeline features` again")
    columns = {name: candles.column(read_table(path, "features", [name]), name)[rows] for name in names}
    watched = np.column_stack([columns[name] for name in monitor.features]) if monitor.features else None
    scores = _scores(loaded, columns, len(rows))
    outcomes = {name: _outcomes(layout, symbol, reference["models"][name]["label"], times, rows) for name in scores}
    places = dict.fromkeys(scores, 0)
    empty = np.empty(0, np.float32)
    for t, row in enumerate(rows.tolist()):
        monitor.update(empty if watched is None else watched[t], {name: float(own[t]) for name, own in scores.items()})
        # An outcome is known at the close of the bar that decides it, and comes in the order of the bars.
        for name, (values, known_at) in outcomes.items():
            while places[name] < len(rows) and known_at[places[name]] <= times[row]:
                value = values[places[name]]
                if math.isfinite(value):
                    monitor.learn(name, float(scores[name][places[name]]), float(value))
                places[name] += 1
    monitor.look()
    until = iso(int(times[-1]) + config.step_ms)
    findings = monitor.findings()
    return Looked(symbol, len(rows), until, monitor.full, monitor.window_bars, findings, monitor.alarm())


def _scores(loaded: Bundle, columns: dict[str, npt.NDArray], rows: int) -> dict[str, Floats]:
    matrix = np.empty((len(loaded.features), rows), np.float32)
    for j, name in enumerate(loaded.features):
        matrix[j] = columns[name]
    finite = np.flatnonzero(np.isfinite(matrix).all(axis=0))
    scores = {}
    for name, model in loaded.models.items():
        if name in loaded.manifest["drift"]["models"]:
            scores[name] = np.full(rows, np.nan)
            scores[name][finite] = model.predict_rows(matrix.T, finite)
    return scores


def _outcomes(layout: Layout, symbol: str, label: str, times: Indices, rows: Indices) -> tuple[Floats, Indices]:
    # By row: the outcome, NaN if not known, and the time from which on it and all before it are.
    path = layout.labels(symbol)
    if not path.is_file() or label not in read_schema(path, "labels").names:
        return np.full(len(rows), np.nan), times[rows]
    table = read_table(path, "labels", ["open_time", label, f"{label}_end"])
    if not np.array_equal(candles.times_ms(table), times):
        raise BadInput(f"{path}: has other rows than the features", "run `pipeline labels` again")
    column = table.column(label).combine_chunks()
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    end = pc.fill_null(pc.cast(table.column(f"{label}_end").combine_chunks(), pa.int64()), 0)
    ready = np.maximum(end.to_numpy(zero_copy_only=False), times)[rows]
    return values[rows], np.maximum.accumulate(ready) if len(ready) else ready


def _plan(config: Config, layout: Layout, folder: Path) -> Plan:
    from pipeline.models.bundle import read_manifest

    read_manifest(folder)
    inputs = [
        folder,
        *(p(symbol) for symbol in config.symbols for p in (layout.features, layout.merged, layout.labels)),
    ]
    return Plan("drift", inputs)


def _plain(one: Looked) -> dict[str, Any]:
    rows = [
        {
            "what": finding.what, "test": finding.test, "value": _number(finding.value),
            "ks": _number(finding.distance), "p": _number(finding.p), "alarm": finding.alarm,
        }
        for finding in one.findings
    ]  # fmt: skip
    return {"bars": one.bars, "until": one.until, "judged": one.judged, "alarm": one.alarm, "findings": rows}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(one: Looked, folder: Path) -> str:
    head = f"drift: {one.symbol} until {one.until}, {one.bars:,} bars since the training of {folder}"
    lines = [head]
    if not one.judged:
        lines.append(f"  distributions are compared from {one.window_bars:,} bars on")
    shown = sorted(one.findings, key=lambda f: (not f.alarm, f.p if math.isfinite(f.p) else 2.0))
    features = [f for f in shown if f.test == "distribution"]
    listed = features[: max(SHOWN, sum(f.alarm for f in features))]
    width = max((len(f.what) for f in one.findings), default=0)
    if listed:
        lines.append(f"  {'':<{width}}     PSI     KS        p")
        lines += [_row(f, width, f"{f.value:7.3f} {f.distance:6.3f} {f.p:8.2g}") for f in listed]
    if len(features) > len(listed):
        lines.append(f"  and {len(features) - len(listed)} more, further from an alarm")
    for f in (f for f in shown if f.test != "distribution"):
        p = f", p {f.p:.2g}" if math.isfinite(f.p) else ""
        lines.append(_row(f, width, f"{f.test} {f.value:.3g}{p}"))
    return "\n".join(lines)


def _row(finding: Finding, width: int, figures: str) -> str:
    return f"  {finding.what:<{width}} {figures}{'  ALARM' if finding.alarm else ''}"
