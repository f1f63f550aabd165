"""Markets as they were recorded: real order books and trades, replayed message by message.

A recording is a gzipped file of one symbol. Each line is the time of receipt in ns, a space, and a message of the
combined streams `depth@100ms`, `trade` and `bookTicker`, or the snapshot that `GET /api/v3/depth` gave.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.errors import BadInput
from pipeline.exchange.local.depth_book import BestPrices, DepthBook, Diff, MarketTrade, Message, Snapshot
from pipeline.exchange.local.engine import MarketEvent
from pipeline.exchange.local.history import Series, bucket, bucket_end
from pipeline.exchange.local.matching import Level, Pit
from pipeline.exchange.local.numbers import ZERO

_MOST = Decimal(10) ** 20
# Exact, whether prices are quoted or plain numbers.
_DECODE = json.JSONDecoder(parse_float=Decimal).decode
_GZIP = 31  # zlib's word for a gzip header and the largest window
_CHUNK = 1 << 12
_HINT = "a line is the time of receipt in ns, a space and a message, as in `1723161254024619568 {…}`"


@dataclass(frozen=True)
class Recording:
    """Messages of one symbol, in the order in which they were received."""

    path: Path
    symbol: str
    messages: list[Message]

    @classmethod
    def read(cls, path: Path) -> Self:
        """A recording of a file.

        Raises BadInput: the file is missing, cut off or of another kind; a line is not such a message, or one of a
        second symbol; trades go back; there is no snapshot. Messages of other streams are passed over.
        """
        symbol, number, newest = "", 0, (0, 0)
        messages: list[Message] = []
        for number, line in _lines(path):
            try:
                name, message = _message(line)
            except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
                text = line[:60].decode("utf-8", "replace").rstrip()
                raise BadInput(f"{path}: line {number} is not a message: {text!r} ({_reason(error)})", _HINT) from None
            if name and symbol and name != symbol:
                raise BadInput(f"{path}: line {number} is of {name}, those before of {symbol}", "one file, one symbol")
            symbol = symbol or name
            if isinstance(message, MarketTrade):
                if message.id <= newest[0] or message.time_ms < newest[1]:
                    raise BadInput(
                        f"{path}: line {number}: trade {message.id} at {message.time_ms} ms comes after"
                        f" {newest[0]} at {newest[1]} ms",
                        "trades have to ascend: leave out what was recorded twice",
                    )
                newest = message.id, message.time_ms
            if message is not None:
                messages.append(message)
        if not any(isinstance(message, Snapshot) for message in messages):
            raise BadInput(
                f"{path}: no depth snapshot up to its last line, {number}",
                "record one reply of GET /api/v3/depth among the messages",
            )
        if not symbol:
            raise BadInput(f"{path}: nothing but snapshots up to its last line, {number}", _HINT)
        return cls(path, symbol, messages)

    @cached_property
    def trades(self) -> list[MarketTrade]:
        """The market's trades, ascending by id and time."""
        return [message for message in self.messages if isinstance(message, MarketTrade)]

    def bars(self, interval: str) -> Series:
        """Bars of its trades; an interval without trades has none, the first and last are as far as they are recorded.

        Raises BadInput: there are no trades.
        """
        groups: dict[int, list[MarketTrade]] = {}
        for trade in self.trades:
            groups.setdefault(bucket(trade.time_ms, interval), []).append(trade)
        if not groups:
            raise BadInput(f"{self.path}: has no trades", "record the trade stream as well")
        several = list(groups.values())
        bought = [[trade for trade in group if not trade.buyer_is_maker] for group in several]
        columns = {
            "open": [group[0].price for group in several],
            "high": [max(trade.price for trade in group) for group in several],
            "low": [min(trade.price for trade in group) for group in several],
            "close": [group[-1].price for group in several],
            "volume": [_volume(group) for group in several],
            "quote_volume": [_quote_volume(group) for group in several],
            "taker_buy_volume": [_volume(group) for group in bought],
            "taker_buy_quote_volume": [_quote_volume(group) for group in bought],
        }
        return Series(
            interval,
            np.array(list(groups), np.int64),
            **{name: np.array([float(value) for value in values]) for name, values in columns.items()},
            trades=np.array([len(group) for group in several], np.int64),
            first_trade=np.array([group[0].id for group in several], np.int64),
        )


