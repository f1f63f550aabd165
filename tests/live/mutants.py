"""Desks that are wrong in one way each. The harness that lets one of them live is broken itself."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from live.network import Faults

from pipeline.exchange.port import ListRequest, Report, Request
from pipeline.live import protecting
from pipeline.live.books import Books, Entry
from pipeline.live.desk import Desk
from pipeline.live.effects import AskFills, AskOpen, Effect, Find, FindList, Send, SendList, Write
from pipeline.live.protecting import Cover
from pipeline.live.records import Protection, Work, intent_record, work_record
from pipeline.trading.execution import Plan
from pipeline.trading.orders import Event, Fill, Intent, Order, State, is_live

_NONE = dict.fromkeys(Faults.__dataclass_fields__, 0.0)
# Nothing is told by the user stream, and somebody else is about; all else goes well.
UNTOLD = Faults(**_NONE | {"event_lost": 1.0, "foreign": 1.0})
# The market jumps, and fills in part.
JUMPY = Faults(**_NONE | {"gap": 0.05, "partial": 0.5})
PARTLY = Faults(**_NONE | {"partial": 0.9})
# Orders arrive at the last moment, show later, and no reply comes.
LATE = Faults(arrives_late=0.9, reply_lost=0.9, lag=0.9, never_arrives=0.0)


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
        (entry, *others) = self._members(client_order_id)
        if entry.order.state == State.SENT and not entry.cancelled and not others:
            return [Send(entry.request, entry.window_ms, entry.sent_ms)]
        return super().lost(client_order_id, now_ms)


class SendsAgainAfterAStart(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        again = [
            Send(e.request, e.window_ms, e.sent_ms) for e in self.books.entries.values() if e.order.state == State.SENT
        ]  # fmt: skip
        return [*again, *super().recover(symbols, now_ms)]


class SendsAbandonedIntents(Desk):
    """What was written down as an intent may have been sent already, if SENT is written late."""

    def _flush(self) -> list[Effect]:
        return _moved(super()._flush(), "SENT")


class WritesTheIntentAfterwards(Desk):
    def _flush(self) -> list[Effect]:
        effects = super()._flush()
        return [e for e in effects if not isinstance(e, Write)] + [e for e in effects if isinstance(e, Write)]


class AsksNothingAfterAStart(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        return []


class AsksForOpenOrdersOnly(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        return [e for e in super().recover(symbols, now_ms) if not isinstance(e, AskFills)]


class AsksForFillsOnly(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        return [e for e in super().recover(symbols, now_ms) if not isinstance(e, AskOpen | Find | FindList)]


class TakesSentForAbandoned(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        gone = [e for e in self.books.entries.values() if e.order.state == State.SENT]
        for entry in gone:
            self._outcome(entry, Event.REJECT)
        return [*self._done(), *super().recover(symbols, now_ms)]


class ForgetsLostOrders(Desk):
    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        for entry in self._members(client_order_id):
            if entry.order.state == State.SENT and not entry.work:
                self._outcome(entry, Event.REJECT)
        return super().lost(client_order_id, now_ms)


class NeverAsks(Desk):
    def _ask(self, entry: Entry, now_ms: int) -> None:
        pass


class AsksOnce(Desk):
    """And once more after a start; open orders tell it of those that are there."""

    def _ask(self, entry: Entry, now_ms: int) -> None:
        if entry.order.client_order_id not in self._asked:
            super()._ask(entry, now_ms)
            self._asked[entry.order.client_order_id] = 1

    def _answer(self, entry: Entry, report: Report | None, asked_ms: int, now_ms: int) -> None:
        asked = self._asked.copy()
        super()._answer(entry, report, asked_ms, now_ms)
        self._asked |= asked


class TrustsTheStatus(Desk):
    """An order that is said to be filled is booked as ended, and its fills are not asked for."""

    def _ask_fills(self, symbol: str) -> None:
        pass


class BooksTheWord(Desk):
    """The quantity of a report is booked as a fill of its own."""

    def _take(self, entry: Entry, report: Report, now_ms: int) -> None:
        super()._take(entry, report, now_ms)
        if report.executed > entry.order.filled:
            made = Fill(-len(entry.order.fills) - 1, report.executed - entry.order.filled, report.executed)
            self._fill(entry, made)


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

    def _end(self, entry: Entry, report: Report, now_ms: int) -> None:
        super()._end(entry, Report(report.symbol, report.client_order_id, report.status, entry.order.filled), now_ms)


class TakesARefusedCancelForDone(Desk):
    def cancel_refused(self, client_order_id: str, now_ms: int) -> list[Effect]:
        for entry in self._members(client_order_id):
            if is_live(entry.order.state):
                self._outcome(entry, Event.CANCEL)
        return self._done()


class TakesALostCancelForDone(Desk):
    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        for entry in self._members(client_order_id):
            if entry.cancelled and is_live(entry.order.state):
                self._outcome(entry, Event.CANCEL)
        return super().lost(client_order_id, now_ms)


class TakesAMissingOrderForCancelled(Desk):
    def open_orders(self, symbol: str, told: Iterable[Report], asked_ms: int, now_ms: int) -> list[Effect]:
        there = {report.client_order_id for report in told}
        for entry in self.books.of(symbol):
            if is_live(entry.order.state) and entry.order.client_order_id not in there:
                self._outcome(entry, Event.CANCEL)
        return self._done()


class TakesADuplicateForRefused(SendsAgainWithTheSameId):
    def refused(self, client_order_id: str, code: int, message: str, now_ms: int | None = None) -> list[Effect]:
        return super().refused(client_order_id, code, "", now_ms)


class ChangesTheBooksAfterwards(Desk):
    """The journal is written, but in an order of its own."""

    def _flush(self) -> list[Effect]:
        effects = super()._flush()
        return list(reversed(effects))


class SkipsTheOutcomeInTheJournal(Desk):
    def _flush(self) -> list[Effect]:
        return [e for e in super()._flush() if not (isinstance(e, Write) and e.kind == "OUTCOME")]


class SkipsFillsInTheJournal(Desk):
    def _flush(self) -> list[Effect]:
        return [e for e in super()._flush() if not (isinstance(e, Write) and e.kind == "FILL")]


class TakesACancelForDone(Desk):
    """A cancel for an order that is sold out may hit nothing; it is taken for the order's end."""

    def _cancel_entry(self, entry: Entry, **plan: Any) -> None:
        super()._cancel_entry(entry, **plan)
        for one in self._members(entry.list_id) if entry.list_id else [entry]:
            if is_live(one.order.state):
                self._outcome(one, Event.CANCEL)


