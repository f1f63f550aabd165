"""Config files: what is accepted, and what a user is told about the rest."""

import re
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.config.loading import read_chain
from pipeline.config.schema import schema_text
from pipeline.errors import BadInput, ConfigError
from pipeline.stages.check import check
from pipeline.stages.runner import Options

CONFIGS = Path(__file__).parents[2] / "configs"


def config(text: str, folder: Path, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def message(text: str, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(config(text, folder))
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configs_load_and_begin_with_the_editors_line(path: Path) -> None:
    assert load_config(path).name == path.stem
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n# ")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configs_are_checked_without_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    check(Options(Path("configs") / path.name))
    shown = capsys.readouterr().out
    assert "warning" not in shown
    trains = "labels        none" not in shown
    assert ("walk-forward  train on" in shown) == trains


def test_schema_file_is_current() -> None:
    assert (CONFIGS / "schema.json").read_text(encoding="utf-8") == schema_text(), (
        "run: pipeline schema -o configs/schema.json"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("symbol: [BTCUSDT]", "symbol: unknown key\n       did you mean 'symbols'?"),
        ("download: {strat: '2024-01-01'}", "download.strat: unknown key\n       did you mean 'start'?"),
        ("features: [{talib: {function: [SMA]}}]", "features[0].talib.function: unknown key"),
        ("labels: [{highlow2: {thresholds: [1]}}]", "labels[0].highlow2.horizon: this key is required"),
        ("labels: [{}]", "labels[0]: give exactly one of"),
        ("workers: two", "workers: input should be a valid integer"),
        ("symbols: BTCUSDT", "symbols: must be a list\n       put it in brackets: [BTCUSDT]"),
        ("download: {start: 2024-01-01}", "download.start: a bare date, which DVC cannot track"),
        (
            "download: {start: 2024-02-30}",
            "a bare date that is none: day is out of range",
        ),
        ("seed: &seed [*seed]", "nested without end: an alias (*) stands inside its own anchor (&)"),
        ("download: {start: 'yesterday'}", "'yesterday' is not a date"),
        ("interval: 7m", "interval: '7m' is not an interval"),
        ("predict_rolling: {train_length: long}", "'long' is not a duration"),
        ("interval: 5m\npredict_rolling: {train_length: 7m}", "train_length: '7m' is not a whole number of 5m bars"),
        ("predict_rolling: {prediction_size: 0}", "prediction_size: must be at least one bar"),
        ("labels: [{highlow2: {thresholds: [1], horizon: 0}}]", "labels[0].highlow2.horizon: must be at least one"),
        ("download: {source: csv}", "download.file: source csv needs it"),
        ("symbols: [A1, B1]\ndownload: {source: csv, file: {path: a.csv}}", "put {symbol} into the path"),
        ("download: {funding: true}", "download.funding: spot has no funding rates"),
        ("download: {mark_price: true}", "download.mark_price: spot has no mark price"),
        ("interval: 1h\nmerge: {timeframes: [5m]}", "merge.timeframes[0]: '5m' is not a multiple of the interval 1h"),
        ("train: {start: '2024-02-01', end: '2024-01-01'}", "train.end: 2024-01-01 is not after train.start"),
        ("train: {algorithms: [{name: a}, {name: a}]}", "train.algorithms[1].name: 'a' is taken"),
        ("signals: {steps: [{threshold: {buy: 0, sell: 1}}]}", "sell (1.0) must be below buy (0.0)"),
        ("- a\n- b", "must be a mapping of sections, found list"),
        ("", "the file is empty"),
        ("a: [1, 2", ":1: not valid YAML"),
        ("symbols: [A1]\nsymbols: [B1]", "not valid YAML"),
    ],
)
def test_bad_configs_are_told_apart(tmp_path: Path, text: str, says: str) -> None:
    found = message(text, tmp_path)
    assert str(tmp_path / "a.yaml") in found and says in found


def test_missing_file_lists_the_nearest(tmp_path: Path) -> None:
    config("symbols: [A1]", tmp_path, "demo.yaml")
    with pytest.raises(ConfigError, match=r"no such config file\n +did you mean .*demo.yaml\?"):
        load_config(tmp_path / "dmo.yaml")


def test_missing_file_without_a_like_lists_what_there_is(tmp_path: Path) -> None:
    config("symbols: [A1]", tmp_path, "demo.yaml")
    with pytest.raises(ConfigError, match=r"no such config file\n +there is: .*demo.yaml"):
        load_config(tmp_path / "zzz.yaml")


def test_missing_file_is_looked_for_in_configs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    config("stages: {}", tmp_path, "dvc.yaml")
    config("symbols: [A1]", tmp_path / "configs", "demo.yaml")
    with pytest.raises(ConfigError, match=r"no such config file\n +did you mean configs/demo.yaml\?"):
        load_config(Path("demo"))
    with pytest.raises(ConfigError, match=r"no such config file\n +there is: configs/demo.yaml"):
        load_config(Path("zzz.yaml"))


def test_folder_instead_of_a_file_lists_what_is_in_it(tmp_path: Path) -> None:
    config("symbols: [A1]", tmp_path, "demo.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory\n +there is: .*demo.yaml"):
        load_config(tmp_path)


def test_date_of_an_override_that_is_none_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"download\.start: .2024-02-30. is not a date"):
        load_config(config("symbols: [A1]", tmp_path), overrides=["download.start=2024-02-30"])


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    assert "(and 1 more)" in message("workers: two\nseed: three", tmp_path)


