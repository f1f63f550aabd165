"""What an account is told of its futures: the events of the user data stream.

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from pipeline.exchange.local.futures.orders import LIQUIDATION, AlgoOrder, Fill, FuturesOrder
from pipeline.exchange.local.futures.positions import Position
from pipeline.exchange.local.numbers import ZERO, text
from pipeline.exchange.local.reports import Event


def order_update(
    order: FuturesOrder, kind: str, time: int, fill: Fill | None, notionals: tuple[Decimal, Decimal]
) -> Event:
    """`ORDER_TRADE_UPDATE`. kind: NEW, CANCELED, EXPIRED, TRADE or CALCULATED; notionals: of open buys and sells."""
    body: dict[str, Any] = {
        "s": order.symbol,
        "c": order.client_id,
        "S": order.side,
        "o": order.kind,
        "f": order.tif,
        "q": text(order.qty),
        "p": text(order.price),
        "ap": text(order.average),
        "sp": text(order.stop_price),
        "x": "CALCULATED" if kind == "TRADE" and order.kind == LIQUIDATION else kind,
        "X": order.status,
        "i": order.id,
        "l": text(fill.qty if fill else ZERO),
        "z": text(order.executed),
        "L": text(fill.price if fill else ZERO),
        "n": text(fill.commission if fill else ZERO),
        "T": time,
        "t": fill.id if fill else 0,
        "b": text(notionals[0]),
        "a": text(notionals[1]),
        "m": fill.maker if fill else False,
        "R": order.reduce_only,
        "wt": order.working_type,
        "ot": order.original_kind or order.kind,
        "ps": "BOTH",
        "cp": order.close_position,
        "rp": text(fill.realized if fill else ZERO),
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "NONE",
        "pm": "NONE",
        "gtd": 0,
    }
    if fill:
        body["N"] = fill.asset
    return {"e": "ORDER_TRADE_UPDATE", "T": time, "E": time, "o": body}


def account_update(
    reason: str,
    time: int,
    balances: Iterable[tuple[str, Decimal, Decimal, Decimal]],
    positions: Iterable[tuple[Position, Decimal]] = (),
) -> Event:
    """`ACCOUNT_UPDATE`. balances: asset, wallet, its free part, change that is no trade's; positions: with marks."""
    return {
        "e": "ACCOUNT_UPDATE",
        "T": time,
        "E": time,
        "a": {
            "m": reason,
            "B": [
                {"a": asset, "wb": text(wallet), "cw": text(free), "bc": text(change)}
                for asset, wallet, free, change in balances
            ],
            "P": [
                {
                    "s": one.symbol,
                    "pa": text(one.qty),
                    "ep": text(one.entry_price),
                    "bep": text(one.entry_price),
                    "cr": text(one.realized),
                    "up": text(one.unrealized(mark)),
                    "mt": "isolated",
                    "iw": text(one.margin),
                    "ps": "BOTH",
                }
                for one, mark in positions
            ],
        },
    }


def algo_update(order: AlgoOrder, time: int) -> Event:
    """`ALGO_UPDATE`."""
    placed = order.order
    return {
        "e": "ALGO_UPDATE",
        "T": time,
        "E": time,
        "o": {
            "caid": order.client_id,
            "aid": order.id,
            "at": "CONDITIONAL",
            "o": order.kind,
            "s": order.symbol,
            "S": order.side,
            "ps": "BOTH",
            "f": order.tif,
            "q": text(order.qty),
            "X": order.status,
            "ai": str(placed.id) if placed else "",
            "ap": text(placed.average if placed else ZERO),
            "aq": text(placed.executed if placed else ZERO),
            "act": placed.kind if placed else "0",
            "tp": text(order.stop_price),
            "p": text(order.price),
            "V": "NONE",
            "wt": order.working_type,
            "pm": "NONE",
            "cp": order.close_position,
            "pP": False,
            "R": order.reduce_only,
            "tt": order.trigger_time,
            "gtd": 0,
        },
    }


def leverage_update(symbol: str, leverage: int, time: int) -> Event:
    """`ACCOUNT_CONFIG_UPDATE`."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "T": time, "E": time, "ac": {"s": symbol, "l": leverage}}
