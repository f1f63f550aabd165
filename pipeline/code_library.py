"""Where a library of machine code (`pipeline.machine_code`) is kept, how it is made and how it is loaded."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline import machine_code
from pipeline.machine_code import Entry


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
