"""The second stage learns from out-of-fold scores only, inside each training window, and sizes the trades."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from live import batch
from live.batch import run_batch, write_downloads
from stages.learning import LAYOUT, config, write_inputs

from pipeline.config import Config
from pipeline.config.consistency import problems
from pipeline.config.training import Algorithm
from pipeline.errors import BadInput
from pipeline.models import bundle
from pipeline.models.samples import Samples
from pipeline.stages import output, second_stage, serve, window_fit
from pipeline.stages.runner import run_stage
from pipeline.stages.samples import read_samples
from pipeline.stages.second_stage import fit_second, sides

LABELS = [
    {"highlow2": {"thresholds": [0.8], "tolerance": 0.5, "horizon": "2h", "names": ["up"]}},
    {"meta": {"horizon": "2h", "profit_take": 1.0, "stop_loss": 1.0, "side": "both", "cost": 0.0}},
]
META: dict[str, Any] = {
    "labels": LABELS,
    "train": {"algorithms": [{"name": "lc", "kind": "linear"}]},
    "meta": {"algorithm": {"name": "second", "rounds": 10, "params": {"num_leaves": 4}}, "folds": 3, "embargo": "1h"},
    "signals": {"steps": [{"threshold": {"column": "up_lc", "buy": 0.35, "sell": 0.25}}]},
    "sizing": {"probability": {"floor": 0.3, "full": 0.7}},
    "simulate": {"direction": "both", "random_entries": 5},
}
NAMES = ["right_long_second", "right_short_second"]


def _samples(declared: Config) -> Samples:
    names = ["signal", "noise0", "noise1", "noise2"]
    return read_samples(declared, LAYOUT, names, ["up", "right_long", "right_short"], [20])


def test_first_stage_scores_that_the_second_learns_from_are_out_of_fold(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = config(**META)
    write_inputs(declared, 3000)
    samples = _samples(declared)
    n = len(samples.times)
    allowed = {
        label: np.flatnonzero(target.known & samples.trainable & (np.arange(n) % 3000 < 2000))
        for label, target in samples.targets.items()
    }
    region = samples.times < np.sort(np.unique(samples.times))[2000]
    first, second = [], []
    fit = window_fit.fit_window

    def watched(config: Config, samples: Samples, binned: Any, label: str, algorithm: Algorithm, rows: Any, *more: Any):
        (first if label == "up" else second).append((label, samples, rows, more[-1]))
        return fit(config, samples, binned, label, algorithm, rows, *more)

    monkeypatch.setattr(window_fit, "fit_window", watched)
    models = fit_second(declared, samples, {}, allowed, region, "the window")
    assert list(models) == NAMES and len(first) == 3 and len(second) == 2
    assert all(model.reads == ("up_lc",) for model in models.values())
    groups = second_stage._parts(samples, region, 3)
    hour = 3_600_000
    # Threads fit them in any order; each says which part it leaves out.
    for part, (_, _, rows, _) in enumerate(sorted(first, key=lambda one: one[-1])):
        assert set(groups[rows]) == {0, 1, 2} - {part}
        spans = samples.intervals("up", rows)
        scored = np.flatnonzero(groups == part)
        known = scored[samples.targets["up"].known[scored]]
        start, last = samples.times[scored].min(), samples.intervals("up", known)[:, 1].max()
        assert not ((spans[:, 0] < last + hour) & (start < spans[:, 1])).any()
    # The second stage learns from bars with a signal of its side only, and from nothing outside the window.
    for label, learned, rows, _ in second:
        assert len(rows) == len(learned.times) > 100
        assert learned.names[-1] == "up_lc"
        score = np.asarray(learned.features)[:, -1]
        assert (score >= np.float32(0.35)).all() if label == "right_long" else (score <= np.float32(0.25)).all()
        assert learned.times.max() < np.sort(np.unique(samples.times))[2000]


def test_sides_are_those_of_the_signals_stage(workspace: Path) -> None:
    steps = [
        {"smooth": {"columns": ["up_lc"], "name": "trade_score", "window": 4}},
        {"threshold": {"column": "trade_score", "buy": 0.33, "sell": 0.28}},
    ]
    declared = config(**META | {"signals": {"steps": steps}})
    write_inputs(declared, 4500)
    run_stage("predict-rolling", declared, LAYOUT)
    run_stage("signals", declared, LAYOUT)
    samples = _samples(declared)
    for number, symbol in enumerate(declared.symbols):
        table = pq.read_table(LAYOUT.rolling(symbol))
        own = np.flatnonzero(samples.symbols == number)
        times = table["open_time"].to_numpy().astype("datetime64[ms]").astype(np.int64)
        rows = own[np.searchsorted(samples.times[own], times)]
        score, inside = np.full(len(samples.times), np.nan), np.zeros(len(samples.times), bool)
        score[rows], inside[rows] = table["up_lc"].to_numpy(), True
        found = sides(declared, samples, {"up_lc": score}, inside)[rows]
        signals = pq.read_table(LAYOUT.signals(symbol))
        at = np.searchsorted(signals["open_time"].to_numpy(), table["open_time"].to_numpy())
        wanted = signals["buy_signal"].to_numpy()[at].astype(int) - signals["sell_signal"].to_numpy()[at].astype(int)
        real = samples.trainable[rows]
        assert np.array_equal(found[real], wanted[real]) and {-1, 0, 1} == set(found.tolist())
        assert {"right_long_second", "right_short_second"} <= set(signals.column_names)


def test_the_walk_forward_judges_every_block_and_later_bars_change_nothing(workspace: Path) -> None:
    declared = config(**META)
    write_inputs(declared, 6000)
    run_stage("predict-rolling", declared, LAYOUT)
    whole = pq.read_table(LAYOUT.rolling("AAA"))
    report = json.loads(LAYOUT.folds.read_text())
    assert all(np.isfinite(whole[name].to_numpy()).all() for name in NAMES)
    pooled = report["pooled"]["right_long_second"]
    # Judged on the bars with a signal alone, of which there are fewer than bars.
    assert 50 < pooled["rows"] < 0.8 * report["pooled"]["up_lc"]["rows"]
    # The last block is left out: what was predicted before it stays as it is, to the last bit.
    steps = declared.predict_rolling.model_copy(update={"steps": len(report["folds"]) - 1})
    run_stage("predict-rolling", declared.model_copy(update={"predict_rolling": steps}), LAYOUT)
    part = pq.read_table(LAYOUT.rolling("AAA"))
    assert 0 < part.num_rows < whole.num_rows
    assert part.equals(whole.slice(0, part.num_rows))


def test_the_probability_sizes_the_trades_of_a_simulation(workspace: Path) -> None:
    declared = config(**META | {"sizing": {"probability": {"floor": 0.5, "full": 0.7}}})
    write_inputs(declared, 5000)
    for stage in ("predict-rolling", "signals", "simulate"):
        run_stage(stage, declared, LAYOUT)
    judged = pq.read_table(LAYOUT.simulation / "trades.parquet").to_pylist()
    equity = {
        row["open_time"]: row["equity"] for row in pq.read_table(LAYOUT.simulation / "equity.parquet").to_pylist()
    }
    times = sorted(equity)
    chances = {
        (symbol, row["open_time"]): (row["right_long_second"], row["right_short_second"])
        for symbol in declared.symbols
        for row in pq.read_table(LAYOUT.signals(symbol)).to_pylist()
    }
    assert len(judged) > 10
    seen = []
    for trade in judged:
        decided = times[times.index(trade["entry_time"]) - 1]
        chance = chances[trade["symbol"], decided][0 if trade["side"] == "long" else 1]
        most = equity[decided] * np.clip((chance - 0.5) / 0.2, 0, 1)
        assert trade["qty"] * trade["entry_price"] <= most * (1 + 1e-9)
        seen.append(chance)
    assert min(seen) > 0.5 and np.ptp(seen) > 0.02
    metrics = json.loads((LAYOUT.simulation / "metrics.json").read_text())
    assert metrics["signals"]["refused"].get("no_edge", 0) > 0
    # The report judges the second stage on the bars that have a signal, as the walk-forward does.
    shown = {model.name: model for model in output.load(declared, LAYOUT).scores}
    pooled = json.loads(LAYOUT.folds.read_text())["pooled"]
    real = pooled["right_long_second"]["rows"]
    assert real <= shown["right_long_second"].known.sum() < real + 60
    assert shown["up_lc"].known.sum() == pooled["up_lc"]["rows"]


def test_every_path_of_a_cross_validation_is_judged_by_its_own_training_groups(workspace: Path) -> None:
    declared = config(**META, cross_validation={"groups": 3, "test_groups": 1, "embargo": "1h"})
    write_inputs(declared, 3000)
    run_stage("cross-validate", declared, LAYOUT)
    report = json.loads((LAYOUT.cpcv / "paths.json").read_text())
    table = pq.read_table(LAYOUT.cpcv / "path-0" / "predictions" / "AAA.parquet")
    assert all(np.isfinite(table[name].to_numpy()).all() for name in NAMES)
    assert report["paths"][0]["scores"]["right_long_second"]["rows"] > 50
    assert report["paths"][0]["trading"]["trades"] > 0


LIVE: dict[str, Any] = {
    "name": "t",
    "symbols": ["BTCUSDT", "ETHUSDT"],
    "interval": "5m",
    "download": {"source": "synthetic"},
    "features": [
        {"talib": {"functions": ["SMA"], "periods": [5, 20], "relative": "rel_diff", "relative_base": "last"}},
        {"talib": {"functions": ["RSI"], "periods": [14]}},
    ],
    "labels": [
        {"highlow2": {"function": "high", "thresholds": [0.4], "tolerance": 0.5, "horizon": "2h", "names": ["up"]}},
        {"highlow2": {"function": "low", "thresholds": [0.4], "tolerance": 0.5, "horizon": "2h", "names": ["down"]}},
        {"meta": {"horizon": "2h", "side": "both", "cost": 0.0}},
    ],
    "train": {
        "max_filled_in_window": 1.0,
        "algorithms": [{"name": "gb", "rounds": 10, "params": {"num_leaves": 7, "min_data_in_leaf": 20}},
                       {"name": "lc", "kind": "linear"}],
    },
    "meta": {"algorithm": {"name": "second", "rounds": 10, "params": {"num_leaves": 4}}, "folds": 3},
    "signals": {
        "predictions": "predict",
        "steps": [
            {"combine": {"columns": ["up_gb", "down_lc"]}},
            {"smooth": {"columns": ["trade_score"], "name": "smooth_score", "window": 3}},
            {"threshold": {"column": "smooth_score", "buy": 0.02, "sell": -0.02}},
        ],
    },
    "sizing": {"probability": {"floor": 0.3, "shape": "normal"}},
    "simulate": {"direction": "both", "exits": {"stop_loss": 0.01, "max_bars": "8h"}, "random_entries": 5},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["lightgbm", "linear"])
def test_a_replay_sizes_by_the_second_stage_to_the_last_bit(workspace: Path, kind: str) -> None:
    second = {"name": "second", "kind": kind, "rounds": 10}
    declared = Config.model_validate(LIVE | {"meta": {"algorithm": second, "folds": 3}})
    write_downloads(declared, 1500)
    run_batch(declared)
    loaded = bundle.load(batch.LAYOUT.trained)
    assert list(loaded.second) == NAMES and loaded.manifest["second"]["right_long_second"]["rows"] > 50
    _, table = serve.run_replay(serve.within(declared, ("2024-01-01", "2024-02-01")), batch.LAYOUT, 400)
    assert {line.what: line.line() for line in table if line.differing} == {}
    trades = next(line for line in table if line.what == "trade ledger")
    assert trades.compared > 16 * 5
    signals = pq.read_table(batch.LAYOUT.signals("BTCUSDT"))
    assert np.isfinite(signals["right_long_second"].to_numpy()).any()


def test_a_second_stage_that_is_damaged_or_missing_is_refused(workspace: Path) -> None:
    declared = config(**META)
    write_inputs(declared, 3000)
    run_stage("train", declared, LAYOUT)
    path = LAYOUT.trained / "right_long_second.txt"
    path.write_text(path.read_text().replace("leaf_value", "leaf_valve", 1))
    with pytest.raises(BadInput, match=r"right_long_second\.txt: altered or damaged"):
        bundle.load(LAYOUT.trained)
    run_stage("predict-rolling", config(**{k: v for k, v in META.items() if k not in ("meta", "sizing")}), LAYOUT)
    with pytest.raises(BadInput, match=r"no column 'right_long_second', which sizing\.probability reads"):
        run_stage("signals", declared, LAYOUT)
    with pytest.raises(BadInput, match="no label to learn"):
        run_stage("train", config(**META | {"labels": LABELS[:1], "sizing": {}}), LAYOUT)


def test_contradictions_of_the_sections_are_found_before_anything_runs() -> None:
    def found(**changes: Any) -> str:
        return " | ".join(problems(config(**META | changes)))

    assert found() == ""
    assert "the second stage has nothing to learn" in found(labels=LABELS[:1])
    assert "nothing makes it" in found(meta=None)
    long = [LABELS[0], {"meta": {"horizon": "2h"}}]
    assert "does not judge that side" in found(labels=long)
    assert found(labels=long, simulate={"direction": "long"}) == ""
