"""The compiled functions of stages that run them for some milliseconds only, so that they do not import numba for it.

`make setup` has their machine code written to a library; without it, numba compiles them as ever.
"""

import numpy as np

from pipeline.code_library import Library
from pipeline.labels import crossing
from pipeline.machine_code import Entry


def entries() -> list[Entry]:
    """The scan of `labels`, with arguments of the types that it is called with."""
    bar, band, end, which = np.ones(1), np.ones(1), np.zeros(1, np.int64), np.zeros(1, np.int8)
    return [Entry(crossing._scan, (bar, bar, bar, band, band, 1, end, which, 0, 1))]


LIBRARY = Library("stages", __name__, entries)
install, make = LIBRARY.install, LIBRARY.make
