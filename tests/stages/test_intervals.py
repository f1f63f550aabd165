"""Intervals in the predictions files: from outcomes known by then, of rows the models had not seen."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stages.learning import LAYOUT, config, write_inputs

from pipeline.artifacts import read_table, write_table
from pipeline.errors import BadInput
from pipeline.labels.outcomes import Outcomes, outcome_delay
from pipeline.models.conformal import intervals
from pipeline.stages.dvc_file import dvc_text
from pipeline.stages.runner import plan_stage, run_stage

ROLLING = {"train_length": "10d", "prediction_size": "5d", "null_paths": 0}
INTERVALS = {"window": 300, "least": 100, "rate": 0.02, "models": ["up_gb", "return_12_lc"]}


def _config(**changes):
    section = {"intervals": INTERVALS, "predict_rolling": ROLLING}
    return config(**(section | changes))


def test_walk_forward_intervals_cover_what_they_promise(workspace: Path) -> None:
    declared = _config()
    write_inputs(declared)
    run_stage("predict-rolling", declared, LAYOUT)
    table = read_table(LAYOUT.rolling("AAA"), "predict-rolling")
    ends = ["up_gb_low", "up_gb_high", "return_12_lc_low", "return_12_lc_high"]
    assert table.column_names[-5:] == [*ends, "fold"]
    pooled = json.loads(LAYOUT.folds.read_text())["pooled"]
    for name in ("up_gb", "return_12_lc"):
        assert pooled[name]["interval"]["coverage"] == pytest.approx(0.9, abs=0.02)
        assert pooled[name]["interval"]["outcomes"] > 8000
    assert "interval" not in pooled["up_lc"]


def test_each_interval_is_made_of_outcomes_that_its_bars_close_has_made_known(workspace: Path) -> None:
    declared = _config()
    write_inputs(declared)
    run_stage("predict-rolling", declared, LAYOUT)
    table = pq.read_table(LAYOUT.rolling("BBB"))
    bars = pq.read_table(LAYOUT.merged("BBB"))
    close, times = bars["close"].to_numpy(), bars["open_time"].to_numpy()
    place = np.searchsorted(times, table["open_time"].to_numpy())
    scores = np.full(len(times), np.nan)
    scores[place] = table["return_12_lc"].to_numpy()
    returns = np.append(close[12:] / close[:-12] - 1, np.full(12, np.nan))
    first = place[0]
    low, high = intervals(scores[first:], returns[first:], declared.intervals, 12, False)
    assert np.array_equal(table["return_12_lc_low"].to_numpy(), low[place - first], equal_nan=True)
    assert np.array_equal(table["return_12_lc_high"].to_numpy(), high[place - first], equal_nan=True)


def test_rows_the_models_learned_from_have_no_interval_and_teach_none(workspace: Path) -> None:
    declared = _config(train={"end": "2024-01-20", "algorithms": config().train.model_dump()["algorithms"]})
    write_inputs(declared)
    run_stage("train", declared, LAYOUT)
    run_stage("predict", declared, LAYOUT)
    table = read_table(LAYOUT.predictions("AAA"), "predict")
    seen, low = table["in_sample"].to_numpy(), table["up_gb_low"].to_numpy()
    assert np.isnan(low[seen]).all()
    # A hundred outcomes, the first of which takes its two hours.
    assert np.flatnonzero(~np.isnan(low))[0] == np.flatnonzero(~seen)[0] + 24 + 99


def test_later_data_change_no_interval(workspace: Path) -> None:
    declared = _config()
    write_inputs(declared)
    run_stage("predict-rolling", declared, LAYOUT)
    before = pq.read_table(LAYOUT.rolling("AAA"))
    cut = before["open_time"][int(0.6 * before.num_rows)].as_py()
    for symbol in declared.symbols:
        for path in (LAYOUT.features(symbol), LAYOUT.merged(symbol)):
            table = pq.read_table(path)
            write_table(path, table.filter(pa.compute.less(table["open_time"], cut)))
    run_stage("labels", declared, LAYOUT)
    run_stage("predict-rolling", declared, LAYOUT)
    after = pq.read_table(LAYOUT.rolling("AAA"))
    assert after.num_rows > 1000
    for name in before.column_names:
        mine, theirs = after[name].to_numpy(), before[name].to_numpy()[: after.num_rows]
        assert mine.tobytes() == theirs.tobytes(), name


@pytest.mark.parametrize(
    ("label", "models", "says"),
    [
        ({"topbot2": {"level": 0.01, "tolerances": [0.1], "names": ["top"]}}, [], "any number of bars"),
        ({"fixed_horizon": {"horizons": [12]}}, ["up_gb"], "no model 'up_gb'"),
    ],
)
def test_models_that_can_have_none_are_refused_before_anything_is_computed(
    workspace: Path, label: dict, models: list[str], says: str
) -> None:
    declared = _config(labels=[label], intervals={"models": models})
    write_inputs(declared, 3000)
    with pytest.raises(BadInput, match=says):
        plan_stage("predict-rolling", declared, LAYOUT)


def test_outcomes_of_the_newest_bars_are_the_tables(workspace: Path) -> None:
    declared = _config()
    write_inputs(declared, 600)
    bars = pq.read_table(LAYOUT.merged("AAA"))
    times = bars["open_time"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    for label, delay in (("up", 24), ("return_12", 12)):
        outcomes = Outcomes(declared, label)
        assert outcomes.delay == outcome_delay(declared, label) == delay
        whole = outcomes.over(bars)
        for t in range(0, 600 - delay, 7):
            rows = slice(t, t + delay + 1)
            part = {name: bars[name].to_numpy()[rows] for name in ("high", "low", "close")}
            assert outcomes.of_first(times[rows], part) == whole[t]
        assert np.isnan(outcomes.over(bars.slice(0, delay))).all()


def test_labels_that_look_back_are_refused_live(workspace: Path) -> None:
    declared = _config(labels=[{"triple_barrier": {"horizon": "2h"}}])
    assert outcome_delay(declared, "triple_barrier") == 24
    with pytest.raises(BadInput, match="depends on all bars before it"):
        Outcomes(declared, "triple_barrier")


def test_dvc_runs_predict_again_when_the_labels_change(workspace: Path) -> None:
    path = workspace / "t.yaml"
    path.write_text("intervals: {}\n")
    text = dvc_text(_config(), Path("t.yaml"))
    predict = text[text.index("  predict:") : text.index("  predict-rolling:")]
    assert "data/t/labels" in predict and "- intervals" in predict
