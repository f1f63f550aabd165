"""The order desk: what is sent, when, and what is believed of it. Pure and synchronous.

Each call is an event and returns effects to be carried out in order. Nothing is sent before it is written down, nothing
is sent twice, and a lost reply is a question: the order is asked for until it is found, or until it can no longer have
been accepted. All state is the books, which are the sum of the journal; so after a crash at any effect, `recover` on
the books of the journal goes on from there.
"""

from collections.abc import Iterable
from typing import Any

from pipeline.exchange.port import Report, Request
from pipeline.live.books import Books, Entry, fill_record, intent_record
from pipeline.live.effects import Alert, AskFills, AskOpen, Cancel, Effect, Find, Send, Write
from pipeline.trading.orders import Event, Fill, Intent, Order, State, is_live

# How long an order can be accepted after it was sent, and how much longer we wait before its absence is proof.
WINDOW_MS = 5000
MARGIN_MS = 10_000
# When an order is asked for after its reply was lost, ms; after that every ten seconds.
ASK_AFTER_MS = (500, 1000, 2000, 4000, 8000)
ASK_EVERY_MS = 10_000
_ENDS = {"CANCELED": Event.CANCEL, "EXPIRED": Event.EXPIRE, "EXPIRED_IN_MATCH": Event.EXPIRE, "REJECTED": Event.REJECT}


