"""Bars and account events through the faults of sockets: each bar once, in order, as REST has it; no silence stays."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from binance.ws.reconnecting_websocket import ReconnectingWebsocket
from builders import bars, random_walk
from exchange.binance.adapters import QUICK, Adapter, adapter, run
from exchange.servers import MINUTE, START, Rest, exchange, forgive, inside

from pipeline.exchange.binance import addresses
from pipeline.exchange.binance.sockets import BinanceLine, Watch, connect
from pipeline.exchange.binance.user import subscribe
from pipeline.exchange.port import Request
from pipeline.market.candles import COLUMNS
from pipeline.testing import LocalExchange, Setup

BTC = ("BTCUSDT",)
HOUR = 3_600_000


@pytest.fixture
def local() -> Iterator[LocalExchange]:
    with exchange(("BTCUSDT", "ETHUSDT")) as running:
        yield running


def source(local: LocalExchange, symbol: str, first: int, count: int) -> list[tuple[int, dict[str, float]]]:
    """Closed bars as REST has them, read without the adapter."""
    forgive(local)
    rows = Rest(local).ask("/api/v3/klines", symbol=symbol, interval="1m", startTime=first, limit=count).json()
    where = (1, 2, 3, 4, 5, 7, 8, 9, 10)
    return [(row[0], {n: float(row[at]) for n, at in zip(COLUMNS, where, strict=True)}) for row in rows]


def check(made: Adapter, local: LocalExchange, bars: int, symbol: str = "BTCUSDT") -> None:
    told = [(bar.open_time_ms, dict(bar.values)) for bar in made.bars if bar.symbol == symbol]
    assert told == source(local, symbol, START, bars)


async def all_bars(made: Adapter, count: int) -> None:
    """Until so many bars came, and a little longer, in which no other one may come."""
    await made.until(lambda: len(made.bars) >= count, f"{count} bars")
    await asyncio.sleep(0.05)


def test_bars_come_once_they_are_closed_and_equal_the_sources(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=("BTCUSDT", "ETHUSDT")) as made:
            assert made.bars == []
            for number in range(1, 4):
                await made.step()
                await all_bars(made, 2 * number)
            for symbol in ("BTCUSDT", "ETHUSDT"):
                check(made, local, 3, symbol)

    run(talk())


# Faults and their arguments.
MARKET_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("ws_drop", {"mode": "clean"}),
    ("ws_drop", {"mode": "rst"}),
    ("ws_drop", {"mode": "server"}),
    ("ws_half_open", {"seconds": 600}),
    ("outage", {"seconds": 1.5}),
    ("kline_duplicate", {"count": 3}),
    ("kline_out_of_order", {"count": 1}),
    ("kline_late_open", {"count": 3}),
    ("kline_missing", {"count": 2}),
    ("kline_revised", {"count": 2}),
    ("server_shutdown", {"seconds": 0.5}),
    ("ws_malformed", {}),
    ("ws_huge", {"megabytes": 2}),
    ("ws_burst", {"messages": 10_000}),
    ("restart", {"seconds": 0.3}),
]


@pytest.mark.parametrize(("kind", "args"), MARKET_FAULTS, ids=lambda one: one if isinstance(one, str) else "-")
def test_no_fault_of_a_stream_loses_repeats_or_changes_a_bar(
    local: LocalExchange, kind: str, args: dict[str, Any]
) -> None:
    async def talk() -> None:
        watch = Watch(0.15, 0.5) if kind == "ws_half_open" else QUICK
        async with adapter(local, following=BTC, speed=2, market_watch=watch) as made:
            await made.step(2)
            await all_bars(made, 2)
            await made.fault(kind, **args)
            await made.step(3)
            await all_bars(made, 5)
            await made.step(2)
            await all_bars(made, 7)
            check(made, local, 7)

    run(talk())


def test_a_bar_that_nobody_told_of_is_found_when_it_is_late(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(
            local, following=BTC, speed=200, market_watch=Watch(30, 600), user_watch=Watch(30, 600)
        ) as made:
            await made.fault("kline_missing")
            await made.step()
            await all_bars(made, 1)
            check(made, local, 1)

    run(talk())


def test_a_bar_that_is_missing_everywhere_is_not_made_up(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            await made.fault("bar_missing")
            await made.step(3)
            await all_bars(made, 2)
            check(made, local, 3)
            assert [bar.open_time_ms for bar in made.bars] == [START + MINUTE, START + 2 * MINUTE]
            assert made.noted("has no bars before")

    run(talk())


def test_rest_is_right_where_the_stream_told_another_bar(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            await made.fault("kline_revised", factor=1.5)
            await made.step()
            await all_bars(made, 1)
            assert made.noted("REST has another bar")
            check(made, local, 1)

    run(talk())


def late_rest(made: Adapter, times: int, row: Callable[[list[Any]], list[Any] | None]) -> None:
    """Let REST show bars some times later than the stream. row: what it shows of the newest closed one."""
    ask, left = made.exchange._client.binance.get_klines, times

    async def asked(**params: Any) -> list[Any]:
        nonlocal left
        rows = await ask(**params)
        if len(rows) < 2 or left == 0:
            return rows
        left -= 1
        shown = row(list(rows[-2]))
        return [*rows[:-2], *([shown] if shown else [])]

    made.exchange._client.binance.get_klines = asked


def with_a_trade_less(row: list[Any]) -> list[Any]:
    return [*row[:4], "1.0", *row[5:8], row[8] - 1, *row[9:]]


@pytest.mark.parametrize("shown", [lambda row: None, with_a_trade_less], ids=["missing", "unfinished"])
def test_rest_that_lags_behind_the_stream_is_asked_again(local: LocalExchange, shown: Any) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            late_rest(made, 2, shown)
            await made.step()
            await all_bars(made, 1)
            check(made, local, 1)

    run(talk())


def test_the_streams_bar_is_taken_if_rest_never_shows_it(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC, speed=10) as made:
            late_rest(made, 100, lambda row: None)
            await made.step()
            await all_bars(made, 1)
            assert made.noted("the stream's bar is taken")
            check(made, local, 1)

    run(talk())


def test_a_dead_line_is_noticed_by_its_silence(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC, market_watch=Watch(0.1, 0.3)) as made:
            await made.fault("ws_half_open", seconds=600)
            await made.until(lambda: made.noted("market: no answer within"))
            await made.step()
            await all_bars(made, 1)

    run(talk())


def test_a_stream_that_answers_but_tells_nothing_is_replaced(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC, market_watch=Watch(0.05, 2.0, silence_s=0.2)) as made:
            await made.until(lambda: made.noted("market: no message for"))
            await made.step()
            await all_bars(made, 1)

    run(talk())


def market_sockets(server: Any) -> int:
    return len(server.hub.clients)


def test_a_socket_is_replaced_before_it_is_too_old_and_the_new_one_opens_first(local: LocalExchange) -> None:
    counts: list[int] = []

    def watch(server: Any) -> None:
        def counted(change: Any) -> Any:
            def called(client: Any) -> None:
                change(client)
                counts.append(market_sockets(server))

            return called

        server.hub.add, server.hub.remove = counted(server.hub.add), counted(server.hub.remove)

    async def talk() -> None:
        async with adapter(local, following=BTC, market_watch=Watch(5, 5, age_s=0.2)) as made:
            inside(local, watch)
            for _ in range(20):
                await made.step()
                await asyncio.sleep(0.05)
            await all_bars(made, 20)
            await made.until(lambda: counts.count(1) >= 3)
            check(made, local, 20)
            assert made.noted("market: replaced before")
            assert not made.noted("a new one is opened")
            assert set(counts) == {1, 2}

    run(talk())


def test_a_socket_that_was_given_up_does_not_come_back(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            await made.fault("ws_drop")
            await made.until(lambda: made.noted("market: "))
            # python-binance would try again after a second or two.
            await asyncio.sleep(2.3)
            assert inside(local, market_sockets) == 1

    run(talk())


def test_a_burst_of_messages_waits_for_a_reader_who_is_late(local: LocalExchange) -> None:
    async def talk() -> None:
        socket = ReconnectingWebsocket(f"{local.streams_url}/", "btcusdt@kline_1m")
        await connect(socket, True)
        await asyncio.to_thread(local.fault, "ws_burst", messages=5000)
        await asyncio.sleep(1)
        line = BinanceLine(socket)
        assert [(await line.recv())["x"] for _ in range(5000)] == list(range(5000))
        await line.close()

    run(talk())


def test_a_warning_of_shutdown_is_heeded_before_the_line_is_cut(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            await made.fault("server_shutdown", seconds=30)
            await made.until(lambda: made.noted("market: replaced before") and made.noted("user: replaced before"))
            await made.until(lambda: made.interruptions == 2)
            await made.step()
            await all_bars(made, 1)
            assert not made.noted("a new one is opened")

    run(talk())


def test_bars_close_by_the_exchanges_own_time_where_the_market_is_no_replay(tmp_path: Path) -> None:
    """Seconds in real time, told at first and then no more; the exchange's clock is an hour ahead of ours."""

    def agree(server: Any) -> None:
        """Let the clock of signatures show the market's time, as that of a real exchange does."""
        pace = server.pace
        market = pace._market_start + (time.monotonic() - pace._wall_start) * 1000
        server.venue.clock.set(int(market - time.time() * 1000))

    async def talk() -> None:
        start = int(time.time()) * 1000 + HOUR
        path = tmp_path / "BTCUSDT_1s.parquet"
        pq.write_table(bars(random_walk(1200), step_ms=1000, start_ms=start - 600_000, filled=False), path)
        with LocalExchange(Setup(BTC, "1s", path, start_ms=start, speed=1)) as local:
            inside(local, agree)
            at = dataclasses.replace(addresses.local(local.url), market_clock="")
            async with adapter(local, following=BTC, interval="1s", addresses=at, market_watch=Watch(30, 30)) as made:
                await all_bars(made, 1)
                await made.fault("kline_missing", count=0)
                before = len(made.bars)
                await made.until(lambda: len(made.bars) > before)
                opens = [bar.open_time_ms for bar in made.bars]
                assert opens == list(range(opens[0], opens[0] + 1000 * len(opens), 1000))
                rows = Rest(local).ask("/api/v3/klines", symbol="BTCUSDT", interval="1s", startTime=opens[0]).json()
                assert [bar.values["close"] for bar in made.bars] == [float(row[4]) for row in rows][: len(opens)]

    run(talk())


