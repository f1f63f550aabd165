"""Orders and order lists as the exchange keeps them, and as it shows them."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipeline.exchange.local.accounts import Lock
from pipeline.exchange.local.numbers import ZERO, text

LIVE = ("NEW", "PARTIALLY_FILLED", "PENDING_NEW")
STOPS = ("STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of a client's order."""

    id: int
    order_id: int
    list_id: int
    symbol: str
    price: Decimal
    qty: Decimal
    quote: Decimal
    commission: Decimal
    asset: str
    time: int
    buyer: bool
    maker: bool

    def view(self) -> dict[str, Any]:
        """A row of `GET /api/v3/myTrades`."""
        return {
            "symbol": self.symbol,
            "id": self.id,
            "orderId": self.order_id,
            "orderListId": self.list_id,
            "price": text(self.price),
            "qty": text(self.qty),
            "quoteQty": text(self.quote),
            "commission": text(self.commission),
            "commissionAsset": self.asset,
            "time": self.time,
            "isBuyer": self.buyer,
            "isMaker": self.maker,
            "isBestMatch": True,
        }

    def fill(self) -> dict[str, Any]:
        """A row of `fills` in the reply to a new order."""
        return {
            "price": text(self.price),
            "qty": text(self.qty),
            "commission": text(self.commission),
            "commissionAsset": self.asset,
            "tradeId": self.id,
        }


@dataclass(slots=True)
class Order:
    """One order. price, stop_price, quote_qty, iceberg: 0 if not given.

    armed: a stop that has not been triggered; active: a trailing one that follows the price, from `extreme` on.
    """

    id: int
    account: str
    symbol: str
    client_id: str
    side: str
    kind: str
    tif: str
    qty: Decimal
    time: int
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    quote_qty: Decimal = ZERO
    iceberg: Decimal = ZERO
    trailing: int = 0
    trailing_time: int = -1
    strategy_id: int | None = None
    strategy_type: int | None = None
    list_id: int = -1
    status: str = "NEW"
    executed: Decimal = ZERO
    quote: Decimal = ZERO
    update_time: int = 0
    working_time: int = -1
    armed: bool = False
    active: bool = False
    extreme: Decimal = ZERO
    lock: Lock | None = None
    expiry_reason: str = ""
    trades: list[Trade] = field(default_factory=list)
    queue: Decimal = ZERO

    @property
    def remaining(self) -> Decimal:
        """Quantity not filled yet."""
        return self.qty - self.executed

    @property
    def is_live(self) -> bool:
        """Whether it is open, or waits for another order of its list."""
        return self.status in LIVE

    @property
    def is_limit(self) -> bool:
        """Whether it has a limit price once it works."""
        return self.kind in ("LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")

    @property
    def is_stop(self) -> bool:
        """Whether it is an algo order, which waits for a price."""
        return self.kind in STOPS

    @property
    def triggers_below(self) -> bool:
        """Whether it is triggered by falling prices, or, if trailing, activated by them."""
        return (self.side == "SELL") == self.kind.startswith("STOP_LOSS")

    def _amounts(self) -> dict[str, Any]:
        return {
            "price": text(self.price),
            "origQty": text(self.qty),
            "executedQty": text(self.executed),
            "origQuoteOrderQty": text(self.quote_qty),
            "cummulativeQuoteQty": text(self.quote),
            "status": self.status,
            "timeInForce": self.tif,
            "type": self.kind,
            "side": self.side,
        }

    def _conditional(self) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        if self.stop_price:
            shown["stopPrice"] = text(self.stop_price)
        if self.iceberg:
            shown["icebergQty"] = text(self.iceberg)
        shown.update(self._optional())
        return shown

    def _optional(self) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        if self.trailing:
            shown |= {"trailingDelta": self.trailing, "trailingTime": self.trailing_time}
        if self.strategy_id is not None:
            shown["strategyId"] = self.strategy_id
        if self.strategy_type is not None:
            shown["strategyType"] = self.strategy_type
        if self.expiry_reason:
            shown["expiryReason"] = self.expiry_reason
        return shown

    def view(self) -> dict[str, Any]:
        """As `GET /api/v3/order` shows it."""
        return {
            "symbol": self.symbol,
            "orderId": self.id,
            "orderListId": self.list_id,
            "clientOrderId": self.client_id,
            "price": text(self.price),
            "origQty": text(self.qty),
            "executedQty": text(self.executed),
            "cummulativeQuoteQty": text(self.quote),
            "status": self.status,
            "timeInForce": self.tif,
            "type": self.kind,
            "side": self.side,
            "stopPrice": text(self.stop_price),
            "icebergQty": text(self.iceberg),
            "time": self.time,
            "updateTime": self.update_time,
            "isWorking": self.working_time >= 0,
            "workingTime": self.working_time,
            "origQuoteOrderQty": text(self.quote_qty),
            "selfTradePreventionMode": "NONE",
        } | self._optional()

    def _head(self) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "orderId": self.id,
            "orderListId": self.list_id,
            "clientOrderId": self.client_id,
            "transactTime": self.update_time,
        }

    def placed(self, kind: str) -> dict[str, Any]:
        """The reply to its placing. kind: ACK, RESULT or FULL."""
        if kind == "ACK":
            return self._head()
        reply = {
            **self._head(),
            **self._amounts(),
            "workingTime": self.working_time,
            "selfTradePreventionMode": "NONE",
            **self._conditional(),
        }
        if kind == "FULL":
            reply["fills"] = [trade.fill() for trade in self.trades]
        return reply

    def canceled(self, cancel_id: str) -> dict[str, Any]:
        """The reply to its cancel. cancel_id: the client id of the cancel."""
        return {
            "symbol": self.symbol,
            "origClientOrderId": self.client_id,
            "orderId": self.id,
            "orderListId": self.list_id,
            "clientOrderId": cancel_id,
            "transactTime": self.update_time,
            **self._amounts(),
            "selfTradePreventionMode": "NONE",
            **self._conditional(),
        }

    def identity(self) -> dict[str, Any]:
        """As order lists name it."""
        return {"symbol": self.symbol, "orderId": self.id, "clientOrderId": self.client_id}


@dataclass(slots=True)
class OrderList:
    """Orders that depend on each other.

    contingency: OCO or OTO; working: the order that the others wait for, None in an OCO; legs: the others.
    """

    id: int
    account: str
    symbol: str
    client_id: str
    contingency: str
    time: int
    legs: list[Order]
    working: Order | None = None
    status_type: str = "EXEC_STARTED"
    status: str = "EXECUTING"

    @property
    def orders(self) -> list[Order]:
        """All of them, the working one first."""
        return [*([self.working] if self.working else []), *self.legs]

    def view(self) -> dict[str, Any]:
        """As `GET /api/v3/orderList` shows it."""
        return {
            "orderListId": self.id,
            "contingencyType": self.contingency,
            "listStatusType": self.status_type,
            "listOrderStatus": self.status,
            "listClientOrderId": self.client_id,
            "transactionTime": self.time,
            "symbol": self.symbol,
            "orders": [order.identity() for order in self.orders],
        }
