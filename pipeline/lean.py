"""Importing a library without the optional ones that it would pull in.

TA-Lib imports pandas and polars, LightGBM pandas, scikit-learn, scipy and narwhals, pyarrow pandas, only to accept
their tables; we pass numpy arrays. numba imports scipy for its linear algebra, which we do not compile. Without them a
stage starts about a second earlier and needs 130 MB less.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# Of the garbage collector, in new objects: Python's own threshold, and one for a start. What is imported stays; looking
# through it again and again takes a tenth of the time of a short stage.
_OFTEN, _SELDOM = gc.get_threshold(), 20_000
# Of malloc.h: how many heaps threads are spread over.
_ARENA_MAX = -8


def collect_seldom() -> None:
    """To be called first, by a process that imports much; `settle` undoes it."""
    gc.set_threshold(_SELDOM, *_OFTEN[1:])


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Make this thread's imports of `names` fail inside the block, unless they are imported already."""
    absent = _Absent(names)
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)


@contextlib.contextmanager
def empty(*names: str) -> Iterator[None]:
    """Let what is imported inside the block have stand-ins of these modules, unless they are imported already.

    For a library that cannot do without them and only asks whether a value is one of theirs: whatever is looked up in
    a stand-in is a class without instances, and false when called. Not for when there are threads that import as well.
    """
    missing = [name for name in names if name not in sys.modules]
    for name in missing:
        sys.modules[name] = _Empty(name)
        parent, _, child = name.rpartition(".")
        if parent in missing:
            setattr(sys.modules[parent], child, sys.modules[name])
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


@contextlib.contextmanager
def put_off(*names: str) -> Iterator[None]:
    """Let imports of `names` inside the block wait until something of them is used, unless they are imported already.

    names: modules, with the packages that they are in; what is imported from a package is one of these modules. As with
    `empty`, no other thread may be importing.
    """
    late = {name: _Late(name) for name in names if name not in sys.modules}
    for name, module in late.items():
        package, _, own = name.rpartition(".")
        if package in late:
            setattr(late[package], own, module)
    sys.modules |= late
    try:
        yield
    finally:
        for name in late:
            if isinstance(sys.modules.get(name), _Late):
                del sys.modules[name]


class _Late(ModuleType):
    # The module is imported when it is asked for something; where it was imported from, this one stays.
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def keep_small() -> None:
    """To be called first by a process that runs for months.

    pyarrow is to allocate where `settle` can give back what it has freed, and threads where the others do.
    """
    # Arrow's own code, the reader of Parquet above all, asks for its pool when it is loaded, and not for Python's.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import pyarrow as pa

    if allocate := _of_glibc("mallopt"):
        allocate(_ARENA_MAX, 1)
    if "pandas" not in sys.modules:
        pa.set_memory_pool(pa.system_memory_pool())
    arrow_alone()


def arrow_alone() -> None:
    """Keep pyarrow from importing pandas, which it would to turn its first array into numpy's.

    It looks once whether there is one, and takes that for good; asked for a table of pandas, it still makes one.
    """
    if "pandas" not in sys.modules:
        with without("pandas"):
            import pyarrow as pa

            pa.array([0]).to_numpy()


class _Absent:
    # Not a None among the modules, which would hide them from other threads, and which pyarrow takes for a module.
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names, self._thread = names, threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self._names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


class _Empty(ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__new__": lambda cls, *args, **kwargs: False})


def settle() -> None:
    """To be called once a server has started: what is there stays, and what reading the history took is given back.

    The collector then looks only at what comes after, which keeps its pauses short.
    """
    import pyarrow as pa

    gc.collect()
    gc.freeze()
    gc.set_threshold(*_OFTEN)
    pa.default_memory_pool().release_unused()
    # glibc keeps what was freed between pieces that are in use.
    if trim := _of_glibc("malloc_trim"):
        trim(0)


def _of_glibc(name: str) -> Any:
    # A function that other systems do not have.
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
