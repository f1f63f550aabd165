"""`pipeline output`: a report to read, the trades as CSV, pictures."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import __version__
from pipeline.artifacts import (
    Layout,
    atomic_file,
    count_rows,
    read_json,
    read_schema,
    read_table,
    replace_folder,
    sha256_file,
    sha256_json,
    write_text,
)
from pipeline.config import Config
from pipeline.config.meta import second_columns
from pipeline.errors import BadInput, MissingInput
from pipeline.market import candles
from pipeline.stages.reporting import Plan, Summary, yaml_text
from pipeline.stages.shadow_run import read_shadow

if TYPE_CHECKING:
    from pipeline.report.data import Curve, ModelScores, ReportData

TRADES = (
    "symbol", "side", "entry_time", "entry_price", "exit_time", "exit_price", "qty", "fees", "pnl", "return",
    "exit_reason", "bars_held", "mae", "mfe",
)  # fmt: skip
DAY_MS = 86_400_000


def plan(config: Config, layout: Layout) -> Plan:
    """Check that the simulation and the bars are there; everything else is optional."""
    folder = layout.simulation
    metrics = folder / "metrics.json"
    read_json(metrics, "simulate")
    inputs = [metrics, folder / "trades.parquet", folder / "equity.parquet", folder / "equity.csv"]
    for path in inputs[1:3]:
        read_schema(path, "simulate")
    for symbol in config.symbols:
        read_schema(layout.merged(symbol), "merge")
    optional = [folder / "grid.parquet", layout.folds, layout.trained / "manifest.json", layout.gaps]
    for symbol in config.symbols:
        inputs.append(layout.merged(symbol))
        optional += [layout.labels(symbol), _scores(layout, symbol)[0]]
    inputs += [path for path in optional if path.is_file()]
    notes = [f"{path} is not there; its part of the report stays empty" for path in optional if not path.is_file()]
    outputs = [layout.output / name for name in ("report.html", "trades.csv")]
    return Plan("output", inputs, outputs, count_rows(folder / "equity.parquet", "simulate"), notes=notes)


def run(config: Config, layout: Layout) -> Summary:
    """Write output/ whole: report.html, trades.csv and, unless switched off, PNG files."""
    from pipeline.report import text
    from pipeline.report.page import render

    plan(config, layout)
    data = load(config, layout)
    pictures: dict[str, bytes] = {}
    if config.output.png:
        from dataclasses import replace

        from pipeline.report.images import pictures as draw

        pictures = draw(data)
        data = replace(data, images=tuple(pictures))
    page, table = render(data), _csv(data.trades)

    def fill(folder: Path) -> None:
        write_text(folder / "report.html", page)
        write_text(folder / "trades.csv", table)
        for name, content in pictures.items():
            with atomic_file(folder / name) as file:
                file.write(content)

    replace_folder(layout.output, fill)
    report = layout.output / "report.html"
    summary = Summary("output", [report, layout.output / "trades.csv", *(layout.output / name for name in pictures)])
    summary.figures = _headline(data.metrics)
    summary.warnings = text.warnings(data.metrics)
    summary.next = f"open {report}"
    return summary


def _headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    from pipeline.report import text

    own, hold = metrics["headline"], metrics["buy_and_hold"][metrics["headline_part"]]
    random, significance = metrics.get("random_entry") or {}, metrics.get("significance")
    return {
        "verdict": text.verdict(metrics),
        "total return": f"{text.percent(own['total_return'])} (buy & hold {text.percent(hold['total_return'])})",
        "sharpe": f"{text.number(own['sharpe'])} (buy & hold {text.number(hold['sharpe'])})",
        "max drawdown": f"{text.percent(own['max_drawdown'])} (buy & hold {text.percent(hold['max_drawdown'])})",
        "trades": own["trades"],
        "p-value against random entries": random.get("p_value"),
        **(
            {"luck, by daily returns": significance["sentence"]}
            if (significance := metrics.get("significance"))
            else {}
        ),
    }


def load(config: Config, layout: Layout) -> "ReportData":
    """Everything that the report is made of; what is optional and missing is None or empty."""
    from pipeline.report.data import ReportData

    folder = layout.simulation
    metrics = read_json(folder / "metrics.json", "simulate")
    _check_symbols(config, folder / "metrics.json", metrics)
    manifest = _optional_json(layout.trained / "manifest.json", "train")
    scores, scores_from = _model_scores(config, layout)
    resolved = config.model_dump(mode="json", exclude_none=True, exclude={"workers"})  # changes no result
    hashes = {"config": sha256_json(resolved)}
    hashes |= {
        path.name: sha256_file(path)
        for path in (folder / "metrics.json", folder / "trades.parquet", folder / "equity.parquet")
    }
    if manifest is not None:
        hashes |= {f"training: {name}": value for name, value in manifest["hashes"].items()}
    return ReportData(
        title=config.output.title or config.name,
        command=f"pipeline output -c configs/{config.name}.yaml",
        metrics=metrics,
        trades=_trades(folder / "trades.parquet"),
        curve=_curve(folder),
        candles={symbol: _candles(config, layout, symbol, metrics) for symbol in config.symbols},
        grid=_grid(folder / "grid.parquet", metrics["thresholds"]["used"]),
        scores=scores,
        scores_from=scores_from,
        traded_on={
            "rolling": "walk-forward scores",
            "predict": "the trained models' scores",
            "features": "rules, no model",
        }[config.signals.predictions],
        direction=[(step.combine.columns[0], step.combine.columns[1]) for step in config.signals.steps if step.combine],
        folds=_optional_json(layout.folds, "predict-rolling"),
        shadow=read_shadow(layout),
        paths=_optional_json(layout.cpcv / "paths.json", "cross-validate"),
        manifest=manifest,
        gaps=_optional_json(layout.gaps, "merge"),
        config_yaml=yaml_text(resolved),
        hashes=hashes,
        synthetic=config.download.source == "synthetic",
        versions={"pipeline": __version__, **(manifest["versions"] if manifest else {})},
    )


def _check_symbols(config: Config, path: Path, metrics: Mapping[str, Any]) -> None:
    if list(metrics["symbols"]) != config.symbols or metrics["interval"] != config.interval:
        raise BadInput(
            f"{path}: is about {', '.join(metrics['symbols'])} {metrics['interval']}, "
            f"the config about {', '.join(config.symbols)} {config.interval}",
            "run `pipeline simulate` again",
        )


def _optional_json(path: Path, stage: str) -> Any:
    return read_json(path, stage) if path.is_file() else None


def _trades(path: Path) -> pa.Table:
    # No rows are fine here: `read_table` would refuse them.
    if count_rows(path, "simulate") == 0:
        return read_schema(path, "simulate").empty_table().select(list(TRADES))
    return read_table(path, "simulate", TRADES)


def _curve(folder: Path) -> "Curve":
    from pipeline.report.candles import curve
    from pipeline.report.text import parse_ms

    path = folder / "equity.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        points = np.array([parse_ms(row["open_time"]) for row in rows], np.int64)
        hold = np.array([float(row["buy_and_hold"]) for row in rows])
    except FileNotFoundError:
        raise MissingInput(f"{path}: not there yet", "run `pipeline simulate` first") from None
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: damaged: {error}", "run `pipeline simulate` again") from None
    table = read_table(folder / "equity.parquet", "simulate", ["open_time", "equity", "drawdown"])
    times = candles.times_ms(table)
    if not len(points) or not np.isin(points, times).all():
        raise BadInput(f"{path}: its times are not those of equity.parquet", "run `pipeline simulate` again")
    return curve(times, candles.column(table, "equity"), candles.column(table, "drawdown"), points, hold)


def _candles(config: Config, layout: Layout, symbol: str, metrics: Mapping[str, Any]) -> tuple[Any, str]:
    from pipeline.report import text
    from pipeline.report.candles import candle_length, resample
    from pipeline.report.data import Bars

    table = read_table(layout.merged(symbol), "merge", ["open_time", *candles.PRICES])
    times = candles.times_ms(table)
    first, stop = np.searchsorted(times, [text.parse_ms(metrics["period"][end]) for end in ("start", "end")])
    if stop <= first:
        raise BadInput(f"{layout.merged(symbol)}: has no bar of the simulated period", "run `pipeline simulate` again")
    prices = (candles.column(table, name)[first:stop] for name in candles.PRICES)
    length = candle_length(int(stop - first), config.step_ms, config.output.chart_bars)
    return resample(Bars(times[first:stop], *prices), length), text.duration(length)


def _grid(path: Path, used: dict[str, float]) -> pa.Table | None:
    # Of a grid that varied stops and sizes too, the pairs of thresholds at those that were chosen.
    if not path.is_file():
        return None
    table = read_table(path, "simulate")
    for name in ("stop_loss", "take_profit", "trailing_stop", "fraction"):
        if name in table.schema.names:
            value = used.get(name, table[name][0].as_py())
            table = table.filter(pc.equal(table[name], value))
    return table


def _scores(layout: Layout, symbol: str) -> tuple[Path, str]:
    # Walk-forward scores are the ones that say something; the bundle's are second best.
    rolling = layout.rolling(symbol)
    return (rolling, "predict-rolling") if rolling.is_file() else (layout.predictions(symbol), "predict")


def _model_scores(config: Config, layout: Layout) -> tuple[list["ModelScores"], str]:
    from pipeline.report.data import ModelScores

    parts, kept = [], "walk-forward"
    for symbol in config.symbols:
        path, stage = _scores(layout, symbol)
        if not path.is_file() or not layout.labels(symbol).is_file():
            return [], kept
        table = read_table(path, stage)
        if "in_sample" in table.column_names:
            fresh = ~table["in_sample"].to_numpy()
            kept = "held out" if fresh.any() and kept != "in sample" else "in sample"
            table = table.filter(pa.array(fresh)) if kept == "held out" else table
        parts.append(_symbol_scores(config, layout, symbol, table))
    models = []
    for name in parts[0]:
        if not all(name in part for part in parts):
            continue
        columns = [np.concatenate(arrays) for arrays in zip(*(part[name][1:] for part in parts), strict=True)]
        label, _, algorithm = name.rpartition("_")
        models.append(ModelScores(name, label, algorithm, parts[0][name][0], *columns))
    return models, kept


def _symbol_scores(
    config: Config, layout: Layout, symbol: str, table: pa.Table
) -> dict[str, tuple[bool, np.ndarray, np.ndarray, np.ndarray]]:
    # By model: is the label yes or no, its outcomes, the scores, the volatility of the day before.
    times = candles.times_ms(table)
    names = read_schema(layout.labels(symbol), "labels").names
    models = {name: name.rpartition("_")[0] for name in table.column_names if name.rpartition("_")[0] in names}
    labels = read_table(layout.labels(symbol), "labels", ["open_time", *dict.fromkeys(models.values())])
    merged = read_table(layout.merged(symbol), "merge", ["open_time", "close"])
    volatility = _volatility(candles.column(merged, "close"), max(DAY_MS // config.step_ms, 20))
    outcome_rows = _rows(candles.times_ms(labels), times, layout.labels(symbol), "labels")
    price_rows = _rows(candles.times_ms(merged), times, layout.merged(symbol), "merge")
    asked = _asked(config, layout, symbol, times)
    return {
        name: (
            pa.types.is_boolean(labels.schema.field(label).type),
            np.where(asked.get(name, True), candles.column(labels, label)[outcome_rows], np.nan),
            candles.column(table, name),
            volatility[price_rows],
        )
        for name, label in models.items()
    }


def _asked(config: Config, layout: Layout, symbol: str, times: np.ndarray) -> dict[str, np.ndarray]:
    # Bars whose signal a second-stage column judges: its scores on others are nobody's business.
    path = layout.signals(symbol)
    if not (columns := second_columns(config)) or not path.is_file():
        return {}
    signals = read_table(path, "signals", ["open_time", "buy_signal", "sell_signal"])
    own = candles.times_ms(signals)
    place = np.minimum(np.searchsorted(own, times), len(own) - 1)
    same = own[place] == times
    buy, sell = ((signals[name].to_numpy()[place] > 0) & same for name in ("buy_signal", "sell_signal"))
    return {name: (buy & ~sell) if side > 0 else (sell & ~buy) for name, (_, side) in columns.items()}


def _rows(known: np.ndarray, wanted: np.ndarray, path: Path, stage: str) -> np.ndarray:
    rows = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    if not np.array_equal(known[rows], wanted):
        raise BadInput(f"{path}: does not have every bar that was scored", f"run `pipeline {stage}` again")
    return rows


def _volatility(close: np.ndarray, window: int) -> np.ndarray:
    """Root mean square of the log returns of the last `window` bars, NaN before."""
    squares = np.concatenate([[0.0], np.cumsum(np.diff(np.log(close)) ** 2)])
    result = np.full(len(close), np.nan)
    if len(close) > window:
        result[window:] = np.sqrt((squares[window:] - squares[:-window]) / window)
    return result


def _csv(trades: pa.Table) -> str:
    from pipeline.report.text import iso

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(TRADES)
    for row in trades.to_pylist():
        for name in ("entry_time", "exit_time"):
            row[name] = iso(round(row[name].timestamp() * 1000))
        writer.writerow([row[name] for name in TRADES])
    return stream.getvalue()
