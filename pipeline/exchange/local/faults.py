"""What goes wrong, and when: a menu of faults, and a seeded list of those that wait.

A fault waits for its time (`at`), then for something that it applies to (`where`), happens `count` times and is gone.
This module only decides; the shells do the harm.
"""

import fnmatch
import json
import random
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import BadInput

Point = Literal["before", "rest", "late", "after", "reply", "report", "kline", "action"]


@dataclass(frozen=True)
class Kind:
    """One entry of the menu.

    case: its name in the table of cases; point: where it takes effect (`rest` and `late`: before a request of REST or
    of the WebSocket API only); args: defaults; scope: operations that it can happen to at all.
    """

    case: str
    point: Point
    words: str
    args: dict[str, Any]
    scope: str = "*"


KINDS: dict[str, Kind] = {
    # Market streams
    "ws_drop": Kind("W1", "action", "Market sockets close: mode clean (1001), rst or server.", {"mode": "clean"}),
    "ws_half_open": Kind("W2", "action", "Market sockets stay open and say nothing, not even pong.", {"seconds": 60}),
    "outage": Kind("W3", "action", "Connections break and new ones are refused.", {"seconds": 90}),
    "kline_duplicate": Kind("W4", "kline", "The closed bar is told twice.", {}),
    "kline_out_of_order": Kind("W4", "kline", "The closed bar is told after the next one.", {}),
    "kline_late_open": Kind("W4", "kline", "After the closed bar it is told once more as open.", {}),
    "kline_missing": Kind("W5", "kline", "The bar is never told as closed; REST has it.", {}),
    "bar_missing": Kind("W5", "kline", "The bar is missing everywhere.", {}),
    "kline_revised": Kind("W6", "kline", "REST has another close than the stream told.", {"factor": 1.001}),
    "server_shutdown": Kind(
        "W7", "action", "A serverShutdown event on all sockets; they close after it.", {"seconds": 5}
    ),
    "ws_malformed": Kind("W8", "action", "A frame that is no JSON.", {}),
    "ws_huge": Kind("W8", "action", "A frame of some megabytes.", {"megabytes": 2}),
    "ws_burst": Kind("W8", "action", "Many messages at once.", {"messages": 10_000}),
    # WebSocket API and user data
    "wsapi_drop": Kind("A1", "action", "Sockets of the WebSocket API close.", {"mode": "clean"}),
    "wsapi_late_error": Kind("A2", "late", "A reply comes late, as an error.", {"seconds": 12}),
    "report_lost": Kind("A3", "report", "An event of the user data stream is not sent.", {}),
    "report_duplicated": Kind("A3", "report", "It is sent twice.", {}),
    "report_reordered": Kind("A3", "report", "It is sent after the next one.", {}),
    "report_before_reply": Kind("A3", "reply", "It overtakes the reply.", {}),
    # Orders
    "lose_reply": Kind(
        "O1 O4",
        "after",
        "Executed, but the reply is lost: how 504, -1007, drop, hang or mute.",
        {"how": "drop", "seconds": 12},
    ),
    "not_accepted": Kind("O2", "before", "Not executed: how 503, -1001, drop or hang.", {"how": "503", "seconds": 12}),
    "not_found": Kind("O3", "before", "The order is not to be found yet (-2013).", {}, "order.status"),
    "partial_fill": Kind("O5", "action", "Orders that take are filled for a share only.", {"share": "0.5", "bars": 1}),
    "fill_during_cancel": Kind(
        "O5", "before", "The order is filled just before its cancel arrives.", {}, "order*.cancel*"
    ),
    "reject": Kind("O6", "before", "Refused with a code and a message.", {"code": -2010, "message": ""}),
    "filter_change": Kind(
        "O6", "action", "A filter of a symbol or the exchange changes.", {"symbol": "", "filter": "", "values": {}}
    ),
    "symbol_status": Kind("O6", "action", "A symbol halts or trades again.", {"symbol": "", "status": "HALT"}),
    # Limits and delays
    "rate_limit": Kind("R1", "before", "429, then 418 for who goes on.", {"seconds": 5}),
    "waf": Kind("R1", "rest", "403 with a page of HTML.", {}),
    "maintenance": Kind("R1", "rest", "200 with a page of HTML.", {}),
    "latency": Kind("R2", "before", "A delay before the request is looked at.", {"ms": 500, "jitter_ms": 0}),
    "clock": Kind("C1", "action", "The server's clock jumps and drifts.", {"skew_ms": 5000, "drift_ms_per_s": 0.0}),
    # The exchange and others
    "restart": Kind("X2", "action", "The exchange goes down and comes back from its journal.", {"seconds": 1}),
    "foreign_order": Kind("X4", "action", "Another client of the account trades.", {"params": {}}),
    "foreign_deposit": Kind("X4", "action", "A balance changes from outside.", {"asset": "USDT", "amount": "-10"}),
}

# What an argument may be: words, by kind or for all of them, and the least and most of numbers.
_WORDS = {
    "mode": ("clean", "rst", "server"),
    "lose_reply.how": ("504", "-1007", "drop", "hang", "mute"),
    "not_accepted.how": ("503", "-1001", "drop", "hang"),
    "status": ("TRADING", "HALT", "BREAK", "CANCEL_ONLY", "END_OF_DAY"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "seconds": (0, 86_400),
    "megabytes": (0, 64),
    "messages": (0, 1_000_000),
    "factor": (0.01, 100),
    "ms": (0, 600_000),
    "jitter_ms": (0, 600_000),
    "skew_ms": (-1e12, 1e12),
    "drift_ms_per_s": (-1000, 1000),
    "code": (-99_999, -1),
    "share": (0, 1),
    "bars": (1, 1_000_000),
    "amount": (-1e15, 1e15),
}
_WHOLE = ("messages", "skew_ms", "code", "bars")


def menu_table() -> str:
    """The menu as a Markdown table, for the documentation."""
    rows = ["| kind | case | what happens | arguments |", "|---|---|---|---|"]
    for name, kind in KINDS.items():
        args = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in kind.args.items())
        rows.append(f"| `{name}` | {kind.case} | {kind.words} | {args} |")
    return "\n".join(rows)


