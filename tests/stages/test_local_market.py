"""The synthetic market fetched from a local exchange is the one that is made directly."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import requests

from pipeline.artifacts import Layout, read_json
from pipeline.config import Config
from pipeline.config.loading import load_config
from pipeline.errors import ConfigError
from pipeline.stages import download

LAYOUT = Layout("test")


def config_of(exchange: bool, **more: object) -> Config:
    section = {
        "source": "synthetic",
        "start": "2023-01-25",
        "end": "2023-03-03T06:00",
        "synthetic": {"seed": 3, "exchange": exchange},
    }
    return Config.model_validate(
        {"symbols": ["BTCUSDT", "ETHUSDT"], "interval": "5m", "name": "test", "download": section | more}
    )


def months(folder: Path) -> dict[str, object]:
    return {str(p.relative_to(folder)): pq.read_table(p) for p in sorted(folder.rglob("*.parquet"))}


def test_bars_from_the_exchange_are_those_that_are_made_directly(workspace: Path) -> None:
    asked: list[str] = []
    send = requests.Session.send

    def noted(self: requests.Session, request: requests.PreparedRequest, **options: object) -> requests.Response:
        asked.append(str(request.url))
        return send(self, request, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", noted)
        summary = download.run(config_of(True), LAYOUT)
    through = months(LAYOUT.raw)
    assert all(url.startswith("http://127.0.0.1:") for url in asked)
    assert any("/data/spot/monthly/" in url for url in asked) and any("/api/v3/klines" in url for url in asked)
    assert summary.figures["BTCUSDT 5m: from"] == "archive, local-exchange (REST)"
    told = read_json(next(LAYOUT.raw.rglob("2023-03.json")), "download")
    # The address of a server that is gone by then would only make the file differ from run to run.
    assert {re.split("[: ]", source["url"])[0] for source in told["sources"]} == {"local-exchange"}
    (LAYOUT.raw / "synthetic").rename(workspace / "kept")
    download.run(config_of(False), LAYOUT)
    direct = months(LAYOUT.raw)
    assert direct.keys() == through.keys() and len(direct) == 6
    assert all(direct[name] == through[name] for name in direct)


def test_a_second_download_fetches_nothing(workspace: Path) -> None:
    download.run(config_of(True), LAYOUT)
    before = {path: path.read_bytes() for path in LAYOUT.raw.rglob("2023*")}
    download.run(config_of(True), LAYOUT)
    assert {path: path.read_bytes() for path in LAYOUT.raw.rglob("2023*")} == before


def test_what_the_exchange_cannot_serve_is_refused(workspace: Path) -> None:
    path = workspace / "c.yaml"
    path.write_text("download: {source: synthetic, market: um, synthetic: {exchange: true}}\n")
    with pytest.raises(ConfigError, match=r"download\.synthetic\.exchange"):
        load_config(path)
    path.write_text("interval: 5m\ndownload: {source: synthetic, also_intervals: [1m], synthetic: {exchange: true}}\n")
    with pytest.raises(ConfigError, match=r"also_intervals\[0\]: '1m'"):
        load_config(path)
