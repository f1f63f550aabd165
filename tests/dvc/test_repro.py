"""Real DVC on a small synthetic config, in a repository of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow

CONFIG = """
symbols: [BTCUSDT]
interval: 15m
seed: 1
workers: 1
download: {source: synthetic, start: "2023-01-01", end: "2023-04-01", synthetic: {seed: 1, edge: 0.5}}
features:
  - talib: {functions: [RSI, ROC], inputs: [close], periods: [5, 14]}
  - talib: {functions: [NATR], periods: [14]}
labels:
  - highlow2: {function: high, thresholds: [1.0], tolerance: 0.3, horizon: 4h, names: [high_10]}
  - highlow2: {function: low, thresholds: [1.0], tolerance: 0.3, horizon: 4h, names: [low_10]}
train:
  algorithms: [{name: gb, kind: lightgbm, rounds: 10, params: {num_leaves: 7, min_data_in_leaf: 50}}]
predict_rolling: {train_length: 30d, prediction_size: 15d}
signals:
  steps:
    - combine: {columns: [high_10_gb, low_10_gb], combine: difference}
    - threshold: {buy: 0.02, sell: -0.02}
simulate: {random_entries: 20}
output: {png: false}
"""
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Repository:
    """A git repository with our .dvc and the small config."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "configs").mkdir()
        (folder / "configs/small.yaml").write_text(CONFIG)
        shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
        for name in (".dvcignore", ".gitignore"):
            shutil.copy(ROOT / name, folder / name)
        (folder / ".dvc/config.local").write_text(f"[core]\n    site_cache_dir = {folder / '.dvc/tmp/site'}\n")
        self.run("git", "init", "-q")
        self.run("pipeline", "dvc", "-c", "configs/small.yaml")

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900
        )
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def repro(self) -> list[str]:
        """The stages that ran."""
        return re.findall(r"Running stage '(.*?)'", self.run("dvc", "repro"))

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "configs/small.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def commit(self, message: str) -> None:
        self.run("git", "add", ".")
        self.run("git", "commit", "-qm", message)

    def hashes(self) -> dict[str, object]:
        from ruamel.yaml import YAML

        lock = YAML(typ="safe", pure=True).load(self.folder / "dvc.lock")
        return {name: stage["outs"] for name, stage in lock["stages"].items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("finished"))
    repository.repro()
    repository.commit("first")
    return repository


@pytest.fixture
def repository(finished: Repository, tmp_path: Path) -> Iterator[Repository]:
    """A copy of the finished one, to change at will."""
    folder = tmp_path / "repository"
    shutil.copytree(finished.folder, folder, symlinks=True)
    copy = Repository.__new__(Repository)
    copy.folder = folder
    yield copy


def test_committed_file_is_that_of_the_demo() -> None:
    from pipeline.config import load_config
    from pipeline.stages.dvc_file import dvc_text

    os.chdir(ROOT)
    path = Path("configs/demo.yaml")
    assert (ROOT / "dvc.yaml").read_text() == dvc_text(load_config(path), path), (
        "run: pipeline dvc -c configs/demo.yaml"
    )


def test_second_repro_runs_nothing(finished: Repository) -> None:
    assert finished.repro() == []
    assert "up to date" in finished.run("dvc", "status")


def test_cache_links_instead_of_copying(finished: Repository) -> None:
    outputs = [path for path in (finished.folder / "data/small").rglob("*.parquet") if path.is_file()]
    assert outputs and all(path.stat().st_nlink > 1 for path in outputs)


def test_threshold_reruns_only_what_depends_on_it(repository: Repository) -> None:
    repository.edit("buy: 0.02", "buy: 0.05")
    assert repository.repro() == ["signals", "simulate", "output"]


def test_training_parameters_leave_the_features_alone(repository: Repository) -> None:
    repository.edit("rounds: 10", "rounds: 12")
    ran = repository.repro()
    assert {"train", "predict", "predict-rolling"} <= set(ran)
    assert not {"download", "merge", "features", "labels"} & set(ran)


def test_number_of_workers_reruns_nothing(repository: Repository) -> None:
    repository.edit("workers: 1", "workers: 2")
    assert repository.repro() == []


def test_metrics_diff_and_plots_show(repository: Repository) -> None:
    repository.edit("buy: 0.02", "buy: 0.05")
    repository.repro()
    diff = json.loads(repository.run("dvc", "metrics", "diff", "--json"))
    changed = diff["data/small/simulation/metrics.json"]
    assert "headline.total_return" in changed or "counts.buy_signals" in changed
    repository.run("dvc", "plots", "show", "-o", "plots")
    page = (repository.folder / "plots/index.html").read_text()
    assert "equity" in page and "drawdown" in page


def test_same_hashes_from_scratch(finished: Repository, tmp_path: Path) -> None:
    again = Repository(tmp_path)
    again.repro()
    assert again.hashes() == finished.hashes()


def test_download_outside_dvc_is_neither_lost_nor_undone(repository: Repository) -> None:
    raw = repository.folder / "data/raw"
    repository.edit('end: "2023-04-01"', 'end: "2023-05-01"')
    repository.run("pipeline", "download", "-c", "configs/small.yaml")
    months = sorted(raw.rglob("*.parquet"))
    assert any("2023-04" in path.name for path in months)
    assert "merge" in repository.repro()
    assert sorted(raw.rglob("*.parquet")) == months
    assert repository.repro() == []


def test_killed_stage_leaves_the_next_repro_to_finish(repository: Repository) -> None:
    repository.edit("rounds: 10", "rounds: 11")
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=repository.folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    for line in process.stdout:
        if "Running stage 'train'" in line:
            time.sleep(0.7)
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    ran = repository.repro()
    assert ran[-1] == "output" and "features" not in ran
    assert repository.repro() == []
