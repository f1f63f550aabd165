"""What anyone may ask: rules, klines, books, trades and statistics of the market as it stands.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

import json
from collections.abc import Callable
from typing import Any

from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.errors import BAD_COMBINATION, UNKNOWN_SYMBOL, ApiError, illegal, invalid, missing
from pipeline.exchange.local.history import (
    DAY,
    INTERVALS,
    Row,
    Series,
    aggregate,
    bucket,
    bucket_end,
    kline,
    merged,
    step_of,
)
from pipeline.exchange.local.matching import Pit
from pipeline.exchange.local.numbers import text
from pipeline.exchange.local.requests import Params

Ask = Callable[[Engine, Params], Any]
_WINDOWS = {f"{n}m": n * 60_000 for n in range(1, 60)} | {f"{n}h": n * 3_600_000 for n in range(1, 24)}
_WINDOWS |= {f"{n}d": n * DAY for n in range(1, 8)}


def rows(pit: Pit, interval: str, start: int | None, end: int | None, limit: int) -> list[Row]:
    """Klines that are known now, the one that is forming last. start, end: bounds of open times, ms, inclusive."""
    series, known = pit.series, pit.position
    forming = pit.forming()
    newest = forming[0] if forming else int(series.open_time[known - 1]) if known else None
    if newest is None:
        return []
    last = newest if end is None else min(end, newest)
    stop = bucket_end(bucket(last, interval), interval)
    if start is None:
        # Gaps make the latest ones reach further back than their number says.
        spans = limit
        while True:
            begin = series.at(max(bucket(stop - 1 - (spans - 1) * step_of(interval), interval), 0))
            found = aggregate(series, begin, min(series.at(stop), known), interval)
            if len(found) >= limit or begin == 0:
                break
            spans *= 2
    else:
        first = bucket(start, interval)
        if first < start:
            first = bucket_end(first, interval)
        begin = series.at(first)
        reach = stop if end is None else min(stop, first + limit * step_of(interval) * 4)
        found = aggregate(series, begin, min(series.at(min(reach, stop)), known), interval)
        while len(found) < limit and reach < stop:
            reach = min(reach + limit * step_of(interval) * 4, stop)
            found = aggregate(series, begin, min(series.at(reach), known), interval)
    if forming is not None and forming[0] < stop and (start is None or bucket(forming[0], interval) >= start):
        key = bucket(forming[0], interval)
        if found and found[-1][0] == key:
            found[-1] = merged(found[-1], forming)
        elif start is None or len(found) < limit:
            found.append((key, *forming[1:]))  # type: ignore[arg-type]
    return found[-limit:] if start is None else found[:limit]


def klines(engine: Engine, p: Params) -> list[Any]:
    """`klines` and `uiKlines`."""
    pit = engine.pits[p.symbol(engine.instruments).symbol]
    interval = p.choice("interval", INTERVALS, refusal=(-1120, "Invalid interval."))
    start, end = p.integer("startTime"), p.integer("endTime")
    limit = p.integer("limit", 500, 1, 1_000_000) or 500
    zone = p.text("timeZone")
    p.done()
    if zone not in (None, "0", "+0", "0:00", "+0:00"):
        raise invalid("timeZone")
    if step_of(interval) < engine.timeline.step_ms or step_of(interval) % engine.timeline.step_ms:
        raise ApiError(-1120, f"Invalid interval: the replayed bars are of {engine.interval}.")
    return [kline(row, interval) for row in rows(pit, interval, start, end, min(limit, 1000))]


def exchange_info(engine: Engine, p: Params, limits: list[dict[str, Any]], time: int) -> dict[str, Any]:
    """Rules of one, several or all symbols. limits: the rate limits; time: the server's."""
    names = _symbols(engine, p)
    p.text("permissions")
    p.flag("showPermissionSets", True)
    status = p.text("symbolStatus")
    p.done()
    entries = [engine.instruments[name].entry for name in names or engine.instruments]
    return {
        "timezone": "UTC",
        "serverTime": time,
        "rateLimits": limits,
        "exchangeFilters": engine.filters.rows(),
        "symbols": [entry for entry in entries if status in (None, entry["status"])],
    }


