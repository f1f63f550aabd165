"""Configs of intelligent-trading-bot: what they become, and what is said about the rest.

The samples are ours, written in its format.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.importer import convert
from pipeline.config.loading import validate
from pipeline.errors import BadInput
from pipeline.stages.import_config import read_jsonc

SAMPLE = """{
    // keys that must never be copied
    "api_key": "secret-key", "api_secret": "secret", "telegram_bot_token": "t",
    "symbol": "ETHUSDT", "freq": "5min", "data_folder": "/somewhere", /* block */
    "data_sources": [{"folder": "ETHUSDT", "file": "klines", "column_prefix": ""}],
    "feature_sets": [
        {"generator": "talib", "config": {"columns": ["close"], "functions": ["SMA"], "windows": [1, 6, 48],
            "parameters": {"rel_base": "next", "rel_func": "rel_diff", "percentage": true}}},
        {"generator": "tsfresh", "config": {"columns": "close", "windows": [48]}},
        {"generator": "my.module:function", "config": {"columns": "close"}},
    ],
    "label_sets": [
        {"generator": "highlow2", "config": {"columns": ["close", "high", "low"], "function": "high",
            "thresholds": [1.5], "tolerance": 0.25, "horizon": 48, "names": ["high_15"]}},
        {"generator": "topbot2", "config": {"columns": "close", "function": "bot", "level": 0.02,
            "tolerances": [0.1, 0.2], "names": ["bot_1", "bot_2"]}},
    ],
    "label_horizon": 48, "features_horizon": 500, "train_length": 100000,
    "train_features": ["close_SMA_1", "close_SMA_6", "close_skewness_48"],
    "labels": ["high_15", "bot_1"],
    "algorithms": [
        {"name": "lc", "algo": "lc", "params": {"is_scale": true, "length": 50000},
            "train": {"penalty": "l2", "C": 0.5, "solver": "sag", "max_iter": 100}},
        {"name": "gb", "algo": "gb", "params": {}, "train": {"max_depth": 2, "num_boost_round": 500}},
        {"name": "svc", "algo": "svc", "params": {"is_scale": true}, "train": {"C": 1.0}},
    ],
    "signal_sets": [
        {"generator": "combine", "config": {"columns": ["high_15_lc", "bot_1_lc"], "names": "trade_score",
            "combine": "no_combine", "coefficient": 1.0, "constant": 0.0}},
        {"generator": "smoothen", "config": {"columns": ["trade_score"], "names": "smooth", "window": 3}},
        {"generator": "threshold_rule", "config": {"columns": "smooth", "names": ["b", "s"],
            "parameters": {"buy_signal_threshold": 0.05, "sell_signal_threshold": -0.06}}},
    ],
    "output_sets": [{"generator": "score_notification_model", "config": {}}],
    "simulate_model": {"data_start": "2023-01-01 00:00:00", "direction": "long", "topn_to_store": 10,
        "grid": {"buy_signal_threshold": [0.02, 0.04, 0.06], "sell_signal_threshold": [-0.02, -0.06]}},
    "rolling_predict": {"data_start": "2022-02-01 00:00:00", "prediction_start": null,
        "prediction_size": 2016, "prediction_steps": 4, "use_multiprocessing": true, "max_workers": 3},
    "shiny_new_key": 1,
}"""


@pytest.fixture
def sample(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "old.jsonc"
    path.write_text(SAMPLE, encoding="utf-8")
    return read_jsonc(path)


def test_sample_becomes_a_valid_config(sample: dict[str, Any]) -> None:
    config = validate(convert(sample)[0], "new", "the sample")
    assert (config.symbols, config.interval, config.workers) == (["ETHUSDT"], "5m", 3)
    talib = config.features[0].talib
    assert talib is not None
    assert (talib.periods, talib.relative, talib.relative_base, talib.percent) == ([6, 48], "rel_diff", "next", True)
    label = config.labels[0].highlow2
    assert label is not None and (label.tie, label.horizon, label.names) == ("success", 48, ["high_15"])
    assert [(a.name, a.kind, a.rounds) for a in config.train.algorithms] == [
        ("lc", "linear", 100),
        ("gb", "lightgbm", 500),
        ("svc", "lightgbm", 200),
    ]
    assert config.train.algorithms[0].params == {"C": 0.5}
    assert config.train.length == 50000
    assert [step.kind for step in config.signals.steps] == ["combine", "smooth", "threshold"]
    assert config.signals.steps[0].combine is not None and config.signals.steps[0].combine.combine == "larger"
    assert config.simulate.grid is not None and config.simulate.grid.buy.n == 3
    assert (config.predict_rolling.prediction_size, config.predict_rolling.steps) == (2016, 4)
    assert config.merge.start == "2022-02-01" and config.simulate.start == "2023-01-01"


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("api_secret", "keys and tokens do not belong"),
        ("feature_sets[0].windows", "period 1"),
        ("feature_sets[2]", "rewrite it as `custom`"),
        ("algorithms[2]", "'svc' models are not supported"),
        ("output_sets[0]", "live operation"),
        ("simulate_model.topn_to_store", "not carried over"),
        ("shiny_new_key", "not carried over"),
        ("features_horizon", "not needed"),
    ],
)
def test_what_is_lost_is_said(sample: dict[str, Any], key: str, says: str) -> None:
    notes = convert(sample)[1]
    assert any(note.startswith(f"{key}: ") and says in note for note in notes), notes


@pytest.mark.parametrize(
    ("given", "axis"),
    [
        ("np.arange(0.02, 0.1, 0.01).tolist()", (0.02, 0.09, 8)),
        ("[0.1, 0.05, 0.2]", (0.05, 0.2, 3)),
        (0.3, (0.3, 0.3, 1)),
    ],
)
def test_a_grid_may_be_what_its_scripts_evaluate(
    sample: dict[str, Any], given: Any, axis: tuple[float, float, int]
) -> None:
    sample["simulate_model"]["grid"]["buy_signal_threshold"] = given
    grid = validate(convert(sample)[0], "new", "the sample").simulate.grid
    assert grid is not None and (grid.buy.start, grid.buy.stop, grid.buy.n) == axis


@pytest.mark.parametrize("given", ["__import__('os').getcwd()", "np.arange(1, 2, 0)", ["low", "high"], {}])
def test_a_grid_that_is_none_is_left_out_and_said(sample: dict[str, Any], given: Any) -> None:
    sample["simulate_model"]["grid"]["sell_signal_threshold"] = given
    new, notes = convert(sample)
    assert "grid" not in new["simulate"]
    assert any(note.startswith("simulate_model.grid.sell_signal_threshold: not carried over") for note in notes)


def test_a_length_of_training_may_stand_in_either_place(sample: dict[str, Any]) -> None:
    sample["rolling_predict"]["train_length"] = 7000
    new, notes = convert(sample)
    assert new["predict_rolling"]["train_length"] == 7000 and not any("train_length" in note for note in notes)


def test_secrets_are_not_copied(sample: dict[str, Any]) -> None:
    new, notes = convert(sample)
    assert "secret" not in str(new) + str([note.partition(": ")[2] for note in notes])


def test_topbot_becomes_topbot2_for_the_labels_in_use() -> None:
    new, _ = convert({"symbol": "BTCUSDT", "label_sets": [{"generator": "topbot"}], "labels": ["top2_025", "bot3_1"]})
    assert new["labels"] == [
        {"topbot2": {"function": "top", "level": 0.02, "tolerances": [0.125], "names": ["top2_025"]}},
        {"topbot2": {"function": "bot", "level": 0.03, "tolerances": [0.333333], "names": ["bot3_1"]}},
    ]


def test_second_symbol_becomes_a_reference_symbol() -> None:
    old = {
        "symbol": "ETHUSDT",
        "data_sources": [{"folder": "ETHUSDT"}, {"folder": "BTCUSDT", "column_prefix": "btc"}],
        "feature_sets": [
            {
                "generator": "talib",
                "column_prefix": "btc",
                "feature_prefix": "btc",
                "config": {"columns": ["close"], "functions": ["RSI"], "windows": [14]},
            }
        ],
    }
    new, _ = convert(old)
    assert new["merge"] == {"symbols": ["BTCUSDT"]}
    assert new["features"][0]["talib"]["inputs"] == ["BTCUSDT_close"] and new["features"][0]["talib"]["prefix"] == "btc"


@pytest.mark.parametrize(
    ("text", "says"), [("{", "not JSON"), ("[1]", "must be an object"), ('{"a": }', "not JSON"), ("", "not JSON")]
)
def test_bad_files_are_one_error(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.jsonc"
    path.write_text(text)
    with pytest.raises(BadInput, match=says):
        read_jsonc(path)


def test_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_jsonc(tmp_path / "none.jsonc")


@given(
    st.dictionaries(
        st.sampled_from(["data_sources", "feature_sets", "label_sets", "algorithms", "signal_sets", "output_sets"]),
        st.none()
        | st.just("x")
        | st.lists(
            st.none()
            | st.dictionaries(
                st.sampled_from(["generator", "config", "folder", "file", "algo", "params", "name", "column_prefix"]),
                st.none() | st.sampled_from(["talib", "tsfresh", "highlow2", "topbot2", "combine", "threshold_rule"]),
            ),
            max_size=3,
        ),
    )
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_odd_sections_are_noted_and_never_a_crash(old: dict[str, Any]) -> None:
    convert(old)


def test_statistics_are_those_that_were_asked_for() -> None:
    spec = {"columns": ["close"], "functions": ["scipy_skew", "area", "slope", "cubes"], "windows": [10, 30]}
    new, notes = convert(
        {"symbol": "BTCUSDT", "freq": "1h", "feature_sets": [{"generator": "itbstats", "config": spec}]}
    )
    assert new["features"] == [
        {"stats": {"functions": ["skew", "area", "slope"], "inputs": ["close"], "windows": [10, 30], "bias": False}}
    ]
    said = "\n".join(notes)
    assert "'scipy_skew' is called skew here" in said
    assert "'cubes' not carried over" in said
