"""Flags of bars as bits, 64 in a word: a year of minutes is 64 KiB, and the next set one is found words at a time."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.trading.compiled import compiled

Bits = npt.NDArray[np.uint64]
WORD = 64


class _TrailingZeros:
    # numba's own function, which is imported when the first of those below is compiled.
    @property
    def _numba_type_(self) -> Any:
        from numba.core.registry import cpu_target
        from numba.cpython.unsafe import numbers

        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
        return cpu_target.typing_context.resolve_value_type(numbers.trailing_zeros)


trailing_zeros: Any = _TrailingZeros()


def packed(flags: npt.NDArray[np.bool_]) -> Bits:
    """Flags [n] as bits, uint64 [n // 64 + 1], the first one lowest."""
    words = np.zeros(len(flags) // WORD + 1, "<u8")
    some = np.packbits(flags, bitorder="little")
    words.view(np.uint8)[: len(some)] = some
    return words.astype(np.uint64, copy=False)


@compiled(inline="always")
def is_set(bits: Bits, t: int) -> bool:
    """Whether flag t is set."""
    return (bits[t >> 6] >> np.uint64(t & 63)) & np.uint64(1) != 0


@compiled(inline="always")
def next_set(bits: Bits, t: int, end: int) -> int:
    """The first flag that is set from t on and before `end`; `end` if there is none."""
    if t >= end:
        return end
    word, last = t >> 6, (end - 1) >> 6
    rest = bits[word] & (~np.uint64(0) << np.uint64(t & 63))
    while rest == 0 and word < last:
        word += 1
        rest = bits[word]
    return min(end, (word << 6) + trailing_zeros(rest)) if rest != 0 else end
