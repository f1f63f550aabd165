"""From an order to the downloaded files and back: the whole way is told, and what is not whole is named."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Layout, read_table, write_table
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput, CheckFailed
from pipeline.live.journal import create
from pipeline.live.journal_chain import encode
from pipeline.stages.lineage import Link, lineage, trace
from pipeline.stages.runner import Options, run_stage
from pipeline.stages.serve_models import config_hash
from pipeline.trading.orders import client_order_id

CONFIG = """
symbols: [BTCUSDT]
interval: 1h
download: {source: synthetic, start: "2024-01-01", end: "2024-02-10"}
features:
  - returns: {functions: [return], periods: [3]}
  - talib: {functions: [SMA], inputs: [close], periods: [5]}
signals:
  predictions: features
  steps: [{threshold: {column: close_return_3, buy: 0.002, sell: -0.002}}]
"""
LAYOUT = Layout("t")
OPTIONS = Options(Path("t.yaml"))
T = utc_ms("2024-02-03T04:00")


@pytest.fixture
def traded(workspace: Path) -> Iterator[Config]:
    """A config whose live run has entered at T."""
    Path("t.yaml").write_text(CONFIG)
    config, _ = OPTIONS.load()
    for stage in ("download", "merge", "features", "signals"):
        run_stage(stage, config, LAYOUT)
    write_journal(config)
    yield config


def score_of(name: str = "close_return_3") -> float:
    table = read_table(LAYOUT.signals("BTCUSDT"), "signals")
    times = table.column("open_time").cast("int64").to_pylist()
    return float(table.column(name)[times.index(T)].as_py())


def write_journal(config: Config, **changes: Any) -> None:
    merged = read_table(LAYOUT.merged("BTCUSDT"), "merge")
    row = merged.column("open_time").cast("int64").to_pylist().index(T)
    whole = config_hash(config)
    bundle = f"rules-{whole[:12]}"
    seen = {"score": score_of(), "close": merged.column("close")[row].as_py(), "signal": 1, "gate": "", "order": 1,
            "exit": "", "filled": False}  # fmt: skip
    intent = {"bundle": bundle, "symbol": "BTCUSDT", "bar": T, "leg": "entry", "attempt": 0, "side": "BUY",
              "qty": "0.1", "kind": "MARKET", "price": None, "stop_price": None}  # fmt: skip
    intent["id"] = client_order_id(bundle, "BTCUSDT", T, "entry", 0)
    records: list[tuple[str, dict[str, Any]]] = [
        ("START", {"mode": "live", "bundle": bundle, "config": whole, "interval": "1h"}),
        ("BAR", {"t": T, "n": 0, "at": T, "bundle": bundle, "equity": 1.0, "cash": 1.0, "late": False,
                 "s": {"BTCUSDT": seen | changes}}),
        ("INTENT", intent),
        ("SENT", {"id": intent["id"], "time": T, "window": 5000, "after": -1}),
        ("OUTCOME", {"id": intent["id"], "event": "acknowledge", "order_id": 77}),
        ("FILL", {"id": intent["id"], "trade_id": 1, "qty": "0.1", "price": "100", "fee": "0", "fee_asset": "BTC"}),
    ]  # fmt: skip
    for leftover in LAYOUT.journal.parent.glob("journal*"):
        leftover.unlink()
    create(LAYOUT.journal, [(kind, encode(kind, body)) for kind, body in records])


def found(link: Link, what: str) -> list[Link]:
    return [link] * (link.what == what) + [one for below in link.below for one in found(below, what)]


def test_the_way_leads_to_the_download_and_every_link_is_whole(traded: Config) -> None:
    root = trace(traded, LAYOUT, "77")
    assert root.problems() == []
    assert [link.what for link in root.below] == ["sent", "outcome", "fill", "intent"]
    (again,) = found(root, "score")
    assert again.facts["again"] == again.facts["journal"] == score_of()
    (features,) = found(root, "features")
    assert list(features.facts["values"]) == ["close_return_3", "close_SMA_5"]
    (raw,) = found(root, "raw file")
    assert raw.facts["file"].endswith("2024-02.parquet")
    (source,) = found(root, "downloaded from")
    assert source.facts["url"]


def test_the_features_are_those_of_the_batch_file(traded: Config) -> None:
    (features,) = found(trace(traded, LAYOUT, "77"), "features")
    table = read_table(LAYOUT.features("BTCUSDT"), "features")
    row = table.column("open_time").cast("int64").to_pylist().index(T)
    for name, value in features.facts["values"].items():
        assert value == table.column(name)[row].as_py()


def test_a_decision_on_paper_is_named_by_symbol_and_time(traded: Config) -> None:
    root = trace(traded, LAYOUT, "BTCUSDT@2024-02-03T04:00")
    assert root.what == "decision" and root.problems() == []
    with pytest.raises(BadInput, match="no bar of BTCUSDT"):
        trace(traded, LAYOUT, "BTCUSDT@2024-02-03T05:00")
    with pytest.raises(BadInput, match="'noon' is not a time"):
        trace(traded, LAYOUT, "BTCUSDT@noon")


def test_a_changed_raw_file_is_broken(traded: Config) -> None:
    path = LAYOUT.bars("synthetic", "spot", "BTCUSDT", "1h") / "2024-02.parquet"
    write_table(path, read_table(path, "download").slice(1))
    assert trace(traded, LAYOUT, "77").problems() == ["raw file: is missing or not the file that was downloaded"]


def test_a_missing_raw_file_is_broken(traded: Config) -> None:
    (LAYOUT.bars("synthetic", "spot", "BTCUSDT", "1h") / "2024-02.json").unlink()
    (problem,) = trace(traded, LAYOUT, "77").problems()
    assert "not there yet" in problem


def test_bars_that_end_before_the_decision_are_broken_and_say_what_to_run(traded: Config) -> None:
    path = LAYOUT.merged("BTCUSDT")
    write_table(path, read_table(path, "merge").slice(0, 500))
    problems = trace(traded, LAYOUT, "77").problems()
    assert any("run `pipeline download` and `pipeline merge`" in problem for problem in problems)
    assert any("features: cannot be computed again" in problem for problem in problems)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"score": 0.25}, "score: computed again from the stored bars it is another one"),
        ({"close": 1.0}, "merged row: its close is not the one that was decided on"),
        ({"order": 0}, "intent: the bar ordered no entry"),
    ],
)
def test_a_journal_that_says_something_else_is_broken(traded: Config, change: dict[str, Any], problem: str) -> None:
    write_journal(traded, **change)
    (only,) = trace(traded, LAYOUT, "77").problems()
    assert only.startswith(problem)


def test_a_changed_config_is_broken_and_the_command_exits_with_a_failed_check(
    traded: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckFailed, match="2 broken: start: the config has changed since"):
        lineage(Options(Path("t.yaml"), overrides=["simulate.initial_cash=5"]), "77", None)
    assert capsys.readouterr().out.count("BROKEN") == 2


def test_json_holds_the_same_tree(traded: Config, capsys: pytest.CaptureFixture[str]) -> None:
    lineage(Options(Path("t.yaml"), json=True), "77", None)
    told = json.loads(capsys.readouterr().out)
    assert told["what"] == "order"
    intent = told["from"][-1]
    assert intent["what"] == "intent" and intent["from"][0]["what"] == "decision"
