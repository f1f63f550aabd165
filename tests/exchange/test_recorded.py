"""Recorded order books and trades: the book is the exchange's own to the last digit, and orders meet what was there."""

import gzip
import itertools
import json
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.exchange.local.accounts import Account, Balance
from pipeline.exchange.local.depth_book import BestPrices, DepthBook, Diff, MarketTrade, Snapshot
from pipeline.exchange.local.engine import Engine, MarketEvent
from pipeline.exchange.local.history import aggregate
from pipeline.exchange.local.instruments import of_series
from pipeline.exchange.local.matching import MarketModel
from pipeline.exchange.local.operations import call
from pipeline.exchange.local.orders import Order
from pipeline.exchange.local.recorded import Recording, Replay

D = Decimal
START = 1_723_161_600_000
# What the exchange told of its best prices, and so how many states of the book can be held to it.
COMPARED = {"btcusdt": 3449, "ethusdt": 3433}


@pytest.fixture(scope="module")
def recordings(real_data: Path) -> dict[str, Recording]:
    return {name: Recording.read(real_data / "ws_raw" / "spot" / f"{name}_20240808.gz") for name in COMPARED}


# Small recordings


def levels(*pairs: tuple[float, float]) -> list[list[str]]:
    return [[f"{price:.8f}", f"{size:.8f}"] for price, size in pairs]


