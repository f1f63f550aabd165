"""What anyone may ask of the futures market.

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api
"""

from collections.abc import Callable
from typing import Any

from pipeline.exchange.local import market_data as spot
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.futures.engine import FuturesEngine
from pipeline.exchange.local.history import DAY, INTERVALS, kline, step_of
from pipeline.exchange.local.instruments import Instrument
from pipeline.exchange.local.matching import Pit
from pipeline.exchange.local.numbers import text
from pipeline.exchange.local.requests import Params

Ask = Callable[[FuturesEngine, Params], Any]
_MOST_KLINES = 1500


def exchange_info(engine: FuturesEngine, p: Params, limits: list[dict[str, Any]], time: int) -> dict[str, Any]:
    """Rules of all contracts. limits: the rate limits; time: the server's."""
    p.done()
    assets = sorted({one.quote for one in engine.instruments.values()})
    return {
        "timezone": "UTC",
        "serverTime": time,
        "futuresType": "U_MARGINED",
        "rateLimits": limits,
        "exchangeFilters": [],
        "assets": [{"asset": one, "marginAvailable": True, "autoAssetExchange": "0"} for one in assets],
        "symbols": [one.entry for one in engine.instruments.values()],
    }


def klines(engine: FuturesEngine, p: Params) -> list[Any]:
    """Klines of a symbol."""
    return _klines(engine, p, engine.pits[p.symbol(engine.instruments).symbol])


def price_klines(engine: FuturesEngine, p: Params) -> list[Any]:
    """Klines of the mark price, which is the last price where none is known; they have no volume."""
    symbol = p.symbol(engine.instruments).symbol
    return _without_volume(_klines(engine, p, engine.mark_pit(symbol)))


def index_klines(engine: FuturesEngine, p: Params) -> list[Any]:
    """Klines of the index price of a pair, which is the last price here; they have no volume."""
    return _without_volume(_klines(engine, p, engine.pits[_pair(engine, p).symbol]))


def continuous_klines(engine: FuturesEngine, p: Params) -> list[Any]:
    """Klines of a pair's perpetual contract; there are no others."""
    instrument = _pair(engine, p)
    p.choice("contractType", ("PERPETUAL",))
    return _klines(engine, p, engine.pits[instrument.symbol])


def _pair(engine: FuturesEngine, p: Params) -> Instrument:
    name = p.required("pair")
    if name not in engine.instruments:
        raise ApiError(-1121, "Invalid symbol.")
    return engine.instruments[name]


def _klines(engine: FuturesEngine, p: Params, pit: Pit) -> list[Any]:
    interval = p.choice("interval", INTERVALS[1:], refusal=(-1120, "Invalid interval."))
    start, end = p.integer("startTime"), p.integer("endTime")
    limit = p.integer("limit", 500, 1, 1_000_000) or 500
    p.done()
    if start is not None and end is not None and start > end:
        raise ApiError(-1023, "Start time is greater than end time.")
    if step_of(interval) < engine.timeline.step_ms or step_of(interval) % engine.timeline.step_ms:
        raise ApiError(-1120, f"Invalid interval: the replayed bars are of {engine.interval}.")
    found = spot.rows(pit, interval, start, end, min(limit, _MOST_KLINES))
    return [kline(row, interval) for row in found]


def _without_volume(rows: list[Any]) -> list[Any]:
    return [[*row[:5], "0", row[6], "0", row[8], "0", "0", "0"] for row in rows]


def funding_rate(engine: FuturesEngine, p: Params) -> list[dict[str, Any]]:
    """Rates that were paid, oldest first: from a time on, or the latest."""
    symbols = [p.symbol(engine.instruments).symbol] if "symbol" in p.raw else list(engine.pits)
    start, end = p.integer("startTime"), p.integer("endTime")
    limit = p.integer("limit", 100, 1, 1000) or 100
    p.done()
    rows: list[dict[str, Any]] = []
    for symbol in symbols:
        series = engine.mark_pit(symbol).series
        for time, rate in engine.funding.past(symbol, start or int(series.open_time[0]), engine.now):
            # At the open that it was paid at; of the last price, the close before.
            i = series.at(time)
            price = series.open[min(i, len(series) - 1)] if symbol in engine.mark_pits else series.close[max(i - 1, 0)]
            mark = f"{float(price):.8f}"
            rows.append({"symbol": symbol, "fundingTime": time, "fundingRate": text(rate), "markPrice": mark})
    rows = sorted((row for row in rows if end is None or row["fundingTime"] <= end), key=lambda row: row["fundingTime"])
    return rows[:limit] if start is not None else rows[-limit:]


