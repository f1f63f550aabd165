"""A strategy without labels and models goes through the same stages, less those that learn."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pipeline.config import load_config
from pipeline.stages.chain import run_chain
from pipeline.stages.dvc_file import dvc_text
from pipeline.stages.runner import Options

CONFIG = """
symbols: [BTCUSDT]
interval: 1h
download: {source: synthetic, start: "2024-01-01", end: "2024-03-01"}
features:
  - talib: {functions: [RSI, ATR], periods: [14]}
  - returns: {functions: [return], periods: [24]}
signals:
  predictions: features
  steps:
    - rules:
        long: [{column: close_RSI_14, op: "<", value: 40}]
        short: [{column: close_RSI_14, op: ">", value: 60}]
    - threshold: {buy: 1.0, sell: -1.0}
risk: {gates: {trend: {column: close_return_24}}}
simulate: {exits: {stop_atr: 3, atr: high_low_close_ATR_14}, random_entries: 20}
output: {png: false}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    path = Path("configs/rules.yaml")
    path.write_text(CONFIG)
    return path


def test_run_skips_what_learns_and_ends_in_a_report(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_chain(Options(path), in_place=True)
    assert "no labels, so nothing to learn: without labels, train, predict, predict-rolling" in capsys.readouterr().out
    assert [p.name for p in Path("MODELS/rules").glob("*.jsonl")] == ["trials.jsonl"] and not Path(
        "data/rules/rolling"
    ).exists()
    signals = pq.read_table("data/rules/signals/BTCUSDT.parquet")
    assert signals.column_names == ["open_time", "close_RSI_14", "trade_score", "buy_signal", "sell_signal"]
    assert signals["buy_signal"].to_numpy().any()
    page = Path("data/rules/output/report.html").read_text()
    assert "rules, no model" in page and "against trend" in page


def test_dvc_has_only_the_stages_that_are_needed(path: Path) -> None:
    stages = YAML(typ="safe").load(dvc_text(load_config(path), path))["stages"]
    assert list(stages) == ["download", "merge", "features", "signals", "simulate", "output"]
    assert "data/rules/features" in stages["simulate"]["deps"], "gates and stops read them"
    assert not any("rolling" in str(dep) or "MODELS" in str(dep) for s in stages.values() for dep in s.get("deps", []))
