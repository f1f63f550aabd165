"""What a closed bar makes of the account: the trading core's step, and the record that says what was decided.

In shadow the core's own fill model fills the orders; live the exchange does, and the core only decides.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.exchange.port import AccountChange
from pipeline.live.effects import Effect, Write
from pipeline.live.plain import trade_of
from pipeline.live.portfolio import Portfolio
from pipeline.live.strategy import Outlook
from pipeline.trading.core import close_once, step_once
from pipeline.trading.market import BUY, CLOSE, FILLED, REFUSE_LONG, REFUSE_SHORT, SCORE, SELL, SIGNALS
from pipeline.trading.reasons import BREAKERS, REASONS
from pipeline.trading.records import EXIT_REASONS, TRADE

# A position can be left at the open, and the next one inside the bar.
_EXITS_PER_BAR = 2
_WORDS = ("", *list(REASONS)[1:])


class PaperTrader:
    """Trades by the shared fill model, as `simulate` does. portfolio: changed by each bar."""

    def __init__(self, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self.balances: dict[str, Decimal] = {}
        self.balance_ms = 0
        self._trades = np.zeros(1024, TRADE)

    def on_bar(self, outlook: Outlook, refuse: Mapping[str, int], facts: Mapping[str, Any]) -> list[Effect]:
        """Live through a closed bar.

        refuse: reason codes that stand against entries, by symbol. facts: for the record: at, bundle, late.
        """
        portfolio = self.portfolio
        account, positions = portfolio.account, portfolio.positions
        stand_against(outlook, portfolio.symbols, refuse)
        before = int(account["trades"][0])
        self._make_room(before + _EXITS_PER_BAR * len(positions))
        entering, leaving = positions["enter_bar"].copy(), positions["leave_bar"].copy()
        market = outlook.market
        step_once(
            account, positions, self._trades, portfolio.refused, market.signal[:, 0].copy(), portfolio.bars, 0, market,
            portfolio.record,
        )  # fmt: skip
        trades = [
            trade_of(trade, portfolio.symbols[int(trade["symbol"])], portfolio.rules)
            for trade in self._trades[before : int(account["trades"][0])]
        ]
        body = bar_record(portfolio, outlook, entering, leaving, facts)
        if trades:
            body["trades"] = trades
        return [Write("BAR", body)]

    def react(self, symbol: str) -> list[Effect]:
        """Nothing: the fill model sees to everything at the next bar."""
        return []

    def flatten(self, reason: int, symbols: Collection[str]) -> list[Effect]:
        """Drop what was ordered, and leave positions at the next open."""
        return flattening(self.portfolio, reason, symbols)

    def refusals(self, now_ms: int) -> dict[str, int]:
        """None of its own."""
        return {}

    def on_tick(self, symbol: str, bid: Decimal, ask: Decimal, now_ms: int) -> list[Effect]:
        """Nothing: the fill model looks at whole bars."""
        return []

    def heard(self, change: AccountChange, now_ms: int) -> None:
        """Balances mean nothing here."""

    def _make_room(self, rows: int) -> None:
        # The core writes each trade at its number; earlier ones are in the journal.
        if rows >= len(self._trades):
            self._trades = np.zeros(2 * rows + 1, TRADE)


def decide(portfolio: Portfolio, outlook: Outlook, refuse: Mapping[str, int], facts: Mapping[str, Any]) -> Write:
    """The core's decisions at a bar whose fills came from an exchange, and the record of them."""
    stand_against(outlook, portfolio.symbols, refuse)
    positions = portfolio.positions
    entering, leaving = positions["enter_bar"].copy(), positions["leave_bar"].copy()
    market = outlook.market
    close_once(
        portfolio.account, positions, portfolio.refused, market.signal[:, 0].copy(), portfolio.bars, 0, market,
        portfolio.record,
    )  # fmt: skip
    return Write("BAR", bar_record(portfolio, outlook, entering, leaving, facts))


def flattening(portfolio: Portfolio, reason: int, symbols: Collection[str]) -> list[Effect]:
    """Records that drop entries which have not been sent, and order positions to be left."""
    effects: list[Effect] = []
    for symbol in symbols:
        position = portfolio.position(symbol)
        if position["enter"] != 0:
            effects.append(Write("LAPSE", {"symbol": symbol}))
        if position["side"] != 0 and position["leave"] == 0:
            effects.append(Write("QUIT", {"symbol": symbol, "reason": reason}))
    return effects


def stand_against(outlook: Outlook, symbols: list[str], refuse: Mapping[str, int]) -> None:
    """Refuse entries for reasons that only live trading has; what stands against them already stays."""
    flags = outlook.market.flags
    for s, symbol in enumerate(symbols):
        if code := refuse.get(symbol, 0):
            for row in (REFUSE_LONG, REFUSE_SHORT):
                if flags[row, s, 0] == 0:
                    flags[row, s, 0] = code


def bar_record(
    portfolio: Portfolio, outlook: Outlook, entering: np.ndarray, leaving: np.ndarray, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of BAR. entering, leaving: the positions' enter_bar and leave_bar before the step."""
    numbers, flags = outlook.market.numbers, outlook.market.flags
    positions, account = portfolio.positions, portfolio.account
    seen: dict[str, dict[str, Any]] = {}
    for s, symbol in enumerate(portfolio.symbols):
        signal, score = int(flags[SIGNALS, s, 0]), float(numbers[SCORE, s, 0])
        gate = flags[REFUSE_LONG if signal == BUY else REFUSE_SHORT, s, 0] if signal in (BUY, SELL) else 0
        position = positions[s]
        seen[symbol] = {
            "score": None if np.isnan(score) else score,
            "close": float(numbers[CLOSE, s, 0]),
            "signal": signal,
            "gate": _WORDS[int(gate)],
            "order": int(position["enter"]) if position["enter_bar"] != entering[s] else 0,
            "exit": EXIT_REASONS[int(position["leave"])] if position["leave_bar"] != leaving[s] else "",
            "filled": bool(flags[FILLED, s, 0]),
        }
    body: dict[str, Any] = {
        "t": outlook.open_time_ms,
        "n": portfolio.bars,
        **facts,
        "equity": float(account["equity"][0]),
        "cash": float(account["cash"][0]),
        "s": seen,
    }
    if (state := portfolio.state()) is not None:
        body["state"] = state
    return body


def breaker_word(portfolio: Portfolio) -> str:
    """The breaker that has stopped trading, empty if none has."""
    return list(BREAKERS)[int(portfolio.account["halted"][0])]
