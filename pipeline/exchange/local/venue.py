"""The exchange that the shells share: engine, clocks, limits and faults, and who is told when the market moves."""

import contextlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput, PipelineError
from pipeline.exchange.local import exchange_filters, market_data
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.clocks import AuthClock
from pipeline.exchange.local.engine import Engine, MarketEvent
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.faults import KINDS, Fault, Faults, Point
from pipeline.exchange.local.history import Row
from pipeline.exchange.local.limits import RateLimits
from pipeline.exchange.local.operations import OPERATIONS, call
from pipeline.exchange.local.reports import Event
from pipeline.exchange.local.requests import Params
from pipeline.exchange.local.restoring import restore
from pipeline.exchange.local.scenario import Scenario, ScenarioError
from pipeline.exchange.local.weights import is_free, weight_of


class Venue:
    """One running exchange.

    build: makes the engine at its start, again after a restart. on_market: told of each moment's events; on_user: of
    each account event; on_action: of faults that are done to connections; on_told: that what was told is to go out now.
    """

    def __init__(self, build: Callable[[], Engine], scenario: Scenario, seed: int = 0) -> None:
        self._build = build
        self.engine = build()
        self.scenario = scenario
        self.clock = AuthClock()
        self.limits = RateLimits(scenario.limits)
        self.faults = Faults(list(scenario.faults), seed)
        self.on_market: Callable[[list[MarketEvent]], None] = lambda events: None
        self.on_user: Callable[[str, Event], None] = lambda key, event: None
        self.on_action: Callable[[Fault], None] = lambda fault: None
        self.on_told: Callable[[], object] = lambda: None
        self.bars = 0
        self.missing: set[tuple[str, int]] = set()
        self.revised: dict[tuple[str, int], float] = {}
        self._caps: dict[str, int] = {}
        for number, fault in enumerate(scenario.faults):
            try:
                self._check(fault)
            except BadInput as error:
                raise ScenarioError(f"faults.{number}: {error.message}", error.hint) from None

    # The market

    def advance(self) -> None:
        """One moment of the market, told to all."""
        events = self.engine.advance()
        if self.engine.timeline.phase == 1:
            self.bars += 1
            self._lift_caps()
            self.act()
        self.on_market(events)
        self.deliver()

    def step(self, bars: int = 1) -> None:
        """Go on to the open of the bar after the next `bars`."""
        for _ in range(bars):
            while not self.engine.done:
                self.advance()
                if self.engine.timeline.phase == 1:
                    break

    def deliver(self) -> None:
        """Hand out the events of accounts."""
        for key, event in self.engine.drain():
            if event["e"] == "executionReport" and event["X"] == "FILLED":
                self.limits.add_orders(key, -1, self.clock.now())
            faults = self.take("report", event["e"])
            self.on_user(key, event) if not faults else self._misreport(key, event, faults)

    def _misreport(self, key: str, event: Event, faults: list[Fault]) -> None:
        kinds = {fault.kind for fault in faults}
        if "report_lost" in kinds:
            return
        self.on_user(key, event | ({"_late": True} if "report_reordered" in kinds else {}))
        if "report_duplicated" in kinds:
            self.on_user(key, event)

    # Faults

    def take(self, point: Point, what: str) -> list[Fault]:
        """Faults that happen to something now."""
        return self.faults.take(point, what, self.bars, self.engine.now)

    def add_fault(self, fault: Fault) -> int:
        """Let a fault wait, or happen if it is due; returns its number. Raises BadInput: it cannot be done here."""
        self._check(fault)
        number = self.faults.add(fault)
        for one, reason in self.act():
            if one is fault:
                raise BadInput(reason)
        return number

    def _check(self, fault: Fault) -> None:
        """Whether what a fault names is there. Raises BadInput."""
        if "symbol" in KINDS[fault.kind].args and self._symbol(fault) not in self.engine.instruments:
            known = ", ".join(self.engine.instruments)
            raise BadInput(f"{fault.kind}: {fault.arg('symbol')} is not traded here", f"there is {known}")
        if fault.kind == "filter_change":
            entry = self.engine.instruments[self._symbol(fault)].entry
            types = [*(one["filterType"] for one in entry["filters"]), *exchange_filters.TYPES]
            if fault.arg("filter") not in types:
                words = f"filter_change: there is no filter '{fault.arg('filter')}'"
                raise BadInput(words, f"there is {', '.join(types)}")

    def act(self) -> list[tuple[Fault, str]]:
        """Let faults happen that are due to the exchange itself; returns those that could not be done, and why."""
        failed = []
        for fault in self.take("action", "exchange"):
            try:
                self._do(fault)
            except PipelineError as error:
                self.faults.failed(fault, error.message)
                failed.append((fault, error.message))
        return failed

    def _do(self, fault: Fault) -> None:
        kind = fault.kind
        if kind == "clock":
            self.clock.set(int(fault.arg("skew_ms")), float(fault.arg("drift_ms_per_s")))
        elif kind == "filter_change":
            values = {name: str(value) for name, value in fault.arg("values").items()}
            self.engine.control("filter", symbol=self._symbol(fault), filter=fault.arg("filter"), **values)
        elif kind == "symbol_status":
            self.engine.control("status", symbol=self._symbol(fault), status=fault.arg("status"))
        elif kind == "partial_fill":
            for symbol in self.engine.instruments:
                self.engine.control("cap", symbol=symbol, share=str(fault.arg("share")))
                self._caps[symbol] = self.bars + int(fault.arg("bars"))
        elif kind == "foreign_deposit":
            account = next(iter(self.engine.accounts.values()))
            self.engine.deposit(account, fault.arg("asset"), Decimal(str(fault.arg("amount"))))
        elif kind == "foreign_order":
            account = next(iter(self.engine.accounts.values()))
            params = {name: str(value) for name, value in fault.arg("params").items()}
            with contextlib.suppress(ApiError):  # The other client's problem; the journal has it.
                call(self.engine, account, "order.place", params)
        elif kind == "restart":
            self.restart()
            self.on_action(fault)
        else:
            self.on_action(fault)
        self.deliver()

    def _symbol(self, fault: Fault) -> str:
        return str(fault.arg("symbol") or next(iter(self.engine.instruments)))

    def _lift_caps(self) -> None:
        for symbol in [symbol for symbol, until in self._caps.items() if self.bars >= until]:
            del self._caps[symbol]
            self.engine.control("cap", symbol=symbol, share="")

    def restart(self) -> None:
        """As after a crash: everything is built anew, and the journal is gone through again.

        Raises BadInput: the journal was changed, or tells of something else; the exchange is as it was.
        """
        text, moments = self.engine.journal.text(), self.engine.timeline.moments
        self.engine.journal.close()
        engine = self._build()
        restore(engine, text, moments)
        self.engine = engine

    # Requests

    def ask(self, name: str, raw: dict[str, str]) -> Any:
        """A public question. Raises ApiError."""
        p = Params(raw)
        if name == "exchangeInfo":
            return market_data.exchange_info(self.engine, p, self.limits.rules(), self.clock.now())
        reply = market_data.PUBLIC[name][0](self.engine, p)
        # A fault concerns one bar; klines of longer intervals that begin with it are left alone.
        if (
            name in ("klines", "uiKlines")
            and (self.missing or self.revised)
            and raw["interval"] == self.engine.interval
        ):
            return self._mended(raw["symbol"], reply)
        return reply

    def is_early(self) -> bool:
        """Whether a request's events go out before its reply."""
        order = self.scenario.reports
        if self.take("reply", "reply") or order == "before":
            return True
        return order == "random" and self.faults.draw(1.0) < 0.5

    def fill_before_cancel(self, raw: dict[str, str]) -> None:
        """Fill the order that a request is about to cancel."""
        wanted = {raw.get("orderId"), raw.get("cancelOrderId")} - {None}
        named = {raw.get("origClientOrderId"), raw.get("cancelOrigClientOrderId")} - {None}
        of = {number for number, one in self.engine.lists.items() if one.client_id == raw.get("listClientOrderId")}
        for order in list(self.engine.orders.values()):
            if order.is_live and (str(order.id) in wanted or order.client_id in named or order.list_id in of):
                self.engine.control("fill", order=str(order.id), share="1")

    def _mended(self, symbol: str, rows: list[Any]) -> list[Any]:
        """Klines with what faults took away or changed."""
        shown = [row for row in rows if (symbol, row[0]) not in self.missing]
        for row in shown:
            factor = self.revised.get((symbol, row[0]))
            if factor is not None:
                close = float(row[4]) * factor
                row[2], row[3] = f"{max(float(row[2]), close):.8f}", f"{min(float(row[3]), close):.8f}"
                row[4] = f"{close:.8f}"
        return shown

    def charge(self, address: str, name: str, raw: dict[str, str]) -> None:
        """Use the weight of a request. Raises RateLimited."""
        self.limits.charge(address, weight_of(name, raw), self.clock.now())

    def refund(self, address: str, name: str, raw: dict[str, str]) -> None:
        """Give back the weight of a success that costs nothing."""
        if is_free(name):
            self.limits.refund(address, weight_of(name, raw), self.clock.now())

    def run(self, account: Account, name: str, raw: dict[str, str]) -> Any:
        """An account's operation, within its order limits. Raises ApiError."""
        now = self.clock.now()
        if name == "account.rateLimits.orders":
            Params(raw).done()
            return self.limits.order_rules(account.key, now)
        operation = OPERATIONS[name]
        if operation.orders:
            self.limits.check_orders(account.key, operation.orders, now)
        result = call(self.engine, account, name, raw)
        if operation.orders:
            self.limits.add_orders(account.key, operation.orders, now)
        return result

    def forming_row(self, symbol: str, interval: str) -> Row | None:
        """The kline of an interval that is going on or was closed last."""
        found = market_data.rows(self.engine.pits[symbol], interval, None, None, 1)
        return found[-1] if found else None
