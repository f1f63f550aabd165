"""`pipeline check`, `list`, `show` and `import-config`: names across sections, and what is printed."""

import json
from pathlib import Path

import pytest

from pipeline.artifacts import Layout, write_json
from pipeline.errors import BadInput, MissingInput
from pipeline.stages import catalogue, check, headline, import_config
from pipeline.stages.runner import Options

GOOD = """
symbols: [BTCUSDT]
interval: 5m
download: {source: synthetic, start: "2023-01-01", end: "2024-01-01"}
features: [{talib: {functions: [RSI], inputs: [close], periods: [14]}}]
labels: [{highlow2: {thresholds: [1.0], horizon: 4h, names: [high_10]}}]
train: {labels: [high_10], features: ["close_*"], algorithms: [{name: gb}]}
predict_rolling: {train_length: 120d, prediction_size: 30d}
signals: {steps: [{threshold: {column: high_10_gb, buy: 0.3, sell: 0.1}}]}
"""


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a config makes is the business of features and labels; here they are given.
    monkeypatch.setattr("pipeline.features.feature_names", lambda _: ["close_RSI_14"], raising=False)
    monkeypatch.setattr("pipeline.features.lookback_bars", lambda _: 15, raising=False)
    monkeypatch.setattr("pipeline.features.window_bars", lambda _: 15, raising=False)
    monkeypatch.setattr("pipeline.labels.label_names", lambda _: ["high_10"], raising=False)


def write(text: str, name: str = "small.yaml") -> Path:
    Path(name).write_text(text)
    return Path(name)


def test_good_config_is_summed_up(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.check(Options(write(GOOD)))
    text = capsys.readouterr().out
    assert text.startswith("small.yaml: valid\n")
    for part in ("1, the longest looks back 15 bars", "high_10_gb", "train on 34,560 bars", "9 folds"):
        assert part in text


def test_a_range_too_short_to_walk_forward_is_said_before_anything_runs(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # After 120 days of training five days and twelve bars are left, less the 14 bars that warm up: no second block.
    check.check(Options(write(GOOD), overrides=["download.end=2023-05-06T01:00", "predict_rolling.prediction_size=5d"]))
    assert "; 1 folds" in (shown := capsys.readouterr().out) and "shorten" not in shown
    check.check(Options(write(GOOD), overrides=["download.end=2023-05-01"]))
    assert "warning: predict_rolling: the bars end before its first block" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("signals.steps.0.threshold.bye: {low: 0.1, high: 0.3}", "bye"),
        ("signals.steps.4.threshold.buy: {low: 0.1, high: 0.3}", "nothing at"),
        ("train.algorithms.0.params.num_leavs: {low: 4, high: 31}", "num_leavs"),
        ("simulate.costs.taker_fee: {low: 0.0, high: 0.1}", "costs are a fact"),
        ("download.start: {choices: ['2020-01-01', '2021-01-01']}", "'download' is not varied"),
        ("simulate.exits.stop_loss: {low: -1.0, high: 0.1}", "-1"),
    ],
)
def test_key_of_the_search_space_that_cannot_be_tried_is_named(workspace: Path, space: str, said: str) -> None:
    check.check(Options(write(GOOD + "optimize: {space: {signals.steps.0.threshold.buy: {low: 0.2, high: 0.3}}}\n")))
    with pytest.raises(BadInput) as caught:
        check.check(Options(write(GOOD + f"optimize: {{space: {{{space}}}}}\n")))
    assert "optimize.space: " in str(caught.value) and said in str(caught.value)


def test_signals_that_abstain_by_an_interval_are_valid(workspace: Path) -> None:
    steps = "{abstain: {column: high_10_gb, models: [high_10_gb], max_width: 0.8, name: sure}}"
    text = GOOD.replace("steps: [", f"steps: [{steps}, ").replace("column: high_10_gb, buy", "column: sure, buy")
    check.check(Options(write(text + "intervals: {coverage: 0.9}\n")))
    with pytest.raises(BadInput, match="no model 'high_11_gb'"):
        check.check(Options(write(text + "intervals: {models: [high_11_gb]}\n")))


