"""Market streams: who listens to what, and the messages of each moment.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

import asyncio
import re
from collections.abc import Collection
from typing import Any

from pipeline.exchange.local import market_data, wire
from pipeline.exchange.local.clients import Client, close
from pipeline.exchange.local.engine import MarketEvent
from pipeline.exchange.local.faults import Fault
from pipeline.exchange.local.history import DAY, INTERVALS, Row, bucket, bucket_end
from pipeline.exchange.local.matching import Pit
from pipeline.exchange.local.numbers import text
from pipeline.exchange.local.venue import Venue

_MOST_STREAMS = 1024
_DIFFERENCES = ("depth", "depth@100ms", "depth@1000ms")
_NAME = re.compile(
    r"(?:(?P<symbol>[a-z0-9]{2,20})@(?P<kind>kline_[0-9]+[a-zA-Z]|aggTrade|trade|bookTicker|miniTicker|ticker|avgPrice"
    r"|depth(?:5|10|20)?(?:@100ms|@1000ms)?)|!(?P<all>miniTicker@arr|ticker@arr|bookTicker))"
)

# Told five times a bar; a template like this is filled in two thirds of the time of an f-string.
_KLINE = (
    '{"e":"kline","E":%d,"s":"%s","k":{"t":%d,"T":%d,"s":"%s","i":"%s","f":%d,"L":%d,"o":"%.8f","c":"%.8f","h":"%.8f",'
    '"l":"%.8f","v":"%.8f","n":%d,"x":%s,"q":"%.8f","V":"%.8f","Q":"%.8f","B":"0"}}'
)

# Sizes of bids and of asks by price, and the number of that state.
Book = tuple[dict[str, str], dict[str, str], int]


class Hub:
    """All market sockets and their streams."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        # Sets that keep their order, in which messages go out: it does not depend on addresses or hashes.
        self.clients: dict[Client, None] = {}
        self.by_name: dict[str, dict[Client, None]] = {}
        self._intervals: dict[str, dict[str, None]] = {}
        self._kinds: dict[str, dict[str, None]] = {}
        self._late: dict[str, list[tuple[str, str]]] = {}
        self._books: dict[str, Book] = {}

    def subscribe(self, client: Client, names: list[str]) -> None:
        """Add streams to a client. Raises ValueError: a name is none, or there would be too many."""
        self._check(names)
        if len(client.names | set(names)) > _MOST_STREAMS:
            raise ValueError("Invalid request: more than 1024 streams")
        for name in names:
            client.names.add(name)
            self.by_name.setdefault(name, {})[client] = None
        self._index()
        for symbol in dict.fromkeys(name.partition("@")[0] for name in names):
            self._follow_book(symbol)

    def _check(self, names: list[str]) -> None:
        symbols = {symbol.lower() for symbol in self.venue.engine.instruments}
        for name in names:
            match = _NAME.fullmatch(name)
            if match is None or (match["symbol"] and match["symbol"] not in symbols):
                raise ValueError(f"Invalid request: unknown stream {name[:80]!r}")
            if (match["kind"] or "").startswith("kline_") and match["kind"][6:] not in INTERVALS:
                raise ValueError(f"Invalid request: unknown interval in {name!r}")

    def _follow_book(self, symbol: str) -> None:
        """Keep the book that differences are told against from now on, if somebody listens to them."""
        if not any(kind in _DIFFERENCES for kind in self._kinds.get(symbol.upper(), ())):
            self._books.pop(symbol, None)
        elif symbol not in self._books:
            self._books[symbol] = self._book(self.venue.engine.pits[symbol.upper()])

    def unsubscribe(self, client: Client, names: list[str]) -> None:
        """Take streams from a client."""
        for name in names:
            client.names.discard(name)
            if name in self.by_name:
                self.by_name[name].pop(client, None)
                if not self.by_name[name]:
                    del self.by_name[name]
        self._index()
        for symbol in dict.fromkeys(name.partition("@")[0] for name in names):
            self._follow_book(symbol)

    def _index(self) -> None:
        self._intervals, self._kinds = {}, {}
        for name in self.by_name:
            symbol, _, kind = name.partition("@")
            if kind.startswith("kline_"):
                self._intervals.setdefault(symbol.upper(), {})[kind[6:]] = None
            elif not symbol.startswith("!"):
                self._kinds.setdefault(symbol.upper(), {})[kind] = None

    def add(self, client: Client) -> None:
        """A socket has opened."""
        self.clients[client] = None

    def remove(self, client: Client) -> None:
        """A socket has closed."""
        self.clients.pop(client, None)
        self.unsubscribe(client, list(client.names))

    def publish(self, name: str, body: str) -> None:
        """Send a message to all who listen to a stream."""
        for client in self.by_name.get(name, ()):
            client.send(body if client.raw else f'{{"stream":"{name}","data":{body}}}')

    def tell_all(self, body: str, name: str) -> None:
        """Send a message to all sockets."""
        for client in self.clients:
            client.send(body if client.raw else f'{{"stream":"{name}","data":{body}}}')

    # Messages

    def on_market(self, events: list[MarketEvent]) -> None:
        """Turn a moment of the market into messages."""
        if not self.by_name:
            if any(event[0] == "close" for event in events):
                self._faults_without_listeners(events)
            return
        for event in events:
            symbol = event[1]
            if event[0] == "close":
                self._closed(symbol, event[2])
            else:
                self._ticked(symbol, event)
        self._arrays()

    def _faults_without_listeners(self, events: list[MarketEvent]) -> None:
        for event in events:
            if event[0] == "close":
                self._kline_faults(event[1], event[2])

    def _ticked(self, symbol: str, event: MarketEvent) -> None:
        pit = self.venue.engine.pits[symbol]
        now, lower = self.venue.engine.now, symbol.lower()
        if event[0] == "open":
            self._close_at_gap(pit, lower)
        for interval in self._intervals.get(symbol, ()):
            row = self._row(pit, interval)
            if row is not None:
                self.publish(f"{lower}@kline_{interval}", kline_event(symbol, interval, row, now, False))
        kinds = self._kinds.get(symbol, {})
        if kinds and event[0] == "tick":
            self._trades(lower, event, kinds)
        if "bookTicker" in kinds or "!bookTicker" in self.by_name:
            body = self._book_ticker(pit)
            self.publish(f"{lower}@bookTicker", body)
            self.publish("!bookTicker", body)
        self._depths(pit, lower, kinds)
        if "miniTicker" in kinds:
            self.publish(f"{lower}@miniTicker", wire.dumps(self._ticker(pit, True)))
        if "ticker" in kinds:
            self.publish(f"{lower}@ticker", wire.dumps(self._ticker(pit, False)))
        if "avgPrice" in kinds:
            average = text(self.venue.engine.average_price(symbol))
            self.publish(
                f"{lower}@avgPrice",
                f'{{"e":"avgPrice","E":{now},"s":"{symbol}","i":"5m","w":"{average}","T":{now}}}',
            )

    def _row(self, pit: Pit, interval: str) -> Row | None:
        if interval == self.venue.engine.interval:
            return pit.unrounded()
        return self.venue.forming_row(pit.instrument.symbol, interval)

    def _close_at_gap(self, pit: Pit, lower: str) -> None:
        """Tell longer bars as closed whose last minutes are missing, when the next bar opens."""
        series, i = pit.series, pit.position
        if not i or series.open_time[i] == series.open_time[i - 1] + series.step:
            return
        before, symbol = int(series.open_time[i - 1]), pit.instrument.symbol
        for interval in self._intervals.get(symbol, ()):
            opened = bucket(before, interval)
            if before + series.step < bucket_end(opened, interval) <= self.venue.engine.now:
                row = market_data.rows(pit, interval, None, opened, 1)[-1]
                self.publish(
                    f"{lower}@kline_{interval}", kline_event(symbol, interval, row, self.venue.engine.now, True)
                )

    def _closed(self, symbol: str, position: int) -> None:
        """The bar at a position has closed: tell it once as closed, as do the longer bars that end with it."""
        venue, lower = self.venue, symbol.lower()
        pit = venue.engine.pits[symbol]
        now, own = venue.engine.now, venue.engine.interval
        kinds = self._kline_faults(symbol, position)
        late = self._late.pop(symbol, [])
        if not kinds & {"kline_missing", "bar_missing"}:
            for interval in self._intervals.get(symbol, ()):
                row = pit.series.row(position) if interval == own else venue.forming_row(symbol, interval)
                if row is None:
                    continue
                name = f"{lower}@kline_{interval}"
                ends = bucket_end(row[0], interval) <= now
                body = kline_event(symbol, interval, row, now, ends)
                if "kline_out_of_order" in kinds and ends:
                    self._late.setdefault(symbol, []).append((name, body))
                    continue
                self.publish(name, body)
                if "kline_duplicate" in kinds and ends:
                    self.publish(name, body)
                if "kline_late_open" in kinds and ends:
                    self.publish(name, kline_event(symbol, interval, row, now, False))
        for name, body in late:
            self.publish(name, body)
        if lower in self._books:
            self._depths(pit, lower, self._kinds.get(symbol, {}))

    def _kline_faults(self, symbol: str, position: int) -> set[str]:
        faults = self.venue.take("kline", symbol)
        opened = int(self.venue.engine.pits[symbol].series.open_time[position])
        for fault in faults:
            if fault.kind == "bar_missing":
                self.venue.missing.add((symbol, opened))
            elif fault.kind == "kline_revised":
                self.venue.revised[symbol, opened] = float(fault.arg("factor"))
        return {fault.kind for fault in faults}

    def _trades(self, lower: str, event: MarketEvent, kinds: Collection[str]) -> None:
        _, symbol, price, qty, time, trade, maker = event
        flag = "true" if maker else "false"
        if "trade" in kinds:
            self.publish(
                f"{lower}@trade",
                f'{{"e":"trade","E":{time},"s":"{symbol}","t":{trade},"p":"{price:.8f}","q":"{qty:.8f}","T":{time},'
                f'"m":{flag},"M":true}}',
            )
        if "aggTrade" in kinds:
            self.publish(
                f"{lower}@aggTrade",
                f'{{"e":"aggTrade","E":{time},"s":"{symbol}","a":{trade},"p":"{price:.8f}","q":"{qty:.8f}","f":{trade},'
                f'"l":{trade},"T":{time},"m":{flag},"M":true}}',
            )

    def _book_ticker(self, pit: Pit) -> str:
        bids, asks = pit.depth(1)
        (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
        number = market_data.update_id(self.venue.engine, pit)
        return (
            f'{{"u":{number},"s":"{pit.instrument.symbol}","b":"{text(bid)}","B":"{text(bid_size)}",'
            f'"a":"{text(ask)}","A":"{text(ask_size)}"}}'
        )

    def _depths(self, pit: Pit, lower: str, kinds: Collection[str]) -> None:
        """The book's best levels, and what of it has changed since it was last told."""
        engine = self.venue.engine
        for kind in kinds:
            count = re.match(r"depth([0-9]+)", kind)
            if count is not None:
                body = wire.dumps(market_data.book_view(engine, pit, int(count[1])))
                self.publish(f"{lower}@{kind}", body)
        if lower not in self._books:
            return
        was, book = self._books[lower], self._book(pit)
        if was[2] == book[2]:
            return
        self._books[lower] = book
        update = {
            "e": "depthUpdate",
            "E": engine.now,
            "s": pit.instrument.symbol,
            "U": was[2] + 1,
            "u": book[2],
            "b": [list(level) for level in _changed(was[0], book[0]).items()],
            "a": [list(level) for level in _changed(was[1], book[1]).items()],
        }
        body = wire.dumps(update)
        for kind in _DIFFERENCES:
            self.publish(f"{lower}@{kind}", body)

    def _book(self, pit: Pit) -> Book:
        view = market_data.book_view(self.venue.engine, pit, 5000)
        return dict(view["bids"]), dict(view["asks"]), int(view["lastUpdateId"])

    def _ticker(self, pit: Pit, mini: bool) -> dict[str, Any]:
        engine = self.venue.engine
        shown = market_data.statistics(engine, pit, DAY, "FULL")
        prices = {
            "c": shown["lastPrice"],
            "o": shown["openPrice"],
            "h": shown["highPrice"],
            "l": shown["lowPrice"],
            "v": shown["volume"],
            "q": shown["quoteVolume"],
        }
        head = {"e": "24hrMiniTicker" if mini else "24hrTicker", "E": engine.now, "s": pit.instrument.symbol}
        if mini:
            return head | prices
        bids, asks = pit.depth(1)
        _, before = market_data.window_row(pit, engine.now, DAY)
        i = max(pit.position - 1, 0)
        return (
            head
            | {"p": shown["priceChange"], "P": shown["priceChangePercent"], "w": shown["weightedAvgPrice"]}
            | {"x": f"{before:.8f}", "c": prices["c"]}
            | {"Q": f"{float(pit.series.volume[i]) / max(int(pit.series.trades[i]), 1):.8f}"}
            | {"b": text(bids[0][0]), "B": text(bids[0][1]), "a": text(asks[0][0]), "A": text(asks[0][1])}
            | {"o": prices["o"], "h": prices["h"], "l": prices["l"], "v": prices["v"], "q": prices["q"]}
            | {"O": shown["openTime"], "C": shown["closeTime"], "F": shown["firstId"], "L": shown["lastId"]}
            | {"n": shown["count"]}
        )

    def _arrays(self) -> None:
        for name, mini in (("!miniTicker@arr", True), ("!ticker@arr", False)):
            if name in self.by_name:
                rows = [self._ticker(pit, mini) for pit in self.venue.engine.pits.values()]
                self.publish(name, wire.dumps(rows))

    # Faults

    def act(self, fault: Fault) -> None:
        """Do a fault to the sockets."""
        loop = asyncio.get_running_loop()
        if fault.kind == "ws_drop":
            for client in list(self.clients):
                close(client, str(fault.arg("mode")))
        elif fault.kind == "ws_half_open":
            for client in self.clients:
                client.muted_until = loop.time() + float(fault.arg("seconds"))
                client.waiting.clear()
        elif fault.kind == "server_shutdown":
            body = f'{{"e":"serverShutdown","E":{self.venue.engine.now}}}'
            self.tell_all(body, "!serverShutdown")
            for client in list(self.clients):
                loop.call_later(float(fault.arg("seconds")), close, client, "clean")
        elif fault.kind == "ws_malformed":
            for client in self.clients:
                client.send('{"e":"kline","E":17')
        elif fault.kind == "ws_huge":
            filler = "x" * int(float(fault.arg("megabytes")) * 1_000_000)
            self.tell_all(f'{{"e":"filler","E":{self.venue.engine.now},"x":"{filler}"}}', "!filler")
        elif fault.kind == "ws_burst":
            for number in range(int(fault.arg("messages"))):
                self.tell_all(f'{{"e":"filler","E":{self.venue.engine.now},"x":{number}}}', "!filler")


def kline_event(symbol: str, interval: str, row: Row, now: int, closed: bool) -> str:
    """A kline message."""
    opened, first_price, high, low, close, volume, quote_volume, trades, bought, quote_bought, first = row
    last = first + trades - 1 if trades else -1
    return _KLINE % (
        *(now, symbol, opened, bucket_end(opened, interval) - 1, symbol, interval, first if trades else -1, last),
        *(first_price, close, high, low, volume, trades, "true" if closed else "false"),
        *(quote_volume, bought, quote_bought),
    )


def _changed(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    gone = {price: "0.00000000" for price in before if price not in after}
    return gone | {price: size for price, size in after.items() if before.get(price) != size}
