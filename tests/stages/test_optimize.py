"""The search: what it tries follows from the seed, what it keeps out it does not see, and nothing is counted twice."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stages.searching import SEARCH, THRESHOLDS, N, lines, search, tried, write_bars, write_config

from pipeline.artifacts import Layout
from pipeline.config import load_config
from pipeline.errors import BadInput, CheckFailed
from pipeline.stages.runner import Options, run_stages
from pipeline.stages.trials import ledger


def test_a_search_tries_the_config_first_and_writes_a_better_one(workspace: Path) -> None:
    path = write_config()
    write_bars()
    result = search(path)
    assert len(result["trials"]) == 6
    assert result["standing"]["number"] == 0 and result["best"]["objective"] >= result["standing"]["objective"]
    for trial in result["trials"]:
        assert 0.01 <= trial["values"]["signals.steps.1.threshold.buy"] <= 0.2
        assert trial["values"]["features.0.talib.periods"] in ([5, 15], [8, 24])
    (ended,) = lines("search ended")
    assert (ended.sets, ended.what["chose"]) == (6, True)
    assert ended.what["overfitting"].items() <= result["overfitting"].items() and len(ended.what["overfitting"]) == 4
    # The holdout is one of the sets; all of them count as many as they are found to be.
    told = ledger(Layout("s")).tried()
    assert (told.count, told.effective) == (7, max(ended.effective, 1.0)) and ended.effective < 6
    assert result["evidence"]["n_effective"] == told.effective
    assert result["evidence"]["n_trials"] >= 6 and "DSR" in result["evidence"]["sentence"]
    assert result["holdout"]["looks"] == 1 and result["sentence"] in Path("data/s/search/report.html").read_text()
    found = load_config(Path("data/s/search/best.yaml"))
    threshold = found.signals.steps[1].threshold
    assert threshold is not None and threshold.buy == result["best"]["values"]["signals.steps.1.threshold.buy"]
    assert found.features[0].talib is not None
    assert found.features[0].talib.periods == result["best"]["values"]["features.0.talib.periods"]
    assert found.predict_rolling.train_length == "30d"  # what was not searched stays


def test_a_seed_repeats_and_more_trials_go_on_where_fewer_ended(workspace: Path) -> None:
    path = write_config(name="a")
    write_bars("a")
    write_bars("b")
    first = search(path, trials=3, holdout=False)
    assert first["holdout"] is None and not lines("holdout", "a")
    later = search(path, trials=6)
    at_once = search(write_config(name="b"), trials=6)
    assert tried(later) == tried(at_once) and tried(first) == tried(later)[:3]
    assert later["holdout"] == at_once["holdout"]
    assert len(lines("search", "a")) == 6 and len(lines("holdout", "a")) == 1


def test_bars_kept_out_do_not_change_what_is_tried(workspace: Path) -> None:
    write_bars("a")
    write_bars("b", noise_from=int(0.8 * N))
    one, other = search(write_config(name="a"), trials=4), search(write_config(name="b"), trials=4)
    assert tried(one) == tried(other)
    assert one["holdout"]["total_return"] != other["holdout"]["total_return"]
    first_kept_out = pq.read_table("data/a/merged/AAA.parquet")["open_time"][int(0.8 * N)]
    seen = pq.read_table("data/a/search/bars/a/merged/AAA.parquet")["open_time"]
    assert seen[-1].value < first_kept_out.value


def stages_equal_the_holdout(result: dict[str, Any]) -> None:
    """The stages run on the best file make what the search found on its holdout."""
    start = result["outer"][0]
    best = Path("data/s/search/best.yaml")
    Path("data/best").symlink_to("s")
    options = Options(
        best,
        overrides=[
            f"predict_rolling.start={start!r}", "predict_rolling.null_paths=0", f"simulate.start={start!r}",
            "simulate.random_entries=0",
        ],
    )  # fmt: skip
    run_stages(["features", "labels", "predict-rolling", "signals", "simulate"], options)
    metrics = json.loads(Path("data/best/simulation/metrics.json").read_text())
    assert metrics["headline"]["trades"] == result["holdout"]["trades"] > 0
    assert metrics["headline"]["total_return"] == pytest.approx(result["holdout"]["total_return"], abs=1e-12)


def test_the_holdout_is_what_the_stages_make_of_the_best_file(workspace: Path) -> None:
    path = write_config()
    write_bars()
    stages_equal_the_holdout(search(path))


def test_a_second_stage_is_searched_with_as_the_stages_make_it(workspace: Path) -> None:
    labels = [*SEARCH["labels"], {"meta": {"horizon": "12h", "cost": 0.0, "side": "both"}}]
    meta = {"algorithm": {"name": "second", "rounds": 5, "params": {"min_data_in_leaf": 20}}, "folds": 2}
    space = {
        "signals.steps.1.threshold.buy": {"low": 0.01, "high": 0.2},
        "meta.algorithm.rounds": {"choices": [5, 15]},
    }
    path = write_config({"labels": labels, "meta": meta, "sizing": {"probability": {"floor": 0.3}}}, space=space)
    write_bars()
    result = search(path, trials=2)
    assert len({trial["total_return"] for trial in map(dict, result["trials"])}) == 2
    stages_equal_the_holdout(result)


def test_signals_that_abstain_are_searched_with_as_the_stages_make_them(workspace: Path) -> None:
    steps = [
        {"combine": {"columns": ["up_gb", "down_gb"]}},
        {"abstain": {"column": "trade_score", "models": ["up_gb"], "max_width": 0.99, "name": "sure"}},
        {"threshold": {"column": "sure", "buy": 0.05, "sell": -0.05}},
    ]
    intervals = {"window": 60, "least": 20}
    space = {"signals.steps.1.abstain.max_width": {"low": 0.5, "high": 1.0}}
    path = write_config({"signals": {"steps": steps}, "intervals": intervals}, space=space, min_trades=1)
    write_bars()
    stages_equal_the_holdout(search(path, trials=2))


def test_what_comes_of_the_best_file_is_judged_as_the_best_of_all_that_was_tried(workspace: Path) -> None:
    write_bars()
    result = search(write_config())
    copied = Path("renamed.yaml")
    copied.write_text("extends: data/s/search/best.yaml\n")
    write_bars("renamed")
    options = Options(copied, overrides=["predict_rolling.null_paths=0", "simulate.random_entries=0"])
    run_stages(["features", "labels", "predict-rolling", "signals", "simulate"], options)
    found = json.loads(Path("data/renamed/simulation/metrics.json").read_text())["significance"]
    # The sets, the look at the holdout, and this run.
    assert found["n_trials"] == len(result["trials"]) + 2
    assert lines("simulate") and not Path("MODELS/renamed/trials.jsonl").exists()


def test_sets_that_differ_in_trading_alone_share_features_and_scores(workspace: Path) -> None:
    write_bars()
    search(write_config(space=THRESHOLDS), trials=5, holdout=False)
    cache = Path("data/s/search/cache")
    assert len(list((cache / "features").iterdir())) == len(list((cache / "labels").iterdir())) == 1
    assert len(list((cache / "scores").iterdir())) == 3 * 2  # blocks × labels, five sets or one


def test_a_trial_that_ended_unwritten_gets_into_the_ledger_by_the_next_run(workspace: Path) -> None:
    # Killed between the study's line and the ledger's.
    write_bars()
    path = write_config(space=THRESHOLDS)
    search(path, trials=3)
    file = Layout("s").models / "s/trials.jsonl"
    first = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first[0])
    search(path, trials=3)
    assert len(lines("search")) == 3


def test_the_holdout_is_looked_at_once_for_each_best(workspace: Path) -> None:
    write_bars()
    path = write_config(space=THRESHOLDS)
    one = search(path, trials=3)
    again = search(path, trials=3)
    assert again["holdout"] == one["holdout"] and again["holdout"]["looks"] == 1
    assert len(lines("search ended")) == 1
    more = search(path, trials=16)
    changed = more["best"]["number"] != one["best"]["number"]
    assert more["holdout"]["looks"] == len(lines("holdout")) == (2 if changed else 1)
    assert not changed or "no longer unseen" in more["sentence"]


def test_the_loss_saved_can_be_searched_for_without_signals(workspace: Path) -> None:
    space = {"train.algorithms.0.params.num_leaves": {"low": 3, "high": 9}}
    path = write_config({"signals": {}}, objective="log_loss", space=space)
    write_bars()
    result = search(path, trials=3)
    assert result["evidence"] is None and set(result["best"]["skill"]) == {"up_gb", "down_gb"}
    assert result["holdout"]["sharpe"] is None and "loss saved" in result["sentence"]


def test_rules_without_a_model_can_be_searched(workspace: Path) -> None:
    rules = {
        "rules": {
            "long": [{"column": "close_RSI_15", "op": ">", "value": 55}],
            "short": [{"column": "close_RSI_15", "op": "<", "value": 45}],
        }
    }
    signals = {
        "predictions": "features",
        "steps": [rules, {"threshold": {"column": "trade_score", "buy": 0.5, "sell": -0.5}}],
    }
    space = {
        "signals.steps.0.rules.long.0.value": {"low": 50, "high": 70},
        "simulate.exits.stop_loss": {"choices": [0.005, 0.02]},
    }
    path = write_config({"signals": signals, "labels": []}, space=space)
    write_bars()
    result = search(path, trials=4)
    assert len(result["trials"]) == 4 and result["holdout"]["trades"] > 0


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "nothing to vary"),
        (
            {"simulate.exits.stop_los": {"low": 0.01, "high": 0.1}},
            r"stop_los: 0.01: simulate.exits.stop_los: unknown key",
        ),
        ({"simulate.exits.stop_loss": {"low": 0.0, "high": 0.1}}, "stop_loss: 0: simulate.exits.stop_loss"),
        ({"signals.steps.7.threshold.buy": {"low": 0.0, "high": 0.1}}, "nothing at '7'"),
        ({"features.0.talib.functions": {"choices": [["RSI"], ["RSJ"]]}}, "RSJ"),
        ({"train.algorithms.0.params.num_leafs": {"low": 3, "high": 9}}, "num_leafs"),
        ({"train.algorithms.0.params.num_leaves": {"low": 9, "high": 3}}, "must be below high"),
        ({"simulate.costs.taker_fee": {"low": 0.0, "high": 0.1}}, "costs are a fact"),
        ({"download.start": {"choices": ["2020-01-01", "2021-01-01"]}}, "'download' is not varied"),
        ({"simulate.exits.stop_loss": {"low": 0.01}}, "give low and high"),
        ({"simulate.exits.stop_loss": {"choices": [0.1, 0.1]}}, "given twice"),
    ],
)
def test_a_space_is_checked_whole_before_anything_runs(workspace: Path, space: dict[str, Any], says: str) -> None:
    write_bars()
    with pytest.raises(BadInput, match=says):
        search(write_config(space=space))
    assert not Path("data/s/search").exists() or not list(Path("data/s/search").rglob("*.sqlite"))


@pytest.mark.parametrize(
    ("changes", "settings", "says"),
    [
        (
            {"signals": {}},
            {"space": {"simulate.exits.stop_loss": {"low": 0.01, "high": 0.1}}},
            "sharpe needs signals.steps",
        ),
        ({"predict_rolling": {"train_length": "80d"}}, {}, "no 3 blocks of bars"),
        ({}, {"min_trades": 100_000}, "none of 2 sets made 100000 trades"),
    ],
)
def test_what_cannot_be_searched_is_said(
    workspace: Path, changes: dict[str, Any], settings: dict[str, Any], says: str
) -> None:
    write_bars()
    with pytest.raises((BadInput, CheckFailed), match=says):
        search(write_config(changes, **settings), trials=2)


def test_a_study_of_another_config_is_not_gone_on_with(workspace: Path) -> None:
    write_bars()
    search(write_config(space=THRESHOLDS), trials=2)
    other = write_config({"seed": 4}, space=THRESHOLDS)
    with pytest.raises(BadInput, match="belongs to another config"):
        search(other, trials=2)
    assert len(search(other, trials=2, resume=False)["trials"]) == 2
    assert len(lines("search")) == 4  # what was tried before is not forgotten


def test_a_damaged_study_is_named(workspace: Path) -> None:
    write_bars()
    path = write_config(space=THRESHOLDS)
    search(path, trials=2)
    Path("data/s/search/study.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(BadInput, match=r"study.sqlite: cannot be opened"):
        search(path, trials=3)


def test_without_optuna_there_is_one_clear_error(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else found(name))
    with pytest.raises(BadInput, match=r"'optuna' is not installed\n +pip install 'pipeline\[tune\]'"):
        search(write_config())


def test_sets_that_contradict_themselves_are_refused_and_not_counted(workspace: Path) -> None:
    # Each end is fine beside the other key's own value; together sell may come to lie above buy.
    space = {
        "signals.steps.1.threshold.buy": {"low": -0.04, "high": 0.06},
        "signals.steps.1.threshold.sell": {"low": -0.06, "high": 0.04},
    }
    write_bars()
    result = search(write_config(space=space, sampler="random", pruning=False), trials=12)
    refused = [trial for trial in result["trials"] if trial["refused"]]
    assert refused and len(lines("search")) == 12 - len(refused)
    assert "must be below buy" in refused[0]["refused"]


def test_what_is_not_written_has_its_default_in_the_config_as_it_stands(workspace: Path) -> None:
    space = {
        "train.selection": {"choices": [{"method": "mrmr", "keep": 2}, {"method": "none"}]},
        "signals.steps.1.threshold.buy": {"low": 0, "high": 1},  # whole numbers only, and it is 0.05 now
    }
    write_bars()
    alone = {key: axis for key, axis in space.items() if key.startswith("train")}
    result = search(write_config(space=alone), trials=2)
    assert result["standing"]["values"] == {"train.selection": {"method": "none"}}
    assert {trial["values"]["train.selection"]["method"] for trial in result["trials"]} <= {"none", "mrmr"}
    assert search(write_config(space=space), trials=1, resume=False)["standing"] is None


def test_a_time_limit_that_is_none_is_refused_and_one_that_is_over_begins_nothing(workspace: Path) -> None:
    write_bars()
    path = write_config(space=THRESHOLDS)
    with pytest.raises(BadInput, match="--timeout: 'soon' is not a duration"):
        search(path, timeout="soon")
    search(path, trials=2)
    assert len(search(path, trials=9, timeout="0s")["trials"]) == 2


def test_a_mistake_in_the_space_throws_no_study_away(workspace: Path) -> None:
    write_bars()
    search(write_config(space=THRESHOLDS), trials=2)
    with pytest.raises(BadInput):
        search(write_config(space={"nothing.at.all": {"low": 0, "high": 1}}), resume=False)
    assert len(search(write_config(space=THRESHOLDS), trials=2)["trials"]) == 2


def test_one_line_of_json_says_what_came_out(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.stages.optimize import Limits, optimize

    write_bars()
    optimize(Options(write_config(space=THRESHOLDS), json=True), Limits(trials=2, workers=1))
    found = json.loads(capsys.readouterr().out)
    assert found["stage"] == "optimize" and found["figures"]["trials"].startswith("2, ")
    assert "data/s/search/best.yaml" in found["outputs"]
