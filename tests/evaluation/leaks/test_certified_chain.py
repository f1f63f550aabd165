"""`pipeline verify` on a chain without leaks: it passes, and the certificate goes with exactly these files."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from evaluation.leaks import world
from features.markets import OWN, TALIB

from pipeline.artifacts import sha256_file, write_table
from pipeline.errors import BadInput, CheckFailed, MissingInput
from pipeline.evaluation.certificate import read, valid_for
from pipeline.evaluation.leaks.findings import CHECKS
from pipeline.models.bundle import read_manifest
from pipeline.stages.retrain import store_bundle
from pipeline.stages.runner import Options, run_stage
from pipeline.stages.verify import certificate_for, certificate_path, certify, verify
from pipeline.stages.verify_kept import FAST, Kept
from pipeline.stages.verify_tables import check_worlds

SMOOTHED = [
    {"smooth": {"columns": ["up_gb"], "name": "smooth", "window": 4.0}},
    {"threshold": {"column": "smooth", "buy": 0.3, "sell": 0.2}},
]


def files() -> dict[str, str]:
    folders = [world.LAYOUT.run, world.LAYOUT.raw, world.LAYOUT.models]
    every = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): sha256_file(path) for path in every if path != certificate_path(world.LAYOUT)}


def test_chain_without_leak_is_certified_twice_with_the_same_bytes_and_left_alone(chain: Path) -> None:
    before = files()
    certificate = certify(world.config(), world.LAYOUT, "fast")
    assert certificate.failures == []
    assert {one.check for one in certificate.findings} == set(CHECKS) - {"files"}
    names = {one.column for one in certificate.findings}
    assert names >= {"close", "close_RSI_5", "up", "up_gb", "buy_signal", "up fold 0", "buy", "trades"}
    content = certificate_path(world.LAYOUT).read_bytes()
    certify(world.config(), world.LAYOUT, "fast")
    assert certificate_path(world.LAYOUT).read_bytes() == content
    assert files() == before


def test_bundle_gets_the_certificate_of_its_own_files_only(chain: Path) -> None:
    certify(world.config(), world.LAYOUT, "fast")
    manifest = read_manifest(world.LAYOUT.trained)
    assert certificate_for(world.LAYOUT, manifest) is not None
    bundle = json.loads((world.LAYOUT.bundles / store_bundle(world.LAYOUT, world.LAYOUT) / "manifest.json").read_text())
    certificate = read(bundle)
    assert certificate is not None and valid_for(certificate, bundle) is None
    run_stage("train", world.config(seed=4), world.LAYOUT)
    assert certificate_for(world.LAYOUT, read_manifest(world.LAYOUT.trained)) is None


def test_certificate_that_was_edited_is_refused(chain: Path) -> None:
    certify(world.config(), world.LAYOUT, "fast")
    path = certificate_path(world.LAYOUT)
    path.write_text(path.read_text().replace('"fast"', '"full"'))
    with pytest.raises(BadInput, match="was altered"):
        certificate_for(world.LAYOUT, read_manifest(world.LAYOUT.trained))


def test_files_of_another_config_are_not_certified(chain: Path) -> None:
    # The features say ROC over 14 bars; the config now says 15.
    talib = {"talib": {"functions": ["RSI", "ROC"], "inputs": ["close"], "periods": [5, 15]}}
    declared = world.config(features=[talib, world.FEATURES[1]])
    found = {(f.check, f.column) for f in check_worlds(Kept(declared, world.LAYOUT), FAST) if not f.passed}
    assert {("truncation", "close_ROC_14"), ("truncation", "close_ROC_15")} <= found


def test_merged_bars_alone_are_enough(chain: Path) -> None:
    shutil.rmtree(world.LAYOUT.raw)
    assert [f for f in check_worlds(Kept(world.config(), world.LAYOUT), FAST) if not f.passed] == []


@pytest.mark.parametrize("stage", ["features", "labels", "signals", "simulation", "rolling"])
def test_stage_that_has_not_run_is_named(chain: Path, stage: str) -> None:
    shutil.rmtree(world.LAYOUT.run / stage)
    Path("t.yaml").write_text(world.config().model_dump_json(exclude_none=True))
    command = {"simulation": "simulate", "rolling": "predict-rolling"}.get(stage, stage)
    with pytest.raises(MissingInput) as caught:
        verify(Options(Path("t.yaml")), fast=True)
    assert f"pipeline {command} -c t.yaml" in caught.value.hint
    assert not certificate_path(world.LAYOUT).exists()


def test_table_and_json_are_printed(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.yaml").write_text(world.config().model_dump_json(exclude_none=True))
    verify(Options(Path("t.yaml"), json=True), fast=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["passed"] and shown["mode"] == "fast" and shown["path"] == "data/t/certificate.json"
    assert [one["check"] for one in shown["checks"]] == [name for name in CHECKS if name != "files"]
    with pytest.raises(CheckFailed):
        verify(Options(Path("t.yaml"), overrides=["features.1.stats.windows.0=21"]), fast=True)
    assert "FAIL" in capsys.readouterr().out


def test_what_other_code_has_made_is_no_leak(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.yaml").write_text(world.config().model_dump_json(exclude_none=True))
    with monkeypatch.context() as later:
        later.setattr("pipeline.models.bundle.code_hash", lambda: "0" * 64)
        with pytest.raises(BadInput, match="made by other code") as caught:
            verify(Options(Path("t.yaml")), fast=True)
    assert caught.value.exit_code == 2 and "pipeline features -c t.yaml" in caught.value.hint
    assert not certificate_path(world.LAYOUT).exists()
    # Where nothing says which code it was, the values do.
    path = world.LAYOUT.features("BTCUSDT")
    table = pq.read_table(path)
    place = table.schema.get_field_index("close_ROC_5")
    write_table(path, table.set_column(place, "close_ROC_5", pc.add(table["close_ROC_5"], pa.scalar(1, pa.float32()))))
    with pytest.raises(CheckFailed, match="verify t: close_ROC_5: not what this code makes of these bars") as caught:
        verify(Options(Path("t.yaml")), fast=True)
    assert "pipeline features -c t.yaml" in caught.value.hint


def test_every_family_and_every_label_passes_with_scores_of_one_bundle(workspace: Path) -> None:
    declared = world.config(
        interval="5m",
        download={
            "source": "synthetic",
            "start": "2023-01-01",
            "end": "2023-01-13",
            "also_symbols": ["ETHUSDT"],
            "synthetic": {"outages_per_year": 400},
        },
        merge={"symbols": ["ETHUSDT"], "timeframes": ["4h"], "max_filled": 0.5},
        features=[*OWN, *TALIB, {"returns": {"periods": [3], "inputs": ["4h_close"]}}],
        labels=[
            {"highlow2": {"thresholds": [0.5], "horizon": "2h", "names": ["up"]}},
            {"highlow": {"horizons": [12], "thresholds": [0.3]}},
            {"fixed_horizon": {"horizons": [24]}},
            {"topbot2": {"level": 0.01, "tolerances": [0.3]}},
            {"topbot2": {"function": "bot", "level": 0.01, "tolerances": [0.3]}},
            {"triple_barrier": {"horizon": "3h", "events": "cusum"}},
        ],
        train={**world.TRAIN, "labels": ["up"], "end": "2023-01-08"},
        predict_rolling={"train_length": "5d", "prediction_size": "3d", "null_paths": 0},
        signals={"predictions": "predict", "steps": SMOOTHED},
    )
    world.run(declared, "download", "merge", *world.CHAIN[:3], "predict", "predict-rolling", "signals", "simulate")
    certificate = certify(declared, world.LAYOUT, "fast")
    assert certificate.failures == []
    assert len({one.column for one in certificate.findings if one.kind == "label"}) == 10
    assert len({one.column for one in certificate.findings if one.kind == "feature"}) > 100


def test_symbol_that_is_listed_later_is_left_out_of_what_was_before(workspace: Path) -> None:
    declared = world.config(symbols=["BTCUSDT", "ETHUSDT"])
    world.run(declared, "download")
    (path,) = world.LAYOUT.bars("synthetic", "spot", "ETHUSDT", "15m").glob("*.parquet")
    late = pq.read_table(path)
    write_table(path, late.slice(24 * 96))
    world.run(declared, "merge", *world.CHAIN)
    certificate = certify(declared, world.LAYOUT, "fast")
    assert certificate.failures == []
    online = [one for one in certificate.findings if one.check == "online" and one.kind == "feature"]
    assert all(one.symbols == ("BTCUSDT", "ETHUSDT") for one in online)
