"""The trading core's state, as the journal tells it: one fold books what was just written, and recovers after a crash.

A bar's record holds the state at its close where anything is held, ordered or changed; fills and ends of orders after
it are booked on top, each once, because each stands in the journal once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.errors import BadInput
from pipeline.live.plain import plain, restored, trade_of
from pipeline.trading.booking import book_entry, book_exit
from pipeline.trading.reasons import CODES, COUNT, LAPSED, REASONS, TRADED
from pipeline.trading.records import (
    ACCOUNT,
    BREAKER,
    POSITION,
    SIGNAL,
    TAKE_PROFIT,
    TRADE,
    TRAILING_STOP,
    halt,
    new_account,
    new_positions,
    reset,
)
from pipeline.trading.rules import Rules

# Words of an OUTCOME after which an order cannot be filled any more, fills that are told late aside.
_ENDS = ("cancel", "expire", "reject", "prove absent", "abandon")
_ROWS = 2
_KINDS = (
    "START", "BAR", "INTENT", "FILL", "OUTCOME", "LAPSE", "QUIT", "DUST", "PROTECT", "BREAKER", "RESET", "COMMAND",
    "BUNDLE", "TRADE", "WORK", "WORKED",
)  # fmt: skip
# Orders that have ended are remembered for a while: a fill of theirs may be told late. Others as long as they may be
# filled: a stop may rest for months.
_LEGS = 2000


@dataclass
class Leg:
    """An order as the portfolio sees it: what its fills do. filled: base asset so far."""

    symbol: str
    leg: str
    side: str
    qty: Decimal
    open_time_ms: int
    filled: Decimal = Decimal(0)
    ended: bool = False
    work: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it cannot be filled any more, fills that are told late aside."""
        return self.ended or self.filled >= self.qty


