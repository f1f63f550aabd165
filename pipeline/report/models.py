"""The sections about scores: how good, how calibrated, from which features, stable over time?"""

from collections.abc import Mapping
from typing import Any

from pipeline.report import evidence, text
from pipeline.report.data import ModelScores, ReportData
from pipeline.report.html import chart, columns, escape, note, section, table

LISTED_FEATURES = 25


def scores(data: ReportData) -> str:
    """Every model's scores beside the null's, their distribution and calibration."""
    if not data.scores:
        run = f"Run `{data.stage('labels')}` and `{data.stage('predict-rolling')}`, then `{data.command}`."
        return section("scores", "Scores", note(f"There are no scores with outcomes. {run}"))
    rows = [(model, evidence.scores(model)) for model in data.scores]
    blocks = []
    if any(model.boolean for model, _ in rows):
        before = any(_uncalibrated(data, model) for model in data.scores)
        head = ["Model", "AUC", "Log loss", "of base rate", "Brier", "of base rate", "ECE"]
        head += [*(["before calibration"] if before else []), "Average precision"]
        head += ["Base rate", "AUC without direction", "Corr. with volatility", "Rows"]
        listed = [_probability_row(m, s, _null(data, m)) for m, s in rows if m.boolean]
        if before:
            place = head.index("before calibration")
            for row, (model, _) in zip(listed, [pair for pair in rows if pair[0].boolean], strict=True):
                row.insert(place, text.number(_uncalibrated(data, model).get("ece"), 4))
        blocks.append(table(head, listed, kind="wide"))
        blocks += [note(said, "") for model, s in rows if (said := _null_words(data, model, s))]
    if not all(model.boolean for model, _ in rows):
        head = ["Model", "R²", "Correlation", "RMSE", "of the mean", "MAE", "Corr. with volatility", "Rows"]
        blocks.append(table(head, [_number_row(m, s) for m, s in rows if not m.boolean], kind="wide"))
    blocks += [_direction(data, pair) for pair in data.direction]
    for model, own in rows:
        if not model.known.any():
            continue
        sub = _calibration_words(own) if model.boolean else ""
        blocks.append(
            f"<h3>{escape(model.name)}<small>{escape(_sample(data))}{sub}</small></h3>"
            + columns(
                chart(f"scores-{model.name}", "medium", f"Distribution of the scores of {model.name}"),
                chart(f"calibration-{model.name}", "medium", f"Calibration of {model.name}"),
            )
        )
    lead = (
        f"Figures are {_sample(data)}. A score knows something only as far as it beats the base rate. "
        "An AUC above 0.5 can still be blind to direction: labels that ask whether the price "
        "touches a level mostly ask how volatile it is."
    )
    return section("scores", "Scores", *blocks, lead=lead)


def _sample(data: ReportData) -> str:
    return {
        "walk-forward": "out of sample, walk-forward",
        "held out": "out of sample, after the end of training",
    }.get(data.scores_from, "in sample: the models saw these rows in training")


def _null(data: ReportData, model: ModelScores) -> float | None:
    pooled = (data.folds or {}).get("pooled", {}).get(model.name, {})
    found: float | None = pooled.get("null_auc")
    return found


def _uncalibrated(data: ReportData, model: ModelScores) -> Mapping[str, Any]:
    # Scores of the same walk-forward models before their curves; nothing if they have none.
    if data.scores_from != "walk-forward":
        return {}
    found: Mapping[str, Any] = (data.folds or {}).get("pooled", {}).get(model.name, {}).get("uncalibrated", {})
    return found


def _null_words(data: ReportData, model: ModelScores, s: Mapping[str, Any]) -> str:
    null = _null(data, model)
    if null is None or s["auc"] is None:
        return ""
    above = s["auc"] - null
    verdict = f"what remains above it is {above:.3f}" if above > 0.005 else "nothing remains above it"
    return f"{model.name}: the same model on bars whose direction is random reaches an AUC of {null:.3f}; {verdict}."


def _probability_row(model: ModelScores, s: Mapping[str, Any], null: float | None) -> list[str]:
    better = "up" if s["log_loss"] is not None and s["log_loss"] < s["base_log_loss"] else "down"
    return [
        escape(model.name),
        f"<b>{text.number(s['auc'], 3)}</b>",
        f'<span class="{better}">{text.number(s["log_loss"], 4)}</span>',
        text.number(s["base_log_loss"], 4),
        text.number(s["brier"], 4),
        text.number(s["base_brier"], 4),
        text.number(s["ece"], 4),
        text.number(s["average_precision"], 3),
        text.percent(s["base_rate"], sign=False),
        text.number(null, 3),
        text.number(evidence.volatility_correlation(model), 2),
        text.number(s["rows"]),
    ]


