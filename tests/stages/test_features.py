"""The features stage through the command line."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import bars, random_walk

from pipeline.artifacts import write_table
from pipeline.cli import main
from pipeline.stages.runner import Options

CONFIG = """
interval: 5m
features:
  - talib: {functions: [SMA, RSI], inputs: [close], periods: [5, 14]}
  - time: {fields: [hour]}
"""


@pytest.fixture
def merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(CONFIG)
    path = Path("data/c/merged/BTCUSDT.parquet")
    write_table(path, bars(random_walk(300, 1), step_ms=300_000))
    return path


def run(*arguments: str, stage: str = "features") -> int:
    sys.argv = ["pipeline", stage, "-c", "c.yaml", *arguments]
    try:
        main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_columns_are_float32_in_the_order_of_the_config(merged: Path) -> None:
    assert run() == 0
    table = pq.read_table("data/c/features/BTCUSDT.parquet")
    names = ["close_SMA_5", "close_SMA_14", "close_RSI_5", "close_RSI_14", "time_hour"]
    assert table.column_names == ["open_time", *names]
    assert all(table.schema.field(name).type == pa.float32() for name in names)
    assert table.num_rows == 300 and np.isnan(table["close_RSI_14"].to_numpy()[:14]).all()


def test_a_dry_run_names_the_columns_and_writes_nothing(merged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dry-run") == 0
    assert "close_RSI_14" in capsys.readouterr().out
    assert not Path("data/c/features").exists()


def test_missing_bars_name_the_stage_that_makes_them(merged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merged.unlink()
    assert run() == 2
    assert "pipeline merge" in capsys.readouterr().err


def test_a_window_longer_than_the_data_is_an_error_that_names_the_feature(
    merged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--set", "features.0.talib.periods=[500]") == 2
    error = capsys.readouterr().err
    assert "close_SMA_500" in error and "no value on any" in error
    assert not Path("data/c/features").exists()


def test_constant_features_are_named(merged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(merged, bars(np.full(300, 100.0), step_ms=300_000))
    assert run() == 0
    assert "constant" in capsys.readouterr().out


def test_holes_after_the_warm_up_are_named_with_their_count_and_time(
    merged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = bars(random_walk(300, 1), step_ms=300_000)
    volume = np.full(300, 10.0)
    volume[100:130] = 0.0
    write_table(merged, table.set_column(table.schema.get_field_index("volume"), "volume", pa.array(volume)))
    assert run("--set", "features.0.talib.functions=[RVOL]", "--set", "features.0.talib.inputs=[volume]") == 0
    shown = capsys.readouterr().out
    assert "warning: BTCUSDT: not a number after the warm-up" in shown
    assert "volume_RVOL_5 (26 bars, the first 2024-01-01T08:45Z)" in shown, shown
    assert run() == 0
    assert "not a number" not in capsys.readouterr().out, "the warm-up itself is no hole"


@pytest.mark.parametrize(
    ("more", "stage"),
    [
        ("labels: [{highlow2: {function: high, thresholds: [1.0], horizon: 60}}]", "pipeline labels"),
        ("signals: {predictions: features}", "pipeline signals"),
        ("", "add `labels` to the config, then pipeline labels"),
    ],
)
def test_the_next_stage_is_one_that_the_config_can_run(
    merged: Path, capsys: pytest.CaptureFixture[str], more: str, stage: str
) -> None:
    Path("c.yaml").write_text(CONFIG + more)
    assert run() == 0
    assert f"next: {stage} -c c.yaml\n" in capsys.readouterr().out


def test_a_function_that_is_none_is_refused_with_its_file_and_key(
    merged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.yaml").write_text(CONFIG.replace("SMA", "SMAA"))
    assert run() == 2
    assert "error: c.yaml: features[0].talib.functions: 'SMAA' is not" in capsys.readouterr().err
    assert run(stage="check") == 2
    assert "error: c.yaml: features[0].talib.functions: 'SMAA' is not" in capsys.readouterr().err


def test_advice_can_be_copied_and_run(merged: Path) -> None:
    options = Options(Path("a b.yaml"), symbols=["ETHUSDT"], workdir=Path("w"))
    given = "-c 'a b.yaml' --symbol ETHUSDT --workdir w"
    assert options.spelled_out("pipeline signals --set a=b, or pipeline predict-rolling") == (
        f"pipeline signals {given} --set a=b, or pipeline predict-rolling {given}"
    )
    assert options.spelled_out("`pipeline list features` shows all") == "`pipeline list features` shows all"


@pytest.mark.parametrize("stage", ["features", "labels"])
def test_bars_of_another_interval_are_refused(merged: Path, capsys: pytest.CaptureFixture[str], stage: str) -> None:
    # A higher timeframe or a horizon would be counted in bars of the wrong length, and see the future.
    Path("c.yaml").write_text(CONFIG + "labels: [{highlow2: {function: high, thresholds: [1.0], horizon: 5h}}]")
    assert run("--interval", "1h", stage=stage) == 2
    error = capsys.readouterr().err
    assert "bar of 2024-01-01T00:00Z is followed by that of 2024-01-01T00:05Z, 300 s later" in error
    assert "3600 s apart" in error and "pipeline merge" in error
