"""What an account may ask and set of its margin: balances, positions, bookings, leverage and modes.

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/account/rest-api
"""

from decimal import Decimal
from typing import Any

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import ApiError, invalid
from pipeline.exchange.local.futures import margins
from pipeline.exchange.local.futures.engine import FuturesEngine
from pipeline.exchange.local.futures.positions import Position
from pipeline.exchange.local.numbers import ZERO, ratio, text
from pipeline.exchange.local.requests import Params

_BOOL = ("true", "false")


# Settings


def leverage(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Set a symbol's leverage."""
    symbol = p.symbol(engine.instruments).symbol
    p.required("leverage")
    wanted = p.integer("leverage") or 0
    p.done()
    margins.set_leverage(engine, account, symbol, wanted)
    return {"leverage": wanted, "maxNotionalValue": f"{engine.brackets.most(wanted):f}", "symbol": symbol}


def margin_type(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Set a symbol's margin type: it is isolated already, and there is no other. Raises ApiError."""
    p.symbol(engine.instruments)
    wanted = p.choice("marginType", ("ISOLATED", "CROSSED"))
    p.done()
    if wanted == "CROSSED":
        raise ApiError(-1130, "Cross margin is not supported by the local exchange.")
    raise ApiError(-4046, "No need to change margin type.")


def position_side(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Position mode."""
    p.done()
    return {"dualSidePosition": False}


def change_position_side(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Set the position mode: it is one-way already, and there is no other. Raises ApiError."""
    wanted = p.choice("dualSidePosition", (*_BOOL, "True", "False"))
    p.done()
    if wanted.lower() == "true":
        raise ApiError(-1130, "Hedge mode is not supported by the local exchange.")
    raise ApiError(-4059, "No need to change position side.")


def multi_assets(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Whether assets stand in for each other."""
    p.done()
    return {"multiAssetsMargin": False}


def change_multi_assets(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Set multi-assets mode: it is off already, and cannot be on. Raises ApiError."""
    wanted = p.choice("multiAssetsMargin", (*_BOOL, "True", "False"))
    p.done()
    if wanted.lower() == "true":
        raise ApiError(-1130, "Multi-assets margin is not supported by the local exchange.")
    raise ApiError(-4171, "No need to change multi-assets mode.")


def position_margin(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Add to the margin of a position (type 1), or take from it (2)."""
    symbol = p.symbol(engine.instruments).symbol
    p.required("amount")
    amount = p.number("amount") or ZERO
    kind = p.choice("type", ("1", "2"))
    p.text("positionSide")
    p.done()
    if amount <= 0 or amount != round(amount, 8):
        raise invalid("amount")
    margins.add_margin(engine, account, symbol, amount if kind == "1" else -amount)
    return {"amount": float(amount), "code": 200, "msg": "Successfully modify position margin.", "type": int(kind)}


def leverage_bracket(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Brackets of a symbol, or of all."""
    return [engine.brackets.view(symbol) for symbol in _symbols(engine, p)]


# Balances


def _assets(engine: FuturesEngine) -> list[str]:
    return sorted({one.quote for one in engine.instruments.values()})


def _sums(engine: FuturesEngine, account: Account, asset: str) -> dict[str, Decimal]:
    """What an asset holds, by the names of `account`."""
    positions = engine.positions(account, asset)
    marks = {one.symbol: engine.mark(one.symbol) for one in positions}
    wallet = engine.wallet_balance(account, asset)
    profit = sum((one.unrealized(marks[one.symbol]) for one in positions), ZERO)
    initial = sum((_initial(one, marks[one.symbol]) for one in positions), ZERO)
    orders = sum((engine.order_margin(account, one.symbol)[0] for one in positions), ZERO)
    return {
        "walletBalance": wallet,
        "unrealizedProfit": profit,
        "marginBalance": wallet + profit,
        "maintMargin": sum((_maintenance(engine, one, marks[one.symbol]) for one in positions), ZERO),
        "initialMargin": initial + orders,
        "positionInitialMargin": initial,
        "openOrderInitialMargin": orders,
        "crossWalletBalance": account.balance(asset).free,
        "crossUnPnl": ZERO,
        "availableBalance": engine.available(account, asset),
        "maxWithdrawAmount": engine.available(account, asset),
    }


def _initial(position: Position, mark: Decimal) -> Decimal:
    return ratio(abs(position.notional(mark)), Decimal(position.leverage))


def _maintenance(engine: FuturesEngine, position: Position, mark: Decimal) -> Decimal:
    return engine.brackets.maintenance(abs(position.notional(mark)))


def balance(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Balances by asset."""
    p.done()
    rows = []
    for asset in _assets(engine):
        sums = _sums(engine, account, asset)
        rows.append(
            {
                "accountAlias": f"local{account.uid}",
                "asset": asset,
                "balance": text(sums["walletBalance"]),
                "crossWalletBalance": text(sums["crossWalletBalance"]),
                "crossUnPnl": text(ZERO),
                "availableBalance": text(sums["availableBalance"]),
                "maxWithdrawAmount": text(sums["maxWithdrawAmount"]),
                "marginAvailable": True,
                "updateTime": account.update_time,
            }
        )
    return rows


def _account(engine: FuturesEngine, account: Account) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Totals, and a row of each asset. The totals add assets as if each were a dollar, as all of USD-M nearly are."""
    totals: dict[str, Decimal] = {}
    rows = []
    for asset in _assets(engine):
        sums = _sums(engine, account, asset)
        rows.append({"asset": asset, **{name: text(value) for name, value in sums.items()}})
        for name, value in sums.items():
            totals[name] = totals.get(name, ZERO) + value
    plain = ("availableBalance", "maxWithdrawAmount")
    shown = {
        name if name in plain else f"total{name[0].upper()}{name[1:]}": text(value) for name, value in totals.items()
    }
    return shown, [row | {"updateTime": account.update_time} for row in rows]


def account_v2(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """The account with all symbols."""
    p.done()
    totals, assets = _account(engine, account)
    positions = []
    for symbol, pit in engine.pits.items():
        one = engine.wallet(account).position(symbol)
        buys, sells = engine.open_notionals(account, symbol)
        orders = engine.order_margin(account, symbol)[0]
        initial = _initial(one, pit.price)
        positions.append(
            {
                "symbol": symbol,
                "initialMargin": text(initial + orders),
                "maintMargin": text(_maintenance(engine, one, pit.price)),
                "unrealizedProfit": text(one.unrealized(pit.price)),
                "positionInitialMargin": text(initial),
                "openOrderInitialMargin": text(orders),
                "leverage": str(one.leverage),
                "isolated": True,
                "entryPrice": text(one.entry_price),
                "breakEvenPrice": text(one.entry_price),
                "maxNotional": f"{engine.brackets.most(one.leverage):f}",
                "bidNotional": text(buys),
                "askNotional": text(sells),
                "positionSide": "BOTH",
                "positionAmt": text(one.qty),
                "notional": text(one.notional(pit.price)),
                "isolatedWallet": text(one.margin),
                "updateTime": one.update_time,
            }
        )
    head: dict[str, Any] = {"feeTier": 0, "feeBurn": False, "canTrade": account.can_trade, "canDeposit": True}
    head |= {"canWithdraw": False, "updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1}
    return head | totals | {"assets": [one | {"marginAvailable": True} for one in assets], "positions": positions}


def account_v3(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """The account with the symbols that it holds or has orders for."""
    p.done()
    totals, assets = _account(engine, account)
    positions = []
    for one in _held(engine, account, list(engine.pits)):
        mark = engine.mark(one.symbol)
        initial = _initial(one, mark) + engine.order_margin(account, one.symbol)[0]
        positions.append(
            {
                "symbol": one.symbol,
                "positionSide": "BOTH",
                "positionAmt": text(one.qty),
                "unrealizedProfit": text(one.unrealized(mark)),
                "isolatedMargin": text(one.margin + one.unrealized(mark)),
                "notional": text(one.notional(mark)),
                "isolatedWallet": text(one.margin),
                "initialMargin": text(initial),
                "maintMargin": text(_maintenance(engine, one, mark)),
                "updateTime": one.update_time,
            }
        )
    return totals | {"assets": assets, "positions": positions}


# Positions


def _held(engine: FuturesEngine, account: Account, symbols: list[str]) -> list[Position]:
    ordered = {one.symbol for one in engine.open_orders(account)}
    positions = (engine.wallet(account).position(symbol) for symbol in symbols)
    return [one for one in positions if one.qty or one.symbol in ordered]


def _risk(engine: FuturesEngine, one: Position) -> dict[str, Any]:
    mark = engine.mark(one.symbol)
    return {
        "symbol": one.symbol,
        "positionSide": "BOTH",
        "positionAmt": text(one.qty),
        "entryPrice": text(one.entry_price),
        "breakEvenPrice": text(one.entry_price),
        "markPrice": text(mark),
        "unRealizedProfit": text(one.unrealized(mark)),
        "liquidationPrice": text(one.liquidation),
        "isolatedMargin": text(one.margin + one.unrealized(mark)),
        "notional": text(one.notional(mark)),
        "isolatedWallet": text(one.margin),
        "updateTime": one.update_time,
    }


def position_risk_v2(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Positions of a symbol, or of all, held or not."""
    rows = []
    for symbol in _symbols(engine, p):
        one = engine.wallet(account).position(symbol)
        rows.append(
            _risk(engine, one)
            | {
                "marginType": "isolated",
                "isAutoAddMargin": "false",
                "leverage": str(one.leverage),
                "maxNotionalValue": f"{engine.brackets.most(one.leverage):f}",
            }
        )
    return rows


def position_risk_v3(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Positions that are held or have orders."""
    rows = []
    for one in _held(engine, account, _symbols(engine, p)):
        mark = engine.mark(one.symbol)
        orders, initial = engine.order_margin(account, one.symbol)[0], _initial(one, mark)
        rows.append(
            _risk(engine, one)
            | {
                "marginAsset": engine.instruments[one.symbol].quote,
                "initialMargin": text(initial + orders),
                "maintMargin": text(_maintenance(engine, one, mark)),
                "positionInitialMargin": text(initial),
                "openOrderInitialMargin": text(orders),
                "adl": 0,
                "bidNotional": text(engine.open_notionals(account, one.symbol)[0]),
                "askNotional": text(engine.open_notionals(account, one.symbol)[1]),
            }
        )
    return rows


def income(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Bookings, oldest first: from a time on, or the latest."""
    symbol = p.symbol(engine.instruments).symbol if "symbol" in p.raw else None
    kind, start, end = p.text("incomeType"), p.integer("startTime"), p.integer("endTime")
    page, limit = p.integer("page", 1, 1) or 1, p.integer("limit", 100, 1, 1000) or 100
    p.done()
    rows = [
        {
            "symbol": one.symbol,
            "incomeType": one.kind,
            "income": text(one.amount),
            "asset": one.asset,
            "info": str(one.trade) if one.trade else one.kind,
            "time": one.time,
            "tranId": one.id,
            "tradeId": str(one.trade) if one.trade else "",
        }
        for one in engine.wallet(account).incomes
        if symbol in (None, one.symbol) and kind in (None, one.kind)
        and (start or 0) <= one.time and (end is None or one.time <= end)
    ]  # fmt: skip
    return rows[(page - 1) * limit : page * limit] if start is not None or page > 1 else rows[-limit:]


def commission_rate(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Fees of a symbol."""
    symbol = p.symbol(engine.instruments).symbol
    p.done()
    maker, taker = text(account.maker), text(account.taker)
    return {"symbol": symbol, "makerCommissionRate": maker, "takerCommissionRate": taker}


def account_config(engine: FuturesEngine, account: Account, p: Params) -> dict[str, Any]:
    """Modes of the account."""
    p.done()
    rights = {"feeTier": 0, "canTrade": account.can_trade, "canDeposit": True, "canWithdraw": False}
    return rights | {"dualSidePosition": False, "updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1}


def symbol_config(engine: FuturesEngine, account: Account, p: Params) -> list[dict[str, Any]]:
    """Modes of symbols."""
    rows = []
    for symbol in _symbols(engine, p):
        own = engine.wallet(account).position(symbol).leverage
        most = f"{engine.brackets.most(own):f}"
        row = {"symbol": symbol, "marginType": "ISOLATED", "isAutoAddMargin": "false"}
        rows.append(row | {"leverage": own, "maxNotionalValue": most})
    return rows


def _symbols(engine: FuturesEngine, p: Params) -> list[str]:
    found = [p.symbol(engine.instruments).symbol] if "symbol" in p.raw else list(engine.pits)
    p.done()
    return found
