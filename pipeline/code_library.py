"""Where a library of machine code (`pipeline.machine_code`) is kept, how it is made and how it is loaded."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import machine_code
from pipeline.machine_code import Entry
from pipeline.sources import sources_of


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


@dataclass(frozen=True)
class Library:
    """That of the functions which a module of ours names. purpose: what its file's name begins with."""

    purpose: str
    module: str
    entries: Callable[[], list[Entry]]

    def path(self) -> Path | None:
        """Where the library of these sources is or would be; None where there can be none."""
        modules = {one.function.__module__ for one in self.entries()}
        return machine_code.library_path(sources_of(machine_code.__name__, self.module, *modules), self.purpose)

    def install(self) -> bool:
        """Let the functions be called from the library; errors and result as `install`."""
        return install(self.path(), self.entries())

    def make(self) -> str:
        """Write the library unless it is there; what has come of it."""
        return make(self.path(), self.entries())
