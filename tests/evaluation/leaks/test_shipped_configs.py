"""No false alarm: the detector over every shipped config, on small synthetic markets."""

from pathlib import Path

import pytest

from pipeline.artifacts import Layout
from pipeline.config import load_config
from pipeline.stages.chain import LEARNING, learns
from pipeline.stages.runner import STAGES, run_stage
from pipeline.stages.verify import certify

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
# Enough for the longest look-back and two blocks: end, days to train on, days of a block.
SPANS = {"1m": ("2023-01-06", 2, 1), "5m": ("2023-01-16", 8, 3), "1h": ("2023-05-01", 60, 20)}


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_is_certified(path: Path, workspace: Path) -> None:
    interval = load_config(path).interval
    end, train_days, block_days = SPANS[interval]
    changes = [
        "download.source=synthetic",
        "download.synthetic.exchange=false",
        "download.synthetic.outages_per_year=90",
    ]
    changes += ['download.start="2023-01-01"', f'download.end="{end}"', "merge.max_filled=0.2"]
    if load_config(path).labels:
        changes += ["train.algorithms.0.rounds=10", "train.algorithms.0.params.min_data_in_leaf=100"]
        changes += [f"predict_rolling.train_length={train_days}d", f"predict_rolling.prediction_size={block_days}d"]
        changes += ["predict_rolling.null_paths=0"]
    config = load_config(path, overrides=[*changes, "simulate.random_entries=0"])
    # The linear model beside the trees goes the same ways, and takes most of the time.
    train = config.train.model_copy(update={"algorithms": config.train.algorithms[:1]})
    config, layout = config.model_copy(update={"train": train}), Layout(config.name)
    for stage in STAGES[: STAGES.index("simulate") + 1]:
        if learns(config) or stage not in LEARNING:
            run_stage(stage, config, layout)
    certificate = certify(config, layout, "fast")
    assert certificate.failures == []
    assert {one.check for one in certificate.findings} >= {"truncation", "future noise", "online", "prefix stability"}
    assert sum(one.rows for one in certificate.findings if one.kind == "feature") > 10_000