class Replay:
    """Drives one symbol's market by a recording, in place of the way that its bars tell.

    Diffs change the book that orders meet, trades move the price: stops are triggered by them, resting orders fill at
    their own price when one goes through it, each up to the model's share of that trade. While the book has lost its
    sequence or has an empty side, the model's takes its place.

    pit: its series holds the recording's bars, of any interval. now_ms: the exchange's time, which the messages tell;
    the clock that they were received by may be seconds off. `engine.timeline.now` is the caller's to set.
    """

    def __init__(self, recording: Recording, pit: Pit) -> None:
        self.recording = recording
        self.pit = pit
        self.book = DepthBook()
        self._next = 0
        self._last_trade = {bucket(trade.time_ms, pit.series.interval): trade.id for trade in recording.trades}
        self._seen = 0
        missing = [time for time in self._last_trade if not _has(pit.series, time)]
        if missing:
            raise BadInput(f"{recording.path}: the market has no bar at {missing[0]} ms", "run it on the recording's")
        self.now_ms = next((m.time_ms for m in recording.messages if isinstance(m, Diff | MarketTrade)), 0)

    @property
    def done(self) -> bool:
        """Whether the recording has ended; the last bar may stay open."""
        return self._next >= len(self.recording.messages)

    @property
    def next_ms(self) -> int | None:
        """When the next message is due, in the exchange's time; None at the end."""
        if self.done:
            return None
        message = self.recording.messages[self._next]
        return max(self.now_ms, message.time_ms) if isinstance(message, Diff | MarketTrade) else self.now_ms

    def advance(self) -> list[MarketEvent]:
        """One message on: what the market tells of it, as `Engine.advance` does. Nothing after the end."""
        due = self.next_ms
        if due is None:
            return []
        message = self.recording.messages[self._next]
        self._next += 1
        self.now_ms = due
        events = self._close()
        if isinstance(message, MarketTrade):
            self.book.trade(message)
            self._offer()
            events += self._trade(message)
            events += self._close()
        elif isinstance(message, Snapshot):
            self.book.restart(message)
        elif isinstance(message, Diff):
            self.book.apply(message)
        elif isinstance(message, BestPrices):
            self.book.lead(message)
        self._offer()
        return events

    def _offer(self) -> None:
        self.pit.recorded = self.book if self.book.is_usable else None

    def _close(self) -> list[MarketEvent]:
        """Close the bar that is over; trades are told late, so it waits for its last one."""
        pit = self.pit
        if pit.points is None:
            return []
        opened = int(pit.series.open_time[pit.position])
        if self.now_ms < bucket_end(opened, pit.series.interval) or self._seen < self._last_trade.get(opened, 0):
            return []
        pit.end()
        return [("close", pit.instrument.symbol, pit.position - 1)]

    def _trade(self, trade: MarketTrade) -> list[MarketEvent]:
        pit, symbol, price = self.pit, self.pit.instrument.symbol, float(trade.price)
        events: list[MarketEvent] = []
        if pit.points is None:
            pit.position = pit.series.at(bucket(trade.time_ms, pit.series.interval))
            pit.points = (price, price, price, price, 0.0)
            events.append(("open", symbol, price, trade.time_ms))
        opened, high, low, _, before = pit.points
        share = float(trade.qty) / float(pit.series.volume[pit.position])
        pit.points = (opened, max(high, price), min(low, price), price, before + share)
        pit.budget = trade.qty * pit.model.participation if pit.model.participation else None
        # Between two trades there was no price: a stop is triggered at the first one beyond it.
        pit.move(price, jump=True)
        self._seen = trade.id
        events.append(("tick", symbol, price, float(trade.qty), trade.time_ms, trade.id, trade.buyer_is_maker))
        return events


def _has(series: Series, time_ms: int) -> bool:
    i = series.at(time_ms)
    return i < len(series) and int(series.open_time[i]) == time_ms


def _volume(trades: list[MarketTrade]) -> Decimal:
    return sum((trade.qty for trade in trades), ZERO)


def _quote_volume(trades: list[MarketTrade]) -> Decimal:
    return sum((trade.price * trade.qty for trade in trades), ZERO)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, from 1 on. Of a file that is cut off, all that can be read come before the error."""
    number, rest, unzip = 0, b"", zlib.decompressobj(_GZIP)
    try:
        with path.open("rb") as file:
            while data := unzip.unused_data or file.read(_CHUNK):
                if unzip.eof:
                    # Gzipped files may be joined end to end.
                    unzip = zlib.decompressobj(_GZIP)
                *lines, rest = (rest + unzip.decompress(data)).split(b"\n")
                for number, line in enumerate(lines, number + 1):  # noqa: B020
                    yield number, line
    except OSError as error:
        raise BadInput(f"{path}: line {number + 1} cannot be read: {error.strerror}", "is there such a file?") from None
    except zlib.error as error:
        raise BadInput(f"{path}: damaged from about line {number + 1} on: {error}", "is it a gzipped file?") from None
    if not unzip.eof:
        raise BadInput(f"{path}: cut off in line {number + 1}", "the file is damaged: fetch it again")
    if rest:
        yield number + 1, rest


def _message(line: bytes) -> tuple[str, Message | None]:
    """Symbol and message of a line; a snapshot has no symbol, and other streams are no message."""
    stamp, _, text = line.partition(b" ")
    received, told = int(stamp), _DECODE(text.decode())
    if "stream" not in told:
        return "", Snapshot(received, index(told["lastUpdateId"]), _levels(told["bids"]), _levels(told["asks"]))
    stream, data = told["stream"], told["data"]
    symbol, kind = stream.split("@")[:2]
    message: Message | None = None
    if kind == "depth":
        message = Diff(
            received, index(data["E"]), index(data["U"]), index(data["u"]), _levels(data["b"]), _levels(data["a"])
        )
    elif kind == "trade":
        ((price, qty),) = _levels([(data["p"], data["q"])])
        if not qty:
            raise ValueError("a trade of nothing")
        message = MarketTrade(received, index(data["T"]), index(data["t"]), price, qty, data["m"] is True)
    elif kind == "bookTicker":
        bid, ask = _levels([(data["b"], data["B"]), (data["a"], data["A"])])
        message = BestPrices(received, index(data["u"]), bid, ask)
    return symbol.upper(), message


def _levels(pairs: Any) -> list[Level]:
    levels = [(Decimal(price), Decimal(size)) for price, size in pairs]
    for price, size in levels:
        if not (0 < price < _MOST and 0 <= size < _MOST):
            raise ValueError(f"{size} at {price}")
    return levels


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