class Portfolio:
    """Account and positions of all symbols, in the order of their names.

    rules: of the trading core, with the origin that bars are counted from. cash: to begin with, in the quote asset.
    paused, paused_for: whether and why a person has paused it. closed_ms: when the last bar closed, by our clock.
    dust: base asset that cannot be sold, by symbol; what is left of a position below it is written off.
    closed: trades by number that fills have closed and that are not written down yet. left_by: kind of the order that
    has last taken from a position which is not over, by symbol. unwanted: entries, and plans of entries, that a person
    has ended: what is filled of them is left at once.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        rules: Rules,
        cash: float,
        dust: Mapping[str, float] | None = None,
    ) -> None:
        self.symbols = sorted(symbols)
        self.rules = rules
        self.record = rules.array()
        self.account, self.positions = new_account(cash), new_positions(len(self.symbols))
        self.refused = np.zeros(COUNT, np.int64)
        self.bars = 0
        self.last_open_ms: int | None = None
        self.legs: dict[str, Leg] = {}
        self.paused = False
        self.paused_for = ""
        self.closed_ms = 0
        self.bundle = ""
        self.mode = ""
        self.interval = ""
        self._modes: dict[str, Any] = {}
        self.dust = dict(dust or {})
        self._works: dict[str, str] = {}
        self._place = {symbol: s for s, symbol in enumerate(self.symbols)}
        self.closed: dict[int, dict[str, Any]] = {}
        self.left_by: dict[str, str] = {}
        self.unwanted: set[str] = set()
        self._trades = np.zeros(_ROWS, TRADE)
        self._orders: dict[str, list[str]] = {}
        self._entries: dict[str, list[Leg]] = {}
        self._kept = self._marks()

    def position(self, symbol: str) -> np.void:
        """The record of a symbol's position, to read."""
        row: np.void = self.positions[self._place[symbol]]
        return row

    def place(self, symbol: str) -> int:
        """Its row."""
        return self._place[symbol]

    # The fold

    def add(self, kind: str, body: Mapping[str, Any]) -> None:
        """Book a record of the journal. Raises BadInput: it does not fit what came before it."""
        if kind in _KINDS:
            getattr(self, f"_{kind.lower()}")(body)

    def _start(self, body: Mapping[str, Any]) -> None:
        # Shadow and live trading have an account each; the one that is left waits for its next start.
        mode = str(body["mode"])
        self.bundle = str(body["bundle"])
        if mode != self.mode:
            if self.mode:
                self._modes[self.mode] = (
                    self.account, self.positions, self.refused, self.bars, self.last_open_ms, self.rules, self.interval,
                )  # fmt: skip
            self.mode = mode
            if mode in self._modes and not body.get("fresh"):
                (
                    self.account, self.positions, self.refused, self.bars, self.last_open_ms, rules, self.interval,
                ) = self._modes.pop(mode)  # fmt: skip
                self._count_from(rules.origin_ms)
                return
            self._open(body)
        elif body.get("fresh"):
            self._open(body)

    def _open(self, body: Mapping[str, Any]) -> None:
        self.account, self.positions = new_account(float(body["capital"])), new_positions(len(self.symbols))
        self.refused = np.zeros(COUNT, np.int64)
        self.bars, self.last_open_ms = 0, None
        self.interval = str(body["interval"])
        self._count_from(int(body["origin"]))
        self._kept = self._marks()

    def follow(self, rules: Rules) -> None:
        """Go on by other rules, as with another bundle; positions keep the levels that they have."""
        self.rules = rules._replace(origin_ms=self.rules.origin_ms)
        self.record = self.rules.array()

    def _count_from(self, origin_ms: int) -> None:
        self.rules = self.rules._replace(origin_ms=origin_ms)
        self.record = self.rules.array()

    def knows(self, mode: str) -> bool:
        """Whether there is an account of a mode."""
        return mode == self.mode or mode in self._modes

    def where(self, mode: str, origin_ms: int) -> tuple[int | None, int]:
        """Open time of the last bar of a mode's account, None if there is none, and its origin, or the one given."""
        if mode == self.mode:
            return self.last_open_ms, self.rules.origin_ms
        if mode in self._modes:
            return self._modes[mode][4], self._modes[mode][5].origin_ms
        return None, origin_ms

    def advance(self, body: Mapping[str, Any]) -> None:
        """The bar that was just decided here has been written down: the record BAR."""
        self.bars += 1
        self.last_open_ms = int(body["t"])
        # An age that is not known lets nothing in anyway.
        self.closed_ms = int(body["at"] - (body.get("age_ms") or 0))

    def _bar(self, body: Mapping[str, Any]) -> None:
        number = int(body["n"])
        if number != self.bars:
            raise BadInput(
                f"journal: bar {number} of {body['t']} ms follows bar {self.bars - 1}",
                "records are missing; restore the journal from a backup",
            )
        if "state" in body:
            self._restore(body["state"])
        self.advance(body)

    def _intent(self, body: Mapping[str, Any]) -> None:
        if body["symbol"] in self._place:
            self.legs[body["id"]] = Leg(
                body["symbol"], body["leg"], body["side"], Decimal(body["qty"]), int(body["bar"]),
                work=str(body.get("work", "")),
            )  # fmt: skip
            self._orders.setdefault(body["symbol"], []).append(body["id"])
            if body["leg"] == "entry":
                self._entries.setdefault(body["symbol"], []).append(self.legs[body["id"]])
            if len(self.legs) > 2 * _LEGS:
                over = [name for name, leg in self.legs.items() if leg.is_over]
                for name in over[:-_LEGS]:
                    del self.legs[name]
                    self.unwanted.discard(name)

    def _fill(self, body: Mapping[str, Any]) -> None:
        leg = self.legs.get(body["id"])
        if leg is None:
            return
        s = self._place[leg.symbol]
        qty, price = Decimal(body["qty"]), Decimal(body["price"])
        leg.filled += qty
        fee_base, fee_quote = self._fees(leg.symbol, qty * price, body)
        position = self.positions[s]
        if leg.leg == "entry":
            side = 1 if leg.side == "BUY" else -1
            book_entry(
                self.account, self.positions, s, self.bars, side, float(qty - fee_base), float(price),
                float(fee_quote + fee_base * price), self.record,
            )  # fmt: skip
            position["spend"] = max(float(position["spend"]) - float(qty * price), 0.0)
            # A plan has further orders; its own end tells.
            if leg.filled >= leg.qty and not leg.work:
                position["enter"] = 0
            if {str(body["id"]), leg.work} & self.unwanted and position["leave"] == 0:
                position["leave"], position["leave_bar"] = BREAKER, self.bars
            return
        self._reduce(s, leg, float(qty + fee_base), float(price), float(fee_quote + fee_base * price))

    def _reduce(self, s: int, leg: Leg, qty: float, price: float, fee: float) -> None:
        position = self.positions[s]
        reason = {"stop": int(position["stop_reason"]), "target": TAKE_PROFIT}.get(leg.leg)
        reason = reason or int(position["leave"]) or SIGNAL
        dust = self.dust.get(leg.symbol, 0.0)
        number = int(self.account["trades"][0])
        self.left_by[leg.symbol] = leg.leg
        if book_exit(
            self.account, self.positions, self._trades, 0, s, self.bars, qty, price, fee, reason, dust, self.record
        ):
            del self.left_by[leg.symbol]
            orders = self._orders.pop(leg.symbol, [])
            trade = trade_of(self._trades[0], leg.symbol, self.rules)
            self.closed[number] = {**trade, "number": number, "orders": orders}

    def _fees(self, symbol: str, notional: Decimal, body: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
        # In the base asset, and in the quote asset.
        fee, asset = Decimal(body["fee"]), str(body["fee_asset"])
        if not fee:
            return Decimal(0), Decimal(0)
        if symbol.startswith(asset):
            return fee, Decimal(0)
        if symbol.endswith(asset):
            return Decimal(0), fee
        if "fee_price" in body:
            return Decimal(0), fee * Decimal(body["fee_price"])
        # In a third asset whose price was not known: what the config expects.
        return Decimal(0), notional * Decimal(str(self.rules.taker_fee))

    def _outcome(self, body: Mapping[str, Any]) -> None:
        leg = self.legs.get(body["id"])
        if leg is None or leg.ended or body["event"] not in _ENDS:
            return
        leg.ended = True
        # A plan has further orders; its own end tells.
        again = [one for one in self.entering(leg.symbol) if one.open_time_ms == leg.open_time_ms]
        if leg.leg == "entry" and not leg.work and not again:
            if self.positions[self._place[leg.symbol]]["side"] == 0:
                self._lapse({"symbol": leg.symbol})
            else:
                self.positions[self._place[leg.symbol]]["enter"] = 0

    def entering(self, symbol: str) -> list[Leg]:
        """Entries of a symbol that may still be filled."""
        # Asked for at each step of an order: not by a look at all legs. One that is over stays so.
        live = self._entries[symbol] = [one for one in self._entries.get(symbol, ()) if not one.is_over]
        return live

    def _lapse(self, body: Mapping[str, Any]) -> None:
        position = self._of(body)
        if position is not None and position["enter"] != 0:
            position["enter"] = 0
            self.refused[TRADED] -= 1
            self.refused[LAPSED] += 1

    def _quit(self, body: Mapping[str, Any]) -> None:
        position = self._of(body)
        if position is not None and position["side"] != 0 and position["leave"] == 0:
            position["leave"], position["leave_bar"] = int(body["reason"]), self.bars

    def _of(self, body: Mapping[str, Any]) -> np.void | None:
        """The position that a record is about; None if its symbol is not traded any more."""
        place = self._place.get(str(body["symbol"]))
        return None if place is None else self.positions[place]

    def _breaker(self, body: Mapping[str, Any]) -> None:
        halt(self.account, int(body["code"]))

    def _command(self, body: Mapping[str, Any]) -> None:
        # Flattening pauses: what was closed by hand is not opened by the next signal.
        if (paused := {"pause": True, "flatten": True, "resume": False}.get(str(body["name"]))) is not None:
            self.paused, self.paused_for = paused, str(body["args"].get("reason") or "")
        if body["name"] == "flatten":
            # All of it follows from this one record: a crash right after it forgets nothing.
            for symbol in body["args"].get("symbols") or self.symbols:
                self._lapse({"symbol": symbol})
                self._quit({"symbol": symbol, "reason": BREAKER})
                self.unwanted |= {
                    name for name, leg in self.legs.items()
                    if leg.symbol == symbol and leg.leg == "entry" and not leg.is_over
                } | {work for work, of in self._works.items() if of == symbol}  # fmt: skip

    def _bundle(self, body: Mapping[str, Any]) -> None:
        self.bundle = str(body["bundle"])

    def _work(self, body: Mapping[str, Any]) -> None:
        if body["leg"] == "entry":
            self._works[body["id"]] = str(body["symbol"])

    def _worked(self, body: Mapping[str, Any]) -> None:
        symbol = self._works.pop(body["id"], "")
        if symbol in self._place:
            position = self.positions[self._place[symbol]]
            if position["side"] == 0:
                self._lapse({"symbol": symbol})
            position["enter"] = 0

    def _trade(self, body: Mapping[str, Any]) -> None:
        self.closed.pop(int(body["number"]), None)

    def _dust(self, body: Mapping[str, Any]) -> None:
        symbol = str(body["symbol"])
        # What is left of a position is too little to be sold: the position is over.
        position = self._of(body)
        if position is not None and position["side"] != 0:
            price = float(position["mark"])
            leg = Leg(symbol, self.left_by.get(symbol, "exit"), "SELL", Decimal(0), 0)
            self._reduce(self._place[symbol], leg, abs(float(position["qty"])), price, 0.0)

    def _protect(self, body: Mapping[str, Any]) -> None:
        symbol, stop = str(body["symbol"]), float(body["stop"])
        # A stop that was moved between two bars; it never loosens.
        if symbol in self._place:
            position = self.positions[self._place[symbol]]
            if position["side"] * (stop - position["stop"]) > 0 and stop > position["stop"] * (1 + 1e-4):
                position["stop"], position["stop_reason"] = stop, TRAILING_STOP

    def _reset(self, body: Mapping[str, Any]) -> None:
        reset(self.account)
        for position in self.positions:
            if position["leave"] == BREAKER and position["side"] == 0:
                position["leave"] = 0

    # State in the journal

    def state(self) -> dict[str, Any] | None:
        """The state for a bar's record; None if nothing is held or ordered, and nothing has changed."""
        marks = self._marks()
        if marks == self._kept:
            return None
        self._kept = marks
        return {
            "account": plain(self.account[0], ACCOUNT),
            "positions": {
                symbol: plain(self.positions[s], POSITION) for s, symbol in enumerate(self.symbols)
                if self.positions[s].tobytes() != _FRESH
            },
            "refused": {word: int(n) for word, n in zip(REASONS, self.refused, strict=True) if n},
        }  # fmt: skip

    def _restore(self, state: Mapping[str, Any]) -> None:
        unknown = set(state["positions"]) - set(self.symbols)
        held = [symbol for symbol in unknown if float.fromhex(state["positions"][symbol].get("qty", "0x0p+0"))]
        if held:
            raise BadInput(
                f"journal: {', '.join(sorted(held))} is held, and not among the config's symbols",
                "add it to `symbols`, or sell it and `pipeline flatten` first",
            )
        self.account[0] = restored(state["account"], ACCOUNT, np.zeros(1, ACCOUNT)[0])
        for s, symbol in enumerate(self.symbols):
            # A fresh one is left out, and is not all noughts.
            kept = state["positions"].get(symbol)
            self.positions[s] = new_positions(1)[0] if kept is None else restored(kept, POSITION, new_positions(1)[0])
        self.refused[:] = 0
        for word, count in state["refused"].items():
            self.refused[CODES[word]] = count
        self._kept = self._marks()

    def _marks(self) -> bytes:
        # Flat symbols' marks are set anew at each bar and mean nothing.
        copy = self.positions.copy()
        flat = (copy["side"] == 0) & (copy["enter"] == 0)
        copy["mark"][flat] = copy["volatility"][flat] = 0.0
        account = self.account.copy()
        if flat.all():
            account["next_day_bar"] = 0
        return copy.tobytes() + account.tobytes() + self.refused.tobytes()


_FRESH = new_positions(1)[0].tobytes()
