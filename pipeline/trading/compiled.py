"""How the core's functions are compiled: without counts of the references to arrays.

Counting is an atomic instruction each time that an array is handed to a function, and the core hands its
arrays around on every bar: on the grid it took as long as all the rest. No function of the core makes an
array, so there is nothing to count: who calls it holds the arrays until it returns.
"""

from functools import partial
from typing import Any

from pipeline.compiled import compiled as compiled_with

# For `@compiled()`, with more of numba's options if need be. An allocation does not compile.
compiled: Any = partial(compiled_with, error_model="numpy", _nrt=False)
