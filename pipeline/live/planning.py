"""The part of the order desk that works plans into the market: one live child at a time, through crashes."""

from abc import abstractmethod
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pipeline.exchange.port import Request
from pipeline.live.books import Entry
from pipeline.live.clerk import Clerk
from pipeline.live.effects import Alert, Effect
from pipeline.live.records import Protection, Work, intent_record, work_record
from pipeline.trading.execution import Done, Event, Place, Plan, Tick, Volume, next_action, to_record
from pipeline.trading.filters import SymbolFilters
from pipeline.trading.orders import Intent, Order


class Planner(Clerk):
    """Works plans. What it needs of the desk is abstract here."""

    @abstractmethod
    def is_clear(self, symbol: str) -> bool:
        """Whether entries are allowed."""

    @abstractmethod
    def _rules(self, symbol: str) -> SymbolFilters:
        """Filters of a symbol."""

    @abstractmethod
    def _send(self, request: Request, now_ms: int) -> None:
        """Write down that an order is sent, and send it."""

    @abstractmethod
    def _cancel_entry(self, entry: Entry, **plan: Any) -> None:
        """Cancel an order with its list, unless that was asked for already."""

    @abstractmethod
    def _exit_qty(self, side: str, symbol: str, most: Decimal, kind: str) -> Decimal:
        """How much of what is wanted can be sold, in whole lots."""

    @abstractmethod
    def _drop_entries(self, symbol: str) -> None:
        """A position is left: nothing may add to it any more."""

    @abstractmethod
    def _drop_what_adds(self, symbol: str) -> None:
        """End what would add to a position that is being left."""

    @abstractmethod
    def _protect(self, symbol: str, wanted: Protection) -> Protection:
        """Note what is to protect a symbol."""

    def work(
        self,
        plan: Plan,
        intent: Intent,
        now_ms: int,
        *,
        reduce_only: bool = False,
        protection: Protection | None = None,
        expires_ms: int = 0,
    ) -> list[Effect]:
        """Work a plan into the market, by `tick` and `volume`, until it is done or cancelled by the id of its intent.

        Its orders are attempts of the intent's leg, one at a time; else as `order`. The plan is in the books, so that
        it goes on after a crash; expires_ms: after this an entry is given up, wherever it stands, 0 for never.
        """
        work, symbol = Work(intent, plan, reduce_only, expires_ms), intent.symbol
        if work.id in self.books.works or self._child_id(work, 0) in self.books.entries:
            return self._done()
        if not reduce_only and not self.is_clear(symbol):
            self._effects.append(Alert("not_clear", f"{symbol}: no entry while an order is unresolved"))
            return self._done()
        if reduce_only:
            self._drop_entries(symbol)
        elif protection is not None:
            self._protect(symbol, protection)
        self._write("WORK", work_record(work))
        return self._done(symbol, now_ms)

    def tick(self, symbol: str, bid: Decimal, ask: Decimal, now_ms: int) -> list[Effect]:
        """The best prices of a symbol: plans act on them. Call it often while `books.works_of(symbol)` is not empty."""
        for work in self.books.works_of(symbol):
            self._advance(work, Tick(now_ms, bid, ask), now_ms)
        return self._done(symbol, now_ms)

    def volume(self, symbol: str, qty: Decimal, now_ms: int) -> list[Effect]:
        """Base asset that others traded since the last such call: plans that follow the volume act on it."""
        for work in self.books.works_of(symbol):
            self._advance(work, Volume(qty), now_ms)
        return self._done(symbol, now_ms)

    # Inside

    def _child_id(self, work: Work, number: int) -> str:
        return self._child_intent(work, number).client_order_id

    @staticmethod
    def _child_intent(work: Work, number: int) -> Intent:
        # Attempts of the trader's own have smaller numbers.
        return replace(work.intent, attempt=1000 * (work.intent.attempt + 1) + number)

    def _advance(self, work: Work, event: Event, now_ms: int) -> None:
        """Tell a plan what happened, and do what it says; it stays where it was if that cannot be done now."""
        symbol = work.intent.symbol
        if 0 < work.expires_ms < now_ms and not work.reduce_only:
            self._stop_work(work)
        self._drop_what_adds(symbol)
        if work.id not in self.books.works or (not work.live and not self._may_place(work)):
            return
        plan, action = next_action(work.plan, event)
        if isinstance(action, Place):
            self._place_child(work, plan, action, now_ms)
        elif isinstance(action, Done):
            self._write("WORKED", {"id": work.id, "left": str(action.left)})
        elif action is not None and work.live:
            self._cancel_entry(self.books.entries[work.live], plan=to_record(plan))
        elif not work.reduce_only and symbol in self.books.halted:
            self._stop_work(work)

    def _may_place(self, work: Work) -> bool:
        symbol = work.intent.symbol
        if work.reduce_only:
            return not self.books.guards(symbol)
        if symbol in self.books.halted:
            self._stop_work(work)
            return False
        return self.is_clear(symbol)

    def _place_child(self, work: Work, plan: Plan, action: Place, now_ms: int) -> None:
        symbol, side, rules = work.intent.symbol, plan.side, self._rules(work.intent.symbol)
        kind = "MARKET" if action.price is None else "LIMIT_MAKER" if action.post_only else "LIMIT"
        qty = action.qty
        if work.reduce_only:
            qty = self._exit_qty(side, symbol, qty, kind)
        if qty == 0:
            self._write("WORKED", {"id": work.id, "left": str(plan.qty - plan.filled)})
            return
        price = None if action.price is None else rules.round_price(action.price, side)
        intent = self._child_intent(work, work.children)
        order = Order(intent, side, qty, kind, price, work.reduce_only)
        request = Request(symbol, side, kind, qty, order.client_order_id, price)
        body = intent_record(order, request, rules.base_asset, work=work.id)
        self._write("INTENT", body | {"plan": to_record(plan)})
        self._send(request, now_ms)

    def _stop_work(self, work: Work) -> None:
        """End a plan, and cancel its live order."""
        live = self.books.entries.get(work.live)
        self._write("WORKED", {"id": work.id, "left": str(work.plan.qty - work.plan.filled)})
        if live is not None:
            self._cancel_entry(live)

    def _end_orphans(self, symbol: str) -> None:
        """Cancel what is live of plans that are over: a crash may have come between a plan's end and that cancel."""
        for entry in self.books.open(symbol):
            if entry.work and entry.work not in self.books.works:
                self._cancel_entry(entry)
