"""What replies say, and what it means if one says nothing that is understood."""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.exchange.binance.reports import MALFORMED
from pipeline.exchange.port import Unavailable, Unclear

T = TypeVar("T")


def understood(read: Callable[[Any], T], reply: Any) -> T:
    """What a reply to a question says. Raises Unavailable: it makes no sense."""
    with contextlib.suppress(*MALFORMED):
        return read(reply)
    raise Unavailable("a reply that is not understood")


def executed(read: Callable[[Any], T], reply: Any) -> T:
    """What a reply to an order says. Raises Unclear: it makes no sense, so all that is known is that it came."""
    with contextlib.suppress(*MALFORMED):
        return read(reply)
    raise Unclear("a reply that is not understood")


def each(read: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    """Reads the rows of a reply."""
    return lambda rows: [read(row) for row in rows]
