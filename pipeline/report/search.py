"""The page of a search: what it found in a plain sentence, which keys mattered, every set, and how it went."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
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
    """A line for each set that saw all blocks, through the values of its keys to what it was worth; the best in colour.

    Plain lines over axes of one height: plotly's own parallel coordinates need WebGL, which not every browser has.
    """
    whole = sorted((trial for trial in result["trials"] if trial["complete"]), key=lambda trial: trial["worth"])
    labels = _brief(list(result["space"]))
    axes = [_axis(axis) for axis in result["space"].values()]
    values = [trial["objective"] for trial in whole]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    top = max(1, len(whole) // 5)
    data = []
    for rank, trial in enumerate(whole):
        good = rank >= len(whole) - top
        places = [place(trial["values"][key]) for key, (place, _, _) in zip(result["space"], axes, strict=True)]
        places.append((trial["objective"] - low) / (high - low) if high > low else 0.5)
        told = [f"{label}: {_shown(trial['values'][key])}" for key, label in zip(result["space"], labels, strict=True)]
        words = "<br>".join(map(_drawn, [f"trial {trial['number']}: {trial['objective']:.3f}", *told]))
        data.append(
            {
                "type": "scatter", "mode": "lines", "x": list(range(len(places))), "y": _short(places),
                "line": {"color": "$accent" if good else "$muted/0.35", "width": 2 if good else 1}, "showlegend": False,
                "text": words, "hovertemplate": "%{text}<extra></extra>", "hoveron": "points",
            }
        )  # fmt: skip
    ends = [(bottom, above) for _, bottom, above in axes] + [(f"{low:.3g}", f"{high:.3g}")]
    font = {"size": 11, "color": "$muted"}
    notes = [
        {"x": x, "y": y, "text": _drawn(words[:14]), "showarrow": False, "yshift": shift, "font": font}
        for x, pair in enumerate(ends)
        for y, words, shift in ((0, pair[0], -10), (1, pair[1], 10))
    ]
    lines = [
        {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": {"color": "$muted", "width": 1}, "layer": "below"}
        for x in range(len(ends))
    ]
    ticks = [*(label.replace(".", ".<br>") for label in map(_drawn, labels)), _objective(result)]
    layout = {
        "xaxis": {
            "tickvals": list(range(len(ends))),
            "ticktext": ticks,
            "showgrid": False,
            "zeroline": False,
            "range": [-0.5, len(ends) - 0.5],
        },
        "yaxis": {"visible": False, "range": [-0.08, 1.08]},
        "annotations": notes,
        "shapes": lines,
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def importance_chart(importances: Mapping[str, Mapping[str, float]]) -> Figure:
    """Share of each key in the differences between sets, by two methods."""
    first = next(iter(importances.values()))
    keys = sorted({key for shares in importances.values() for key in shares}, key=lambda key: first.get(key, 0.0))
    data = [
        {
            "type": "bar", "orientation": "h", "name": EVALUATORS[name], "y": _brief(keys),
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
    head = ["Trial", _objective(result), *(["Return", "Trades"] if traded else []), *_brief(keys)]
    rows = [
        [
            str(trial["number"]), f"<b>{text.number(trial['objective'], 3)}</b>",
            *([text.percent(trial["total_return"]), text.number(trial["trades"])] if traded else []),
            *(escape(_shown(trial["values"].get(key))) for key in keys),
        ]
        for trial in whole[:LISTED]
    ]  # fmt: skip
    lead = f"Sets that saw all blocks, the best {len(rows)} of {len(whole)} below; the best fifth in colour above."
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
        ends = [_shown(value) for value in axis.get("choices") or [axis["low"], axis["high"]]]
        tried = f"one of {', '.join(ends)}" if "choices" in axis else f"{ends[0]} to {ends[1]}"
        scale = "logarithmic" if axis.get("log") else f"in steps of {axis['step']:g}" if "step" in axis else ""
        best, standing = result["best"]["values"].get(key), result["standing"]
        before = _shown(standing["values"].get(key)) if standing else text.UNKNOWN
        rows.append(
            [
                escape(key),
                escape(f"{tried}, {scale}" if scale else tried),
                escape(before),
                escape(_shown(best)),
            ]
        )
    head = ["Key", "Tried", "As it stood", "Best"]
    return section("space", "Space", table(head, rows, kind="wide"), lead=f"Seed {result['seed']}.")


def _axis(axis: Mapping[str, Any]) -> tuple[Callable[[Any], float], str, str]:
    # Where a value stands between 0 and 1, and what the ends are.
    if "choices" in axis:
        choices = axis["choices"]
        return lambda value: choices.index(value) / (len(choices) - 1), _shown(choices[0]), _shown(choices[-1])
    scale: Callable[[float], float] = math.log if axis.get("log") else float
    low, high = scale(axis["low"]), scale(axis["high"])
    return lambda value: (scale(value) - low) / (high - low), _shown(axis["low"]), _shown(axis["high"])


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


def _brief(keys: Sequence[str]) -> list[str]:
    # The end of a key says most: train.algorithms.0.params.num_leaves → params.num_leaves; as much as tells them apart.
    parts = {key: key.split(".") for key in keys}
    short = []
    for key in keys:
        size = 2
        while size < len(parts[key]) and any(
            other != key and parts[other][-size:] == parts[key][-size:] for other in keys
        ):
            size += 1
        short.append(".".join(parts[key][-size:]))
    return short


def _shown(value: Any) -> str:
    if value is None:
        return text.UNKNOWN
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _drawn(words: str) -> str:
    # For plotly, which reads a little HTML, and of entities these only.
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _short(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _day(iso: str) -> str:
    return text.day(text.parse_ms(iso))
