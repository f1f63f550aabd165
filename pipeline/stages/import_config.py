"""`pipeline import-config`: an intelligent-trading-bot JSONC config → a YAML config that checks."""

import fnmatch
import io
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.config.importer import convert
from pipeline.config.loading import validate
from pipeline.errors import BadInput, PipelineError
from pipeline.stages.check import check_names
from pipeline.stages.reporting import print_or_write

HEADER = "# yaml-language-server: $schema=schema.json\n# Imported from {name}, a config of intelligent-trading-bot.\n"


def import_config(old: Path, to: Path | None) -> None:
    """Write the converted config to `to` or standard output, and what was lost to standard error.

    Raises BadInput: the file is missing or not JSON with comments; the result would not check.
    """
    name = to.stem if to else name_of(old.stem)
    new, notes = convert(read_jsonc(old))
    try:
        config = validate({**new}, name, f"the config made of {old}")
        notes += _drop_unknown_features(new, config)
        check_names(validate({**new}, name, f"the config made of {old}"), f"the config made of {old}")
    except PipelineError as error:
        raise BadInput(f"{old}: cannot be carried over: {error.message}", error.hint) from None
    print_or_write(_text(old.name, new, notes), to)
    for note in notes:
        print(f"  {note}", file=sys.stderr)
    count = f"{len(notes)} note{'s' * (len(notes) > 1)} above" if notes else "everything was carried over"
    print(f"{old}: converted; {count}", file=sys.stderr)


def read_jsonc(path: Path) -> dict[str, Any]:
    """A JSON file that may have comments and trailing commas.

    Raises BadInput: missing, not JSON, not an object; or the reader is not installed.
    """
    try:
        import pyjson5
    except ImportError:
        raise BadInput("reading JSONC needs pyjson5", "pip install 'pipeline[jsonc]'") from None
    try:
        value = pyjson5.decode(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    except pyjson5.Json5Exception as error:
        raise BadInput(f"{path}: not JSON with comments: {str(error.args[0]).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: must be an object of sections, found {type(value).__name__}")
    return value


def name_of(stem: str) -> str:
    """A config name made of a file name."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in stem).strip("._-") or "imported"


def _drop_unknown_features(new: dict[str, Any], config: Any) -> list[str]:
    # Columns such as close_SMA_1 or a raw close, which are features there and not here.
    from pipeline.features import feature_names

    wanted = new.get("train", {}).get("features")
    if not wanted:
        return []
    known = feature_names(config)
    lost = [name for name in wanted if not fnmatch.filter(known, name)]
    new["train"]["features"] = [name for name in wanted if name not in lost]
    if not new["train"]["features"]:
        del new["train"]["features"]
    return [f"train_features: '{name}' is not among the features made here; left out" for name in lost]


def _text(name: str, new: dict[str, Any], notes: list[str]) -> str:
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(new, stream)
    lines = "".join(f"#   {note}\n" for note in notes)
    return (
        HEADER.format(name=name) + (f"# Not or not quite carried over:\n{lines}" if notes else "") + stream.getvalue()
    )
