"""What must hold of ccxt's unified calls: its own parser has read the replies, so field names and units are ccxt's.

`call(name, *args)` is a unified call, over REST or over a socket. Over sockets ccxt hands unified parameters of orders
on to the exchange, which knows them not and refuses; there they are written in the exchange's words.
"""

from collections.abc import Callable
from typing import Any

import ccxt
from market_checks import near
from session import Absent, Session

Call = Callable[..., Any]
_MARKET, _SYMBOL, _QTY = "BTC/USDT", "BTCUSDT", 0.01


def check_unified_market(session: Session, client: Any, call: Call, *, sockets: bool) -> None:
    """Market data and account."""

    def time() -> None:
        import time as wall

        assert abs(call("fetch_time") / 1000 - wall.time()) < 5

    def markets() -> None:
        call("load_markets")
        market = client.markets[_MARKET]
        assert market["id"] == _SYMBOL and market["spot"] is True and market["active"] is True
        entry = session.ask("/api/v3/exchangeInfo", symbol=_SYMBOL)["symbols"][0]
        rules = {one["filterType"]: one for one in entry["filters"]}
        assert near(market["precision"]["price"], rules["PRICE_FILTER"]["tickSize"])
        assert near(market["precision"]["amount"], rules["LOT_SIZE"]["stepSize"])
        assert near(market["limits"]["cost"]["min"], rules["NOTIONAL"]["minNotional"])

    def klines() -> None:
        rows = call("fetch_ohlcv", _MARKET, "5m", None, 50)
        told = session.ask("/api/v3/klines", symbol=_SYMBOL, interval="5m", limit=50)
        assert rows == [[row[0], *(float(value) for value in row[1:6])] for row in told] and len(rows) == 50

    def depth() -> None:
        book, told = call("fetch_order_book", _MARKET, 20), session.ask("/api/v3/depth", symbol=_SYMBOL, limit=20)
        for side in ("bids", "asks"):
            assert [list(level) for level in book[side]] == [[float(one) for one in level] for level in told[side]]
        assert book["nonce"] == told["lastUpdateId"]

    def trades(params: dict[str, Any]) -> Callable[[], None]:
        def run() -> None:
            made = call("fetch_trades", _MARKET, None, 30, params)
            told = session.ask("/api/v3/trades", symbol=_SYMBOL, limit=30)
            assert [one["id"] for one in made] == [str(one["id"]) for one in told]
            assert [one["side"] for one in made] == ["sell" if one["isBuyerMaker"] else "buy" for one in told]
            assert all(near(one["cost"], one["price"] * one["amount"]) for one in made)

        return run

    def aggregate() -> None:
        if sockets:
            raise Absent
        trades({"fetchTradesMethod": "publicGetAggTrades"})()

    def price() -> None:
        told = session.ask("/api/v3/ticker/price", symbol=_SYMBOL)
        assert near(call("fetch_last_prices", [_MARKET])[_MARKET]["price"], told["price"])

    def book() -> None:
        told, one = (
            session.ask("/api/v3/ticker/bookTicker", symbol=_SYMBOL),
            call("fetch_bids_asks", [_MARKET])[_MARKET],
        )
        assert near(one["bid"], told["bidPrice"]) and near(one["askVolume"], told["askQty"]) and one["bid"] < one["ask"]

    def day() -> None:
        told, one = session.ask("/api/v3/ticker/24hr", symbol=_SYMBOL), call("fetch_ticker", _MARKET)
        names = {
            "high": "highPrice",
            "low": "lowPrice",
            "open": "openPrice",
            "last": "lastPrice",
            "vwap": "weightedAvgPrice",
        }
        names |= {"baseVolume": "volume", "quoteVolume": "quoteVolume", "percentage": "priceChangePercent"}
        assert all(near(one[name], told[other]) for name, other in names.items())
        assert one["timestamp"] == told["closeTime"]

    def account() -> None:
        told, held = call("fetch_balance"), session.balances()
        if sockets:
            # ccxt 4.5 reads no balances out of this reply, whoever sends it; look at the reply itself.
            rows = {row["asset"]: float(row["free"]) + float(row["locked"]) for row in told["info"]["balances"]}
            assert rows == held and held["USDT"] > 0
            return
        assert {asset: told["total"][asset] for asset in held} == held and held["USDT"] > 0
        assert near(told["USDT"]["free"] + told["USDT"]["used"], held["USDT"])

    def fees() -> None:
        told = call("fetch_trading_fee", _MARKET)
        assert (told["maker"], told["taker"]) == (0.0008, 0.001)

    session.step(3)
    for operation, function in (
        ("time", time),
        ("exchangeInfo", markets),
        ("klines", klines),
        ("depth", depth),
        ("trades", trades({} if sockets else {"fetchTradesMethod": "publicGetTrades"})),
        ("aggTrades", aggregate),
        ("ticker price", price),
        ("ticker book", book),
        ("ticker 24hr", day),
        ("account", account),
        ("commission rates", fees),
    ):
        session.check(operation, function)


