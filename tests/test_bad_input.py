"""Bad input through the real command: one clear message, exit code 2, the old files as they were."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from builders import START_MS, random_walk
from commands import pipeline

from pipeline.artifacts import sha256_file

CONFIG = """
symbols: [TESTUSDT]
interval: 5m
download:
  source: csv
  start: "2024-01-01"
  end: "2024-01-15"
  file: {path: bars.csv}
features:
  - talib: {functions: [RSI, SMA], inputs: [close], periods: [5, 14]}
labels:
  - highlow2: {thresholds: [0.3], tolerance: 0.5, horizon: 1h, names: [up]}
  - highlow2: {function: low, thresholds: [0.3], tolerance: 0.5, horizon: 1h, names: [down]}
train:
  algorithms: [{name: gb, rounds: 5}]
predict_rolling: {train_length: 5d, prediction_size: 3d}
signals:
  steps:
    - combine: {columns: [up_gb, down_gb]}
    - threshold: {buy: 0.01, sell: -0.01}
simulate: {random_entries: 20}
"""
HEADER = "open_time,open,high,low,close,volume\n"


def _rows(n: int = 4000, step_ms: int = 300_000) -> list[list[float]]:
    close = random_walk(n, volatility=0.002)
    opens = np.append(close[:1], close[:-1])
    top, bottom = np.maximum(opens, close) * 1.0005, np.minimum(opens, close) * 0.9995
    times = START_MS + step_ms * np.arange(n)
    return [[int(t), *map(float, row), 1.0] for t, *row in zip(times, opens, top, bottom, close, strict=True)]


def _write(rows: list[list[float]], header: str = HEADER) -> None:
    Path("bars.csv").write_text(header + "".join(",".join(map(repr, row)) + "\n" for row in rows))


def _pipeline(*arguments: str, config: str | None = "c.yaml") -> subprocess.CompletedProcess:
    return pipeline(*arguments, *(["-c", config] if config else []))


def _refused(result: subprocess.CompletedProcess, *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


def _files() -> dict[str, str]:
    return {
        str(p): sha256_file(p)
        for folder in ("data", "MODELS")
        for p in Path(folder).rglob("*")
        if p.is_file() and p.suffix != ".lock"
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which the whole chain has run once."""
    folder = tmp_path_factory.mktemp("finished")
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("c.yaml").write_text(CONFIG)
        _write(_rows())
        result = _pipeline("run", "--in-place", "--to", "simulate")
        assert result.returncode == 0, result.stderr
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def run(finished, workspace) -> Path:
    """A copy of that folder, to be spoilt."""
    subprocess.run(["cp", "-r", f"{finished}/.", "."], check=True)
    return workspace


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("featurs: []", ["c.yaml: featurs: unknown key", "did you mean 'features'?"]),
        ("seed: many", ["c.yaml: seed:", "valid integer"]),
        ("interval: 7m", ["interval", "'7m' is not an interval"]),
        ("features: [{talib: {functions: [RSII]}}]", ["'RSII' is not a TA-Lib function", "did you mean 'RSI'?"]),
        ("labels: [{highlow2: {thresholds: [1], horizon: 7s}}]", ["not a whole number of 5m bars"]),
        ("symbols: [TESTUSDT", ["c.yaml", "not valid YAML"]),
    ],
)
def test_a_wrong_config_is_refused_by_its_key(run, text, words):
    key = text.split(":")[0]
    lines, keep = [], True
    for line in CONFIG.splitlines():
        if line and not line.startswith(" "):
            keep = not line.startswith(key + ":")
        lines += [line] if keep else []
    Path("c.yaml").write_text("\n".join(lines) + "\n" + text + "\n")
    before = _files()
    _refused(_pipeline("features" if "labels" not in text else "labels"), *words)
    assert _files() == before


def _spoil(row: int, column: int, value: float) -> list[list[float]]:
    rows = _rows()
    rows[row][column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lambda: _spoil(9, 4, float("nan")), ["bars.csv", "row 10", "close"]),
        (lambda: _spoil(9, 2, float("inf")), ["bars.csv", "row 10", "high"]),
        (lambda: _spoil(9, 3, -1.0), ["bars.csv", "row 10", "low"]),
        (lambda: _spoil(9, 2, 0.5), ["bars.csv", "row 10", "below low"]),
        (lambda: _spoil(9, 0, START_MS + 9 * 300_000 + 7000), ["row 10", "not on the 5m grid"]),
        (lambda: [*_rows(), [*_rows()[5][:4], 99.0 + 0.01, 2.0]], ["bars.csv"]),
        (lambda: _rows(step_ms=60_000), ["bars.csv", "holds 1m bars, not 5m"]),
        (list, ["bars.csv", "has no rows"]),
    ],
    ids=["nan", "infinite", "negative", "high-below-low", "off-grid", "conflict", "interval", "empty"],
)
def test_bars_that_no_market_made_are_refused_by_row(run, rows, words):
    before = _files()
    _write(rows())
    _refused(_pipeline("download"), *words)
    assert _files() == before


def test_a_missing_column_is_named(run):
    _write([row[:5] for row in _rows()], "open_time,open,high,low,close\n")
    _refused(_pipeline("download"), "no column 'volume'")


