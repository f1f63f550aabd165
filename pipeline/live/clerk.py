"""What the exchange tells of our orders, and what is made of it: outcomes and fills in the books, or another question.

The half of the order desk that takes answers; `pipeline.live.desk` has the other one, which wants something.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from pipeline.exchange.port import Report
from pipeline.live.books import GUARDS, ZERO, Books, Entry
from pipeline.live.effects import Alert, AskFills, AskOpen, Cancel, CancelList, Effect, Find, FindList, Write
from pipeline.live.records import fill_record
from pipeline.trading.filters import SymbolFilters
from pipeline.trading.orders import Event, Fill, State, is_live

# How long an order can be accepted after it was sent, and how much longer we wait before its absence is proof.
WINDOW_MS = 5000
MARGIN_MS = 10_000
# When an order is asked for after its reply was lost, ms; after that every ten seconds.
ASK_AFTER_MS = (500, 1000, 2000, 4000, 8000)
ASK_EVERY_MS = 10_000
# How long the account may have less than the books before the exchange is asked, and until it is asked again.
SHORT_MS, SHORT_AGAIN_MS = 2000, 8000
# How long an order that the exchange had may stay unfindable before it is taken for gone.
GONE_MS = 60_000
# How often open orders are asked for while one rests there for long: the word that it was filled or ended may be lost.
LOOK_MS = 60_000
_ENDS = {"CANCELED": Event.CANCEL, "EXPIRED": Event.EXPIRE, "EXPIRED_IN_MATCH": Event.EXPIRE, "REJECTED": Event.REJECT}
_LIVE_WORDS = ("NEW", "PARTIALLY_FILLED", "PENDING_NEW")


class Clerk:
    """Takes answers. books: of the journal, shared; changed by what is written. rules: of the symbols, shared, and
    changed by `learn`. ignores_others: leave orders that are not ours alone, instead of halting their symbol."""

    def __init__(
        self, books: Books, rules: dict[str, SymbolFilters] | None = None, *, ignores_others: bool = False
    ) -> None:
        self.books = books
        self.rules: dict[str, SymbolFilters] = {} if rules is None else rules
        self.ignores_others = ignores_others
        # Quote asset for one of an asset that fees are taken in, neither base nor quote, as of now.
        self.fee_prices: dict[str, Decimal] = {}
        self._effects: list[Effect] = []
        self._asked: dict[str, int] = {}
        # Orders and lists of which a cancel is on its way, so that none is sent beside it.
        self._cancelling: set[str] = set()
        self._short_since: dict[str, int] = {}
        # Since when an order that the exchange had is not found any more; when a symbol's open orders were last told.
        self._missed_since: dict[str, int] = {}
        self._looked_ms: dict[str, int] = {}
        # When a symbol was resumed, and the last trade of others until then: a person has seen what there was.
        self._resumed_ms: dict[str, int] = {}
        self._met: dict[str, int] = {}

    def resume(self, symbol: str, now_ms: int | None = None) -> list[Effect]:
        """The user has looked, and lets a halted symbol trade again."""
        if symbol in self.books.halted:
            self._write("RESUME", {"symbol": symbol, "trade": self._met.get(symbol, -1)})
            self._resumed_ms[symbol] = now_ms or 0
        return self._done(symbol, now_ms)

    def replied(self, report: Report, now_ms: int) -> list[Effect]:
        """A reply, an event of the user stream, or an order that was found: they all say the same thing."""
        entry = self.books.entries.get(report.client_order_id)
        if entry is None:
            # Nothing is left of one that ended unfilled: who cancelled it may have resumed the symbol before we heard.
            is_gone = report.status in _ENDS and not report.executed
            if not (is_gone or self.books.is_ours(report.client_order_id)):
                self._meet(report.symbol, f"order {report.client_order_id} is not ours")
            return self._done(report.symbol, now_ms)
        self._take(entry, report, now_ms)
        return self._done(report.symbol, now_ms)

    def replied_list(self, list_id: str, reports: Iterable[Report], now_ms: int) -> list[Effect]:
        """A reply to a list, or to its cancel: its orders."""
        self._cancelling.discard(list_id)
        for report in reports:
            if report.client_order_id in self.books.entries:
                self._take(self.books.entries[report.client_order_id], report, now_ms)
        return self._done(self._symbol(list_id), now_ms)

    def refused(self, client_order_id: str, code: int, message: str, now_ms: int | None = None) -> list[Effect]:
        """The exchange said no to an order, or a list by its id. now_ms: lets what follows be done at once."""
        entries = self._members(client_order_id)
        symbol = entries[0].order.symbol
        if "Duplicate" in message:
            # It is there already: what we sent before was accepted after all.
            self._effects.append(self._question(entries[0], 0))
            return self._done(symbol, now_ms)
        for entry in entries:
            if entry.order.state == State.SENT:
                self._outcome(entry, Event.REJECT, code=code, message=message)
            elif entry.order.state == State.INTENT:
                self._outcome(entry, Event.ABANDON, code=code, message=message)
        legs = "/".join(entry.order.leg for entry in entries)
        self._effects.append(Alert("refused", f"{symbol} {legs}: {code} {message}"))
        self._on_refusal(entries, message, now_ms)
        return self._done(symbol, now_ms)

    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        """The reply to an order or a list, or to its cancel, did not come."""
        self._cancelling.discard(client_order_id)
        for entry in self._members(client_order_id):
            if entry.order.state == State.SENT:
                self._outcome(entry, Event.LOSE_REPLY)
            self._ask(entry, now_ms)
        return self._done(self._symbol(client_order_id), now_ms)

    def unsent(self, client_order_id: str, now_ms: int | None = None) -> list[Effect]:
        """The order, or list, has surely not been executed, and is not worth another try: its bar has passed."""
        entries = self._members(client_order_id)
        for entry in entries:
            if entry.order.state == State.SENT:
                self._outcome(entry, Event.REJECT, code=0, message="not executed")
        self._on_refusal(entries, "", now_ms)
        return self._done(self._symbol(client_order_id), now_ms)

    def cancel_refused(self, client_order_id: str, now_ms: int) -> list[Effect]:
        """There was nothing to cancel, the cancel had been executed already, or it was not executed: ask what is true.

        client_order_id: of an order or a list.
        """
        self._cancelling.discard(client_order_id)
        for entry in self._members(client_order_id):
            if not entry.is_settled:
                self._ask(entry, now_ms)
        return self._done(self._symbol(client_order_id), now_ms)

    def found(self, client_order_id: str, report: Report | None, asked_ms: int, now_ms: int) -> list[Effect]:
        """An answer to `Find`. asked_ms: when the exchange was asked, at the latest."""
        entry = self.books.entries.get(client_order_id)
        if entry is not None:
            self._answer(entry, report, asked_ms, now_ms)
        return self._done(self._symbol(client_order_id), now_ms)

    def found_list(
        self, list_id: str, reports: Iterable[Report] | None, asked_ms: int, now_ms: int
    ) -> list[Effect]:  # fmt: skip
        """An answer to `FindList`: its orders as far as they are known, None if the list is not."""
        told = None if reports is None else {report.client_order_id: report for report in reports}
        for entry in self._members(list_id):
            if told is None:
                self._answer(entry, None, asked_ms, now_ms)
            elif entry.order.client_order_id in told:
                self._answer(entry, told[entry.order.client_order_id], asked_ms, now_ms)
            elif not entry.is_settled:
                # The list is there, so this order is: only it does not show yet.
                self._ask(entry, now_ms)
        return self._done(self._symbol(list_id), now_ms)

    def fills(self, symbol: str, told: Iterable[tuple[str, Fill]], now_ms: int | None = None) -> list[Effect]:
        """Our fills as the exchange lists them, with the client ids of their orders."""
        for client_order_id, fill in told:
            entry = self.books.entries.get(client_order_id)
            if entry is not None:
                self._fill(entry, fill)
            elif not self.books.is_ours(client_order_id) and fill.trade_id > self.books.looked_at.get(symbol, -1):
                self._met[symbol] = max(fill.trade_id, self._met.get(symbol, -1))
                self._meet(symbol, f"trade {fill.trade_id} belongs to order {client_order_id}, which is not ours")
        return self._done(symbol, now_ms)

    def open_orders(self, symbol: str, told: Iterable[Report], asked_ms: int, now_ms: int) -> list[Effect]:
        """All live orders of a symbol at the exchange: ours that are missing are asked for, others halt it.

        asked_ms: when the exchange was asked, at the latest. If the symbol was resumed since, others may be gone, and
        it is asked again.
        """
        there = {report.client_order_id: report for report in told}
        self._looked_ms[symbol] = now_ms
        is_old = asked_ms <= self._resumed_ms.get(symbol, -1)
        for client_order_id, report in there.items():
            if client_order_id in self.books.entries:
                self._take(self.books.entries[client_order_id], report, now_ms)
                self._cancel_again(self.books.entries[client_order_id], report)
            elif self.books.is_ours(client_order_id):
                continue
            elif is_old:
                self._effects.append(AskOpen(symbol))
            else:
                self._meet(symbol, f"order {client_order_id} is not ours")
        for entry in self.books.open(symbol):
            if is_live(entry.order.state) and entry.order.client_order_id not in there:
                self._ask(entry, now_ms)
        return self._done(symbol, now_ms)

    def holdings(self, symbol: str, qty: Decimal, now_ms: int) -> list[Effect]:
        """What the account has of a symbol's base asset, free and locked: less than we hold halts it."""
        if not self.books.open(symbol) and qty < self.books.held(symbol):
            self._halt(symbol, f"{self.books.held(symbol)} is held, and the account has {qty}")
        return self._done(symbol, now_ms)

    def missing(self, symbol: str, qty: Decimal, now_ms: int) -> list[Effect]:
        """The same now and then. With orders open they may have been filled, and the event was lost: after a while the
        exchange is asked."""
        if not self.books.open(symbol) or qty >= self.books.held(symbol):
            self._short_since.pop(symbol, None)
        elif now_ms - self._short_since.setdefault(symbol, now_ms) >= SHORT_MS:
            self._short_since[symbol] = now_ms + SHORT_AGAIN_MS
            self._effects.append(AskOpen(symbol))
            self._ask_fills(symbol)
        return self._flush()

    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        """What to do first after a start, and after a stream was lost: protect what is not, and find out what is true.

        After a start `_cancelling` is empty, so a cancel that was written down is sent again if its order is live.
        """
        for entry in self.books.all_open():
            state = entry.order.state
            if state == State.INTENT:
                # SENT is written before anything is sent, so this was not.
                self._outcome(entry, Event.ABANDON)
            elif state == State.SENT:
                self._outcome(entry, Event.LOSE_REPLY)
        every = list(dict.fromkeys([*symbols, *self.books.symbols()]))
        for symbol in every:
            self._act(symbol, now_ms)
        for entry in self.books.live():
            if entry.order.state != State.SENT:
                self._ask(entry, now_ms)
        for symbol in every:
            self._effects.append(AskOpen(symbol))
            self._ask_fills(symbol)
        return self._flush()

    # Inside

    def _act(self, symbol: str, now_ms: int) -> None:
        """Do what a symbol needs now."""

    def _on_refusal(self, entries: list[Entry], message: str, now_ms: int | None) -> None:
        """Orders that were sent as one have been refused, or were not executed."""

    def _done(self, symbol: str | None = None, now_ms: int | None = None) -> list[Effect]:
        """The effects of a call, with what its symbol needs now."""
        if symbol is not None and now_ms is not None:
            self._act(symbol, now_ms)
        return self._flush()

    def _flush(self) -> list[Effect]:
        # A question that was asked twice in one go is asked once.
        effects = [e for n, e in enumerate(self._effects) if not isinstance(e, FindList) or e not in self._effects[:n]]
        self._effects = []
        return effects

    def _write(self, kind: str, body: dict[str, Any]) -> None:
        """Book a record, and have it written: the books are always what the journal will say."""
        self.books.add(kind, body)
        self._effects.append(Write(kind, body))

    def _members(self, name: str) -> list[Entry]:
        """The order of a name, or the orders of a list."""
        return [self.books.entries[one] for one in self.books.lists.get(name, [name]) if one in self.books.entries]

    def _symbol(self, name: str) -> str | None:
        return next((entry.order.symbol for entry in self._members(name)), None)

    def _take(self, entry: Entry, report: Report, now_ms: int) -> None:
        """Book what a report says of an order."""
        self._missed_since.pop(entry.order.client_order_id, None)
        if report.status != "REJECTED":
            # The exchange's own number is what a person finds on its web page.
            known: dict[str, Any] = {"order_id": report.order_id} if report.order_id >= 0 else {}
            self._outcome(entry, Event.ACKNOWLEDGE, **known)
        for fill in report.fills:
            self._fill(entry, fill)
        if report.executed > entry.order.filled:
            # It tells of more than its fills do: the word alone is not booked.
            self._ask_fills(report.symbol)
        if report.status not in _LIVE_WORDS:
            self._cancelling.discard(entry.order.client_order_id)
        self._end(entry, report, now_ms)

    def _answer(self, entry: Entry, report: Report | None, asked_ms: int, now_ms: int) -> None:
        """Book the answer to a question for an order."""
        if report is not None:
            self._asked.pop(entry.order.client_order_id, None)
            self._take(entry, report, now_ms)
            self._cancel_again(entry, report)
        elif entry.is_unresolved:
            if self._is_proof(entry, asked_ms):
                if entry.order.state == State.SENT:
                    self._outcome(entry, Event.LOSE_REPLY)
                self._outcome(entry, Event.PROVE_ABSENT)
                self._asked.pop(entry.order.client_order_id, None)
            else:
                self._ask(entry, now_ms)
        elif not entry.is_settled and entry.order.state != State.INTENT:
            self._miss(entry, asked_ms, now_ms)

    def _miss(self, entry: Entry, asked_ms: int, now_ms: int) -> None:
        """An order that was there before is not found: it may not show, but one that stays away is gone."""
        name, symbol = entry.order.client_order_id, entry.order.symbol
        since = self._missed_since.setdefault(name, asked_ms)
        if asked_ms - since < GONE_MS or not is_live(entry.order.state):
            self._ask(entry, now_ms)
            return
        self._asked.pop(name, None)
        self._halt(symbol, f"the exchange does not know order {name} any more, and never said how it ended")
        self._outcome(entry, Event.EXPIRE)
        self._ask_fills(symbol)

    def _cancel_again(self, entry: Entry, report: Report) -> None:
        """An order that was to be cancelled is live, and no cancel is on its way: it was lost."""
        name = entry.list_id or entry.order.client_order_id
        is_there = is_live(entry.order.state) and report.status in _LIVE_WORDS
        if entry.cancelled and is_there and name not in self._cancelling:
            self._request_cancel(entry)

    def _request_cancel(self, entry: Entry) -> None:
        order = entry.order
        self._cancelling.add(entry.list_id or order.client_order_id)
        self._effects.append(
            CancelList(order.symbol, entry.list_id) if entry.list_id else Cancel(order.symbol, order.client_order_id)
        )

    def _outcome(self, entry: Entry, event: Event, **more: Any) -> None:
        before = entry.order
        if event == Event.ACKNOWLEDGE and not entry.is_unresolved:
            return
        self._write("OUTCOME", {"id": before.client_order_id, "event": event.value, **more})

    def _fill(self, entry: Entry, fill: Fill) -> None:
        known = [one.trade_id for one in entry.order.fills]
        if fill.trade_id in known:
            return
        self._write("FILL", fill_record(entry.order.client_order_id, fill, self.fee_prices.get(fill.fee_asset)))
        pair = [one for one in self._members(entry.list_id) if one.order.leg in GUARDS] if entry.list_id else []
        if pair and sum((one.order.filled for one in pair), ZERO) > max(one.order.qty for one in pair):
            self._halt(entry.order.symbol, f"both legs of list {entry.list_id} were filled")

    def _end(self, entry: Entry, report: Report, now_ms: int) -> None:
        """The order has ended, says the exchange. Its fills may come later: they are asked for above."""
        event = _ENDS.get(report.status)
        order = entry.order
        if event is not None and is_live(order.state):
            if event == Event.REJECT and order.seen:
                event = Event.EXPIRE
            self._outcome(entry, event, executed=str(report.executed))
            if event == Event.CANCEL and not entry.cancelled:
                # Our cancels are written down before they are sent.
                self._meet(order.symbol, f"order {order.client_order_id} was cancelled, and not by us")
        elif report.status != "FILLED":
            return
        # What else was sent with it has ended as well, or come to life; an answer on its way may be older than that.
        for other in self._members(entry.list_id) if entry.list_id else []:
            if other is not entry and is_live(other.order.state):
                self._ask(other, now_ms)

    def _look(self, symbol: str, now_ms: int) -> None:
        """Ask for the open orders now and then, while something protects a position or an order has long been open."""
        rests = any(one.order.leg in GUARDS or now_ms - one.sent_ms >= LOOK_MS for one in self.books.open(symbol))
        looked = self._looked_ms.setdefault(symbol, now_ms)
        if rests and now_ms - looked >= LOOK_MS:
            self._looked_ms[symbol] = now_ms
            self._effects.append(AskOpen(symbol))

    def _ask(self, entry: Entry, now_ms: int) -> None:
        """Ask for an order, later each time."""
        key = entry.order.client_order_id
        count = self._asked.get(key, 0)
        self._asked[key] = count + 1
        when = now_ms + (ASK_AFTER_MS[count] if count < len(ASK_AFTER_MS) else ASK_EVERY_MS)
        proof = entry.sent_ms + entry.window_ms + MARGIN_MS + 1
        if entry.is_unresolved and now_ms < proof:
            # The answer of that moment settles it.
            when = min(when, proof)
        self._effects.append(self._question(entry, when))

    def _question(self, entry: Entry, not_before_ms: int) -> Effect:
        """A list of which nothing is known is asked for as a whole."""
        order = entry.order
        if entry.list_id and entry.is_unresolved:
            return FindList(order.symbol, entry.list_id, not_before_ms)
        return Find(order.symbol, order.client_order_id, not_before_ms)

    def _ask_fills(self, symbol: str) -> None:
        self._effects.append(AskFills(symbol, self._trade_seen(symbol)))

    def _trade_seen(self, symbol: str) -> int:
        """Trades up to this one are in the books for certain: none of an order that may miss some is older."""
        open_ = [entry.after for entry in self.books.open(symbol) if entry.order.state != State.INTENT]
        return min([*open_, self.books.last_trade.get(symbol, -1)])

    @staticmethod
    def _is_proof(entry: Entry, asked_ms: int) -> bool:
        """Whether "not found" proves that the order will never be there."""
        return asked_ms > entry.sent_ms + entry.window_ms + MARGIN_MS

    def _meet(self, symbol: str, reason: str) -> None:
        """Something on the account is not ours."""
        if not self.ignores_others:
            self._halt(symbol, reason)

    def _halt(self, symbol: str, reason: str) -> None:
        if symbol not in self.books.halted:
            self._write("HALT", {"symbol": symbol, "reason": reason})
            self._effects.append(Alert("halted", f"{symbol}: {reason}"))
