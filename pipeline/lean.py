"""Importing a library without the optional ones that it would pull in.

TA-Lib imports pandas and polars, LightGBM pandas, scikit-learn, scipy and narwhals, pyarrow pandas, only to accept
their tables; we pass numpy arrays. numba imports scipy for its linear algebra, which we do not compile. Without them a
stage starts about a second earlier and needs 130 MB less.
"""

import contextlib
import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from types import ModuleType


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


def keep_small() -> None:
    """To be called first by a process that runs for months.

    pyarrow is to allocate where `settle` can give back what it has freed.
    """
    import pyarrow as pa

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
    pa.default_memory_pool().release_unused()
    # glibc keeps what was freed between pieces that are in use; other systems have no such call.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
