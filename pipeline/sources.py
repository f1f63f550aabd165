"""Which of our files a module's code comes from: its own, and those of what it imports, as constants are part of it."""

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_IMPORTS = re.compile(r"^from (pipeline[.\w]*) import (\([^)]*\)|.*)", re.MULTILINE)
_PACKAGE = Path(__file__).parent


def sources_of(*modules: str) -> set[Path]:
    """The files of these modules of ours and of all that they import at their start."""
    waiting, found = list(modules), set[Path]()
    while waiting:
        path = _file_of(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting += _imported(path)
    return found


def digest(paths: Iterable[Path]) -> str:
    """Of the content of files, 64 hex digits."""
    return hashlib.sha256(b"".join(_content(path) for path in sorted(paths))).hexdigest()


@cache
def stamp(module: str) -> str:
    """What changes with any file that a module of ours comes from; empty if it is not ours."""
    return digest(sources_of(module)) if _file_of(module) else ""


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _imported(path: Path) -> list[str]:
    # A name may be that of a module in a package; where it is not, there is no such file.
    found = _IMPORTS.findall(_content(path).decode())
    return [module for module, _ in found] + [
        f"{module}.{name}" for module, names in found for name in re.findall(r"\w+", names)
    ]


@cache
def _file_of(module: str) -> Path | None:
    path = _PACKAGE.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path if path.is_file() and path.is_relative_to(_PACKAGE) else None
