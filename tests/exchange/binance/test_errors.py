"""What each error means: the table of codes, and the exceptions that python-binance raises for them."""

import json
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from binance.exceptions import (
    BinanceAPIException,
    BinanceRequestException,
    BinanceWebsocketUnableToConnect,
    ReadLoopClosed,
)

from pipeline.exchange.binance.errors import Call, Meaning, judge
from pipeline.exchange.port import Barred, Refused, Unavailable, Unclear, WrongKey

READ, PLACE, REMOVE = Call.READ, Call.PLACE, Call.REMOVE


class Answer:
    """What of an answer is looked at."""

    def __init__(self, headers: dict[str, str] | None = None) -> None:
        self.headers = headers or {}
        self.text = "a page"


def said(status: int, code: int | None = None, message: str = "words", **headers: str) -> BinanceAPIException:
    """The exception of an answer in JSON, or of a page if there is no code."""
    body = "<html>" if code is None else json.dumps({"code": code, "msg": message})
    return BinanceAPIException(Answer({name.replace("_", "-"): value for name, value in headers.items()}), status, body)


# Code, HTTP status, what it means for a read, for an order.
CODES = [
    (-1000, 400, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (-1001, 500, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (-1006, 400, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (-1007, 504, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (-1007, 408, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (None, 500, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (None, 502, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (None, 503, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (None, 504, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (None, 408, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (-1003, 429, Meaning.BARRED, Meaning.BARRED),
    (-1003, 418, Meaning.BARRED, Meaning.BARRED),
    (None, 418, Meaning.BARRED, Meaning.BARRED),
    (None, 429, Meaning.BARRED, Meaning.BARRED),
    (None, 403, Meaning.BARRED, Meaning.BARRED),
    (-1008, 400, Meaning.UNAVAILABLE, Meaning.UNAVAILABLE),
    (-1008, 503, Meaning.UNAVAILABLE, Meaning.UNAVAILABLE),
    (-1015, 429, Meaning.UNAVAILABLE, Meaning.UNAVAILABLE),
    (-1016, 400, Meaning.UNAVAILABLE, Meaning.UNAVAILABLE),
    (-1013, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-1100, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-1102, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-1106, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-1111, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-1116, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-1121, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-2010, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-2011, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-2013, 400, Meaning.REFUSED, Meaning.REFUSED),
    (-2021, 409, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (-2022, 400, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
    (-1021, 400, Meaning.CLOCK, Meaning.CLOCK),
    (-1022, 400, Meaning.WRONG_KEY, Meaning.WRONG_KEY),
    (-2014, 401, Meaning.WRONG_KEY, Meaning.WRONG_KEY),
    (-2015, 401, Meaning.WRONG_KEY, Meaning.WRONG_KEY),
    (-2015, 400, Meaning.WRONG_KEY, Meaning.WRONG_KEY),
    (-2035, 400, Meaning.UNAVAILABLE, Meaning.UNAVAILABLE),
    (None, 404, Meaning.UNAVAILABLE, Meaning.UNAVAILABLE),
]


@pytest.mark.parametrize(("code", "status", "read", "order"), CODES)
def test_a_code_means_what_the_table_says(code: int | None, status: int, read: Meaning, order: Meaning) -> None:
    assert [judge(said(status, code), call).meaning for call in (READ, PLACE, REMOVE)] == [read, order, order]


def key() -> ConnectionKey:
    return ConnectionKey("127.0.0.1", 1, False, True, None, None, None)


def page() -> aiohttp.ContentTypeError:
    info: Any = None
    return aiohttp.ContentTypeError(info, (), message="unexpected mimetype: text/html")


# An exception, what it means for a read, an order, a cancel.
EXCEPTIONS = [
    (TimeoutError(), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (TimeoutError(), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (aiohttp.ServerDisconnectedError(), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (aiohttp.SocketTimeoutError(), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (aiohttp.ClientOSError(104, "reset"), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (aiohttp.ClientPayloadError(), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (page(), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (BinanceRequestException("Invalid Response: x"), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (BinanceWebsocketUnableToConnect("Request timed out"), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    (ReadLoopClosed("closed"), Meaning.UNAVAILABLE, Meaning.UNCLEAR, Meaning.UNCLEAR),
    # A connection that was never made carries nothing; but a cancel may have been sent over another one before.
    (aiohttp.ClientConnectorError(key(), OSError(111, "refused")), *[Meaning.UNAVAILABLE] * 2, Meaning.UNCLEAR),
    (aiohttp.ConnectionTimeoutError(), Meaning.UNAVAILABLE, Meaning.UNAVAILABLE, Meaning.UNCLEAR),
]


@pytest.mark.parametrize(
    ("error", "read", "order", "cancel"),
    EXCEPTIONS,
    ids=lambda one: type(one).__name__ if not isinstance(one, Meaning) else one.value,
)
def test_a_lost_answer_leaves_orders_unclear(error: Exception, read: Meaning, order: Meaning, cancel: Meaning) -> None:
    assert [judge(error, call).meaning for call in (READ, PLACE, REMOVE)] == [read, order, cancel]


@pytest.mark.parametrize("error", [KeyError("fills"), ZeroDivisionError(), AttributeError()])
def test_our_own_mistakes_are_not_taken_for_errors_of_the_exchange(error: Exception) -> None:
    with pytest.raises(type(error)):
        judge(error, READ)


def test_a_duplicate_is_a_refusal_that_says_so() -> None:
    error = judge(said(400, -2010, "Duplicate order sent."), PLACE).error()
    assert isinstance(error, Refused)
    assert (error.code, error.message) == (-2010, "Duplicate order sent.")


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (said(429, -1003, Retry_After="7"), 7.0),
        (said(418, -1003, Retry_After="180"), 180.0),
        (said(429, -1003), 60.0),
        (said(418), 120.0),
        (said(403), 300.0),
        (said(429, -1015, Retry_After="3"), 3.0),
        (said(429, -1015), 10.0),
        (said(429, -1003, Retry_After="soon"), 60.0),
    ],
)
def test_a_limit_says_how_long_to_wait(error: BinanceAPIException, seconds: float) -> None:
    assert judge(error, READ).after_s == seconds


def test_the_websocket_api_dates_the_end_of_a_ban() -> None:
    reply = {"status": 418, "error": {"code": -1003, "msg": "banned", "data": {"retryAfter": 12_500}}}
    error = BinanceAPIException(reply, 418, json.dumps(reply["error"]))
    verdict = judge(error, READ, now_ms=10_000)
    assert (verdict.meaning, verdict.after_s) == (Meaning.BARRED, 2.5)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (said(400, -1013), Refused),
        (said(504, -1007), Unclear),
        (said(400, -1008), Unavailable),
        (said(418), Barred),
        (said(401, -2015), WrongKey),
        (said(400, -1021), Unavailable),
    ],
)
def test_a_verdict_is_raised_as_the_port_names_it(error: BinanceAPIException, kind: type[Exception]) -> None:
    assert type(judge(error, PLACE).error()) is kind
