"""python-binance and our own client of futures data against a running futures exchange."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from binance.exceptions import BinanceAPIException
from exchange.servers import MINUTE, START, exchange

from pipeline.config.sources import BinanceSource
from pipeline.errors import BadInput
from pipeline.exchange.local.journal import read
from pipeline.market.rest import Rest, UnknownSymbol
from pipeline.testing import LocalExchange

HOUR = 60 * MINUTE
BTC = {"symbol": "BTCUSDT"}


def futures(bars: int = 300, **settings: Any) -> LocalExchange:
    return exchange(bars=bars, market="um", **settings)


def refusal(function: Callable[..., Any], **params: Any) -> int:
    with pytest.raises(BinanceAPIException) as caught:
        function(**params)
    return int(caught.value.code)


# Our own client of market data


def test_our_own_client_reads_bars_and_funding() -> None:
    with futures(bars=600) as local:
        local.step(500)
        options = BinanceSource(api_url=local.url, futures_api_url=local.url)
        client = Rest(options, "um")
        table = client.bars("BTCUSDT", "1m", START - 600 * MINUTE, START + 500 * MINUTE)
        assert len(table) == 1100
        times, rates = client.funding("BTCUSDT", START - 600 * MINUTE, START + 500 * MINUTE)
        assert times.tolist() == [START - 8 * HOUR, START, START + 8 * HOUR]
        assert set(rates.tolist()) == {0.0001}
        with pytest.raises(UnknownSymbol):
            client.first_open_ms("XYZUSDT", "1m")


def test_klines_come_by_1500() -> None:
    with exchange(bars=10, market="um", start_ms=START + 1500 * MINUTE) as local:
        client = local.client()
        assert len(client.futures_klines(interval="1m", limit=5000, **BTC)) == 601
        assert refusal(client.futures_klines, interval="1s", **BTC) == -1120
        assert refusal(client.futures_klines, interval="1m", symbol="XYZUSDT") == -1121


# Trading with python-binance


def test_a_trade_from_leverage_to_income() -> None:
    with futures() as local:
        client = local.client()
        assert client.futures_change_leverage(leverage=5, **BTC)["leverage"] == 5
        assert refusal(client.futures_change_margin_type, marginType="ISOLATED", **BTC) == -4046
        assert refusal(client.futures_change_position_mode, dualSidePosition="false") == -4059
        bought = client.futures_create_order(
            side="BUY", type="MARKET", quantity="0.02", newOrderRespType="RESULT", newClientOrderId="in", **BTC
        )
        assert (bought["status"], bought["clientOrderId"]) == ("FILLED", "in")
        stop = client.futures_create_order(
            side="SELL", type="STOP_MARKET", stopPrice="20000", closePosition="true", **BTC
        )
        assert client.futures_get_open_orders(conditional=True)[0]["algoId"] == stop["algoId"]
        local.step(3)
        held = client.futures_position_information(**BTC)[0]
        assert Decimal(held["positionAmt"]) == Decimal("0.02")
        assert Decimal(held["liquidationPrice"]) < Decimal(held["entryPrice"])
        client.futures_create_order(side="SELL", type="MARKET", quantity="0.02", reduceOnly="true", **BTC)
        assert client.futures_cancel_order(algoId=stop["algoId"], **BTC)["algoStatus"] == "CANCELED"
        assert refusal(client.futures_cancel_order, orderId=bought["orderId"], **BTC) == -2011
        assert refusal(client.futures_get_order, orderId=99, **BTC) == -2013
        assert client.futures_position_information() == []
        booked = sum(Decimal(one["income"]) for one in client.futures_income_history())
        assert Decimal(client.futures_account_balance()[0]["balance"]) == 1_000_000 + booked
        account = client.futures_account()
        assert account["totalWalletBalance"] == account["availableBalance"]
        assert len(client.futures_account_trades(**BTC)) == 2


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"quantity": "0.00005"}, -4164),
        ({"quantity": "900"}, -2019),
        ({"quantity": "0.01", "reduceOnly": "true"}, -2022),
        ({"quantity": "0.01", "positionSide": "LONG"}, -4061),
        ({"quantity": "0.01", "price": "1"}, -1106),
        ({"quantity": "0.01", "colour": "red"}, -1104),
    ],
)
def test_refusals_reach_the_client(params: dict[str, str], code: int) -> None:
    with futures() as local:
        assert refusal(local.client().futures_create_order, side="BUY", type="MARKET", **BTC, **params) == code


def test_the_old_way_of_conditional_orders_is_refused() -> None:
    with futures() as local:
        client = local.client()
        old = {"side": "SELL", "type": "STOP_MARKET", "quantity": "0.01", "stopPrice": "20000"} | BTC
        assert refusal(lambda **p: client._request_futures_api("post", "order", True, data=p), **old) == -4120


def test_spot_orders_and_unknown_paths_are_not_served() -> None:
    with futures() as local:
        client = local.client()
        assert client.ping() == {}
        for ask in (
            lambda: client.create_order(side="BUY", type="MARKET", quantity="0.01", **BTC),
            lambda: client.futures_modify_order(**BTC),
            lambda: client.futures_place_batch_order(batchOrders=[]),
        ):
            with pytest.raises(BinanceAPIException) as caught:
                ask()
            assert caught.value.status_code in (404, 405)
        socket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        assert client.session.get(f"{local.url}/ws-api/v3", headers=socket).status_code == 404


def test_weights_and_limits_are_those_of_futures() -> None:
    with futures() as local:
        client = local.client()
        client.futures_klines(interval="1m", limit=1500, **BTC)
        assert client.response.headers["X-MBX-USED-WEIGHT-1M"] == "11"  # with the ping when it started
        limits = {one["rateLimitType"]: one["limit"] for one in client.futures_exchange_info()["rateLimits"]}
        assert limits == {"REQUEST_WEIGHT": 2400, "ORDERS": 300}


# Funding rates of a file


def test_funding_is_paid_at_the_rates_of_a_file(tmp_path: Path) -> None:
    stamps = pa.array([START + 8 * HOUR + 2, START + 16 * HOUR], pa.int64())
    table = pa.table({"funding_time": stamps, "funding_rate": [0.0005, -0.0003]})
    pq.write_table(table, tmp_path / "BTCUSDT-funding.parquet")
    with futures(bars=1000, funding=tmp_path / "{symbol}-funding.parquet") as local:
        client = local.client()
        client.futures_create_order(side="BUY", type="MARKET", quantity="0.02", **BTC)
        assert client.futures_mark_price(**BTC)["lastFundingRate"] == "0.00050000"
        local.step(970)
        paid = client.futures_income_history(incomeType="FUNDING_FEE")
        marks = [row["markPrice"] for row in client.futures_funding_rate(startTime=START, **BTC)]
        rates = (Decimal("0.0005"), Decimal("-0.0003"))
        expected = [-Decimal("0.02") * Decimal(mark) * rate for mark, rate in zip(marks, rates, strict=True)]
        assert [Decimal(one["income"]) for one in paid] == [round(one, 8) for one in expected]


def test_a_funding_rate_that_is_no_fraction_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"funding_time": pa.array([START], pa.int64()), "funding_rate": [5.0]}), tmp_path / "r.parquet"
    )
    with pytest.raises(BadInput, match="BTCUSDT: a funding rate is not a fraction"):
        futures(funding=tmp_path / "r.parquet").__enter__()


# Faults, and the pages beside the API


def test_the_state_of_a_futures_exchange_can_be_looked_at() -> None:
    with futures() as local:
        client = local.client()
        client.futures_create_order(side="BUY", type="MARKET", quantity="0.02", **BTC)
        client.futures_create_order(
            side="SELL", type="LIMIT", price="57000", quantity="0.02", timeInForce="GTC", **BTC
        )  # fmt: skip
        state = client.session.get(f"{local.url}/_emu/state").json()
        assert (len(state["orders"]), state["trades"][0]["symbol"]) == (1, "BTCUSDT")
        assert client.session.get(f"{local.url}/").status_code == 200


def test_the_archive_has_the_days_files_of_futures() -> None:
    with futures(bars=4000) as local:
        local.step(3000)
        path = "data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip"
        assert local.client().session.get(f"{local.url}/{path}").content[:2] == b"PK"


def test_a_lost_reply_leaves_the_order_to_be_found() -> None:
    with futures() as local:
        client = local.client()
        local.fault("lose_reply", where="order.place", how="-1007")
        order = {"side": "BUY", "type": "MARKET", "quantity": "0.01", "newClientOrderId": "lost"} | BTC
        assert refusal(client.futures_create_order, **order) == -1007
        assert client.futures_get_order(origClientOrderId="lost", **BTC)["status"] == "FILLED"


def test_another_client_trades_and_takes_money_away() -> None:
    with futures() as local:
        client = local.client()
        local.fault("foreign_deposit", amount="-990000")
        local.fault("foreign_order", params={"side": "SELL", "type": "MARKET", "quantity": "0.01"} | BTC)
        assert Decimal(client.futures_position_information(**BTC)[0]["positionAmt"]) == Decimal("-0.01")
        assert 9990 < Decimal(client.futures_account_balance()[0]["balance"]) < 10_000


def test_a_bar_that_is_missing_everywhere_is_missing_in_klines() -> None:
    with futures() as local:
        local.fault("bar_missing", where="BTCUSDT")
        local.step(3)
        rows = local.client().futures_klines(interval="1m", startTime=START, **BTC)
        assert [row[0] for row in rows[:2]] == [START + MINUTE, START + 2 * MINUTE]


# Restart


def test_a_restart_brings_back_positions_and_orders() -> None:
    with futures() as local:
        client = local.client()
        client.futures_create_order(side="BUY", type="MARKET", quantity="0.02", **BTC)
        client.futures_create_order(side="SELL", type="STOP_MARKET", stopPrice="20000", closePosition="true", **BTC)
        local.step(2)
        before = [client.futures_account(), client.futures_get_open_orders(conditional=True), local.journal()]
        local.fault("restart", seconds=0)
        local.step()
        after = [client.futures_account(), client.futures_get_open_orders(conditional=True), local.journal()]
        assert after[0]["positions"][0]["entryPrice"] == before[0]["positions"][0]["entryPrice"]
        assert after[1] == before[1]
        assert after[2].startswith(before[2])
        assert [entry["name"] for entry in read(after[2]) if entry["kind"] == "request"] == [
            "order.place",
            "algoOrder.place",
        ]


# Streams


def talk(local: LocalExchange, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run something with python-binance's socket manager, pointed here."""
    from binance import AsyncClient, BinanceSocketManager

    async def run() -> Any:
        client = await type("C", (AsyncClient,), local.attributes()).create(local.key, local.secret)
        streams = {"FSTREAM_URL": f"{local.streams_url}/f/", "STREAM_URL": f"{local.streams_url}/"}
        manager = type("M", (BinanceSocketManager,), streams)(client)
        manager.ws_kwargs = {"proxy": None}
        try:
            return await work(manager)
        finally:
            await client.session.close()

    return asyncio.run(run())