def test_summary_as_json(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.check(Options(write(GOOD), json=True))
    assert json.loads(capsys.readouterr().out)["figures"]["labels"] == ["high_10"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("labels: [high_10]", "labels: [high_1]", r"train.labels\[0\]: no label 'high_1'\n +did you mean 'high_10'"),
        ('["close_*"]', "[volume_*]", r"train.features\[0\]: no feature matches 'volume_\*'"),
        ("column: high_10_gb", "column: high_10_lgbm", "no column 'high_10_lgbm' in the predictions of this config"),
        ("[{threshold", "[{smooth: {columns: [nope]}}, {threshold", "no column 'nope'"),
    ],
)
def test_names_that_nothing_makes_are_found(workspace: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(BadInput, match=says):
        check.check(Options(write(GOOD.replace(old, new))))


def test_outdated_dvc_file_is_noticed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.stages.dvc_file import write_dvc_file

    write_dvc_file(Options(write(GOOD)))
    check.check(Options(Path("small.yaml")))
    assert "warning" not in capsys.readouterr().out
    write(GOOD + "seed: 3\n")
    check.check(Options(Path("small.yaml")))
    assert "run `pipeline dvc -c small.yaml`" in capsys.readouterr().out


def test_lists(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue.show_list("labels", Options())
    assert "highlow2" in capsys.readouterr().out
    catalogue.show_list("features", Options(write(GOOD)))
    assert capsys.readouterr().out == "close_RSI_14\n"
    Path("configs").mkdir()
    write("# yaml-language-server: $schema=schema.json\n# What it is for.\nseed: 1", "configs/a.yaml")
    Path("configs/b.yaml").write_bytes(b"\xdd# no text")
    catalogue.show_list("configs", Options())
    assert capsys.readouterr().out == "configs/a.yaml  What it is for.\nconfigs/b.yaml\n"


def metrics() -> dict[str, object]:
    performance = {"total_return": 0.25, "sharpe": 1.5, "max_drawdown": -0.1, "trades": 40, "win_rate": 0.55}
    return {
        "name": "small",
        "interval": "5m",
        "symbols": ["BTCUSDT"],
        "period": {"start": "2023-01-01T00:00:00+00:00", "end": "2024-01-01T00:00:00+00:00", "bars": 9},
        "split_time": "2023-07-01T00:00:00+00:00",
        "thresholds": {"used": {"buy": 0.1, "sell": -0.1}},
        "headline_part": "evaluation",
        "headline": performance,
        "buy_and_hold": {"evaluation": performance | {"total_return": None}},
        "random_entry": {"p_value": 0.04},
        "in_sample": False,
    }


def test_headline_says_what_a_trader_asks_first(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout("small")
    write_json(layout.simulation / "metrics.json", metrics())
    write_json(layout.folds, {"pooled": {"high_10_gb": {"auc": 0.6123}}})
    (layout.output).mkdir()
    (layout.output / "report.html").touch()
    headline.show(Options(write(GOOD)))
    text = capsys.readouterr().out
    for part in ("2023-07-01 to 2024-01-01", "+25.0%", "buy & hold none", "55% won", "p = 0.04", "0.612"):
        assert part in text
    assert text.endswith("report: data/small/output/report.html\n")


def test_in_sample_figures_are_called_that(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(Layout("small").simulation / "metrics.json", metrics() | {"in_sample": True})
    headline.show(Options(write(GOOD)))
    assert "IN SAMPLE" in capsys.readouterr().out


def test_headline_before_the_run_says_what_to_run(workspace: Path) -> None:
    with pytest.raises(MissingInput, match=r"run `pipeline simulate -c configs/small.yaml` first"):
        headline.show(Options(write(GOOD)))


OLD = """{"symbol": "BTCUSDT", "freq": "5min", // a comment
  "feature_sets": [{"generator": "talib", "config": {"columns": ["close"], "functions": ["RSI"], "windows": [14]}}],
  "label_sets": [{"generator": "highlow2", "config": {"function": "high", "thresholds": [1.0], "tolerance": 0.2,
    "horizon": 48, "names": ["high_10"]}}],
  "train_features": ["close_RSI_14", "close_SMA_1"], "labels": ["high_10"],
  "algorithms": [{"name": "gb", "algo": "gb"}],
  "signal_sets": [{"generator": "threshold_rule", "config": {"columns": "high_10_gb",
    "parameters": {"buy_signal_threshold": 0.3, "sell_signal_threshold": 0.1}}}]}"""


def test_imported_config_checks(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_config.import_config(write(OLD, "old.jsonc"), Path("new.yaml"))
    assert "'close_SMA_1' is not among the features made here; left out" in capsys.readouterr().err
    check.check(Options(Path("new.yaml")))
    assert "new.yaml: valid" in capsys.readouterr().out


def test_imported_config_that_cannot_check_is_not_written(workspace: Path) -> None:
    old = write(OLD.replace('"high_10_gb"', '"high_10_nn"'), "old.jsonc")
    with pytest.raises(BadInput, match=r"cannot be carried over: .* no column 'high_10_nn'"):
        import_config.import_config(old, Path("new.yaml"))
    assert not Path("new.yaml").exists()
