"""What an error of python-binance means for a request: is it refused, perhaps executed, or not executed?

One table for all codes, by what the request was; if it changes something, every doubt is "unclear".
Source: https://developers.binance.com/docs/binance-spot-api-docs/errors
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import websockets.exceptions
from binance.exceptions import (
    BinanceAPIException,
    BinanceRequestException,
    BinanceWebsocketClosed,
    BinanceWebsocketQueueOverflow,
    BinanceWebsocketUnableToConnect,
    ReadLoopClosed,
)

from pipeline.exchange.port import Barred, Refused, Unavailable, Unclear, WrongKey


class Call(enum.Enum):
    """What a request does: `REMOVE` is one that aiohttp may have sent twice."""

    READ = "read"
    PLACE = "place"
    REMOVE = "remove"


class Meaning(enum.Enum):
    """What an error says of its request. `CLOCK`: its time was wrong, and it was surely not executed."""

    REFUSED = "refused"
    UNCLEAR = "unclear"
    UNAVAILABLE = "unavailable"
    BARRED = "barred"
    WRONG_KEY = "wrong key"
    CLOCK = "clock"


# A page of the firewall, and a ban that does not say how long it lasts.
_WAF_SECONDS, _BAN_SECONDS, _LIMIT_SECONDS = 300.0, 120.0, 60.0
_OUTAGE_SECONDS = 30.0
_ORDER_LIMIT_SECONDS = 10.0

# Codes with a meaning of their own; all others are refusals. UNCLEAR is UNAVAILABLE for those that only read.
CODES: dict[int, Meaning] = {
    -1000: Meaning.UNCLEAR,
    -1001: Meaning.UNCLEAR,
    -1003: Meaning.BARRED,
    -1006: Meaning.UNCLEAR,
    -1007: Meaning.UNCLEAR,
    -1008: Meaning.UNAVAILABLE,
    -1015: Meaning.UNAVAILABLE,
    -1016: Meaning.UNAVAILABLE,
    -1021: Meaning.CLOCK,
    -1022: Meaning.WRONG_KEY,
    -2014: Meaning.WRONG_KEY,
    -2015: Meaning.WRONG_KEY,
    # Half of a replacement has been done.
    -2021: Meaning.UNCLEAR,
    -2022: Meaning.UNCLEAR,
    # Subscriptions of the user stream: the socket is replaced.
    -2035: Meaning.UNAVAILABLE,
    -2036: Meaning.UNAVAILABLE,
}
_STATUSES: dict[int, Meaning] = {
    401: Meaning.WRONG_KEY,
    403: Meaning.BARRED,
    408: Meaning.UNCLEAR,
    418: Meaning.BARRED,
    429: Meaning.BARRED,
    451: Meaning.BARRED,
}
_DEFAULT_SECONDS: dict[int, float] = {
    403: _WAF_SECONDS,
    418: _BAN_SECONDS,
    451: _WAF_SECONDS,
    -1015: _ORDER_LIMIT_SECONDS,
    -1003: _LIMIT_SECONDS,
    -1016: _OUTAGE_SECONDS,
}
# The connection was never made, so nothing was sent over it.
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_BROKEN = (
    aiohttp.ClientError,
    OSError,
    EOFError,
    BinanceRequestException,
    BinanceWebsocketClosed,
    BinanceWebsocketQueueOverflow,
    BinanceWebsocketUnableToConnect,
    ReadLoopClosed,
    websockets.exceptions.WebSocketException,
)
EXPECTED = (BinanceAPIException, *_BROKEN)


@dataclass(frozen=True)
class Verdict:
    """A judged error. code: the exchange's, 0 if it gave none; after_s: when to try again, at the earliest."""

    meaning: Meaning
    code: int
    message: str
    after_s: float = 1.0

    def error(self) -> Exception:
        """As the port names it."""
        if self.meaning is Meaning.REFUSED:
            return Refused(self.code, self.message)
        if self.meaning is Meaning.UNCLEAR:
            return Unclear(self._words)
        if self.meaning is Meaning.WRONG_KEY:
            return WrongKey(self._words)
        if self.meaning is Meaning.BARRED:
            return Barred(self._words, self.after_s)
        return Unavailable(self._words, self.after_s)

    @property
    def _words(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message


def judge(error: BaseException, call: Call, now_ms: int = 0) -> Verdict:
    """What an error means for a request. now_ms: the exchange's time, by which it dates the end of bans.

    Raises the error itself: it is none that a client of the exchange raises.
    """
    if isinstance(error, BinanceAPIException):
        return _answered(error, call, now_ms)
    # The words of network errors may quote the whole request with its key and signature.
    words = type(error).__name__
    if isinstance(error, aiohttp.ContentTypeError | BinanceRequestException):
        return _doubt(call, 0, "a page instead of an answer: maintenance", _OUTAGE_SECONDS)
    if isinstance(error, _NOT_SENT) and call is not Call.REMOVE:
        return Verdict(Meaning.UNAVAILABLE, 0, f"no connection ({words})")
    if isinstance(error, _BROKEN):
        return _doubt(call, 0, f"no answer ({words})")
    raise error


def _answered(error: BinanceAPIException, call: Call, now_ms: int) -> Verdict:
    status, code = int(error.status_code or 0), _code(error)
    said = " ".join(str(error.message).split())[:200] if code else f"HTTP {status}"
    after = _after(error.response, now_ms) or _DEFAULT_SECONDS.get(status) or _DEFAULT_SECONDS.get(code)
    meaning = CODES.get(code)
    if meaning in (None, Meaning.UNAVAILABLE) and code != -1015:
        meaning = _STATUSES.get(status, meaning)
    if meaning is None and status >= 500:
        meaning = Meaning.UNCLEAR
    if meaning is Meaning.UNCLEAR:
        return _doubt(call, code, said, after or 1.0)
    if meaning is Meaning.BARRED:
        return Verdict(meaning, code, said, after or _LIMIT_SECONDS)
    if meaning is None:
        # Not in the exchange's words: something in between, such as a proxy, has turned the request away.
        meaning = Meaning.REFUSED if code else Meaning.UNAVAILABLE
    return Verdict(meaning, code, said, after or 1.0)


def _doubt(call: Call, code: int, words: str, after_s: float = 1.0) -> Verdict:
    meaning = Meaning.UNAVAILABLE if call is Call.READ else Meaning.UNCLEAR
    return Verdict(meaning, code, words, after_s)


def _code(error: BinanceAPIException) -> int:
    return error.code if isinstance(error.code, int) and not isinstance(error.code, bool) else 0


def _after(response: Any, now_ms: int) -> float | None:
    """Seconds to wait as the answer says: a header of HTTP, or a date in an answer of the WebSocket API."""
    if isinstance(response, Mapping):
        try:
            until = float(response["error"]["data"]["retryAfter"])
        except (KeyError, TypeError, ValueError):
            return None
        return max(until - now_ms, 0.0) / 1000
    header = str(getattr(response, "headers", {}).get("Retry-After", "")).strip()
    return float(header) if header.isascii() and header.isdigit() else None


def understood(reply: Any) -> Any:
    """A reply of the exchange that is an object or a list. Raises BinanceRequestException: it is neither."""
    if not isinstance(reply, dict | list):
        raise BinanceRequestException(f"a reply that is not understood: {json.dumps(reply)[:80]}")
    return reply
