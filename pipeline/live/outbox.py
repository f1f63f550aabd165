"""Messages on their way to one service: how many an hour, which are left out, and when to try again. Pure."""

from collections import deque
from dataclasses import dataclass, replace

from pipeline.live.messages import Message

_HOUR = 3600.0
# Messages that wait while a service is down; more are left out.
MOST_WAITING = 100
# Pause after a failed try: 2, 4, 8 … seconds, at most five minutes.
_LONGEST_PAUSE = 300.0
# Tries of one message, half an hour in all: a service may be down, or refuse this very message for ever.
MOST_TRIES = 10
# A message that is later than this says how old it is.
_LATE = 60.0


@dataclass
class _Waiting:
    message: Message
    since: float
    tries: int = 0


class Outbox:
    """The messages of one service. Times are seconds of a clock that never goes back.

    per_hour: messages at most in any hour; a fifth of them is kept for urgent ones. left_out: messages that were not
    taken, and of which no message has told yet. failures: tries since one succeeded.
    """

    def __init__(self, per_hour: int) -> None:
        self.left_out = 0
        self.failures = 0
        self._per_hour = per_hour
        self._ordinary = per_hour - per_hour // 5
        self._waiting: deque[_Waiting] = deque()
        self._taken: deque[float] = deque(maxlen=per_hour)
        self._not_before = 0.0
        # What `next` has given away: None for the message about those left out.
        self._current: _Waiting | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message, now: float) -> bool:
        """Take a message, or count it as left out."""
        if self._is_over(now, self._per_hour if message.urgent else self._ordinary) or not self._room(message):
            self.left_out += 1
            return False
        self._taken.append(now)
        self._waiting.insert(self._place(message), _Waiting(message, now))
        return True

    def due(self, now: float) -> float | None:
        """When there is something to send, which may be now; None if nothing will be until the next `put`."""
        if self._waiting:
            return max(now, self._not_before)
        if self.left_out:
            # Nothing else is coming to carry the count: it gets a message of its own when the hour allows one.
            opens = now if not self._is_over(now, self._per_hour) else self._taken[0] + _HOUR
            return max(opens, self._not_before)
        return None

    def next(self, now: float) -> Message:
        """What to send now; call it when `due`. Then `sent` or `failed`."""
        self._current = first = self._waiting[0] if self._waiting else None
        if first is None:
            return Message("", f"{self.left_out} {_were(self.left_out, 'message')} left out; see serve.log")
        late = now - first.since
        notes = [f"({_ago(late)} ago)"] if late > _LATE else []
        notes += [f"({self.left_out} more {_were(self.left_out)} left out)"] if self.left_out else []
        body = "\n".join(filter(None, [first.message.body, *notes]))
        return replace(first.message, body=body)

    def sent(self, now: float, told: int) -> None:
        """The message of `next` has arrived. told: what `left_out` was when it was made."""
        if self._current is None:
            self._taken.append(now)
        else:
            self._waiting.popleft()
            self._current = None
        self.left_out -= told
        self.failures = 0
        self._not_before = now

    def failed(self, now: float) -> None:
        """It has not; it is tried again later, and left out in the end."""
        if self._current is not None:
            self._current.tries += 1
            if self._current.tries >= MOST_TRIES:
                self._waiting.popleft()
                self.left_out += 1
        self._current = None
        self.failures += 1
        self._not_before = now + min(2.0 ** min(self.failures, 20), _LONGEST_PAUSE)

    def hurry(self, now: float) -> None:
        """Try at once, because there will be no later."""
        self._not_before = now

    def _is_over(self, now: float, limit: int) -> bool:
        while self._taken and self._taken[0] <= now - _HOUR:
            self._taken.popleft()
        return len(self._taken) >= limit

    def _place(self, message: Message) -> int:
        """Urgent ones come before those that are not, but not before the one that is being sent."""
        if not message.urgent:
            return len(self._waiting)
        first = 0 if self._current is None else 1
        urgent = [n for n in range(first, len(self._waiting)) if self._waiting[n].message.urgent]
        return urgent[-1] + 1 if urgent else min(first, len(self._waiting))

    def _room(self, message: Message) -> bool:
        """Whether there is room; an urgent message takes that of the last one that is not."""
        if len(self._waiting) < MOST_WAITING:
            return True
        ordinary = [n for n, one in enumerate(self._waiting) if not one.message.urgent and one is not self._current]
        if not message.urgent or not ordinary:
            return False
        del self._waiting[ordinary[-1]]
        self.left_out += 1
        return True


def _were(count: int, what: str = "") -> str:
    return f"{what}{'' if count == 1 or not what else 's'} {'was' if count == 1 else 'were'}".strip()


def _ago(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.0f} h"
