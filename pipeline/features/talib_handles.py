"""TA-Lib's stateful streams by the functions of its C library, from which a compiled step can call them itself.

They are those that `talib.stream` opens; its layer of Python takes longer than they do.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.lean import without

with without("pandas", "polars"):
    import talib
    from talib import _ta_lib  # type: ignore[attr-defined]

# Of TA-Lib's return codes: TA_INSUFFICIENT_HISTORY.
_INSUFFICIENT_HISTORY = 17


class InsufficientHistory(Exception):
    """There are not enough bars to open a stream with."""


class Handle:
    """One function's stream after a history, which it does not keep.

    inputs, values: contiguous float64 [n] each, finite; all parameters in order.
    address, update_address, peek_address: of the stream, of the C function that takes a bar, and of the one that says
    what it would give. are_whole: outputs that are integers.
    Raises InsufficientHistory.
    """

    def __init__(self, function: str, inputs: Sequence[npt.NDArray[np.float64]], values: Sequence[int | float]) -> None:
        self._function, self._address = function, ctypes.c_void_p()
        self.are_whole = _are_whole(function, len(inputs))
        self._outputs = [(ctypes.c_int if whole else ctypes.c_double)() for whole in self.are_whole]
        self._pointers = [ctypes.byref(output) for output in self._outputs]
        self._update, self._close = _c_function(function, "Update"), _c_function(function, "Close")
        if not len(inputs[0]):
            raise InsufficientHistory(function)
        self._check(
            _c_function(function, "Open")(
                ctypes.byref(self._address),
                *[ctypes.c_void_p(series.ctypes.data) for series in inputs],
                ctypes.c_int(len(inputs[0])),
                *[ctypes.c_double(value) if isinstance(value, float) else ctypes.c_int(value) for value in values],
                *self._pointers,
            )
        )
        self.address = int(self._address.value or 0)
        self.update_address = _address(self._update)
        self.peek_address = _address(_c_function(function, "Peek"))

    def update(self, bar: Sequence[float]) -> Sequence[float]:
        """Outputs after one more bar's inputs."""
        self._check(self._update(self._address, *[ctypes.c_double(value) for value in bar], *self._pointers))
        return tuple(output.value for output in self._outputs)

    def _check(self, code: int) -> None:
        if code == _INSUFFICIENT_HISTORY:
            raise InsufficientHistory(self._function)
        if code:
            raise RuntimeError(f"TA-Lib's stream of {self._function} failed with code {code}")

    def __del__(self) -> None:
        if self._address:
            self._close(self._address)


def _c_function(function: str, what: str) -> Any:
    return getattr(_library(), f"TA_{function}_{what}")


def _address(pointer: Any) -> int:
    return int(ctypes.cast(pointer, ctypes.c_void_p).value or 0)


@cache
def _library() -> ctypes.CDLL:
    # What Python's extension is linked with is found by it.
    return ctypes.CDLL(_ta_lib.__file__)


@cache
def _are_whole(function: str, inputs: int) -> tuple[bool, ...]:
    made = getattr(talib, function)(*[np.ones(2)] * inputs)
    return tuple(bool(output.dtype != np.float64) for output in (made if isinstance(made, tuple) else (made,)))
