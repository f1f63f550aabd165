"""Small futures exchanges for tests: a few bars of BTCUSDT, one account, no frills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from exchange.replays import MINUTE, PLAIN, START_MS, Bar, series_of

from pipeline.exchange.local.accounts import Account, Balance
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.futures.engine import FuturesEngine
from pipeline.exchange.local.futures.funding import Rates
from pipeline.exchange.local.futures.operations import call
from pipeline.exchange.local.futures.orders import AlgoOrder, FuturesOrder
from pipeline.exchange.local.futures.positions import Position
from pipeline.exchange.local.futures.rules import Futures, contract
from pipeline.exchange.local.instruments import Instrument
from pipeline.exchange.local.journal import Journal
from pipeline.exchange.local.matching import MarketModel

HOUR = 60 * MINUTE


@dataclass
class Contracts:
    """An engine and the account that trades on it."""

    engine: FuturesEngine
    account: Account

    def call(self, name: str, **params: Any) -> Any:
        """Run an operation with these parameters; None leaves one out."""
        return call(self.engine, self.account, name, {k: str(v) for k, v in params.items() if v is not None})

    def refusal(self, name: str, **params: Any) -> int:
        """Code of the refusal; fails if there is none."""
        try:
            reply = self.call(name, **params)
        except ApiError as error:
            return error.code
        raise AssertionError(f"accepted: {reply}")

    def place(self, side: str, kind: str = "MARKET", **params: Any) -> FuturesOrder:
        """Place an order; LIMIT is GTC unless said otherwise."""
        if kind == "LIMIT":
            params = {"timeInForce": "GTC"} | params
        reply = self.call("order.place", symbol="BTCUSDT", side=side, type=kind, **params)
        order = self.engine.orders[reply["orderId"]]
        assert isinstance(order, FuturesOrder)
        return order

    def wait(self, side: str, kind: str, **params: Any) -> AlgoOrder:
        """Place a conditional order."""
        params = {"symbol": "BTCUSDT", "algoType": "CONDITIONAL", "side": side, "type": kind} | params
        return self.engine.algos[self.call("algoOrder.place", **params)["algoId"]]

    @property
    def position(self) -> Position:
        """Of BTCUSDT."""
        return self.engine.wallet(self.account).position("BTCUSDT")

    @property
    def free(self) -> Decimal:
        """Balance that is not bound in positions."""
        return self.account.balance("USDT").free

    @property
    def wallet(self) -> Decimal:
        """Balance with what is bound in positions."""
        return self.engine.wallet_balance(self.account, "USDT")

    def income(self, kind: str) -> list[Decimal]:
        """Bookings of a kind."""
        return [one.amount for one in self.engine.wallet(self.account).incomes if one.kind == kind]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of a kind since the last look, in order."""
        return [event for _, event in self.engine.drain() if event["e"] == kind]


def rules(tick: str = "0.01", step: str = "0.001", least: str = "5") -> Instrument:
    """The contract of BTCUSDT."""
    made = contract("BTCUSDT", series_of([(100, 100, 100, 100)]), Futures.model_validate({"min_notional": least}))
    made.change("PRICE_FILTER", {"minPrice": tick, "tickSize": tick})
    made.change("LOT_SIZE", {"minQty": step, "stepSize": step})
    made.change("MARKET_LOT_SIZE", {"minQty": step, "stepSize": step})
    return made


def contracts(
    *bars: Bar,
    money: str = "10000",
    fees: tuple[str, str] = ("0", "0"),
    step_ms: int = MINUTE,
    rates: Mapping[int, float] | None = None,
    start_ms: int | None = None,
    journal: Journal | None = None,
    futures: Mapping[str, Any] | None = None,
    marks: Sequence[Bar] | None = None,
    **model: Any,
) -> Contracts:
    """An exchange that stands at the open of the second bar.

    rates: funding by time; fees: maker and taker; marks: bars of the mark price.
    """
    account = Account("key", "secret", 1, Decimal(fees[0]), Decimal(fees[1]))
    account.balances = {"USDT": Balance(Decimal(money))}
    given: dict[str, Rates] = {}
    if rates is not None:
        given["BTCUSDT"] = (np.array(list(rates), np.int64), np.array(list(rates.values()), np.float64))
    engine = FuturesEngine(
        {"BTCUSDT": rules()},
        {"BTCUSDT": series_of(bars, step_ms=step_ms)},
        [account],
        start_ms=START_MS + step_ms if start_ms is None else start_ms,
        model=MarketModel.model_validate(PLAIN | model),
        journal=journal,
        futures=Futures.model_validate({"leverage": 10} | dict(futures or {})),
        rates=given,
        mark_prices=None if marks is None else {"BTCUSDT": series_of(marks, step_ms=step_ms)},
    )
    return Contracts(engine, account)
