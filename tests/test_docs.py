"""What the guides show has to work."""

import io
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.config.model import Config
from pipeline.features import feature_names
from pipeline.labels import label_names

ROOT = Path(__file__).parent.parent
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_yaml_example_is_a_valid_part_of_a_config(block):
    raw = YAML(typ="safe", pure=True).load(io.StringIO(block))
    raw.pop("extends", None)
    config = Config.model_validate(raw)
    feature_names(config)
    label_names(config)


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name)
def test_links_between_the_guides_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target
