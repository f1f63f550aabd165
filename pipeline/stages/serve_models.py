"""The bundle that decides, the thresholds that it was simulated with, and what vouches for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Layout, read_json, sha256_json
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.evaluation.promotions import standing

if TYPE_CHECKING:
    from pipeline.live.strategy import Thresholds
    from pipeline.models.bundle import Bundle

UNTRAINED = "features"


def config_hash(config: Config) -> str:
    """SHA-256 of what a config says; a default that comes with a later version does not change it."""
    return sha256_json(config.model_dump(mode="json", exclude_defaults=True))


def bundle_folder(layout: Layout, name: str | None = None) -> tuple[Path, str]:
    """Folder and id of a bundle: the current one, or what was trained last if none has been promoted.

    Raises BadInput: there is no such bundle.
    """
    from pipeline.stages.standing import named

    name = name or named(layout)
    if name:
        if not (layout.bundles / name).is_dir():
            raise BadInput(
                f"{layout.current}: names the bundle '{name}', and there is none in {layout.bundles}",
                "`pipeline bundles` lists those there are, `pipeline rollback` goes back to the one before",
            )
        return layout.bundles / name, name
    manifest = read_json(layout.trained / "manifest.json", "train")
    return layout.trained, f"trained-{sha256_json(manifest)[:12]}"


def thresholds_of(config: Config, layout: Layout, folder: Path) -> "tuple[Thresholds, dict[str, float]]":
    """The thresholds, stops and sizes that the bundle was simulated with."""
    from pipeline.live.strategy import Thresholds
    from pipeline.stages.serve import chosen

    own = folder / "metrics.json"
    choice = chosen(config, layout, own if own.is_file() else None)
    return Thresholds(choice.buy, choice.sell, choice.chosen_by), dict(choice.variant)


def variant_of(config: Config, layout: Layout, name: str | None = None) -> dict[str, float]:
    """Stops and sizes that a bundle, or the current one, was simulated with, where a grid has chosen them."""
    folder = layout.trained if config.signals.predictions == UNTRAINED else bundle_folder(layout, name)[0]
    return thresholds_of(config, layout, folder)[1]


def load(config: Config, layout: Layout, name: str | None = None) -> "tuple[Bundle | None, str, Path]":
    from pipeline.models import bundle

    if config.signals.predictions == UNTRAINED:
        return None, f"rules-{config_hash(config)[:12]}", layout.trained
    folder, name = bundle_folder(layout, name)
    return bundle.load(folder), name, folder


def evidence(config: Config, layout: Layout, name: str, bundle: Any) -> tuple[str | None, str | None]:
    """Why a bundle's certificate is not valid, and to which stage the gate has let it, or in words why to none."""
    from pipeline.evaluation import certificate

    if bundle is None:
        return None, None
    found = certificate.read(bundle.manifest)
    fault = (
        "there is none: `pipeline retrain` makes one"
        if found is None
        else certificate.valid_for(found, bundle.manifest)
    )
    return fault, _promoted(config, layout, name)


def allowed(exchange: str) -> tuple[str, ...]:
    """Stages whose bundles may send orders to an exchange."""
    return ("live",) if exchange == "live" else ("testnet", "live")


def _promoted(config: Config, layout: Layout, name: str) -> str | None:
    from pipeline.stages.standing import promotions, unexplained
    from pipeline.stages.verify import config_hashes

    try:
        entries = promotions(layout).read()
    except BadInput as error:
        return f"nothing: {error.message}"
    known = standing(entries)
    if strange := unexplained(layout, known):
        return f"nothing: {strange}"
    own = [one for one in entries if one.bundle == name and "whole config" in one.evidence]
    if own and own[-1].evidence["whole config"] != config_hashes(config)["whole config"]:
        return f"nothing: the config is not the one that was promoted to {own[-1].stage}"
    return known.stages.get(name)
