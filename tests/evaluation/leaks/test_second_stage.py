"""A chain with a second stage has no leak, and its certificate is bound to the second model as well."""

from pathlib import Path

import pytest
from evaluation.leaks import world

from pipeline.evaluation.certificate import valid_for
from pipeline.models.bundle import read_manifest
from pipeline.stages.verify import certify


def test_a_chain_with_a_second_stage_is_certified_for_its_own_models_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    highlow = {"highlow2": {"thresholds": [0.8], "tolerance": 0.5, "horizon": "3h", "names": ["up"]}}
    declared = world.config(
        labels=[highlow, {"meta": {"horizon": "3h", "cost": 0.0}}],
        meta={"algorithm": {"name": "second", "rounds": 5}, "folds": 3},
        sizing={"probability": {"floor": 0.2}},
        signals={"steps": [{"threshold": {"column": "up_gb", "buy": 0.2, "sell": 0.1}}]},
    )
    world.run(declared, "download", "merge", *world.CHAIN)
    certificate = certify(declared, world.LAYOUT, "fast")
    assert certificate.failures == []
    checked = {(one.check, one.column) for one in certificate.findings}
    assert {("truncation", "right_long"), ("truncation", "right_long_second")} <= checked
    manifest = read_manifest(world.LAYOUT.trained)
    assert valid_for(certificate, manifest) is None
    manifest["second"]["right_long_second"]["sha256"] = "0" * 64
    assert "another model 'right_long_second'" in (valid_for(certificate, manifest) or "")
