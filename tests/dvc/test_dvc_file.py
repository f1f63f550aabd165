"""dvc.yaml: what each stage is said to depend on and to make."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.config import load_config
from pipeline.errors import BadInput
from pipeline.stages.dvc_file import dvc_text, write_dvc_file
from pipeline.stages.runner import STAGES, Options

BASE = "symbols: [A1, B1]\nlabels: [{fixed_horizon: {horizons: [3]}}]\ndownload: {source: synthetic}"


@pytest.fixture
def folder(workspace: Path) -> Path:
    (workspace / "configs").mkdir()
    return workspace


def stages(text: str, **others: str) -> dict[str, Any]:
    for name, content in {"a": text, **others}.items():
        Path(f"configs/{name}.yaml").write_text(content)
    path = Path("configs/a.yaml")
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(dvc_text(load_config(path), path))
    return loaded["stages"]


def outs(stage: dict[str, Any]) -> list[str]:
    return [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]


def test_every_stage_is_there_in_order(folder: Path) -> None:
    assert list(stages(BASE)) == list(STAGES)


def test_symbols_are_worked_through_inside_a_stage(folder: Path) -> None:
    found = stages(BASE)
    assert outs(found["features"]) == ["data/a/features"]
    assert outs(found["download"]) == ["data/raw/synthetic/spot/A1", "data/raw/synthetic/spot/B1"]


def test_every_input_is_an_output_of_an_earlier_stage(folder: Path) -> None:
    made: set[str] = set()
    for stage in stages(BASE).values():
        assert {dep for dep in stage.get("deps", []) if not dep.startswith("pipeline/")} <= made
        made |= set(outs(stage))


def test_download_is_neither_cached_nor_deleted_and_bundles_are_no_outs(folder: Path) -> None:
    found = stages(BASE)
    assert all(next(iter(out.values())) == {"cache": False, "persist": True} for out in found["download"]["outs"])
    assert "bundles" not in str(found) and "current" not in str(found)


def test_only_sections_that_a_file_has_are_parameters(folder: Path) -> None:
    found = stages(BASE + "\nworkers: 2")
    assert found["labels"]["params"] == [{"configs/a.yaml": ["symbols", "labels"]}]
    assert found["train"]["params"] == [{"configs/a.yaml": ["symbols", "labels"]}]
    assert "workers" not in str(found)


def test_sections_are_tracked_in_the_file_that_holds_them(folder: Path) -> None:
    found = stages("extends: b.yaml\nlabels: [{fixed_horizon: {horizons: [5]}}]", b=BASE)
    assert found["labels"]["params"] == [{"configs/a.yaml": ["labels"]}, {"configs/b.yaml": ["symbols", "labels"]}]


def test_signals_read_the_scores_that_the_config_names(folder: Path) -> None:
    assert "data/a/rolling" in stages(BASE)["signals"]["deps"]
    assert "data/a/predictions" in stages(BASE + "\nsignals: {predictions: predict}")["signals"]["deps"]


def test_own_files_and_own_functions_are_inputs(folder: Path) -> None:
    found = stages(
        'symbols: [A1]\ndownload: {source: csv, file: {path: "bars/{symbol}.csv"}}\n'
        "features: [{custom: {function: 'mine/f.py:f', lookback: 3, names: [x]}}]"
    )
    assert "bars/A1.csv" in found["download"]["deps"] and "mine/f.py" in found["features"]["deps"]


def test_command_writes_once_and_prints_on_a_dry_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages(BASE)
    options = Options(Path("configs/a.yaml"))
    write_dvc_file(Options(options.config, dry_run=True))
    assert "stages:" in capsys.readouterr().out and not Path("dvc.yaml").exists()
    write_dvc_file(options)
    write_dvc_file(options)
    assert capsys.readouterr().out.endswith("dvc.yaml describes configs/a.yaml already\n")


def test_default_config_has_no_file_to_track(folder: Path) -> None:
    with pytest.raises(BadInput, match="none is named"):
        write_dvc_file(Options())
