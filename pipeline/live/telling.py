"""Saying what happens: one call for all of live trading, heard by the log, by alerts, and by whoever else listens."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pipeline.errors import ExchangeError
from pipeline.exchange.port import Refused, Unavailable, Unclear, WrongKey

# What is told, and how loud it is in the log.
LEVELS: Mapping[str, str] = {
    "bar": "debug",
    "start": "info",
    "stop": "info",
    "signal": "info",
    "order": "info",
    "fill": "info",
    "trade": "info",
    "daily": "info",
    "command": "info",
    "bundle": "info",
    "exchange": "info",
    "code": "info",
    "halt": "warning",
    "breaker": "warning",
    "error": "error",
    "crash": "error",
}

Listener = Callable[[str, Mapping[str, Any]], None]


class Tell(Protocol):
    """Tells of an event; never waits and never raises, so that it can stand anywhere in the path of an order."""

    def __call__(self, event: str, /, **fields: Any) -> None:
        """event: one of `LEVELS`. fields: bundle, bar (ISO), symbol, client_order_id, score, side, qty, price, reason …

        `level` among them overrides how loud it is.
        """


class FanOut:
    """A `Tell` for several listeners, told in the order they were added, in the caller's thread.

    A listener is called with the event and its fields; it must only take note of them and return. One that raises
    spoils nothing for the others, and the first failure of each is told to them as an error.
    failures: how often a listener has raised, by its name.
    """

    def __init__(self, *listeners: Listener) -> None:
        self.failures: dict[str, int] = {}
        self._listeners = list(listeners)

    def add(self, listener: Listener) -> None:
        """Tell one more."""
        self._listeners = [*self._listeners, listener]

    def remove(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners = [one for one in self._listeners if one != listener]

    def __call__(self, event: str, /, **fields: Any) -> None:
        """Tell all of them."""
        for listener in self._listeners:
            try:
                listener(event, fields)
            except Exception as error:  # Whatever is wrong with a listener, an order is more important.
                self._failed(listener, error)

    def _failed(self, listener: Listener, error: Exception) -> None:
        name = getattr(listener, "__qualname__", type(listener).__name__)
        count = self.failures.get(name, 0)
        self.failures[name] = count + 1
        if count == 0:
            self("error", reason=f"{name} cannot listen: {type(error).__name__}", listener=name)


def tell_nobody(event: str, /, **fields: Any) -> None:
    """A `Tell` that nobody hears."""


def in_our_words(error: BaseException) -> BaseException:
    """An error of the exchange that trading cannot go on with, as a person is told of it; others as they are."""
    if isinstance(error, WrongKey):
        return ExchangeError(f"the exchange refuses the key: {error}", "check the key and its permissions")
    if isinstance(error, Refused):
        return ExchangeError(f"the exchange refuses a question: {error}", "does it still list all symbols?")
    if isinstance(error, Unavailable | Unclear):
        return ExchangeError(
            f"the exchange cannot be reached: {error}",
            "look at the network, `serve.exchange` and the exchange's own status; a new start recovers by itself",
        )
    return error