class Desk:
    """Orders of all symbols. books: of the journal, shared; changed by what is written."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self._effects: list[Effect] = []
        self._asked: dict[str, int] = {}

    # What the trader wants

    def order(self, intent: Intent, request: Request, now_ms: int, *, reduce_only: bool = False) -> list[Effect]:
        """Send an order for an intent; nothing if it has been tried, or the symbol is not clear and it is an entry.

        request: its client order id is the intent's.
        """
        if request.client_order_id in self.books.entries:
            return self._done()
        if not reduce_only and not self.is_clear(request.symbol):
            self._effects.append(Alert("not_clear", f"{request.symbol}: no entry while an order is unresolved"))
            return self._done()
        order = Order(intent, request.side, request.qty, request.kind, request.price, reduce_only)
        self._write("INTENT", intent_record(order, request))
        self._send(request, now_ms)
        return self._done()

    def cancel(self, client_order_id: str) -> list[Effect]:
        """Cancel an order, if it may be live and no cancel is on its way."""
        entry = self.books.entries.get(client_order_id)
        if entry is not None and is_live(entry.order.state) and not entry.cancelled:
            self._write("CANCEL", {"id": client_order_id})
            self._effects.append(Cancel(entry.order.symbol, client_order_id))
        return self._done()

    def is_clear(self, symbol: str) -> bool:
        """Whether entries are allowed: nothing unresolved, and the symbol is not halted."""
        return symbol not in self.books.halted and not self.books.unresolved(symbol)

    # What became of it

    def replied(self, report: Report, now_ms: int) -> list[Effect]:
        """A reply, an event of the user stream, or an order that was found: they all say the same thing."""
        entry = self.books.entries.get(report.client_order_id)
        if entry is None:
            self._halt(report.symbol, f"order {report.client_order_id} is not ours")
            return self._done()
        if report.status not in ("REJECTED", "PENDING_NEW"):
            self._outcome(entry, Event.ACKNOWLEDGE)
        for fill in report.fills:
            self._fill(entry, fill)
        if report.executed > self.books.entries[report.client_order_id].order.filled:
            # It tells of more than its fills do: the word alone is not booked.
            self._ask_fills(report.symbol)
        self._end(entry, report)
        return self._done()

    def refused(self, client_order_id: str, code: int, message: str) -> list[Effect]:
        """The exchange said no to an order."""
        entry = self.books.entries[client_order_id]
        if "Duplicate" in message:
            # It is there already: what we sent before was accepted after all.
            self._effects.append(Find(entry.order.symbol, client_order_id, 0))
        elif entry.order.state == State.SENT:
            self._outcome(entry, Event.REJECT, code=code, message=message)
            self._effects.append(Alert("refused", f"{entry.order.symbol} {entry.order.leg}: {code} {message}"))
        return self._done()

    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        """The reply to an order, or to its cancel, did not come."""
        entry = self.books.entries[client_order_id]
        if entry.order.state == State.SENT:
            self._outcome(entry, Event.LOSE_REPLY)
        self._ask(entry, now_ms)
        return self._done()

    def unsent(self, client_order_id: str) -> list[Effect]:
        """The order has surely not been executed, and is not worth another try: its bar has passed."""
        entry = self.books.entries[client_order_id]
        if entry.order.state == State.SENT:
            self._outcome(entry, Event.REJECT, code=0, message="not executed")
        return self._done()

    def cancel_refused(self, client_order_id: str, now_ms: int) -> list[Effect]:
        """There was nothing to cancel, or the cancel had been executed already: ask what is true."""
        self._ask(self.books.entries[client_order_id], now_ms)
        return self._done()

    def found(self, client_order_id: str, report: Report | None, asked_ms: int, now_ms: int) -> list[Effect]:
        """An answer to `Find`. asked_ms: when the exchange was asked, at the latest."""
        if report is not None:
            self._asked.pop(client_order_id, None)
            return self.replied(report, now_ms)
        entry = self.books.entries[client_order_id]
        if entry.order.state not in (State.SENT, State.UNKNOWN):
            return self._done()
        if self._is_proof(entry, asked_ms):
            self._outcome(entry, Event.PROVE_ABSENT)
            self._asked.pop(client_order_id, None)
        else:
            self._ask(entry, now_ms)
        return self._done()

    def fills(self, symbol: str, told: Iterable[tuple[str, Fill]]) -> list[Effect]:
        """Our fills as the exchange lists them, with the client ids of their orders."""
        for client_order_id, fill in told:
            entry = self.books.entries.get(client_order_id)
            if entry is None:
                self._halt(symbol, f"trade {fill.trade_id} belongs to order {client_order_id}, which is not ours")
            else:
                self._fill(entry, fill)
        return self._done()

    def open_orders(self, symbol: str, told: Iterable[Report], now_ms: int) -> list[Effect]:
        """All live orders of a symbol at the exchange: ours that are missing are asked for, others halt it."""
        there = {report.client_order_id: report for report in told}
        for client_order_id, report in there.items():
            if client_order_id in self.books.entries:
                self._effects += self.replied(report, now_ms)
            else:
                self._halt(symbol, f"order {client_order_id} is not ours")
        for entry in self.books.of(symbol):
            if is_live(entry.order.state) and entry.order.client_order_id not in there:
                self._ask(entry, now_ms)
        return self._done()

    # Recovery

    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        """What to do first after a start, and after a stream was lost: find out what is true."""
        for entry in list(self.books.entries.values()):
            state = entry.order.state
            if state == State.INTENT:
                # SENT is written before anything is sent, so this was not.
                self._outcome(entry, Event.ABANDON)
            elif state == State.SENT:
                self._outcome(entry, Event.LOSE_REPLY)
            if is_live(entry.order.state):
                self._ask(entry, now_ms)
        for symbol in dict.fromkeys([*symbols, *(e.order.symbol for e in self.books.live())]):
            self._effects.append(AskOpen(symbol))
            self._ask_fills(symbol)
        return self._done()

    def resume(self, symbol: str) -> list[Effect]:
        """The user has looked, and lets a halted symbol trade again."""
        if symbol in self.books.halted:
            self._write("RESUME", {"symbol": symbol})
        return self._done()

    # Inside

    def _done(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _write(self, kind: str, body: dict[str, Any]) -> None:
        """Book a record, and have it written: the books are always what the journal will say."""
        self.books.add(kind, body)
        self._effects.append(Write(kind, body))

    def _send(self, request: Request, now_ms: int) -> None:
        after = self.books.last_trade.get(request.symbol, -1)
        self._write("SENT", {"id": request.client_order_id, "time": now_ms, "window": WINDOW_MS, "after": after})
        self._effects.append(Send(request, WINDOW_MS))

    def _outcome(self, entry: Entry, event: Event, **more: Any) -> None:
        before = entry.order
        if event == Event.ACKNOWLEDGE and before.seen and before.state in (State.OPEN, State.PARTIALLY_FILLED):
            return
        if event == Event.ACKNOWLEDGE and before.state not in (State.SENT, State.UNKNOWN):
            return
        self._write("OUTCOME", {"id": before.client_order_id, "event": event.value, **more})

    def _fill(self, entry: Entry, fill: Fill) -> None:
        known = [one.trade_id for one in entry.order.fills]
        if fill.trade_id not in known:
            self._write("FILL", fill_record(entry.order.client_order_id, fill))

    def _end(self, entry: Entry, report: Report) -> None:
        """The order has ended, says the exchange. Its fills may come later: they are asked for above."""
        event = _ENDS.get(report.status)
        order = entry.order
        if event is None or not is_live(order.state):
            return
        if event == Event.REJECT and order.seen:
            event = Event.EXPIRE
        self._outcome(entry, event, executed=str(report.executed))

    def _ask(self, entry: Entry, now_ms: int) -> None:
        """Ask for an order, later each time."""
        key = entry.order.client_order_id
        count = self._asked.get(key, 0)
        self._asked[key] = count + 1
        wait = ASK_AFTER_MS[count] if count < len(ASK_AFTER_MS) else ASK_EVERY_MS
        self._effects.append(Find(entry.order.symbol, key, now_ms + wait))

    def _ask_fills(self, symbol: str) -> None:
        self._effects.append(AskFills(symbol, self._trade_seen(symbol)))

    def _trade_seen(self, symbol: str) -> int:
        """Trades up to this one are in the books for certain: none of an order that may miss some is older."""
        open_ = [entry.after for entry in self.books.of(symbol) if not entry.is_settled]
        return min([*open_, self.books.last_trade.get(symbol, -1)])

    @staticmethod
    def _is_proof(entry: Entry, asked_ms: int) -> bool:
        """Whether "not found" proves that the order will never be there."""
        return asked_ms > entry.sent_ms + entry.window_ms + MARGIN_MS

    def _halt(self, symbol: str, reason: str) -> None:
        if symbol not in self.books.halted:
            self._write("HALT", {"symbol": symbol, "reason": reason})
            self._effects.append(Alert("halted", f"{symbol}: {reason}"))
