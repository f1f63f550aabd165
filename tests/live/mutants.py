"""Desks that are wrong in one way each. The harness that lets one of them live is broken itself."""

from collections.abc import Callable, Iterable
from typing import Any

from pipeline.exchange.port import Report, Request
from pipeline.live.books import Books, Entry
from pipeline.live.desk import Desk
from pipeline.live.effects import AskFills, AskOpen, Cancel, Effect, Find, Send, Write
from pipeline.trading.orders import Event, Fill, Intent, State, is_live


class TrustsAnEarlyNotFound(Desk):
    @staticmethod
    def _is_proof(entry: Entry, asked_ms: int) -> bool:
        return True


class WaitsForTheReplyOnly(Desk):
    @staticmethod
    def _is_proof(entry: Entry, asked_ms: int) -> bool:
        return asked_ms > entry.sent_ms + 1000


class ForgetsTheLagOfTheDatabase(Desk):
    @staticmethod
    def _is_proof(entry: Entry, asked_ms: int) -> bool:
        return asked_ms > entry.sent_ms + entry.window_ms


class ProvesByTheTimeOfTheAnswer(Desk):
    """The answer may be late, and of a time at which the order had not arrived."""

    def found(self, client_order_id: str, report: Report | None, asked_ms: int, now_ms: int) -> list[Effect]:
        return super().found(client_order_id, report, now_ms + 12_000, now_ms)


class SendsAgainWithTheSameId(Desk):
    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        entry = self.books.entries[client_order_id]
        if entry.order.state == State.SENT and not entry.cancelled:
            return [Send(entry.request, entry.window_ms)]
        return super().lost(client_order_id, now_ms)