def snapshot(update_id: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    return {"lastUpdateId": update_id, "bids": bids, "asks": asks}


def depth(time: int, first: int, last: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    data = {"e": "depthUpdate", "E": START + time, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": asks}
    return {"stream": "btcusdt@depth@100ms", "data": data}


def trade(time: int, number: int, price: float, qty: float, maker: bool = False) -> dict[str, Any]:
    data = {"e": "trade", "E": START + time + 1, "s": "BTCUSDT", "t": number, "p": f"{price:.8f}", "q": f"{qty:.8f}"}
    return {"stream": "btcusdt@trade", "data": data | {"T": START + time, "m": maker, "M": True}}


BOOK = snapshot(10, levels((99, 1), (98, 2)), levels((101, 1), (102, 2), (104, 5)))


def write(path: Path, messages: Iterable[dict[str, Any] | bytes]) -> Path:
    """A file of messages, received a second before the exchange's time; bytes are lines as they stand."""
    lines = [
        one if isinstance(one, bytes) else f"{(START - 1000) * 1_000_000 + i} {json.dumps(one)}\n".encode()
        for i, one in enumerate(messages)
    ]
    path.write_bytes(gzip.compress(b"".join(lines)))
    return path


def recording(tmp_path: Path, *messages: dict[str, Any]) -> Recording:
    return Recording.read(write(tmp_path / "small.gz", messages))


def market(found: Recording, interval: str = "1s", **model: Any) -> tuple[Engine, Replay]:
    """An exchange on a recording's bars with a rich account, and the replay that drives it."""
    series = found.bars(interval)
    account = Account("key", "secret", 1, D(0), D(0))
    account.balances = {asset: Balance(D(10_000_000)) for asset in ("USDT", "BTC", "ETH")}
    plain = MarketModel.model_validate({"participation": 0} | model)
    engine = Engine({found.symbol: of_series(found.symbol, series)}, {found.symbol: series}, [account], model=plain)
    return engine, Replay(found, engine.pits[found.symbol])


def run(engine: Engine, replay: Replay, until_ms: int = 1 << 60) -> list[MarketEvent]:
    """Go on until the next message is due after a time, or the recording ends."""
    events: list[MarketEvent] = []
    while (due := replay.next_ms) is not None and due <= until_ms:
        engine.timeline.now = due
        events += replay.advance()
    return events


def place(engine: Engine, symbol: str, side: str, kind: str, **params: str) -> Order:
    account = engine.accounts["key"]
    raw = {"symbol": symbol, "side": side, "type": kind, **params}
    return engine.orders[call(engine, account, "order.place", raw)["orderId"]]


def fills(order: Order) -> list[tuple[Decimal, Decimal]]:
    return [(one.price, one.qty) for one in order.trades]


# The book


def states(found: Recording) -> Iterable[DepthBook]:
    """The book of a recording after each message that changes it."""
    book = DepthBook()
    for message in found.messages:
        if isinstance(message, Snapshot):
            book.restart(message)
        elif isinstance(message, Diff):
            book.apply(message)
        else:
            continue
        if book.is_synced:
            yield book


@pytest.mark.parametrize("name", COMPARED)
def test_best_prices_are_those_that_the_exchange_told_at_the_same_update(
    recordings: dict[str, Recording], name: str
) -> None:
    told = [message for message in recordings[name].messages if isinstance(message, BestPrices)]
    ids = [one.update_id for one in told]
    compared, book = 0, DepthBook()
    for book in states(recordings[name]):
        # Best prices hold from their own update to the next ones'.
        if last := bisect_right(ids, book.update_id):
            best = told[last - 1]
            assert (book.side("SELL", 1), book.side("BUY", 1)) == ([best.bid], [best.ask]), book.update_id
            assert book.top() == (best.bid[0], best.ask[0])
            compared += 1
    assert (compared, book.breaks) == (COMPARED[name], 0)


@pytest.mark.parametrize("name", COMPARED)
def test_a_diff_that_is_missing_from_a_real_recording_is_noticed(recordings: dict[str, Recording], name: str) -> None:
    messages = list(recordings[name].messages)
    diffs = [i for i, message in enumerate(messages) if isinstance(message, Diff)]
    del messages[diffs[1000]]
    short = Recording(recordings[name].path, recordings[name].symbol, messages)
    *_, book = states(short)
    assert book.breaks == 1
    assert not book.is_synced
    assert book.update_id == recordings[name].messages[diffs[999]].last  # type: ignore[union-attr]


def diff(first: int, last: int, bids: Any = (), asks: Any = ()) -> Diff:
    exact = [[(D(price), D(size)) for price, size in side] for side in (bids, asks)]
    return Diff(0, 0, first, last, *exact)


def book_at(update_id: int, *diffs: Diff) -> DepthBook:
    book = DepthBook()
    book.restart(Snapshot(0, update_id, [(D(99), D(1))], [(D(101), D(1))]))
    for one in diffs:
        book.apply(one)
    return book


@pytest.mark.parametrize(
    ("diffs", "update_id", "breaks"),
    [
        ([diff(5, 10)], 10, 0),  # older than the snapshot
        ([diff(8, 12)], 12, 0),  # the first one may begin before it
        ([diff(11, 12), diff(13, 13)], 13, 0),
        ([diff(11, 12), diff(11, 12)], 12, 0),  # told twice
        ([diff(12, 13)], 10, 1),
        ([diff(11, 12), diff(14, 15)], 12, 1),
        ([diff(11, 12), diff(12, 15)], 12, 1),  # overlaps, though it follows no snapshot
        ([diff(12, 13), diff(14, 15)], 10, 1),  # counted once
    ],
)
def test_a_diff_has_to_follow_on_the_one_before(diffs: list[Diff], update_id: int, breaks: int) -> None:
    book = book_at(10, *diffs)
    assert (book.update_id, book.breaks, book.is_synced) == (update_id, breaks, not breaks)


def test_diffs_before_the_snapshot_wait_for_it() -> None:
    book = DepthBook()
    for one in (diff(7, 9, [("98", "5")]), diff(10, 11, [("99", "0"), ("97", "3")]), diff(12, 12, (), [("100", "4")])):
        book.apply(one)
    assert not book.is_synced
    book.restart(Snapshot(0, 10, [(D(99), D(1))], [(D(101), D(1))]))
    assert (book.update_id, book.top()) == (12, (D(97), D(100)))


def test_a_snapshot_older_than_all_diffs_does_not_help() -> None:
    book = DepthBook()
    book.apply(diff(12, 13))
    book.restart(Snapshot(0, 10, [(D(99), D(1))], [(D(101), D(1))]))
    assert (book.breaks, book.is_synced) == (1, False)


def test_a_new_snapshot_mends_a_break() -> None:
    book = book_at(10, diff(12, 13, [("98", "7")]), diff(14, 14, [("97", "8")]))
    book.restart(Snapshot(0, 13, [(D(98), D(7))], [(D(102), D(1))]))
    assert (book.update_id, book.breaks, book.is_synced) == (14, 1, True)
    assert book.side("SELL", 5) == [(D(98), D(7)), (D(97), D(8))]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), max_size=6), max_size=20), st.integers(1, 15)
)
def test_both_sides_stay_sorted_and_whole(changes: list[list[tuple[int, int]]], limit: int) -> None:
    book, expected = DepthBook(), {}
    book.restart(Snapshot(0, 0, [], []))
    for i, change in enumerate(changes, 1):
        exact = [(D(price), D(size)) for price, size in change]
        book.apply(Diff(0, 0, i, i, exact, exact))
        expected.update(exact)
    whole = sorted((price, size) for price, size in expected.items() if size)
    assert book.side("BUY", limit) == whole[:limit]
    assert book.side("SELL", limit) == whole[::-1][:limit]
    assert book.is_usable == bool(whole)


