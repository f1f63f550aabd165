"""Market streams of futures: spot's with the names, the fields and the mark price that futures have.

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

import json
import re
from collections.abc import Collection
from typing import Any

from pipeline.exchange.local import market_data as spot
from pipeline.exchange.local import wire
from pipeline.exchange.local.engine import MarketEvent
from pipeline.exchange.local.futures import market_data
from pipeline.exchange.local.futures.venue import FuturesVenue
from pipeline.exchange.local.history import INTERVALS
from pipeline.exchange.local.matching import Pit
from pipeline.exchange.local.numbers import text
from pipeline.exchange.local.streams import Hub

_NAME = re.compile(
    r"(?P<symbol>[a-z0-9]{2,20})(?:@kline_|_perpetual@continuousKline_)(?P<interval>[0-9]+[a-zA-Z])"
    r"|(?P<other>[a-z0-9]{2,20})@(?:aggTrade|bookTicker|miniTicker|ticker|markPrice(?:@1s)?|depth(?:@100ms)?"
    r"|depth(?:5|10|20)(?:@100ms|@250ms|@500ms)?)"
    r"|!(?:miniTicker@arr|ticker@arr|bookTicker|markPrice@arr(?:@1s)?)"
)
_MARKS = ("markPrice", "markPrice@1s")
_MARK_ARRAYS = ("!markPrice@arr", "!markPrice@arr@1s")
_ONLY_SPOT = ("x", "b", "B", "a", "A")


class FuturesHub(Hub):
    """All market sockets of the futures exchange and their streams; see `Hub`."""

    def __init__(self, venue: FuturesVenue) -> None:
        super().__init__(venue)
        self._market = venue

    def _check(self, names: list[str]) -> None:
        symbols = {symbol.lower() for symbol in self.venue.engine.instruments}
        for name in names:
            match = _NAME.fullmatch(name)
            symbol = (match["symbol"] or match["other"]) if match else None
            if match is None or (symbol and symbol not in symbols):
                raise ValueError(f"Invalid request: unknown stream {name[:80]!r}")
            if match["interval"] and match["interval"] not in INTERVALS[1:]:
                raise ValueError(f"Invalid request: unknown interval in {name!r}")

    def _index(self) -> None:
        super()._index()
        for name in self.by_name:
            pair, found, interval = name.partition("_perpetual@continuousKline_")
            if found:
                self._intervals.setdefault(pair.upper(), {})[interval] = None

    def publish(self, name: str, body: str) -> None:
        """Send a message, in the shape that futures have, to all who listen to its stream."""
        symbol, _, kind = name.partition("@")
        if kind.startswith("depth") and name in self.by_name:
            body = _depth(body, symbol.upper(), self.venue.engine.now)
        super().publish(name, body)
        if kind.startswith("kline_"):
            continuous = f"{symbol}_perpetual@continuousKline_{kind[6:]}"
            if continuous in self.by_name:
                super().publish(continuous, _continuous(body))

    def _ticked(self, symbol: str, event: MarketEvent) -> None:
        super()._ticked(symbol, event)
        for kind in _MARKS:
            if kind in self._kinds.get(symbol, ()):
                self.publish(f"{symbol.lower()}@{kind}", wire.dumps(self._mark(self.venue.engine.pits[symbol])))

    def _arrays(self) -> None:
        super()._arrays()
        for name in _MARK_ARRAYS:
            if name in self.by_name:
                self.publish(name, wire.dumps([self._mark(pit) for pit in self.venue.engine.pits.values()]))

    def _mark(self, pit: Pit) -> dict[str, Any]:
        shown = market_data.premium(self._market.market, pit)
        return {
            "e": "markPriceUpdate",
            "E": shown["time"],
            "s": shown["symbol"],
            "p": shown["markPrice"],
            "i": shown["indexPrice"],
            "P": shown["estimatedSettlePrice"],
            "r": shown["lastFundingRate"],
            "T": shown["nextFundingTime"],
        }

    def _trades(self, lower: str, event: MarketEvent, kinds: Collection[str]) -> None:
        _, symbol, price, qty, time, trade, maker = event
        if "aggTrade" in kinds:
            body = {"e": "aggTrade", "E": time, "s": symbol, "a": trade, "p": f"{price:.8f}", "q": f"{qty:.8f}"}
            self.publish(f"{lower}@aggTrade", wire.dumps(body | {"f": trade, "l": trade, "T": time, "m": maker}))

    def _book_ticker(self, pit: Pit) -> str:
        (bid, bid_size), (ask, ask_size) = (side[0] for side in pit.depth(1))
        now = self.venue.engine.now
        number = spot.update_id(self.venue.engine, pit)
        head = {"e": "bookTicker", "u": number, "E": now, "T": now, "s": pit.instrument.symbol}
        return wire.dumps(head | {"b": text(bid), "B": text(bid_size), "a": text(ask), "A": text(ask_size)})

    def _ticker(self, pit: Pit, mini: bool) -> dict[str, Any]:
        shown = super()._ticker(pit, mini)
        return {name: value for name, value in shown.items() if mini or name not in _ONLY_SPOT}


def _depth(body: str, symbol: str, now: int) -> str:
    """A book or a difference of it, as futures tell both: with times, and the number of the update before."""
    told = json.loads(body)
    last = told.get("u", told.get("lastUpdateId"))
    first = told.get("U", last)
    head = {"e": "depthUpdate", "E": now, "T": now, "s": symbol, "U": first, "u": last, "pu": first - 1}
    return wire.dumps(head | {"b": told.get("b", told.get("bids")), "a": told.get("a", told.get("asks"))})


def _continuous(body: str) -> str:
    """A kline as the stream of a pair's contracts tells it."""
    told = json.loads(body)
    bar = {name: value for name, value in told["k"].items() if name != "s"}
    return wire.dumps({"e": "continuous_kline", "E": told["E"], "ps": told["s"], "ct": "PERPETUAL", "k": bar})
