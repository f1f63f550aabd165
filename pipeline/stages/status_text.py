"""A status as people read it."""

import re
from collections.abc import Iterator
from typing import Any

from pipeline.live.status import OrderStatus, PositionStatus, Status


def status_text(status: Status) -> str:
    """Several lines: what it is doing, what it holds, and what keeps it from trading."""
    lines = [_headline(status), *(f"  {label:<10} {text}" for label, text in _lines(status))]
    return "\n".join(lines)


def _headline(status: Status) -> str:
    stopped = [
        *(["stopped by the kill switch"] if status.get("kill_switch") else []),
        *(["stopped by a breaker"] if status.get("breakers") else []),
        *(["paused"] if status.get("paused") else []),
    ]
    return f"{status.get('name', 'serve')}: {status.get('mode', 'running')}, {' and '.join(stopped) or 'trading'}"


def _lines(status: Status) -> Iterator[tuple[str, str]]:
    yield from _obstacles(status)
    if status.get("bundle"):
        yield "bundle", status["bundle"]
    if exchange := status.get("exchange"):
        yield "exchange", _exchange(dict(exchange))
    if "bar" in status:
        yield "last bar", _bar(status)
    if status.get("equity") is not None:
        yield "equity", _equity(status)
    yield from _holdings(status)
    latency = status.get("latency") or {}
    if latency.get("count"):
        figures = f"p50 {latency.get('p50_ms', 0):,.1f} ms, p99 {latency.get('p99_ms', 0):,.1f} ms"
        yield "latency", f"{figures} from bar to decision, last {latency['count']:,}"
    if counters := status.get("counters"):
        yield "counted", ", ".join(f"{name} {count:,}" for name, count in counters.items())
    if status.get("since"):
        process = f", process {status['pid']}" if "pid" in status else ""
        yield "running", f"since {_moment(status['since'])}{process}"


def _obstacles(status: Status) -> Iterator[tuple[str, str]]:
    for label, text in (("kill", status.get("kill_switch")), ("paused", status.get("paused"))):
        if text:
            yield label, text
    for breaker in status.get("breakers", []):
        since = f" since {_moment(breaker['since'])}" if breaker.get("since") else ""
        yield "breaker", f"{breaker.get('breaker', '')}: {breaker.get('reason', '')}{since}; `pipeline reset-breaker`"
    for symbol, reason in status.get("halted", {}).items():
        yield "halted", f"{symbol}: {reason}; look, then `pipeline resume --symbol {symbol}`"


def _holdings(status: Status) -> Iterator[tuple[str, str]]:
    positions, orders = status.get("positions"), status.get("orders")
    if positions is not None:
        yield from (("position", _position(one)) for one in positions)
        if not positions:
            yield "position", "none"
    if orders is not None:
        yield from (("order", _order(one)) for one in orders)
        if not orders:
            yield "order", "none open"


def _exchange(exchange: dict[str, Any]) -> str:
    state = {True: "connected", False: "NOT CONNECTED"}.get(exchange.get("connected"), "")  # type: ignore[arg-type]
    since = f"since {_moment(exchange['since'])}" if exchange.get("since") else ""
    words = ", ".join(filter(None, [exchange.get("name", ""), " ".join(filter(None, [state, since]))]))
    return f"{words}; {exchange['note']}" if exchange.get("note") else words


def _bar(status: Status) -> str:
    bar, age = status.get("bar"), status.get("bar_age_s")
    if not bar:
        return "none yet"
    return f"{_moment(bar)}{f', closed {duration(age)} ago' if age is not None else ''}"


def _equity(status: Status) -> str:
    quote = f" {status['quote_asset']}" if status.get("quote_asset") else ""
    text = f"{status['equity']:,.2f}{quote}"
    pnl, share = status.get("day_pnl"), status.get("day_return")
    if pnl is not None:
        text += f", today {_cents(pnl):+,.2f}" + (f" ({share:+.2%})" if share is not None else "")
    cash = status.get("cash")
    return text if cash is None else f"{text}, free {_cents(cash):,.2f}"


def _cents(amount: float) -> float:
    # What is left of rounding is nothing, not -0.00.
    return round(amount, 2) + 0.0


def _number(text: str | None) -> str:
    # As the exchange writes it, 44608.77000000, without what says nothing.
    return text.rstrip("0").rstrip(".") if text and "." in text else text or ""


def _position(one: PositionStatus) -> str:
    entry = _number(one.get("entry_price", "?"))
    text = f"{one.get('symbol', '')} {one.get('side', '')} {_number(one.get('qty', ''))} from {entry}"
    text += f" at {_number(one['price'])}" if one.get("price") else ""
    text += f": {one['pnl']:+,.2f}" if one.get("pnl") is not None else ""
    if one.get("stop"):
        where = {True: " on the exchange", False: " NOT ON THE EXCHANGE"}.get(one.get("protected"), "")  # type: ignore[arg-type]
        text += f", stop {_number(one['stop'])}{where}"
    else:
        text += ", no stop"
    return text + (f", target {_number(one['target'])}" if one.get("target") else "")


def _order(one: OrderStatus) -> str:
    at = [f"at {_number(one['price'])}"] if one.get("price") else []
    at += [f"stop {_number(one['stop_price'])}"] if one.get("stop_price") else []
    leg = f"{one['leg']}: " if one.get("leg") else ""
    what = f"{one.get('symbol', '')} {leg}{one.get('side', '')} {_number(one.get('qty', ''))} {one.get('kind', '')}"
    filled = f", filled {_number(one['filled'])}" if _number(one.get("filled") or "0") != "0" else ""
    return f"{' '.join([what, *at])}, {one.get('state', '')}{filled} [{one.get('client_order_id', '')}]"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 12 s, 5 min, 3 h, 2 days."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _moment(iso: str) -> str:
    # 2024-01-31T12:00:00.000Z → 2024-01-31 12:00:00 UTC
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d(?::\d\d)?)", iso)
    return f"{found[1]} {found[2]} UTC" if found else iso
