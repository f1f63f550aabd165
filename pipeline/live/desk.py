"""The order desk: what is sent, when, and what is believed of it. Pure and synchronous.

Each call is an event and returns effects to be carried out in order. Nothing is sent before it is written down, nothing
is sent twice, and a lost reply is a question: the order is asked for until it is found, or until it can no longer have
been accepted. All state is the books, which are the sum of the journal; so after a crash at any effect, `recover` on
the books of the journal goes on from there.

What a position is to be protected by is such state too (`protect`): each event compares it with what rests on the
exchange, and puts right what differs, one step at a time.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from pipeline.exchange.port import ListRequest, Request
from pipeline.live import protecting
from pipeline.live.books import GUARDS, ZERO, Books, Entry
from pipeline.live.clerk import WINDOW_MS
from pipeline.live.effects import Alert, Effect, Send, SendList, TestOrder
from pipeline.live.jumped import JumpedStops
from pipeline.live.planning import Planner
from pipeline.live.protecting import Cover
from pipeline.live.records import Protection, intent_record, protect_record
from pipeline.trading.filters import SymbolFilters, floor_to
from pipeline.trading.orders import Fill, Intent, Order, State, is_live

# How long a leg that is being filled, or an entry with pending protection, may take before the rest is protected anew.
PARTLY_MS = 2000
# After a stop was refused or could not be sent, it is tried again; twice as late each time.
RETRY_MS, LONGEST_RETRY_MS = 500, 30_000
_NO_RULES = SymbolFilters("")
# What the exchange says of a stop that the price has reached.
_PASSED = "trigger immediately"


@dataclass(frozen=True)
class Settings:
    """order_timeout_ms: until an order for an entry or exit that is not filled is cancelled, 0 for never; orders of
    plans and stops are not concerned. tests_entries: let the exchange check each entry before it is sent."""

    order_timeout_ms: int = 0
    tests_entries: bool = False


class Desk(Planner):
    """Orders of all symbols. books: of the journal, shared; changed by what is written.

    rules: filters by symbol, shared, and changed by `learn`; without them quantities are not rounded.
    """

    def __init__(
        self,
        books: Books,
        rules: dict[str, SymbolFilters] | None = None,
        settings: Settings | None = None,
        *,
        ignores_others: bool = False,
    ) -> None:
        super().__init__(books, rules, ignores_others=ignores_others)
        self.settings = settings or Settings()
        self._partly_since: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, int] = {}
        self._jumped = JumpedStops()

    # Single orders

    def order(
        self,
        intent: Intent,
        request: Request,
        now_ms: int,
        *,
        reduce_only: bool = False,
        protection: Protection | None = None,
    ) -> list[Effect]:
        """Send an order for an intent; nothing if it has been tried, or the symbol is not clear and it is an entry.

        request: its client order id is the intent's. protection: wanted as soon as anything is filled; it is written
        down with the entry, so that a crash between the two leaves no position without one.
        reduce_only: it leaves a position. Entries of the symbol are cancelled, then what protects it; when the outcome
        of that is known, what is truly held is sold (bought, for a short), `request.qty` at most.
        """
        symbol = request.symbol
        if self.books.is_ours(request.client_order_id):
            return self._done()
        if reduce_only:
            self._leave(intent, request, now_ms)
            return self._done(symbol, now_ms)
        if not self.is_clear(symbol):
            self._effects.append(Alert("not_clear", f"{symbol}: no entry while an order is unresolved"))
            return self._done()
        if protection is not None:
            self._protect(symbol, protection)
        order = Order(intent, request.side, request.qty, request.kind, request.price)
        self._write("INTENT", intent_record(order, request, self._rules(symbol).base_asset))
        if self.settings.tests_entries:
            self._effects.append(TestOrder(request))
        else:
            self._send(request, now_ms)
        return self._done()

    def order_protected(
        self, intent: Intent, request: Request, protection: Protection, now_ms: int
    ) -> list[Effect]:  # fmt: skip
        """Send a limit entry that brings its protection with it (OTOCO, or OTO without a target); else as `order`.

        The exchange itself places stop and target when the entry is filled whole, for what its fee leaves of it; what
        is filled in part is protected when the entry has ended, or after two seconds.
        """
        symbol, rules = request.symbol, self._rules(request.symbol)
        if self.books.is_ours(request.client_order_id):
            return self._done()
        if not self.is_clear(symbol):
            self._effects.append(Alert("not_clear", f"{symbol}: no entry while an order is unresolved"))
            return self._done()
        wanted = self._protect(symbol, protection)
        qty = rules.floor_qty(request.qty * (1 - protecting.FEE_ROOM), market=wanted.stop_limit is None)
        entry = Order(intent, request.side, request.qty, request.kind, request.price)
        self._send_guard(protecting.with_entry(entry, request, wanted, qty, self.books), now_ms)
        return self._done()

    def tested(self, client_order_id: str, now_ms: int) -> list[Effect]:
        """The exchange would take the order of a `TestOrder`: it is sent."""
        entry = self.books.entries.get(client_order_id)
        if entry is not None and entry.order.state == State.INTENT:
            self._send(entry.request, now_ms)
        return self._done()

    def untested(self, client_order_id: str, now_ms: int) -> list[Effect]:
        """The exchange did not answer a `TestOrder`: the entry is dropped."""
        return self.refused(client_order_id, 0, "the test of the order was not answered", now_ms)

    def cancel(self, client_order_id: str, now_ms: int | None = None) -> list[Effect]:
        """Cancel an order, if it may be live and no cancel was sent; the list it is part of; or a plan, by its id."""
        work = self.books.works.get(client_order_id)
        if work is not None:
            self._stop_work(work)
            return self._done(work.intent.symbol, now_ms)
        entry = self.books.entries.get(client_order_id)
        if entry is not None:
            self._cancel_entry(entry)
        return self._done(None if entry is None else entry.order.symbol, now_ms)

    # Protection

    def protect(self, symbol: str, wanted: Protection, now_ms: int) -> list[Effect]:
        """Keep a stop, and a target if one is wanted, on the exchange for whatever is held of a symbol from now on.

        They are for all that is held, in whole lots, and follow it: more is bought, a leg is filled in part, one is
        refused, or was lost. Prices that differ from those before replace them: cancelled first, placed when the
        outcome is known; if a leg was filled meanwhile, that is the exit, and nothing is placed. It ends with the
        position. Call it with or after the entry's order, not before: without an order or a position it ends at once.
        """
        self._protect(symbol, wanted)
        return self._done(symbol, now_ms)

    def move_stop(
        self, symbol: str, stop: Decimal, now_ms: int, stop_limit: Decimal | None = None
    ) -> list[Effect]:  # fmt: skip
        """Move a stop closer to the market; nothing if it would be looser, or nothing is protected.

        stop_limit: of a stop with a limit; it keeps its distance from the stop if absent.
        """
        wanted = self.books.protections.get(symbol)
        if wanted is None:
            return self._done(symbol, now_ms)
        if not protecting.loosens(wanted, self._rounded(symbol, replace(wanted, stop=stop)).stop):
            if wanted.stop_limit is not None and stop_limit is None:
                stop_limit = wanted.stop_limit + stop - wanted.stop
            self._protect(symbol, replace(wanted, stop=stop, stop_limit=stop_limit))
        return self._done(symbol, now_ms)

    def unprotect(self, symbol: str, now_ms: int) -> list[Effect]:
        """Take away what protects a symbol: somebody wants to hold it without."""
        if symbol in self.books.protections:
            self._write("UNPROTECT", {"symbol": symbol})
        return self._done(symbol, now_ms)

    def learn(self, symbol: str, rules: SymbolFilters, now_ms: int) -> list[Effect]:
        """The exchange has other rules of a symbol now; what protects it is rounded anew."""
        self.rules[symbol] = rules
        if symbol in self.books.protections:
            self._protect(symbol, self.books.protections[symbol])
        return self._done(symbol, now_ms)

    def is_clear(self, symbol: str) -> bool:
        """Whether entries are allowed: nothing is unresolved, halted, being left, or held without its protection."""
        books = self.books
        return not (
            symbol in books.halted or books.unresolved(symbol) or symbol in books.leaving or self.is_exposed(symbol)
        )

    def is_exposed(self, symbol: str) -> bool:
        """Whether a position has not, or not yet, the protection on the exchange that it is to have."""
        wanted = self.books.protections.get(symbol)
        if wanted is None or any(one.order.leg == "exit" for one in self.books.open(symbol)):
            return False
        qty = self._coverable(symbol, wanted)
        return qty > 0 and self._cover(symbol, wanted, qty) != Cover.RIGHT

    def dust(self, symbol: str) -> Decimal:
        """What is held and cannot be sold, since it is less than a lot."""
        held = abs(self.books.held(symbol))
        return held - floor_to(held, self._rules(symbol).lots.step)

    def timer(self, now_ms: int) -> list[Effect]:
        """Time passes: call it about once a second. Orders that were open too long are cancelled; what had to wait, or
        came with a call that knows no time, is done."""
        for entry in self.books.live():
            is_late = now_ms - entry.sent_ms >= self.settings.order_timeout_ms > 0
            if is_late and entry.order.leg not in GUARDS and not entry.work and entry.sent_ms:
                self._cancel_entry(entry)
        for symbol in self.books.symbols():
            self._act(symbol, now_ms)
            self._look(symbol, now_ms)
        return self._done()

    def priced(self, symbol: str, bid: Decimal, ask: Decimal) -> None:
        """The best prices of a symbol, or the close of a bar as both: a stop may have been jumped over."""
        self._jumped.priced(symbol, bid, ask)

    # Inside: single orders

    def _rules(self, symbol: str) -> SymbolFilters:
        return self.rules.get(symbol, _NO_RULES)

    def _send(self, request: Request, now_ms: int) -> None:
        self._write_sent(request.client_order_id, request.symbol, now_ms)
        self._effects.append(Send(request, WINDOW_MS, now_ms))

    def _write_sent(self, name: str, symbol: str, now_ms: int) -> None:
        after = self.books.last_trade.get(symbol, -1)
        self._write("SENT", {"id": name, "time": now_ms, "window": WINDOW_MS, "after": after})

    def _cancel_entry(self, entry: Entry, **plan: Any) -> None:
        """Cancel an order with its list, unless that was asked for already."""
        if is_live(entry.order.state) and not entry.cancelled:
            self._write("CANCEL", {"id": entry.list_id or entry.order.client_order_id, **plan})
            self._request_cancel(entry)

    def _drop_entries(self, symbol: str) -> None:
        """A position is left: nothing may add to it any more."""
        for work in self.books.works_of(symbol):
            if not work.reduce_only:
                self._stop_work(work)
        for entry in self.books.open(symbol):
            if not entry.order.reduce_only:
                self._cancel_entry(entry)

    def _leave(self, intent: Intent, request: Request, now_ms: int) -> None:
        """Note that a position is to be left; `_act` does it as soon as it may."""
        if request.symbol not in self.books.leaving:
            self._drop_entries(request.symbol)
            order = Order(intent, request.side, request.qty, request.kind, request.price, reduce_only=True)
            self._write("LEAVE", intent_record(order, request, self._rules(request.symbol).base_asset))

    # Inside: protection

    def _protect(self, symbol: str, wanted: Protection) -> Protection:
        wanted = self._rounded(symbol, wanted)
        if self.books.protections.get(symbol) != wanted:
            self._write("PROTECT", protect_record(symbol, wanted))
            self._not_before.pop(symbol, None)
        return wanted

    def _rounded(self, symbol: str, wanted: Protection) -> Protection:
        return protecting.rounded(wanted, self._rules(symbol))

    def _act(self, symbol: str, now_ms: int) -> None:
        """The next step towards what is wanted of a symbol, if there is one that can be taken now."""
        books = self.books
        self._end_orphans(symbol)
        self._drop_what_adds(symbol)
        wanted = books.protections.get(symbol)
        if symbol in books.leaving or any(work.reduce_only for work in books.works_of(symbol)):
            if books.guards(symbol):
                self._cancel_guards(symbol)
            elif symbol in books.leaving:
                self._send_exit(symbol, now_ms)
            return
        if wanted is None:
            self._cancel_guards(symbol)
            return
        if self._jumped.is_due(symbol, books.guards(symbol), now_ms):
            self._drop_entries(symbol)
            self._sell(symbol, wanted, abs(books.held(symbol)), "the price has jumped over the stop; sold at market")
            self._cancel_guards(symbol)
            return
        qty = self._coverable(symbol, wanted)
        now = self._cover(symbol, wanted, qty)
        if now != Cover.PARTLY:
            self._partly_since.pop(symbol, None)
        if now == Cover.RIGHT:
            self._failures.pop(symbol, None)
        if now == Cover.WRONG:
            self._cancel_guards(symbol)
        elif now == Cover.PARTLY:
            if now_ms - self._partly_since.setdefault(symbol, now_ms) >= PARTLY_MS:
                self._cancel_guards(symbol)
        elif now == Cover.NONE and now_ms >= self._not_before.get(symbol, 0):
            self._send_guard(protecting.guard(books, symbol, wanted, qty), now_ms)
        elif qty == 0 and not books.open(symbol) and not books.works_of(symbol):
            # The position is over, or never came to be.
            self._write("UNPROTECT", {"symbol": symbol})

    def _sell(self, symbol: str, wanted: Protection, qty: Decimal, why: str) -> None:
        """Note that a position whose stop is of no use is to be sold at market."""
        order, request = protecting.market_exit(self.books, symbol, wanted, qty)
        self._effects.append(Alert("unprotected", f"{symbol}: {why}"))
        self._write("LEAVE", intent_record(order, request, self._rules(symbol).base_asset))

    def _coverable(self, symbol: str, wanted: Protection) -> Decimal:
        return protecting.coverable(self.books, symbol, wanted, self._rules(symbol))

    def _cover(self, symbol: str, wanted: Protection, qty: Decimal) -> Cover:
        return protecting.cover(self.books, symbol, wanted, qty, self._rules(symbol).lots.step)

    def _cancel_guards(self, symbol: str) -> None:
        """Cancel what protects a symbol; what the exchange may not have yet is waited for."""
        for entry in self.books.guards(symbol):
            if entry.order.state in (State.OPEN, State.PARTIALLY_FILLED):
                self._cancel_entry(entry)

    def _send_guard(self, guard: protecting.Guard, now_ms: int) -> None:
        symbol = guard.orders[0][0].symbol
        for order, request in guard.orders:
            self._write("INTENT", intent_record(order, request, self._rules(symbol).base_asset, guard.list_id))
        name = guard.list_id or guard.orders[0][0].client_order_id
        self._write_sent(name, symbol, now_ms)
        self._jumped.rests(symbol)
        request_ = guard.request
        self._effects.append(
            SendList(request_, WINDOW_MS, now_ms)
            if isinstance(request_, ListRequest)
            else Send(request_, WINDOW_MS, now_ms)
        )

    def _send_exit(self, symbol: str, now_ms: int) -> None:
        """Nothing protects a position that is to be left: sell what is truly held."""
        order, request = self.books.leaving[symbol]
        qty = self._exit_qty(order.side, symbol, request.qty, request.kind)
        if qty == 0:
            self._write("STAY", {"symbol": symbol, "id": order.client_order_id})
            self._effects.append(Alert("nothing_to_sell", f"{symbol}: nothing is held that could be sold"))
            return
        order, request = replace(order, qty=qty), replace(request, qty=qty)
        self._write("INTENT", intent_record(order, request, self._rules(symbol).base_asset))
        self._send(request, now_ms)

    def _exit_qty(self, side: str, symbol: str, most: Decimal, kind: str) -> Decimal:
        """How much of what is wanted can be sold, in whole lots."""
        if (self.books.held(symbol) > 0) != (side == "SELL"):
            return ZERO
        rules, market = self._rules(symbol), kind == "MARKET"
        return rules.floor_qty(min(most, protecting.sellable(self.books, symbol, rules, market=market)), market=market)

    def _on_refusal(self, entries: list[Entry], message: str, now_ms: int | None) -> None:
        symbol = entries[0].order.symbol
        wanted = self.books.protections.get(symbol)
        if symbol in self.books.leaving:
            # That needs no stop any more.
            return
        if wanted is None or all(entry.order.leg not in GUARDS for entry in entries):
            return
        if now_ms is not None and _PASSED not in message:
            wait = min(RETRY_MS * 2 ** min(self._failures.get(symbol, 0), 10), LONGEST_RETRY_MS)
            self._not_before[symbol] = now_ms + wait
            self._failures[symbol] = self._failures.get(symbol, 0) + 1
        if _PASSED in message:
            qty = self._coverable(symbol, wanted)
            if qty > 0:
                self._sell(symbol, wanted, qty, "the price has passed the stop; sold at market")
        elif message and wanted.target is not None and len(entries) > 1:
            self._effects.append(Alert("unprotected", f"{symbol}: the pair was refused; the stop is placed alone"))
            self._protect(symbol, replace(wanted, target=None))
        else:
            self._effects.append(Alert("unprotected", f"{symbol}: no stop could be placed; it is tried again"))

    def _fill(self, entry: Entry, fill: Fill) -> None:
        super()._fill(entry, fill)
        if entry.order.leg in GUARDS:
            self._failures.pop(entry.order.symbol, None)
            self._drop_what_adds(entry.order.symbol)

    def _drop_what_adds(self, symbol: str) -> None:
        """What adds to a position that its stop or target has begun to leave is ended, after a crash too."""
        adding = [work.intent for work in self.books.works_of(symbol) if not work.reduce_only]
        adding += [one.order.intent for one in self.books.open(symbol) if not one.order.reduce_only]
        bars = {intent.bar for intent in adding}
        left = (one.order for one in self.books.of(symbol) if one.order.leg in GUARDS and one.order.fills)
        if bars and any(order.intent.bar in bars for order in left):
            self._drop_entries(symbol)
