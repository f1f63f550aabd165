"""Leaks planted in the stages themselves, which then really run: merging, splitting, choosing, thresholds, labels."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from evaluation.leaks import world

from pipeline.artifacts import write_json, write_table
from pipeline.evaluation import thresholds
from pipeline.evaluation.leaks.findings import Finding
from pipeline.market import candles, merging
from pipeline.signals import chain as signal_chain
from pipeline.stages import blocks, predict_rolling
from pipeline.stages.verify_folds import check_overlap, check_prefix, check_shuffled, check_trades
from pipeline.stages.verify_kept import FAST, Kept
from pipeline.stages.verify_tables import check_online, check_worlds


def failures(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(one.check, one.column) for one in findings if not one.passed}


def test_higher_bar_merged_before_it_has_closed_is_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def running(times: np.ndarray, step: int, starts: np.ndarray, higher: int) -> np.ndarray:
        return np.searchsorted(starts, times, side="right") - 1

    declared = world.config(
        {"talib": {"functions": ["ROC"], "inputs": ["1h_close"], "periods": [5]}}, merge={"timeframes": ["1h"]}
    )
    world.run(declared, "merge", "features", "train", "predict-rolling", "signals", "simulate")
    assert failures(list(check_worlds(Kept(declared, world.LAYOUT), FAST))) == set()
    monkeypatch.setattr(merging, "last_closed", running)
    world.run(declared, "merge", "features", "train", "predict-rolling", "signals", "simulate")
    found = failures(list(check_worlds(Kept(declared, world.LAYOUT), FAST)))
    assert {("truncation", "1h_close"), ("truncation", "1h_close_ROC_5")} <= found


def test_higher_timeframe_used_from_its_left_edge_is_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.features import executor

    right = executor.higher_bars

    def left(columns, times, step_ms, higher_ms):  # type: ignore[no-untyped-def]
        opens, grouped = right(columns, times, step_ms, higher_ms)
        return opens - higher_ms, grouped  # as resample(label="left") and a merge on its times would have it

    declared = world.config({"stats": {"functions": ["std"], "windows": [5], "timeframe": "1h"}})
    monkeypatch.setattr(executor, "higher_bars", left)
    world.run(declared, "features", "train", "predict-rolling", "signals", "simulate")
    kept = Kept(declared, world.LAYOUT)
    found = failures([*check_worlds(kept, FAST), *check_online(kept, FAST)])
    assert {("truncation", "1h_close_std_5"), ("online", "1h_close_std_5")} <= found


def test_shuffled_split_is_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = blocks.block_rows

    def anywhere(samples, label, block, embargo):  # type: ignore[no-untyped-def]
        count = len(honest(samples, label, block, embargo).rows)
        known = np.flatnonzero(samples.trainable & samples.targets[label].known)
        rows = np.random.default_rng(block.number).choice(known, count, replace=False)
        return blocks.TrainingRows(np.sort(rows), 0, 0)

    for module in (blocks, predict_rolling):
        monkeypatch.setattr(module, "block_rows", anywhere)
    world.run(world.config(), "predict-rolling", "signals", "simulate")
    kept = Kept(world.config(), world.LAYOUT)
    found = failures([*check_overlap(kept), *check_prefix(kept, FAST)])
    assert {("overlap", "up fold 0"), ("prefix stability", "up_gb")} <= found


def test_split_without_purge_is_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpurged(samples, label, block, embargo):  # type: ignore[no-untyped-def]
        near = samples.trainable & samples.targets[label].known
        near &= (samples.times >= block.train_start) & (samples.times < block.start)
        return blocks.TrainingRows(np.flatnonzero(near), 0, 0)

    for module in (blocks, predict_rolling):
        monkeypatch.setattr(module, "block_rows", unpurged)
    world.run(world.config(), "predict-rolling", "signals", "simulate")
    found = failures(list(check_overlap(Kept(world.config(), world.LAYOUT))))
    assert ("overlap", "up fold 0") in found and ("overlap", "folds.json fold 0") in found


@pytest.mark.parametrize("change", ["train_end", "train_rows", "test_start"])
def test_doctored_folds_are_named(chain: Path, change: str) -> None:
    folds = json.loads(world.LAYOUT.folds.read_text())
    fold = folds["folds"][1]
    fold[change] = {
        "train_end": folds["folds"][1]["test_end"],
        "train_rows": fold["train_rows"] + 1,
        "test_start": folds["folds"][2]["test_start"],
    }[change]
    write_json(world.LAYOUT.folds, folds)
    found = failures(list(check_overlap(Kept(world.config(), world.LAYOUT))))
    assert found == {("overlap", "test rows fold 1" if change == "test_start" else "folds.json fold 1")}


def test_features_chosen_on_all_data_are_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = predict_rolling.feature_columns

    def best_of_all(config, layout):  # type: ignore[no-untyped-def]
        labels = candles.column(pq.read_table(layout.labels("BTCUSDT")).select(["up"]).cast(_FLOAT), "up")
        table = pq.read_table(layout.features("BTCUSDT"))
        known = np.isfinite(labels)
        names = honest(config, layout)
        strength = []
        for name in names:
            good = known & np.isfinite(candles.column(table, name))
            strength.append(abs(np.corrcoef(candles.column(table, name)[good], labels[good])[0, 1]))
        return [names[j] for j in np.argsort(strength)[-2:]]

    declared = world.config({"returns": {"functions": ["return"], "periods": [1, 2, 3, 4, 6, 9, 12, 15, 18, 19]}})
    world.run(declared, "features", "train")
    monkeypatch.setattr(predict_rolling, "feature_columns", best_of_all)
    world.run(declared, "predict-rolling", "signals", "simulate")
    found = failures(list(check_prefix(Kept(declared, world.LAYOUT), FAST)))
    assert ("prefix stability", "up_gb") in found


def test_thresholds_tuned_on_the_evaluation_part_are_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = thresholds.choose

    def peeking(table: pa.Table, metric: str, min_trades: int) -> tuple[int | None, int]:
        names = [name.replace("evaluation_", "selection_") for name in table.schema.names]
        keep = [j for j, name in enumerate(table.schema.names) if not name.startswith("selection_")]
        return honest(table.select(keep).rename_columns([names[j] for j in keep]), metric, min_trades)

    assert failures(list(check_trades(Kept(world.config(), world.LAYOUT)))) == set()
    monkeypatch.setattr(thresholds, "choose", peeking)
    world.run(world.config(), "simulate")
    found = failures(list(check_trades(Kept(world.config(), world.LAYOUT))))
    assert {check for check, _ in found} == {"prefix stability"} and {"buy", "sell"} & {name for _, name in found}


def test_threshold_at_a_quantile_of_all_scores_is_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quantile(score: np.ndarray, filled: np.ndarray, step: object) -> tuple[np.ndarray, np.ndarray]:
        high, low = np.nanquantile(score, [0.9, 0.1])
        return (score >= high) & ~filled, (score <= low) & ~filled

    monkeypatch.setattr(signal_chain, "threshold", quantile)
    world.run(world.config(), "signals", "simulate")
    kept = Kept(world.config(), world.LAYOUT)
    found = failures([*check_worlds(kept, FAST), *check_online(kept, FAST)])
    assert ("truncation", "buy_signal") in found and ("online", "buy_signal") in found


def test_doctored_signals_are_named(chain: Path) -> None:
    path = world.LAYOUT.signals("BTCUSDT")
    table = pq.read_table(path)
    better = np.roll(table.column("buy_signal").to_numpy(), -3)
    write_table(path, table.set_column(table.schema.get_field_index("buy_signal"), "buy_signal", pa.array(better)))
    found = failures(list(check_worlds(Kept(world.config(), world.LAYOUT), FAST)))
    assert ("truncation", "buy_signal") in found and {name for _, name in found} == {"buy_signal"}


def test_label_that_claims_to_be_known_too_early_is_named(chain: Path) -> None:
    path = world.LAYOUT.labels("BTCUSDT")
    table = pq.read_table(path)
    early = pc.if_else(pc.is_valid(table.column("up_end")), table.column("open_time"), None)
    write_table(path, table.set_column(table.schema.get_field_index("up_end"), "up_end", early))
    found = failures(list(check_worlds(Kept(world.config(), world.LAYOUT), FAST)))
    assert ("truncation", "up") in found


def test_stream_that_forgets_its_history_is_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.features import window_family

    honest = window_family.WindowBlock.stream

    def forgetful(self, columns, times):  # type: ignore[no-untyped-def]
        return honest(self, {name: values[-5:] for name, values in columns.items()}, times[-5:])

    monkeypatch.setattr(window_family.WindowBlock, "stream", forgetful)
    found = failures(list(check_online(Kept(world.config(), world.LAYOUT), FAST)))
    assert found == {("online", "close_skew_20")}


def test_scores_above_chance_with_shuffled_labels_are_named(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = {"name": "gb", "rounds": 40, "params": {"num_leaves": 63, "min_data_in_leaf": 3, "learning_rate": 0.3}}
    kept = Kept(world.config(train={"algorithms": [deep]}), world.LAYOUT)
    assert failures(list(check_shuffled(kept, FAST))) == set()

    def with_the_test_rows(samples, label, block, embargo):  # type: ignore[no-untyped-def]
        known = samples.trainable & samples.targets[label].known & (samples.times < block.stop)
        return blocks.TrainingRows(np.flatnonzero(known), 0, 0)

    for module in (blocks, predict_rolling):
        monkeypatch.setattr(module, "block_rows", with_the_test_rows)
    assert failures(list(check_shuffled(kept, FAST))) == {("shuffled labels", "up_gb")}


_FLOAT = pa.schema([("up", pa.float64())])