# The account's events


async def buys(made: Adapter, name: str) -> None:
    await made.exchange.place(Request("BTCUSDT", "BUY", "MARKET", Decimal("0.01"), name), 5000)


def names(made: Adapter, status: str = "FILLED") -> list[str]:
    return [report.client_order_id for report in made.reports if report.status == status]


@pytest.mark.parametrize("mode", ["clean", "rst", "server"])
def test_the_account_is_followed_again_after_its_socket_was_cut(local: LocalExchange, mode: str) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            await made.fault("wsapi_drop", mode=mode)
            await made.until(lambda: made.interruptions == 2, "subscribed again")
            await buys(made, "after")
            await made.until(lambda: names(made) == ["after"])

    run(talk())


def test_a_socket_whose_replies_stop_is_replaced(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC, user_watch=Watch(0.15, 0.4)) as made:
            await made.fault("wsapi_late_error", where="time", seconds=1)
            await made.until(lambda: made.interruptions == 2, "subscribed again")
            assert made.noted("user: no answer within")
            await asyncio.sleep(0.8)
            await buys(made, "after")
            await made.until(lambda: names(made) == ["after"])
            assert made.interruptions == 2

    run(talk())


def test_a_late_reply_does_not_end_a_socket_that_is_kept(local: LocalExchange) -> None:
    async def talk() -> None:
        # The request is given up after 0.1 s of ten tries; nobody doubts the line meanwhile.
        async with adapter(local, following=BTC, user_watch=Watch(60, 5)) as made:
            line = await subscribe(made.exchange._client, made.exchange._addresses.socket_api, True)
            await made.fault("wsapi_late_error", where="time", seconds=0.3)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(line.ask("time"), 0.1)
            await asyncio.sleep(0.4)
            assert "serverTime" in await line.ask("time")
            await line.close()

    run(talk())


