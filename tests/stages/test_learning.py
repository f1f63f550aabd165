"""train, predict and predict-rolling on tables in the contract's format."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import bars, random_walk
from stages.learning import LAYOUT, config, write_inputs

from pipeline.artifacts import read_table, sha256_file, write_table
from pipeline.errors import BadInput, MissingInput
from pipeline.market import candles
from pipeline.stages import predict_rolling, train
from pipeline.stages.runner import plan_stage, run_stage
from pipeline.stages.samples import read_samples


@pytest.fixture
def inputs(workspace):
    write_inputs(config())
    return workspace


def _run(*stages, **changes):
    declared = config(**changes)
    return [run_stage(stage, declared, LAYOUT) for stage in stages]


def _hashes() -> dict[str, str]:
    folders = [LAYOUT.trained, LAYOUT.run / "predictions", LAYOUT.run / "rolling"]
    return {str(p): sha256_file(p) for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()}


def test_scores_find_what_was_planted_and_mark_what_was_learnt(inputs):
    _run("train", "predict", "predict-rolling")
    manifest = json.loads((LAYOUT.trained / "manifest.json").read_text())
    assert list(manifest["models"]) == ["up_gb", "up_lc", "return_12_gb", "return_12_lc"]
    assert next(iter(manifest["models"]["up_gb"]["importance"])) == "signal"
    folds = json.loads(LAYOUT.folds.read_text())
    assert folds["pooled"]["up_lc"]["auc"] > 0.53
    rolling = pq.read_table(LAYOUT.rolling("AAA"))
    assert rolling.schema.names == ["open_time", *manifest["models"], "fold"]
    predictions = read_table(LAYOUT.predictions("AAA"), "predict")
    assert predictions.schema.names == ["open_time", *manifest["models"], "in_sample"]
    seen = predictions.column("in_sample").to_pylist()
    assert all(seen[:8000])
    assert predictions.column("up_gb").to_numpy()[:30].tolist() == pytest.approx([np.nan] * 30, nan_ok=True)


def test_bars_after_train_end_are_out_of_sample_and_no_label_reaches_past_it(inputs):
    end = "2024-01-20"
    summary = _run("train", "predict", train={"end": end, "algorithms": [{"name": "lc", "kind": "linear"}]})[1]
    manifest = json.loads((LAYOUT.trained / "manifest.json").read_text())
    assert manifest["train"]["label_end"] < end
    table = read_table(LAYOUT.predictions("AAA"), "predict").to_pandas()
    assert not table[table.open_time >= end].in_sample.any()
    assert any("out of sample" in label for label in summary.figures)
    assert all("in sample" in label or "out of sample" in label for label in summary.figures if "_lc" in label)


def test_every_result_is_the_same_bits_however_many_workers(inputs):
    _run("train", "predict", "predict-rolling", workers=1)
    first = _hashes()
    _run("train", "predict", "predict-rolling", workers=3)
    assert _hashes() == first


def test_no_training_label_meets_the_block_it_is_tested_on(inputs):
    declared = config()
    samples = read_samples(declared, LAYOUT, ["signal", "noise0"], ["up"], [20])
    embargo = declared.bars("1h")
    blocks = predict_rolling.make_blocks(declared, samples)
    assert len(blocks) > 3
    for block in blocks:
        used = predict_rolling.block_rows(samples, "up", block, embargo)
        ends = samples.targets["up"].end_ms[used.rows] + samples.step_ms
        assert ends.max() <= block.start - embargo * samples.step_ms
        assert samples.times[used.rows].min() >= block.train_start
        assert used.purged > 0
        # And no legal row is lost: exactly those that reach too far are missing.
        near = samples.trainable & samples.targets["up"].known
        near &= (samples.times >= block.train_start) & (samples.times < block.start)
        reach = samples.targets["up"].end_ms + samples.step_ms > block.start - embargo * samples.step_ms
        assert set(np.flatnonzero(near & ~reach)) == set(used.rows)


def test_made_up_bars_and_rows_that_look_back_on_them_do_not_train(inputs):
    samples = read_samples(config(), LAYOUT, ["signal"], ["up"], [12])
    assert not samples.trainable[3000:3010].any()
    # 10 made-up bars in a look-back of 12 are more than half until 4 bars after them.
    assert not samples.trainable[3010:3014].any() and samples.trainable[3016]


def test_a_short_window_that_is_made_up_is_not_diluted_by_a_long_one(inputs):
    short, both = (read_samples(config(), LAYOUT, ["signal"], ["up"], windows) for windows in ([12], [12, 500]))
    assert np.array_equal(short.trainable, both.trainable) and not both.trainable[3010]
    assert read_samples(config(), LAYOUT, ["signal"], ["up"], [500]).trainable[3010]


def test_earlier_folds_do_not_change_when_data_are_added(workspace):
    write_inputs(config(), 9000)
    _run("predict-rolling")
    early = pq.read_table(LAYOUT.rolling("AAA"))
    _shorten(6500)
    _run("predict-rolling")
    short = pq.read_table(LAYOUT.rolling("AAA"))
    last_whole = int(short.column("fold").to_numpy().max()) - 1
    keep = int((short.column("fold").to_numpy() <= last_whole).sum())
    assert keep > 1000
    assert short.slice(0, keep).equals(early.slice(0, keep))


def _shorten(rows: int) -> None:
    for symbol in ("AAA", "BBB"):
        for path in (LAYOUT.merged(symbol), LAYOUT.features(symbol)):
            write_table(path, pq.read_table(path).slice(0, rows))
    run_stage("labels", config(), LAYOUT)


def test_a_killed_walk_goes_on_where_it_stopped(inputs, monkeypatch):
    _run("predict-rolling")
    expected = _hashes()
    LAYOUT.rolling("AAA").unlink()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from stages.learning import config, LAYOUT\n"
        "from pipeline.stages import predict_rolling\n"
        "import time\n"
        "keep = predict_rolling.keep\n"
        "predict_rolling.keep = lambda *a: (keep(*a), print('kept', flush=True), time.sleep(0.2))\n"
        "predict_rolling.run(config(workers=1), LAYOUT)\n"
    )
    tests = str(Path(__file__).parent.parent)
    child = subprocess.Popen([sys.executable, "-c", code, tests], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(3):
        assert child.stdout.readline() == "kept\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = list((LAYOUT.run / ".folds").rglob("*.parquet"))
    assert len(kept) >= 3
    assert not LAYOUT.rolling("AAA").exists()
    computed = []
    score = predict_rolling._score_block
    monkeypatch.setattr(predict_rolling, "_score_block", lambda *a: computed.append(1) or score(*a))
    _run("predict-rolling")
    assert _hashes() == expected
    total = len(json.loads(LAYOUT.folds.read_text())["folds"]) * 4
    assert len(computed) <= total - 3
    assert not (LAYOUT.run / ".folds").exists()


def test_a_failing_train_leaves_the_old_bundle(inputs, monkeypatch):
    _run("train")
    before = _hashes()
    monkeypatch.setattr(train, "_manifest", lambda *a: {"format": 1, "models": {}})
    with pytest.raises(KeyError):
        _run("train")
    assert _hashes() == before


@pytest.mark.parametrize("stage", ["train", "predict-rolling"])
def test_a_single_class_is_refused_by_its_name(workspace, stage):
    labels = [{"highlow2": {"thresholds": [90.0], "tolerance": 1.0, "horizon": "2h", "names": ["never"]}}]
    declared = config(labels=labels)
    write_inputs(declared, 6000)
    with pytest.raises(BadInput, match="label 'never': is False on all"):
        run_stage(stage, declared, LAYOUT)


def test_a_feature_without_any_value_is_refused_by_its_name(inputs):
    path = LAYOUT.features("BBB")
    table = pq.read_table(path)
    write_table(path, table.set_column(2, "noise0", [np.full(table.num_rows, np.nan, np.float32)]))
    with pytest.raises(BadInput, match="feature 'noise0' has no value on any row"):
        _run("train")


def test_a_constant_feature_is_warned_of(inputs):
    for symbol in ("AAA", "BBB"):
        table = pq.read_table(LAYOUT.features(symbol))
        write_table(LAYOUT.features(symbol), table.set_column(3, "noise1", [np.ones(table.num_rows, np.float32)]))
    assert "noise1" in _run("train")[0].warnings[0]


def _gb(**params):
    return {"train": {"algorithms": [{"name": "gb", "rounds": 3, "params": params}]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predict_rolling": {"train_length": "100d"}}, "train_length of 28,800 bars leaves nothing to predict"),
        ({"train": {"labels": ["down"]}}, "no label 'down'"),
        ({"train": {"features": ["nothing_*"]}}, "no feature column is left"),
        ({"train": {"algorithms": [{"name": "lc", "kind": "linear", "params": {"c": 1}}]}}, "no parameter 'c'"),
        ({"train": {"algorithms": [{"name": "gb", "params": {"num_leaves": -1}}]}}, "LightGBM refuses its parameters"),
        (_gb(max_bin=1), r"gb: LightGBM refuses its parameters: Check failed: \(max_bin\) > \(1\)"),
        (_gb(num_leafs=7), "params.num_leafs: LightGBM has no such parameter\n +did you mean 'num_leaf'"),
        (_gb(n_estimators=7), "params.n_estimators: is not passed on\n +write `rounds: 7`"),
        (_gb(nthread=4), "params.nthread: is fixed"),
        (_gb(eta=0.1, learning_rate=0.2), "params.learning_rate: means 'learning_rate', which is given as well"),
        ({"train": {"algorithms": [{"name": "lc", "kind": "linear", "params": {"C": -1.0}}]}}, "scikit-learn refuses"),
        (
            {"train": {"algorithms": [{"name": "gb", "objective": "classification"}]}},
            "is a number and cannot be classified",
        ),
    ],
)
def test_wrong_settings_are_refused(inputs, changes, message):
    with pytest.raises(BadInput, match=message):
        _run("predict-rolling" if "predict_rolling" in changes else "train", **changes)


@pytest.mark.parametrize("stage", ["train", "predict", "predict-rolling"])
def test_a_missing_input_names_the_stage_to_run(workspace, stage):
    with pytest.raises(MissingInput, match="not there yet"):
        run_stage(stage, config(), LAYOUT)


def test_features_of_other_bars_are_refused(inputs):
    write_table(LAYOUT.merged("AAA"), pq.read_table(LAYOUT.merged("AAA")).slice(5))
    with pytest.raises(BadInput, match="has other rows than its features"):
        _run("train")


def test_a_dry_run_says_what_would_be_written(inputs):
    plan = plan_stage("predict-rolling", config(), LAYOUT)
    assert plan.columns == ["up_gb", "up_lc", "return_12_gb", "return_12_lc", "fold"]
    assert not LAYOUT.folds.exists() and not LAYOUT.trained.exists()
    assert candles.times_ms(read_table(LAYOUT.merged("AAA"), "merge")).size == 9000


def test_a_symbol_listed_within_the_first_block_or_a_horizon_too_long_for_it_does_not_stop_the_walk(workspace):
    declared = config(train={"algorithms": [{"name": "lc", "kind": "linear"}]})
    for number, (symbol, first) in enumerate({"AAA": 0, "BBB": 4305}.items()):
        table = bars(random_walk(6000, number, 0.002), step_ms=300_000)
        write_table(LAYOUT.merged(symbol), table.slice(first))
    for stage in ("features", "labels"):
        run_stage(stage, declared, LAYOUT)
    blocks = predict_rolling.make_blocks(declared, read_samples(declared, LAYOUT, ["close_mean_20"], ["up"], [20]))
    listed = candles.times_ms(pq.read_table(LAYOUT.merged("BBB")))[0]
    assert blocks[0].start < listed < blocks[0].stop
    summary = run_stage("predict-rolling", declared, LAYOUT)
    assert summary.warnings == [] and "without direction" in summary.figures["up_lc"]
    assert pq.read_table(LAYOUT.rolling("BBB")).num_rows

    def too_few(*_):
        raise BadInput("the horizon is longer than the data")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.stages.labels.run", too_few)
        summary = run_stage("predict-rolling", declared, LAYOUT)
    assert summary.warnings == ["no null model beside the scores: the horizon is longer than the data"]


def test_predictions_say_when_bundle_config_and_labels_do_not_belong_together(inputs):
    only = {"algorithms": [{"name": "lc", "kind": "linear"}]}
    assert _run("train", "predict", train=only)[1].warnings == []
    with pytest.raises(BadInput, match="learned from 5m bars, and these are 15m bars"):
        _run("predict", train=only, interval="15m")
    other = [{"stats": {"functions": ["std"], "windows": [20]}}]
    assert "features are not those" in _run("predict", train=only, features=other)[0].warnings[0]
    write_table(LAYOUT.labels("AAA"), pq.read_table(LAYOUT.labels("AAA")).slice(100))
    summary = _run("predict", train=only)[0]
    assert "labels/AAA.parquet: has other bars" in summary.warnings[0]
    assert not [label for label in summary.figures if label.startswith("AAA up_lc")]


@pytest.mark.parametrize("stage", [plan_stage, run_stage])
@pytest.mark.parametrize("key", ["models", "train", "versions", "interval", "features"])
def test_a_manifest_that_lacks_something_is_refused(inputs, stage, key):
    _run("train", train={"algorithms": [{"name": "lc", "kind": "linear"}]})
    path = LAYOUT.trained / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in manifest.items() if name != key}))
    with pytest.raises(BadInput, match=f"'{key}' is missing or damaged"):
        stage("predict", config(), LAYOUT)


def test_a_custom_feature_whose_source_has_changed_is_noticed(inputs):
    Path("mine.py").write_text("def spread(window):\n    return window['close'][-1]\n")
    features = [{"custom": {"function": "mine.py:spread", "lookback": 3, "names": ["spread"]}}]
    changes = {"features": features, "train": {"algorithms": [{"name": "lc", "kind": "linear"}]}}
    assert _run("train", "predict", **changes)[1].warnings == []
    assert "custom/mine.py:spread" in json.loads((LAYOUT.trained / "manifest.json").read_text())["hashes"]
    Path("mine.py").write_text("def spread(window):\n    return window['close'][0]\n")
    assert "features are not those" in _run("predict", **changes)[0].warnings[0]


@pytest.mark.parametrize("stage", ["train", "predict-rolling"])
def test_a_dry_run_finds_a_mistyped_parameter(inputs, stage):
    with pytest.raises(BadInput, match="no such parameter"):
        plan_stage(stage, config(**_gb(num_leafs=7)), LAYOUT)


def test_a_linear_model_takes_what_suits_the_label_and_says_if_it_did_not_converge(inputs):
    both = {"name": "lc", "kind": "linear", "params": {"C": 0.5, "alpha": 2.0, "tol": 1e-3}}
    assert _run("train", train={"algorithms": [both]})[0].warnings == []
    summary = _run("train", train={"algorithms": [{**both, "rounds": 1}]})[0]
    assert summary.warnings == ["not converged, raise `rounds` of the algorithm: up_lc"]