async def messages(local: LocalExchange, sockets: list[Any], counts: list[int], act: Callable[[], Any]) -> list[Any]:
    """Open sockets, do something, and read as many messages from each."""
    for socket in sockets:
        await socket.__aenter__()
    try:
        await asyncio.to_thread(act)
        return [
            [await asyncio.wait_for(socket.recv(), 60) for _ in range(count)]
            for socket, count in zip(sockets, counts, strict=True)
        ]
    finally:
        # Each waits ten seconds for a message before it closes.
        closing = [socket.__aexit__(None, None, None) for socket in sockets]
        await asyncio.gather(*closing, asyncio.to_thread(act))


def test_market_streams_by_category() -> None:
    def streams(manager: Any) -> Awaitable[Any]:
        sockets = [
            manager.kline_futures_socket("BTCUSDT", "1m"),
            manager.symbol_mark_price_socket("BTCUSDT"),
            manager.symbol_ticker_futures_socket("BTCUSDT"),
            manager.futures_multiplex_socket(["btcusdt@kline_1m", "btcusdt@aggTrade"]),
            manager.individual_symbol_ticker_futures_socket("BTCUSDT"),
        ]
        return messages(local, sockets, [4, 4, 4, 7, 4], local.step)

    with futures() as local:
        bars, marks, books, mixed, tickers = talk(local, streams)
        assert [(one["ps"], one["ct"], one["k"]["x"]) for one in bars] == [
            *[("BTCUSDT", "PERPETUAL", False)] * 3,
            ("BTCUSDT", "PERPETUAL", True),
        ]
        assert set(marks[0]["data"]) == {"e", "E", "s", "p", "i", "P", "r", "T"}
        assert marks[0]["data"]["T"] == START + 8 * HOUR
        assert set(books[0]["data"]) == {"e", "u", "E", "T", "s", "b", "B", "a", "A"}
        kinds = [one["stream"].partition("@")[2] for one in mixed]
        assert kinds == ["kline_1m", "aggTrade"] * 3 + ["kline_1m"]
        assert set(mixed[1]["data"]) == {"e", "E", "s", "a", "p", "q", "f", "l", "T", "m"}
        assert "b" not in tickers[0]["data"]