def test_an_event_that_is_told_twice_comes_once(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            await made.fault("report_duplicated", where="executionReport", count=0)
            await buys(made, "twice")
            await made.until(lambda: names(made) == ["twice"])
            await asyncio.sleep(0.1)
            assert len(set(made.reports)) == len(made.reports)

    run(talk())


@pytest.mark.parametrize("kind", ["report_reordered", "report_before_reply"])
def test_fills_are_whole_in_any_order(local: LocalExchange, kind: str) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            await made.fault(kind)
            await made.exchange.place(Request("BTCUSDT", "BUY", "MARKET", Decimal("0.1"), "a"), 5000)
            await made.until(lambda: sum(f.qty for r in made.reports for f in r.fills) == Decimal("0.1"))

    run(talk())


def test_a_lost_event_is_found_among_the_fills(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            await made.fault("report_lost", count=0)
            await buys(made, "unheard")
            await asyncio.sleep(0.1)
            assert made.reports == []
            found = await made.exchange.fills("BTCUSDT", -1)
            assert {name for name, _ in found} == {"unheard"}
            assert sum(fill.qty for _, fill in found) == Decimal("0.01")

    run(talk())


def test_orders_of_others_are_told_with_their_own_names(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            params = {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "MARKET",
                "quantity": "0.01",
                "newClientOrderId": "foreign",
            }
            await made.fault("foreign_order", params=params)
            await made.until(lambda: names(made) == ["foreign"])
            assert {name for name, _ in await made.exchange.fills("BTCUSDT", -1)} == {"foreign"}

    run(talk())


def test_a_cancel_is_told_under_the_orders_name(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, following=BTC) as made:
            order = Request("BTCUSDT", "BUY", "LIMIT", Decimal("0.01"), "rests", price=Decimal("20000"))
            await made.exchange.place(order, 5000)
            await made.exchange.cancel("BTCUSDT", "rests")
            await made.until(lambda: names(made, "CANCELED") == ["rests"])

    run(talk())
