"""`pipeline list`: the names that a config may use, and those that it makes."""

import importlib
from pathlib import Path

from pipeline.stages.reporting import print_json
from pipeline.stages.runner import STAGES, Options


def show_list(what: str, options: Options) -> None:
    """Print one name per line, with what it is; or the columns a config makes, if one is given."""
    if options.config is not None and what in ("features", "labels"):
        entries = dict.fromkeys(_columns(what, options), "")
    else:
        entries = {"features": _features, "labels": _labels, "stages": _stages, "configs": _configs}[what]()
    if options.json:
        print_json({what: entries})
        return
    width = max((len(name) for name in entries), default=0)
    print("\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in entries.items()))


def _columns(what: str, options: Options) -> list[str]:
    config, _ = options.load()
    if what == "features":
        from pipeline.features import feature_names

        return feature_names(config)
    from pipeline.labels import label_names

    return label_names(config)


def _features() -> dict[str, str]:
    from pipeline import features

    return dict(features.catalogue())


def _labels() -> dict[str, str]:
    from pipeline.config.labels import LabelEntry

    return {name: _first_line(field.annotation) for name, field in LabelEntry.model_fields.items()}


def _first_line(annotation: object) -> str:
    section = next(part for part in getattr(annotation, "__args__", ()) if part is not type(None))
    return (section.__doc__ or "").splitlines()[0]


def _stages() -> dict[str, str]:
    modules = {stage: importlib.import_module(f"pipeline.stages.{stage.replace('-', '_')}") for stage in STAGES}
    return {stage: (module.__doc__ or "").splitlines()[0].partition(": ")[2] for stage, module in modules.items()}


def _configs() -> dict[str, str]:
    return {str(path): _comment(path) for path in sorted(Path("configs").glob("*.yaml"))}


def _comment(path: Path) -> str:
    # The first comment line that is not the editors' schema line says what the config is for.
    lines = [line[1:].strip() for line in path.read_text("utf-8", "replace").splitlines() if line.startswith("#")]
    return next((line for line in lines if not line.startswith("yaml-language-server")), "")
