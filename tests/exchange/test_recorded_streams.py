"""Messages of the market streams have the keys and types of recorded ones."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.history import DAY
from pipeline.exchange.local.running import Setup, make
from pipeline.exchange.local.streams import Hub

DATA = os.environ.get("PIPELINE_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="PIPELINE_REAL_DATA is not set")
NAMES = ("kline_1m", "aggTrade", "trade", "bookTicker", "depth@100ms", "miniTicker", "ticker")
# Keys of older recordings that the exchange has since dropped, and where they are gone.
GONE = {"trade": {"b", "a"}}


def recorded(kind: str) -> Iterator[dict[str, Any]]:
    """Messages of a stream, as they were received."""
    assert DATA is not None
    word = kind.partition("_")[0].partition("@")[0]
    found = 0
    for path in [*Path(DATA, "fixtures/cryptofeed").glob("BINANCE.ws*"), *Path(DATA, "ws_raw/spot").glob("btc*.gz")]:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", errors="replace") as lines:
            for line in lines:
                at = line.find('{"stream"')
                if at >= 0 and f"@{word}" in line[:120]:
                    found += 1
                    yield json.loads(line[at:])["data"]
                    if found >= 200:
                        return


def documented(kind: str) -> Iterator[dict[str, Any]]:
    """The example of a stream that a client library's tests keep."""
    assert DATA is not None
    name = {"miniTicker": "MiniTicker", "ticker": "Ticker"}.get(kind)
    for path in Path(DATA, "fixtures").rglob(f"Subscriptions/Spot/ExchangeData/{name}.txt"):
        text = path.read_text()
        yield json.loads(text[text.rindex("\n=") + 2 :])["data"]


def shape(value: Any) -> Any:
    """The kinds of a message's values, by key; a list is as its first row."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@pytest.fixture(scope="module")
def sent() -> dict[str, list[Any]]:
    """What the hub would send of each stream over two bars."""
    start = 19_723 * DAY
    server = make(Setup(("BTCUSDT",), from_ms=start - DAY, start_ms=start, end_ms=start + DAY))
    found: dict[str, list[Any]] = {}
    hub = Hub(server.venue)
    hub.publish = lambda name, body: found.setdefault(name.partition("@")[2], []).append(json.loads(body))  # type: ignore[method-assign]
    for name in NAMES:
        hub.by_name[f"btcusdt@{name}"] = set()
    hub._index()
    hub._books["btcusdt"] = hub._book(server.venue.engine.pits["BTCUSDT"])
    engine: Engine = server.venue.engine
    for _ in range(10):
        hub.on_market(engine.advance())
    return found


@pytest.mark.parametrize("kind", NAMES)
def test_a_message_is_like_a_recorded_one(kind: str, sent: dict[str, list[Any]]) -> None:
    source = documented(kind) if kind.lower().endswith("ticker") and kind != "bookTicker" else recorded(kind)
    theirs = next(one for one in source if "@" not in kind or (one["b"] and one["a"]))
    ours = next(one for one in sent[kind] if "@" not in kind or (one["b"] and one["a"]))
    expected = {key: value for key, value in shape(theirs).items() if key not in GONE.get(kind, set())}
    assert shape(ours) == expected
    assert list(ours) == [key for key in theirs if key in ours], "in the same order"
