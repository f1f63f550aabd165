"""What the guides show has to work."""

import io
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.config.model import Config
from pipeline.exchange.local.faults import menu_table
from pipeline.exchange.local.scenario import load
from pipeline.features import feature_names
from pipeline.labels import label_names

ROOT = Path(__file__).parent.parent
EXCHANGE = ROOT / "docs/exchange.md"
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in sorted((ROOT / "docs").glob("*.md"))
    if path != EXCHANGE
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_yaml_example_is_a_valid_part_of_a_config(block):
    raw = YAML(typ="safe", pure=True).load(io.StringIO(block))
    raw.pop("extends", None)
    config = Config.model_validate(raw)
    feature_names(config)
    label_names(config)


def test_the_example_of_a_scenario_is_one(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", EXCHANGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "scenario.yaml").write_text(block)
    assert len(load(tmp_path / "scenario.yaml").faults) == 3


def test_the_menu_of_faults_is_the_codes_own():
    assert menu_table() in EXCHANGE.read_text(encoding="utf-8"), "write menu_table() into docs/exchange.md"


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name)
def test_links_between_the_guides_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


def test_the_wrong_variants_are_as_many_as_the_readme_says():
    from live.mutants import MUTANTS

    assert f"{len(MUTANTS)} wrong variants" in (ROOT / "README.md").read_text(encoding="utf-8")
