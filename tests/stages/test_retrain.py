"""`pipeline retrain`: whatever fails and whenever, `current` names a whole bundle."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.artifacts import Layout, write_json
from pipeline.config import Config
from pipeline.errors import BadInput, CheckFailed, ExchangeError, StorageError
from pipeline.evaluation.certificate import Certificate, read, valid_for
from pipeline.evaluation.leaks.findings import CHECKS, Finding
from pipeline.evaluation.promotions import ROLLBACK
from pipeline.stages import retrain as subject
from pipeline.stages.drift import Looked
from pipeline.stages.reporting import Summary
from pipeline.stages.runner import Options
from pipeline.stages.standing import enter, promotions
from pipeline.stages.verify import certificate_path

LAYOUT = Layout("small")


def fake_stage(model: str = "tree", until: str = "2024-01-01T00:00:00+00:00"):
    """A run_stage that writes what retrain reads of `train` and `simulate`, and nothing else."""

    def run(stage: str, config: Config, layout: Layout) -> Summary:
        if stage == "train":
            layout.trained.mkdir(parents=True, exist_ok=True)
            (layout.trained / "high-gb.txt").write_text(model)
            sha256 = hashlib.sha256(model.encode()).hexdigest()
            manifest = {
                "created": until,
                "models": {"high_gb": {"file": "high-gb.txt", "sha256": sha256}},
                "features": ["rsi"],
                "hashes": {"config": "c"},
                "versions": {"numpy": "2"},
            }
            (layout.trained / "manifest.json").write_text(json.dumps(manifest))
        if stage == "simulate":
            layout.simulation.mkdir(parents=True, exist_ok=True)
            headline = {"total_return": 0.1, "sharpe": 1.0, "trades": 3}
            (layout.simulation / "metrics.json").write_text(
                json.dumps({"period": {"end": until}, "headline": headline})
            )
        return Summary(stage)

    return run


def fake_certify(config: Config, layout: Layout, mode: str, differing: int = 0) -> Certificate:
    """The certificate of a detector that finds what it is told to, left where `pipeline verify` leaves it."""
    assert mode == "fast"
    manifest = json.loads((layout.trained / "manifest.json").read_text())
    findings = tuple(Finding(check, "feature", "rsi", ("BTCUSDT",), 10, differing) for check in CHECKS)
    models = {name: facts["sha256"] for name, facts in manifest["models"].items()}
    certificate = Certificate(
        config.name, mode, manifest["created"], findings, manifest["hashes"], models, manifest["versions"], {}
    )
    write_json(certificate_path(layout), certificate.json())
    return certificate


@pytest.fixture
def options(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    monkeypatch.setattr(subject, "certify", fake_certify)
    (workspace / "small.yaml").write_text("symbols: [BTCUSDT]")
    return Options(Path("small.yaml"))


def bundles() -> list[str]:
    return sorted(path.name for path in LAYOUT.bundles.iterdir()) if LAYOUT.bundles.is_dir() else []


def test_success_stores_a_bundle_and_switches_to_it(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    subject.retrain(options, 10)
    assert bundles() == [subject.current_bundle(LAYOUT)]
    assert bundles()[0].startswith("20240101T0000-")
    assert {p.name for p in (LAYOUT.bundles / bundles()[0]).iterdir()} == {
        "high-gb.txt",
        "manifest.json",
        "metrics.json",
    }
    out = capsys.readouterr()
    assert len(out.out.splitlines()) == 1 and " retrain small ok bundle=20240101T0000-" in out.out
    assert out.err == ""


def test_a_bundle_that_was_rolled_back_from_does_not_come_back_by_itself(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    switched_to = []
    for model in ("first", "second"):
        monkeypatch.setattr(subject, "run_stage", fake_stage(model))
        subject.retrain(options, 10)
        switched_to.append(str(subject.current_bundle(LAYOUT)))
    first, left = switched_to
    enter(LAYOUT, ROLLBACK, first, "candidate", True, "2024-01-01", {})
    capsys.readouterr()
    # The night after, without a new bar: the same training gives the same bundle.
    subject.retrain(options, 10)
    assert left != first == subject.current_bundle(LAYOUT) == promotions(LAYOUT).standing().current
    assert promotions(LAYOUT).standing().stage(left) == "retired"
    assert f"bundle={left}" in (out := capsys.readouterr().out) and f"current={first} (stays)" in out
    monkeypatch.setattr(subject, "run_stage", fake_stage("third"))
    subject.retrain(options, 10)
    assert subject.current_bundle(LAYOUT) not in (left, first)


@pytest.mark.parametrize("command", ["retrain", "retrain_if_drift"])
def test_rules_are_not_retrained_and_no_bar_is_fetched_for_it(
    options: Options, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def run(stage: str, config: Config, layout: Layout) -> Summary:
        raise AssertionError(stage)

    monkeypatch.setattr(subject, "run_stage", run)
    rules = replace(options, overrides=["signals.predictions=features"])
    with pytest.raises(BadInput, match="no model to retrain"):
        getattr(subject, command)(rules, 10)


def test_bundle_carries_the_certificate_of_exactly_its_models(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    subject.retrain(options, 10)
    manifest = json.loads((LAYOUT.bundles / bundles()[0] / "manifest.json").read_text())
    certificate = read(manifest)
    assert certificate is not None and valid_for(certificate, manifest) is None
    work = Layout.in_workdir("small", Path("runs/retrain-small"))
    assert "certificate" not in json.loads((work.trained / "manifest.json").read_text())
    fake_stage("another tree")("train", Config(), work)
    uncertified = subject.store_bundle(work, LAYOUT)
    assert read(json.loads((LAYOUT.bundles / uncertified / "manifest.json").read_text())) is None


def test_models_with_a_leak_become_no_bundle(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    monkeypatch.setattr(subject, "certify", lambda *args: fake_certify(*args, differing=1))
    with pytest.raises(CheckFailed, match=r"failed in verify: .*truncation: rsi.*current bundle stays not set"):
        subject.retrain(options, 10)
    assert bundles() == [] and subject.current_bundle(LAYOUT) is None


def test_certificate_of_other_code_is_not_enough(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if somebody had changed the code between `train` and the detector.
    def of_other_code(config: Config, layout: Layout, mode: str) -> Certificate:
        return replace(fake_certify(config, layout, mode), hashes={"config": "other"})

    monkeypatch.setattr(subject, "run_stage", fake_stage())
    monkeypatch.setattr(subject, "certify", of_other_code)
    with pytest.raises(CheckFailed, match="made for another config"):
        subject.retrain(options, 10)
    assert bundles() == [] and subject.current_bundle(LAYOUT) is None


def test_same_training_twice_is_one_bundle(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    subject.retrain(options, 10)
    subject.retrain(options, 10)
    assert len(bundles()) == 1


@pytest.mark.parametrize("stage", ["download", "merge", "train", "simulate"])
def test_failure_leaves_current_and_names_the_stage(
    options: Options, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    subject.retrain(options, 10)
    before = subject.current_bundle(LAYOUT)
    good = fake_stage("other tree")

    def fail(name: str, config: Config, layout: Layout) -> Summary:
        if name == stage:
            raise ExchangeError("the exchange is down", "try later")
        return good(name, config, layout)

    monkeypatch.setattr(subject, "run_stage", fail)
    with pytest.raises(Exception, match=f"retrain small: failed in {stage}: the exchange is down") as caught:
        subject.retrain(options, 10)
    assert caught.value.exit_code == 3  # type: ignore[attr-defined]
    assert f"current bundle stays {before}" in str(caught.value)
    assert subject.current_bundle(LAYOUT) == before and bundles() == [before]


def test_model_that_differs_from_its_manifest_is_refused(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fake_stage()

    def damage(stage: str, config: Config, layout: Layout) -> Summary:
        summary = good(stage, config, layout)
        if stage == "simulate":
            (layout.trained / "high-gb.txt").write_text("damaged")
        return summary

    monkeypatch.setattr(subject, "run_stage", damage)
    with pytest.raises(CheckFailed, match="differs from its manifest"):
        subject.retrain(options, 10)
    assert bundles() == [] and subject.current_bundle(LAYOUT) is None


def test_disk_full_while_copying_leaves_current(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    subject.retrain(options, 10)
    before = subject.current_bundle(LAYOUT)
    monkeypatch.setattr(subject, "run_stage", fake_stage("other tree"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject.shutil, "copyfile", full)
    with pytest.raises(StorageError, match="No space left"):
        subject.retrain(options, 10)
    assert subject.current_bundle(LAYOUT) == before and bundles() == [before]


def test_old_bundles_are_pruned_but_never_the_current(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(1, 6):
        monkeypatch.setattr(subject, "run_stage", fake_stage(f"tree {day}", f"2024-01-0{day}T00:00:00+00:00"))
        subject.retrain(options, 3)
    assert [name[:8] for name in bundles()] == ["20240103", "20240104", "20240105"]
    # An older bundle that someone switched back to stays, whatever `keep` says.
    LAYOUT.current.write_text(bundles()[0] + "\n")
    subject.prune_bundles(LAYOUT, 1)
    assert [name[:8] for name in bundles()] == ["20240103"]


@pytest.mark.parametrize(("stage", "stays"), [("shadow", False), ("testnet", True), ("live", True)])
def test_what_sends_orders_is_not_replaced_by_a_retraining(
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    stays: bool,
) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    subject.retrain(options, 10)
    first = str(subject.current_bundle(LAYOUT))
    enter(LAYOUT, "promote", first, stage, True, "2024-01-01", {})
    monkeypatch.setattr(subject, "run_stage", fake_stage("other tree"))
    capsys.readouterr()
    subject.retrain(options, 1)
    assert (subject.current_bundle(LAYOUT) == first) == stays
    assert (f"current={first} (stays)" in capsys.readouterr().out) == stays
    known = promotions(LAYOUT).standing()
    assert (
        set(bundles()) == set(known.stages) and len(bundles()) == 2 and known.current == subject.current_bundle(LAYOUT)
    )


def _retrain_slowly(options: Options) -> None:
    good = fake_stage("slow tree")

    def slow(stage: str, config: Config, layout: Layout) -> Summary:
        if stage == "labels":
            Path("started").touch()
            time.sleep(60)
        return good(stage, config, layout)

    subject.run_stage = slow  # type: ignore[assignment]
    subject.retrain(options, 10)


def test_two_never_overlap_and_a_killed_one_leaves_no_trace(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    subject.retrain(options, 10)
    before = subject.current_bundle(LAYOUT)
    monkeypatch.setattr(subject, "run_stage", fake_stage("new tree"))
    first = multiprocessing.get_context("fork").Process(target=_retrain_slowly, args=(options,))
    first.start()
    while not Path("started").exists():
        time.sleep(0.01)
    with pytest.raises(BadInput, match="is already running"):
        subject.retrain(options, 10)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert subject.current_bundle(LAYOUT) == before
    subject.retrain(options, 10)
    assert subject.current_bundle(LAYOUT) != before and len(bundles()) == 2


def test_dry_run_writes_nothing(options: Options, monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
    from pipeline.stages.reporting import Plan

    monkeypatch.setattr(subject, "plan_stage", lambda *_: Plan("download"))
    subject.retrain(Options(options.config, dry_run=True), 10)
    assert [path.name for path in workspace.iterdir()] == ["small.yaml"]


def test_without_drift_the_current_bundle_stays_and_nothing_is_trained(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    ran: list[str] = []
    looked: list[Path] = []

    def look(config: Config, layout: Layout, folder: Path) -> list[Looked]:
        looked.append(folder)
        alarm = None if len(looked) == 1 else "rsi has moved"
        return [Looked("BTCUSDT", 10, "now", True, 5, [], alarm)]

    monkeypatch.setattr(subject, "look", look)
    subject.retrain_if_drift(options, 10)
    first = subject.current_bundle(LAYOUT)
    assert first is not None and not looked
    manifest = LAYOUT.bundles / first / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"drift": {}}))
    capsys.readouterr()

    def watched(stage: str, config: Config, layout: Layout) -> Summary:
        ran.append(stage)
        return fake_stage("new tree", "2024-02-01T00:00:00+00:00")(stage, config, layout)

    monkeypatch.setattr(subject, "run_stage", watched)
    subject.retrain_if_drift(options, 10)
    out = capsys.readouterr()
    assert len(out.out.splitlines()) == 1 and f" retrain small no drift, bundle={first} stays" in out.out
    assert ran == list(subject.DATA) and subject.current_bundle(LAYOUT) == first
    assert looked == [LAYOUT.bundles / first]
    # The second look finds some.
    ran.clear()
    subject.retrain_if_drift(options, 10)
    assert ran == subject.stages_of(Config()) and subject.current_bundle(LAYOUT) != first
    assert "rsi has moved" in Path("runs/retrain-small/retrain.log").read_text()


def test_a_bundle_that_cannot_be_judged_is_named_and_stays(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "run_stage", fake_stage())
    subject.retrain(options, 10)
    before = subject.current_bundle(LAYOUT)
    path = LAYOUT.bundles / str(before) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"drift": {}}))
    with pytest.raises(BadInput, match=r"retrain small: failed in drift: .*current bundle stays"):
        subject.retrain_if_drift(options, 10)
    assert subject.current_bundle(LAYOUT) == before
