"""The section of the cross-validation: what many histories of out-of-sample scores came to, beside the one shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report import text
from pipeline.report.data import ReportData
from pipeline.report.figures import Figure
from pipeline.report.html import chart, escape, note, section, table
from pipeline.report.results import FIGURES

SHOWN = ("total_return", "sharpe", "sortino", "max_drawdown", "trades", "win_rate", "profit_factor", "exposure")
SCORES = (("auc", "AUC", 3), ("log_loss", "log loss", 4), ("ece", "ECE", 4), ("r2", "R²", 4))
STYLES = {key: style for key, _, style in FIGURES}
NAMES = {key: name for key, name, _ in FIGURES}
HEAD = ("Mean", "5 %", "Median", "95 %")


def paths(data: ReportData) -> str:
    """The spread of each figure over the paths, and every path's own."""
    found = data.paths
    if found is None:
        hint = f"There is no cross-validation. Run `{data.stage('cross-validate')}`, then `{data.command}`."
        return section("paths", "Paths", note(hint))
    parts = [_scores(found["distribution"]["scores"])]
    if found["distribution"]["trading"]:
        parts = [chart("paths-chart", "tall", "Sharpe ratio and return of each path"), _trading(data, found), *parts]
    else:
        parts.append(note("The paths are scored, not traded: the config has no signal steps.", "plain"))
    lead = (
        f"{found['groups']} groups of bars from {found['edges'][0][:10]} to {found['edges'][-1][:10]}, "
        f"{found['test_groups']} tested at a time: {len(found['splits'])} splits, "
        f"whose scores make {len(found['paths'])} histories, each scored throughout by models that did not see it. The "
        "models of a group may have learned from later bars, which no trader could: read the spread, not the level. "
        f"Training rows whose outcome touches a tested one are left out, and {found['embargo_bars']:,} bars after it."
    )
    return section("paths", "Paths", *parts, lead=lead)


def paths_chart(found: Mapping[str, Any], shown: float | None) -> Figure:
    """Sharpe ratio of each path, the 5-95 % range shaded, the simulation's own dashed; returns below."""
    numbers = [str(path["path"]) for path in found["paths"]]
    trading = [path["trading"] for path in found["paths"]]
    spread = found["distribution"]["trading"]["sharpe"]
    data = [
        _bars(numbers, [one["sharpe"] for one in trading], "Sharpe ratio", "y", "%{y:.2f}"),
        _bars(numbers, [one["total_return"] for one in trading], "total return", "y2", "%{y:+.1%}"),
    ]
    across = {"xref": "paper", "x0": 0, "x1": 1}
    shapes: list[dict[str, Any]] = []
    if spread["p5"] is not None:
        band = {"type": "rect", "y0": spread["p5"], "y1": spread["p95"], "fillcolor": "$accent/0.12"}
        shapes.append({**across, **band, "line": {"width": 0}, "layer": "below"})
    if shown is not None:
        line = {"type": "line", "y0": shown, "y1": shown, "line": {"color": "$hold", "width": 1.5, "dash": "dash"}}
        shapes.append({**across, **line})
    layout = {
        "xaxis": {"title": {"text": "path"}, "type": "category", "anchor": "y2"},
        "yaxis": {"title": {"text": "Sharpe ratio"}, "domain": [0.46, 1]},
        "yaxis2": {"title": {"text": "return"}, "domain": [0, 0.36], "tickformat": "+.0%"},
        "shapes": shapes,
        "showlegend": False,
    }
    return {"data": data, "layout": layout}


def _bars(x: list[str], y: Sequence[float | None], name: str, axis: str, shown: str) -> dict[str, Any]:
    rounded = [None if value is None else float(f"{value:.6g}") for value in y]
    return {
        "type": "bar", "name": name, "x": x, "y": rounded, "yaxis": axis, "marker": {"color": "$accent/0.6"},
        "hovertemplate": f"path %{{x}}: {shown}<extra>{name}</extra>",
    }  # fmt: skip


def _trading(data: ReportData, found: Mapping[str, Any]) -> str:
    spreads, own = found["distribution"]["trading"], data.metrics["headline"]
    rows = [
        [
            escape(NAMES[key]),
            *(_written(key, spreads[key][part]) for part in ("mean", "p5", "median", "p95")),
            _written(key, own.get(key)),
        ]
        for key in SHOWN
    ]
    return table(["Over the paths", *HEAD, "Simulated"], rows, caption="After costs, traded as the simulation is")


def _scores(models: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(f"{name}, {title}"),
            *(text.number(spreads[metric][part], digits) for part in ("mean", "p5", "median", "p95")),
        ]
        for name, spreads in models.items()
        for metric, title, digits in SCORES
        if metric in spreads
    ]
    return table(["Over the paths", *HEAD], rows, caption="Scores, out of sample")


def _written(key: str, value: float | None) -> str:
    if key == "trades":
        return text.number(value, 1)
    style = STYLES[key]
    if style in ("percent", "percent2"):
        return text.percent(value, 2 if style == "percent2" else 1)
    return text.percent(value, sign=False) if style == "share" else text.number(value)
