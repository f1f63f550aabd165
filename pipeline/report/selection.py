"""The section about chosen features: which, how steadily over the blocks, and what more of them cost."""

from collections.abc import Mapping
from typing import Any

from pipeline.report import text
from pipeline.report.data import ReportData
from pipeline.report.figures import Figure
from pipeline.report.html import chart, columns, escape, note, section, table

LISTED = 20
METHODS = {
    "mrmr": "minimum redundancy, maximum relevance",
    "permutation": "permutation importance of clusters of correlated features",
    "shadow": "shadow features, as in Boruta",
}


def selection(data: ReportData) -> str:
    """Stability of the choice over the blocks, and scores by number of features; nothing if none were chosen."""
    found = (data.folds or {}).get("selection")
    if not found:
        return ""
    blocks = data.folds["folds"] if data.folds else []
    rows, lists = [], []
    for label, facts in found["stability"].items():
        noise = sum(label in block.get("no_better_than_noise", []) for block in blocks)
        rows.append(
            [
                escape(label),
                text.number(facts["mean_features"], 1),
                text.number(facts["nogueira"]),
                text.number(facts["jaccard"]),
                text.number(noise),
            ]
        )
        shares = list(facts["share_of_folds"].items())
        bars = "".join(
            f'<li><span class="name">{escape(name)}</span>'
            f'<span class="bar" style="--share:{100 * share:.1f}%"></span>'
            f'<span class="share">{text.percent(share, 0, sign=False)}</span></li>'
            for name, share in shares[:LISTED]
        )
        more = f"<small>{min(LISTED, len(shares))} of {len(shares)} ever chosen</small>" if len(shares) > LISTED else ""
        lists.append(f'<h3>{escape(label)}{more}</h3><ol class="importance">{bars}</ol>')
    head = ["Label", "Features, mean", "Stability (Nogueira)", "Overlap (Jaccard)", "Blocks with none above noise"]
    parts = [table(head, rows), columns(*lists, kind="pairs")]
    if found["by_size"]:
        parts += [chart("sizes-chart", "medium", "Scores by number of features"), *_cost(found["by_size"])]
    lead = (
        f"Chosen in each block from its own training rows by {METHODS[found['method']]}. Bars: the share of blocks "
        "that chose a feature. Stability is 1 if every block chose the same, about 0 if by lot."
    )
    return section("selection", "Chosen features", *parts, lead=lead)


def size_chart(by_size: Mapping[str, Any]) -> Figure:
    """Out-of-fold skill against the number of features, a line for each model."""
    colours = ("$accent", "$hold", "$up", "$down", "$muted")
    data = []
    for (name, lines), colour in zip(by_size.items(), colours, strict=False):
        points = [(line["features"], _skill(line)) for line in sorted(lines, key=lambda one: int(one["features"]))]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [size for size, skill in points if skill is not None],
                "y": [float(f"{skill:.5g}") for _, skill in points if skill is not None],
                "line": {"color": colour, "width": 2},
                "hovertemplate": "%{x} features: %{y:.4f}<extra>" + name + "</extra>",
            }
        )
    yes_or_no = all("auc" in line for lines in by_size.values() for line in lines)
    axes = {
        "xaxis": {"title": {"text": "features, the best first"}},
        "yaxis": {"title": {"text": "AUC, out of fold" if yes_or_no else "AUC or correlation, out of fold"}},
    }
    return {"data": data, "layout": {**axes, "showlegend": True}}


def _cost(by_size: Mapping[str, Any]) -> list[str]:
    said = []
    for name, lines in by_size.items():
        known = [(line["features"], skill) for line in lines if (skill := _skill(line)) is not None]
        if len(known) < 2:
            continue
        most, best = max(known), max(known, key=lambda point: (point[1], -point[0]))
        if best[0] == most[0]:
            said.append(f"{name}: the most features tried, {most[0]}, score best ({best[1]:.4f}).")
        else:
            said.append(
                f"{name}: {best[0]} features score best ({best[1]:.4f}); {most[0]} score {most[1]:.4f}. Which is "
                "best was seen afterwards: as a choice it would be one more trial."
            )
    return [note(words, "plain") for words in said]


def _skill(line: Mapping[str, Any]) -> float | None:
    found: float | None = line.get("auc") if "auc" in line else line.get("correlation")
    return found
