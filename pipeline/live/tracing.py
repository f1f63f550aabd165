"""What the journal says of one order: the intent, its fate, the bar it was decided at, and under which start."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import BadInput
from pipeline.market.candles import iso

Body = Mapping[str, Any]
Record = tuple[int, str, Body]
Records = Callable[[], Iterable[Record]]
_SHOWN = 6


@dataclass(frozen=True)
class Story:
    """An order's records, each with its number in the journal; None where there is none.

    symbol, open_time_ms: what was decided on, and the bar at whose close. intent: None for a decision on paper.
    fate: what became of the order, oldest first. start: of the run that decided. bar: the decision. trades: closed
    trades that the order had a part in, or on paper those of the bar's next fills.
    """

    symbol: str
    open_time_ms: int
    intent: Record | None
    fate: list[Record] = field(default_factory=list)
    start: Record | None = None
    bar: Record | None = None
    trades: list[Record] = field(default_factory=list)


def trace_order(records: Records, name: str) -> Story:
    """The story of an order, by its client id, the beginning of one, or the exchange's number of it.

    records: reads the journal from its first record, as often as it is called.
    Raises BadInput: no order is named so, or several are.
    """
    wanted = _resolve(records, name)
    intent: Record | None = None
    fate: list[Record] = []
    for record in records():
        _, kind, body = record
        if _id(body) != wanted:
            continue
        if kind == "INTENT":
            intent, fate = record, []
        else:
            fate.append(record)
    assert intent is not None
    symbol, time = str(intent[2]["symbol"]), int(intent[2]["bar"])
    start, bar = _decision(records, symbol, time, intent[0])
    trades = [one for one in records() if one[1] == "TRADE" and wanted in one[2].get("orders", ())]
    return Story(symbol, time, intent, fate, start, bar, trades)


def trace_decision(records: Records, symbol: str, open_time_ms: int) -> Story:
    """The story of what was decided at a bar. Raises BadInput: the journal knows of no such bar."""
    start, bar = _decision(records, symbol, open_time_ms, None)
    if bar is None:
        raise BadInput(
            f"the journal has no bar of {symbol} at {iso(open_time_ms)}", "`pipeline journal` shows the latest"
        )
    return Story(symbol, open_time_ms, None, [], start, bar)


def _resolve(records: Records, name: str) -> str:
    found: dict[str, None] = {}
    for _, kind, body in records():
        if kind == "INTENT" and _id(body).startswith(name):
            if _id(body) == name:
                return name
            found[_id(body)] = None
        elif name.isdigit() and str(body.get("order_id", "")) == name:
            found[_id(body)] = None
    if not found:
        raise BadInput(
            f"the journal has no order '{name}'",
            "give a client order id, the beginning of one, the exchange's number, or SYMBOL@TIME for a decision",
        )
    if len(found) > 1:
        names = list(found)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise BadInput(f"'{name}' may be {', '.join(names[:_SHOWN])}{more}", "write more of it")
    return next(iter(found))


def _decision(records: Records, symbol: str, time: int, before: int | None) -> tuple[Record | None, Record | None]:
    # The last one of that time: an order is decided after the bar of its own run, and before the next run's.
    start: Record | None = None
    found: tuple[Record | None, Record | None] = None, None
    for record in records():
        number, kind, body = record
        if before is not None and number > before:
            break
        if kind == "START":
            start = record
        elif kind == "BAR" and int(body["t"]) == time and symbol in body["s"]:
            found = start, record
    return found


def _id(body: Body) -> str:
    return str(body.get("id", ""))
