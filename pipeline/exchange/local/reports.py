"""What an account is told of its orders and balances as they change: the events of the user data stream.

Source: https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream
"""

from collections.abc import Iterable
from typing import Any

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.numbers import NOTHING, text, times
from pipeline.exchange.local.orders import Order, OrderList, Trade

Event = dict[str, Any]


def execution(
    order: Order, kind: str, time: int, sequence: int, *, trade: Trade | None = None, cancel_id: str = ""
) -> Event:
    """`executionReport`. kind: NEW, CANCELED, REPLACED, REJECTED, TRADE or EXPIRED; cancel_id: the cancel's own id."""
    event = {
        "e": "executionReport",
        "E": time,
        "s": order.symbol,
        "c": cancel_id or order.client_id,
        "S": order.side,
        "o": order.kind,
        "f": order.tif,
        "q": text(order.qty),
        "p": text(order.price),
        "P": text(order.stop_price),
        "F": text(order.iceberg),
        "g": order.list_id,
        "C": order.client_id if cancel_id else "",
        "x": kind,
        "X": order.status,
        "r": "NONE",
        "i": order.id,
        "l": text(trade.qty) if trade else NOTHING,
        "z": text(order.executed),
        "L": text(trade.price) if trade else NOTHING,
        "n": text(trade.commission) if trade else "0",
        "N": trade.asset if trade else None,
        "T": time,
        "t": trade.id if trade else -1,
        "I": sequence,
        "w": order.working_time >= 0 and order.is_live,
        "m": trade.maker if trade else False,
        "M": False,
        "O": order.time,
        "Z": text(order.quote),
        "Y": text(times(trade.price, trade.qty)) if trade else NOTHING,
        "Q": text(order.quote_qty),
        "V": "NONE",
    }
    if order.working_time >= 0:
        event["W"] = order.working_time
    if order.trailing:
        event |= {"d": order.trailing, "D": order.trailing_time}
    if order.strategy_id is not None:
        event["j"] = order.strategy_id
    if order.strategy_type is not None:
        event["J"] = order.strategy_type
    if order.expiry_reason:
        event["eR"] = order.expiry_reason
    return event


def position(account: Account, assets: Iterable[str], time: int) -> Event:
    """`outboundAccountPosition` of the assets that may have changed."""
    rows = []
    for asset in assets:
        balance = account.balance(asset)
        rows.append({"a": asset, "f": text(balance.free), "l": text(balance.locked)})
    return {"e": "outboundAccountPosition", "E": time, "u": account.update_time, "B": rows}


def list_status(orders: OrderList, time: int) -> Event:
    """`listStatus`."""
    return {
        "e": "listStatus",
        "E": time,
        "s": orders.symbol,
        "g": orders.id,
        "c": orders.contingency,
        "l": orders.status_type,
        "L": orders.status,
        "r": "NONE",
        "C": orders.client_id,
        "T": time,
        "O": [{"s": order.symbol, "i": order.id, "c": order.client_id} for order in orders.orders],
    }