def depth(engine: Engine, p: Params) -> dict[str, Any]:
    """The order book."""
    pit = engine.pits[p.symbol(engine.instruments).symbol]
    limit = p.integer("limit", 100, 1, 1 << 31) or 100
    p.done()
    return book_view(engine, pit, min(limit, 5000))


def book_view(engine: Engine, pit: Pit, limit: int) -> dict[str, Any]:
    """A book as `depth` and the partial depth streams give it."""
    bids, asks = pit.depth(limit)
    return {
        "lastUpdateId": update_id(engine, pit),
        "bids": [[text(price), text(size)] for price, size in bids],
        "asks": [[text(price), text(size)] for price, size in asks],
    }


def update_id(engine: Engine, pit: Pit) -> int:
    """Number of the book's state; it grows with every moment of the market."""
    return pit.recorded.update_id if pit.recorded is not None else engine.timeline.moments


def trades(engine: Engine, p: Params) -> list[dict[str, Any]]:
    """The latest trades, or those from an id on."""
    pit = engine.pits[p.symbol(engine.instruments).symbol]
    limit = p.integer("limit", 500, 1, 1000) or 500
    first = p.integer("fromId")
    p.done()
    made = _trades(pit, limit, first)
    return [
        {
            "id": number,
            "price": f"{price:.8f}",
            "qty": f"{qty:.8f}",
            "quoteQty": f"{price * qty:.8f}",
            "time": time,
            "isBuyerMaker": maker,
            "isBestMatch": True,
        }
        for number, price, qty, time, maker in made
    ]


def agg_trades(engine: Engine, p: Params) -> list[dict[str, Any]]:
    """Aggregate trades; here each is of one trade."""
    pit = engine.pits[p.symbol(engine.instruments).symbol]
    limit = p.integer("limit", 500, 1, 1000) or 500
    first, start, end = p.integer("fromId"), p.integer("startTime"), p.integer("endTime")
    p.done()
    count, series = limit, pit.series
    if first is None and (start is not None or end is not None):
        # The bar in which the span begins or ends holds trades outside of it.
        i = max(series.at((start if start is not None else end or 0) + 1) - 1, 0)
        count += int(series.trades[i])
        first = max(int(series.first_trade[i]) - (limit if start is None else 0), 0)
    made = [one for one in _trades(pit, count, first) if one[3] >= (start or 0) and (end is None or one[3] <= end)]
    return [
        {
            "a": number,
            "p": f"{price:.8f}",
            "q": f"{qty:.8f}",
            "f": number,
            "l": number,
            "T": time,
            "m": maker,
            "M": True,
        }
        for number, price, qty, time, maker in (made[-limit:] if start is None else made[:limit])
    ]


def _trades(pit: Pit, limit: int, first: int | None) -> list[tuple[int, float, float, int, bool]]:
    """Trades as the closed bars tell of them: as many as they say, along the way of their prices."""
    series, known = pit.series, pit.position
    if known == 0:
        return []
    ends = int(series.first_trade[known - 1] + series.trades[known - 1])
    low = max(0, ends - limit) if first is None else first
    high = min(low + limit, ends)
    i = max(int(series.first_trade[:known].searchsorted(low, side="right")) - 1, 0)
    found: list[tuple[int, float, float, int, bool]] = []
    while i < known and int(series.first_trade[i]) < high:
        found += _bar_trades(series, i, low, high)
        i += 1
    return found


def _bar_trades(series: Series, i: int, low: int, high: int) -> list[tuple[int, float, float, int, bool]]:
    count, first = int(series.trades[i]), int(series.first_trade[i])
    if not count:
        return []
    o, h, l, c = (float(column[i]) for column in (series.open, series.high, series.low, series.close))  # noqa: E741
    way = (o, l, h, c) if c >= o else (o, h, l, c)
    buys = float(series.taker_buy_volume[i]) / (float(series.volume[i]) or 1.0)
    made = []
    for number in range(max(low, first), min(high, first + count)):
        at = (number - first) / max(count - 1, 1) * 3
        leg = min(int(at), 2)
        price = way[leg] + (way[leg + 1] - way[leg]) * (at - leg)
        taker_buys = int((number - first + 1) * buys) > int((number - first) * buys)
        time = int(series.open_time[i]) + (number - first) * series.step // count
        made.append((number, round(price, 8), float(series.volume[i]) / count, time, not taker_buys))
    return made


