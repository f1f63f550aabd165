"""The REST reader: pages, both markets, closed bars only, what it says when the exchange refuses."""

import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from market.exchange import MINUTE, Exchange, running

from pipeline.config import utc_ms
from pipeline.config.sources import BinanceSource
from pipeline.errors import ExchangeError
from pipeline.market import candles, network
from pipeline.market.rest import Rest, UnknownSymbol

START = utc_ms("2024-02-01")


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with running() as exchange:
        exchange.now_ms = START + 5000 * MINUTE + 30_000
        yield exchange


def rest(exchange: Exchange, market: str = "spot", **options: object) -> Rest:
    section = {"api_url": exchange.url, "futures_api_url": exchange.url, "retries": 1, **options}
    return Rest(BinanceSource.model_validate(section), market)


@pytest.mark.parametrize(("market", "page"), [("spot", 1000), ("um", 1500)])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_pages_join_without_a_bar_lost_or_doubled(exchange: Exchange, market: str, page: int, extra: int) -> None:
    bars = 2 * page + extra
    table = rest(exchange, market).bars("BTCUSDT", "1m", START, START + bars * MINUTE)
    assert np.array_equal(candles.times_ms(table), START + MINUTE * np.arange(bars))
    asked = [path for path in exchange.paths() if path.endswith("/klines")]
    assert len(asked) == -(-bars // page)
    assert set(asked) == {"/fapi/v1/klines" if market == "um" else "/api/v3/klines"}


def test_the_bar_in_the_making_is_left_out_by_the_exchanges_clock(exchange: Exchange) -> None:
    table = rest(exchange).bars("BTCUSDT", "1m", START + 4990 * MINUTE, START + 6000 * MINUTE)
    assert candles.times_ms(table)[-1] == START + 4999 * MINUTE


def test_a_gap_wider_than_a_page_is_crossed(exchange: Exchange) -> None:
    exchange.missing = set(range(START + 10 * MINUTE, START + 3000 * MINUTE, MINUTE))
    table = rest(exchange).bars("BTCUSDT", "1m", START, START + 3010 * MINUTE)
    assert table.num_rows == 20


def test_refusals_are_told_apart(exchange: Exchange) -> None:
    with pytest.raises(UnknownSymbol, match="no symbol 'NOPE'"):
        rest(exchange).bars("NOPE", "1m", START, START + MINUTE)
    exchange.faults["/api/v3/klines"] = ["500"] * 2
    with pytest.raises(ExchangeError, match="HTTP 500"):
        rest(exchange).bars("BTCUSDT", "1m", START, START + MINUTE)
    with pytest.raises(ExchangeError, match="next 3600 s"):
        network.retry_after("3600", exchange.url)


def test_a_server_that_is_not_the_exchange_is_named_without_its_page() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        section = BinanceSource(api_url=f"http://127.0.0.1:{server.server_port}", retries=0)
        with pytest.raises(ExchangeError) as error:
            Rest(section, "spot").bars("BTCUSDT", "1m", START, START + MINUTE)
        server.shutdown()
    assert error.value.message.endswith(": HTTP 404: not an answer of Binance's API")
    assert "download.binance.api_url" in error.value.hint


def test_loopback_is_known_by_its_address() -> None:
    for url in ("http://127.0.0.1:80/x", "http://localhost", "http://[::1]:8", "http://127.9.9.9"):
        assert network.is_loopback(url)
    for url in ("https://api.binance.com", "http://10.0.0.1", "http://127.example.org", "file:///x"):
        assert not network.is_loopback(url)
