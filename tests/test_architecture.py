"""The shape of the code: who imports whom, how long a module is, and what is never used."""

import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from pipeline.stages.dvc_file import RECIPES

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "pipeline").rglob("*.py"))
# Bookkeeping that changes no result, so no stage is run again when it changes.
NO_RESULT = (
    "pipeline.config",
    "pipeline.errors",
    "pipeline.artifacts",
    "pipeline.compiled",
    "pipeline.code_library",
    "pipeline.machine_code",
    "pipeline.sources",
    "pipeline.stages.compiled_functions",
    "pipeline.stages.simulate_functions",
    "pipeline.lean",
    "pipeline.stages.reporting",
    "pipeline.cli",
)


def test_imports_point_down() -> None:
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_stay_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert not text or text.startswith('"""')


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_model_or_table_is_pickled(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"\b(pickle|cloudpickle|dill|marshal|shelve)\b[.(]|^\s*import pickle|joblib\.(dump|load)", text
    )


@pytest.mark.parametrize("stage", RECIPES)
def test_dvc_runs_a_stage_again_when_code_it_uses_changes(stage: str) -> None:
    graph = grimp.build_graph("pipeline", cache_dir=None)
    module = f"pipeline.stages.{stage.replace('-', '_')}"
    used = {module, *graph.find_upstream_modules(module)}
    packages = {name for name in used if graph.find_children(name)}
    tracked = tuple(f"pipeline.{path.removesuffix('.py').replace('/', '.')}" for path in RECIPES[stage].code)
    missing = {m for m in used - packages if not m.startswith((*tracked, *NO_RESULT))}
    assert not missing, f"add to RECIPES in pipeline/stages/dvc_file.py: {sorted(missing)}"


def test_no_file_names_a_package_registry() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    hosts = re.compile("|".join(["py" + r"pi\.org", "python" + r"hosted\.org", r"--(extra-)?index" + "-url"]))
    texts = [ROOT / name for name in files if name and (ROOT / name).is_file() and not name.endswith(".png")]
    assert [str(p) for p in texts if hosts.search(p.read_text(encoding="utf-8", errors="ignore"))] == []
