"""What the exchange tells of its market: klines against a plain aggregation, books, trades and statistics."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from exchange.replays import MINUTE, PLAIN, START_MS, Bar, Replay, instrument, replay, series_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.exchange.local import market_data
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.history import Series
from pipeline.exchange.local.matching import MarketModel
from pipeline.exchange.local.requests import Params

FLAT: Bar = (100, 100, 100, 100)
MINUTES = {"1m": 1, "3m": 3, "5m": 5, "1h": 60, "1d": 1440}


def ask(r: Replay, name: str, **params: Any) -> Any:
    """A question about BTCUSDT, unless said otherwise."""
    raw = {"symbol": "BTCUSDT"} | params
    return market_data.PUBLIC[name][0](r.engine, Params({k: str(v) for k, v in raw.items() if v is not None}))


def wandering(minutes: list[int], start: int) -> Replay:
    """Bars at some minutes only, each with its own prices and volume; the market stands at the open of the first from
    `start` on."""
    g = np.random.default_rng(len(minutes))
    bars = []
    for _ in minutes:
        o, c = g.integers(9000, 11000, 2) / 100
        bars.append((o, max(o, c) + g.integers(0, 100) / 100, min(o, c) - g.integers(0, 100) / 100, c,
                     float(g.integers(0, 50))))  # fmt: skip
    series = series_of(bars)
    series.open_time = START_MS + MINUTE * np.array(minutes, dtype=np.int64)
    return standing(series, START_MS + MINUTE * start)


def standing(series: Series, start_ms: int) -> Replay:
    account = Account("key", "secret", 1, Decimal(0), Decimal(0))
    model = MarketModel.model_validate(PLAIN)
    return Replay(
        Engine({"BTCUSDT": instrument()}, {"BTCUSDT": series}, [account], start_ms=start_ms, model=model), account
    )


def plainly(r: Replay, interval: str, start: int | None, end: int | None, limit: int) -> list[list[Any]]:
    """Klines by their definition: every bar that is known goes into its bucket, then the bounds are applied."""
    pit, length = r.engine.pits["BTCUSDT"], MINUTES[interval] * MINUTE
    known = [pit.series.row(i) for i in range(pit.position)]
    forming = pit.forming()
    buckets: dict[int, list[Any]] = {}
    for row in [*known, *([forming] if forming else [])]:
        key = row[0] // length * length
        if key not in buckets:
            buckets[key] = [key, *row[1:10]]
            continue
        one = buckets[key]
        one[2], one[3], one[4] = max(one[2], row[2]), min(one[3], row[3]), row[4]
        one[5:] = [a + b for a, b in zip(one[5:], row[5:10], strict=True)]
    found = [one for key, one in sorted(buckets.items()) if (start or 0) <= key and (end is None or key <= end)]
    return found[-limit:] if start is None else found[:limit]


times = st.one_of(st.none(), st.integers(-5, 130).map(lambda m: START_MS + m * MINUTE), st.integers(-5, 130).map(
    lambda m: START_MS + m * MINUTE + 7))  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(0, 120), min_size=2, max_size=60, unique=True).map(sorted),
    st.integers(0, 30),
    st.sampled_from(sorted(MINUTES)),
    times,
    times,
    st.integers(1, 12),
)
def test_klines_are_the_known_bars_in_their_buckets(
    minutes: list[int], moments: int, interval: str, start: int | None, end: int | None, limit: int
) -> None:
    r = wandering(minutes, minutes[len(minutes) // 2])
    for _ in range(moments):
        r.engine.advance()
    found = ask(r, "klines", interval=interval, startTime=start, endTime=end, limit=limit)
    expected = plainly(r, interval, start, end, limit)
    length = MINUTES[interval] * MINUTE
    assert [row[0] for row in found] == [row[0] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row[6] == row[0] + length - 1
        assert [float(x) for x in row[1:6]] == pytest.approx(other[1:6], abs=1e-7)
        assert [float(row[i]) for i in (7, 8, 9, 10)] == pytest.approx(other[6:10], abs=1e-5)


def test_weeks_begin_on_mondays_and_months_on_their_first_day() -> None:
    # 2024-01-01 was a Monday; 40 days in hours.
    n = 40 * 24
    r = standing(series_of([FLAT] * n, step_ms=60 * MINUTE), START_MS + (n - 1) * 60 * MINUTE)
    day = 1440 * MINUTE
    assert [row[0] for row in ask(r, "klines", interval="1w")] == [START_MS + 7 * day * i for i in range(6)]
    months = ask(r, "klines", interval="1M")
    assert [(row[0], row[6]) for row in months] == [
        (START_MS, START_MS + 31 * day - 1), (START_MS + 31 * day, START_MS + 60 * day - 1)]  # fmt: skip
    assert [row[0] for row in ask(r, "klines", interval="3d")][:2] == [START_MS // (3 * day) * 3 * day + 3 * day * i
                                                                     for i in range(2)]  # fmt: skip


def test_nothing_of_the_future_is_told() -> None:
    r = replay(*[FLAT] * 5, (100, 200, 50, 150), (150, 300, 10, 20), history=5)
    for _ in range(3):
        told = [
            ask(r, "klines", interval="1m"), ask(r, "klines", interval="1h"), ask(r, "ticker.24hr"), ask(r, "ticker"),
            ask(r, "trades.recent"), ask(r, "trades.aggregate"), ask(r, "depth"), ask(r, "avgPrice"),
            ask(r, "ticker.tradingDay"),
        ]  # fmt: skip
        seen = {float(one) for one in flat(told) if isinstance(one, str) and one.replace(".", "").isdigit()}
        assert not seen & {200.0, 300.0, 10.0}
        r.engine.advance()
        if r.engine.pits["BTCUSDT"].last == 200:
            break


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return flat(list(value.values()))
    return [x for one in value for x in flat(one)] if isinstance(value, list) else [value]


def test_the_kline_that_forms_grows_with_each_moment() -> None:
    r = replay(FLAT, (100, 105, 95, 101), volume=900)
    seen = []
    for _ in range(4):
        seen.append([float(x) for x in ask(r, "klines", interval="1m")[-1][1:6]])
        r.engine.advance()
    ends = [(100, 100, 100, 100, 0), (100, 100, 95, 95, 300), (100, 105, 95, 105, 600), (100, 105, 95, 101, 900)]
    assert seen == [list(one) for one in ends]
    assert ask(r, "klines", interval="1m")[-1][1:6] == [f"{x:.8f}" for x in (100, 105, 95, 101, 900)]


def test_a_limit_above_a_thousand_is_cut_silently() -> None:
    r = replay(*[FLAT] * 1203, history=1201)
    assert len(ask(r, "klines", interval="1m", limit=5000)) == 1000
    assert len(ask(r, "klines", interval="1m")) == 500


# Book


def test_the_book_lies_around_the_price_in_steps() -> None:
    r = replay(FLAT, FLAT, spread_bps=10, levels=3, level_share="0.001", level_gap_bps=10)
    assert ask(r, "depth") == {
        "lastUpdateId": 1,
        "bids": [[f"{p:.8f}", "1.00000000"] for p in (99.95, 99.85, 99.75)],
        "asks": [[f"{p:.8f}", "1.00000000"] for p in (100.05, 100.15, 100.25)],
    }
    assert [len(ask(r, "depth", limit=n)["bids"]) for n in (1, 2, 5)] == [1, 2, 3]
    assert ask(r, "ticker.book") == {
        "symbol": "BTCUSDT", "bidPrice": "99.95000000", "bidQty": "1.00000000", "askPrice": "100.05000000",
        "askQty": "1.00000000"}  # fmt: skip


def test_bid_and_ask_are_a_tick_apart_without_a_spread() -> None:
    book = ask(replay(FLAT, FLAT), "ticker.book")
    assert (book["bidPrice"], book["askPrice"]) == ("100.00000000", "100.01000000")


# Trades


def test_trades_add_up_to_their_bars() -> None:
    r = replay((100, 103, 99, 102, 50), (102, 104, 101, 103, 70), FLAT, history=2)
    made = ask(r, "trades.recent")
    assert [one["id"] for one in made] == list(range(20))
    assert sum(float(one["qty"]) for one in made[:10]) == pytest.approx(50)
    prices = [float(one["price"]) for one in made[:10]]
    assert (prices[0], min(prices), max(prices), prices[-1]) == (100, 99, 103, 102)
    times = [one["time"] for one in made]
    assert times == sorted(times) and times[0] >= START_MS and times[9] < START_MS + MINUTE <= times[10]
    # Half of the volume was bought by takers.
    assert sum(one["isBuyerMaker"] for one in made) == 10


def test_trades_from_an_id_on() -> None:
    r = replay(*[FLAT] * 4, history=3)
    assert [one["id"] for one in ask(r, "trades.historical", fromId=8, limit=5)] == [8, 9, 10, 11, 12]
    assert [one["a"] for one in ask(r, "trades.aggregate", fromId=28)] == [28, 29]
    assert ask(r, "trades.aggregate", fromId=30) == []


def test_aggregate_trades_between_two_times() -> None:
    r = replay(*[FLAT] * 6, history=5)
    one = ask(r, "trades.aggregate", startTime=START_MS + MINUTE, endTime=START_MS + 2 * MINUTE - 1)
    assert [row["a"] for row in one] == list(range(10, 20))
    until = ask(r, "trades.aggregate", endTime=START_MS + 2 * MINUTE - 1, limit=5)
    assert [row["a"] for row in until] == [15, 16, 17, 18, 19]
    assert [row["a"] for row in ask(r, "trades.aggregate", startTime=START_MS + 2, limit=3)] == [1, 2, 3]


# Statistics


def test_the_average_price_is_weighted_by_volume_over_five_minutes() -> None:
    bars = [(50, 50, 50, 50, 1000.0), *[(100 + i, 100 + i, 100 + i, 100 + i, 1.0 + i) for i in range(5)], FLAT]
    r = replay(*bars, history=6)
    expected = sum((100 + i) * (1 + i) for i in range(5)) / 15
    assert ask(r, "avgPrice")["price"] == f"{expected:.8f}"


def test_day_statistics_reach_back_a_day() -> None:
    n = 1500
    bars = [(100 + i / 100, 100 + i / 100, 100 + i / 100, 100 + i / 100, 2.0) for i in range(n)]
    r = replay(*bars, history=n - 1)
    day = ask(r, "ticker.24hr")
    # It stands at the open of bar 1499, which has no volume yet; the window opens with bar 59.
    assert (day["openPrice"], day["lastPrice"], day["lowPrice"]) == ("100.59000000", "114.99000000", "100.59000000")
    assert (day["prevClosePrice"], day["volume"], day["count"]) == ("100.58000000", "2880.00000000", 14_400)
    assert (day["priceChange"], day["priceChangePercent"]) == ("14.40000000", "14.316")
    assert (day["openTime"], day["closeTime"]) == (r.engine.now - 86_400_000, r.engine.now)
    hour = ask(r, "ticker", windowSize="1h")
    assert (hour["openPrice"], hour["count"]) == ("114.39000000", 600)


def test_mini_statistics_leave_out_what_is_derived() -> None:
    r = replay(FLAT, FLAT)
    full, mini = ask(r, "ticker.24hr"), ask(r, "ticker.24hr", type="MINI")
    assert mini.items() <= full.items()
    assert full.keys() - mini.keys() >= {"priceChange", "weightedAvgPrice", "bidPrice"}


def test_one_symbol_gives_an_object_and_several_a_list() -> None:
    r = replay(FLAT, FLAT)
    one = {"symbol": "BTCUSDT", "price": "100.00000000"}
    assert ask(r, "ticker.price") == one
    assert ask(r, "ticker.price", symbol=None) == ask(r, "ticker.price", symbol=None, symbols='["BTCUSDT"]') == [one]