def test_a_book_is_told_by_differences_that_follow_each_other() -> None:
    def streams(manager: Any) -> Awaitable[Any]:
        return messages(local, [manager.futures_depth_socket("BTCUSDT", depth="")], [4], local.step)

    with futures() as local:
        (told,) = talk(local, streams)
        updates = [one["data"] for one in told]
        assert set(updates[0]) == {"e", "E", "T", "s", "U", "u", "pu", "b", "a"}
        assert all(one["pu"] == one["U"] - 1 for one in updates)
        assert [one["pu"] for one in updates[1:]] == [one["u"] for one in updates[:-1]]


def test_user_data_of_a_fill_of_funding_and_of_a_conditional_order() -> None:
    def act() -> None:
        client.futures_create_order(side="BUY", type="MARKET", quantity="0.02", newClientOrderId="in", **BTC)
        client.futures_create_order(side="SELL", type="STOP_MARKET", stopPrice="20000", quantity="0.02", **BTC)
        local.step(480)

    def streams(manager: Any) -> Awaitable[Any]:
        return messages(local, [manager.futures_user_socket()], [5], act)

    with futures(scenario={"market": {"levels": 0}}, bars=1200) as local:
        client = local.client()
        (events,) = talk(local, streams)
        assert [one["e"] for one in events] == [
            *["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE", "ALGO_UPDATE", "ACCOUNT_UPDATE"]
        ]
        assert (events[2]["o"]["c"], events[2]["o"]["x"], events[2]["o"]["X"]) == ("in", "TRADE", "FILLED")
        assert [one["a"]["m"] for one in events if "a" in one] == ["ORDER", "FUNDING_FEE"]


def test_listen_keys() -> None:
    with futures() as local:
        client = local.client()
        assert refusal(client.futures_stream_keepalive, listenKey="x") == -1125
        key = client.futures_stream_get_listen_key()
        assert client.futures_stream_get_listen_key() == key
        assert client.futures_stream_keepalive(listenKey=key) == {"listenKey": key}
        client.futures_stream_close(listenKey=key)
        assert refusal(client.futures_stream_keepalive, listenKey=key) == -1125