class TriesAgainUnderANewId(Desk):
    """A lost order is tried again under the id of the next attempt."""

    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        effects = super().lost(client_order_id, now_ms)
        (old, *_) = self._members(client_order_id)
        if old.cancelled or old.order.intent.attempt or old.order.reduce_only or old.order.state != State.UNKNOWN:
            return effects
        intent = Intent(*_parts(old.order.intent), attempt=1)
        request = Request(
            old.request.symbol, old.request.side, old.request.kind, old.request.qty, intent.client_order_id
        )
        order = Order(intent, request.side, request.qty, request.kind, request.price)
        self._write("INTENT", intent_record(order, request))
        self._send(request, now_ms)
        return [*effects, *self._flush()]


class HaltsForItsOwnOrders(Desk):
    def fills(self, symbol: str, told: Iterable[tuple[str, Fill]], now_ms: int | None = None) -> list[Effect]:
        live = {e.order.client_order_id for e in self.books.live()}
        for name, fill in told:
            if name in live:
                self._fill(self.books.entries[name], fill)
            else:
                self._halt(symbol, f"trade {fill.trade_id} is not ours")
        return self._done()


# Protection


class ForgetsFeesInTheBaseAsset(Desk):
    """What was bought is taken for what can be sold."""

    def __init__(self, books: Books, *options: Any) -> None:
        books._base_fees = _Nothing()
        super().__init__(books, *options)


class DoesNotRound(Desk):
    def __init__(self, books: Books, rules: Any, *options: Any) -> None:
        super().__init__(books, {}, *options)


class ProtectsALotTooMuch(Desk):
    def _coverable(self, symbol: str, wanted: Protection) -> Decimal:
        qty = super()._coverable(symbol, wanted)
        return qty + self._rules(symbol).lots.step if qty else qty