def average_price(engine: Engine, p: Params) -> dict[str, Any]:
    """Average of the last five minutes."""
    symbol = p.symbol(engine.instruments).symbol
    p.done()
    return {"mins": 5, "price": text(engine.average_price(symbol)), "closeTime": engine.now}


def price(engine: Engine, p: Params) -> Any:
    """Last prices."""
    return _each(engine, p, lambda pit: {"symbol": pit.instrument.symbol, "price": text(pit.price)})


def book_ticker(engine: Engine, p: Params) -> Any:
    """Best bids and asks."""

    def one(pit: Pit) -> dict[str, Any]:
        bids, asks = pit.depth(1)
        return {
            "symbol": pit.instrument.symbol,
            "bidPrice": text(bids[0][0]) if bids else "0.00000000",
            "bidQty": text(bids[0][1]) if bids else "0.00000000",
            "askPrice": text(asks[0][0]) if asks else "0.00000000",
            "askQty": text(asks[0][1]) if asks else "0.00000000",
        }

    return _each(engine, p, one)


def window_row(pit: Pit, now: int, length: int) -> tuple[Row, float]:
    """All bars of the last `length` ms as one, and the close before them."""
    begin = pit.series.at(now - length)
    forming = pit.forming()
    begin = min(begin, max(pit.position - 1, 0)) if forming is None else min(begin, pit.position)
    parts = aggregate(pit.series, begin, pit.position, pit.series.interval) if pit.position - begin < 3 else []
    if not parts and begin < pit.position:
        s, part = pit.series, slice(begin, pit.position)
        parts = [(
            int(s.open_time[begin]), float(s.open[begin]), float(s.high[part].max()), float(s.low[part].min()),
            float(s.close[pit.position - 1]), float(s.volume[part].sum()), float(s.quote_volume[part].sum()),
            int(s.trades[part].sum()), float(s.taker_buy_volume[part].sum()),
            float(s.taker_buy_quote_volume[part].sum()), int(s.first_trade[begin]),
        )]  # fmt: skip
    if forming is not None:
        parts.append(forming)
    whole = parts[0] if parts else pit.series.row(0)
    for part_row in parts[1:]:
        whole = merged(whole, part_row)
    return whole, float(pit.series.close[begin - 1]) if begin else whole[1]


def statistics(engine: Engine, pit: Pit, length: int, kind: str) -> dict[str, Any]:
    """Rolling statistics. kind: FULL or MINI."""
    row, _ = window_row(pit, engine.now, length)
    opened, last = row[1], pit.last
    change = last - opened
    shown: dict[str, Any] = {"symbol": pit.instrument.symbol}
    if kind == "FULL":
        shown |= {
            "priceChange": f"{change:.8f}",
            "priceChangePercent": f"{change / opened * 100:.3f}",
            "weightedAvgPrice": f"{row[6] / row[5] if row[5] else last:.8f}",
        }
    shown |= {
        "openPrice": f"{opened:.8f}",
        "highPrice": f"{row[2]:.8f}",
        "lowPrice": f"{row[3]:.8f}",
        "lastPrice": f"{last:.8f}",
        "volume": f"{row[5]:.8f}",
        "quoteVolume": f"{row[6]:.8f}",
        "openTime": engine.now - length,
        "closeTime": engine.now,
        "firstId": row[10],
        "lastId": row[10] + row[7] - 1,
        "count": row[7],
    }
    return shown


