"""What a family of features is: blocks that compute the same columns over a table and bar by bar."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Columns = Mapping[str, Floats]


class Stream(Protocol):
    """The bar-by-bar form of a block, opened on history."""

    def update(self, bar: Mapping[str, float], time_ms: int) -> Sequence[float]:
        """Values after a closed bar, one per name of the block; NaN while warming up."""
        ...


class Block(Protocol):
    """A few columns that are computed together.

    names: of the columns. inputs: bar columns needed. lookback: bars that a value depends on, its own
    included; where older bars never quite lose their influence, what came before them weighs less than a
    thousandth of the whole (`memory`). window: the bars that most of a value is made of, at most as many.
    """

    @property
    def names(self) -> list[str]: ...
    @property
    def inputs(self) -> list[str]: ...
    @property
    def window(self) -> int: ...
    @property
    def lookback(self) -> int: ...

    def batch(self, columns: Columns, times: Times) -> Sequence[npt.NDArray]:
        """One array [n] per name; NaN while warming up. Columns are finite and contiguous [n]."""
        ...

    def stream(self, columns: Columns, times: Times) -> Stream:
        """A stream that has seen these bars; its next value is that of the bar after them."""
        ...


# kind of entry in the config → makes blocks of its spec. `available` are the bar columns there may be.
Maker = Callable[[Any], list[Block]]
FAMILIES: dict[str, Maker] = {}


def family(kind: str) -> Callable[[Maker], Maker]:
    """Register what makes the blocks of one key of a `features` entry."""

    def register(maker: Maker) -> Maker:
        FAMILIES[kind] = maker
        return maker

    return register


@dataclass(frozen=True)
class Placed:
    """A block with its place in the config: final names, and the timeframe it is computed on."""

    block: Block
    names: list[str]
    timeframe: str | None
    where: str
