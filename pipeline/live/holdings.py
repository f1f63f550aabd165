"""What the account holds, held against the books: less means that somebody else has sold, or that we were not told."""

import contextlib
from decimal import Decimal
from functools import partial

from pipeline.exchange.port import AccountChange, Clock, Exchange, Unavailable
from pipeline.live.desk import Desk
from pipeline.live.driver import Driver
from pipeline.live.trader_port import Trader

_NOTHING = (Decimal(0), Decimal(0))


class Holdings:
    """Balances of the account. trader: is told of them, and keeps them."""

    def __init__(self, desk: Desk, driver: Driver, trader: Trader, exchange: Exchange, clock: Clock) -> None:
        self._desk, self._driver, self._trader = desk, driver, trader
        self._exchange, self._clock = exchange, clock

    async def ask(self) -> None:
        """Ask for all balances, and compare; nothing if the exchange cannot be reached. Raises WrongKey."""
        asked, before = self._clock.now_ms(), dict(self._desk.books.last_trade)
        with contextlib.suppress(Unavailable):
            told = await self._exchange.balances()
            # What there is nothing of is left out of the answer.
            known = dict.fromkeys([*self._trader.balances, *self._assets()], _NOTHING)
            self._trader.heard(AccountChange({**known, **told}), asked)
            if before == self._desk.books.last_trade:
                # Else something was filled meanwhile, of which the answer may know nothing.
                await self.compare()

    async def compare(self) -> None:
        """Whether the account has what our books say: less means that somebody else has sold."""
        for symbol, held in self._held().items():
            await self._driver.do(partial(self._desk.holdings, symbol, held, self._clock.now_ms()))

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
