"""The compiled functions of stages that run them for some milliseconds only, so that they do not import numba for it.

`make setup` has their machine code written to a library; without it, numba compiles them as ever.
"""

import os
from pathlib import Path

import numpy as np

from pipeline import code_library, machine_code
from pipeline.labels import crossing
from pipeline.machine_code import Entry
from pipeline.sources import sources_of


def entries() -> list[Entry]:
    """The scan of `labels`, with arguments of the types that it is called with."""
    bar, band, end, which = np.ones(1), np.ones(1), np.zeros(1, np.int64), np.zeros(1, np.int8)
    return [Entry(crossing._scan, (bar, bar, bar, band, band, 1, end, which, 0, 1))]


def library() -> Path | None:
    """Where the library of these sources is or would be; None where there can be none."""
    modules = {one.function.__module__ for one in entries()}
    sources = sources_of("pipeline.machine_code", "pipeline.stages.compiled_functions", *modules)
    return machine_code.library_path(sources, "stages")


def install() -> bool:
    """Let the functions be called from the library. False: there is none, and the first call of each imports numba."""
    return code_library.install(library(), entries())


def make() -> str:
    """Write the library unless it is there; what has come of it."""
    return code_library.make(library(), entries())


if __name__ == "__main__":
    os.nice(19)
    print(make())
