"""Features of one bar for many symbols in one call."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.features.executor import FeatureStream
from pipeline.features.family import Floats
from pipeline.features.straight import Rows


class FeatureStreams:
    """The streams of several symbols with one config; each can still be asked by itself.

    streams: they.
    """

    def __init__(self, streams: Sequence[FeatureStream]) -> None:
        self.streams = list(streams)
        self._rows: Rows | None = None

    def update(
        self, which: Sequence[int], bars: Sequence[Mapping[str, float]], open_time_ms: int
    ) -> npt.NDArray[np.float32] | None:
        """Features [n, k] of the streams of some numbers [n], after a closed bar of each.

        None, and no bar is taken, if one of them has to be asked by itself: for what it has to complain of, or because
        it does not know all its columns yet.
        """
        streams = [self.streams[s] for s in which]
        if self._rows is None and not self._sit_down():
            return None
        assert self._rows is not None
        if not all(one.takes(bar, open_time_ms) for one, bar in zip(streams, bars, strict=True)):
            return None
        columns = np.array([[bar[name] for name in self._rows.columns] for bar in bars]).reshape(len(bars), -1)
        made = self._rows.update(np.array(which), columns)
        finished: list[Floats] = [
            one.finished(row, bar, open_time_ms) for one, row, bar in zip(streams, made, bars, strict=True)
        ]
        # Mostly they are the rows themselves.
        return (made if finished[0].base is made else np.stack(finished)).astype(np.float32)

    def peek(self, which: Sequence[int], bars: Sequence[Mapping[str, float]]) -> npt.NDArray[np.float32] | None:
        """What features made together would be, the others NaN, and nothing changes; None if it cannot be told."""
        if self._rows is None and not self._sit_down():
            return None
        assert self._rows is not None
        columns = np.array([[bar[name] for name in self._rows.columns] for bar in bars]).reshape(len(bars), -1)
        made = self._rows.peek(np.array(which), columns)
        return None if made is None else made.astype(np.float32)

    def rows(self) -> Rows | None:
        """Where the features are made, if all of them are made together."""
        if (self._rows is None and not self._sit_down()) or self._rows is None:
            return None
        return self._rows if len(self._rows.columns) and self.streams[0].is_whole else None

    def _sit_down(self) -> bool:
        lanes = [one.straight for one in self.streams if one.straight is not None]
        if len(lanes) < len(self.streams):
            return False
        self._rows = Rows(lanes)
        for s, one in enumerate(self.streams):
            one.seat = self._rows, np.full(1, s)
        return True
