"""What a running `serve` says of itself when it is asked for its status."""

from typing import TypedDict


class PositionStatus(TypedDict, total=False):
    """A position. Amounts are text, exact; pnl is in the quote asset, at `price`, after the fees so far.

    protected: whether its stop rests on the exchange.
    """

    symbol: str
    side: str
    qty: str
    entry_price: str
    price: str
    pnl: float
    stop: str | None
    target: str | None
    protected: bool


class OrderStatus(TypedDict, total=False):
    """An order that may still be filled. state: a word of `trading.orders.State`."""

    symbol: str
    side: str
    kind: str
    leg: str
    qty: str
    filled: str
    price: str | None
    stop_price: str | None
    state: str
    client_order_id: str


class BreakerStatus(TypedDict, total=False):
    """A breaker that has tripped. since: ISO time."""

    breaker: str
    reason: str
    since: str


class ExchangeStatus(TypedDict, total=False):
    """The connection. name: live, testnet, demo or its address; since: ISO time; note: what was last said of it."""

    name: str
    connected: bool
    since: str
    note: str


class LatencyStatus(TypedDict, total=False):
    """Milliseconds from the arrival of a bar to the decision on it, of the last `count` bars."""

    p50_ms: float
    p99_ms: float
    count: int


class Status(TypedDict, total=False):
    """All of it. Whatever is missing is not shown.

    mode: live or shadow. since, now, bar: ISO times, `bar` the open time of the last bar that was decided on;
    bar_age_s: seconds since it closed. paused, kill_switch: why no entries are made, or empty. equity, cash,
    day_pnl: in quote_asset; day_return: fraction, since 00:00 UTC. halted: reasons by symbol. counters: since the
    start, by name.
    """

    name: str
    mode: str
    bundle: str
    version: str
    pid: int
    since: str
    now: str
    bar: str | None
    bar_age_s: float | None
    quote_asset: str
    equity: float | None
    cash: float | None
    day_pnl: float | None
    day_return: float | None
    paused: str
    kill_switch: str
    positions: list[PositionStatus]
    orders: list[OrderStatus]
    halted: dict[str, str]
    breakers: list[BreakerStatus]
    exchange: ExchangeStatus
    latency: LatencyStatus
    counters: dict[str, int]
