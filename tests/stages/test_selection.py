"""Features are chosen inside each training window, and every stage after knows which."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stages.learning import LAYOUT, config, write_inputs

from pipeline.artifacts import write_table
from pipeline.config.model import Config
from pipeline.market import candles
from pipeline.models import bundle
from pipeline.report.text import parse_ms
from pipeline.stages.runner import run_stage


def selecting(method: str = "mrmr", **changes: Any) -> Config:
    train = {
        "algorithms": [
            {"name": "gb", "rounds": 15, "early_stopping": 5, "params": {"num_leaves": 7}},
            {"name": "lc", "kind": "linear"},
        ],
        "selection": {"method": method, "max_rows": 4000, **changes},
    }
    return config(train=train, predict_rolling={"train_length": "12d", "prediction_size": "5d", "null_paths": 0})


def folds(declared: Config) -> Any:
    run_stage("predict-rolling", declared, LAYOUT)
    return json.loads(LAYOUT.folds.read_text())


@pytest.mark.parametrize("method", ["mrmr", "permutation", "shadow"])
def test_each_fold_names_its_features_and_finds_the_one_that_says_something(workspace: Path, method: str) -> None:
    declared = selecting(method)
    write_inputs(declared)
    found = folds(declared)
    for fold in found["folds"]:
        assert set(fold["features"]) == {"up", "return_12"}
        assert "signal" in fold["features"]["up"] or "signal" in fold["features"]["return_12"]
        assert len(fold["features"]["up"]) < 4
    stability = found["selection"]["stability"]["up"]
    assert found["selection"]["method"] == method and -0.5 <= stability["nogueira"] <= 1
    assert max(stability["share_of_folds"], key=stability["share_of_folds"].get) == "signal"


def test_rows_after_the_window_change_no_choice_and_no_score(workspace: Path) -> None:
    # With next to no threshold the second feature is one of three that say nothing: any other row would change it.
    declared = selecting("mrmr", keep=2, threshold=1e-6)
    write_inputs(declared)
    before, scores = folds(declared), pq.read_table(LAYOUT.rolling("AAA"))
    rng = np.random.default_rng(9)
    stop = before["folds"][2]["test_start"]
    for symbol in declared.symbols:
        for path in (LAYOUT.features(symbol), LAYOUT.labels(symbol)):
            table = pq.read_table(path)
            later = candles.times_ms(table) >= parse_ms(stop)
            for place, name in enumerate(table.schema.names):
                values = table[name].to_numpy(zero_copy_only=False).copy()
                if values.dtype == np.float32:
                    values[later] = rng.normal(size=later.sum())
                    table = table.set_column(place, name, pa.array(values))
            write_table(path, table)
    after, again = folds(declared), pq.read_table(LAYOUT.rolling("AAA"))
    for one, other in zip(before["folds"][:3], after["folds"][:3], strict=True):
        assert one["features"] == other["features"]
    early = scores["fold"].to_numpy() < 2
    for name in ("up_gb", "up_lc"):
        np.testing.assert_array_equal(scores[name].to_numpy()[early], again[name].to_numpy()[early])
    assert before["folds"][-1]["scores"] != after["folds"][-1]["scores"]


def test_the_number_of_workers_changes_no_bit(workspace: Path) -> None:
    declared = selecting("permutation", sizes=[1, 3])
    write_inputs(declared, 6000)
    one = folds(declared.model_copy(update={"workers": 1})), LAYOUT.rolling("BBB").read_bytes()
    assert (folds(declared.model_copy(update={"workers": 3})), LAYOUT.rolling("BBB").read_bytes()) == one


def test_scores_by_number_of_features_stand_in_the_report_and_not_in_the_table(workspace: Path) -> None:
    declared = selecting("mrmr", sizes=[1, 2, 4])
    write_inputs(declared)
    found = folds(declared)
    by_size = found["selection"]["by_size"]
    assert [line["features"] for line in by_size["up_gb"]] == [1, 2, 4]
    assert all(0.5 < line["auc"] < 1 for line in by_size["up_gb"])
    assert not [name for name in pq.read_schema(LAYOUT.rolling("AAA")).names if "@" in name]
    # All four features, chosen or not, are what a run without selection learns from; its bins come from elsewhere.
    plain = folds(
        declared.model_copy(
            update={"train": declared.train.model_copy(update={"selection": type(declared.train.selection)()})}
        )
    )
    assert by_size["up_gb"][2]["auc"] == pytest.approx(plain["pooled"]["up_gb"]["auc"], abs=0.03)
    assert "selection" not in plain


def test_the_bundle_asks_for_no_more_than_its_models_use(workspace: Path) -> None:
    declared = selecting("shadow", keep=1)
    write_inputs(declared)
    run_stage("train", declared, LAYOUT)
    loaded = bundle.load(LAYOUT.trained)
    models = loaded.manifest["models"]
    assert loaded.features == sorted(
        {name for facts in models.values() for name in facts["features"]},
        key=["signal", "noise0", "noise1", "noise2"].index,
    )
    assert all(facts["features"] == ["signal"] for name, facts in models.items() if name.startswith("up"))
    assert models["up_gb"]["selection"]["method"] == "shadow" and set(models["up_gb"]["importance"]) == {"signal"}
    run_stage("predict", declared, LAYOUT)
    table, features = pq.read_table(LAYOUT.predictions("AAA")), pq.read_table(LAYOUT.features("AAA"))
    row = np.array([features[name][700].as_py() for name in loaded.features], np.float32)
    assert loaded.score(row) == {name: table[name][700].as_py() for name in models}


def test_models_that_use_different_features_each_get_their_own(workspace: Path) -> None:
    declared = selecting("mrmr", keep=2)
    write_inputs(declared)
    run_stage("train", declared, LAYOUT)
    loaded = bundle.load(LAYOUT.trained)
    path = LAYOUT.trained / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["models"]["up_gb"]["features"] = ["close"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(Exception, match="uses features that it does not list"):
        bundle.load(LAYOUT.trained)
    assert all(len(facts["features"]) <= 2 for facts in loaded.manifest["models"].values())


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a method"):
        config(train={"selection": {"sizes": [3]}})
    with pytest.raises(ValueError, match="validation"):
        config(train={"validation": 0, "selection": {"method": "permutation"}})
