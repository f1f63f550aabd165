"""Features: declared once, computed over a table and bar by bar with the same bits."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config, interval_ms
from pipeline.config.features import FeatureEntry

if TYPE_CHECKING:
    from pipeline.features.straight import Rows

__all__ = [
    "FeatureStream",
    "FeatureStreams",
    "catalogue",
    "compute",
    "custom_hashes",
    "feature_names",
    "lookback_bars",
    "required_columns",
    "window_bars",
    "window_lengths",
]


def feature_names(config: Config) -> list[str]:
    """Feature columns of a config, in order. Raises BadInput: a feature is declared wrongly."""
    return [name for one in _place(config) for name in one.names]


def required_columns(config: Config) -> list[str]:
    """Bar columns that the config's features read."""
    return sorted({name for one in _place(config) for name in one.block.inputs})


def lookback_bars(config: Config) -> int:
    """Base bars that the longest feature looks back on; before them nothing weighs a thousandth of its value."""
    return max((one.block.lookback * _base_bars(config, one.timeframe) for one in _place(config)), default=1)


def window_bars(config: Config) -> int:
    """Base bars that most of the longest feature's value is made of."""
    return window_lengths(config)[-1]


def window_lengths(config: Config) -> list[int]:
    """Base bars that most of a feature's value is made of: each length that there is once, ascending."""
    return sorted({one.block.window * _base_bars(config, one.timeframe) for one in _place(config)}) or [1]


def _base_bars(config: Config, timeframe: str | None) -> int:
    return interval_ms(timeframe) // config.step_ms if timeframe else 1


def custom_hashes(config: Config) -> dict[str, str]:
    """SHA-256 of the source of each custom feature, by its reference: what they compute is not in the config."""
    from pipeline.features.custom import source_hash

    references = [entry.custom.function for entry in config.features if entry.custom]
    return {f"custom/{reference}": source_hash(reference) for reference in references}


def compute(config: Config, table: pa.Table) -> pa.Table:
    """All features over a bar table: open_time and float32 columns. See `executor.compute`."""
    _register()
    from pipeline.features import executor

    return executor.compute(config, table)


class FeatureStream:
    """Features bar by bar, equal to `compute` to the last bit; see `executor.FeatureStream`."""

    def __init__(self, config: Config, history: pa.Table) -> None:
        _register()
        from pipeline.features import executor

        self._stream = executor.FeatureStream(config, history)
        self.names = self._stream.names

    def update(self, bar: Mapping[str, float], open_time_ms: int) -> npt.NDArray[np.float32]:
        """Features [k] after the next closed bar."""
        return self._stream.update(bar, open_time_ms)


class FeatureStreams:
    """Streams of several symbols with one config, asked in one call; see `together.FeatureStreams`."""

    def __init__(self, streams: Sequence[FeatureStream]) -> None:
        from pipeline.features import together

        self._streams = together.FeatureStreams([one._stream for one in streams])
        self.streams = self._streams.streams

    def rows(self) -> "Rows | None":
        """Where the features are made, if all of them are made together."""
        return self._streams.rows()

    def update(
        self, which: Sequence[int], bars: Sequence[Mapping[str, float]], open_time_ms: int
    ) -> npt.NDArray[np.float32] | None:
        """Features [n, k] after the next closed bar of each; None, and nothing taken, if each is to be asked alone."""
        return self._streams.update(which, bars, open_time_ms)

    def peek(self, which: Sequence[int], bars: Sequence[Mapping[str, float]]) -> npt.NDArray[np.float32] | None:
        """What those that are made together would be, and nothing changes; None if it cannot be told."""
        return self._streams.peek(which, bars)


def catalogue() -> dict[str, str]:
    """Every family and every TA-Lib function with a line of text, for `pipeline list features`."""
    from pipeline.features.talib_functions import functions

    result = {name: (field.annotation.__args__[0].__doc__ or "") for name, field in FeatureEntry.model_fields.items()}  # type: ignore[union-attr]
    for name, function in functions().items():
        parameters = ", ".join(f"{k}={v:g}" for k, v in function.parameters.items())
        outputs = f" → {', '.join(function.outputs)}" if len(function.outputs) > 1 else ""
        result[f"talib {name}"] = (
            f"{function.title}: {', '.join(function.inputs)}; {parameters or 'no parameters'}{outputs}"
        )
    return result


def _place(config: Config):  # type: ignore[no-untyped-def]
    _register()
    from pipeline.features.executor import place

    return place(config)


def _register() -> None:
    # Families register themselves; numba and TA-Lib are imported only when features are computed.
    from pipeline.features import clock, custom, divergence, talib_functions, window_family  # noqa: F401
