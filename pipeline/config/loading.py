"""Reading a config file: YAML 1.2, `extends`, `--set`, templates, and errors that name the key."""

import datetime as dt
import difflib
import io
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.config.consistency import problems
from pipeline.config.model import Config
from pipeline.errors import BadInput, ConfigError

_QUOTED = "put dates in quotes; the key is then named if one is wrong"


def load_config(
    path: Path | None,
    *,
    symbols: Iterable[str] = (),
    interval: str | None = None,
    overrides: Iterable[str] = (),
) -> Config:
    """The validated config of a file, or the defaults if there is none.

    symbols, interval: replace the file's, as `--symbol` and `--interval` do.
    overrides: `a.b=value` as given to `--set`; the value is YAML.
    Raises ConfigError: names the file, the key, what was wrong, and the nearest valid name.
    """
    raw = read_raw(path, symbols=symbols, interval=interval, overrides=overrides)
    return validate(raw, path.stem if path else "default", str(path) if path else "the default config")


def read_raw(
    path: Path | None,
    *,
    symbols: Iterable[str] = (),
    interval: str | None = None,
    overrides: Iterable[str] = (),
) -> dict[str, Any]:
    """The mapping that `load_config` validates: the file on top of those it extends, with what was changed."""
    raw = read_with_parents(path) if path else {}
    for override in overrides:
        _apply_override(raw, override)
    if symbols := list(symbols):
        raw["symbols"] = symbols
    if interval:
        raw["interval"] = interval
    return raw


def validate(raw: dict[str, Any], name: str, source: str) -> Config:
    """The config of a mapping; `source` is what errors call it. Raises ConfigError."""
    try:
        raw = _fill_templates(raw, {"interval": str(raw.get("interval", "1m")), "name": name})
    except RecursionError:
        raise ConfigError(f"{source}: nested without end: an alias (*) stands inside its own anchor (&)") from None
    try:
        config = Config.model_validate({**raw, "name": name})
    except ValidationError as error:
        raise _explain(source, error) from None
    if wrong := list(problems(config)):
        others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ConfigError(f"{source}: {wrong[0]}{others}")
    return config


def read_with_parents(path: Path) -> dict[str, Any]:
    """The file's mapping on top of those it `extends`; mappings merge, everything else is replaced."""
    merged: dict[str, Any] = {}
    for _, own in reversed(read_chain(path)):
        merged = _merge(merged, own)
    return merged


