"""A local exchange for your own tests.

    pytest_plugins = ["pipeline.testing"]

    def test_my_bot(local_exchange):
        client = local_exchange.client()              # python-binance, synchronous
        client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="100")
        local_exchange.step(5)                        # five bars later
        assert local_exchange.balance("BTC") > 0

The market stands still between steps. `local_exchange` is a synthetic BTCUSDT and ETHUSDT in minutes; for other data,
accounts or faults, use `LocalExchange(Setup(...))` as a context manager.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from pipeline.config import utc_ms
from pipeline.exchange.local.faults import At, Fault
from pipeline.exchange.local.running import Setup, Thread
from pipeline.exchange.local.scenario import Scenario

__all__ = ["LocalExchange", "Scenario", "Setup", "local_exchange"]

_START = utc_ms("2024-01-01")
_DAY = 86_400_000


class LocalExchange:
    """A server in a thread. url: of REST, without `/api`; key, secret: of its first account."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._thread = Thread(setup)

    def __enter__(self) -> "LocalExchange":
        self._thread.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.__exit__()

    @property
    def url(self) -> str:
        """Address of the server, `http://127.0.0.1:PORT`."""
        return self._thread.server.url

    @property
    def streams_url(self) -> str:
        """Address of the market streams, `ws://127.0.0.1:PORT`."""
        return self.url.replace("http", "ws", 1)

    @property
    def key(self) -> str:
        """API key of the first account."""
        return self.setup.scenario.accounts[0].key

    @property
    def secret(self) -> str:
        """Its secret."""
        return self.setup.scenario.accounts[0].secret.get_secret_value()

    def attributes(self) -> dict[str, str]:
        """Class attributes that point a client of python-binance here: `type("C", (AsyncClient,), attributes())`."""
        return {
            "API_URL": f"{self.url}/api",
            "MARGIN_API_URL": f"{self.url}/sapi",
            "FUTURES_URL": f"{self.url}/fapi",
            "WS_API_URL": f"{self.streams_url}/ws-api/v3",
        }

    def client(self) -> Any:
        """A synchronous client of python-binance."""
        from binance.client import Client

        client = type("LocalClient", (Client,), self.attributes())(self.key, self.secret)
        client.session.trust_env = False
        return client

    def step(self, bars: int = 1) -> None:
        """Go on by some bars, to the open of the next one."""
        self._thread.call(lambda server: server.venue.step(bars))

    def fault(self, kind: str, *, where: str = "*", count: int = 1, at: At | None = None, **args: Any) -> int:
        """Let a fault wait; returns its number. The menu is in docs/exchange.md."""
        fault = Fault(kind=kind, where=where, count=count, at=at or At(), args=args)
        return int(self._thread.call(lambda server: server.venue.add_fault(fault)))

    def balance(self, asset: str) -> Decimal:
        """Free and locked amount of an asset of the first account."""

        def read(server: Any) -> Decimal:
            held = server.venue.engine.accounts[self.key].balance(asset)
            return Decimal(held.free + held.locked)

        return Decimal(self._thread.call(read))

    def journal(self) -> str:
        """All that has happened, a line of JSON each."""
        return str(self._thread.call(lambda server: server.venue.engine.journal.text()))


@pytest.fixture
def local_exchange() -> Iterator[LocalExchange]:
    """Two synthetic symbols in minutes, a day of history, two weeks to trade."""
    setup = Setup(("BTCUSDT", "ETHUSDT"), "1m", None, _START - _DAY, _START, _START + 14 * _DAY)
    with LocalExchange(setup) as exchange:
        yield exchange
