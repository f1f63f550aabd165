"""Orders of futures: those in the book, and conditional ones that wait for a price and then place an order."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline.exchange.local.numbers import ZERO, ratio, text
from pipeline.exchange.local.orders import Order, Trade

CONDITIONAL = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
LIQUIDATION = "LIQUIDATION"
# Ids of conditional orders, clear of those of orders.
FIRST_ALGO = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Fill(Trade):
    """A fill. realized: profit on what it closed."""

    realized: Decimal = ZERO

    def futures_view(self) -> dict[str, Any]:
        """A row of `GET /fapi/v1/userTrades`."""
        return {
            "symbol": self.symbol,
            "id": self.id,
            "orderId": self.order_id,
            "side": "BUY" if self.buyer else "SELL",
            "price": text(self.price),
            "qty": text(self.qty),
            "realizedPnl": text(self.realized),
            "quoteQty": text(self.quote),
            "commission": text(self.commission),
            "commissionAsset": self.asset,
            "time": self.time,
            "positionSide": "BOTH",
            "maker": self.maker,
            "buyer": self.buyer,
        }


@dataclass(slots=True)
class FuturesOrder(Order):
    """One order. original_kind: of the conditional order that placed it, else its own; algo_id: that order's, or 0."""

    reduce_only: bool = False
    close_position: bool = False
    original_kind: str = ""
    working_type: str = "CONTRACT_PRICE"
    algo_id: int = 0

    @property
    def is_limit(self) -> bool:
        """Whether it has a limit price once it works."""
        return self.kind in ("LIMIT", "STOP", "TAKE_PROFIT")

    @property
    def is_stop(self) -> bool:
        """Whether it waits for a price: a conditional order, or the liquidation of a position."""
        return self.kind in CONDITIONAL

    @property
    def triggers_below(self) -> bool:
        """Whether it is triggered by falling prices, or, if trailing, activated by them."""
        return (self.side == "SELL") == (self.kind in ("STOP", "STOP_MARKET", LIQUIDATION))

    @property
    def average(self) -> Decimal:
        """Average price of its fills; 0 without any."""
        return ratio(self.quote, self.executed) if self.executed else ZERO

    def _both(self) -> dict[str, Any]:
        return {
            "orderId": self.id,
            "symbol": self.symbol,
            "status": self.status,
            "clientOrderId": self.client_id,
            "price": text(self.price),
            "avgPrice": text(self.average),
            "origQty": text(self.qty),
            "executedQty": text(self.executed),
            "cumQuote": text(self.quote),
            "timeInForce": self.tif,
            "type": self.kind,
            "reduceOnly": self.reduce_only,
            "closePosition": self.close_position,
            "side": self.side,
            "positionSide": "BOTH",
            "stopPrice": text(self.stop_price),
            "workingType": self.working_type,
            "priceProtect": False,
            "origType": self.original_kind or self.kind,
            "priceMatch": "NONE",
            "selfTradePreventionMode": "NONE",
            "goodTillDate": 0,
            "updateTime": self.update_time,
        }

    def futures_view(self) -> dict[str, Any]:
        """As `GET /fapi/v1/order` shows it."""
        return self._both() | {"time": self.time}

    def answer(self, kind: str) -> dict[str, Any]:
        """The reply to its placing or its cancel. kind: ACK (as it arrived) or RESULT (as it stands)."""
        shown = self._both() | {"cumQty": text(self.executed)}
        if kind == "ACK":
            none = text(ZERO)
            shown |= {"status": "NEW", "avgPrice": none, "executedQty": none, "cumQty": none, "cumQuote": none}
        return shown


@dataclass(slots=True)
class AlgoOrder(FuturesOrder):
    """A conditional order; `stop_price` triggers it, or activates it if it trails. order: what it placed."""

    trigger_time: int = 0
    order: FuturesOrder | None = None
    callback_rate: Decimal = ZERO

    def algo_view(self, *, full: bool) -> dict[str, Any]:
        """As `algoOrder` shows it. full: with what came of it, as a query gives it."""
        trailing = self.kind == "TRAILING_STOP_MARKET"
        shown: dict[str, Any] = {
            "algoId": self.id,
            "clientAlgoId": self.client_id,
            "algoType": "CONDITIONAL",
            "orderType": self.kind,
            "symbol": self.symbol,
            "side": self.side,
            "positionSide": "BOTH",
            "timeInForce": self.tif,
            "quantity": text(self.qty),
            "algoStatus": self.status,
            "triggerPrice": text(ZERO if trailing else self.stop_price),
            "price": text(self.price),
            "icebergQuantity": None,
            "selfTradePreventionMode": "NONE",
            "workingType": self.working_type,
            "priceMatch": "NONE",
            "closePosition": self.close_position,
            "priceProtect": False,
            "reduceOnly": self.reduce_only,
            "createTime": self.time,
            "updateTime": self.update_time,
            "triggerTime": self.trigger_time,
            "goodTillDate": 0,
        }
        if full:
            zero = text(ZERO)
            shown |= {
                "actualOrderId": str(self.order.id) if self.order else "",
                "actualPrice": text(self.order.average) if self.order else zero,
                "actualQty": text(self.order.executed) if self.order else zero,
                "actualType": self.order.kind if self.order else "",
                "tpTriggerPrice": zero,
                "tpPrice": zero,
                "slTriggerPrice": zero,
                "slPrice": zero,
                "tpOrderType": "",
            }
        if not full or trailing:
            shown |= {
                "activatePrice": text(self.stop_price) if trailing and self.stop_price else "",
                "callbackRate": f"{self.callback_rate:f}" if trailing else "",
            }
        return shown
