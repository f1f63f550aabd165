"""The interactive charts, as plain plotly figures: {"data": […], "layout": {…}}.

Colours are names such as "$up" or "$up/0.3" (opacity): the page's script puts in those of the light or the
dark palette, which its style sheet declares once. Numbers are rounded to what can be seen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.report import text
from pipeline.report.data import Array, Bars, Curve, ModelScores
from pipeline.report.evidence import calibration, histogram

Figure = dict[str, Any]
# Markers beyond this make a browser slow; the latest trades are kept.
MARKED_TRADES = 2000


def price_chart(symbol: str, bars: Bars, trades: pa.Table, split_ms: int | None) -> Figure:
    """Candles with a symbol's entries and exits; profit and reason of each trade on hover."""
    own = trades.filter(pc.equal(trades["symbol"], symbol))
    own = own.slice(max(own.num_rows - MARKED_TRADES, 0))
    rows = own.to_pylist()
    candles = {
        "type": "candlestick",
        "name": symbol,
        "x": _times(bars.times),
        **{name: _rounded(getattr(bars, name)) for name in ("open", "high", "low", "close")},
        "increasing": {"line": {"color": "$up", "width": 1}, "fillcolor": "$up"},
        "decreasing": {"line": {"color": "$down", "width": 1}, "fillcolor": "$down"},
        "showlegend": False,
        "opacity": 0.7 if rows else 1,
    }
    data = [candles, *_trade_lines(rows), _entries(rows), _exits(rows)] if rows else [candles]
    layout = {
        "xaxis": {
            "rangeslider": {"visible": False},
            "type": "date",
            "range": [
                _iso(int(bars.times[0])),
                _iso(int(2 * bars.times[-1] - bars.times[max(len(bars.times) - 2, 0)])),
            ],
        },
        "yaxis": {"title": {"text": "price"}, "tickformat": ",~g"},
        "hovermode": "closest",
        "showlegend": bool(rows),
        **_split(split_ms, bars.times),
    }
    return {"data": data, "layout": layout}


def equity_chart(curve: Curve, split_ms: int | None) -> Figure:
    """Equity beside buy & hold, and below how far each is under its peak."""
    times = _times(curve.times)
    held_below = curve.hold / np.maximum.accumulate(curve.hold) - 1
    lines = [
        _line(times, curve.equity, "strategy", "$accent", width=2),
        _line(times, curve.hold, "buy & hold", "$hold", width=1.5),
        _line(times, curve.drawdown, "strategy's drawdown", "$accent", yaxis="y2", fill="tozeroy", percent=True),
        _line(times, held_below, "buy & hold's drawdown", "$hold", yaxis="y2", percent=True),
    ]
    layout = {
        "xaxis": {"type": "date", "anchor": "y2"},
        "yaxis": {"title": {"text": "equity, quote asset"}, "domain": [0.34, 1], "tickformat": ",~g"},
        "yaxis2": {"title": {"text": "drawdown"}, "domain": [0, 0.28], "tickformat": ",.0%"},
        "hovermode": "x unified",
        **_split(split_ms, curve.times),
    }
    return {"data": lines, "layout": layout}


def score_chart(model: ModelScores) -> Figure:
    """How the scores are distributed, apart for each outcome."""
    known = model.known
    score, outcome = model.score[known], model.outcome[known]
    groups = [("outcome: no", outcome == 0, "$muted"), ("outcome: yes", outcome == 1, "$accent")]
    if not model.boolean:
        groups = [("all rows", np.ones(len(score), bool), "$accent")]
    data = []
    for name, chosen, colour in groups:
        centres, share, width = histogram(score, chosen)
        data.append(
            {
                "type": "bar",
                "name": name,
                "x": _rounded(centres),
                "y": _rounded(share, 4),
                "width": width,
                "marker": {"color": f"{colour}/0.45", "line": {"width": 0}},
                "hovertemplate": "score %{x:.3f}: %{y:.1%} of these<extra>" + name + "</extra>",
            }
        )
    layout = {
        "barmode": "overlay",
        "bargap": 0,
        "xaxis": {"title": {"text": "score"}},
        "yaxis": {"title": {"text": "share of its class"}, "tickformat": ".0%"},
        "showlegend": model.boolean,
    }
    return {"data": data, "layout": layout}


def calibration_chart(model: ModelScores) -> Figure:
    """What came true against what was predicted, in bins of equal numbers of rows."""
    bins = calibration(model)
    predicted, observed, count = bins.predicted, bins.observed, bins.count
    low, high = float(min(predicted.min(), observed.min())), float(max(predicted.max(), observed.max()))
    pad = (high - low) * 0.08 or 0.05
    ends = [max(low - pad, 0.0) if model.boolean else low - pad, min(high + pad, 1.0) if model.boolean else high + pad]
    base = float(np.average(observed, weights=count))
    digits = ".3f" if model.boolean else ".4g"
    data = [
        _plain(ends, ends, "perfect", "$muted", dash="dot"),
        _plain(ends, [base, base], "base rate" if model.boolean else "mean outcome", "$hold", dash="dash"),
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "observed",
            "x": _rounded(predicted),
            "y": _rounded(observed),
            "customdata": count.tolist(),
            "line": {"color": "$accent", "width": 2},
            "marker": {"color": "$accent", "size": 7},
            "hovertemplate": f"predicted %{{x:{digits}}}, observed %{{y:{digits}}}"
            "<br>%{customdata:,} rows<extra></extra>",
        },
    ]
    layout = {"xaxis": {"title": {"text": "predicted"}}, "yaxis": {"title": {"text": "observed"}}}
    return {"data": data, "layout": layout}


