"""The bundle that a journal names, as it was when it decided: its models, thresholds, stops and sizes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Layout, sha256_json
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.stages.serve_models import config_hash

if TYPE_CHECKING:
    from pipeline.live.strategy import Thresholds
    from pipeline.models.bundle import Bundle

_RULES, _TRAINED = "rules-", "trained-"


@dataclass(frozen=True)
class PastBundle:
    """What decided. bundle: None for rules without a model. variant: stops and sizes that a grid has chosen."""

    bundle: "Bundle | None"
    thresholds: "Thresholds"
    variant: dict[str, float]


def folder_of(layout: Layout, name: str) -> Path:
    """Where a bundle of a name lies; one that was never promoted is the trained one, if it is still that."""
    return layout.trained if name.startswith(_TRAINED) else layout.bundles / name


def is_rules(name: str) -> bool:
    """Whether a name stands for a config's rules, without a model."""
    return name.startswith(_RULES)


def require_same(config: Config, layout: Layout, name: str) -> None:
    """Check that what lies there now is what a journal named. Raises BadInput: it was changed. MissingInput."""
    from pipeline.models import bundle

    if is_rules(name):
        now = f"{_RULES}{config_hash(config)[:12]}"
        if now != name:
            raise BadInput(f"the config has changed: its rules are {now}, and {name} decided")
    elif name.startswith(_TRAINED):
        manifest = bundle.read_manifest(layout.trained)
        if f"{_TRAINED}{sha256_json(manifest)[:12]}" != name:
            raise BadInput(f"{layout.trained} has been trained again since, and only promoted bundles are kept")


def load_past(config: Config, layout: Layout, name: str) -> PastBundle:
    """The bundle of a name. Raises BadInput, MissingInput: it is gone, changed or damaged."""
    from pipeline.live.strategy import Thresholds
    from pipeline.models import bundle
    from pipeline.stages.serve import chosen

    require_same(config, layout, name)
    own = folder_of(layout, name) / "metrics.json"
    choice = chosen(config, layout, own if own.is_file() else None)
    thresholds = Thresholds(choice.buy, choice.sell, choice.chosen_by)
    loaded = None if is_rules(name) else bundle.load(folder_of(layout, name))
    return PastBundle(loaded, thresholds, dict(choice.variant))
