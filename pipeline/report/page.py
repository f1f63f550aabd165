"""The report as one HTML file that needs nothing else: no network, no other file."""

import json
from importlib.resources import files
from string import Template
from typing import Any

from pipeline.errors import BadInput
from pipeline.report import figures, luck, models, paths, provenance, results, risk, selection, shadow, text
from pipeline.report.data import ReportData
from pipeline.report.html import escape

SECTIONS = (
    ("figures", "Figures", results.figures),
    ("luck", "Luck", luck.luck),
    ("price", "Price", results.price),
    ("equity-section", "Equity", results.equity),
    ("months", "Months", results.months),
    ("scores", "Scores", models.scores),
    ("folds", "Walk-forward", models.folds),
    ("paths", "Paths", paths.paths),
    ("selection", "Chosen features", selection.selection),
    ("importance", "Features", models.importance),
    ("thresholds", "Thresholds", results.thresholds),
    ("rules", "Rules", risk.rules),
    ("stress", "Stress", risk.stress),
    ("trades", "Trades", results.trades),
    ("shadow", "Shadow run", shadow.shadow),
    ("gaps", "Gaps", provenance.gaps),
    ("provenance", "How made", provenance.provenance),
)

# Of a strategy without a model there is nothing to show here.
LEARNT = ("scores", "folds", "paths", "selection", "importance")


def render(data: ReportData) -> str:
    """The page. The same data give the same bytes.

    Raises BadInput: plotly is not installed.
    """
    library = plotly_script()
    assets = files("pipeline.report") / "assets"
    made = [(anchor, name, make(data)) for anchor, name, make in SECTIONS if anchor not in LEARNT or data.learnt]
    made = [part for part in made if part[2]]  # a section that does not apply is empty
    drawn = json.dumps(charts(data), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Template((assets / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(data.title),
        description=escape(text.verdict(data.metrics)),
        style=(assets / "report.css").read_text(encoding="utf-8"),
        nav="".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in made),
        header=results.header(data),
        sections="\n".join(part for _, _, part in made),
        figures=drawn.replace("<", "\\u003c"),  # or a text with </script> would end the element
        plotly=library,
        script=(assets / "report.js").read_text(encoding="utf-8"),
    )


def charts(data: ReportData) -> dict[str, figures.Figure]:
    """Every interactive chart, by the id of its place on the page."""
    split = data.split_ms
    drawn: dict[str, Any] = {
        f"price-{symbol}": figures.price_chart(symbol, bars, data.trades, split)
        for symbol, (bars, _) in data.candles.items()
    }
    drawn["equity"] = figures.equity_chart(data.curve, split)
    for model in data.scores:
        if model.known.any():
            drawn[f"scores-{model.name}"] = figures.score_chart(model)
            drawn[f"calibration-{model.name}"] = figures.calibration_chart(model)
    if data.folds is not None and data.folds["folds"]:
        drawn["folds-chart"] = figures.fold_chart(data.folds)
    if data.paths is not None and data.paths["distribution"]["trading"]:
        drawn["paths-chart"] = paths.paths_chart(data.paths, data.metrics["headline"]["sharpe"])
    if data.folds is not None and data.folds.get("selection", {}).get("by_size"):
        drawn["sizes-chart"] = selection.size_chart(data.folds["selection"]["by_size"])
    if data.grid is not None:
        surfaces = figures.grid_charts(data.grid, data.metrics["grid"]["metric"], data.metrics["thresholds"]["used"])
        drawn |= {f"grid-{part}": figure for part, figure in surfaces.items()}
    return drawn


def plotly_script() -> str:
    """The plotly library, from the installed package."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise missing("plotly") from None
    return str(get_plotlyjs())


def missing(package: str) -> BadInput:
    """The error that an optional package is not installed."""
    return BadInput(f"output: the package '{package}' is not installed", "pip install 'pipeline[report]'")