def fold_chart(folds: Mapping[str, Any]) -> Figure:
    """Each walk-forward block's AUC beside 0.5, and what its log loss gains on the base rate's."""
    blocks = folds["folds"]
    starts = [block["test_start"] for block in blocks]
    data: list[dict[str, Any]] = []
    names = list(dict.fromkeys(name for block in blocks for name in block["scores"]))
    ranks = any("auc" in block["scores"].get(name, {}) for block in blocks for name in names)
    for number, name in enumerate(names):
        scores = [block["scores"].get(name, {}) for block in blocks]
        colour = f"$series{number % 6}"
        skill = [s.get("auc") if ranks else s.get("correlation") for s in scores]
        gain = [_gain(s) for s in scores]
        common = {"type": "scatter", "mode": "lines+markers", "x": starts, "legendgroup": name, "name": name}
        style = {"line": {"color": colour, "width": 1.8}, "marker": {"color": colour, "size": 5}}
        data.append({**common, **style, "y": _rounded(skill), "hovertemplate": "%{y:.3f}"})
        data.append(
            {**common, **style, "y": _rounded(gain), "yaxis": "y2", "showlegend": False, "hovertemplate": "%{y:+.4f}"}
        )
    flat = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "line": {"color": "$muted", "width": 1, "dash": "dot"}}
    null = 0.5 if ranks else 0
    layout = {
        "xaxis": {"type": "date", "anchor": "y2"},
        "yaxis": {"title": {"text": "AUC" if ranks else "correlation"}, "domain": [0.46, 1]},
        "yaxis2": {"title": {"text": "gain on base"}, "domain": [0, 0.36], "tickformat": "+~g"},
        "shapes": [{**flat, "y0": null, "y1": null}, {**flat, "y0": 0, "y1": 0, "yref": "y2"}],
        "hovermode": "x unified",
    }
    return {"data": data, "layout": layout}


def grid_charts(grid: pa.Table, metric: str, used: Mapping[str, float]) -> dict[str, Figure]:
    """The searched metric over both thresholds, of each part, in one colour scale; the pair traded is marked."""
    surfaces = {part: surface(grid, f"{part}_{metric}") for part in ("selection", "evaluation")}
    limit = colour_limit([z for _, _, z in surfaces.values()])
    figures = {}
    for part, (buys, sells, z) in surfaces.items():
        heat = {
            "type": "heatmap",
            "x": _rounded(buys),
            "y": _rounded(sells),
            "z": [_rounded(row, 4) for row in z],
            "colorscale": [[0, "$down"], [0.5, "$panel"], [1, "$up"]],
            "zmin": -limit,
            "zmax": limit,
            "showscale": part == "evaluation",
            "colorbar": {"thickness": 10, "outlinewidth": 0, "tickformat": ",~g"},
            "hovertemplate": f"buy %{{x:.4g}}, sell %{{y:.4g}}<br>{metric} %{{z:.3g}}<extra></extra>",
        }
        mark = {
            "type": "scatter",
            "mode": "markers",
            "x": [used["buy"]],
            "y": [used["sell"]],
            "marker": {"symbol": "circle-open", "size": 16, "color": "$ink", "line": {"width": 3, "color": "$ink"}},
            "hovertemplate": "traded with: buy %{x:.4g}, sell %{y:.4g}<extra></extra>",
        }
        layout = {
            "xaxis": {"title": {"text": "buy threshold"}, "showgrid": False, "zeroline": False},
            "yaxis": {"title": {"text": "sell threshold"}, "showgrid": False, "zeroline": False},
            "showlegend": False,
        }
        figures[part] = {"data": [heat, mark], "layout": layout}
    return figures


def surface(grid: pa.Table, column: str) -> tuple[Array, Array, Array]:
    """A grid column as a matrix: buy thresholds [n], sell thresholds [m], values [m, n], NaN where undefined."""
    buy, sell = grid["buy"].to_numpy(), grid["sell"].to_numpy()
    buys, sells = np.unique(buy), np.unique(sell)
    z = np.full((len(sells), len(buys)), np.nan)
    z[np.searchsorted(sells, sell), np.searchsorted(buys, buy)] = grid[column].to_numpy()
    return buys, sells, z