def _number_row(model: ModelScores, s: Mapping[str, Any]) -> list[str]:
    return [
        escape(model.name),
        f"<b>{text.number(s['r2'], 4)}</b>",
        text.number(s["correlation"], 3),
        _small(s["rmse"]),
        _small(s["base_rmse"]),
        _small(s["mae"]),
        text.number(evidence.volatility_correlation(model), 2),
        text.number(s["rows"]),
    ]


def _direction(data: ReportData, pair: tuple[str, str]) -> str:
    found = evidence.direction_auc(data.scores, pair)
    if found is None:
        return ""
    auc, rows = found
    return note(
        f"Direction: among the {rows:,} bars where exactly one of the two came true, {pair[0]} less {pair[1]} says "
        f"which with an AUC of {auc:.3f}; 0.5 is a coin.",
        "plain",
    )


def _calibration_words(s: Mapping[str, Any]) -> str:
    if s["brier"] is None:
        return ""
    return f", Brier {s['brier']:.4f} (base rate {s['base_brier']:.4f}), ECE {s['ece']:.4f}"


def folds(data: ReportData) -> str:
    """The walk-forward blocks one by one."""
    if data.folds is None or not data.folds["folds"]:
        run = f"Run `{data.stage('predict-rolling')}`, then `{data.command}`."
        return section("folds", "Walk-forward", note(f"There are no folds. {run}"))
    blocks = data.folds["folds"]
    names = list(dict.fromkeys(name for block in blocks for name in block["scores"]))
    skills = {
        name: "auc" if any("auc" in b["scores"].get(name, {}) for b in blocks) else "correlation" for name in names
    }
    head = ["Block", "Trained on", "Predicted", "Training rows", "Purged", "Rows"]
    head += [f"{name}, {'AUC' if skill == 'auc' else skill}" for name, skill in skills.items()]
    rows = [
        [
            str(block["fold"]),
            _range(block["train_start"], block["train_end"]),
            _range(block["test_start"], block["test_end"]),
            text.number(block["train_rows"]),
            text.number(block["purged"] + block.get("embargoed", 0)),
            text.number(block["test_rows"]),
            *(text.number(block["scores"].get(name, {}).get(skill), 3) for name, skill in skills.items()),
        ]
        for block in blocks
    ]
    pooled = data.folds.get("pooled", {})
    rows.append(
        ["all", "", "", "", "", "", *(text.number(pooled.get(n, {}).get(s), 3) for n, s in skills.items())]
    )  # fmt: skip
    lead = (
        f"{len(blocks)} blocks, each predicted by models that were trained only on bars before it; rows whose outcome "
        "reaches into a block are purged from its training. Above: skill, where the dotted line is knowing nothing. "
        "Below: loss saved against always saying the base rate; under zero is worse than that."
    )
    label = "Skill of each model by block"
    return section(
        "folds",
        "Walk-forward",
        chart("folds-chart", "medium", label),
        f"<details><summary>Block by block</summary>{table(head, rows, kind='wide')}</details>",
        lead=lead,
    )


def importance(data: ReportData) -> str:
    """The features that each trained model leans on."""
    if data.manifest is None:
        run = f"Run `{data.stage('train')}`, then `{data.command}`."
        return section("importance", "Features", note(f"There is no trained model. {run}"))
    lists = []
    for name, model in data.manifest["models"].items():
        gains: dict[str, float] = model.get("importance") or {}
        if not gains:
            continue
        top = sorted(gains.items(), key=lambda item: (-item[1], item[0]))[:LISTED_FEATURES]
        most = top[0][1] or 1
        bars = "".join(
            f'<li><span class="name">{escape(feature)}</span>'
            f'<span class="bar" style="--share:{100 * share / most:.1f}%"></span>'
            f'<span class="share">{text.percent(share, sign=False)}</span></li>'
            for feature, share in top
        )
        more = f"<small>{len(top)} of {len(gains)}</small>" if len(gains) > len(top) else ""
        lists.append(f'<h3>{escape(name)}{more}</h3><ol class="importance">{bars}</ol>')
    if not lists:
        return section("importance", "Features", note("The trained models say nothing about their features."))
    trained = data.manifest["train"]
    lead = (
        "Share of each feature in what the model gained, of the models trained on "
        f"{_range(trained['start'], trained['end'])}. Taken in sample: it says what a model uses, not whether it helps."
    )
    return section("importance", "Features", columns(*lists, kind="pairs"), lead=lead)


def _range(start: str, end: str) -> str:
    return f"{text.day(text.parse_ms(start))} to {text.day(text.parse_ms(end))}"


def _small(value: float | None) -> str:
    return text.UNKNOWN if value is None else f"{value:.4g}"
