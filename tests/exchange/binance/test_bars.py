"""A feed of bars whose REST lags behind its stream, in each order in which the two can be heard."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from exchange.servers import MINUTE, START

from pipeline.exchange.binance.bars import Feed, Kline, of_row
from pipeline.exchange.port import ClosedBar

Row = list[Any]


def row(open_ms: int, close: str, trades: int) -> Row:
    return [open_ms, "1", "2", "0.5", close, "10", open_ms + MINUTE - 1, "15", trades, "5", "7", "0"]


HALF, WHOLE, NEXT = row(START, "1.5", 3), row(START, "1.6", 4), row(START + MINUTE, "1.6", 0)
CLOSED: Kline = of_row(WHOLE)


class Replay:
    """A market that stands still after its first bar, and REST with answers by turn, of which the last one stays.

    on_ask, on_sleep: called with the feed while REST is asked, and while the feed waits to ask again.
    """

    is_replay = True

    def __init__(
        self, answers: list[list[Row]], on_ask: Callable[[Feed], None], on_sleep: Callable[[Feed], None]
    ) -> None:
        self.binance = self.clock = self
        self.feed: Feed
        self.asked = 0
        self.notes: list[str] = []
        self._answers, self._on_ask, self._on_sleep = answers, on_ask, on_sleep

    async def market_ms(self) -> int:
        return START + MINUTE

    async def read(self, ask: Any, weight: int, **params: Any) -> Any:
        return await ask(**params)

    async def get_klines(self, **params: Any) -> list[Row]:
        shown = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        self._on_ask(self.feed)
        return [one for one in shown if one[0] >= params["startTime"]]

    async def sleep(self, seconds: float) -> None:
        self._on_sleep(self.feed)

    def note(self, kind: str, words: str) -> None:
        self.notes.append(words)


def told_by(replay: Replay) -> list[ClosedBar]:
    """What a feed that has been woken tells."""
    told: list[ClosedBar] = []
    replay.feed = Feed(replay, "BTCUSDT", "1m", told.append, START)  # type: ignore[arg-type]
    asyncio.run(replay.feed._fill())
    return told


def says(feed: Feed) -> None:
    feed.on_closed(CLOSED)


def says_nothing(feed: Feed) -> None:
    pass


@pytest.mark.parametrize(
    ("before", "on_ask", "on_sleep"),
    [
        pytest.param([HALF, NEXT], says, says_nothing, id="unfinished, told while REST is asked"),
        pytest.param([HALF, NEXT], says_nothing, says, id="unfinished, told afterwards"),
        pytest.param([NEXT], says, says_nothing, id="missing, told while REST is asked"),
    ],
)
def test_the_streams_word_counts_whenever_it_comes(before: list[Row], on_ask: Any, on_sleep: Any) -> None:
    replay = Replay([before, before, [WHOLE, NEXT]], on_ask, on_sleep)
    assert told_by(replay) == [CLOSED.bar("BTCUSDT")]
    assert replay.asked == 3 and replay.notes == []


def test_a_bar_that_only_the_clock_has_closed_is_told_after_a_second_look() -> None:
    replay = Replay([[WHOLE, NEXT]], says_nothing, says_nothing)
    assert told_by(replay) == [CLOSED.bar("BTCUSDT")]
    assert replay.asked == 2
