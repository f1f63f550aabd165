"""What every client of a server needs: how long to wait, and whether the server is on this machine."""

import ipaddress
import urllib.parse

from pipeline.errors import ExchangeError

# Longer bans are told to the user instead of waited for.
LONGEST_WAIT = 180.0


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine, where the environment's proxy has no business."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def cause(error: BaseException) -> str:
    """The innermost reason of a network error, in a line: `Connection refused`."""
    inner = error
    while True:
        deeper = getattr(inner, "reason", None) or next((a for a in inner.args if isinstance(a, BaseException)), None)
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    return (str(inner) or type(inner).__name__)[:160]


def backoff_seconds(attempt: int) -> float:
    """Pause after a failed try: 0.5, 1, 2 … seconds, at most 30."""
    return min(0.5 * 2.0**attempt, 30.0)


def retry_after(header: str | None, url: str) -> float:
    """Seconds that a 429 or 418 asks to wait; a minute if it does not say.

    Raises ExchangeError: it is too long to wait for.
    """
    seconds = float(header) if header and header.strip().isdigit() else 60.0
    if seconds > LONGEST_WAIT:
        raise ExchangeError(
            f"{url}: refuses requests for the next {seconds:.0f} s (too many were made)",
            "run the command again after that; lower download.binance.max_weight_per_minute",
        )
    return seconds