def test_extends_merges_sections_and_replaces_lists(tmp_path: Path) -> None:
    config("interval: 5m\nsymbols: [A1, B1]\ndownload: {start: '2024-01-01', market: um}", tmp_path, "base.yaml")
    loaded = load_config(config("extends: base.yaml\nsymbols: [C1]\ndownload: {market: spot}", tmp_path))
    assert (loaded.interval, loaded.symbols) == ("5m", ["C1"])
    assert (loaded.download.start, loaded.download.market) == ("2024-01-01", "spot")


def test_extends_names_the_missing_base_and_the_circle(tmp_path: Path) -> None:
    assert "base.yaml: no such config file" in message("extends: base.yaml", tmp_path)
    config("extends: a.yaml", tmp_path, "b.yaml")
    assert "extend each other in a circle" in message("extends: b.yaml", tmp_path)


def test_chain_keeps_each_files_own_keys(tmp_path: Path) -> None:
    config("interval: 5m", tmp_path, "base.yaml")
    chain = read_chain(config("extends: base.yaml\nseed: 3", tmp_path))
    assert [(path.name, raw) for path, raw in chain] == [("a.yaml", {"seed": 3}), ("base.yaml", {"interval": "5m"})]


@pytest.mark.parametrize(
    ("override", "expected"),
    [("seed=3", 3), ("train.algorithms.0.rounds=7", 7), ("predict_rolling.train_length=4h", "4h")],
)
def test_set_changes_one_key(tmp_path: Path, override: str, expected: object) -> None:
    loaded = load_config(config("train: {algorithms: [{name: a}]}", tmp_path), overrides=[override])
    found = {
        "seed=3": loaded.seed,
        "train.algorithms.0.rounds=7": loaded.train.algorithms[0].rounds,
        "predict_rolling.train_length=4h": loaded.predict_rolling.train_length,
    }
    assert found[override] == expected


def test_set_takes_a_date_without_quotes(tmp_path: Path) -> None:
    loaded = load_config(config("seed: 1", tmp_path), overrides=["download.start=2024-01-01"])
    assert loaded.download.start == "2024-01-01"


@pytest.mark.parametrize("override", ["seed", "=3", "train.algorithms.9.rounds=1", "seed.deeper=1", "seed=[1"])
def test_bad_set_shows_what_was_given(tmp_path: Path, override: str) -> None:
    with pytest.raises(BadInput, match=re.escape(f"--set {override}:")):
        load_config(config("seed: 1\ntrain: {algorithms: [{name: a}]}", tmp_path), overrides=[override])


def test_templates_fill_interval_and_leave_symbol(tmp_path: Path) -> None:
    text = "interval: 5m\ndownload: {source: csv, file: {path: 'bars/{symbol}-{interval}.csv'}}"
    loaded = load_config(config(text, tmp_path))
    assert loaded.download.file is not None and loaded.download.file.path == "bars/{symbol}-5m.csv"


def test_a_wrong_exchange_is_named_by_its_key(tmp_path):
    text = message("symbols: [A]\nserve: {exchange: foo}\n", tmp_path)
    assert "serve.exchange: 'foo' is neither live, testnet, demo nor a URL" in text
