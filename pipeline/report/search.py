"""The page of a search: what it found in a plain sentence, which keys mattered, every set, and how it went."""

import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from pipeline.report import text
from pipeline.report.figures import Figure
from pipeline.report.html import card, chart, escape, note, section, table
from pipeline.report.page import plotly_script

LISTED = 20
EVALUATORS = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}


def render(result: Mapping[str, Any]) -> str:
    """The page of a result.json. The same result gives the same bytes.

    Raises BadInput: plotly is not installed.
    """
    library = plotly_script()
    assets = files("pipeline.report") / "assets"
    parts = [
        ("luck", "Luck", _luck(result)),
        ("importance", "Importance", _importance(result)),
        ("sets", "Sets", _sets(result)),
        ("history", "History", _history(result)),
        ("space", "Space", _space(result)),
    ]
    drawn = json.dumps(charts(result), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Template((assets / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"{result['name']}: search"),
        description=escape(result["sentence"]),
        style=(assets / "report.css").read_text(encoding="utf-8"),
        nav="".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in parts),
        header=_header(result),
        sections="\n".join(part for _, _, part in parts),
        figures=drawn.replace("<", "\\u003c"),
        plotly=library,
        script=(assets / "report.js").read_text(encoding="utf-8"),
    )


def charts(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Every interactive chart, by the id of its place on the page."""
    drawn = {"history-chart": history_chart(result), "parallel": parallel_chart(result)}
    if result["importances"]:
        drawn["importance-chart"] = importance_chart(result["importances"])
    if result["holdout"] and result["holdout"]["curve"]:
        drawn["holdout-chart"] = holdout_chart(result["holdout"])
    return drawn


def history_chart(result: Mapping[str, Any]) -> Figure:
    """The objective of each set in the order they were tried, and the best so far."""
    seen = [trial for trial in result["trials"] if trial["objective"] is not None]
    whole = [trial for trial in seen if trial["complete"]]
    cut = [trial for trial in seen if not trial["complete"]]
    best = np.maximum.accumulate(np.array([trial["worth"] for trial in whole]))
    hover = "trial %{x}: %{y:.3f}<extra></extra>"
    data = [
        _points([t["number"] for t in cut], [t["objective"] for t in cut], "ended early", "$muted/0.6", hover),
        _points([t["number"] for t in whole], [t["objective"] for t in whole], "all blocks", "$accent", hover),
        {
            "type": "scatter", "mode": "lines", "name": "best so far", "x": [t["number"] for t in whole],
            "y": _short(best), "line": {"color": "$hold", "width": 1.5, "shape": "hv"}, "hoverinfo": "skip",
        },
    ]  # fmt: skip
    axes = {"xaxis": {"title": {"text": "trial"}}, "yaxis": {"title": {"text": _objective(result)}}}
    return {"data": data, "layout": {**axes, "hovermode": "closest"}}


def parallel_chart(result: Mapping[str, Any]) -> Figure:
    """A line for each set that saw all blocks, through the values of its keys to what it was worth."""
    whole = [trial for trial in result["trials"] if trial["complete"]]
    values = [trial["objective"] for trial in whole]
    dimensions = [
        _dimension(key, axis, [trial["values"][key] for trial in whole]) for key, axis in result["space"].items()
    ]
    dimensions.append({"label": _objective(result), "values": _short(values)})
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    line = {
        "color": _short(values), "colorscale": [[0, "$line"], [1, "$accent"]], "cmin": low,
        "cmax": high if high > low else low + 1,
    }  # fmt: skip
    layout = {"margin": {"l": 70, "r": 50, "t": 60, "b": 20}}
    return {"data": [{"type": "parcoords", "line": line, "dimensions": dimensions}], "layout": layout}


def importance_chart(importances: Mapping[str, Mapping[str, float]]) -> Figure:
    """Share of each key in the differences between sets, by two methods."""
    first = next(iter(importances.values()))
    keys = sorted({key for shares in importances.values() for key in shares}, key=lambda key: first.get(key, 0.0))
    data = [
        {
            "type": "bar", "orientation": "h", "name": EVALUATORS[name], "y": [_brief(key) for key in keys],
            "x": _short([shares.get(key, 0.0) for key in keys]), "marker": {"color": colour},
            "hovertemplate": "%{y}: %{x:.0%}<extra>" + EVALUATORS[name] + "</extra>",
        }
        for (name, shares), colour in zip(importances.items(), ("$accent", "$hold"), strict=False)
    ]  # fmt: skip
    return {"data": data, "layout": {"barmode": "group", "xaxis": {"tickformat": ".0%"}}}


def holdout_chart(holdout: Mapping[str, Any]) -> Figure:
    """Growth of the best set's account on the bars kept out."""
    days = np.array([day for day, _ in holdout["curve"]], np.int64).astype("datetime64[D]")
    line = {
        "type": "scatter", "mode": "lines", "name": "account", "x": [str(day) for day in days],
        "y": [value for _, value in holdout["curve"]], "line": {"color": "$accent", "width": 2},
        "hovertemplate": "%{y:.3f}<extra></extra>",
    }  # fmt: skip
    return {"data": [line], "layout": {"xaxis": {"type": "date"}, "yaxis": {"title": {"text": "growth of 1"}}}}


def _header(result: Mapping[str, Any]) -> str:
    best, standing, holdout, evidence = (result[name] for name in ("best", "standing", "holdout", "evidence"))
    early = sum(not trial["complete"] for trial in result["trials"])
    cards = [card("sets tried", text.number(len(result["trials"])), f"{early} ended early")]
    beside = f"as it stands {text.number(standing['objective'])}" if standing else ""
    cards.append(card(f"best {_objective(result)}, inner blocks", text.number(best["objective"]), beside))
    if evidence and evidence["dsr"] is not None:
        good = "up" if evidence["dsr"] >= evidence["confidence"] else "down"
        cards.append(card("deflated Sharpe ratio", text.number(evidence["dsr"]), "evidence from 0.95 on", good))
    if holdout and holdout["sharpe"] is not None:
        tone = "up" if holdout["total_return"] > 0 else "down"
        cards.append(card("holdout, Sharpe ratio", text.number(holdout["sharpe"]), f"{holdout['days']} days", tone))
        beside = f"the price {text.percent(holdout['price'])}"
        cards.append(card("holdout, return", text.percent(holdout["total_return"]), beside, tone))
    about = f"{', '.join(result['symbols'])} {result['interval']}, searched from {result['config']}"
    return (
        f'<header><h1>{escape(result["name"])}: search</h1><p class="lead">{escape(about)}</p>'
        f'{note(result["sentence"], "plain")}<div class="cards">{"".join(cards)}</div></header>'
    )


def _luck(result: Mapping[str, Any]) -> str:
    blocks, outer = result["inner"], result["outer"]
    said = [note(found["sentence"], "plain") for found in (result["evidence"], result["overfitting"]) if found]
    holdout = result["holdout"]
    if holdout is None:
        said.append(note("The holdout has not been looked at: run `pipeline optimize` without --no-holdout."))
    elif holdout["looks"] > 1:
        said.append(note(f"{holdout['looks']} sets have been tried on the holdout: it is no longer unseen.", "plain"))
    place = chart("holdout-chart", "medium", "Growth on the holdout") if holdout and holdout["curve"] else ""
    lead = (
        f"Every set was judged on {len(blocks)} blocks from {_day(blocks[0][0])} to {_day(blocks[-1][1])}, each scored "
        f"by models that learned only from bars before it. The bars from {_day(outer[0])} to {_day(outer[1])} were not "
        "there during the search. The best of many sets looks good by luck: the first sentence takes that off."
    )
    return section("luck", "Luck", *said, place, lead=lead)


def _importance(result: Mapping[str, Any]) -> str:
    if not result["importances"]:
        return section("importance", "Importance", note("Too few sets saw all blocks, or all were worth the same."))
    keys = list(next(iter(result["importances"].values())))
    rows = [
        [escape(key), *(text.percent(shares.get(key), 0, sign=False) for shares in result["importances"].values())]
        for key in keys
    ]
    head = ["Key", *(EVALUATORS[name] for name in result["importances"])]
    lead = (
        "How much of the difference between sets goes with each key. fANOVA asks over all sets, PED-ANOVA what sets "
        "the better ones apart. With few sets both are rough."
    )
    place = chart("importance-chart", "medium", "Importance of each key")
    return section("importance", "Importance", place, table(head, rows), lead=lead)


def _sets(result: Mapping[str, Any]) -> str:
    whole = sorted((t for t in result["trials"] if t["complete"]), key=lambda t: (-t["worth"], t["number"]))
    keys = list(result["space"])
    traded = any(trial["sharpe"] is not None for trial in whole)
    head = ["Trial", _objective(result), *(["Return", "Trades"] if traded else []), *(_brief(key) for key in keys)]
    rows = [
        [
            str(trial["number"]), f"<b>{text.number(trial['objective'], 3)}</b>",
            *([text.percent(trial["total_return"]), text.number(trial["trades"])] if traded else []),
            *(escape(_shown(trial["values"].get(key))) for key in keys),
        ]
        for trial in whole[:LISTED]
    ]  # fmt: skip
    lead = f"Sets that saw all blocks, the best {len(rows)} of {len(whole)}; lines may be brushed and axes moved."
    place = chart("parallel", "tall", "Parallel coordinates of all sets")
    return section("sets", "Sets", place, table(head, rows, kind="wide"), lead=lead)


def _history(result: Mapping[str, Any]) -> str:
    refused = [trial for trial in result["trials"] if trial["refused"]]
    said = (
        [note(f"{len(refused)} sets were refused, such as trial {refused[0]['number']}: {refused[0]['refused']}")]
        if refused
        else []
    )
    lead = "Points of sets that were ended early show the blocks that they saw, and do not compare with the others."
    return section("history", "History", chart("history-chart", "medium", "Sets in order"), *said, lead=lead)


def _space(result: Mapping[str, Any]) -> str:
    rows = []
    for key, axis in result["space"].items():
        how = "one of" if "choices" in axis else "from, to"
        values = axis.get("choices") or [axis["low"], axis["high"]]
        scale = "logarithmic" if axis.get("log") else f"in steps of {axis['step']:g}" if "step" in axis else ""
        best, standing = result["best"]["values"].get(key), result["standing"]
        before = _shown(standing["values"].get(key)) if standing else text.UNKNOWN
        rows.append(
            [
                escape(key),
                escape(f"{how} {', '.join(map(_shown, values))} {scale}"),
                escape(before),
                escape(_shown(best)),
            ]
        )
    head = ["Key", "Tried", "As it stood", "Best"]
    return section("space", "Space", table(head, rows), lead=f"Seed {result['seed']}.")


def _dimension(key: str, axis: Mapping[str, Any], values: list[Any]) -> dict[str, Any]:
    label = _brief(key)
    if "choices" in axis:
        names = [_shown(choice) for choice in axis["choices"]]
        places = [axis["choices"].index(value) for value in values]
        ticks = list(range(len(names)))
        return {
            "label": label,
            "values": places,
            "tickvals": ticks,
            "ticktext": names,
            "range": [-0.2, len(names) - 0.8],
        }
    if axis.get("log"):
        decades = np.linspace(np.log10(axis["low"]), np.log10(axis["high"]), 4)
        names = [f"{10**tick:.3g}" for tick in decades]
        return {"label": label, "values": _short(np.log10(values)), "tickvals": _short(decades), "ticktext": names}
    return {"label": label, "values": _short(values), "range": [axis["low"], axis["high"]]}


def _points(x: list[int], y: list[float], name: str, colour: str, hover: str) -> dict[str, Any]:
    marker = {"color": colour, "size": 7}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": x,
        "y": _short(y),
        "marker": marker,
        "hovertemplate": hover,
    }


def _objective(result: Mapping[str, Any]) -> str:
    return "Sharpe ratio" if result["objective"] == "sharpe" else "share of the loss saved"


def _brief(key: str) -> str:
    # The end of a key says most: train.algorithms.0.params.num_leaves → params.num_leaves.
    return ".".join(key.split(".")[-2:])


def _shown(value: Any) -> str:
    if value is None:
        return text.UNKNOWN
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _short(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _day(iso: str) -> str:
    return text.day(text.parse_ms(iso))
