"""The synthetic market behind a local exchange: the same bars, fetched as they would be from the real one."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.artifacts import sha256_file
from pipeline.config import Config
from pipeline.exchange.local.running import Setup, Thread
from pipeline.market import synthetic
from pipeline.market.binance import Binance
from pipeline.market.ranges import Range
from pipeline.market.store import Fetched, Month, Stored

_NAME = "local-exchange"


class LocalExchange(Binance):
    """The archive and the REST API of a local exchange. Its address changes with each run and is not kept."""

    def __init__(self, config: Config, raw: Path, url: str) -> None:
        self._url = url
        synthetic_settings = config.download.synthetic.model_dump()
        options = config.download.binance.model_copy(update={"archive_url": url, "api_url": url, "rest": True})
        download = config.download.model_copy(update={"source": "binance", "binance": options})
        super().__init__(config.model_copy(update={"download": download}), raw)
        # A month made by other code or settings would not fit the months beside it.
        self.settings = synthetic_settings | {"code": sha256_file(Path(synthetic.__file__))[:12]}

    def fetch(self, stored: Stored, symbol: str, interval: str, month: Month, ranges: list[Range]) -> Iterator[Fetched]:
        for fetched in super().fetch(stored, symbol, interval, month, ranges):
            # A path of the archive follows with its slash, what came over REST with words of its own.
            url = fetched.part.url.replace(f"{self._url}/", f"{_NAME}:/").replace(self._url, _NAME)
            yield replace(fetched, part=replace(fetched.part, url=url))


@contextlib.contextmanager
def local_market(config: Config, raw: Path, start_ms: int, end_ms: int) -> Iterator[LocalExchange]:
    """A source that asks a local exchange, which runs as long as the context.

    start_ms, end_ms: of the bars that it has; its present is the end of them. Raises BadInput.
    """
    symbols = tuple(dict.fromkeys([*config.symbols, *config.download.also_symbols, *config.merge.symbols]))
    setup = Setup(
        symbols,
        config.interval,
        from_ms=start_ms,
        start_ms=end_ms - config.step_ms,
        end_ms=end_ms,
        synthetic=config.download.synthetic,
    )
    with Thread(setup) as exchange:
        exchange.call(lambda server: server.venue.step())
        source = LocalExchange(config, raw, exchange.server.url)
        try:
            yield source
        finally:
            source.close()