def colour_limit(surfaces: Sequence[Array]) -> float:
    """Where a colour scale around zero ends: beyond the 2nd and 98th percentile, few wild pairs would rule it."""
    values = np.concatenate([z[np.isfinite(z)] for z in surfaces])
    return (float(np.abs(np.percentile(values, [2, 98])).max()) if len(values) else 0.0) or 1.0


def _trade_lines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = []
    for name, colour, won in (("winning trade", "$up", True), ("losing trade", "$down", False)):
        own = [row for row in rows if (row["pnl"] > 0) == won]
        x = [t for row in own for t in (_time(row["entry_time"]), _time(row["exit_time"]), None)]
        y = [p for row in own for p in (*_rounded([row["entry_price"], row["exit_price"]]), None)]
        lines.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": x,
                "y": y,
                "line": {"color": colour, "width": 2},
                "hoverinfo": "skip",
            }
        )
    return lines


def _marker_size(rows: list[dict[str, Any]]) -> int:
    return 10 if len(rows) <= 80 else 8 if len(rows) <= 300 else 6


def _entries(rows: list[dict[str, Any]]) -> dict[str, Any]:
    up = [row["side"] == "long" for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "entry",
        "x": [_time(row["entry_time"]) for row in rows],
        "y": _rounded([row["entry_price"] for row in rows]),
        "marker": {
            "symbol": ["triangle-up" if u else "triangle-down" for u in up],
            "size": _marker_size(rows),
            "color": "$ink",
            "line": {"color": "$panel", "width": 1},
        },
        "text": [
            f"<b>{row['side']} entry</b><br>{text.clock(_ms(row['entry_time']))}<br>at {text.price(row['entry_price'])}"
            for row in rows
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _exits(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "exit",
        "x": [_time(row["exit_time"]) for row in rows],
        "y": _rounded([row["exit_price"] for row in rows]),
        "marker": {
            "symbol": "circle",
            "size": _marker_size(rows) - 1,
            "color": ["$up" if row["pnl"] > 0 else "$down" for row in rows],
            "line": {"color": "$panel", "width": 1},
        },
        "text": [
            f"<b>{row['side']} exit: {row['exit_reason'].replace('_', ' ')}</b>"
            f"<br>{text.clock(_ms(row['exit_time']))}<br>at {text.price(row['exit_price'])}"
            f"<br>{text.percent(row['return'], 2)} ({text.number(row['pnl'])}), {row['bars_held']} bars"
            for row in rows
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _line(
    times: list[str],
    values: Array,
    name: str,
    colour: str,
    *,
    width: float = 1,
    yaxis: str = "y",
    fill: str | None = None,
    percent: bool = False,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": times,
        "y": _rounded(values),
        "yaxis": yaxis,
        "line": {"color": colour, "width": width},
        "showlegend": not percent,
        "hovertemplate": "%{y:.1%}" if percent else "%{y:,.0f}",
        **({"fill": fill, "fillcolor": f"{colour}/0.2"} if fill else {}),
    }


def _plain(x: list[float], y: list[float], name: str, colour: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": _rounded(x),
        "y": _rounded(y),
        "line": {"color": colour, "width": 1.5, "dash": dash},
        "hoverinfo": "skip",
    }


def _split(split_ms: int | None, times: npt.NDArray[np.int64]) -> dict[str, Any]:
    if split_ms is None or not times[0] < split_ms <= times[-1]:
        return {}
    x = _iso(split_ms)
    line = {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1}
    chosen = {"type": "rect", "xref": "x", "yref": "paper", "x0": _iso(int(times[0])), "x1": x, "y0": 0, "y1": 1}
    note = {"xref": "x", "yref": "paper", "y": 1, "yanchor": "top", "showarrow": False, "x": x}
    font = {"size": 11, "color": "$muted"}
    return {
        "shapes": [
            {**chosen, "fillcolor": "$chosen/0.10", "line": {"width": 0}, "layer": "below"},
            {**line, "line": {"color": "$muted", "width": 1.5, "dash": "dash"}},
        ],
        "annotations": [
            {**note, "text": "← thresholds chosen ", "xanchor": "right", "font": font},
            {**note, "text": " evaluation →", "xanchor": "left", "font": font},
        ],
    }


def _gain(scores: Mapping[str, Any]) -> float | None:
    loss = "log_loss" if "log_loss" in scores else "rmse"
    base, own = scores.get(f"base_{loss}"), scores.get(loss)
    return None if base is None or own is None else base - own


def _rounded(values: Any, digits: int = 6) -> list[float | None]:
    # Significant digits; JSON has no NaN.
    return [float(f"{v:.{digits}g}") if v is not None and np.isfinite(v) else None for v in values]


def _times(times: npt.NDArray[np.int64]) -> list[str]:
    return [str(t) for t in np.datetime_as_string(times.astype("datetime64[ms]"), unit="m")]


def _iso(time_ms: int) -> str:
    return text.moment(time_ms).strftime("%Y-%m-%dT%H:%M")


def _time(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M"))


def _ms(moment: Any) -> int:
    return round(moment.timestamp() * 1000)