class At(BaseModel):
    """When a fault is due: at a bar counted from the start, at a market time in ms, or at the nth matching call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bar: int | None = Field(None, ge=0)
    time: int | None = Field(None, ge=0)
    nth_call: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one(self) -> "At":
        if sum(value is not None for value in (self.bar, self.time, self.nth_call)) > 1:
            raise ValueError("give one of bar, time and nth_call")
        return self


class Fault(BaseModel):
    """One fault of a scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    at: At = At()
    where: str = Field("*", description="Operation, symbol or event that it applies to; * and ? match.")
    args: dict[str, Any] = {}
    count: int = Field(1, ge=0, description="How often; 0: until it is taken away.")
    probability: float = Field(1.0, gt=0, le=1, description="Of each time, seeded.")

    @model_validator(mode="after")
    def _known(self) -> "Fault":
        if self.kind not in KINDS:
            raise ValueError(f"'{self.kind}' is not a fault; known are {', '.join(KINDS)}")
        unknown = self.args.keys() - KINDS[self.kind].args.keys()
        if unknown:
            known = ", ".join(KINDS[self.kind].args) or "no arguments"
            raise ValueError(f"{self.kind} takes {known}, not {', '.join(sorted(unknown))}")
        for name, value in self.args.items():
            _check(self.kind, name, value)
        return self

    @property
    def point(self) -> Point:
        """Where it takes effect."""
        return KINDS[self.kind].point

    def arg(self, name: str) -> Any:
        """An argument or its default; a word may have been written as a number."""
        default = KINDS[self.kind].args[name]
        value = self.args.get(name, default)
        return str(value) if isinstance(default, str) else value


def _check(kind: str, name: str, value: Any) -> None:
    """Raises ValueError: an argument cannot be used."""
    default, where = KINDS[kind].args[name], f"{kind}: {name}"
    words = _WORDS.get(f"{kind}.{name}") or _WORDS.get(name)
    if isinstance(default, dict):
        if not isinstance(value, dict) or any(isinstance(one, dict | list) for one in value.values()):
            raise ValueError(f"{where}: names and values are needed, not {value!r}")
    elif name in _RANGES:
        least, most = _RANGES[name]
        try:
            number = Decimal("nan") if isinstance(value, bool) else Decimal(str(value))
            fits = least <= number <= most and (name not in _WHOLE or number % 1 == 0)
        except InvalidOperation:
            fits = False
        if not fits:
            what = "a whole number" if name in _WHOLE else "a number"
            raise ValueError(f"{where}: {what} from {least:g} to {most:g} is needed, not {value!r}")
    elif not isinstance(value, str | int) or (words is not None and str(value) not in words):
        raise ValueError(f"{where}: {', '.join(words) if words else 'a text'} is needed, not {value!r}")


@dataclass
class _Waiting:
    id: int
    fault: Fault
    happened: int = 0
    calls: int = 0


class Faults:
    """Faults that wait, in the order in which they were added."""

    def __init__(self, faults: list[Fault], seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._waiting: list[_Waiting] = []
        self._next = 1
        self.history: list[dict[str, Any]] = []
        for fault in faults:
            self.add(fault)

    @property
    def are_waiting(self) -> bool:
        """Whether there are any."""
        return bool(self._waiting)

    def add(self, fault: Fault) -> int:
        """Let a fault wait; returns its number."""
        self._waiting.append(_Waiting(self._next, fault))
        self._next += 1
        return self._next - 1

    def failed(self, fault: Fault, reason: str) -> None:
        """Note that a fault could not be done."""
        self.history.append({"kind": fault.kind, "failed": reason})

    def remove(self, number: int) -> None:
        """Take a fault away. Raises BadInput: there is none of that number."""
        left = [one for one in self._waiting if one.id != number]
        if len(left) == len(self._waiting):
            raise BadInput(f"no fault {number} is waiting")
        self._waiting = left

    def view(self) -> list[dict[str, Any]]:
        """What waits."""
        return [
            {"id": one.id, "happened": one.happened, **one.fault.model_dump(exclude_defaults=True)}
            for one in self._waiting
        ]

    def take(self, point: Point, what: str, bar: int, now: int) -> list[Fault]:
        """The faults that happen now to something at a point. what: its name; bar, now: where the market is."""
        if not self._waiting:
            return []
        found = []
        for one in list(self._waiting):
            fault = one.fault
            scope = KINDS[fault.kind].scope
            if fault.point != point or not (
                fnmatch.fnmatchcase(what, fault.where) and fnmatch.fnmatchcase(what, scope)
            ):
                continue
            one.calls += 1
            at = fault.at
            if (
                (at.bar is not None and bar < at.bar)
                or (at.time is not None and now < at.time)
                or (at.nth_call is not None and one.calls < at.nth_call)
                or (fault.probability < 1 and self._random.random() >= fault.probability)
            ):
                continue
            one.happened += 1
            found.append(fault)
            self.history.append({"id": one.id, "kind": fault.kind, "what": what, "bar": bar, "time": now})
            del self.history[:-1000]
            if fault.count and one.happened >= fault.count:
                self._waiting.remove(one)
        return found

    def draw(self, most: float) -> float:
        """A seeded random number below `most`."""
        return self._random.random() * most
