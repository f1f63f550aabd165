"""The bulk archive that belongs to a replayed market: zipped klines by day and by month, each with its SHA-256.

Layout: https://github.com/binance/binance-public-data.
"""

import datetime as dt
import hashlib
import io
import re
import zipfile
from collections.abc import Mapping

from pipeline.exchange.local.history import DAY, INTERVALS, Series, aggregate, bucket, bucket_end, kline, step_of

_PATH = re.compile(
    r"data/(?P<market>spot|futures/um)/(?P<kind>daily|monthly)/klines/(?P<symbol>[A-Z0-9]+)/(?P<interval>\w+)"
    r"/(?P<stem>(?P=symbol)-(?P=interval)-(?P<period>[0-9]{4}-[0-9]{2}(-[0-9]{2})?))\.zip(?P<sum>\.CHECKSUM)?"
)
_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
# Spot files of later periods are stamped in microseconds.
_MICROSECONDS_FROM = 1_735_689_600_000  # 2025-01-01
# The same bars give the same bytes, whenever they are asked for.
_DATE = (1980, 1, 1, 0, 0, 0)


def archive_file(series_by_symbol: Mapping[str, Series], path: str, until_ms: int) -> bytes | None:
    """A file of the archive, `data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-31.zip` or its `.CHECKSUM`.

    until_ms: the market's present. Returns None if there is no such file: another path, symbol or interval, a period
    that is not over, or one that the bars do not cover from its start to its end.
    """
    match = _PATH.fullmatch(path)
    if match is None or match["symbol"] not in series_by_symbol:
        return None
    series = series_by_symbol[match["symbol"]]
    interval = "1M" if match["interval"] == "1mo" else match["interval"]
    span = _span(match["kind"], match["period"])
    if span is None or match["interval"] == "1M" or not _is_published(series, interval, match["kind"]):
        return None
    text = _text(series, interval, span, until_ms, match["market"])
    if text is None:
        return None
    packed = _zipped(f"{match['stem']}.csv", text)
    if match["sum"]:
        return f"{hashlib.sha256(packed).hexdigest()}  {match['stem']}.zip\n".encode()
    return packed


def _span(kind: str, period: str) -> tuple[int, int] | None:
    """First ms of a day or month and of the next one; None if there is no such date."""
    if (kind == "monthly") != (len(period) == 7):
        return None
    try:
        start = dt.datetime.fromisoformat(period if kind == "daily" else f"{period}-01").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    first = int(start.timestamp()) * 1000
    return first, bucket_end(first, "1d" if kind == "daily" else "1M")


def _is_published(series: Series, interval: str, kind: str) -> bool:
    """Whether the archive has files of an interval, and the bars can be put together to it."""
    if interval not in INTERVALS or (kind == "daily" and interval in ("3d", "1w", "1M")):
        return False
    whole = DAY if interval == "1M" else step_of(interval)
    return whole % series.step == 0


def _text(series: Series, interval: str, span: tuple[int, int], until_ms: int, market: str) -> str | None:
    """Lines of the klines that open in a span; None if the bars do not cover it. Holes inside are left out."""
    first = bucket(span[0], interval)
    if first < span[0]:
        first = bucket_end(first, interval)
    # The last one of three days or a week may close in the next month.
    end = bucket_end(bucket(span[1] - 1, interval), interval)
    times = series.open_time
    if max(end, span[1]) > until_ms or not len(times) or times[0] > first or times[-1] + series.step < end:
        return None
    rows = [kline(row, interval) for row in aggregate(series, series.at(first), series.at(end), interval)]
    if not rows:
        return None
    if market == "spot" and span[0] >= _MICROSECONDS_FROM:
        for row in rows:
            row[0], row[6] = row[0] * 1000, row[6] * 1000 + 999
    lines = [_HEADER] if market != "spot" else []
    lines += [",".join(map(str, row)) for row in rows]
    return "\n".join(lines) + "\n"


def _zipped(name: str, text: str) -> bytes:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    # Otherwise the system that runs it is written down as well.
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, text)
    return buffer.getvalue()