class PlacesTheNewStopBesideTheOld(Desk):
    """The cancel is sent, and its outcome is not waited for."""

    def _cancel_guards(self, symbol: str) -> None:
        guards = [one for one in self.books.guards(symbol) if not one.cancelled]
        super()._cancel_guards(symbol)
        wanted = self.books.protections.get(symbol)
        if wanted is not None and guards and symbol not in self.books.leaving:
            qty = self._coverable(symbol, wanted)
            if qty:
                self._send_guard(protecting.guard(self.books, symbol, wanted, qty), self._now)

    def _act(self, symbol: str, now_ms: int) -> None:
        self._now = now_ms
        super()._act(symbol, now_ms)


class TakesACancelledStopForGone(Desk):
    def __init__(self, books: Books, *options: Any) -> None:
        books.guards = lambda symbol: [one for one in Books.guards(books, symbol) if not one.cancelled]  # type: ignore
        super().__init__(books, *options)


class DoesNotPlaceTheNewStop(Desk):
    """Between cancel and stop it lost its thread."""

    def _send_guard(self, guard: protecting.Guard, now_ms: int) -> None:
        if all(order.intent.attempt == 0 for order, _ in guard.orders):
            super()._send_guard(guard, now_ms)


class GivesUpAfterARefusal(Desk):
    def _on_refusal(self, entries: list[Entry], message: str, now_ms: int | None) -> None:
        self._not_before[entries[0].order.symbol] = 10**15


class TriesAStopThatWasPassedForEver(Desk):
    def _on_refusal(self, entries: list[Entry], message: str, now_ms: int | None) -> None:
        super()._on_refusal(entries, message.replace("trigger", ""), now_ms)


class TriesAPairThatWasRefusedForEver(Desk):
    def _on_refusal(self, entries: list[Entry], message: str, now_ms: int | None) -> None:
        super()._on_refusal(entries[:1], message, now_ms)


class LoosensTheStop(Desk):
    def move_stop(self, symbol: str, stop: Decimal, now_ms: int, stop_limit: Decimal | None = None) -> list[Effect]:
        wanted = self.books.protections.get(symbol)
        return self._done() if wanted is None else self.protect(symbol, replace(wanted, stop=stop), now_ms)


class KeepsTheOldStop(Desk):
    """Its price is not compared."""

    def _cover(self, symbol: str, wanted: Protection, qty: Decimal) -> Cover:
        stop = next((one.request for one in self.books.guards(symbol) if one.order.leg == "stop"), None)
        if stop is not None and stop.stop_price is not None:
            wanted = replace(wanted, stop=stop.stop_price, stop_limit=stop.price)
        return super()._cover(symbol, wanted, qty)


class DoesNotFollowThePosition(Desk):
    """The quantity is not compared."""

    def _cover(self, symbol: str, wanted: Protection, qty: Decimal) -> Cover:
        stop = next((one for one in self.books.guards(symbol) if one.order.leg == "stop"), None)
        return super()._cover(symbol, wanted, qty if stop is None else stop.order.remaining)


class TakesATargetForAStop(Desk):
    def _cover(self, symbol: str, wanted: Protection, qty: Decimal) -> Cover:
        found = super()._cover(symbol, wanted, qty)
        return Cover.RIGHT if found == Cover.PARTLY else found


class TakesAnUnknownStopForNone(Desk):
    """A stop whose reply was lost may be there: a second one beside it."""

    def _cover(self, symbol: str, wanted: Protection, qty: Decimal) -> Cover:
        found = super()._cover(symbol, wanted, qty)
        lost = [one for one in self.books.guards(symbol) if one.order.state == State.UNKNOWN]
        return Cover.NONE if found == Cover.WAIT and lost and len(self.books.guards(symbol)) < 4 else found


class PlacesTheLegsOneByOne(Desk):
    def _send_guard(self, guard: protecting.Guard, now_ms: int) -> None:
        if guard.orders[0][0].reduce_only:
            for order in guard.orders:
                super()._send_guard(protecting.Guard((order,)), now_ms)
        else:
            super()._send_guard(guard, now_ms)


class WritesNotThatAListWasSent(Desk):
    def _flush(self) -> list[Effect]:
        lists = self.books.lists
        return [
            e for e in super()._flush() if not (isinstance(e, Write) and e.kind == "SENT" and e.body["id"] in lists)
        ]


