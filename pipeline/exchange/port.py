"""The port of an exchange: what trading asks of one, real or simulated, and the clock that its adapters live by."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from pipeline.trading.filters import SymbolFilters
from pipeline.trading.orders import Fill


class Clock(Protocol):
    """Time."""

    def now_ms(self) -> int:
        """The exchange's time as far as we know it, ms since 1970."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Let others go on for a while."""


@dataclass(frozen=True)
class Request:
    """An order to send. Amounts are exact decimals, rounded to the symbol's filters already.

    kind: MARKET, LIMIT, LIMIT_MAKER, STOP_LOSS, STOP_LOSS_LIMIT, TAKE_PROFIT or TAKE_PROFIT_LIMIT. price: of the kinds
    with a limit; stop_price: at which a stop or target becomes an order; tif: GTC for kinds with a limit if absent.
    """

    symbol: str
    side: str
    kind: str
    qty: Decimal
    client_order_id: str
    price: Decimal | None = None
    stop_price: Decimal | None = None
    tif: str | None = None


@dataclass(frozen=True)
class ListRequest:
    """Orders that are sent as one.

    Two legs of one side, a target and a stop, of which at most one is filled (OCO); with a working limit order, its
    legs, one (OTO) or two (OTOCO) of the other side, come to life when that is filled whole. All are accepted, or none.
    """

    symbol: str
    list_client_order_id: str
    legs: tuple[Request, ...]
    working: Request | None = None

    @property
    def requests(self) -> tuple[Request, ...]:
        """All orders: the working one first, if there is one."""
        return self.legs if self.working is None else (self.working, *self.legs)


@dataclass(frozen=True)
class Report:
    """What the exchange says of one of our orders: in a reply, an event or a query.

    status: the exchange's word. executed: quantity so far. fills: those that it tells of, each with its trade id.
    """

    symbol: str
    client_order_id: str
    status: str
    executed: Decimal
    order_id: int = -1
    fills: tuple[Fill, ...] = ()
    time_ms: int = 0


class Refused(Exception):
    """The exchange said no, for good: the order does not exist. code, message: the exchange's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Unclear(Exception):
    """A reply was lost or says that the outcome is unknown: the request may have been executed."""


class Unavailable(Exception):
    """The request was not executed and may be sent again. after_s: not earlier."""

    def __init__(self, message: str, after_s: float = 1.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class Barred(Unavailable):
    """We are banned; nothing at all may be sent before `after_s` is over."""


class WrongKey(Exception):
    """The key, its permissions or its signature are refused: trading stops."""


@dataclass(frozen=True)
class Permissions:
    """What a key may do. trade: order on the spot market. withdraw: take money away. is_bound: to addresses of the
    network."""

    trade: bool
    withdraw: bool
    is_bound: bool


@dataclass(frozen=True)
class AccountLimits:
    """What an account may have open on the whole exchange, and move in one order.

    orders, stop_orders, lists: how many may be open; 0: any number. assets: most of an asset in one order.
    """

    orders: int = 0
    stop_orders: int = 0
    lists: int = 0
    assets: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Quote:
    """The best prices of a symbol's book."""

    symbol: str
    bid: Decimal
    ask: Decimal


@dataclass(frozen=True)
class Traded:
    """Base asset that somebody traded."""

    symbol: str
    qty: Decimal


@dataclass(frozen=True)
class ClosedBar:
    """A bar of the exchange that has closed, told once and in order. values: columns of `candles.SCHEMA` by name."""

    symbol: str
    open_time_ms: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class AccountChange:
    """Balances that changed: asset → free and locked."""

    balances: Mapping[str, tuple[Decimal, Decimal]]
    time_ms: int = 0


@dataclass(frozen=True)
class Interrupted:
    """A stream was lost and is back: events in between did not come, so ask for what is true now."""

    stream: str


Event = ClosedBar | Report | AccountChange | Interrupted


class Exchange(Protocol):
    """An exchange, real or simulated. Every call may raise Unclear (only those that change something), Unavailable,
    Barred, WrongKey."""

    async def server_ms(self) -> int:
        """Its time."""

    async def filters(self, symbol: str) -> SymbolFilters:
        """Its rules of a symbol. Raises Refused."""

    async def place(self, request: Request, window_ms: int) -> Report:
        """Send an order; it cannot be accepted later than `window_ms` after the call. Raises Refused, Unclear."""

    async def cancel(self, symbol: str, client_order_id: str) -> Report:
        """Cancel an order. Raises Refused (it is not live), Unclear."""

    async def find(self, symbol: str, client_order_id: str) -> Report | None:
        """An order of ours, None if the exchange does not know it (yet)."""

    async def place_list(self, request: ListRequest, window_ms: int) -> list[Report]:
        """Send orders as one, accepted like an order. Raises Refused: none of them exists; Unclear."""

    async def cancel_list(self, symbol: str, list_client_order_id: str) -> list[Report]:
        """Cancel what is live of a list. Raises Refused (nothing of it is live), Unclear."""

    async def find_list(self, symbol: str, list_client_order_id: str) -> list[Report] | None:
        """The orders of a list of ours, None if the exchange does not know it (yet)."""

    async def test(self, request: Request) -> None:
        """Let the exchange check an order that is not to be placed; the balance is not checked. Raises Refused."""

    async def open_orders(self, symbol: str) -> list[Report]:
        """Live orders of the account, whoever placed them."""

    async def fills(self, symbol: str, after_trade_id: int) -> list[tuple[str, Fill]]:
        """Our fills with larger trade ids, oldest first, with the client id of their order."""

    async def permissions(self) -> Permissions:
        """What our key may do."""

    async def fees(self, symbol: str) -> tuple[Decimal, Decimal]:
        """What we pay as maker and as taker, fractions of the notional."""

    async def limits(self, symbol: str) -> AccountLimits:
        """What the account may have open, and move of a symbol in one order. Raises Refused: it is not told."""

    async def price(self, symbol: str) -> Decimal:
        """The last price of a symbol. Raises Refused: there is none."""

    def quotes(self, symbols: Iterable[str]) -> AsyncIterator[Quote | Traded]:
        """Best prices as they change, and what is traded, for ever; some may be left out."""

    async def balances(self) -> Mapping[str, tuple[Decimal, Decimal]]:
        """Free and locked by asset."""

    async def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> list[ClosedBar]:
        """Closed bars with open times in [start_ms, end_ms), oldest first."""

    def events(
        self, symbols: Iterable[str], interval: str, since_ms: Mapping[str, int] | None = None
    ) -> AsyncIterator[Event]:
        """Closed bars and account events as they come, for ever; closed bars without gaps, each once, in order.

        since_ms: open time of the first bar by symbol; without it the one that is open now.
        """
