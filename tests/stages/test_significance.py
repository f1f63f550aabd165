"""What `simulate` says about luck, from its own files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stages.test_simulate import GRID, config, run, write_inputs

from pipeline.artifacts import Layout, read_table
from pipeline.evaluation.daily import daily_returns
from pipeline.evaluation.significance import deflated
from pipeline.stages import simulate
from pipeline.stages.trials import ledger


def lines(layout: Layout) -> list[Any]:
    return [trial for trial in ledger(layout).read() if trial.kind in ("simulate", "grid")]


def test_the_section_is_what_the_ledger_and_the_equity_curve_prove(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    metrics, _, equity = run(layout, config(grid=GRID))
    found = metrics["significance"]
    times, curve = equity["open_time"].to_numpy().astype("int64"), equity["equity"].to_numpy()
    first = int(np.searchsorted(equity["open_time"].to_numpy(), np.datetime64(metrics["split_time"][:-1])))
    own = daily_returns(times[first - 1 :], curve[first - 1 :])
    assert own is not None
    evidence = deflated(own, ledger(layout))
    for name in ("n", "sharpe", "psr", "sr0", "dsr", "n_trials", "n_effective", "min_trl", "sentence"):
        assert found[name] == getattr(evidence, name), name
    assert found["part"] == "evaluation" and found["returns"] == "daily" and found["passes"] == evidence.passes
    assert found["n_trials"] == metrics["trials"] == 1 + metrics["grid"]["sets"]
    # The score knows a little of the future: it is better than holding, and its search is not overfitted.
    assert found["than_holding"]["p_value"] < 0.05 and found["overfitting"]["high"] < 0.5
    assert found["sentences"][0] == found["sentence"] and found["overfitting"]["sentence"] in found["sentences"]
    p = metrics["random_entry"]["p_value"]
    assert f"strategies that entered at random did at least as well (p = {p:.3f})" in found["sentences"][-1]


def test_the_ledger_knows_the_ratios_of_the_grid_and_what_they_amount_to(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    metrics, *_ = run(layout, config(grid=GRID))
    run_line, grid_line = lines(layout)
    assert run_line.effective == 0 and run_line.sharpes == [pytest.approx(metrics["significance"]["sharpe"], abs=1e-4)]
    assert run_line.sharpes[0] in grid_line.sharpes, "the set that was chosen is one of the grid's"
    assert len(grid_line.sharpes) == metrics["grid"]["sets"] == grid_line.sets == 30
    assert 1 <= grid_line.effective < 30 and metrics["significance"]["n_effective"] == grid_line.effective
    # By bars and by days the ratios are much the same.
    table = read_table(layout.simulation / "grid.parquet", "simulate")
    assert np.median(grid_line.sharpes) == pytest.approx(np.median(table["evaluation_sharpe"].to_numpy()), rel=0.15)


def test_what_was_tried_before_counts_and_the_same_again_does_not(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    first = run(layout, config(exits={"stop_loss": 0.02}))[0]["significance"]
    assert first["n_trials"] == 1 and first["dsr"] == first["psr"]
    assert first["overfitting"] is None and first["grid_sample"] is None
    again = run(layout, config(exits={"stop_loss": 0.02}))[0]["significance"]
    assert again == first
    looked = run(layout, config(exits={"stop_loss": 0.02}, stress=True, random_entries=5))[0]["significance"]
    assert looked["n_trials"] == 1, "a stress test of the same set is no other set"
    for stop in np.linspace(0.03, 0.1, 8):
        last = run(layout, config(exits={"stop_loss": float(stop)}))[0]["significance"]
    assert last["n_trials"] == 9 and last["sr0"] > 0 and last["dsr"] < last["psr"]


def test_noise_is_no_evidence(workspace: Path) -> None:
    import pyarrow as pa

    from pipeline.artifacts import write_table

    layout = Layout("test")
    write_inputs(layout)
    signals = read_table(layout.signals("BTCUSDT"), "signals")
    score = np.random.default_rng(9).normal(size=signals.num_rows)
    write_table(layout.signals("BTCUSDT"), signals.set_column(1, "trade_score", pa.array(score)))
    metrics, *_ = run(layout, config(grid=GRID))
    assert not metrics["significance"]["passes"] and metrics["significance"]["sentence"].endswith("not evidence.")


def test_what_the_models_saw_in_training_is_no_evidence(workspace: Path) -> None:
    import pyarrow as pa

    from pipeline.artifacts import write_table

    layout = Layout("test")
    write_inputs(layout)
    signals = read_table(layout.signals("BTCUSDT"), "signals")
    assert run(layout, config())[0]["significance"]["passes"]
    seen = signals.append_column("in_sample", pa.array(np.ones(signals.num_rows, bool)))
    write_table(layout.signals("BTCUSDT"), seen)
    found = run(layout, config())[0]["significance"]
    assert not found["passes"] and found["sentence"].startswith("In sample, so no evidence")
    assert found["sentences"][0] == found["sentence"]


def test_no_trades_and_short_histories_are_judged_without_figures(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout, n=200)
    grid = {"buy": {"start": 90, "stop": 99, "n": 2}, "sell": {"start": -99, "stop": -90, "n": 2}}
    metrics, *_ = run(layout, config(grid=grid | {"min_trades": 1}))
    found = metrics["significance"]
    assert found["sharpe"] is None and found["overfitting"] is None and not found["passes"]
    assert found["sentence"].startswith("No Sharpe ratio to judge")
    json.dumps(found, allow_nan=False)


def test_the_sample_of_a_large_grid_has_the_chosen_set_and_follows_the_seed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.stages import significance

    layout = Layout("test")
    write_inputs(layout)
    for size in (12, 2):
        monkeypatch.setattr(significance, "MOST_SETS", size)
        monkeypatch.setattr(significance, "FEWEST_SETS", size)
        metrics, *_ = run(layout, config(grid=GRID))
        found, (run_line, grid_line) = metrics["significance"], lines(layout)[-2:]
        assert found["grid_sample"]["traded"] == len(grid_line.sharpes) == size and found["grid_sample"]["sets"] == 30
        assert run_line.sharpes[0] in grid_line.sharpes
        simulate.run(config(grid=GRID), layout)
        assert lines(layout)[-1].sharpes == grid_line.sharpes


def test_a_grid_over_stops_and_several_symbols_is_sampled_as_it_was_traded(workspace: Path) -> None:
    layout = Layout("test")
    symbols = ("BTCUSDT", "ETHUSDT")
    for seed, symbol in enumerate(symbols, 1):
        write_inputs(layout, symbol, seed)
    run(layout, config(symbols, grid=GRID | {"stop_loss": [0.01, 0.05]}))
    grid_line = lines(layout)[1]
    table = read_table(layout.simulation / "grid.parquet", "simulate")
    assert len(grid_line.sharpes) == table.num_rows == 60
    tight, wide = grid_line.sharpes[:30], grid_line.sharpes[30:]
    assert all(one != other for one, other in zip(tight, wide, strict=True)), "the stops are those of the sets"
    # Both symbols' capital together, where the grid's ratio is the mean of each by itself.
    assert np.median(grid_line.sharpes) > np.median(table["evaluation_sharpe"].to_numpy())
