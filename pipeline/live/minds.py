"""The bundle that decides, and how another one takes over between two bars."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import ExchangeError, PipelineError
from pipeline.live.following import Follower, Others
from pipeline.live.gathering import Gathered
from pipeline.live.strategy import Outlook
from pipeline.trading.rules import Rules

Higher = Mapping[str, Others]


class Watch(Protocol):
    """Looks for drift."""

    def update(self, outlook: Outlook) -> None:
        """A bar has been decided."""

    def alarm(self) -> str | None:
        """What has drifted, None if nothing has."""


@dataclass
class Mind:
    """What decides: a follower that is up to date, and the bundle it follows with.

    expires_ms: when the bundle is too old to trade with. watch: whether the market has left what it learnt from.
    notes: what a person should know of it. rules: of the trading core, with the stops and sizes that this bundle was
    simulated with; None to keep those there are.
    """

    follower: Follower
    bundle: str
    expires_ms: int | None = None
    watch: Watch | None = None
    notes: tuple[str, ...] = ()
    rules: Rules | None = None


class Succession:
    """Takes over from one mind to the next.

    wanted: names the bundle that should decide. rethink: makes a mind of it, up to a bar that has been decided, without
    holding anybody up. rejected: bundles that were not taken, and why; they are not tried again.
    """

    def __init__(self, wanted: Callable[[], str | None], rethink: Callable[[str, int], Awaitable[Mind]] | None) -> None:
        self.rejected: dict[str, str] = {}
        self._wanted, self._rethink = wanted, rethink
        self._next: asyncio.Future[Mind] | None = None
        self._name = ""
        self._since: list[tuple[Gathered, Higher]] = []

    def look(self, mind: Mind) -> None:
        """Begin to make another mind, if another bundle is wanted."""
        if self._rethink is None or self._next is not None:
            return
        wanted = self._wanted()
        if wanted and wanted != mind.bundle and wanted not in self.rejected:
            self._since, self._name = [], wanted
            self._next = asyncio.ensure_future(self._rethink(wanted, mind.follower.last_open_ms))

    def passed(self, gathered: Gathered, higher: Higher) -> None:
        """A bar has been decided, which a mind in the making has still to see."""
        if self._next is not None:
            self._since.append((gathered, higher))

    def ready(self) -> tuple[Mind | None, str]:
        """A mind that is up to date, or the name of a bundle that was not taken; neither if there is nothing new."""
        if self._next is None or not self._next.done():
            return None, ""
        made, self._next = self._next, None
        try:
            mind = made.result()
            for gathered, higher in self._since:
                mind.follower.update(gathered, higher)
        except ExchangeError:
            # It is tried again.
            return None, ""
        except Exception as error:
            # Whatever is wrong with another bundle, the one that decides goes on.
            self.rejected[self._name] = error.message if isinstance(error, PipelineError) else repr(error)
            return None, self._name
        return mind, ""

    def close(self) -> None:
        """Let go of what is in the making."""
        if self._next is not None:
            self._next.cancel()
