"""Messages to people through Apprise: each service in a thread of its own, so that none can hold up trading.

This module is a seam: it starts threads, waits, and reaches the network.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from pipeline.config.serve import Notify
from pipeline.errors import BadInput
from pipeline.live.messages import Bands, Message, message, score_message
from pipeline.live.outbox import Outbox
from pipeline.live.redaction import Redactor

_log = logging.getLogger("pipeline.alerts")
# Sends a message; whether it has arrived.
Send = Callable[[Message], bool]


class Alerts:
    """A listener of `Tell` that sends messages. `close` it.

    services: how each is reached, by a name without secrets. settings: which events, and how many an hour. name: of
    the run. options: for the commands that a message advises. bands: thresholds for the line about the score.
    """

    def __init__(
        self,
        services: Mapping[str, Send],
        settings: Notify,
        redactor: Redactor,
        name: str = "",
        options: str = "",
        bands: Bands | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._events = frozenset(settings.events)
        self._redactor = redactor
        self._name, self._options = name, options
        self._bands = bands
        self._monotonic = monotonic
        # By symbol: when a line about its score was last sent, and the band it was in.
        self._scores: dict[str, tuple[float, int]] = {}
        # By symbol: the side of the last signal that was sent.
        self._sides: dict[str, str] = {}
        self._channels = [Channel(key, send, settings.per_hour, monotonic) for key, send in services.items()]

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Queue what was told, if anybody wants to know."""
        if event in self._events and not (event == "signal" and self._is_repeated(fields)):
            self._put(message(event, fields, self._name, self._options))
        elif event == "bar" and self._settings.score:
            self._score(fields)

    @property
    def left_out(self) -> int:
        """Messages that were not sent because there were too many, and of which none has told yet."""
        return sum(channel.left_out for channel in self._channels)

    def close(self, patience: float = 2.0) -> None:
        """Send what still waits, for so many seconds, and stop. Whoever does not answer is left."""
        end = self._monotonic() + patience
        for channel in self._channels:
            channel.finish()
        for channel in self._channels:
            channel.join(max(end - self._monotonic(), 0.0))

    def _put(self, one: Message) -> None:
        clean = Message(self._redactor.text(one.title), self._redactor.text(one.body), one.kind, one.urgent)
        for channel in self._channels:
            channel.put(clean)

    def _is_repeated(self, fields: Mapping[str, Any]) -> bool:
        """Whether a signal says at the next bar what the last one said, and nothing comes of it."""
        symbol, side = str(fields.get("symbol", "")), str(fields.get("side", ""))
        before, self._sides[symbol] = self._sides.get(symbol), side
        return before == side and fields.get("ordered") is False

    def _score(self, fields: Mapping[str, Any]) -> None:
        symbol, price, score = str(fields.get("symbol", "")), fields.get("price"), fields.get("score")
        if not isinstance(price, float) or not isinstance(score, float) or not isfinite(score):
            return
        now, before = self._monotonic(), self._scores.get(symbol)
        if before is not None and now - before[0] < self._settings.score_every:
            return
        self._scores[symbol] = (now, self._bands.band(score) if self._bands else 0)
        self._put(score_message(symbol, price, score, self._bands, None if before is None else before[1]))


class Channel:
    """The thread of one service. `put` takes a lock that is never held while anything waits."""

    def __init__(self, name: str, send: Send, per_hour: int, monotonic: Callable[[], float]) -> None:
        self._name, self._send, self._monotonic = name, send, monotonic
        self._outbox = Outbox(per_hour)
        self._changed = threading.Condition()
        self._finishing = False
        # A daemon: a service that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"alerts {name}", daemon=True)
        self._thread.start()

    @property
    def left_out(self) -> int:
        """As `Outbox.left_out`."""
        return self._outbox.left_out

    def put(self, one: Message) -> None:
        """Queue a message, or count it as left out."""
        with self._changed:
            if not self._finishing:
                self._outbox.put(one, self._monotonic())
                self._changed.notify()

    def finish(self) -> None:
        """Take no more; what waits is tried once more, at once."""
        with self._changed:
            self._finishing = True
            self._outbox.hurry(self._monotonic())
            self._changed.notify()

    def join(self, patience: float) -> None:
        """Wait for the thread to end, for so many seconds."""
        self._thread.join(patience)

    def _run(self) -> None:
        while (found := self._wait()) is not None:
            one, told = found
            try:
                arrived = self._send(one)
            except Exception as error:  # A service's client must not end the thread.
                _log.warning("notifications to %s: %s", self._name, type(error).__name__)
                arrived = False
            with self._changed:
                if arrived:
                    if self._outbox.failures:
                        _log.warning("notifications to %s arrive again", self._name)
                    self._outbox.sent(self._monotonic(), told)
                else:
                    if not self._outbox.failures:
                        _log.warning("notifications to %s do not arrive; they are tried again", self._name)
                    self._outbox.failed(self._monotonic())
                    if self._finishing:
                        return

    def _wait(self) -> tuple[Message, int] | None:
        """The next message and how many it says were left out; None when all is done."""
        with self._changed:
            while True:
                now = self._monotonic()
                due = self._outbox.due(now)
                if due is not None and due <= now:
                    return self._outbox.next(now), self._outbox.left_out
                if self._finishing:
                    return None
                self._changed.wait(None if due is None else due - now)


def services(addresses: Sequence[str], variable: str) -> dict[str, Send]:
    """Apprise's services, by a number and a schema: `1 tgram`.

    addresses: Apprise URLs. variable: where they come from, for the message.
    Raises BadInput: Apprise is not installed, or does not know an address; it is not shown, for it is a secret.
    """
    if not addresses:
        return {}
    try:
        import apprise
    except ImportError:
        raise BadInput(f"{variable}: notifications need Apprise", "pip install 'pipeline[service]'") from None
    # In our thread, and without files of its own. It waits at most four seconds for a connection, and for an answer.
    asset = apprise.AppriseAsset(
        app_id="pipeline", app_desc="pipeline", async_mode=False, service_timeout=0,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )  # fmt: skip
    found: dict[str, Send] = {}
    for number, address in enumerate(addresses, 1):
        service = apprise.Apprise.instantiate(address, asset=asset)
        if service is None:
            raise BadInput(
                f"{variable}: address {number} of {len(addresses)} is none that Apprise knows",
                "see docs/operations.md; addresses are separated by spaces",
            )
        sender = apprise.Apprise(asset=asset)
        sender.add(service)
        found[f"{number} {address.split(':')[0]}"] = _sender(sender)
    return found


def _sender(sender: Any) -> Send:
    def send(one: Message) -> bool:
        # A message without a body is refused.
        title, body = (one.title, one.body) if one.body else ("", one.title)
        return bool(sender.notify(body=body, title=title, notify_type=one.kind, body_format="text"))

    return send
