"""The engine on recorded markets: books and trades as they were, in place of the way that bars tell."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.local.engine import Engine, MarketEvent
from pipeline.exchange.local.instruments import of_series
from pipeline.exchange.local.recorded import Recording, Replay


class RecordedTimeline:
    """Time as the messages tell it, in the place of `Timeline`: phase is 1 after a bar has opened, else 2."""

    def __init__(self, replays: Mapping[str, Replay], step_ms: int) -> None:
        self._replays = replays
        self.step_ms = step_ms
        self.now = min(replay.now_ms for replay in replays.values())
        self.moments = 0
        self.phase = 2

    @property
    def done(self) -> bool:
        """Whether all recordings have ended."""
        return all(replay.done for replay in self._replays.values())

    @property
    def opened(self) -> int:
        """Open time of the bar that is going on."""
        return self.now // self.step_ms * self.step_ms

    @property
    def next_ms(self) -> int | None:
        """When the next message is due, market time in ms; None at the end."""
        due = [replay.next_ms for replay in self._replays.values() if replay.next_ms is not None]
        return min(due) if due else None

    def next_symbol(self) -> str:
        """Whose message comes next; of several at one time the first by name."""
        due = {symbol: replay.next_ms for symbol, replay in self._replays.items() if replay.next_ms is not None}
        return min(due, key=lambda symbol: (due[symbol], symbol))


class RecordedEngine(Engine):
    """An engine whose market goes from message to message; a step still ends at the open of a bar.

    recordings: by symbol. options: as of `Engine`.
    """

    def __init__(self, recordings: Mapping[str, Recording], accounts: list[Any], interval: str, **options: Any) -> None:
        self._replays: dict[str, Replay] = {}
        series = {symbol: recording.bars(interval) for symbol, recording in sorted(recordings.items())}
        instruments = {symbol: of_series(symbol, one) for symbol, one in series.items()}
        super().__init__(instruments, series, accounts, **options)
        self._replays = {symbol: Replay(recordings[symbol], self.pits[symbol]) for symbol in self.pits}
        self.timeline = RecordedTimeline(self._replays, self.timeline.step_ms)  # type: ignore[assignment]
        # Orders find a price and a book of their own, not those of bars that are yet to come.
        while not self.done and any(pit.points is None or pit.recorded is None for pit in self.pits.values()):
            self.advance()
        self.timeline.phase = 1

    def advance(self) -> list[MarketEvent]:
        """One message of one symbol."""
        if not self._replays or self.done:
            return []
        timeline: Any = self.timeline
        symbol = timeline.next_symbol()
        timeline.now = max(timeline.now, timeline.next_ms)
        timeline.moments += 1
        events = self._replays[symbol].advance()
        timeline.phase = 1 if any(event[0] == "open" for event in events) else 2
        self._settled("market")
        return events


def read(paths: tuple[Any, ...]) -> dict[str, Recording]:
    """Recordings by symbol. Raises BadInput: a file is no recording, or two are of one symbol."""
    found: dict[str, Recording] = {}
    for path in paths:
        recording = Recording.read(path)
        if recording.symbol in found:
            raise BadInput(
                f"{path}: is of {recording.symbol}, as is {found[recording.symbol].path}", "give one of them"
            )
        found[recording.symbol] = recording
    return found
