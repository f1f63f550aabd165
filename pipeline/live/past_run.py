"""A run of live trading as its journal tells it: the bars of one account since it was opened, and its orders.

What was seen at each bar is not held: `bodies` reads it once more, so that memory hardly grows with the years.
"""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput

Body = Mapping[str, Any]
ZERO = Decimal(0)


@dataclass
class PastOrder:
    """An order that was sent: decided at the bar of `open_time_ms`. fills: (qty, price); fees by asset; third_fees: in
    the quote asset, those in an asset that is neither base nor quote and whose price was known. sent_ms, answered_ms,
    filled_ms: when it was sent, when the exchange's first word of it and the last of its whole fill were written down;
    None if that is not known."""

    symbol: str
    leg: str
    side: str
    qty: Decimal
    open_time_ms: int
    base: str = ""
    sent_ms: int | None = None
    answered_ms: int | None = None
    filled_ms: int | None = None
    fills: list[tuple[Decimal, Decimal]] = field(default_factory=list)
    fees: dict[str, Decimal] = field(default_factory=dict)
    third_fees: Decimal = ZERO

    def fees_quote(self) -> Decimal:
        """Fees in the quote asset; those in the base asset at the order's own prices, others at theirs of that time,
        or left out if it was not known."""
        filled = sum((qty for qty, _ in self.fills), ZERO)
        price = sum((qty * price for qty, price in self.fills), ZERO) / filled if filled else ZERO
        quote = self.symbol.removeprefix(self.base) if self.base else ""
        return self.fees.get(quote, ZERO) + self.fees.get(self.base, ZERO) * price + self.third_fees


@dataclass(frozen=True, slots=True)
class PastBar:
    """A bar that was decided. record: its number in the journal; age_ms: None if it was not known."""

    record: int
    open_time_ms: int
    at_ms: int
    bundle: str
    is_late: bool
    age_ms: float | None


@dataclass
class PastRun:
    """An account's life.

    origin_ms: from which its bars are counted. capital: at the start. exchange: where it was traded, empty if that was
    not written down. starts: each start's first bar number and bundle. bars: in order. trades: of the account. orders:
    by client id.
    """

    mode: str
    interval: str
    origin_ms: int
    capital: float
    config: str
    exchange: str = ""
    starts: list[tuple[int, str]] = field(default_factory=list)
    bars: list[PastBar] = field(default_factory=list)
    trades: list[Body] = field(default_factory=list)
    orders: dict[str, PastOrder] = field(default_factory=dict)


def past_run(records: Iterable[tuple[int, str, Body]], mode: str | None = None) -> PastRun:
    """The last account of a mode, the mode of the last start if None. Raises BadInput: there is none, or no bar."""
    runs: dict[str, PastRun] = {}
    current: PastRun | None = None
    for number, kind, body in records:
        if kind == "START":
            current = _started(runs, body)
        elif current is not None:
            _add(current, number, kind, body)
    wanted = mode or (current.mode if current else "")
    if wanted not in runs or not runs[wanted].bars:
        raise BadInput(f"the journal has no bar of a {wanted or 'shadow or live'} run", "`pipeline serve` makes one")
    return runs[wanted]


def bodies(records: Iterable[tuple[int, str, Body]], bars: Iterable[PastBar]) -> Iterator[Body]:
    """The bodies of some bars, in order. records: of the same journal, from the first one on."""
    wanted = iter(bars)
    bar = next(wanted, None)
    for number, _, body in records:
        if bar is None:
            return
        if number == bar.record:
            yield body
            bar = next(wanted, None)


def _started(runs: dict[str, PastRun], body: Body) -> PastRun:
    mode = str(body["mode"])
    if mode not in runs or body.get("fresh"):
        runs[mode] = PastRun(
            mode, str(body["interval"]), int(body["origin"]), float(body["capital"]), str(body["config"]),
            str(body.get("exchange") or ""),
        )  # fmt: skip
    run = runs[mode]
    run.starts.append((len(run.bars), str(body["bundle"])))
    return run


def _add(run: PastRun, number: int, kind: str, body: Body) -> None:
    if kind == "BAR":
        age = body.get("age_ms")
        run.bars.append(
            PastBar(
                number, int(body["t"]), int(body["at"]), sys.intern(str(body["bundle"])), bool(body["late"]),
                float(age) if isinstance(age, int | float) and math.isfinite(age) else None,
            )
        )  # fmt: skip
        run.trades += body.get("trades", ())
    elif kind == "TRADE":
        run.trades.append(body)
    elif kind == "INTENT":
        run.orders[body["id"]] = PastOrder(
            body["symbol"], body["leg"], body["side"], Decimal(body["qty"]), int(body["bar"]), body.get("base", "")
        )
    elif kind == "SENT" and body["id"] in run.orders:
        run.orders[body["id"]].sent_ms = int(body["time"])
    elif kind == "OUTCOME" and body["id"] in run.orders and "at" in body:
        order = run.orders[body["id"]]
        if body["event"] == "acknowledge" and order.answered_ms is None:
            order.answered_ms = int(body["at"])
    elif kind == "FILL" and body["id"] in run.orders:
        order, asset = run.orders[body["id"]], str(body["fee_asset"])
        order.fills.append((Decimal(body["qty"]), Decimal(body["price"])))
        order.fees[asset] = order.fees.get(asset, ZERO) + Decimal(body["fee"])
        order.third_fees += Decimal(body["fee"]) * Decimal(body.get("fee_price", 0))
        if "at" in body and order.filled_ms is None and sum((qty for qty, _ in order.fills), ZERO) >= order.qty:
            order.filled_ms = int(body["at"])
