"""Balances, and what a third asset costs that fees are paid in."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace

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
