"""How replayed time goes on: bar by bar, each in five moments.

Moment 0 is the open of a bar, 1 to 3 are the points that its price goes to, 4 is its close. All symbols share a moment.
"""

from collections.abc import Iterable

import numpy as np

from pipeline.errors import BadInput
from pipeline.exchange.local.history import Series

POINTS = 3
CLOSE = POINTS + 1


class Timeline:
    """A position in the bars of several symbols.

    opened: open time of the bar, of the last one at the end; phase: the next moment of it.
    """

    def __init__(self, series: Iterable[Series], start_ms: int) -> None:
        several = list(series)
        intervals = sorted({one.interval for one in several})
        if len(intervals) != 1:
            raise BadInput(f"the symbols' bars are of different intervals: {', '.join(intervals)}")
        self.step_ms = several[0].step
        self.times = np.unique(np.concatenate([one.open_time for one in several]))
        self.bar = int(np.searchsorted(self.times, start_ms))
        if self.bar >= len(self.times):
            raise BadInput("no bars at or after the start", "start earlier, or give data that reach further")
        # Kept as a whole number, for it is asked for at each moment.
        self.opened = int(self.times[self.bar])
        self.phase = 0
        self.moments = 0
        self.now = self.opened

    @property
    def done(self) -> bool:
        """Whether the data have ended."""
        return self.bar >= len(self.times)

    @property
    def next_ms(self) -> int | None:
        """When the next moment is due, market time in ms; None at the end of the data."""
        return None if self.done else self.opened + self.step_ms * self.phase // CLOSE

    def go_on(self) -> tuple[int, int]:
        """One moment on: open time of the bar and the number of the moment in it."""
        opened, phase = self.opened, self.phase
        self.now = opened + self.step_ms * phase // CLOSE
        self.moments += 1
        self.phase += 1
        if phase == CLOSE:
            self.phase = 0
            self.bar += 1
            if self.bar < len(self.times):
                self.opened = int(self.times[self.bar])
        return opened, phase
