"""Time that passes only when nobody has anything to do, and an exchange that answers as a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from decimal import Decimal
from typing import Any

from pipeline.exchange.port import Event, Refused, Report, Request
from pipeline.trading.orders import Fill

BEGIN_MS = 1_700_000_040_000


class Clock:
    """`port.Clock` over the running loop's time."""

    def now_ms(self) -> int:
        return BEGIN_MS + int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def live(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run to the end; sleeping takes no time. Raises RuntimeError: all wait for something that will not come."""
    loop = asyncio.new_event_loop()
    passed = 0.0
    select = loop._selector.select

    def jump(timeout: float | None) -> Any:
        nonlocal passed
        found = select(0 if timeout is not None else 1)
        if timeout is None and not found:
            raise RuntimeError("nothing will ever happen again")
        if not found:
            passed += timeout or 0.0
        return found

    loop.time = lambda: passed
    loop._selector.select = jump
    try:
        return loop.run_until_complete(work())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class Exchange:
    """Fills market orders at ten, and lets stops rest; whatever it is asked can be replaced.

    calls: what it was asked, in order. orders: the last report of each order.
    """

    def __init__(self, log: list[Any] | None = None) -> None:
        self.calls: list[Any] = [] if log is None else log
        self.orders: dict[str, Report] = {}
        self.told: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self.free = {"USDT": Decimal(1000)}
        self.delay = 0.0
        self.clock_moved_ms = 0.0

    async def place(self, request: Request, window_ms: int) -> Report:
        self.calls.append(request)
        await asyncio.sleep(self.delay)
        return self.take(request)

    async def place_list(self, request: Any, window_ms: int) -> list[Report]:
        self.calls.append(request)
        await asyncio.sleep(self.delay)
        return [self.take(one) for one in request.requests]

    def take(self, request: Request) -> Report:
        number = len(self.orders) + 1
        fills: tuple[Fill, ...] = ()
        if request.kind == "MARKET":
            fills = (Fill(number, request.qty, Decimal(10), Decimal(0), "USDT"),)
        report = Report(
            request.symbol, request.client_order_id, "FILLED" if fills else "NEW", request.qty if fills else Decimal(0),
            number, fills,
        )  # fmt: skip
        self.orders[request.client_order_id] = report
        return report

    async def cancel(self, symbol: str, client_order_id: str) -> Report:
        self.calls.append(("cancel", client_order_id))
        raise Refused(-2011, "Unknown order sent.")

    async def find(self, symbol: str, client_order_id: str) -> Report | None:
        self.calls.append(("find", client_order_id))
        return self.orders.get(client_order_id)

    async def find_list(self, symbol: str, list_client_order_id: str) -> list[Report] | None:
        return None

    async def open_orders(self, symbol: str) -> list[Report]:
        return [one for one in self.orders.values() if one.symbol == symbol and one.status == "NEW"]

    async def fills(self, symbol: str, after: int) -> list[tuple[str, Fill]]:
        told = [(name, fill) for name, one in self.orders.items() if one.symbol == symbol for fill in one.fills]
        return [(name, fill) for name, fill in told if fill.trade_id > after]

    async def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        return {asset: (free, Decimal(0)) for asset, free in self.free.items() if free}

    async def server_ms(self) -> int:
        return Clock().now_ms()

    async def events(self, symbols: Any, interval: str, since_ms: Any = None) -> AsyncIterator[Event]:
        while True:
            event = await self.told.get()
            if isinstance(event, BaseException):
                raise event
            yield event
