"""`pipeline show`: the figures that matter of a finished run, and where its report is."""

import json
from typing import Any

from pipeline.artifacts import Layout, read_json
from pipeline.stages.reporting import print_json
from pipeline.stages.runner import Options


def show(options: Options) -> None:
    """Print the headline of the simulation and the path of the report.

    Raises MissingInput: the run has not come that far.
    """
    config, layout = options.load()
    metrics = read_json(layout.simulation / "metrics.json", f"simulate -c configs/{config.name}.yaml")
    if options.json:
        print_json(_figures(metrics, layout))
    else:
        print("\n".join(_lines(metrics, layout)))


def _figures(metrics: dict[str, Any], layout: Layout) -> dict[str, Any]:
    part = metrics["headline_part"]
    report = layout.output / "report.html"
    return {
        "name": metrics["name"],
        "part": part,
        "headline": metrics["headline"],
        "buy_and_hold": metrics["buy_and_hold"][part],
        "thresholds": metrics["thresholds"]["used"],
        "in_sample": metrics["in_sample"],
        "auc": _auc(layout),
        "p_value": (metrics["random_entry"] or {}).get("p_value"),
        "significance": metrics.get("significance"),
        "report": str(report) if report.is_file() else None,
    }


def _lines(metrics: dict[str, Any], layout: Layout) -> list[str]:
    figures = _figures(metrics, layout)
    headline, hold = figures["headline"], figures["buy_and_hold"]
    since = metrics["split_time"] if figures["part"] == "evaluation" else metrics["period"]["start"]
    seen = "IN SAMPLE: the models saw these bars; no evidence" if figures["in_sample"] else "walk-forward, after costs"
    lines = [
        f"{metrics['name']}: {', '.join(metrics['symbols'])} {metrics['interval']}, "
        f"{since[:10]} to {metrics['period']['end'][:10]} ({seen})",
        f"  return        {_percent(headline['total_return'])}   buy & hold {_percent(hold['total_return'])}",
        f"  Sharpe        {_number(headline['sharpe'])}   buy & hold {_number(hold['sharpe'])}",
        f"  max drawdown  {_percent(headline['max_drawdown'])}   buy & hold {_percent(hold['max_drawdown'])}",
        f"  trades        {headline['trades']}, {_percent(headline['win_rate'], sign=False)} won",
        f"  luck          p = {_number(figures['p_value'], 3)} against random entries of equal exposure",
    ]
    if metrics.get("significance"):
        lines.append(f"                {metrics['significance']['sentence']}")
    lines += [f"  AUC           {_number(auc, 3)} for {model}, out of sample" for model, auc in figures["auc"].items()]
    lines.append(f"report: {figures['report'] or f'none yet; run `pipeline output -c configs/{layout.name}.yaml`'}")
    return lines


def _auc(layout: Layout) -> dict[str, float]:
    try:
        pooled = json.loads(layout.folds.read_text(encoding="utf-8"))["pooled"]
    except (OSError, ValueError, KeyError):
        return {}  # a run without walk-forward has none to show
    return {model: scores["auc"] for model, scores in pooled.items() if scores.get("auc") is not None}


def _percent(value: float | None, sign: bool = True) -> str:
    return "none" if value is None else f"{value:+.1%}" if sign else f"{value:.0%}"


def _number(value: float | None, digits: int = 2) -> str:
    return "none" if value is None else f"{value:.{digits}f}"
