"""Stands in for the conftest of python-binance's own tests, which the client's source archive leaves out.

It points every client at the local exchange, by the class attributes that hold the addresses.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import loopback
import pytest
import pytest_asyncio

loopback.guard()

from binance import AsyncClient, BinanceSocketManager, Client  # noqa: E402
from binance.base_client import BaseClient  # noqa: E402
from binance.ws.reconnecting_websocket import ReconnectingWebsocket  # noqa: E402

BaseClient.API_URL = os.environ["EXCHANGE_URL"] + "/api"
BaseClient.MARGIN_API_URL = os.environ["EXCHANGE_URL"] + "/sapi"
BaseClient.WS_API_URL = os.environ["EXCHANGE_WS_API"]
BinanceSocketManager.STREAM_URL = os.environ["EXCHANGE_STREAMS"]
ReconnectingWebsocket.TIMEOUT = 2  # A socket that is closed waits for so long, after each test.

api_key, api_secret = "local-demo-key", "local-demo-secret"
proxies: dict[str, str] = {}
proxy = None
testnet = demo = False


@pytest.fixture
def client() -> Client:
    return Client(api_key, api_secret, {})


@pytest_asyncio.fixture
async def clientAsync() -> AsyncIterator[AsyncClient]:  # noqa: N802 (the tests' name)
    made = await AsyncClient.create(api_key, api_secret)
    yield made
    with contextlib.suppress(Exception):  # Some tests have closed it themselves.
        await asyncio.wait_for(made.close_connection(), 15)


def call_method_and_assert_uri_contains(client: Client, name: str, expected: str, *args: Any, **kwargs: Any) -> None:
    """Call a method, and see which address it asks."""
    with patch.object(client, "_request", wraps=client._request) as asked:
        getattr(client, name)(*args, **kwargs)
    assert expected in asked.call_args[0][1]
