"""What must hold of market data, in the exchange's own field names; every client that hands these through uses it.

`ask(name, **params)` calls the client; names are the methods of the WebSocket API.
"""

from collections.abc import Callable
from typing import Any

from session import Session

Ask = Callable[..., Any]
SYMBOL, OTHER, STEP_MS = "BTCUSDT", "ETHUSDT", 300_000
_TYPES = {"LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"}

# As scenario.yaml sets them.
_EXCHANGE_FILTERS = [
    {"filterType": "EXCHANGE_MAX_NUM_ORDERS", "maxNumOrders": 1000},
    {"filterType": "EXCHANGE_MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 200},
    {"filterType": "EXCHANGE_MAX_NUM_ICEBERG_ORDERS", "maxNumIcebergOrders": 100},
    {"filterType": "EXCHANGE_MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
]


def near(one: Any, other: Any, tolerance: float = 1e-6) -> bool:
    """Whether two numbers are equal but for rounding."""
    return abs(float(one) - float(other)) <= tolerance * max(abs(float(one)), abs(float(other)), 1.0)


def check_market(session: Session, ask: Ask) -> None:
    """All checks of market data and account."""

    def ping() -> None:
        assert ask("ping") in ({}, None)

    def time() -> None:
        import time as wall

        assert abs(ask("time")["serverTime"] / 1000 - wall.time()) < 5

    def exchange_info() -> None:
        told = ask("exchangeInfo")
        assert told["timezone"] == "UTC"
        assert {limit["rateLimitType"] for limit in told["rateLimits"]} >= {"REQUEST_WEIGHT", "ORDERS"}
        assert told["exchangeFilters"] == _EXCHANGE_FILTERS
        assert [one["symbol"] for one in told["symbols"]] == [SYMBOL, OTHER]
        entry = told["symbols"][0]
        assert (entry["status"], entry["baseAsset"], entry["quoteAsset"]) == ("TRADING", "BTC", "USDT")
        assert set(entry["orderTypes"]) == _TYPES
        kinds = {one["filterType"] for one in entry["filters"]}
        assert kinds >= {"PRICE_FILTER", "LOT_SIZE", "NOTIONAL", "MARKET_LOT_SIZE", "PERCENT_PRICE_BY_SIDE"}
        tick = next(one for one in entry["filters"] if one["filterType"] == "PRICE_FILTER")["tickSize"]
        assert float(tick) > 0

    def klines(name: str) -> Callable[[], None]:
        def run() -> None:
            rows, now = ask(name, symbol=SYMBOL, interval="5m", limit=50), session.now()
            assert len(rows) == 50 and all(len(row) == 12 for row in rows)
            for row in rows:
                low, high = float(row[3]), float(row[2])
                assert low <= min(float(row[1]), float(row[4])) <= max(float(row[1]), float(row[4])) <= high
                assert row[6] == row[0] + STEP_MS - 1 and isinstance(row[8], int)
                assert 0 <= float(row[9]) <= float(row[5]) and 0 <= float(row[10]) <= float(row[7])
            assert [row[0] - rows[0][0] for row in rows] == [STEP_MS * i for i in range(50)]
            assert rows[-1][0] <= now and rows[-2][6] < now
            hours = ask(name, symbol=SYMBOL, interval="1h", startTime=rows[0][0], limit=2)
            assert len(hours) == 2 and hours[0][0] % 3_600_000 == 0
            first = [row for row in rows if hours[0][0] <= row[0] <= hours[0][6]]
            assert len(first) == 12 and near(sum(float(row[5]) for row in first), hours[0][5])
            assert first[0][1] == hours[0][1] and first[-1][4] == hours[0][4]

        return run

    def depth() -> None:
        book = ask("depth", symbol=SYMBOL, limit=20)
        bids, asks = ([float(level[0]) for level in book[side]] for side in ("bids", "asks"))
        assert len(bids) == len(asks) == 20
        assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]
        assert all(float(level[1]) > 0 for level in book["bids"] + book["asks"]) and isinstance(
            book["lastUpdateId"], int
        )

    def trades(name: str) -> Callable[[], None]:
        def run() -> None:
            made = ask(name, symbol=SYMBOL, limit=30)
            assert len(made) == 30 and all(isinstance(one["isBuyerMaker"], bool) for one in made)
            assert [one["id"] for one in made] == list(range(made[0]["id"], made[0]["id"] + 30))
            assert all(near(float(one["price"]) * float(one["qty"]), one["quoteQty"]) for one in made)
            last = ask("klines", symbol=SYMBOL, interval="5m", limit=3)
            low, high = min(float(row[3]) for row in last), max(float(row[2]) for row in last)
            assert all(low <= float(one["price"]) <= high for one in made)

        return run

    def aggregate() -> None:
        made = ask("trades.aggregate", symbol=SYMBOL, limit=30)
        assert len(made) == 30 and all(one["f"] <= one["l"] and isinstance(one["m"], bool) for one in made)
        times = [one["T"] for one in made]
        assert times == sorted(times) and [one["a"] for one in made] == sorted(one["a"] for one in made)
        again = ask("trades.aggregate", symbol=SYMBOL, fromId=made[10]["a"], limit=5)
        assert [one["a"] for one in again] == [one["a"] for one in made[10:15]]

    def average() -> None:
        told = ask("avgPrice", symbol=SYMBOL)
        row = ask("klines", symbol=SYMBOL, interval="5m", limit=2)[0]
        assert told["mins"] == 5 and float(row[3]) * 0.99 <= float(told["price"]) <= float(row[2]) * 1.01

    def price() -> None:
        told = ask("ticker.price", symbol=SYMBOL)
        assert told["symbol"] == SYMBOL and near(
            told["price"], ask("klines", symbol=SYMBOL, interval="5m", limit=1)[-1][4], 1e-3
        )
        assert [one["symbol"] for one in ask("ticker.price")] == [SYMBOL, OTHER]

    def book() -> None:
        told, levels = ask("ticker.book", symbol=SYMBOL), ask("depth", symbol=SYMBOL, limit=5)
        assert [told["bidPrice"], told["bidQty"]] == list(levels["bids"][0])
        assert [told["askPrice"], told["askQty"]] == list(levels["asks"][0])
        assert [one["symbol"] for one in ask("ticker.book")] == [SYMBOL, OTHER]

    def day() -> None:
        told, now = ask("ticker.24hr", symbol=SYMBOL), session.now()
        rows = ask("klines", symbol=SYMBOL, interval="5m", startTime=told["openTime"], endTime=now, limit=400)
        _statistics(told, rows)
        assert float(told["bidPrice"]) < float(told["askPrice"]) and told["closeTime"] - told["openTime"] <= 86_400_000

    def rolling() -> None:
        told = ask("ticker", symbol=SYMBOL, windowSize="2h")
        rows = ask("klines", symbol=SYMBOL, interval="5m", startTime=told["openTime"], limit=400)
        assert 24 <= len(rows) <= 25
        _statistics(told, rows)

    def trading_day() -> None:
        told = ask("ticker.tradingDay", symbol=SYMBOL)
        assert told["openTime"] % 86_400_000 == 0 and told["closeTime"] == told["openTime"] + 86_400_000 - 1
        _statistics(told, ask("klines", symbol=SYMBOL, interval="5m", startTime=told["openTime"], limit=400))

    def account() -> None:
        told = ask("account.status")
        assert told["canTrade"] is True and told["accountType"] == "SPOT" and "SPOT" in told["permissions"]
        held = {row["asset"]: float(row["free"]) + float(row["locked"]) for row in told["balances"]}
        assert all(near(held[asset], amount) for asset, amount in session.balances().items()) and held["USDT"] > 0
        assert told["commissionRates"]["maker"] == "0.00080000" and told["makerCommission"] == 8

    def commission() -> None:
        told = ask("account.commission", symbol=SYMBOL)
        assert told["symbol"] == SYMBOL
        assert (told["standardCommission"]["maker"], told["standardCommission"]["taker"]) == (
            "0.00080000",
            "0.00100000",
        )

    def account_filters() -> None:
        told, info = ask("myFilters", symbol=SYMBOL), ask("exchangeInfo", symbol=SYMBOL)
        assert told["exchangeFilters"] == _EXCHANGE_FILTERS
        assert told["symbolFilters"] == info["symbols"][0]["filters"]
        assert told["assetFilters"] == [{"filterType": "MAX_ASSET", "asset": "BTC", "limit": "100.00000000"}]

    def rate_limits() -> None:
        told = ask("account.rateLimits.orders")
        assert [(one["interval"], one["intervalNum"]) for one in told] == [("SECOND", 10), ("DAY", 1)]
        assert all(0 <= one["count"] <= one["limit"] for one in told)

    session.step(3)
    for operation, function in (
        ("ping", ping),
        ("time", time),
        ("exchangeInfo", exchange_info),
        ("klines", klines("klines")),
        ("uiKlines", klines("uiKlines")),
        ("depth", depth),
        ("trades", trades("trades.recent")),
        ("historical trades", trades("trades.historical")),
        ("aggTrades", aggregate),
        ("avgPrice", average),
        ("ticker price", price),
        ("ticker book", book),
        ("ticker 24hr", day),
        ("ticker rolling window", rolling),
        ("ticker trading day", trading_day),
        ("account", account),
        ("commission rates", commission),
        ("order rate limits", rate_limits),
        ("filters of the account", account_filters),
    ):
        session.check(operation, function)


def _statistics(told: dict[str, Any], rows: list[Any]) -> None:
    """Whether statistics are those of the klines of their window."""
    assert told["symbol"] == SYMBOL and isinstance(told["count"], int)
    assert near(told["openPrice"], rows[0][1]) and near(told["lastPrice"], rows[-1][4], 1e-3)
    assert near(told["highPrice"], max(float(row[2]) for row in rows))
    assert near(told["lowPrice"], min(float(row[3]) for row in rows))
    assert near(told["volume"], sum(float(row[5]) for row in rows), 1e-5)
    assert near(told["quoteVolume"], sum(float(row[7]) for row in rows), 1e-5)
    assert told["count"] == sum(row[8] for row in rows) == told["lastId"] - told["firstId"] + 1
    assert near(told["priceChange"], float(told["lastPrice"]) - float(told["openPrice"]), 1e-5)
