"""Klines and funding rates over Binance's REST API, through python-binance.

Its own history helper cuts pages short, returns the unclosed bar and never waits, so paging, limits and
retries are done here; the client builds requests and reads replies.
"""

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import requests
from binance.client import Client
from binance.exceptions import BinanceAPIException, BinanceRequestException

from pipeline.config import interval_ms
from pipeline.config.sources import BinanceSource
from pipeline.errors import BadInput, ExchangeError
from pipeline.market import cleaning, marks
from pipeline.market.candles import SCHEMA
from pipeline.market.files import BINANCE
from pipeline.market.network import backoff_seconds, cause, is_loopback, retry_after

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Json = Any

_UNKNOWN_SYMBOL = -1121
# Futures allow 2,400 a minute, spot 6,000.
_FUTURES_WEIGHT = 2000
_PAGE = {"spot": 1000, "um": 1500}
_FUNDING_PAGE = 1000


class UnknownSymbol(BadInput):
    """The exchange does not know the symbol: mistyped, of another market, or delisted."""


class Rest:
    """Public market data of one market."""

    def __init__(self, options: BinanceSource, market: str) -> None:
        self.market = market
        self.retries = options.retries
        self.most_weight = (
            min(options.max_weight_per_minute, _FUTURES_WEIGHT) if market == "um" else (options.max_weight_per_minute)
        )
        self.base = (options.futures_api_url if market == "um" else options.api_url).rstrip("/")
        addresses = {
            "API_URL": f"{options.api_url.rstrip('/')}/api",
            "FUTURES_URL": f"{options.futures_api_url.rstrip('/')}/fapi",
        }
        client = type("PublicClient", (Client,), addresses)
        # Without a ping: nothing is asked before it is needed.
        self.client = client(requests_params={"timeout": options.timeout}, ping=False)
        self.client.session.trust_env = not is_loopback(self.base)
        self._server_ms: int | None = None
        self._used_weight = 0

    def server_ms(self) -> int:
        """The exchange's time, asked once."""
        if self._server_ms is None:
            ask = self.client.futures_time if self.market == "um" else self.client.get_server_time
            self._server_ms = int(cast(dict[str, Any], self._ask(ask))["serverTime"])
        return self._server_ms

    def first_open_ms(self, symbol: str, interval: str) -> int | None:
        """Open time of the first bar there is; None if there is none yet. Raises UnknownSymbol, ExchangeError."""
        rows = self._page(symbol, interval, startTime=0, limit=1)
        return int(rows[0][0]) if rows else None

    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> pa.Table:
        """Closed bars with open times in [start_ms, end_ms), `candles.SCHEMA`.

        interval: or a series of the mark price (`marks.series_of`), of which come `marks.SCHEMA`.
        Closed by the exchange's own clock, not ours.
        Raises UnknownSymbol. ExchangeError: it cannot be reached, or refuses.
        """
        source, step = f"{self.base} {symbol} {interval}", interval_ms(marks.interval_of(interval))
        end_ms = min(end_ms, self.server_ms() // step * step)
        rows: list[list[Any]] = []
        at = start_ms
        while at < end_ms:
            page = self._page(symbol, interval, startTime=at, endTime=end_ms - 1, limit=_PAGE[self.market])
            if not page:
                break
            rows += page
            after = int(page[-1][0]) + 1
            if after <= at:
                raise ExchangeError(f"{self.base}: answers with bars from before the time asked for", "try again later")
            at = after if after - 1 + step < end_ms else end_ms
        if not rows:
            return (marks.SCHEMA if marks.is_mark(interval) else SCHEMA).empty_table()
        columns = dict(zip(BINANCE, zip(*rows, strict=True), strict=False))
        table = pa.table(
            {
                "open_time": pa.array([int(t) for t in columns["open_time"]], pa.int64()),
                **{n: np.array(columns[n], np.float64) for n in SCHEMA.names if n != "open_time"},
            }
        )
        bars = cleaning.clean(table, marks.interval_of(interval), source)
        return marks.of_klines(bars, source) if marks.is_mark(interval) else bars

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
        """Funding stamps (ms) in [start_ms, end_ms) and their rates."""
        times: list[int] = []
        rates: list[float] = []
        at = start_ms
        while at < end_ms:
            page = self._ask(
                self.client.futures_funding_rate, symbol=symbol, startTime=at, endTime=end_ms - 1, limit=_FUNDING_PAGE
            )
            times += [int(row["fundingTime"]) for row in page]
            rates += [float(row["fundingRate"]) for row in page]
            if len(page) < _FUNDING_PAGE:
                break
            at = times[-1] + 1
        return np.array(times, np.int64), np.array(rates, np.float64)

    def _page(self, symbol: str, interval: str, **window: int) -> list[list[Any]]:
        ask = self.client.futures_klines if self.market == "um" else self.client.get_klines
        if marks.is_mark(interval):
            ask = self.client.futures_mark_price_klines
        return cast(list[list[Any]], self._ask(ask, symbol=symbol, interval=marks.interval_of(interval), **window))

    def _ask(self, ask: Callable[..., Json], **parameters: Any) -> Json:
        """A reply, after as many tries as are allowed; waits while the minute's weight is used up."""
        reason = ""
        for attempt in range(self.retries + 1):
            wait = backoff_seconds(attempt)
            try:
                self._keep_within_weight()
                reply = ask(**parameters)
                used = str(self.client.response.headers.get("x-mbx-used-weight-1m", "0"))
                self._used_weight = int(used) if used.isdigit() else 0
                return reply
            except BinanceAPIException as error:
                wait = self._judge(error, parameters, wait)
                reason = f"HTTP {error.status_code}: {_said(error)}"
            except (BinanceRequestException, requests.RequestException) as error:
                reason = cause(error)
            if attempt < self.retries:
                time.sleep(wait)
        raise ExchangeError(
            f"{self.base}: cannot be reached: {reason}",
            "check the network and download.binance.api_url; what has come so far is kept, run it again."
            " Where the API is barred, https://data-api.binance.vision has the same public data",
        )

    def _judge(self, error: BinanceAPIException, parameters: dict[str, Any], wait: float) -> float:
        """Seconds to wait before trying again. Raises what is final."""
        status = error.status_code
        if error.code == _UNKNOWN_SYMBOL:
            symbol = parameters.get("symbol")
            raise UnknownSymbol(
                f"{self.base}: there is no symbol '{symbol}' ({self.market})",
                "write it as the exchange does (BTCUSDT), and see download.market",
            ) from None
        if status in (418, 429):
            return retry_after(error.response.headers.get("Retry-After"), self.base)
        if status >= 500:
            return wait
        hint = "the API is barred from here: https://data-api.binance.vision has the same public data"
        raise ExchangeError(
            f"{self.base}: HTTP {status}: {_said(error)}",
            f"{hint} (download.binance.api_url)" if status in (403, 451) else "see download.binance.api_url",
        ) from None

    def _keep_within_weight(self) -> None:
        if self._used_weight >= self.most_weight:
            # Weights are counted by the minute of the clock.
            time.sleep(60 - time.time() % 60 + 1)
            self._used_weight = 0


def _said(error: BinanceAPIException) -> str:
    """The exchange's words in a line; a page of HTML, as proxies and other servers send, is left out."""
    if not error.code:
        return "not an answer of Binance's API"
    return f"code {error.code}: {' '.join(str(error.message).split())[:200]}"
