"""A trader on paper: the core's state, moved on by one bar at a time, as in a simulation."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.live.strategy import Outlook
from pipeline.trading import snapshot
from pipeline.trading.core import finish, step_once
from pipeline.trading.market import SIGNALS, Market
from pipeline.trading.reasons import COUNT
from pipeline.trading.records import TRADE, new_account, new_positions
from pipeline.trading.rules import Rules, rules_of

# A position can be left at the open, and the next one inside the bar.
EXITS_PER_BAR = 2
NO_TRADES = np.zeros(0, TRADE)


def shadow_rules(config: Config, origin_ms: int, variant: dict[str, float] | None = None) -> Rules:
    """The rules that `simulate` trades by, over bars counted from `origin_ms`.

    variant: stops and sizes that its grid has chosen, by name of the rule.
    """
    rules = rules_of(config.simulate, config.interval, config.sizing, config.risk)
    return rules._replace(origin_ms=origin_ms, seed=config.seed, **(variant or {}))  # type: ignore[arg-type]


class Stepped(NamedTuple):
    """What one bar made of the account: equity at its close, and the trades it closed, records TRADE [m]."""

    equity: float
    trades: np.ndarray


class ShadowTrader:
    """Trades outlooks by the shared fill model.

    rules: with the origin from which bars are counted. cash: to start with, in the quote asset.
    account, positions, refused: the core's state, as `trading.records` and `trading.reasons` describe it.
    """

    def __init__(self, symbols: int, rules: Rules, cash: float) -> None:
        self._take(new_account(cash), new_positions(symbols), np.zeros(COUNT, np.int64))
        self.bars = 0
        self._rules, self._record = rules, rules.array()
        self._trades = np.zeros(1024, TRADE)
        self._last: Market | None = None

    def update(self, outlook: Outlook) -> Stepped:
        """Live through a closed bar. Raises BadInput: it is not the next one since the origin."""
        expected = self._rules.origin_ms + self.bars * self._rules.step_ms
        if outlook.open_time_ms != expected:
            raise BadInput(f"the shadow account is at {expected} ms and cannot live through {outlook.open_time_ms} ms")
        before = self._make_room()
        market = outlook.market
        equity = step_once(
            self.account, self.positions, self._trades, self.refused, market.flags[SIGNALS, :, 0], self.bars, 0,
            market, self._record,
        )  # fmt: skip
        self.bars += 1
        self._last = market
        return Stepped(equity, self._closed_since(before))

    def finish(self) -> Stepped:
        """Close what is open at the last close, as a simulation does at the end of its data; nothing comes after it."""
        if self._last is None:
            return Stepped(float(self.account["equity"][0]), NO_TRADES)
        before = self._make_room()
        equity = finish(
            self.account[0], self.positions, self._trades, self.refused, self.bars - 1, 0, self._last,
            self._rules.record(),
        )  # fmt: skip
        return Stepped(float(equity), self._closed_since(before))

    def save(self) -> dict[str, Any]:
        """The state after the last bar as JSON values. Closed trades are their receiver's to keep."""
        return {"bars": self.bars, "origin_ms": self._rules.origin_ms} | snapshot.save(
            self.account, self.positions, self.refused
        )

    @classmethod
    def restore(cls, kept: dict[str, Any], rules: Rules) -> "ShadowTrader":
        """A trader that goes on after `save`. Raises BadInput: it is another version's, or counts from elsewhere."""
        if kept["origin_ms"] != rules.origin_ms:
            raise BadInput(f"saved state: counts its bars from {kept['origin_ms']} ms, not from {rules.origin_ms} ms")
        trader = cls(len(kept["positions"]), rules, 0.0)
        trader._take(*snapshot.restore(kept))
        trader.bars = int(kept["bars"])
        return trader

    def _take(self, account: np.ndarray, positions: np.ndarray, refused: np.ndarray) -> None:
        self.account, self.positions, self.refused = account, positions, refused
        # Looked at twice a bar: numpy finds a field anew each time.
        self._count = account["trades"]

    def _closed_since(self, before: int) -> np.ndarray:
        # Copying records takes ten times as long as the step, even if there is none.
        count = self._count.item()
        return self._trades[before:count].copy() if count > before else NO_TRADES

    def _make_room(self) -> int:
        # The core counts trades from the start and writes each at its number; earlier ones are not kept here.
        count: int = self._count.item()
        if count + EXITS_PER_BAR * len(self.positions) >= len(self._trades):
            self._trades = np.zeros(2 * (count + EXITS_PER_BAR * len(self.positions) + 1), TRADE)
        return count