def best(update_id: int, bid: float, ask: float) -> BestPrices:
    return BestPrices(0, update_id, (D(bid), D(7)), (D(ask), D(7)))


def sold(time_ms: int, price: float) -> MarketTrade:
    return MarketTrade(0, time_ms, 1, D(price), D(1), True)


def wide() -> DepthBook:
    book = DepthBook()
    book.restart(Snapshot(0, 10, [(D(p), D(1)) for p in (99, 98, 97, 96)], [(D(p), D(1)) for p in (101, 102, 103)]))
    return book


def prices(book: DepthBook) -> tuple[list[int], list[int]]:
    return [int(price) for price, _ in book.side("SELL", 3)], [int(price) for price, _ in book.side("BUY", 3)]


def test_best_prices_lead_the_book_until_the_diff_that_covers_them() -> None:
    book = wide()
    book.lead(best(9, 90, 110))
    assert prices(book) == ([99, 98, 97], [101, 102, 103])
    book.lead(best(14, 98, 100))
    assert prices(book) == ([98, 97, 96], [100, 101, 102])
    assert book.side("SELL", 1) == [(D(98), D(7))]
    book.apply(diff(11, 13, [("99", "0")]))
    assert prices(book) == ([98, 97, 96], [100, 101, 102])
    book.apply(diff(14, 14, [("98", "7")], [("100", "7")]))
    assert prices(book) == ([98, 97, 96], [100, 101, 102])
    book.apply(diff(15, 15, [("99", "1")], [("100", "0")]))
    assert prices(book) == ([99, 98, 97], [101, 102, 103])


def test_a_trade_takes_what_was_better_until_the_book_tells_more() -> None:
    book = wide()
    book.trade(sold(500, 97))
    assert prices(book) == ([97, 96], [101, 102, 103])
    book.trade(sold(510, 98))
    assert prices(book)[0] == [97, 96]
    book.apply(Diff(0, 509, 11, 11, [], []))
    assert prices(book)[0] == [97, 96]
    book.apply(Diff(0, 510, 12, 12, [], []))
    assert prices(book)[0] == [99, 98, 97]
    book.trade(sold(520, 96))
    book.lead(best(13, 98, 101))
    assert prices(book)[0] == [98, 97, 96]
    book.trade(sold(530, 97))
    assert prices(book)[0] == [97, 96]
    book.trade(sold(540, 95))
    assert not book.is_usable


# Bars


