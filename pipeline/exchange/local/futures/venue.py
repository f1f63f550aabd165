"""The futures market behind its shells: the same clocks, limits and faults as spot's, other operations."""

import contextlib
from collections.abc import Callable
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.local import exchange_filters
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.faults import Fault
from pipeline.exchange.local.futures import market_data
from pipeline.exchange.local.futures.engine import FuturesEngine
from pipeline.exchange.local.futures.operations import OPERATIONS, call
from pipeline.exchange.local.limits import Limits, RateLimits
from pipeline.exchange.local.requests import Params
from pipeline.exchange.local.restoring import restore
from pipeline.exchange.local.scenario import Scenario
from pipeline.exchange.local.venue import Venue

# What the limits are if a scenario says nothing; spot's are others.
_LIMITS = {"weight_per_minute": 2400, "orders_per_10s": 300}
_DEPTH = ((50, 2), (100, 5), (500, 10))
_DEEPEST = 20


class FuturesVenue(Venue):
    """One running futures exchange; see `Venue`."""

    def __init__(self, build: Callable[[], FuturesEngine], scenario: Scenario, seed: int = 0) -> None:
        super().__init__(build, scenario, seed)
        own = {name: value for name, value in _LIMITS.items() if name not in scenario.limits.model_fields_set}
        self.limits = RateLimits(Limits.model_validate(scenario.limits.model_dump() | own))

    @property
    def market(self) -> FuturesEngine:
        """The engine."""
        assert isinstance(self.engine, FuturesEngine)
        return self.engine

    def _check(self, fault: Fault) -> None:
        super()._check(fault)
        if fault.kind == "filter_change" and fault.arg("filter") in exchange_filters.TYPES:
            raise BadInput(f"filter_change: {fault.arg('filter')} is a filter of the spot market")

    def _do(self, fault: Fault) -> None:
        if fault.kind != "foreign_order":
            super()._do(fault)
            return
        account = next(iter(self.engine.accounts.values()))
        params = {name: str(value) for name, value in fault.arg("params").items()}
        with contextlib.suppress(ApiError):  # The other client's problem; the journal has it.
            call(self.market, account, "order.place", params)
        self.deliver()

    def restart(self) -> None:
        """As after a crash; see `Venue.restart`."""
        text, moments = self.engine.journal.text(), self.engine.timeline.moments
        self.engine.journal.close()
        engine = self._build()
        restore(engine, text, moments, call)
        self.engine = engine

    def ask(self, name: str, raw: dict[str, str]) -> Any:
        """A public question. Raises ApiError."""
        p = Params(raw)
        if name == "exchangeInfo":
            shown = [one for one in self.limits.rules() if one["interval"] != "DAY"]
            limits = [one for one in shown if one["rateLimitType"] != "RAW_REQUESTS"]
            return market_data.exchange_info(self.market, p, limits, self.clock.now())
        reply = market_data.PUBLIC[name][0](self.market, p)
        if name == "klines" and (self.missing or self.revised) and raw["interval"] == self.engine.interval:
            return self._mended(raw["symbol"], reply)
        return reply

    def run(self, account: Account, name: str, raw: dict[str, str]) -> Any:
        """An account's operation, within its order limits. Raises ApiError."""
        now, operation = self.clock.now(), OPERATIONS[name]
        if operation.orders:
            self.limits.check_orders(account.key, operation.orders, now)
        result = call(self.market, account, name, raw)
        if operation.orders:
            self.limits.add_orders(account.key, operation.orders, now)
        return result

    def charge(self, address: str, name: str, raw: dict[str, str]) -> None:
        """Use the weight of a request. Raises RateLimited."""
        self.limits.charge(address, weight_of(name, raw), self.clock.now())

    def refund(self, address: str, name: str, raw: dict[str, str]) -> None:
        """Nothing: placing an order weighs nothing here, whether it succeeds or not."""


def weight_of(name: str, raw: dict[str, str]) -> int:
    """Weight of a request with its parameters, which need not be valid."""
    if name in OPERATIONS:
        return OPERATIONS[name].cost(raw)
    if name.lower().endswith("klines"):
        return market_data.kline_weight(raw)
    limit = raw.get("limit", "")
    if name == "depth" and limit.isascii() and limit.isdigit() and len(limit) < 20:
        return next((weight for most, weight in _DEPTH if int(limit) <= most), _DEEPEST)
    if name == "ticker.24hr" and "symbol" not in raw:
        return 40
    many = 2 if name.startswith("ticker.") and "symbol" not in raw else 1
    return many * (market_data.PUBLIC[name][1] if name in market_data.PUBLIC else 1)
