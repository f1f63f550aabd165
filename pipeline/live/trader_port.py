"""What the loop wants of a trader, on paper or live."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Protocol

from pipeline.exchange.port import AccountChange
from pipeline.live.effects import Effect
from pipeline.live.strategy import Outlook


class Trader(Protocol):
    """What is done at a closed bar, and when something was heard or some time has passed."""

    balances: dict[str, Decimal]
    balance_ms: int

    def on_bar(self, outlook: Outlook, refuse: Mapping[str, int], facts: Mapping[str, Any]) -> list[Effect]:
        """Live through a bar; the record BAR is among the effects."""

    def react(self, symbol: str) -> list[Effect]:
        """What is due for a symbol now."""

    def flatten(self, reason: int, symbols: Collection[str]) -> list[Effect]:
        """Leave positions, for a reason of `records.EXIT_REASONS`."""

    def refusals(self, now_ms: int) -> dict[str, int]:
        """Reason codes that stand against entries, by symbol."""

    def heard(self, change: AccountChange, now_ms: int) -> None:
        """Balances have changed."""

    def on_tick(self, symbol: str, bid: Decimal, ask: Decimal, now_ms: int) -> list[Effect]:
        """The best prices of the book."""