@pytest.mark.parametrize("name", COMPARED)
def test_bars_are_those_of_the_trades(recordings: dict[str, Recording], name: str) -> None:
    found = recordings[name]
    seconds, minutes = found.bars("1s"), found.bars("1m")
    times = np.array([one.time_ms for one in found.trades])
    assert seconds.open_time.tolist() == np.unique(times // 1000 * 1000).tolist()
    assert seconds.trades.sum() == minutes.trades.sum() == len(found.trades)
    assert np.isclose(minutes.volume.sum(), float(sum(one.qty for one in found.trades)), rtol=1e-12)
    bought = sum(one.price * one.qty for one in found.trades if not one.buyer_is_maker)
    assert np.isclose(minutes.taker_buy_quote_volume.sum(), float(bought), rtol=1e-12)
    rows = aggregate(seconds, 0, len(seconds), "1m")
    assert [np.allclose(row, minutes.row(i), rtol=1e-12) for i, row in enumerate(rows)] == [True] * len(minutes)


def test_a_bar_in_numbers(tmp_path: Path) -> None:
    first = (trade(10, 5, 100, 2), trade(20, 6, 103, 1, maker=True), trade(900, 7, 101, 1))
    found = recording(tmp_path, BOOK, *first, trade(3000, 8, 99, 4))
    series = found.bars("1s")
    assert [series.row(i) for i in range(len(series))] == [
        (START, 100.0, 103.0, 100.0, 101.0, 4.0, 404.0, 3, 3.0, 301.0, 5),
        (START + 3000, 99.0, 99.0, 99.0, 99.0, 4.0, 396.0, 1, 4.0, 396.0, 8),
    ]


@pytest.mark.parametrize("interval", ["1s", "1m"])
def test_the_engine_runs_on_them(recordings: dict[str, Recording], interval: str) -> None:
    series = recordings["ethusdt"].bars(interval)
    engine = Engine({"ETHUSDT": of_series("ETHUSDT", series)}, {"ETHUSDT": series}, [])
    closes = [event[2] for event in engine.step(len(series)) if event[0] == "close"]
    assert closes == list(range(len(series)))


# The market


@pytest.mark.parametrize("name", COMPARED)
def test_a_replay_tells_each_trade_once_and_closes_each_bar_with_all_of_its_trades(
    recordings: dict[str, Recording], name: str
) -> None:
    found = recordings[name]
    engine, replay = market(found)
    pit, series, ticks, told = replay.pit, replay.pit.series, [], 0
    for event in itertools.chain.from_iterable(replay.advance() for _ in found.messages):
        if event[0] == "tick":
            ticks.append(event)
            told += 1
        elif event[0] == "close":
            row = series.row(event[2])
            prices = [price for _, _, price, *_ in ticks]
            assert (prices[0], max(prices), min(prices), prices[-1]) == row[1:5]
            assert (len(ticks), ticks[0][5]) == (row[7], row[10])
            assert replay.now_ms >= row[0] + 1000
            ticks = []
    assert (told, replay.done, replay.advance()) == (len(found.trades), True, [])
    assert len(series) - pit.position <= 1
    assert engine.pits[found.symbol].last == float(found.trades[-1].price)


def test_the_bar_that_is_going_on_shows_what_was_traded(tmp_path: Path) -> None:
    found = recording(
        tmp_path, BOOK, trade(10, 1, 100, 3), trade(20, 2, 104, 1), trade(30, 3, 98, 4), trade(40, 4, 99, 2)
    )
    _, replay = market(found)
    for _ in range(4):
        replay.advance()
    # A part of the volume that the bar will have, as its turnover.
    share, turnover = 8 / 10, 300 + 104 + 392 + 198
    assert replay.pit.forming() == pytest.approx(
        (START, 100, 104, 98, 98, 8, turnover * share, 3, 8, turnover * share, 1), rel=1e-9
    )


def test_a_bar_waits_for_trades_that_are_told_late(tmp_path: Path) -> None:
    found = recording(
        tmp_path,
        BOOK,
        trade(100, 1, 100, 1),
        depth(1100, 11, 12, [], []),
        trade(990, 2, 105, 1),
        depth(1200, 13, 13, [], []),
        trade(1300, 3, 101, 1),
        depth(1900, 14, 14, [], []),
        depth(2000, 15, 15, [], []),
    )
    _, replay = market(found)
    told = [[event[0] for event in replay.advance()] for _ in found.messages]
    assert told == [[], ["tick"], [], ["tick", "close"], [], ["open", "tick"], [], ["close"]]


@pytest.mark.parametrize("name", COMPARED)
def test_a_market_order_walks_the_levels_that_were_there(
    real_data: Path, recordings: dict[str, Recording], name: str
) -> None:
    found = recordings[name]
    engine, replay = market(found)
    begin, told = found.trades[-1].time_ms - 60_000, 0
    for message in found.messages:
        replay.advance()
        told = message.update_id if isinstance(message, BestPrices) else told
        if replay.now_ms > begin and isinstance(message, Diff) and told <= message.last:
            break
    # The same book again, from the file itself and without any order: the last that is said of each level.
    with gzip.open(real_data / "ws_raw" / "spot" / f"{name}_20240808.gz", "rt") as file:
        lines = [json.loads(line.partition(" ")[2]) for line in file if '"bids"' in line or "@depth" in line]
    whole = next(line for line in lines if "lastUpdateId" in line)
    diffs = [line["data"] for line in lines if "stream" in line]
    for side, key in (("BUY", "asks"), ("SELL", "bids")):
        sizes = {D(price): D(size) for price, size in whole[key]}
        for one in diffs:
            if whole["lastUpdateId"] < one["u"] <= replay.book.update_id:
                sizes.update((D(price), D(size)) for price, size in one[key[0]])
        real = sorted((level for level in sizes.items() if level[1]), reverse=side == "SELL")
        last = engine.instruments[found.symbol].rules.lots.step
        wanted = sum((size for _, size in real[:7]), last)
        order = place(engine, found.symbol, side, "MARKET", quantity=str(wanted))
        assert fills(order) == [*real[:7], (real[7][0], last)]
        # What it took is not there a second time before the price moves.
        assert next(replay.pit.levels(side)) == (real[7][0], real[7][1] - last)


@pytest.mark.parametrize("name", COMPARED)
def test_after_a_trade_nothing_better_is_left_for_the_next_taker(recordings: dict[str, Recording], name: str) -> None:
    found = recordings[name]
    _, replay = market(found)
    compared = 0
    for message in found.messages:
        replay.advance()
        if isinstance(message, MarketTrade) and replay.pit.recorded is not None:
            bid, ask = replay.pit.top()
            assert bid <= message.price if message.buyer_is_maker else ask >= message.price
            compared += 1
    assert compared > len(found.trades) - 10


def test_the_market_order_of_a_thin_book_expires_with_what_it_got(tmp_path: Path) -> None:
    engine, replay = market(recording(tmp_path, BOOK, trade(10, 1, 101, 1)))
    run(engine, replay)
    order = place(engine, "BTCUSDT", "BUY", "MARKET", quantity="9")
    assert fills(order) == [(D(101), D(1)), (D(102), D(2)), (D(104), D(5))]
    assert (order.status, order.expiry_reason) == ("EXPIRED", "INSUFFICIENT_LIQUIDITY")


def test_a_resting_order_fills_with_a_share_of_the_real_trades_that_go_through_it(
    recordings: dict[str, Recording],
) -> None:
    found = recordings["btcusdt"]
    engine, replay = market(found, participation="0.1")
    begin = found.trades[-1].time_ms - 180_000
    run(engine, replay, begin)
    price = replay.pit.top()[0] - 20
    order = place(engine, "BTCUSDT", "BUY", "LIMIT", quantity="140", price=str(price), timeInForce="GTC")
    assert order.status == "NEW"
    run(engine, replay)
    through = [one for one in found.trades if one.time_ms > begin and one.price < price]
    step = engine.instruments["BTCUSDT"].rules.lots.step
    parts = [(one.time_ms, part) for one in through if (part := (one.qty / 10) // step * step)]
    assert len(parts) > 100
    assert [one.qty for one in order.trades] == [qty for _, qty in parts]
    assert all(one.time >= at for one, (at, _) in zip(order.trades, parts, strict=True))
    assert {one.price for one in order.trades} == {price}
    assert all(one.maker for one in order.trades)


def test_a_stop_is_triggered_by_the_first_trade_beyond_it_and_takes_from_the_book(
    recordings: dict[str, Recording],
) -> None:
    found = recordings["btcusdt"]
    engine, replay = market(found)
    begin = found.trades[-1].time_ms - 180_000
    run(engine, replay, begin)
    stop = replay.pit.price - 20
    order = place(engine, "BTCUSDT", "SELL", "STOP_LOSS", quantity="0.001", stopPrice=str(stop))
    first = next(one for one in found.trades if one.time_ms > begin and one.price <= stop)
    run(engine, replay, first.time_ms - 1)
    assert order.status == "NEW"
    run(engine, replay, first.time_ms + 200)
    assert order.status == "FILLED"
    assert first.time_ms <= order.trades[0].time <= first.time_ms + 200
    # The trade is one of a sweep: what it left as the best bid was told while its trades still came in. By the diffs
    # alone the best bid would have been 61717.
    assert first.price == D("61707.36")
    assert order.trades[0].price == D("61679.71")


def test_a_stop_is_triggered_where_the_price_jumps_to_not_where_it_was_set(tmp_path: Path) -> None:
    engine, replay = market(
        recording(tmp_path, trade(10, 1, 100, 1), trade(20, 2, 90, 1), BOOK), spread_bps="0", levels="0"
    )
    run(engine, replay, START + 10)
    order = place(engine, "BTCUSDT", "SELL", "STOP_LOSS", quantity="1", stopPrice="95")
    run(engine, replay, START + 20)
    assert fills(order) == [(D(90), D(1))]


def test_without_a_book_the_models_stands_in(tmp_path: Path) -> None:
    found = recording(
        tmp_path,
        trade(10, 1, 100, 1),
        BOOK,
        depth(100, 11, 12, levels((99, 3)), []),
        depth(200, 14, 15, [], []),
    )
    _, replay = market(found, spread_bps="2")
    seen = []
    for _ in found.messages:
        replay.advance()
        seen.append((replay.pit.recorded is not None, replay.pit.top()[0]))
    assert seen == [(False, D("99")), (True, D(99)), (True, D(99)), (False, D("99"))]
    assert replay.book.breaks == 1


def test_a_market_of_other_bars_is_refused(tmp_path: Path) -> None:
    found = recording(tmp_path, BOOK, trade(10, 1, 100, 1))
    later = Recording(found.path, "BTCUSDT", recording(tmp_path, BOOK, trade(5000, 1, 100, 1)).messages)
    engine, _ = market(found)
    with pytest.raises(BadInput, match="no bar"):
        Replay(later, engine.pits["BTCUSDT"])


# Bad input


def bad(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        Recording.read(path)
    text = str(caught.value)
    assert str(path) in text
    return text


GOOD = trade(10, 1, 100, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"1723161254036052868 {broken\n",
        b"no time {}\n",
        b"\n",
        b"1 \xff\xfe\n",
        b"1 3\n",
        b"1 []\n",
        b"1 {}\n",
        b'1 {"stream": 7, "data": {}}\n',
        b'1 {"stream": "btcusdt@trade"}\n',
        b'1 {"stream": "btcusdt@trade", "data": null}\n',
        b"1 " + b"[" * 100_000 + b"\n",
        GOOD | {"data": GOOD["data"] | {"p": "-1"}},
        GOOD | {"data": GOOD["data"] | {"p": "NaN"}},
        GOOD | {"data": GOOD["data"] | {"q": "Infinity"}},
        GOOD | {"data": GOOD["data"] | {"q": "0"}},
        GOOD | {"data": GOOD["data"] | {"T": "soon"}},
        GOOD | {"stream": "ethusdt@trade"},
        depth(5, 11, 12, [["99"]], []),
        depth(5, 11, 12, levels((99, -1)), []),
        snapshot(10, [], levels((0, 1))),
        trade(20, 1, 100, 1),
        trade(9, 2, 100, 1),
    ],
)
def test_a_line_that_is_no_message_is_named(tmp_path: Path, line: Any) -> None:
    assert "line 3" in bad(write(tmp_path / "bad.gz", [BOOK, GOOD, line, depth(9, 11, 11, [], [])]))


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([GOOD, depth(9, 11, 11, [], [])], "no depth snapshot up to its last line, 2"),
        ([BOOK], "nothing but snapshots up to its last line, 1"),
        ([], "no depth snapshot up to its last line, 0"),
    ],
)
def test_what_a_recording_lacks_is_said(tmp_path: Path, messages: list[Any], named: str) -> None:
    assert named in bad(write(tmp_path / "bad.gz", messages))


def test_bars_need_trades(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no trades"):
        recording(tmp_path, BOOK, depth(9, 11, 11, [], [])).bars("1s")


def test_a_file_that_is_cut_off_is_named_with_the_line(real_data: Path, tmp_path: Path) -> None:
    whole = (real_data / "ws_raw" / "spot" / "ethusdt_20240808.gz").read_bytes()
    path = tmp_path / "cut.gz"
    for size in (20, 1000, 60_001, len(whole) - 1):
        path.write_bytes(whole[:size])
        lines = zlib.decompressobj(31).decompress(whole[:size]).count(b"\n")
        assert f"cut off in line {lines + 1}\n" in bad(path)


def test_a_damaged_file_is_named_with_about_the_line(real_data: Path, tmp_path: Path) -> None:
    whole = (real_data / "ws_raw" / "spot" / "ethusdt_20240808.gz").read_bytes()[:60_000]
    path = tmp_path / "bad.gz"
    path.write_bytes(whole[:20_000] + bytes(64) + whole[20_064:])
    before = zlib.decompressobj(31).decompress(whole[:20_000]).count(b"\n")
    told = bad(path)
    line = re.search(r" line ([0-9]+)", told)
    assert line is not None and before - 200 < int(line[1]) < before + 200


def test_files_joined_end_to_end_are_one_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "one.gz", [BOOK, GOOD])
    path.write_bytes(path.read_bytes() + write(tmp_path / "two.gz", [trade(30, 2, 100, 1)]).read_bytes())
    assert [one.id for one in Recording.read(path).trades] == [1, 2]


def test_prices_may_be_plain_numbers_and_stay_exact(tmp_path: Path) -> None:
    found = recording(tmp_path, BOOK, GOOD | {"data": GOOD["data"] | {"p": 0.1, "q": 3}})
    assert (found.trades[0].price, found.trades[0].qty) == (D("0.1"), D(3))


@pytest.mark.parametrize("content", [b"1 {}\n", b"\x1f\x8b", b"", None])
def test_a_file_that_is_no_recording(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "none.gz"
    if content is not None:
        path.write_bytes(content)
    assert re.search(r"line [01]\b", bad(path))


def test_other_streams_are_passed_over(tmp_path: Path) -> None:
    kline = {"stream": "btcusdt@kline_1m", "data": {"e": "kline"}}
    found = recording(tmp_path, BOOK, kline, GOOD)
    assert [type(message) for message in found.messages] == [Snapshot, MarketTrade]
    assert found.messages[1].received_ns == (START - 1000) * 1_000_000 + 2
