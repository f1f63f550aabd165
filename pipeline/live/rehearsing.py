"""Rehearsals of the decision shortly before a bar closes.

A decision takes a tenth of a millisecond when its code and its data are in the processor's caches, and four times as
long when nothing has touched them for a minute. So the code is walked through with the last bar, every few milliseconds
until the next one is decided. Nothing comes of it: what it would change are copies.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import numpy as np

from pipeline.exchange.port import Clock
from pipeline.live.following import Follower
from pipeline.live.portfolio import Portfolio
from pipeline.live.strategy import Outlook
from pipeline.live.telling import Tell
from pipeline.trading.core import close_once, step_once
from pipeline.trading.records import TRADE

# Before a bar closes, and after: by then it has come, or nobody knows when it will.
_BEFORE_MS, _AFTER_MS = 200, 1000
_LOOK_SECONDS = 1.0


class Rehearsal:
    """follower: that decides now."""

    def __init__(self, follower: Callable[[], Follower], portfolio: Portfolio, clock: Clock, tell: Tell) -> None:
        self.count = 0
        self._follower, self._portfolio, self._clock, self._tell = follower, portfolio, clock, tell
        self._trades = np.zeros(2 * len(portfolio.symbols) + 2, TRADE)

    @contextlib.asynccontextmanager
    async def every(self, seconds: float) -> AsyncIterator[None]:
        """Rehearse in the background around the closes of bars, so many seconds apart; never if that is 0."""
        if not seconds:
            yield
            return
        working = asyncio.ensure_future(self._work(seconds))
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _work(self, seconds: float) -> None:
        while True:
            follower, now = self._follower(), self._clock.now_ms()
            closes = follower.last_open_ms + 2 * follower.step_ms
            if closes - _BEFORE_MS <= now <= closes + _AFTER_MS:
                try:
                    self.once()
                except Exception as error:
                    # Nothing depends on it: decisions are made without.
                    self._tell("error", reason=f"no more rehearsals: {type(error).__name__}: {error}")
                    return
                await self._clock.sleep(seconds)
            else:
                wait = closes - _BEFORE_MS - now
                await self._clock.sleep(min(wait / 1000, _LOOK_SECONDS) if wait > 0 else _LOOK_SECONDS)

    def once(self) -> None:
        """Walk through a decision."""
        outlook = self._follower().peek()
        if outlook is not None:
            self._decide(outlook)
            self.count += 1

    def _decide(self, outlook: Outlook) -> None:
        # By the core's step, on copies.
        portfolio, market = self._portfolio, outlook.market
        account, positions, refused = portfolio.account.copy(), portfolio.positions.copy(), portfolio.refused.copy()
        signals = market.signal[:, 0].copy()
        if portfolio.mode == "live":
            close_once(account, positions, refused, signals, portfolio.bars, 0, market, portfolio.record)
            return
        account["trades"] = 0
        step_once(account, positions, self._trades, refused, signals, portfolio.bars, 0, market, portfolio.record)
