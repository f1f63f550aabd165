"""When a request may be sent: within the weight of the minute, and not at all during a ban."""

import math
from collections.abc import Callable

from pipeline.exchange.port import Barred, Clock, Unavailable

_MINUTE = 60_000
# What is allowed until the exchange has told its limit; spot has had 6,000 since 2023.
_FIRST_LIMIT = 6000
# Reads stop here, so that orders still get through.
_FOR_READS = 0.9
# After a warning only half is used for a while.
_HALVED_SECONDS = 600.0


class Budget:
    """Weight of one address. now_ms: the exchange's time, by whose minutes it counts."""

    def __init__(self, clock: Clock, now_ms: Callable[[], int]) -> None:
        self.limit = _FIRST_LIMIT
        self._clock = clock
        self._now_ms = now_ms
        self._minute = -1
        self._used = 0
        self._on_the_way = 0
        self._barred_until = -math.inf
        self._halved_until = -math.inf

    @property
    def used(self) -> int:
        """Weight used this minute, with that of requests on the way."""
        self._turn()
        return self._used + self._on_the_way

    def check_bar(self) -> None:
        """Raises Barred: nothing may be sent now."""
        left = self._barred_until - self._clock.monotonic()
        if left > 0:
            raise Barred(f"nothing may be sent for another {left:.1f} s", left)

    def bar(self, seconds: float) -> None:
        """Send nothing for a while, and less after that."""
        now = self._clock.monotonic()
        self._barred_until = max(self._barred_until, now + seconds)
        self._halved_until = max(self._halved_until, now + seconds + _HALVED_SECONDS)

    async def take(self, weight: int) -> None:
        """Use weight for a read, once there is enough left. Raises Barred."""
        while True:
            self.check_bar()
            if self.used + weight <= self._allowed(_FOR_READS):
                self._on_the_way += weight
                return
            await self._clock.sleep(self._to_next_minute())

    def take_now(self, weight: int) -> None:
        """Use weight for an order, which does not wait. Raises Barred; Unavailable: there is none left."""
        self.check_bar()
        if self.used + weight > self._allowed(1.0):
            raise Unavailable("the minute's request weight is used up", self._to_next_minute())
        self._on_the_way += weight

    def done(self, weight: int) -> None:
        """A request has ended. What the exchange counted has been told to `told`."""
        self._on_the_way = max(self._on_the_way - weight, 0)

    def told(self, used: int) -> None:
        """The exchange's own count of this minute. It goes down as well: what an order weighs is given back."""
        self._turn()
        self._used = used

    def _allowed(self, share: float) -> float:
        halved = 0.5 if self._clock.monotonic() < self._halved_until else 1.0
        return self.limit * share * halved

    def _turn(self) -> None:
        minute = self._now_ms() // _MINUTE
        if minute != self._minute:
            self._minute, self._used = minute, 0

    def _to_next_minute(self) -> float:
        # A little more: the exchange's minute may begin later than we think.
        return (_MINUTE - self._now_ms() % _MINUTE) / 1000 + 0.05