class WritesAListAfterItWasSent(Desk):
    def _flush(self) -> list[Effect]:
        effects = super()._flush()
        first = next((n for n, e in enumerate(effects) if isinstance(e, Write) and e.kind == "INTENT"), 0)
        sent = [e for e in effects if isinstance(e, SendList)]
        return [*effects[:first], *sent, *(e for e in effects[first:] if e not in sent)]


class SendsAListAgain(Desk):
    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        entries = self._members(client_order_id)
        if len(entries) > 1 and entries[0].order.state == State.SENT and entries[0].order.reduce_only:
            legs = tuple(entry.request for entry in entries)
            first = entries[0]
            return [SendList(ListRequest(legs[0].symbol, client_order_id, legs), first.window_ms, first.sent_ms)]
        return super().lost(client_order_id, now_ms)


class TakesALostListForAbsent(Desk):
    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        for entry in self._members(client_order_id):
            if entry.list_id and entry.order.state == State.SENT:
                self._outcome(entry, Event.REJECT)
        return super().lost(client_order_id, now_ms)


class AsksForStopsOnly(Desk):
    """The other leg of a list is forgotten, if it is not among the open orders."""

    def found_list(
        self, list_id: str, reports: Iterable[Report] | None, asked_ms: int, now_ms: int
    ) -> list[Effect]:  # fmt: skip
        for entry in self._members(list_id):
            if entry.order.leg == "stop" and reports is None:
                self._answer(entry, None, asked_ms, now_ms)
        return super().found_list(list_id, reports, asked_ms, now_ms) if reports is not None else self._done()


class DropsFillsOfTargets(Desk):
    def _fill(self, entry: Entry, fill: Fill) -> None:
        if entry.order.leg != "target":
            super()._fill(entry, fill)


class ForgetsTheWishToProtect(Desk):
    def _flush(self) -> list[Effect]:
        return [e for e in super()._flush() if not (isinstance(e, Write) and e.kind == "PROTECT")]


class TakesProtectionAwayTooEarly(Desk):
    """While the entry is on its way, nothing is held."""

    def _act(self, symbol: str, now_ms: int) -> None:
        super()._act(symbol, now_ms)
        wanted = self.books.protections.get(symbol)
        if wanted is not None and self._coverable(symbol, wanted) == 0:
            self._write("UNPROTECT", {"symbol": symbol})


class CancelsOnce(Desk):
    """A cancel that was lost is not sent again."""

    def _cancel_again(self, entry: Entry, report: Report) -> None:
        pass


class CancelsListsOnce(Desk):
    def _cancel_again(self, entry: Entry, report: Report) -> None:
        if not entry.list_id:
            super()._cancel_again(entry, report)


class NeverGivesUp(Desk):
    """No order is ever too old."""

    def timer(self, now_ms: int) -> list[Effect]:
        for symbol in self.books.symbols():
            self._act(symbol, now_ms)
        return self._done()


class NeverLooks(Desk):
    """What ended without a word is noticed by the next comparison, an hour later."""

    def timer(self, now_ms: int) -> list[Effect]:
        return [e for e in super().timer(now_ms) if not isinstance(e, AskOpen)]


class AsksForEverForWhatIsGone(Desk):
    def _miss(self, entry: Entry, asked_ms: int, now_ms: int) -> None:
        self._ask(entry, now_ms)


class LeavesAStopThatWasJumped(Desk):
    def priced(self, symbol: str, bid: Decimal, ask: Decimal) -> None:
        pass


# Leaving


class SellsBesideItsProtection(Desk):
    def _act(self, symbol: str, now_ms: int) -> None:
        if symbol in self.books.leaving:
            self._cancel_guards(symbol)
            self._send_exit(symbol, now_ms)
        else:
            super()._act(symbol, now_ms)


class SellsWhatItWasAskedFor(Desk):
    """Not what is held by then."""

    def _exit_qty(self, side: str, symbol: str, most: Decimal, kind: str) -> Decimal:
        return most


class LeavesAndForgetsIt(Desk):
    """A crash while the protection is being cancelled ends the exit."""

    def _flush(self) -> list[Effect]:
        return [e for e in super()._flush() if not (isinstance(e, Write) and e.kind == "LEAVE")]


