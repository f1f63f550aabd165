"""Where a library of machine code (`pipeline.machine_code`) is kept, how it is made and how it is loaded."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline import machine_code
from pipeline.machine_code import Entry

_IMPORTS = re.compile(r"^from (pipeline[.\w]*) import", re.MULTILINE)


def sources_of(*modules: str) -> set[Path]:
    """The files of these modules of ours and of what they import: a constant from elsewhere is part of the code."""
    package = Path(__file__).parent
    waiting = [machine_code.__name__, *modules]
    found: set[Path] = set()
    while waiting:
        path = package.parent.joinpath(*waiting.pop().split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path not in found and path.is_file():
            found.add(path)
            waiting += _IMPORTS.findall(path.read_text(encoding="utf-8"))
    return found


def install(path: Path | None, entries: Iterable[Entry]) -> bool:
    """Let the functions be called from the library. False: there is none, and the first call of each imports numba."""
    try:
        if path is not None and path.is_file():
            machine_code.load(path, entries)
            return True
    except (OSError, AttributeError):
        pass
    return False


def make(path: Path | None, entries: Sequence[Entry]) -> str:
    """Write the library unless it is there, and remove older ones; what has come of it."""
    if path is None:
        return "machine code is kept on 64-bit Linux only"
    if install(path, entries):
        return f"{path} is there"
    try:
        machine_code.build(path, entries)
    except (OSError, ValueError) as error:
        return f"machine code cannot be kept: {error}"
    for old in path.parent.glob(f"{path.stem.rsplit('-', 1)[0]}-*"):
        if old != path:
            old.unlink(missing_ok=True)
    return f"{path} is made"
