"""Pictures of the main charts, for chats and papers; on white, so that they can be read anywhere."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.report import evidence, figures
from pipeline.report.data import ReportData
from pipeline.report.page import missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UP, DOWN, ACCENT, HOLD, MUTED = "#08775a", "#c0303f", "#2457c5", "#7a5f14", "#5b6776"
MAX_MODELS = 4


def pictures(data: ReportData) -> dict[str, bytes]:
    """PNG files by name. The same data give the same bytes.

    Raises BadInput: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise missing("matplotlib") from None
    style: Any = {
        "font.size": 10,
        "text.parse_math": False,  # a title may have dollar signs
        "axes.grid": True,
        "grid.color": "#e3e7ec",
        "axes.edgecolor": "#c5ccd4",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "text.color": "#16202c",
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
    }
    with mpl.rc_context(style):
        drawn = {"equity.png": _png(_equity(data))}
        for symbol in data.candles:
            name = "price.png" if len(data.candles) == 1 else f"price-{symbol}.png"
            drawn[name] = _png(_price(data, symbol))
        if any(model.known.any() for model in data.scores):
            drawn["calibration.png"] = _png(_calibration(data))
        if data.grid is not None:
            drawn["grid.png"] = _png(_grid(data))
    return drawn


def _figure(width: float, height: float) -> "Figure":
    # Without pyplot: no global state, no display.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, facecolor="white", layout="constrained")


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _equity(data: ReportData) -> "Figure":
    figure = _figure(11, 6)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    curve, times = data.curve, _dates(data.curve.times)
    top.plot(times, curve.equity, color=ACCENT, lw=1.6, label="strategy")
    top.plot(times, curve.hold, color=HOLD, lw=1.2, label="buy & hold")
    top.set_title(data.title, loc="left", fontweight="bold")
    top.set_ylabel("equity")
    top.legend(loc="upper left")
    below.fill_between(times, 100 * curve.drawdown, 0, color=ACCENT, alpha=0.3, lw=0)
    below.set_ylabel("drawdown, %")
    for axes in (top, below):
        _split(axes, data)
    return figure


def _price(data: ReportData, symbol: str) -> "Figure":
    bars, length = data.candles[symbol]
    figure = _figure(11, 5)
    axes = figure.subplots()
    axes.plot(_dates(bars.times), bars.close, color=MUTED, lw=0.9, alpha=0.8)
    rows = [row for row in data.trades.to_pylist() if row["symbol"] == symbol][-figures.MARKED_TRADES :]
    size = 40 if len(rows) <= 100 else 12
    for name, colour, won in (("won", UP, True), ("lost", DOWN, False)):
        own = [row for row in rows if (row["pnl"] > 0) == won]
        for marker, key in (("^", "entry"), ("o", "exit")):
            x = np.array([row[f"{key}_time"].replace(tzinfo=None) for row in own], "datetime64[ms]")
            label = f"{len(own):,} {name}" if key == "exit" else None
            axes.scatter(
                x, [row[f"{key}_price"] for row in own], s=size, marker=marker, color=colour, lw=0, label=label
            )
    axes.set_title(f"{symbol}, closes every {length}, with the trades", loc="left", fontweight="bold")
    if rows:
        axes.legend(loc="upper left")
    _split(axes, data)
    return figure


def _calibration(data: ReportData) -> "Figure":
    models = [model for model in data.scores if model.known.any()][:MAX_MODELS]
    figure = _figure(4.2 * len(models), 4.2)
    for axes, model in zip(np.atleast_1d(figure.subplots(1, len(models))), models, strict=True):
        bins = evidence.calibration(model)
        ends = [min(bins.predicted.min(), bins.observed.min()), max(bins.predicted.max(), bins.observed.max())]
        axes.plot(ends, ends, color=MUTED, lw=1, ls=":")
        axes.axhline(np.average(bins.observed, weights=bins.count), color=HOLD, lw=1.2, ls="--", label="base rate")
        axes.plot(bins.predicted, bins.observed, color=ACCENT, lw=1.6, marker="o", ms=4, label="observed")
        axes.set_title(model.name, loc="left", fontweight="bold")
        axes.set_xlabel("predicted")
    axes.legend(loc="upper left")
    return figure


def _grid(data: ReportData) -> "Figure":
    from matplotlib.colors import LinearSegmentedColormap

    assert data.grid is not None
    metric, used = data.metrics["grid"]["metric"], data.metrics["thresholds"]["used"]
    parts = {part: figures.surface(data.grid, f"{part}_{metric}") for part in ("selection", "evaluation")}
    limit = figures.colour_limit([z for _, _, z in parts.values()])
    colours = LinearSegmentedColormap.from_list("gain", [DOWN, "#ffffff", UP])
    figure = _figure(10.5, 4.6)
    for axes, (part, (buys, sells, z)) in zip(figure.subplots(1, 2), parts.items(), strict=True):
        image = axes.pcolormesh(buys, sells, z, cmap=colours, vmin=-limit, vmax=limit, shading="nearest")
        axes.scatter([used["buy"]], [used["sell"]], s=120, facecolors="none", edgecolors="#16202c", lw=2)
        chosen = " (thresholds chosen here)" if part == "selection" else ""
        axes.set_title(f"{metric}, {part} part{chosen}", loc="left", fontweight="bold", fontsize=10)
        axes.set_xlabel("buy threshold")
        axes.grid(False)
    figure.colorbar(image, ax=figure.axes, shrink=0.85)
    figure.axes[0].set_ylabel("sell threshold")
    return figure


def _split(axes: "Axes", data: ReportData) -> None:
    if data.split_ms is not None:
        axes.axvline(_dates(np.array([data.split_ms]))[0], color=MUTED, lw=1.2, ls="--")


def _dates(times: Any) -> Any:
    return times.astype("datetime64[ms]")
