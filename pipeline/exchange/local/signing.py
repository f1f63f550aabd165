"""Who is asking: API keys, signatures over the bytes that came, and timestamps.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import ApiError, illegal, missing

DEFAULT_WINDOW = 5000
_BLOCK = 64
_MOST_WINDOW = 60_000
_KEY = re.compile(r"[a-zA-Z0-9_\-]{3,128}")
_FIRST, _FURTHER = re.compile(rb"signature=[^&]*"), re.compile(rb"&signature=[^&]*")
_STAMP, _WINDOW = re.compile(r"[0-9]{1,20}"), re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
# Parameters that say who asks and when, and so are none of the operation's.
SECURITY = ("timestamp", "recvWindow", "signature", "apiKey")


def signature(secret: str, payload: bytes) -> str:
    """HMAC-SHA256 in hexadecimal."""
    inner, outer = (half.copy() for half in _keyed(secret))
    inner.update(payload)
    outer.update(inner.digest())
    return str(outer.hexdigest())


@lru_cache(maxsize=128)
def _keyed(secret: str) -> tuple[Any, Any]:
    """Both hashes of RFC 2104 once they have taken in the key: OpenSSL's own HMAC begins anew each time, for 7 µs."""
    key = secret.encode()
    key = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    return hashlib.sha256(bytes(one ^ 0x36 for one in key)), hashlib.sha256(bytes(one ^ 0x5C for one in key))


def account_of(key: str | None, accounts: Mapping[str, Account]) -> Account:
    """The account of an API key. Raises ApiError -2014, -2015."""
    account = accounts.get(key or "")
    if not key or (account is None and not _KEY.fullmatch(key)):
        raise ApiError(-2014, "API-key format invalid.", 401)
    if account is None:
        raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    return account


def rest_payload(query: bytes, body: bytes) -> bytes:
    """What the signature of a REST request is over: query and body as they came, without the signature."""
    return _unsigned(query) + _unsigned(body)


def _unsigned(part: bytes) -> bytes:
    if b"signature=" not in part:
        return part
    if part.startswith(b"signature="):
        part = part[len(_FIRST.match(part)[0]) :]  # type: ignore[index]
    return _FURTHER.sub(b"", part)


def socket_payload(params: Mapping[str, str]) -> bytes:
    """What the signature of a WebSocket request is over: its parameters by name."""
    return "&".join(f"{name}={value}" for name, value in sorted(params.items()) if name != "signature").encode()


def _window(text: str) -> float:
    """How old a request may be, ms. Raises ApiError -1100, -1131."""
    if not _WINDOW.fullmatch(text):
        raise illegal("recvWindow", "^[0-9]{1,20}$")
    if float(text) > _MOST_WINDOW:
        raise ApiError(-1131, "recvWindow must be less than 60000.")
    return float(text)


def verify(account: Account, params: Mapping[str, str], payload: bytes, now: int) -> None:
    """Check signature and timestamp. Raises ApiError -1102, -1100, -1021, -1022, -1131."""
    given = params.get("signature")
    if not params.get("timestamp"):
        raise missing("timestamp")
    if not _STAMP.fullmatch(params["timestamp"]):
        raise illegal("timestamp", "^[0-9]{1,20}$")
    stamp = int(params["timestamp"])
    # Microseconds are allowed too.
    stamp = stamp // 1000 if stamp >= 10**14 else stamp
    window = _window(params["recvWindow"]) if "recvWindow" in params else DEFAULT_WINDOW
    if stamp >= now + 1000:
        raise ApiError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now - stamp > window:
        raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")
    if not given:
        raise missing("signature")
    if not hmac.compare_digest(signature(account.secret, payload).encode(), given.encode()):
        raise ApiError(-1022, "Signature for this request is not valid.")
