"""The section about chosen features, and the page of a search."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report import artifacts

from pipeline.artifacts import Layout
from pipeline.report import search, selection
from pipeline.report.data import ReportData
from pipeline.report.page import charts, render
from pipeline.stages.output import load

FOUND = {
    "method": "mrmr",
    "stability": {
        "high_10": {"nogueira": 0.4321, "jaccard": None, "mean_features": 7.5, "share_of_folds": {"a<b": 1.0, "c": 0.5}}
    },
    "by_size": {
        "high_10_lgbm": [
            {"features": 2, "auc": 0.55, "log_loss": 0.4},
            {"features": 5, "auc": 0.58, "log_loss": 0.4},
            {"features": 40, "auc": 0.57, "log_loss": 0.4},
        ]
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = tmp_path_factory.mktemp("run")
    layout = Layout("test", data=folder / "data", models=folder / "MODELS")
    declared = artifacts.config()
    artifacts.write_run(declared, layout, 3000)
    return load(declared, layout)


def with_selection(data: ReportData, found: Any) -> ReportData:
    assert data.folds is not None
    folds = [
        block | {"no_better_than_noise": ["high_10"] if block["fold"] == 0 else []} for block in data.folds["folds"]
    ]
    return replace(data, folds={**data.folds, "folds": folds, "selection": found})


def test_the_page_has_no_such_section_where_nothing_was_chosen(data: ReportData) -> None:
    assert selection.selection(data) == "" and 'href="#selection"' not in render(data)


def test_stability_and_the_cost_of_more_features_are_told(data: ReportData) -> None:
    chosen = with_selection(data, FOUND)
    part = selection.selection(chosen)
    assert "<td>0.43</td>" in part and "<td>–</td>" in part and "<td>7.5</td><td>0.43</td>" in part
    assert part.count("<td>1</td>") == 1  # of one block it is said that nothing beat noise
    assert "a&lt;b" in part and "a<b" not in part
    assert 'style="--share:50.0%"' in part and "ever chosen" not in part
    assert "5 features score best (0.5800); 40 score 0.5700" in part and "one more trial" in part
    figure = charts(chosen)["sizes-chart"]
    assert figure["data"][0]["x"] == [2, 5, 40] and figure["data"][0]["y"] == [0.55, 0.58, 0.57]
    assert 'data-figure="sizes-chart"' in render(chosen)


def test_of_many_features_the_most_chosen_are_listed(data: ReportData) -> None:
    facts = FOUND["stability"]["high_10"] | {"share_of_folds": {f"f{k}": 1 - k / 100 for k in range(30)}}
    part = selection.selection(with_selection(data, FOUND | {"stability": {"high_10": facts}}))
    assert "20 of 30 ever chosen" in part and ">f19<" in part and ">f20<" not in part


def test_without_sizes_there_is_no_chart(data: ReportData) -> None:
    chosen = with_selection(data, FOUND | {"by_size": {}})
    assert "sizes-chart" not in charts(chosen) and "sizes-chart" not in selection.selection(chosen)


def result(**changes: Any) -> dict[str, Any]:
    """Of three sets: one through all blocks, one ended early, one refused."""
    values = {"train.params.leaves": 7, "features.0.periods": [5, 20], "rate</script>": 0.01}
    facts = {"values": values, "skill": {}, "refused": None}
    whole = facts | {
        "number": 0, "complete": True, "blocks": 3, "objective": 1.2345, "worth": 1.2345, "sharpe": 1.2345,
        "trades": 50, "total_return": 0.25, "by_block": [0.5, 1.0, 1.2345],
    }  # fmt: skip
    cut = whole | {"number": 1, "complete": False, "blocks": 1, "objective": -0.5, "by_block": [-0.5], "worth": -0.5}
    refused = dict.fromkeys(whole) | facts | {"number": 2, "complete": False, "refused": "sell < buy", "by_block": []}
    found = {
        "name": "n", "interval": "1h", "symbols": ["BTCUSDT"], "config": "n.yaml", "objective": "sharpe", "seed": 1,
        "inner": [["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"], ["2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"]],
        "outer": ["2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z"],
        "space": {
            "train.params.leaves": {"low": 3, "high": 31, "log": True},
            "features.0.periods": {"choices": [[5, 20], [8, 32]]},
            "rate</script>": {"low": 0.0, "high": 0.1, "step": 0.01},
        },
        "best": whole, "standing": None, "evidence": None, "overfitting": None, "importances": {}, "holdout": None,
        "trials": [whole, cut, refused], "sentence": "Of 3 sets <b>one</b> was best.",
    }  # fmt: skip
    return found | changes


def test_the_page_of_a_search_says_what_was_found_in_a_sentence() -> None:
    page = search.render(result())
    assert "Of 3 sets &lt;b&gt;one&lt;/b&gt; was best." in page
    assert "holdout has not been looked at" in page and "sell &lt; buy" in page
    assert page.count("</script>") == 3  # data, plotly, ours: no key can end one


def test_lines_run_through_every_key_to_the_objective() -> None:
    figure = search.charts(result())["parallel"]
    (line,) = figure["data"]  # of the set that saw all blocks
    assert line["y"] == pytest.approx([np.log(7 / 3) / np.log(31 / 3), 0.0, 0.1, 0.5], abs=1e-5)
    assert figure["layout"]["xaxis"]["ticktext"][0] == "params.<br>leaves"
    ends = [note["text"] for note in figure["layout"]["annotations"]]
    assert ends[:4] == ["3", "31", "[5, 20]", "[8, 32]"]


def test_keys_that_end_alike_are_told_apart() -> None:
    keys = ["labels.0.highlow2.thresholds.0", "labels.1.highlow2.thresholds.0", "signals.steps.1.threshold.buy"]
    assert search._brief(keys) == ["0.highlow2.thresholds.0", "1.highlow2.thresholds.0", "threshold.buy"]


def test_sets_ended_early_are_drawn_apart_and_never_best() -> None:
    early, whole, best = search.charts(result())["history-chart"]["data"]
    assert early["y"] == [-0.5] and whole["y"] == [1.2345] and best["y"] == [1.2345]


def test_importances_and_the_holdout_have_their_charts(tmp_path: Path) -> None:
    holdout = {
        "sharpe": -0.4, "psr": 0.3, "days": 2, "total_return": -0.01, "trades": 3, "skill": {}, "price": 0.02,
        "looks": 2, "curve": [[19783, 1.0], [19784, 0.99]],
    }  # fmt: skip
    evidence = {"dsr": 0.31, "confidence": 0.95, "sentence": "DSR 0.31: not evidence."}
    found = result(
        holdout=holdout, evidence=evidence, importances={"fanova": {"train.params.leaves": 0.75, "rate": 0.25}}
    )
    page, drawn = search.render(found), search.charts(found)
    assert "no longer unseen" in page and "DSR 0.31" in page and "75 %" in page
    assert drawn["importance-chart"]["data"][0]["x"] == [0.25, 0.75]
    assert drawn["holdout-chart"]["data"][0]["x"] == ["2024-03-01", "2024-03-02"]
    json.dumps(drawn, allow_nan=False)