def funding_info(engine: FuturesEngine, p: Params) -> list[dict[str, Any]]:
    """How often funding is paid, and its bounds."""
    p.done()
    return [
        {
            "symbol": symbol,
            "adjustedFundingRateCap": "0.02500000",
            "adjustedFundingRateFloor": "-0.02500000",
            "fundingIntervalHours": engine.futures.funding_hours,
            "disclaimer": False,
        }
        for symbol in engine.pits
    ]


def premium_index(engine: FuturesEngine, p: Params) -> Any:
    """Mark price and the funding rate to come."""
    return _each(engine, p, lambda pit: premium(engine, pit))


def premium(engine: FuturesEngine, pit: Pit) -> dict[str, Any]:
    """One row of `premiumIndex`."""
    mark, index = text(engine.mark(pit.instrument.symbol)), text(pit.price)
    due, rate = engine.funding.next(pit.instrument.symbol, engine.now)
    return {
        "symbol": pit.instrument.symbol,
        "markPrice": mark,
        "indexPrice": index,
        "estimatedSettlePrice": index,
        "lastFundingRate": text(rate),
        "interestRate": "0.00010000",
        "nextFundingTime": due,
        "time": engine.now,
    }


def price(engine: FuturesEngine, p: Params) -> Any:
    """Last prices."""
    return _each(engine, p, lambda pit: {"symbol": pit.instrument.symbol, "price": text(pit.price), "time": engine.now})


def book_ticker(engine: FuturesEngine, p: Params) -> Any:
    """Best bids and asks."""

    def one(pit: Pit) -> dict[str, Any]:
        (bid, bid_size), (ask, ask_size) = (side[0] for side in pit.depth(1))
        return {
            "lastUpdateId": spot.update_id(engine, pit),
            "symbol": pit.instrument.symbol,
            "bidPrice": text(bid),
            "bidQty": text(bid_size),
            "askPrice": text(ask),
            "askQty": text(ask_size),
            "time": engine.now,
        }

    return _each(engine, p, one)


def day_ticker(engine: FuturesEngine, p: Params) -> Any:
    """Statistics of the last 24 hours."""

    def one(pit: Pit) -> dict[str, Any]:
        shown = spot.statistics(engine, pit, DAY, "FULL")
        i = max(pit.position - 1, 0)
        last = f"{float(pit.series.volume[i]) / max(int(pit.series.trades[i]), 1):.8f}"
        return shown | {"lastQty": last}

    return _each(engine, p, one)


def depth(engine: FuturesEngine, p: Params) -> dict[str, Any]:
    """The order book."""
    pit = engine.pits[p.symbol(engine.instruments).symbol]
    limit = p.integer("limit", 500, 1, 1 << 31) or 500
    p.done()
    if limit not in (5, 10, 20, 50, 100, 500, 1000):
        raise ApiError(-4021, f"{limit} is not valid depth limit.")
    view = spot.book_view(engine, pit, limit)
    return {"lastUpdateId": view.pop("lastUpdateId"), "E": engine.now, "T": engine.now} | view


def trades(engine: FuturesEngine, p: Params) -> list[dict[str, Any]]:
    """The latest trades, or those from an id on."""
    return [_less(row, "isBestMatch") for row in spot.trades(engine, p)]


def agg_trades(engine: FuturesEngine, p: Params) -> list[dict[str, Any]]:
    """Aggregate trades; here each is of one trade."""
    return [_less(row, "M") for row in spot.agg_trades(engine, p)]


def _less(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _each(engine: FuturesEngine, p: Params, one: Callable[[Pit], dict[str, Any]]) -> Any:
    """For one symbol an object, without one a list."""
    if "symbol" in p.raw:
        pit = engine.pits[p.symbol(engine.instruments).symbol]
        p.done()
        return one(pit)
    p.done()
    return [one(pit) for pit in engine.pits.values()]


def kline_weight(raw: dict[str, str]) -> int:
    """Weight of a request for klines, by its limit."""
    limit = int(raw["limit"]) if raw.get("limit", "").isdigit() else 500
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


PUBLIC: dict[str, tuple[Ask, int]] = {
    "klines": (klines, 5),
    "continuousKlines": (continuous_klines, 5),
    "markPriceKlines": (price_klines, 5),
    "premiumIndex": (premium_index, 1),
    "indexPriceKlines": (index_klines, 5),
    "fundingRate": (funding_rate, 1),
    "fundingInfo": (funding_info, 1),
    "ticker.price": (price, 1),
    "ticker.book": (book_ticker, 2),
    "ticker.24hr": (day_ticker, 1),
    "depth": (depth, 10),
    "trades.recent": (trades, 5),
    "trades.aggregate": (agg_trades, 20),
}
