"""What must hold of market streams and of the user data stream, in the exchange's own field names.

`listen(stream)` subscribes the client and gives the list to which it appends messages; `wait(condition)` lets the
client receive until a condition holds or five seconds have passed.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from market_checks import SYMBOL, Ask, near
from session import Session
from trading_checks import Prices

Message = dict[str, Any]
Listen = Callable[[str], list[Message]]
Wait = Callable[[Callable[[], bool]], None]
_QTY = "0.01"


def check_streams(session: Session, listen: Listen, wait: Wait) -> None:
    """Market streams while the market moves on by some bars."""

    def heard(stream: str, least: int = 1, bars: int = 2) -> list[Message]:
        """At least some messages of a stream, of some bars."""
        messages = listen(stream)
        session.step(bars)
        wait(lambda: len(messages) >= least)
        assert len(messages) >= least, f"{len(messages)} messages of {stream}, not {least}"
        return messages

    def kline() -> None:
        messages = listen("kline_5m")
        session.step(3)
        wait(lambda: sum(one["k"]["x"] for one in messages) >= 3)
        assert {(one["e"], one["s"], one["k"]["s"], one["k"]["i"]) for one in messages} == {
            ("kline", SYMBOL, SYMBOL, "5m")
        }
        closed = [one["k"] for one in messages if one["k"]["x"]]
        rows = {row[0]: row for row in session.ask("/api/v3/klines", symbol=SYMBOL, interval="5m", limit=10)}
        assert len(closed) == 3 and len({k["t"] for k in closed}) == 3
        for k in closed:
            assert [k[name] for name in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")] == rows[k["t"]][:11]
        times = [one["E"] for one in messages]
        assert times == sorted(times) and len(messages) > len(closed)

    def trade() -> None:
        messages = heard("trade", 4)
        assert {(one["e"], one["s"]) for one in messages} == {("trade", SYMBOL)}
        assert all(float(one["p"]) > 0 and float(one["q"]) > 0 and isinstance(one["m"], bool) for one in messages)
        assert [one["t"] for one in messages] == sorted({one["t"] for one in messages})

    def aggregate() -> None:
        messages = heard("aggTrade", 4)
        assert {(one["e"], one["s"]) for one in messages} == {("aggTrade", SYMBOL)}
        assert all(one["f"] <= one["l"] and one["T"] <= one["E"] for one in messages)
        assert [one["a"] for one in messages] == sorted({one["a"] for one in messages})

    def book_ticker() -> None:
        messages = heard("bookTicker", 4)
        assert all(float(one["b"]) < float(one["a"]) and one["s"] == SYMBOL for one in messages)
        assert [one["u"] for one in messages] == sorted(one["u"] for one in messages)
        told = session.ask("/api/v3/ticker/bookTicker", symbol=SYMBOL)
        wait(lambda: messages[-1]["b"] == told["bidPrice"])
        assert [messages[-1][name] for name in "bBaA"] == [
            told[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")
        ]

    def depth() -> None:
        messages = listen("depth")
        session.step()
        wait(lambda: bool(messages))
        book = session.ask("/api/v3/depth", symbol=SYMBOL, limit=1000)
        session.step(2)
        later = session.ask("/api/v3/depth", symbol=SYMBOL, limit=1000)
        wait(lambda: messages[-1]["u"] >= later["lastUpdateId"])
        assert {(one["e"], one["s"]) for one in messages} == {("depthUpdate", SYMBOL)}
        for before, after in pairwise(messages):
            assert after["U"] == before["u"] + 1, f"{before['u']} is followed by {after['U']}"
        for side, name in (("bids", "b"), ("asks", "a")):
            levels = dict(book[side])
            for one in messages:
                if one["u"] > book["lastUpdateId"]:
                    levels |= dict(one[name])
            assert {price: qty for price, qty in levels.items() if float(qty)} == dict(later[side]), side

    def partial_depth() -> None:
        messages = heard("depth5")
        assert all(len(one["bids"]) == len(one["asks"]) == 5 for one in messages)
        told = session.ask("/api/v3/depth", symbol=SYMBOL, limit=5)
        wait(lambda: messages[-1]["lastUpdateId"] >= told["lastUpdateId"])
        assert [list(level) for level in messages[-1]["bids"]] == told["bids"]

    def statistics(stream: str, event: str) -> Callable[[], None]:
        def run() -> None:
            messages = heard(stream)
            told = session.ask("/api/v3/ticker/24hr", symbol=SYMBOL)
            wait(lambda: near(messages[-1]["c"], told["lastPrice"]))
            last = messages[-1]
            assert (last["e"], last["s"]) == (event, SYMBOL)
            pairs = {"c": "lastPrice", "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume"}
            assert all(near(last[short], told[long]) for short, long in pairs.items())

        return run

    for operation, function in (
        ("kline stream", kline),
        ("trade stream", trade),
        ("aggTrade stream", aggregate),
        ("bookTicker stream", book_ticker),
        ("depth stream", depth),
        ("partial depth stream", partial_depth),
        ("miniTicker stream", statistics("miniTicker", "24hrMiniTicker")),
        ("ticker stream", statistics("ticker", "24hrTicker")),
    ):
        session.check(operation, function)


def check_user_stream(session: Session, ask: Ask, follow: Callable[[], list[Message]], wait: Wait) -> None:
    """Events of the account while orders are placed. follow: subscribes, and gives the list of events."""
    prices = Prices(ask)
    events: list[Message] = []

    def of(kind: str, since: int) -> list[Message]:
        return [one for one in events[since:] if one["e"] == kind]

    def place(side: str, kind: str, **params: Any) -> Any:
        return ask("order.place", symbol=SYMBOL, side=side, type=kind, quantity=_QTY, newOrderRespType="FULL", **params)

    def reports() -> None:
        nonlocal events
        events = follow()
        made = place("BUY", "LIMIT", timeInForce="GTC", price=prices.at("0.9"), newClientOrderId="followed")
        ask("order.cancel", symbol=SYMBOL, orderId=made["orderId"], newClientOrderId="gone")
        wait(lambda: len(of("executionReport", 0)) >= 2)
        new, canceled = of("executionReport", 0)
        assert [(one["x"], one["X"], one["i"]) for one in (new, canceled)] == [
            ("NEW", "NEW", made["orderId"]),
            ("CANCELED", "CANCELED", made["orderId"]),
        ]
        assert (new["c"], new["S"], new["o"], new["f"], new["s"]) == ("followed", "BUY", "LIMIT", "GTC", SYMBOL)
        assert (canceled["c"], canceled["C"]) == ("gone", "followed") and near(new["p"], made["price"])
        since = len(events)
        bought = place("BUY", "MARKET")
        wait(lambda: any(one["X"] == "FILLED" for one in of("executionReport", since)))
        told = of("executionReport", since)
        assert [one["x"] for one in told] == ["NEW"] + ["TRADE"] * len(bought["fills"])
        assert [(one["t"], one["l"], one["L"], one["n"]) for one in told[1:]] == [
            (fill["tradeId"], fill["qty"], fill["price"], fill["commission"]) for fill in bought["fills"]
        ]
        assert told[-1]["z"] == bought["executedQty"] and told[-1]["Z"] == bought["cummulativeQuoteQty"]
        assert len({one["I"] for one in [*told, new, canceled]}) == len(told) + 2

    def positions() -> None:
        since = len(events)
        place("BUY", "MARKET")
        wait(lambda: bool(of("outboundAccountPosition", since)))
        told = {row["a"]: row for row in of("outboundAccountPosition", since)[-1]["B"]}
        held = {row["asset"]: row for row in session.state()["accounts"][0]["balances"]}
        assert set(told) >= {"BTC", "USDT"}
        assert all((row["f"], row["l"]) == (held[asset]["free"], held[asset]["locked"]) for asset, row in told.items())

    def lists() -> None:
        since = len(events)
        legs = {"aboveType": "LIMIT_MAKER", "abovePrice": prices.at("1.05")}
        legs |= {"belowType": "STOP_LOSS", "belowStopPrice": prices.at("0.95")}
        made = ask("orderList.place.oco", symbol=SYMBOL, side="SELL", quantity=_QTY, **legs)
        ask("orderList.cancel", symbol=SYMBOL, orderListId=made["orderListId"])
        wait(lambda: len(of("listStatus", since)) >= 2)
        told = of("listStatus", since)
        assert [(one["l"], one["L"]) for one in told] == [("EXEC_STARTED", "EXECUTING"), ("ALL_DONE", "ALL_DONE")]
        assert all((one["c"], one["g"], one["s"]) == ("OCO", made["orderListId"], SYMBOL) for one in told)
        assert {row["i"] for row in told[0]["O"]} == {row["orderId"] for row in made["orders"]}

    for operation, function in (
        ("executionReport", reports),
        ("outboundAccountPosition", positions),
        ("listStatus", lists),
    ):
        session.check(operation, function)
