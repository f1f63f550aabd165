"""Families whose features are values of a window of bars: specs to names, inputs and window lengths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.features import (
    CrossSymbolFeatures,
    IchimokuFeatures,
    ItblibFeatures,
    RankFeatures,
    ReturnFeatures,
    StatsFeatures,
    TakerFlowFeatures,
    VolatilityFeatures,
    VolumeProfileFeatures,
)
from pipeline.features.family import Block, Columns, Floats, Stream, Times, family
from pipeline.features.windows import CODES, newest, rolling

OHLC = ("open", "high", "low", "close")


@dataclass(frozen=True)
class WindowBlock:
    """One column: the value of a code over the last `window` bars, once there are `minimum` of them."""

    name: str
    code: str
    columns: tuple[str, ...]
    window: int
    minimum: int
    parameters: tuple[float, ...] = (0.0,)

    @property
    def names(self) -> list[str]:
        return [self.name]

    @property
    def inputs(self) -> list[str]:
        return list(self.columns)

    @property
    def lookback(self) -> int:
        return self.window

    def batch(self, columns: Columns, times: Times) -> Sequence[npt.NDArray]:
        x = np.stack([columns[name] for name in self.columns])
        result = np.empty(x.shape[1])
        rolling(CODES[self.code], np.array(self.parameters), x, self.window, self.minimum, result)
        return [result]

    def stream(self, columns: Columns, times: Times) -> Stream:
        return WindowStream(self, columns)


class WindowStream:
    """The block bar by bar."""

    def __init__(self, block: WindowBlock, columns: Columns) -> None:
        self.block, self.columns = block, block.columns
        self.seen = np.stack([columns[name][-block.window :] for name in block.columns])
        self._group: WindowGroup | None = None

    def update(self, bar: Mapping[str, float], time_ms: int) -> Sequence[float]:
        self._group = self._group or WindowGroup([self])
        return self._group.update([bar[name] for name in self.columns])

    def history(self) -> Floats:
        """The newest rows of its inputs [k, n], of which the next values are made."""
        return self.seen if self._group is None else self._group.rows()


class WindowGroup:
    """Blocks that read the same columns: their rows are kept once, and one call gives the values of all."""

    def __init__(self, members: Sequence[WindowStream]) -> None:
        blocks = [one.block for one in members]
        self._codes = np.array([CODES[block.code] for block in blocks])
        self._windows = np.array([block.window for block in blocks])
        self._minima = np.array([block.minimum for block in blocks])
        self._parameters = np.zeros((len(blocks), max(len(block.parameters) for block in blocks)))
        for row, block in zip(self._parameters, blocks, strict=True):
            row[: len(block.parameters)] = block.parameters
        self._longest = int(self._windows.max())
        self._values = np.empty(len(blocks))
        # Rows are appended until the buffer is full, then the last window moves to the front.
        history = max((one.history() for one in members), key=lambda rows: rows.shape[1])
        self._buffer = np.empty((len(history), max(2 * self._longest, 64)))
        self._rows = history.shape[1]
        self._buffer[:, : self._rows] = history

    def update(self, row: Sequence[float]) -> list[float]:
        """Values of all members after one more row of their inputs."""
        buffer, rows = self._buffer, self._rows
        if rows == buffer.shape[1]:
            buffer[:, : self._longest] = buffer[:, rows - self._longest :]
            rows = self._longest
        for number, number_value in enumerate(row):
            buffer[number, rows] = number_value
        self._rows = rows + 1
        newest(self._codes, self._parameters, self._windows, self._minima, buffer, rows + 1, self._values)
        return self._values.tolist()  # type: ignore[no-any-return]

    def rows(self) -> Floats:
        """The newest rows, as many as the longest window needs."""
        return self._buffer[:, max(0, self._rows - self._longest) : self._rows]


def _one(name: str, code: str, columns: Sequence[str], window: int, *parameters: float) -> WindowBlock:
    return WindowBlock(name, code, tuple(columns), window, window, parameters or (0.0,))


@family("stats")
def stats(spec: StatsFeatures) -> list[Block]:
    """Rolling statistics, from half a window on, as the ancestor's."""
    return [
        WindowBlock(f"{x}_{f}_{w}", f, (x,), w, max(1, w // 2), (float(spec.bias),))
        for x in spec.inputs
        for f in spec.functions
        for w in spec.windows
    ]


@family("returns")
def returns(spec: ReturnFeatures) -> list[Block]:
    """Returns, lags, differences over periods, and ratios of two columns of one bar."""
    blocks: list[Block] = [
        _one(f"{x}_{f}_{p}", f, (x,), p + 1) for x in spec.inputs for f in spec.functions for p in spec.periods
    ]
    return blocks + [_one(f"{above}_{below}_ratio", "ratio", (above, below), 1) for above, below in spec.ratios]


@family("volatility")
def volatility(spec: VolatilityFeatures) -> list[Block]:
    """Range-based estimators per bar, not annualised."""
    more = {"yang_zhang": 1, "realized": 1}
    return [_one(f"{f}_{w}", f, OHLC, w + more.get(f, 0)) for f in spec.functions for w in spec.windows]


@family("volume_profile")
def volume_profile(spec: VolumeProfileFeatures) -> list[Block]:
    """Where the close stands in the volume traded by price over a window."""
    columns = ("high", "low", "close", "volume")
    return [_one(f"{f}_{w}", f, columns, w, float(spec.bins)) for f in spec.functions for w in spec.windows]


@family("ichimoku")
def ichimoku(spec: IchimokuFeatures) -> list[Block]:
    """The close against Ichimoku's lines; nothing is taken from the future."""
    columns, shift = ("high", "low", "close"), spec.kijun
    periods = (float(spec.tenkan), float(spec.kijun), float(spec.senkou_b), float(shift))
    stem = f"ichimoku_{spec.tenkan}_{spec.kijun}_{spec.senkou_b}"
    longest = spec.senkou_b + shift
    return [
        _one(f"{stem}_tenkan", "midpoint", columns, spec.tenkan, *periods),
        _one(f"{stem}_kijun", "midpoint", columns, spec.kijun, *periods),
        _one(f"{stem}_senkou_a", "cloud_a", columns, spec.kijun + shift, *periods),
        _one(f"{stem}_senkou_b", "cloud_b", columns, longest, *periods),
        _one(f"{stem}_cloud_distance", "cloud_distance", columns, longest, *periods),
    ]


@family("taker_flow")
def taker_flow(spec: TakerFlowFeatures) -> list[Block]:
    """Who was the aggressor, and how large the trades were."""
    columns = ("volume", "taker_buy_volume", "trades")
    return [_one(f"{f}_{w}", f, columns, w) for f in spec.functions for w in spec.windows]


@family("cross_symbol")
def cross_symbol(spec: CrossSymbolFeatures) -> list[Block]:
    """The own close against a reference symbol's, which `merge.symbols` adds."""
    columns = ("close", f"{spec.reference}_close")
    return [_one(f"{spec.reference}_{f}_{w}", f, columns, w + 1) for f in spec.functions for w in spec.windows]


@family("rank")
def rank(spec: RankFeatures) -> list[Block]:
    """Where the newest value stands among those of a window."""
    return [_one(f"{x}_{f}_{w}", f, (x,), w) for x in spec.inputs for f in spec.functions for w in spec.windows]


@family("itblib")
def itblib(spec: ItblibFeatures) -> list[Block]:
    """The ancestor's set: windows against a base window in percent; area and slopes of the windows themselves."""
    kinds = {
        "close": ("itb_vwap", ("close", "volume")),
        "close_std": ("itb_std", ("close",)),
        "volume": ("itb_mean", ("volume",)),
        "span": ("itb_span", ("high", "low")),
        "trades": ("itb_mean", ("trades",)),
        "tb_base": ("itb_share", ("taker_buy_volume", "volume")),
    }
    base = spec.base_window
    blocks: list[Block] = [
        WindowBlock(f"{stem}_{w}", code, columns, base, max(1, base // 2), (float(w),))
        for stem, (code, columns) in kinds.items()
        for w in spec.windows
    ]
    for stem, code, column in (
        ("close_area", "area", "close"),
        ("close_trend", "slope", "close"),
        ("volume_trend", "slope", "volume"),
    ):
        blocks += [WindowBlock(f"{stem}_{w}", code, (column,), w, max(1, w // 2)) for w in spec.windows]
    return blocks
