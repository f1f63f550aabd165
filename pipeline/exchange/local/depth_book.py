"""An order book as the exchange tells of it: a snapshot, diffs, and between those best prices and trades.

Rules: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from bisect import bisect_left, bisect_right, insort
from decimal import Decimal
from typing import Literal, NamedTuple

from pipeline.exchange.local.matching import Level


class Snapshot(NamedTuple):
    """A whole book, as REST gave it."""

    received_ns: int
    update_id: int
    bids: list[Level]
    asks: list[Level]


class Diff(NamedTuple):
    """Levels that changed by updates `first` to `last`, with their new sizes; a size of 0 takes a level away."""

    received_ns: int
    time_ms: int
    first: int
    last: int
    bids: list[Level]
    asks: list[Level]


class MarketTrade(NamedTuple):
    """A trade of the market."""

    received_ns: int
    time_ms: int
    id: int
    price: Decimal
    qty: Decimal
    buyer_is_maker: bool


class BestPrices(NamedTuple):
    """Best bid and ask after an update: a `bookTicker` message."""

    received_ns: int
    update_id: int
    bid: Level
    ask: Level


Message = Snapshot | Diff | MarketTrade | BestPrices


class DepthBook:
    """An order book of exact decimals, kept by a snapshot and the diffs after it.

    Diffs come every 100 ms. What is told in between, best prices and trades, holds until the diff that covers it.

    update_id: of its state by the diffs, 0 before the first snapshot. breaks: how often updates were missing.
    is_synced: False before the first snapshot, and after a break until the next one; what the levels say is then worth
    nothing. Levels that lay outside the snapshot's are not known before they change.
    """

    def __init__(self) -> None:
        self.update_id = 0
        self.breaks = 0
        self.is_synced = False
        self._sides = {"SELL": _Side([], -1), "BUY": _Side([], 1)}
        self._follows = False
        self._waiting: list[Diff] = []
        self._led_to = 0
        self._traded_ms = 0

    def restart(self, snapshot: Snapshot) -> None:
        """Begin with a snapshot, and go on with the diffs that came before it but reach further."""
        self._sides = {"SELL": _Side(snapshot.bids, -1), "BUY": _Side(snapshot.asks, 1)}
        self.update_id, self.is_synced, self._follows = snapshot.update_id, True, False
        waiting, self._waiting = self._waiting, []
        for diff in waiting:
            self.apply(diff)

    def apply(self, diff: Diff) -> None:
        """Go on by a diff; one that the book has already is dropped, one that does not follow on it is a break."""
        if not self.is_synced:
            self._waiting.append(diff)
            return
        if diff.last <= self.update_id:
            return
        due = self.update_id + 1
        if diff.first > due or (self._follows and diff.first != due):
            self.breaks += 1
            self.is_synced = False
            self._waiting = [diff]
            return
        self.update_id, self._follows = diff.last, True
        for side, levels in zip(self._sides.values(), (diff.bids, diff.asks), strict=True):
            side.change(levels)
            if self._led_to <= diff.last:
                side.lead = None
            if self._traded_ms <= diff.time_ms:
                side.passed = None

    def lead(self, best: BestPrices) -> None:
        """Best prices after a later update: nothing is left that is better."""
        if best.update_id > self.update_id:
            self._led_to = best.update_id
            for side, level in zip(self._sides.values(), (best.bid, best.ask), strict=True):
                side.lead, side.passed = level, None

    def trade(self, trade: MarketTrade) -> None:
        """A trade: what was better on the side that it took from is gone."""
        self._traded_ms = trade.time_ms
        side = self._sides["SELL" if trade.buyer_is_maker else "BUY"]
        side.passed = trade.price if side.passed is None else side.worse(side.passed, trade.price)

    @property
    def is_usable(self) -> bool:
        """Whether it is synced and has both sides."""
        return self.is_synced and all(side.best_first(1) for side in self._sides.values())

    def top(self) -> tuple[Decimal, Decimal]:
        """Best bid and ask. Raises IndexError: a side is empty."""
        return self.side("SELL", 1)[0][0], self.side("BUY", 1)[0][0]

    def side(self, taker: str, limit: int) -> list[Level]:
        """Levels that a taker of a side meets, best first: asks for BUY, bids for SELL."""
        return self._sides[taker].best_first(limit)


class _Side:
    """Sizes by price of one side of a book. sign: 1 for asks, -1 for bids.

    lead: its best level where that is known better than the others. passed: a price up to which the levels are gone.
    """

    def __init__(self, levels: list[Level], sign: Literal[1, -1]) -> None:
        self.sign = sign
        self.lead: Level | None = None
        self.passed: Decimal | None = None
        self._sizes = {price: size for price, size in levels if size}
        # Ascending from the best one: bids are negative.
        self._keys = sorted(self._key(price) for price in self._sizes)

    def _key(self, price: Decimal) -> Decimal:
        """Of a price, or the price of a key; exact, where a product would be rounded to the context's digits."""
        return price if self.sign > 0 else price.copy_negate()

    def change(self, levels: list[Level]) -> None:
        """Set sizes; 0 takes a level away."""
        sizes, keys = self._sizes, self._keys
        for price, size in levels:
            if size:
                if price not in sizes:
                    insort(keys, self._key(price))
                sizes[price] = size
            elif price in sizes:
                del sizes[price]
                del keys[bisect_left(keys, self._key(price))]

    def worse(self, a: Decimal, b: Decimal) -> Decimal:
        """Of two prices the one that is worse for a taker."""
        return max(a, b) if self.sign > 0 else min(a, b)

    def best_first(self, limit: int) -> list[Level]:
        """At most so many levels."""
        first, lead = 0, self.lead
        if lead is not None:
            first = bisect_right(self._keys, self._key(lead[0]))
        if self.passed is not None:
            first = max(first, bisect_left(self._keys, self._key(self.passed)))
            if lead is not None and self._key(lead[0]) < self._key(self.passed):
                lead = None
        prices = [self._key(key) for key in self._keys[first : first + limit]]
        levels = [(price, self._sizes[price]) for price in prices]
        return levels if lead is None else [lead, *levels][:limit]