@pytest.mark.parametrize("stage", ["features", "labels", "train", "predict-rolling", "signals", "simulate"])
def test_a_truncated_input_is_named_with_the_stage_that_makes_it(run, stage):
    folder = {"features": "merged", "labels": "merged", "train": "features", "predict-rolling": "features"}
    folder |= {"signals": "rolling", "simulate": "signals"}
    path = Path("data/c") / folder[stage] / "TESTUSDT.parquet"
    path.write_bytes(path.read_bytes()[:200])
    before = _files()
    _refused(_pipeline(stage), str(path), "not a whole Parquet file", "run `pipeline")
    assert _files() == before


def test_an_input_that_is_not_there_names_the_stage_to_run(run):
    Path("data/c/merged/TESTUSDT.parquet").unlink()
    _refused(_pipeline("features"), "not there yet", "run `pipeline merge -c c.yaml` first")


def test_a_label_longer_than_the_data_is_refused(run):
    before = _files()
    result = _pipeline("labels", "--set", "labels=[{fixed_horizon: {horizons: [90d]}}]")
    _refused(result, "longer than the data")
    assert _files() == before


def test_a_single_class_is_refused(run):
    changed = ["--set", "labels.0.highlow2.thresholds=[80]"]
    assert _pipeline("labels", *changed).returncode == 0
    before = _files()
    _refused(_pipeline("train", *changed), "label 'up'", "nothing to learn")
    assert _files() == before


def test_a_feature_without_values_is_refused(run):
    before = _files()
    _refused(
        _pipeline("features", "--set", "features.0.talib.periods=[4999]"), "has no value on any", "longer than the data"
    )
    assert _files() == before


def test_no_trades_are_a_result_with_a_warning(run):
    changed = ["--set", "signals.steps.1.threshold={buy: 5, sell: -5}"]
    assert _pipeline("signals", *changed).returncode == 0
    result = _pipeline("simulate", *changed, "--json")
    assert result.returncode == 0
    report = json.loads(result.stdout)
    assert len(report["warnings"]) >= 1
    assert json.loads(Path("data/c/simulation/metrics.json").read_text())["headline"]["trades"] == 0


def test_a_full_disk_leaves_the_old_file(run):
    # A limit on the size of files is what a process sees of a full disk, without needing one.
    before = _files()
    command = f"ulimit -f 8; trap '' XFSZ; exec {sys.executable} -m pipeline.cli features -c c.yaml"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert _files() == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stage_stopped_in_the_middle_leaves_the_old_output_and_the_next_run_succeeds(run, how):
    before = _files()
    settings = ["--set", "train.algorithms=[{name: gb, rounds: 100000}]"]
    command = [sys.executable, "-m", "pipeline.cli", "train", "-c", "c.yaml", *settings]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not any(path.endswith(".lock") for path, *_ in psutil.Process(child.pid).open_files()):
        assert child.poll() is None, "it ended before it could be stopped"
        time.sleep(0.02)
    other = _pipeline("labels")
    _refused(other, "already running")
    child.send_signal(how)
    if how == signal.SIGINT:
        # A fit in C cannot be left half-way; a second signal is what an impatient user sends.
        time.sleep(0.5)
        child.kill()
    child.wait(timeout=900)
    assert {k: v for k, v in _files().items() if "/." not in k} == before
    assert _pipeline("train").returncode == 0


def test_a_config_that_is_not_there_suggests_the_nearest(run):
    _refused(_pipeline("check", config="cc.yaml"), "cc.yaml: no such config file", "c.yaml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rehearse", "2024-01-10", "2024-01-08"], ["--rehearse", "2024-01-08 is not after 2024-01-10"]),
        (["--rehearse", "2024-01-10", "soon"], ["--rehearse: 'soon' is not a time", "2024-01-31T12:00"]),
        (["--rehearse", "2025-01-10", "2025-01-12"], ["data/c/merged/TESTUSDT.parquet has no bars", "2024-01-01"]),
        (["--resume"], ["--resume", "needs --rehearse FROM TO"]),
        (["--speed", "60"], ["--speed", "needs --rehearse FROM TO"]),
        (["--restart-every", "9"], ["--restart-every", "needs --replay FROM TO"]),
        (["--replay", "2024-01-10", "2024-01-12", "--rehearse", "2024-01-10", "2024-01-12"], ["one of --replay and"]),
    ],
)
def test_a_rehearsal_that_cannot_be_leaves_the_last_one(run, options, words):
    folder = Path("data/c/serve/rehearsal")
    folder.mkdir(parents=True)
    (folder / "journal.sqlite").write_text("the last one")
    before = _files()
    _refused(_pipeline("serve", *options), *words)
    assert _files() == before


def test_the_plan_of_a_rehearsal_names_the_files_that_it_writes(run):
    result = _pipeline("serve", "--rehearse", "2024-01-10", "2024-01-12", "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    written = json.loads(result.stdout)["outputs"]
    assert [Path(name).name for name in written] == ["journal.sqlite", "decisions.parquet", "trades.parquet"]
    assert {str(Path(name).parent) for name in written} == {"data/c/serve/rehearsal"}


def test_a_current_bundle_that_is_not_there_is_named(run):
    Path("MODELS/c/current").write_text("20240101T0000-gone")
    for command in (["drift"], ["serve", "--rehearse", "2024-01-10", "2024-01-12"]):
        _refused(_pipeline(*command), "MODELS/c/current", "'20240101T0000-gone'", "pipeline bundles")
