"""Calibration inside the training windows: of no row that is tested, in the bundle, and beside the scores before it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from stages.learning import LAYOUT, config, write_inputs

from pipeline.artifacts import read_table, sha256_file, write_table
from pipeline.errors import BadInput
from pipeline.live.scoring import row_scorer
from pipeline.models import bundle
from pipeline.stages import calibrating, predict_rolling
from pipeline.stages.runner import run_stage
from pipeline.stages.samples import read_samples

METHODS = ("isotonic", "sigmoid", "venn_abers")
LABEL = {"highlow2": {"thresholds": [0.8], "tolerance": 0.5, "horizon": "2h", "names": ["up"]}}
# Sixty rounds without regularisation: too sure of themselves.
ALGORITHMS = [
    {"name": "gb", "rounds": 60, "params": {"num_leaves": 31, "min_data_in_leaf": 5, "learning_rate": 0.2}},
    {"name": "lc", "kind": "linear", "class_weight": "balanced"},
]


def _config(method: str = "isotonic", share: float = 0.2, **changes):
    train = {"algorithms": ALGORITHMS, "calibration": {"method": method, "share": share}}
    return config(labels=[LABEL], train=train, **changes)


@pytest.mark.parametrize("method", METHODS)
def test_walk_forward_scores_come_true_as_often_as_they_say(workspace: Path, method: str) -> None:
    declared = _config(method)
    write_inputs(declared)
    run_stage("predict-rolling", declared, LAYOUT)
    report = json.loads(LAYOUT.folds.read_text())
    for name in ("up_gb", "up_lc"):
        pooled = report["pooled"][name]
        before = pooled["uncalibrated"]
        assert before["ece"] > 0.08 and pooled["ece"] < before["ece"] / 2
        assert pooled["log_loss"] < before["log_loss"] and pooled["brier"] < before["brier"]
        assert all(fold["scores"][name]["uncalibrated"]["ece"] > 0 for fold in report["folds"])
    table = read_table(LAYOUT.rolling("AAA"), "predict-rolling")
    assert table.column_names == ["open_time", "up_gb", "up_lc", "fold"]


def test_an_interrupted_walk_goes_on_with_both_kinds_of_scores(workspace: Path) -> None:
    declared = _config()
    write_inputs(declared, 6000)
    run_stage("predict-rolling", declared, LAYOUT)
    whole = LAYOUT.folds.read_text(), sha256_file(LAYOUT.rolling("AAA"))
    real, calls = predict_rolling._score_block, []

    def stop_after_two(*args):
        calls.append(args)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_rolling, "_score_block", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            run_stage("predict-rolling", _config(workers=1), LAYOUT)
    assert list((LAYOUT.run / ".folds").rglob("*.parquet"))
    run_stage("predict-rolling", declared, LAYOUT)
    assert (LAYOUT.folds.read_text(), sha256_file(LAYOUT.rolling("AAA"))) == whole


def test_without_calibration_nothing_is_said_of_it(workspace: Path) -> None:
    declared = _config("none")
    write_inputs(declared, 5000)
    run_stage("predict-rolling", declared, LAYOUT)
    run_stage("train", declared, LAYOUT)
    assert "uncalibrated" not in LAYOUT.folds.read_text()
    assert not list(LAYOUT.trained.glob("*.calibration.json"))


def test_the_curve_sees_no_row_that_reaches_out_of_the_window(workspace: Path) -> None:
    declared = _config()
    write_inputs(declared, 5000)
    samples = read_samples(declared, LAYOUT, ["signal", "noise0"], ["up"], [])
    rows = np.flatnonzero(samples.targets["up"].known & (samples.times < np.quantile(samples.times, 0.7)))
    ((early, late),) = calibrating.calibration_parts(declared, samples, "up", rows, "the window")
    ends = samples.targets["up"].end_ms
    assert set(early) | set(late) <= set(rows)
    assert len(late) == pytest.approx(0.2 * len(rows), rel=0.01)
    assert (ends[early] + samples.step_ms).max() <= samples.times[late].min()


def test_the_curve_of_folds_sees_every_row_once_scored_by_models_that_saw_none_that_overlaps(workspace: Path) -> None:
    train = {"algorithms": ALGORITHMS, "calibration": {"method": "isotonic", "folds": 4}}
    declared = config(labels=[LABEL], train=train)
    write_inputs(declared, 5000)
    samples = read_samples(declared, LAYOUT, ["signal", "noise0"], ["up"], [])
    rows = np.flatnonzero(samples.targets["up"].known & (samples.times < np.quantile(samples.times, 0.7)))
    parts = calibrating.calibration_parts(declared, samples, "up", rows, "the window")
    assert np.array_equal(np.sort(np.concatenate([scored for _, scored in parts])), rows)
    starts, ends = samples.times, samples.targets["up"].end_ms + samples.step_ms
    for learned, scored in parts:
        first, last = starts[scored].min(), ends[scored].max()
        free = (ends[rows] <= first) | (starts[rows] >= last)
        assert np.array_equal(learned, rows[free]) and len(learned) > 0.7 * len(rows)
    run_stage("train", declared, LAYOUT)
    assert bundle.load(LAYOUT.trained).models["up_gb"].curve is not None


def test_what_follows_a_block_does_not_change_its_calibrated_scores(workspace: Path) -> None:
    declared = _config(predict_rolling={"train_length": "10d", "prediction_size": "5d", "null_paths": 0})
    write_inputs(declared)
    run_stage("predict-rolling", declared, LAYOUT)
    before = pq.read_table(LAYOUT.rolling("AAA"))
    last = int(0.7 * before.num_rows)
    cut = before["open_time"][last]
    for symbol in declared.symbols:
        for path in (LAYOUT.features(symbol), LAYOUT.labels(symbol), LAYOUT.merged(symbol)):
            table = pq.read_table(path)
            write_table(path, table.slice(0, table["open_time"].index(cut).as_py()))
    run_stage("predict-rolling", declared, LAYOUT)
    after = pq.read_table(LAYOUT.rolling("AAA"))
    assert after.num_rows > 1000
    assert after.equals(before.slice(0, after.num_rows))


@pytest.mark.parametrize("method", METHODS)
def test_the_bundle_keeps_its_curves_and_one_row_scores_as_the_table_does(workspace: Path, method: str) -> None:
    declared = _config(method)
    write_inputs(declared, 5000)
    run_stage("train", declared, LAYOUT)
    run_stage("predict", declared, LAYOUT)
    loaded = bundle.load(LAYOUT.trained)
    facts = loaded.manifest["models"]["up_gb"]["calibration"]
    assert facts["method"] == method and (LAYOUT.trained / facts["file"]).is_file()
    table = read_table(LAYOUT.predictions("AAA"), "predict")
    features = read_table(LAYOUT.features("AAA"), "features", loaded.features)
    matrix = np.column_stack([features.column(name).to_numpy() for name in loaded.features]).astype(np.float32)
    for name, model in loaded.models.items():
        score = row_scorer(model, len(loaded.features))
        rows = range(100, 4900, 37)
        mine = np.array([score(matrix[row]) for row in rows])
        assert mine.tobytes() == table.column(name).to_numpy()[list(rows)].tobytes()
        assert not np.array_equal(mine, model.uncalibrated().predict(matrix[list(rows)]))


def test_an_altered_curve_is_refused(workspace: Path) -> None:
    declared = _config("sigmoid")
    write_inputs(declared, 5000)
    run_stage("train", declared, LAYOUT)
    path = LAYOUT.trained / "up-gb.calibration.json"
    path.write_text(path.read_text().replace('"slope": ', '"slope": 1'))
    with pytest.raises(BadInput, match=r"up-gb\.calibration\.json: altered"):
        bundle.load(LAYOUT.trained)


def test_a_part_with_one_outcome_only_is_refused_with_its_window(workspace: Path) -> None:
    declared = _config(share=0.01)
    write_inputs(declared, 1500)
    with pytest.raises(BadInput, match="part to calibrate on"):
        run_stage("train", declared, LAYOUT)
