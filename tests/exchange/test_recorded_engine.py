"""An exchange on a recorded market: real depth and trades, with orders of our own among them."""

import os
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.exchange.local.recorded_engine import RecordedEngine, read
from pipeline.exchange.local.restoring import restore
from pipeline.exchange.local.running import Setup
from pipeline.exchange.local.scenario import Trader
from pipeline.testing import LocalExchange

DATA = os.environ.get("PIPELINE_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="PIPELINE_REAL_DATA is not set")


@pytest.fixture(scope="module")
def recordings():
    assert DATA is not None
    return read((Path(DATA, "ws_raw/spot/btcusdt_20240808.gz"),))


def engine_of(recordings) -> RecordedEngine:
    return RecordedEngine(recordings, [Trader().account(0)], "1m", seed=1)


def test_a_market_order_walks_the_recorded_book(recordings):
    from pipeline.exchange.local.operations import call

    engine = engine_of(recordings)
    (account,) = engine.accounts.values()
    account.balance("USDT").free = Decimal(1_000_000)
    pit = engine.pits["BTCUSDT"]
    asks = pit.recorded.side("BUY", 50)
    qty = asks[0][1] + asks[1][1] + Decimal("0.00001")
    reply = call(
        engine, account, "order.place", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": str(qty)}
    )
    assert [(Decimal(f["price"]), Decimal(f["qty"])) for f in reply["fills"]] == [
        asks[0],
        asks[1],
        (asks[2][0], Decimal("0.00001")),
    ]


def test_resting_orders_fill_when_recorded_trades_go_through_and_a_replay_repeats_it(recordings):
    from pipeline.exchange.local.operations import call

    def trade(engine):
        (account,) = engine.accounts.values()
        bid = engine.pits["BTCUSDT"].recorded.top()[0]
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
        call(engine, account, "order.place", order | {"price": format(bid - 5, "f")})
        engine.step(2)
        return account

    engine = engine_of(recordings)
    account = trade(engine)
    assert account.balance("BTC").free > 0
    again = engine_of(recordings)
    trade(again)
    assert again.journal.text() == engine.journal.text()
    restored = engine_of(recordings)
    restore(restored, engine.journal.text(), engine.timeline.moments)
    assert restored.journal.text() == engine.journal.text() and restored.now == engine.now


def test_it_is_served_like_any_market(recordings):
    setup = Setup(recorded=(recordings["BTCUSDT"].path,))
    with LocalExchange(setup) as exchange:
        client = exchange.client()
        book = client.get_order_book(symbol="BTCUSDT", limit=5)
        ticker = client.get_orderbook_ticker(symbol="BTCUSDT")
        assert book["bids"][0] == [ticker["bidPrice"], ticker["bidQty"]]
        exchange.step(1)
        assert client.get_order_book(symbol="BTCUSDT", limit=5) != book
        assert len(client.get_klines(symbol="BTCUSDT", interval="1m")) >= 1
