"""Where an exchange is, and the keys to it."""

from dataclasses import dataclass, field

from pydantic import SecretStr

from pipeline.market.network import is_loopback


@dataclass(frozen=True)
class Addresses:
    """rest: without `/api`; streams: of market data, without `/stream`; socket_api: of the WebSocket API, in full.

    market_clock: of a replayed market, whose bars close by another clock than requests are signed by; it answers
    `{"market": ms}`. Empty for a real one.
    """

    rest: str
    streams: str
    socket_api: str
    market_clock: str = ""

    @property
    def is_local(self) -> bool:
        """Whether all of it is on this machine, where the environment's proxy has no business."""
        return all(is_loopback(url) for url in (self.rest, self.streams, self.socket_api))


LIVE = Addresses(
    "https://api.binance.com", "wss://stream.binance.com:9443", "wss://ws-api.binance.com:443/ws-api/v3"
)  # fmt: skip
TESTNET = Addresses(
    "https://testnet.binance.vision", "wss://stream.testnet.binance.vision", "wss://ws-api.testnet.binance.vision/ws-api/v3"
)  # fmt: skip
DEMO = Addresses(
    "https://demo-api.binance.com", "wss://demo-stream.binance.com", "wss://demo-ws-api.binance.com/ws-api/v3"
)  # fmt: skip


def local(url: str) -> Addresses:
    """Of `pipeline exchange` at `http://HOST:PORT`."""
    url = url.rstrip("/")
    socket = url.replace("http", "ws", 1)
    return Addresses(url, socket, f"{socket}/ws-api/v3", f"{url}/_emu/clock")


@dataclass(frozen=True)
class Keys:
    """API key and secret. Neither is shown when it is printed."""

    key: SecretStr = field(default_factory=lambda: SecretStr(""))
    secret: SecretStr = field(default_factory=lambda: SecretStr(""))

    def __bool__(self) -> bool:
        return bool(self.key.get_secret_value() and self.secret.get_secret_value())
