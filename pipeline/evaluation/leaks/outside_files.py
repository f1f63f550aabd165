"""A custom feature that reads files: those do not get shorter with the bars, so no other check can see through them.

Python tells of every file that it opens (`sys.addaudithook`). Libraries that read by themselves, as pyarrow does, show
in the bytes that the system counts for this process (`/proc/self/io`, on Linux): what was read, less the files that
Python opened, has to be nothing. A file that is mapped into memory and not read shows in neither.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Code and what compilers keep of it; the system's own.
_CODE = {".py", ".pyc", ".so", ".pyd", ".nbi", ".nbc", ".pth", ".egg-link"}
_SYSTEM = ("/proc/", "/sys/", "/dev/")
# Reading the counter is counted, too; so is what the interpreter reads about its packages.
_UNSEEN_BYTES = 4096


@dataclass
class Seen:
    """Data files that were opened, and bytes that were read without anybody saying from where."""

    files: list[str] = field(default_factory=list)
    unseen_bytes: int = 0


class _Watch:
    """The one audit hook of the process: hooks cannot be taken away again, so it does nothing most of the time."""

    def __init__(self) -> None:
        self.paths: list[str] | None = None
        self.installed = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.paths is None or event != "open":
            return
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike):
            self.paths.append(os.fsdecode(path))


_watch = _Watch()


def opened_by(action: Callable[[], object]) -> Seen:
    """What an action reads. It is run twice: libraries that it imports read their own files the first time only."""
    if not _watch.installed:
        sys.addaudithook(_watch.hook)
        _watch.installed = True
    action()
    before = _bytes_read()
    _watch.paths = []
    try:
        action()
    finally:
        paths, _watch.paths = _watch.paths, None
    after = _bytes_read()
    opened = [Path(path) for path in paths if not path.startswith(_SYSTEM)]
    data = [path for path in opened if path.suffix not in _CODE and not path.is_dir()]
    known = sum(_size(path) for path in opened)
    unseen = 0 if before is None or after is None else after - before - known
    return Seen(list(dict.fromkeys(str(path) for path in data)), unseen if unseen > _UNSEEN_BYTES else 0)


def _bytes_read() -> int | None:
    try:
        with Path("/proc/self/io").open(encoding="ascii") as file:
            return int(file.readline().split()[1])
    except OSError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
