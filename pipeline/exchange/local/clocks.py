"""Two clocks: one that requests are signed by, and one that the market goes by.

Clients measure their distance to the server's time once; under an accelerated market one clock could not serve both.
This module is the only one here that reads the machine's time.
"""

import time
from collections.abc import Callable


class AuthClock:
    """The server's time, ms: the machine's, put wrong on purpose if a fault says so.

    skew: added, ms. drift: ms that it gains in a second.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self.skew = 0
        self.drift = 0.0
        self._since = wall()

    def now(self) -> int:
        """Milliseconds since 1970."""
        wall = self._wall()
        return int(wall * 1000) + self.skew + int((wall - self._since) * self.drift)

    def set(self, skew: int | None = None, drift: float | None = None) -> None:
        """Put it wrong from now on, or right with zeros."""
        if skew is not None:
            self.skew = skew
        if drift is not None:
            self.drift, self._since = drift, self._wall()


class Pace:
    """When a moment of the market is due. speed: market time over real time; 0: only on request, step by step."""

    def __init__(self, speed: float, market_ms: int, wall: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        self._wall = wall
        self._wall_start = wall()
        self._market_start = market_ms

    def wait(self, market_ms: int) -> float:
        """Seconds until a market time comes; 0 if it has passed."""
        due = self._wall_start + (market_ms - self._market_start) / 1000 / self.speed
        return max(due - self._wall(), 0.0)

    def restart(self, market_ms: int) -> None:
        """Count from here, as after a pause."""
        self._wall_start, self._market_start = self._wall(), market_ms