def _at(session: Session, factor: float) -> float:
    """The last price times a factor."""
    return round(float(session.ask("/api/v3/ticker/price", symbol=_SYMBOL)["price"]) * factor, 2)


def _raises(kind: type[Exception], words: str, function: Callable[[], Any]) -> None:
    """Whether a call raises. Raises AssertionError: it does not, or something else."""
    try:
        reply = function()
    except kind as error:
        assert words in str(error), error
        return
    raise AssertionError(f"accepted, instead of {kind.__name__}: {reply}")


def _own_words(kind: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type and parameters of an order in the exchange's words."""
    names = {"clientOrderId": "newClientOrderId", "cost": "quoteOrderQty"}
    own = {names.get(name, name): value for name, value in params.items()}
    if own.pop("postOnly", False):
        kind = "LIMIT_MAKER"
    for name, stop in (("stopLossPrice", "STOP_LOSS"), ("takeProfitPrice", "TAKE_PROFIT")):
        if name in own:
            kind, own["stopPrice"] = f"{stop}_LIMIT" if kind == "limit" else stop, own.pop(name)
    if own.pop("stopLossOrTakeProfit", None):
        kind, own["trailingDelta"] = "STOP_LOSS", own.pop("trailingPercent") * 100
    return kind, own


def check_unified_orders(session: Session, call: Call, *, sockets: bool) -> None:
    """Orders, from placing to the end."""

    def create(kind: str, side: str, price: float | None = None, **params: Any) -> Any:
        if sockets:
            kind, params = _own_words(kind, params)
        return call("create_order", _MARKET, kind, side, _QTY, price, params)

    def resting(factor: float = 0.9, **params: Any) -> Any:
        return create("limit", "buy", _at(session, factor), **params)

    def get(order: Any) -> Any:
        return call("fetch_order", order["id"], _MARKET)

    def limit() -> None:
        price = _at(session, 0.9)
        made = create("limit", "buy", price, clientOrderId="a-limit_1")
        for order in (made, get(made)):
            assert (order["status"], order["type"], order["side"], order["symbol"]) == ("open", "limit", "buy", _MARKET)
            assert (order["price"], order["amount"], order["filled"], order["remaining"]) == (price, _QTY, 0, _QTY)
            assert order["clientOrderId"] == "a-limit_1" and order["timeInForce"] == "GTC"

    def market() -> None:
        before = session.balances()
        order = create("market", "buy")
        after = session.balances()
        assert (order["status"], order["type"], order["filled"]) == ("closed", "market", _QTY)
        assert near(order["cost"], before["USDT"] - after["USDT"]) and near(order["average"], order["cost"] / _QTY)
        assert order["fee"]["currency"] == "BTC" and near(order["fee"]["cost"], 0.001 * _QTY, 1e-9)
        assert near(sum(trade["amount"] for trade in order["trades"]), _QTY)

    def market_by_quote() -> None:
        order = create("market", "buy", cost=500)
        assert order["status"] == "closed" and 450 < order["cost"] <= 500

    def maker() -> None:
        order = resting(postOnly=True)
        assert order["info"]["type"] == "LIMIT_MAKER" and order["postOnly"] is True and order["status"] == "open"
        _raises(ccxt.OrderImmediatelyFillable, "immediately match", lambda: resting(1.05, postOnly=True))

    def stop(kind: str, name: str, factor: float, past: float) -> Callable[[], None]:
        def place(level: float) -> Any:
            return create("limit", "sell", level, **{name: level}) if kind.endswith("LIMIT") else create(
                "market", "sell", **{name: level})  # fmt: skip

        def run() -> None:
            level = _at(session, factor)
            made = place(level)
            order = get(made)
            assert made["info"]["type"] == order["info"]["type"] == kind
            assert (order["status"], order["triggerPrice"], order["amount"]) == ("open", level, _QTY)
            _raises(ccxt.OrderImmediatelyFillable, "trigger immediately", lambda: place(_at(session, past)))

        return run

    def trailing() -> None:
        made = create("market", "sell", trailingPercent=2, stopLossOrTakeProfit="stopLoss")
        order = get(made)
        assert order["info"]["type"] == "STOP_LOSS" and int(order["info"]["trailingDelta"]) == 200

    def test() -> None:
        resting(test=True)
        assert session.state()["orders"] == []
        _raises(ccxt.BadRequest, "NOTIONAL", lambda: call(
            "create_order", _MARKET, "limit", "buy", 0.0001, _at(session, 0.9), {"test": True}))  # fmt: skip

    def status() -> None:
        made = resting()
        order = get(made)
        assert order["id"] == made["id"] and order["timestamp"] == session.now() and order["datetime"].endswith("Z")
        assert order["lastUpdateTimestamp"] == order["timestamp"] and order["fee"] is None

    def open_orders() -> None:
        made = [resting(), resting(0.8)]
        told = call("fetch_open_orders", _MARKET)
        assert [(one["id"], one["status"]) for one in told] == [(one["id"], "open") for one in made]

    def cancel() -> None:
        made = resting()
        assert call("cancel_order", made["id"], _MARKET)["status"] == "canceled"
        assert get(made)["status"] == "canceled" and session.state()["orders"] == []

    def cancel_all() -> None:
        made = [resting(), resting(0.8)]
        told = call("cancel_all_orders", _MARKET)
        assert {one["id"] for one in told} == {one["id"] for one in made} and session.state()["orders"] == []

    def replace() -> None:
        made, price = resting(), _at(session, 0.8)
        order = call("edit_order", made["id"], _MARKET, "limit", "buy", _QTY, price)
        assert order["id"] != made["id"] and order["price"] == price and order["status"] == "open"
        assert get(made)["status"] == "canceled"

    def all_orders() -> None:
        made = [resting(), create("market", "buy")]
        told = call("fetch_orders", _MARKET, None, 2)
        assert [(one["id"], one["status"]) for one in told] == [(made[0]["id"], "open"), (made[1]["id"], "closed")]

    def my_trades() -> None:
        made = create("market", "buy")
        told = [one for one in call("fetch_my_trades", _MARKET) if one["order"] == made["id"]]
        assert near(sum(one["amount"] for one in told), _QTY) and near(sum(one["cost"] for one in told), made["cost"])
        assert {(one["side"], one["takerOrMaker"], one["fee"]["currency"]) for one in told} == {("buy", "taker", "BTC")}

    def first_to_close(made: list[Any]) -> Any:
        def closed() -> list[Any]:
            return [order for order in map(get, made) if order["status"] == "closed"]

        session.step_until(lambda: bool(closed()))
        return closed()[0]

    def fills_later() -> None:
        order = first_to_close([resting(0.9995), create("limit", "sell", _at(session, 1.0005))])
        assert order["filled"] == _QTY and near(order["average"], order["price"]) and order["remaining"] == 0

    def triggers_later() -> None:
        below, above = _at(session, 0.999), _at(session, 1.001)
        made = [create("market", "sell", stopLossPrice=below), create("market", "buy", stopLossPrice=above)]
        order = first_to_close(made)
        assert order["filled"] == _QTY
        assert order["average"] < below * 1.0001 if order["side"] == "sell" else order["average"] > above * 0.9999

    for operation, function in (
        ("LIMIT", limit),
        ("MARKET by quantity", market),
        ("MARKET by quote amount", market_by_quote),
        ("LIMIT_MAKER", maker),
        ("STOP_LOSS", stop("STOP_LOSS", "stopLossPrice", 0.95, 1.05)),
        ("STOP_LOSS_LIMIT", stop("STOP_LOSS_LIMIT", "stopLossPrice", 0.95, 1.05)),
        ("TAKE_PROFIT", stop("TAKE_PROFIT", "takeProfitPrice", 1.05, 0.95)),
        ("TAKE_PROFIT_LIMIT", stop("TAKE_PROFIT_LIMIT", "takeProfitPrice", 1.05, 0.95)),
        ("trailing stop", trailing),
        ("order test", test),
        ("get order", status),
        ("open orders", open_orders),
        ("cancel", cancel),
        ("cancel all", cancel_all),
        ("cancelReplace", replace),
        ("all orders", all_orders),
        ("my trades", my_trades),
        ("limit order fills later", fills_later),
        ("stop triggers later", triggers_later),
    ):
        session.check(operation, function)


def check_unified_refusals(
    session: Session, call: Call, as_stranger: Callable[[], Any], of_unknown_symbol: Callable[[], Any] | None
) -> None:
    """Whether refusals become the right exceptions. as_stranger: a signed call with another secret."""

    def buy(qty: float) -> Any:
        return call("create_order", _MARKET, "limit", "buy", qty, _at(session, 0.9))

    def unknown_symbol() -> None:
        if of_unknown_symbol is None:
            raise Absent
        _raises(ccxt.BadSymbol, "Invalid symbol", of_unknown_symbol)

    def unknown_order() -> None:
        _raises(ccxt.OrderNotFound, "", lambda: call("fetch_order", "999999", _MARKET))
        _raises(ccxt.OrderNotFound, "", lambda: call("cancel_order", "999999", _MARKET))

    for operation, function in (
        ("insufficient balance", lambda: _raises(ccxt.InsufficientFunds, "insufficient balance", lambda: buy(90))),
        ("unknown symbol", unknown_symbol),
        ("bad signature", lambda: _raises(ccxt.AuthenticationError, "-1022", as_stranger)),
        ("filter failure", lambda: _raises(ccxt.BadRequest, "NOTIONAL", lambda: buy(0.0001))),
        ("failure of an account's filter", lambda: _raises(ccxt.BadRequest, "MAX_ASSET", lambda: buy(110))),
        ("unknown order", unknown_order),
    ):
        session.check(operation, function)


def check_watching(session: Session, client: Any, run: Callable[[Any], Any], start: Callable[[Any], Any]) -> None:
    """What ccxt.pro watches. run: waits for a coroutine; start: makes a task of it."""
    import asyncio

    def watched(name: str, *args: Any, bars: int = 2) -> Any:
        """Watch, let the market move, and receive all of it; what the first message brought."""
        task = start(getattr(client, name)(*args))
        run(asyncio.sleep(0.5))
        if bars:
            session.step(bars)
        found = run(task)
        run(asyncio.sleep(0.3))
        return found

    def klines() -> None:
        watched("watch_ohlcv", _MARKET, "5m", bars=3)
        told = session.ask("/api/v3/klines", symbol=_SYMBOL, interval="5m", limit=4)
        closed = [[row[0], *(float(value) for value in row[1:6])] for row in told[:-1]]
        assert [list(row) for row in client.ohlcvs[_MARKET]["5m"]][-4:-1] == closed

    def trades(name: str) -> Callable[[], None]:
        def run_() -> None:
            watched("watch_trades", _MARKET, None, None, {"name": name})
            made = [one for one in client.trades[_MARKET] if one["info"]["e"] == name]
            assert len(made) >= 4 and {one["side"] for one in made} <= {"buy", "sell"}
            assert all(near(one["cost"], one["price"] * one["amount"]) for one in made)
            run(client.un_watch_trades(_MARKET, {"name": name}))  # Else the other kind is not subscribed to.

        return run_

    def book_ticker() -> None:
        watched("watch_bids_asks", [_MARKET])
        told, one = session.ask("/api/v3/ticker/bookTicker", symbol=_SYMBOL), client.bidsasks[_MARKET]
        assert near(one["bid"], told["bidPrice"]) and near(one["ask"], told["askPrice"])
        assert near(one["bidVolume"], told["bidQty"])

    def depth() -> None:
        watched("watch_order_book", _MARKET, 1000)
        session.step(3)
        run(asyncio.sleep(0.3))
        book, told = client.orderbooks[_MARKET], session.ask("/api/v3/depth", symbol=_SYMBOL, limit=1000)
        assert book["nonce"] == told["lastUpdateId"]
        for side in ("bids", "asks"):
            assert [list(level)[:2] for level in book[side]] == [[float(one) for one in level] for level in told[side]]

    def ticker(name: str, *args: Any) -> Callable[[], None]:
        def run_() -> None:
            watched(name, *args)
            told, one = session.ask("/api/v3/ticker/24hr", symbol=_SYMBOL), client.tickers[_MARKET]
            assert near(one["last"], told["lastPrice"]) and near(one["baseVolume"], told["volume"])
            assert near(one["high"], told["highPrice"]) and near(one["open"], told["openPrice"])

        return run_

    def orders() -> None:
        task = start(client.watch_orders(_MARKET))
        run(asyncio.sleep(0.5))
        made = run(client.create_order_ws(_MARKET, "limit", "buy", _QTY, _at(session, 0.9)))
        assert [(one["id"], one["status"]) for one in run(task)] == [(made["id"], "open")]
        run(client.cancel_order_ws(made["id"], _MARKET))
        bought = run(client.create_order_ws(_MARKET, "market", "buy", _QTY))
        run(asyncio.sleep(0.3))
        seen = {one["id"]: one for one in client.orders}
        assert seen[made["id"]]["status"] == "canceled"
        assert seen[bought["id"]]["status"] == "closed" and near(seen[bought["id"]]["cost"], bought["cost"])

    def balance() -> None:
        task = start(client.watch_balance())
        run(asyncio.sleep(0.5))
        run(client.create_order_ws(_MARKET, "market", "buy", _QTY))
        run(task)
        run(asyncio.sleep(0.3))
        held = session.balances()
        assert all(near(client.balance["spot"][asset]["total"], held[asset]) for asset in ("BTC", "USDT"))

    for operation, function in (
        ("kline stream", klines),
        ("trade stream", trades("trade")),
        ("aggTrade stream", trades("aggTrade")),
        ("bookTicker stream", book_ticker),
        ("depth stream", depth),
        ("miniTicker stream", ticker("watch_tickers", [_MARKET], {"name": "miniTicker"})),
        ("ticker stream", ticker("watch_ticker", _MARKET)),
        ("executionReport", orders),
        ("outboundAccountPosition", balance),
    ):
        session.check(operation, function)