def read_chain(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The file and those that it `extends`, nearest first, each with its own keys."""
    chain: list[tuple[Path, dict[str, Any]]] = []
    seen: set[Path] = set()
    following: Path | None = path
    while following is not None:
        if following.resolve() in seen:
            raise ConfigError(f"{chain[-1][0]}: extends: the files extend each other in a circle")
        seen.add(following.resolve())
        own = read_yaml(following)
        parent = own.pop("extends", None)
        if parent is not None and not isinstance(parent, str):
            raise ConfigError(f"{following}: extends: must be one file name, found {parent!r}")
        chain.append((following, own))
        following = Path(os.path.normpath(following.parent / parent)) if parent else None
    return chain


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML file as plain dictionaries and lists.

    Raises ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file", _other_files(path)) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}", _files_in(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        loaded = YAML(typ="safe", pure=True).load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    except ValueError as error:  # what looks like a bare date and is none: 2023-02-30
        raise ConfigError(f"{path}: a bare date that is none: {error}", _QUOTED) from None
    if loaded is None:
        raise ConfigError(f"{path}: the file is empty", "see configs/demo.yaml for an example")
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: must be a mapping of sections, found {type(loaded).__name__}")
    return loaded


def _other_files(path: Path) -> str:
    # Also those in configs/, where they usually are: who writes `-c demo` means configs/demo.yaml.
    folders = {path.parent: None, Path("configs"): None}
    known = {p.name: str(p) for folder in reversed(folders) for p in _configs_in(folder)}
    if near := difflib.get_close_matches(path.name, known, 1):
        return f"did you mean {known[near[0]]}?"
    return next((said for folder in folders if (said := _files_in(folder))), "")


def _files_in(folder: Path) -> str:
    found = [str(p) for p in _configs_in(folder)]
    return f"there is: {', '.join(found[:5])}{', …' if len(found) > 5 else ''}" if found else ""


def _configs_in(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.glob("*.y*ml")) if p.name != "dvc.yaml"]


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise BadInput(f"--set {override}: write it as a.b=value")
    try:
        value = YAML(typ="safe", pure=True).load(io.StringIO(text))
    except YAMLError:
        raise BadInput(f"--set {override}: '{text}' is not a YAML value") from None
    except ValueError:  # looks like a date and is none; its key's own check says what is wrong
        value = text.strip()
    if isinstance(value, dt.date):
        value = text.strip()
    try:
        put(raw, path, value)
    except KeyError as error:
        raise BadInput(f"--set {override}: there is nothing at '{error.args[0]}'") from None


def put(raw: dict[str, Any], path: str, value: Any) -> None:
    """Set one key of a config's mapping, such as `signals.steps.1.threshold.buy`; sections on the way are made.

    Raises KeyError: the path leads into a list's end or through a value; its first argument is the part that fails.
    """
    keys = _keys(path)
    target: Any = raw
    for key in keys[:-1]:
        if isinstance(target, dict) and isinstance(key, str):
            if target.get(key) is None:
                target[key] = {}
            target = target[key]
        elif isinstance(target, list) and isinstance(key, int) and key < len(target):
            target = target[key]
        else:
            raise KeyError(key)
    last = keys[-1]
    if not (
        (isinstance(target, dict) and isinstance(last, str))
        or (isinstance(target, list) and isinstance(last, int) and last < len(target))
    ):
        raise KeyError(last)
    target[last] = value  # type: ignore[index]


def value_at(raw: Mapping[str, Any], path: str) -> Any:
    """The value of one key of a config's mapping. Raises KeyError: there is none."""
    target: Any = raw
    for key in _keys(path):
        try:
            target = target[key]
        except (KeyError, IndexError, TypeError):
            raise KeyError(key) from None
    return target


def _keys(path: str) -> list[str | int]:
    return [int(k) if k.isdigit() else k for k in re.split(r"[.\[\]]+", path.strip("]")) if k]


def _fill_templates(value: Any, names: Mapping[str, str]) -> Any:
    # Only {interval} and {name} are known here; {symbol} is filled in where a symbol is at hand.
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, dict):
        return {key: _fill_templates(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill_templates(item, names) for item in value]
    return value


def _explain(source: str, error: ValidationError) -> ConfigError:
    problems = error.errors()
    # An unknown key explains the "exactly one of" that follows it, so it comes first.
    problems.sort(key=lambda p: p["type"] != "extra_forbidden")
    first, hint = _describe(problems[0])
    others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ConfigError(f"{source}: {first}{others}", hint)


def _describe(problem: ErrorDetails) -> tuple[str, str]:
    location = [part for part in problem["loc"] if not (isinstance(part, str) and "[" in part)]
    where = ""
    for part in location:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(Config, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}" if known else ""
        return f"{where}: unknown key", hint
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if isinstance(problem["input"], dt.date):
        return f"{where}: a bare date, which DVC cannot track", f"put it in quotes: '{problem['input']}'"
    if problem["type"] == "missing":
        return f"{where}: this key is required", ""
    if problem["type"] == "list_type" and isinstance(problem["input"], str | int | float):
        return f"{where}: must be a list", f"put it in brackets: [{problem['input']}]"
    if problem["type"] == "value_error" or isinstance(problem["input"], dict | list):
        return (f"{where}: {message}" if where else message), ""
    return f"{where}: {message}, found {problem['input']!r}", ""


def _keys_at(model: type[BaseModel], location: list[Any]) -> list[str]:
    current: Any = model
    for part in location:
        if isinstance(part, int):
            current = _model_in(typing.get_args(current)[0]) if typing.get_args(current) else None
        elif isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[part].annotation
            if typing.get_origin(current) is not list:
                current = _model_in(current)
        else:
            return []
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [name for name, field in current.model_fields.items() if not field.exclude]
    return []


def _model_in(annotation: Any) -> Any:
    # The section inside `Section | None`.
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((arg for arg in typing.get_args(annotation) if arg is not type(None)), None)
    return annotation
