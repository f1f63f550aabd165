"""What the account holds, held against the books: less means that somebody else has sold, or that we were not told."""

import asyncio
from decimal import Decimal
from functools import partial

from pipeline.exchange.port import AccountChange, Clock, Exchange, Refused, Unavailable
from pipeline.live.desk import Desk
from pipeline.live.driver import Driver
from pipeline.live.trader_port import Trader

_NOTHING = (Decimal(0), Decimal(0))
# Who has some of it, and lets the exchange, pays fees in it whatever is traded.
DISCOUNT_ASSET = "BNB"
_PRICE_MS = 60_000
# How long an event of the account may be behind the replies to our orders.
_DOUBT_SECONDS = 1.0


class Holdings:
    """Balances of the account. trader: is told of them, and keeps them."""

    def __init__(self, desk: Desk, driver: Driver, trader: Trader, exchange: Exchange, clock: Clock) -> None:
        self._desk, self._driver, self._trader = desk, driver, trader
        self._exchange, self._clock = exchange, clock
        self._under_way: asyncio.Task[None] | None = None
        self._doubting: asyncio.Task[None] | None = None
        self._priced_ms = -_PRICE_MS

    async def ask(self) -> None:
        """Ask for all balances, and compare; nothing if the exchange cannot be reached. Raises WrongKey."""
        asked, before = self._clock.now_ms(), dict(self._desk.books.last_trade)
        try:
            told = await self._exchange.balances()
        except Unavailable:
            return
        # What there is nothing of is left out of the answer.
        known = dict.fromkeys([*self._trader.balances, *self._assets()], _NOTHING)
        self._trader.heard(AccountChange({**known, **told}), asked)
        for symbol, held in self._held().items():
            # Else something was filled meanwhile, of which the answer may know nothing.
            if self._desk.books.last_trade.get(symbol) == before.get(symbol):
                await self._driver.do(partial(self._desk.holdings, symbol, held, self._clock.now_ms()))
        await self._price_fees()

    def ask_soon(self) -> None:
        """The same without waiting for the answer, once at a time."""
        if self._under_way is None or self._under_way.done():
            self._under_way = self._driver.go(self.ask())

    def look_at_fees(self) -> None:
        """See to it that the price of what fees are taken in is not old."""
        is_due = self._clock.now_ms() - self._priced_ms >= _PRICE_MS and self._pays_in_discount()
        if is_due and (self._under_way is None or self._under_way.done()):
            self._under_way = self._driver.go(self._price_fees())

    async def _price_fees(self) -> None:
        """What a third asset costs that fees may be taken in; without a price they are estimated."""
        if not self._pays_in_discount():
            return
        self._priced_ms = self._clock.now_ms()
        # All symbols have one quote asset, or the checks before live trading had failed.
        symbol, rules = next(iter(self._desk.rules.items()))
        try:
            price = await self._exchange.price(DISCOUNT_ASSET + symbol.removeprefix(rules.base_asset))
        except (Unavailable, Refused):
            # What it was a minute ago may be far from what it is.
            self._desk.fee_prices.pop(DISCOUNT_ASSET, None)
            return
        self._desk.fee_prices[DISCOUNT_ASSET] = price

    def _pays_in_discount(self) -> bool:
        return bool(self._trader.balances.get(DISCOUNT_ASSET)) and DISCOUNT_ASSET not in self._assets()

    def doubt(self) -> None:
        """Balances were told: if the account now has less than our books say, somebody else has sold, or the word is
        older than what we have booked since. The exchange is asked, unless it is the latter and passes."""
        if self._is_short() and (self._doubting is None or self._doubting.done()):
            self._doubting = self._driver.go(self._ask_if_short())

    async def _ask_if_short(self) -> None:
        await self._clock.sleep(_DOUBT_SECONDS)
        if self._is_short():
            await self.ask()

    def _is_short(self) -> bool:
        books = self._desk.books
        return any(held < books.held(symbol) and not books.open(symbol) for symbol, held in self._held().items())

    async def look_for_missing(self) -> None:
        """Whether it has had less for some time, since an order of ours was filled and we were not told."""
        for symbol, held in self._held().items():
            await self._driver.do(partial(self._desk.missing, symbol, held, self._clock.now_ms()), [symbol])

    def _held(self) -> dict[str, Decimal]:
        """Balance of the base asset by symbol, of those that are known."""
        balances = self._trader.balances
        assets = {symbol: rules.base_asset for symbol, rules in self._desk.rules.items()}
        return {symbol: balances[asset] for symbol, asset in assets.items() if asset in balances}

    def _assets(self) -> list[str]:
        """Base and quote assets of the symbols."""
        bases = {symbol: rules.base_asset for symbol, rules in self._desk.rules.items() if rules.base_asset}
        return [*bases.values(), *(symbol.removeprefix(base) for symbol, base in bases.items())]
