"""`cross-validate`: each path is a whole history scored by models that knew nothing of it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from stages.learning import LAYOUT, config, write_inputs

from pipeline.artifacts import write_table
from pipeline.config import utc_ms
from pipeline.errors import BadInput
from pipeline.models import fitting
from pipeline.stages.runner import plan_stage, run_stage

STEPS = {"steps": [{"threshold": {"column": "up_lc", "buy": 0.35, "sell": 0.25}}]}
SMALL = {
    "train": {"labels": ["up"], "algorithms": [{"name": "gb", "rounds": 8, "params": {"num_leaves": 7}},
                                               {"name": "lc", "kind": "linear"}]},
    "signals": STEPS,
    "cross_validation": {"groups": 4, "test_groups": 2, "embargo": "1h"},
}  # fmt: skip


def _report() -> dict:
    return json.loads((LAYOUT.cpcv / "paths.json").read_text())


def test_every_path_is_a_whole_history_and_all_scores_are_used_once(workspace: Path) -> None:
    declared = config(**SMALL)
    write_inputs(declared, 4000)
    summary = run_stage("cross-validate", declared, LAYOUT)
    report = _report()
    assert len(report["splits"]) == 6 and len(report["paths"]) == 3
    assert summary.figures["splits, paths"] == "6, 3"
    for symbol in declared.symbols:
        tables = [pq.read_table(LAYOUT.cpcv / f"path-{p}" / "predictions" / f"{symbol}.parquet") for p in range(3)]
        times = tables[0]["open_time"]
        for number, table in enumerate(tables):
            assert table["open_time"].equals(times)
            assert all(np.isfinite(table[name].to_numpy()).all() for name in ("up_gb", "up_lc"))
            split, group = table["split"].to_numpy(), table["group"].to_numpy()
            assert {(int(s), int(g)) for s, g in zip(split, group, strict=True)} == {
                (s, g) for g, s in enumerate(report["paths"][number]["splits"])
            }
        # Different models scored the same bar on different paths.
        assert not np.array_equal(tables[0]["up_lc"].to_numpy(), tables[1]["up_lc"].to_numpy())
    # The label has an edge that models find, on each path.
    assert min(path["scores"]["up_lc"]["auc"] for path in report["paths"]) > 0.55
    spread = report["distribution"]["scores"]["up_lc"]["auc"]
    assert spread["p5"] <= spread["median"] <= spread["p95"]
    assert report["distribution"]["trading"]["trades"]["median"] > 0


def test_paths_are_traded_as_simulate_trades_the_same_scores(workspace: Path) -> None:
    declared = config(**SMALL, simulate={"random_entries": 5})
    write_inputs(declared, 4000)
    run_stage("cross-validate", declared, LAYOUT)
    for symbol in declared.symbols:
        write_table(LAYOUT.rolling(symbol), pq.read_table(LAYOUT.cpcv / "path-1" / "predictions" / f"{symbol}.parquet"))
    run_stage("signals", declared, LAYOUT)
    run_stage("simulate", declared, LAYOUT)
    headline = json.loads((LAYOUT.simulation / "metrics.json").read_text())["headline"]
    traded = _report()["paths"][1]["trading"]
    assert traded["trades"] > 10
    assert {name: headline[name] for name in traded} == traded


def test_an_interrupted_run_fits_only_what_is_missing_and_ends_with_the_same_bytes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = config(**SMALL)
    write_inputs(declared, 3000)
    run_stage("cross-validate", declared, LAYOUT)
    files = {path: path.read_bytes() for path in LAYOUT.cpcv.rglob("*.*")}
    fits, fit = [0], fitting.fit

    def counted(*arguments, **options):
        fits[0] += 1
        if fits[0] == 8:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(fitting, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        run_stage("cross-validate", declared.model_copy(update={"workers": 1}), LAYOUT)
    run_stage("cross-validate", declared, LAYOUT)
    assert fits[0] == 8 + 12 - 7
    assert {path: path.read_bytes() for path in LAYOUT.cpcv.rglob("*.*")} == files
    assert not (LAYOUT.run / ".splits").exists()
    # Another config uses nothing of what is left.
    with pytest.raises(KeyboardInterrupt):
        fits[0] = 0
        run_stage("cross-validate", declared.model_copy(update={"workers": 1}), LAYOUT)
    fits[0] = 100
    run_stage("cross-validate", declared.model_copy(update={"seed": declared.seed + 1}), LAYOUT)
    assert fits[0] == 112


def test_signals_that_abstain_are_traded_on_every_path(workspace: Path) -> None:
    steps = [
        {"abstain": {"column": "up_lc", "models": ["up_lc"], "max_width": 0.99, "name": "sure"}},
        {"threshold": {"column": "sure", "buy": 0.35, "sell": 0.25}},
    ]
    declared = config(**SMALL | {"signals": {"steps": steps}, "intervals": {"window": 60, "least": 20}})
    write_inputs(declared, 3000)
    run_stage("cross-validate", declared, LAYOUT)
    table = pq.read_table(LAYOUT.cpcv / "path-0" / "predictions" / f"{declared.symbols[0]}.parquet")
    low, high = table["up_lc_low"].to_numpy(), table["up_lc_high"].to_numpy()
    assert np.isfinite(low).sum() > 100 and (high[np.isfinite(low)] >= low[np.isfinite(low)]).all()
    assert "trades" in _report()["distribution"]["trading"]


def test_no_training_label_touches_a_tested_one_in_any_fit(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = config(**SMALL)
    write_inputs(declared, 3000)
    fits: list[tuple] = []
    fit = fitting.fit

    def watched(samples, binned, label, algorithm, rows, seed, **options):
        fits.append((samples, label, rows))
        return fit(samples, binned, label, algorithm, rows, seed, **options)

    monkeypatch.setattr(fitting, "fit", watched)
    run_stage("cross-validate", declared, LAYOUT)
    report = _report()
    edges = np.array([utc_ms(edge) for edge in report["edges"]])
    assert len(fits) == 12
    for samples, label, rows in fits:
        spans = samples.intervals(label, rows)
        group = np.searchsorted(edges, samples.times[rows], side="right") - 1
        tested = [g for g in range(4) if g not in set(group.tolist())]
        assert len(tested) == 2
        for g in tested:
            # Neither a label that reaches into the group, nor one that begins before its last label ended.
            inside = np.flatnonzero((samples.times >= edges[g]) & (samples.times < edges[g + 1]))
            last = samples.intervals(label, inside[samples.targets[label].known[inside]])[:, 1].max()
            embargo = 12 * samples.step_ms
            assert not ((spans[:, 0] < last + embargo) & (edges[g] < spans[:, 1])).any()


def test_bins_of_all_rows_and_of_training_rows_score_alike(workspace: Path) -> None:
    declared = config(**SMALL)
    write_inputs(declared, 4000)
    auc = {}
    for bins in ("shared", "training"):
        section = declared.cross_validation.model_copy(update={"bins": bins})
        run_stage("cross-validate", declared.model_copy(update={"cross_validation": section}), LAYOUT)
        auc[bins] = [path["scores"]["up_gb"]["auc"] for path in _report()["paths"]]
    assert auc["shared"] != auc["training"]
    assert np.abs(np.subtract(auc["shared"], auc["training"])).max() < 0.02


def test_a_run_repeats_bit_for_bit_on_one_core_and_on_two(workspace: Path) -> None:
    declared = config(**SMALL)
    write_inputs(declared, 3000)
    found = []
    for workers in (1, 2):
        run_stage("cross-validate", declared.model_copy(update={"workers": workers}), LAYOUT)
        found.append({p.relative_to(LAYOUT.cpcv): p.read_bytes() for p in LAYOUT.cpcv.rglob("*") if p.is_file()})
    assert found[0] == found[1] and len(found[0]) == 13


def test_what_cannot_be_cross_validated_is_refused(workspace: Path) -> None:
    declared = config(**SMALL)
    write_inputs(declared, 3000)
    rules = {"predictions": "features", "steps": [{"threshold": {"column": "signal", "buy": 1, "sell": -1}}]}
    with pytest.raises(BadInput, match="no model to cross-validate"):
        plan_stage("cross-validate", config(**SMALL | {"signals": rules}), LAYOUT)
    with pytest.raises(BadInput, match=r"cross_validation: 0 bars .* are too few for 4 groups"):
        run_stage(
            "cross-validate", config(**SMALL | {"cross_validation": {"groups": 4, "start": "2030-01-01"}}), LAYOUT
        )
    with pytest.raises(ValueError, match=r"test_groups \(4\) must be below groups \(4\)"):
        config(cross_validation={"groups": 4, "test_groups": 4})
    with pytest.raises(ValueError, match="184,756 splits"):
        config(cross_validation={"groups": 20, "test_groups": 10})
    with pytest.raises(BadInput, match="split 0"):
        run_stage("cross-validate", config(**SMALL | {"cross_validation": {"groups": 2, "test_groups": 1,
                                                                           "embargo": 5000}}), LAYOUT)  # fmt: skip
