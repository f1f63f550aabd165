"""Who is asking: API keys, signatures over the bytes that came, and timestamps.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security
"""

import hmac
import re
from collections.abc import Mapping

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import ApiError, illegal, missing

DEFAULT_WINDOW = 5000
_MOST_WINDOW = 60_000
_KEY = re.compile(r"[a-zA-Z0-9_\-]{3,128}")
_FIRST, _FURTHER = re.compile(rb"signature=[^&]*"), re.compile(rb"&signature=[^&]*")
_STAMP, _WINDOW = re.compile(r"[0-9]{1,20}"), re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
# Parameters that say who asks and when, and so are none of the operation's.
SECURITY = ("timestamp", "recvWindow", "signature", "apiKey")


def signature(secret: str, payload: bytes) -> str:
    """HMAC-SHA256 in hexadecimal."""
    return hmac.digest(secret.encode(), payload, "sha256").hex()


def account_of(key: str | None, accounts: Mapping[str, Account]) -> Account:
    """The account of an API key. Raises ApiError -2014, -2015."""
    if not key or not _KEY.fullmatch(key):
        raise ApiError(-2014, "API-key format invalid.", 401)
    if key not in accounts:
        raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    return accounts[key]


def rest_payload(query: bytes, body: bytes) -> bytes:
    """What the signature of a REST request is over: query and body as they came, without the signature."""
    return _unsigned(query) + _unsigned(body)


def _unsigned(part: bytes) -> bytes:
    if part.startswith(b"signature="):
        part = part[len(_FIRST.match(part)[0]) :]  # type: ignore[index]
    return _FURTHER.sub(b"", part)


def socket_payload(params: Mapping[str, str]) -> bytes:
    """What the signature of a WebSocket request is over: its parameters by name."""
    return "&".join(f"{name}={value}" for name, value in sorted(params.items()) if name != "signature").encode()


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
    window = params.get("recvWindow", str(DEFAULT_WINDOW))
    if not _WINDOW.fullmatch(window):
        raise illegal("recvWindow", "^[0-9]{1,20}$")
    if float(window) > _MOST_WINDOW:
        raise ApiError(-1131, "recvWindow must be less than 60000.")
    if stamp >= now + 1000:
        raise ApiError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now - stamp > float(window):
        raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")
    if not given:
        raise missing("signature")
    if not hmac.compare_digest(signature(account.secret, payload).encode(), given.encode()):
        raise ApiError(-1022, "Signature for this request is not valid.")