def day_ticker(engine: Engine, p: Params) -> Any:
    """`ticker/24hr`."""
    kind = p.choice("type", ("FULL", "MINI"), "FULL")

    def one(pit: Pit) -> dict[str, Any]:
        shown = statistics(engine, pit, DAY, kind)
        if kind == "MINI":
            return shown
        _, before = window_row(pit, engine.now, DAY)
        bids, asks = pit.depth(1)
        i = max(pit.position - 1, 0)
        extra = {
            "prevClosePrice": f"{before:.8f}",
            "lastQty": f"{float(pit.series.volume[i]) / max(int(pit.series.trades[i]), 1):.8f}",
            "bidPrice": text(bids[0][0]) if bids else "0.00000000",
            "bidQty": text(bids[0][1]) if bids else "0.00000000",
            "askPrice": text(asks[0][0]) if asks else "0.00000000",
            "askQty": text(asks[0][1]) if asks else "0.00000000",
        }
        names = (
            *("symbol", "priceChange", "priceChangePercent", "weightedAvgPrice", "prevClosePrice", "lastPrice"),
            *("lastQty", "bidPrice", "bidQty", "askPrice", "askQty", "openPrice", "highPrice", "lowPrice", "volume"),
            *("quoteVolume", "openTime", "closeTime", "firstId", "lastId", "count"),
        )
        whole = shown | extra
        return {name: whole[name] for name in names}

    return _each(engine, p, one)


def ticker(engine: Engine, p: Params) -> Any:
    """Rolling window statistics."""
    window = p.choice("windowSize", _WINDOWS, "1d")
    kind = p.choice("type", ("FULL", "MINI"), "FULL")
    if "symbol" not in p.raw and "symbols" not in p.raw:
        raise missing("symbol")
    return _each(engine, p, lambda pit: statistics(engine, pit, _WINDOWS[window], kind))


def trading_day(engine: Engine, p: Params) -> Any:
    """Statistics of the UTC day."""
    kind = p.choice("type", ("FULL", "MINI"), "FULL")
    p.text("timeZone")
    if "symbol" not in p.raw and "symbols" not in p.raw:
        raise missing("symbol")
    start = engine.now // DAY * DAY

    def one(pit: Pit) -> dict[str, Any]:
        length = max(engine.now - start, engine.timeline.step_ms)
        return statistics(engine, pit, length, kind) | {"openTime": start, "closeTime": start + DAY - 1}

    return _each(engine, p, one)


def execution_rules(engine: Engine, p: Params) -> dict[str, Any]:
    """Execution rules of symbols: none."""
    names = _symbols(engine, p)
    p.text("symbolStatus")
    p.done()
    return {"symbolRules": [{"symbol": name, "rules": []} for name in names or engine.instruments]}


def reference_price(engine: Engine, p: Params) -> dict[str, Any]:
    """No symbol here has a reference price. Raises ApiError -2043."""
    p.symbol(engine.instruments)
    p.done()
    raise ApiError(-2043, "This symbol doesn't have a reference price.")


def _each(engine: Engine, p: Params, one: Callable[[Pit], dict[str, Any]]) -> Any:
    """For one symbol an object, for several or all of them a list."""
    names = _symbols(engine, p)
    p.text("symbolStatus")
    p.done()
    if "symbol" in p.raw:
        return one(engine.pits[names[0]])
    return [one(engine.pits[name]) for name in names or engine.pits]


def _symbols(engine: Engine, p: Params) -> list[str]:
    """Of `symbol` or `symbols`; empty if neither was sent. Raises ApiError -1121, -1128, -1100."""
    several = p.text("symbols")
    if "symbol" in p.raw:
        if several is not None:
            raise ApiError(-1128, BAD_COMBINATION)
        return [p.symbol(engine.instruments).symbol]
    if several is None:
        return []
    try:
        names = json.loads(several)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise illegal("symbols", '^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$')
    if any(name not in engine.instruments for name in names):
        raise ApiError(*UNKNOWN_SYMBOL)
    return names


PUBLIC: dict[str, tuple[Ask, int]] = {
    "klines": (klines, 2),
    "uiKlines": (klines, 2),
    "depth": (depth, 5),
    "trades.recent": (trades, 25),
    "trades.historical": (trades, 25),
    "trades.aggregate": (agg_trades, 4),
    "avgPrice": (average_price, 2),
    "ticker.price": (price, 2),
    "ticker.book": (book_ticker, 2),
    "ticker.24hr": (day_ticker, 2),
    "ticker": (ticker, 4),
    "ticker.tradingDay": (trading_day, 4),
    "executionRules": (execution_rules, 2),
    "referencePrice": (reference_price, 2),
}