class SendsAgainAfterAStart(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        again = [Send(e.request, e.window_ms) for e in self.books.entries.values() if e.order.state == State.SENT]
        return [*again, *super().recover(symbols, now_ms)]


class SendsAbandonedIntents(Desk):
    """What was written down as an intent may have been sent already, if SENT is written late."""

    def order(self, intent: Intent, request: Request, now_ms: int, *, reduce_only: bool = False) -> list[Effect]:
        return _moved(super().order(intent, request, now_ms, reduce_only=reduce_only), "SENT")


class WritesTheIntentAfterwards(Desk):
    def order(self, intent: Intent, request: Request, now_ms: int, *, reduce_only: bool = False) -> list[Effect]:
        effects = super().order(intent, request, now_ms, reduce_only=reduce_only)
        return [e for e in effects if not isinstance(e, Write)] + [e for e in effects if isinstance(e, Write)]


class AsksNothingAfterAStart(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        return []


class AsksForOpenOrdersOnly(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        return [e for e in super().recover(symbols, now_ms) if not isinstance(e, AskFills)]


class AsksForFillsOnly(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        return [e for e in super().recover(symbols, now_ms) if not isinstance(e, AskOpen | Find)]


class TakesSentForAbandoned(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        gone = [e for e in self.books.entries.values() if e.order.state == State.SENT]
        for entry in gone:
            self._outcome(entry, Event.REJECT)
        return [*self._done(), *super().recover(symbols, now_ms)]


class ForgetsLostOrders(Desk):
    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        entry = self.books.entries[client_order_id]
        if entry.order.state == State.SENT:
            self._outcome(entry, Event.REJECT)
        return self._done()


class NeverAsks(Desk):
    def _ask(self, entry: Entry, now_ms: int) -> None:
        pass


class AsksOnce(Desk):
    def _ask(self, entry: Entry, now_ms: int) -> None:
        if entry.order.client_order_id not in self._asked:
            super()._ask(entry, now_ms)


class TrustsTheStatus(Desk):
    """An order that is said to be filled is booked as ended, and its fills are not asked for."""

    def _ask_fills(self, symbol: str) -> None:
        pass


class BooksTheWord(Desk):
    """The quantity of a report is booked as a fill of its own."""

    def replied(self, report: Report, now_ms: int) -> list[Effect]:
        effects = super().replied(report, now_ms)
        entry = self.books.entries.get(report.client_order_id)
        if entry is not None and report.executed > entry.order.filled:
            made = Fill(-len(entry.order.fills) - 1, report.executed - entry.order.filled, report.executed)
            self._fill(entry, made)
        return [*effects, *self._done()]


class CountsFillsTwice(Desk):
    """Each telling of a fill is a fill."""

    def _fill(self, entry: Entry, fill: Fill) -> None:
        number = fill.trade_id + 100_000 * sum(one.trade_id % 100_000 == fill.trade_id for one in entry.order.fills)
        if fill.qty <= entry.order.qty - entry.order.filled:
            super()._fill(entry, Fill(number, fill.qty, fill.price, fill.fee, fill.fee_asset))


class DropsLateFills(Desk):
    """A fill after the end of an order is not booked."""

    def _fill(self, entry: Entry, fill: Fill) -> None:
        if is_live(entry.order.state):
            super()._fill(entry, fill)


class AsksFromTheLastTradeOn(Desk):
    """Fills come out of order, so older ones may be missing."""

    def _trade_seen(self, symbol: str) -> int:
        return self.books.last_trade.get(symbol, -1)


class ForgetsWhatItWasTold(Desk):
    """An order that has ended is settled, whatever its fills are."""

    def _end(self, entry: Entry, report: Report) -> None:
        super()._end(entry, Report(report.symbol, report.client_order_id, report.status, entry.order.filled))


class TakesARefusedCancelForDone(Desk):
    def cancel_refused(self, client_order_id: str, now_ms: int) -> list[Effect]:
        entry = self.books.entries[client_order_id]
        if is_live(entry.order.state):
            self._outcome(entry, Event.CANCEL)
        return self._done()


class TakesALostCancelForDone(Desk):
    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        entry = self.books.entries[client_order_id]
        if entry.cancelled and is_live(entry.order.state):
            self._outcome(entry, Event.CANCEL)
            return self._done()
        return super().lost(client_order_id, now_ms)


class TakesAMissingOrderForCancelled(Desk):
    def open_orders(self, symbol: str, told: Iterable[Report], now_ms: int) -> list[Effect]:
        there = {report.client_order_id for report in told}
        for entry in self.books.of(symbol):
            if is_live(entry.order.state) and entry.order.client_order_id not in there:
                self._outcome(entry, Event.CANCEL)
        return self._done()


class TakesADuplicateForRefused(SendsAgainWithTheSameId):
    def refused(self, client_order_id: str, code: int, message: str) -> list[Effect]:
        return super().refused(client_order_id, code, "")


class ChangesTheBooksAfterwards(Desk):
    """The journal is written, but in an order of its own."""

    def _done(self) -> list[Effect]:
        effects = super()._done()
        return list(reversed(effects))


class SkipsTheOutcomeInTheJournal(Desk):
    def _done(self) -> list[Effect]:
        return [e for e in super()._done() if not (isinstance(e, Write) and e.kind == "OUTCOME")]


class SkipsFillsInTheJournal(Desk):
    def _done(self) -> list[Effect]:
        return [e for e in super()._done() if not (isinstance(e, Write) and e.kind == "FILL")]


class CancelsAgainAndAgain(Desk):
    """A cancel for an order that is sold out may hit nothing; what it says is taken for the order's end."""

    def cancel(self, client_order_id: str) -> list[Effect]:
        entry = self.books.entries.get(client_order_id)
        if entry is not None and is_live(entry.order.state):
            self._outcome(entry, Event.CANCEL)
            return [*self._done(), Cancel(entry.order.symbol, client_order_id)]
        return []


class TriesAgainUnderANewId(Desk):
    """A lost order is tried again under the id of the next attempt."""

    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        effects = super().lost(client_order_id, now_ms)
        old = self.books.entries[client_order_id]
        if old.cancelled or old.order.intent.attempt:
            return effects
        intent = Intent(*_parts(old.order.intent), attempt=1)
        request = Request(
            old.request.symbol, old.request.side, old.request.kind, old.request.qty, intent.client_order_id
        )
        return [*effects, *self.order(intent, request, now_ms, reduce_only=True)]


class HaltsForItsOwnOrders(Desk):
    def fills(self, symbol: str, told: Iterable[tuple[str, Fill]]) -> list[Effect]:
        live = {e.order.client_order_id for e in self.books.live()}
        for name, fill in told:
            if name in live:
                self._fill(self.books.entries[name], fill)
            else:
                self._halt(symbol, f"trade {fill.trade_id} is not ours")
        return self._done()


def _parts(intent: Intent) -> tuple[str, str, int, str]:
    return intent.bundle, intent.symbol, intent.open_time_ms, intent.leg


def _moved(effects: list[Effect], kind: str) -> list[Effect]:
    late = [e for e in effects if isinstance(e, Write) and e.kind == kind]
    return [*(e for e in effects if e not in late), *late]


def _named() -> dict[str, tuple[Callable[[Books], Desk], dict[str, Any]]]:
    found: dict[str, tuple[Callable[[Books], Desk], dict[str, Any]]] = {
        name: (kind, {}) for name, kind in globals().items() if isinstance(kind, type) and issubclass(kind, Desk)
    }
    del found["Desk"]
    return found | {"KeepsNoJournal": (Desk, {"forgetful": True})}


MUTANTS = _named()