class EntersWhatIsHalted(Desk):
    def is_clear(self, symbol: str) -> bool:
        halted, self.books.halted = self.books.halted, {}
        found = super().is_clear(symbol)
        self.books.halted = halted
        return found


class OverlooksOthers(Desk):
    def _meet(self, symbol: str, reason: str) -> None:
        pass


# Plans


class ForgetsWhichPlanAnOrderIsOf(Desk):
    """Its fills are not counted."""

    def _fill(self, entry: Entry, fill: Fill) -> None:
        work, entry.work = entry.work, ""
        super()._fill(entry, fill)
        entry.work = work


class TakesALostChildForEnded(Desk):
    def lost(self, client_order_id: str, now_ms: int) -> list[Effect]:
        for entry in self._members(client_order_id):
            if entry.work and entry.order.state == State.SENT:
                self._outcome(entry, Event.REJECT)
        return super().lost(client_order_id, now_ms)


class StartsPlansAnewAfterACrash(Desk):
    def recover(self, symbols: Iterable[str], now_ms: int) -> list[Effect]:
        for work in list(self.books.works.values()):
            fresh = {"filled": Decimal(0), "live": False, "child": None, "cancelling": False, "released": 0, "sent": 0}
            known = {name: value for name, value in fresh.items() if hasattr(work.plan, name)}
            again = replace(work, plan=replace(work.plan, **known), live="")
            self._write("WORK", work_record(again))
            self.books.works[work.id].children = work.children
        return super().recover(symbols, now_ms)


class NamesAllChildrenAlike(Desk):
    @staticmethod
    def _child_intent(work: Work, number: int) -> Intent:
        return replace(work.intent, attempt=1000)


class WritesThePlanWithoutItsChild(Desk):
    """The order is written down as if it belonged to no plan; after a crash the plan places it again."""

    def _flush(self) -> list[Effect]:
        return [
            Write(e.kind, {key: value for key, value in e.body.items() if key != "plan"} | {"work": ""})
            if isinstance(e, Write) and e.kind == "INTENT" else e for e in super()._flush()
        ]  # fmt: skip


class StartsAnExitPlanBesideItsProtection(Desk):
    def _may_place(self, work: Work) -> bool:
        return True if work.reduce_only else super()._may_place(work)


class GoesOnBuyingAfterTheStop(Desk):
    def _drop_what_adds(self, symbol: str) -> None:
        pass


class GoesOnWithAStalePlan(Desk):
    def work(self, plan: Plan, intent: Intent, now_ms: int, **options: Any) -> list[Effect]:
        return super().work(plan, intent, now_ms, **options | {"expires_ms": 0})


class _Nothing(dict[str, Decimal]):
    """A record of fees that keeps none."""

    def __setitem__(self, key: str, value: Decimal) -> None:
        pass


def _parts(intent: Intent) -> tuple[str, str, int, str]:
    return intent.bundle, intent.symbol, intent.open_time_ms, intent.leg


def _moved(effects: list[Effect], kind: str) -> list[Effect]:
    late = [e for e in effects if isinstance(e, Write) and e.kind == kind]
    return [*(e for e in effects if e not in late), *late]


def _named() -> dict[str, tuple[Callable[..., Desk], dict[str, Any]]]:
    found: dict[str, tuple[Callable[..., Desk], dict[str, Any]]] = {
        name: (kind, {}) for name, kind in globals().items() if isinstance(kind, type) and issubclass(kind, Desk)
    }
    del found["Desk"]
    # Some faults show only where others are not.
    for kind, faults in (
        (NeverLooks, UNTOLD), (AsksForEverForWhatIsGone, UNTOLD), (LeavesAStopThatWasJumped, JUMPY),
    ):  # fmt: skip
        found[kind.__name__] = kind, {"faults": faults, "bar_ms": 60_000, "reconcile_ms": 3_600_000}
    for kind, faults in (
        (ForgetsTheLagOfTheDatabase, LATE), (TakesALostChildForEnded, LATE), (DoesNotFollowThePosition, JUMPY),
        (TriesAPairThatWasRefusedForEver, JUMPY), (TakesATargetForAStop, PARTLY),
    ):  # fmt: skip
        found[kind.__name__] = kind, {"faults": faults}
    return found | {"KeepsNoJournal": (Desk, {"forgetful": True})}


MUTANTS = _named()
