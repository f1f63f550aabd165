"""Balances, and what a third asset costs that fees are paid in."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from pipeline.exchange.port import Unavailable
from pipeline.live.holdings import Holdings


def test_a_price_of_the_fees_asset_is_dropped_when_no_newer_one_is_told():
    told, now = [Decimal(300), Decimal(310)], [0]

    async def price(symbol: str) -> Decimal:
        assert symbol == "BNBUSDT"
        if not told:
            raise Unavailable("nobody answers")
        return told.pop(0)

    async def work() -> list[Decimal | None]:
        desk = SimpleNamespace(rules={"BTCUSDT": SimpleNamespace(base_asset="BTC")}, fee_prices={})
        driver = SimpleNamespace(go=asyncio.ensure_future)
        trader = SimpleNamespace(balances={"BNB": Decimal(1)})
        clock = SimpleNamespace(now_ms=lambda: now[0])
        holdings, seen = Holdings(desk, driver, trader, SimpleNamespace(price=price), clock), []
        for now[0] in range(0, 240_000, 20_000):
            holdings.look_at_fees()
            await asyncio.sleep(0.001)
            seen.append(desk.fee_prices.get("BNB"))
        return seen

    assert asyncio.run(work()) == [Decimal(300)] * 3 + [Decimal(310)] * 3 + [None] * 6


class Books:
    """Books of one symbol, which hold more than the account has."""

    def __init__(self) -> None:
        self.last_trade = {"BTCUSDT": 1}
        self.orders: list[str] = []

    def held(self, symbol: str) -> Decimal:
        return Decimal(2)

    def open(self, symbol: str) -> list[str]:
        return self.orders


def asked(
    *symbols: str, books: Books, fills: bool = False, doubted: bool = False, away: bool = False
) -> tuple[list[str], list[str]]:
    """What the exchange is asked for, and the symbols that the desk is told the balance of."""
    asks, told = list[str](), list[str]()

    async def price(symbol: str) -> Decimal:
        asks.append(symbol)
        return Decimal(300)

    async def balances() -> dict[str, tuple[Decimal, Decimal]]:
        asks.append("balances")
        if away:
            raise Unavailable("nobody answers")
        if fills:
            books.last_trade["BTCUSDT"] += 1
        return {"BTC": (Decimal(1), Decimal(0)), "BNB": (Decimal(1), Decimal(0))}

    async def do(work: Any) -> None:
        work()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    async def work() -> None:
        rules = {symbol: SimpleNamespace(base_asset=symbol[:3]) for symbol in symbols}
        desk = SimpleNamespace(
            rules=rules, fee_prices={}, books=books, holdings=lambda symbol, held, now: told.append(symbol)
        )
        trader = SimpleNamespace(balances={"BNB": Decimal(1), "BTC": Decimal(1)}, heard=lambda change, at: None)
        exchange = SimpleNamespace(price=price, balances=balances)
        clock = SimpleNamespace(now_ms=lambda: 0, sleep=sleep)
        driver: Any = SimpleNamespace(do=do, go=asyncio.ensure_future)
        holdings = Holdings(desk, driver, trader, exchange, clock)  # type: ignore[arg-type]
        if doubted:
            holdings.doubt()
            await asyncio.sleep(0.01)
        else:
            await holdings.ask()

    asyncio.run(work())
    return asks, told


def test_what_fees_are_taken_in_has_no_price_where_it_is_traded_itself() -> None:
    assert asked("BTCUSDT", books=Books())[0] == ["balances", "BNBUSDT"]
    assert asked("BTCUSDT", "BNBUSDT", books=Books())[0] == ["balances"]


def test_an_answer_that_a_fill_may_have_overtaken_is_not_held_against_the_books() -> None:
    assert asked("BTCUSDT", books=Books())[1] == ["BTCUSDT"]
    assert asked("BTCUSDT", books=Books(), fills=True)[1] == []


def test_less_than_is_booked_is_no_doubt_while_an_order_may_have_sold_it() -> None:
    books = Books()
    assert "balances" in asked("BTCUSDT", books=books, doubted=True)[0]
    books.orders = ["stop"]
    assert asked("BTCUSDT", books=books, doubted=True)[0] == []


def test_an_exchange_that_cannot_be_asked_says_nothing_about_the_books() -> None:
    assert asked("BTCUSDT", books=Books(), away=True) == (["balances"], [])
