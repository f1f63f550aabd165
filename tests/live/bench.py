"""A live trader on a bench: its portfolio, desk and journal, driven by hand, without an exchange and without time."""

from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.exchange.port import AccountChange, Report
from pipeline.live.books import books_of
from pipeline.live.desk import Desk
from pipeline.live.effects import Alert, Effect, Write
from pipeline.live.portfolio import Portfolio
from pipeline.live.shadow import shadow_rules
from pipeline.live.strategy import Outlook
from pipeline.live.trader import LiveTrader
from pipeline.trading.bars import Bars
from pipeline.trading.filters import Range, SymbolFilters
from pipeline.trading.market import BUY, SELL, market_of
from pipeline.trading.orders import Fill

STEP = 60_000
ONE, TWO = "AAAUSDT", "BBBUSDT"
CONFIG: dict[str, Any] = {
    "name": "t",
    "symbols": [ONE, TWO],
    "interval": "1m",
    "download": {"source": "synthetic"},
    "features": [{"returns": {"functions": ["return"], "periods": [1]}}],
    "signals": {
        "predictions": "features",
        "steps": [
            {"rules": {"long": [{"column": "close_return_1", "op": ">", "value": 0}], "require": "any"}},
            {"threshold": {"column": "trade_score", "buy": 0.5, "sell": -0.5}},
        ],
    },
    "sizing": {"fraction": 0.5},
    "risk": {"breakers": {"daily_loss": 0.05, "drawdown": 0.9, "losses_in_a_row": None, "error_rate": 1.0}},
    "simulate": {"exits": {"stop_loss": 0.02, "take_profit": 0.04}, "random_entries": 0},
    "serve": {"order_timeout": 5, "max_decision_age": 20},
}
RULES = {
    symbol: SymbolFilters(
        symbol, base_asset=symbol[:3], lots=Range(Decimal("0.01"), Decimal(10**6), Decimal("0.01")),
        prices=Range(Decimal("0.01"), Decimal(10**6), Decimal("0.01")), min_notional=Decimal(5),
    )
    for symbol in (ONE, TWO)
}  # fmt: skip


def config(**changes: Any) -> Config:
    """The config with other sections."""
    return Config.model_validate(CONFIG | changes)


class Bench:
    """One life of a trader over a journal. asked: what it wants of the exchange and has not been given."""

    def __init__(self, declared: Config | None = None, journal: list[tuple[str, dict[str, Any]]] | None = None) -> None:
        self.config = declared or config()
        self.now = 1_000_000_000_000
        self.journal = [] if journal is None else journal
        self.asked: list[Effect] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.portfolio = recovered(self.config, self.journal)
        self.desk = Desk(books_of(self.journal), dict(RULES))
        self.trader = LiveTrader(
            self.config, self.portfolio, self.desk, self.desk.rules, lambda: self.now,
            lambda event, /, **fields: self.told.append((event, fields)),
        )  # fmt: skip
        self.at = self.portfolio.bars
        if journal is None:
            self.write("START", {
                "mode": "live", "bundle": "b", "capital": 1000.0, "fresh": True, "interval": "1m", "origin": self.now,
            })  # fmt: skip
        self.hears(1000)

    def write(self, kind: str, body: dict[str, Any]) -> None:
        """A record on disk, and in the portfolio as the session folds it."""
        self.journal.append((kind, body))
        if kind == "BAR":
            self.portfolio.advance(body)
        else:
            self.portfolio.add(kind, body)

    def hears(self, free: float) -> None:
        self.trader.heard(AccountChange({"USDT": (Decimal(str(free)), Decimal(0))}), self.now)

    def carry(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Write):
                self.write(effect.kind, dict(effect.body))
            elif not isinstance(effect, Alert):
                self.asked.append(effect)
        return effects

    def react(self, *symbols: str) -> None:
        """As the driver does after a turn."""
        for symbol in symbols or (ONE, TWO):
            for _ in range(8):
                if not self.carry(self.trader.react(symbol)):
                    break
            else:
                raise AssertionError(f"{symbol}: it never ends")

    def take(self) -> list[Effect]:
        """What was asked since the last call."""
        asked, self.asked = self.asked, []
        return asked

    def bar(self, signals: dict[str, int], price: float = 10.0, age_ms: float = 0.0) -> None:
        """A bar closes, and is decided so much later."""
        self.now += STEP
        self.at += 1
        one = [np.full(1, price)] * 4
        bars = [Bars(*one, np.zeros(1, bool))] * 2
        signal = np.array([[signals.get(symbol, 0)] for symbol in (ONE, TWO)], np.uint8)
        outlook = Outlook(self.now - STEP, market_of(bars, signal), {}, {})
        self.carry(self.trader.on_bar(outlook, {}, {"at": self.now, "bundle": "b", "late": False, "age_ms": age_ms}))
        self.react()

    def buys(self, symbol: str = ONE) -> Any:
        """A bar that says buy; the request that came of it."""
        self.bar({symbol: BUY})
        return next(one.request for one in self.take() if getattr(getattr(one, "request", None), "side", "") == "BUY")

    def sells(self, symbol: str = ONE) -> None:
        self.bar({symbol: SELL})

    def accepted(self, request: Any) -> None:
        """The exchange has an order, and nothing of it is filled."""
        self.reports(request, "NEW", ())

    def filled(self, request: Any, qty: Decimal | None = None, price: str = "10", fee: str = "0") -> None:
        """The exchange fills an order, whole if not told otherwise."""
        qty = request.qty if qty is None else qty
        fill = Fill(len(self.journal), qty, Decimal(price), Decimal(fee), "USDT")
        self.reports(request, "FILLED" if qty == request.qty else "PARTIALLY_FILLED", (fill,), qty)

    def reports(self, request: Any, status: str, fills: tuple[Fill, ...], executed: Decimal = Decimal(0)) -> None:
        report = Report(request.symbol, request.client_order_id, status, executed, 1, fills, self.now)
        self.carry(self.desk.replied(report, self.now))
        self.react(request.symbol)


def recovered(declared: Config, journal: list[tuple[str, dict[str, Any]]]) -> Portfolio:
    """The portfolio that a journal tells."""
    portfolio = Portfolio(declared.symbols, shadow_rules(declared, 0), 0.0)
    for kind, body in journal:
        portfolio.add(kind, body)
    return portfolio
