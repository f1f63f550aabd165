"""Rows of a bar's matrices by symbol, looked up when they are asked for: after the decision."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from pipeline.trading.market import BUY, SELL

Row = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.uint8]


class Rows(Mapping[str, Row]):
    """Rows of a matrix. places: of the symbols that have one."""

    def __init__(self, places: Mapping[str, int], matrix: Row) -> None:
        self._places, self._matrix = places, matrix

    def __getitem__(self, symbol: str) -> Row:
        return self._matrix[self._places[symbol]]  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Scores(Mapping[str, Mapping[str, float | bool]]):
    """Scores and signals by name. places: rows of the symbols. sides: BUY, SELL, both or neither [n]."""

    def __init__(
        self,
        places: Mapping[str, int],
        names: list[str],
        columns: npt.NDArray[np.float64],
        sides: npt.NDArray[np.uint8],
    ) -> None:
        self._places, self._names, self._columns, self._sides = places, names, columns, sides

    def __getitem__(self, symbol: str) -> Mapping[str, float | bool]:
        row = self._places[symbol]
        values: dict[str, float | bool] = dict(zip(self._names, self._columns[row].tolist(), strict=True))
        side = int(self._sides[row])
        return values | {"buy_signal": side & BUY != 0, "sell_signal": side & SELL != 0}

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
