"""A run on paper, kept in a journal, beside a simulation of the same bars."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Layout, read_table, write_table
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput, CheckFailed
from pipeline.live.journal import create
from pipeline.live.journal_chain import encode
from pipeline.live.merging import bars_of
from pipeline.live.portfolio import Portfolio
from pipeline.live.shadow import shadow_rules
from pipeline.live.strategy import Strategy, columns_of
from pipeline.live.trading import PaperTrader
from pipeline.market import candles
from pipeline.stages.runner import Options, run_stage
from pipeline.stages.serve_models import config_hash
from pipeline.stages.shadow_page import table
from pipeline.stages.shadow_report import Report, compare, shadow_report

CONFIG = """
symbols: [BTCUSDT, ETHUSDT]
interval: 1h
download: {source: synthetic, start: "2024-01-01", end: "2024-02-10"}
features:
  - returns: {functions: [return], periods: [3]}
signals:
  predictions: features
  steps: [{threshold: {column: close_return_3, buy: 0.002, sell: -0.002}}]
sizing: {fraction: 0.4}
simulate: {exits: {stop_loss: 0.02}}
"""
LAYOUT = Layout("t")
BEGIN, END = utc_ms("2024-01-20"), utc_ms("2024-02-01")
HOUR = 3_600_000


def paper_run(config: Config, stop_at: int | None = None) -> list[tuple[str, dict[str, Any]]]:
    """What `serve --shadow` writes down from BEGIN to END; started again at `stop_at`, as after a crash."""
    whole = config_hash(config)
    bundle = f"rules-{whole[:12]}"
    merged = {symbol: read_table(LAYOUT.merged(symbol), "merge") for symbol in config.symbols}
    names = [name for name in columns_of(config) if name != "is_filled" and name in merged["BTCUSDT"].column_names]
    start = {"mode": "shadow", "bundle": bundle, "config": whole, "interval": "1h", "origin": BEGIN,
             "capital": 1000.0, "fresh": True}  # fmt: skip
    records: list[tuple[str, dict[str, Any]]] = [("START", start)]
    portfolio = Portfolio(config.symbols, shadow_rules(config, 0), 0.0)
    portfolio.add("START", start)
    trader = PaperTrader(portfolio)
    bars = {
        symbol: {bar.open_time_ms: bar for bar in bars_of(table, names)} for symbol, table in merged.items()
    }  # fmt: skip
    strategy: Strategy | None = None
    for time in range(BEGIN, END, HOUR):
        if strategy is None or time == stop_at:
            if strategy is not None:
                records.append(("START", start | {"fresh": False}))
            cut = {s: table.slice(0, int(candles.times_ms(table).searchsorted(time))) for s, table in merged.items()}
            strategy = Strategy(config, None, cut, BEGIN)
        outlook = strategy.update(time, {symbol: own[time] for symbol, own in bars.items()})
        facts = {"at": time + HOUR + 5, "bundle": bundle, "late": False, "age_ms": 5.0}
        for effect in trader.on_bar(outlook, {}, facts):
            records.append((effect.kind, json.loads(encode(effect.kind, effect.body))))  # type: ignore[union-attr]
            portfolio.advance(effect.body)  # type: ignore[union-attr]
    return records


def write(records: list[tuple[str, dict[str, Any]]]) -> None:
    for leftover in LAYOUT.journal.parent.glob("journal*"):
        leftover.unlink()
    create(LAYOUT.journal, [(kind, encode(kind, body)) for kind, body in records])


@pytest.fixture
def config(workspace: Path) -> Iterator[Config]:
    Path("t.yaml").write_text(CONFIG)
    declared, _ = Options(Path("t.yaml")).load()
    for stage in ("download", "merge"):
        run_stage(stage, declared, LAYOUT)
    yield declared


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


@pytest.mark.parametrize("stop_at", [None, BEGIN + 100 * HOUR])
def test_a_run_on_paper_is_its_own_simulation_to_the_last_bit(config: Config, stop_at: int | None) -> None:
    write(paper_run(config, stop_at))
    report = compare(config, LAYOUT)
    assert failed(report) == []
    assert report.run.bars == (END - BEGIN) // HOUR
    assert len(report.run.trades.pairs) > 20
    assert report.run.fields["score"].compared == 2 * report.run.bars


def changed(records: list[tuple[str, dict[str, Any]]], what: str) -> None:
    bars = [body for kind, body in records if kind == "BAR"]
    traded = next(body for body in bars if body.get("trades"))
    if what == "score":
        bars[50]["s"]["ETHUSDT"]["score"] += 1e-18 + abs(bars[50]["s"]["ETHUSDT"]["score"]) * 3e-16
    elif what == "close":
        bars[50]["s"]["BTCUSDT"]["close"] += 0.01
    elif what == "order":
        ordered = next(body for body in bars if body["s"]["BTCUSDT"]["order"])
        ordered["s"]["BTCUSDT"]["order"] = 0
    elif what == "equity":
        bars[-1]["equity"] += 0.01
    elif what == "missed":
        del traded["trades"]
    elif what == "extra":
        traded["trades"].append(traded["trades"][0])
    elif what == "price":
        traded["trades"][0]["exit_price"] *= 1.0001


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("score", ["score of each bar"]),
        ("close", ["close of each bar"]),
        ("order", ["order of each bar"]),
        ("equity", ["equity of each bar"]),
        ("missed", ["missed trades"]),
        ("extra", ["extra trades"]),
        ("price", ["trades equal to a simulation"]),
    ],
)
def test_whatever_differs_is_found(config: Config, what: str, names: list[str]) -> None:
    records = paper_run(config)
    changed(records, what)
    write(records)
    assert failed(compare(config, LAYOUT)) == names


def test_bars_that_are_not_on_file_yet_are_asked_for(config: Config) -> None:
    write(paper_run(config))
    for symbol in config.symbols:
        table = read_table(LAYOUT.merged(symbol), "merge")
        write_table(LAYOUT.merged(symbol), table.slice(0, table.num_rows - 300))
    with pytest.raises(CheckFailed, match="bars on file") as error:
        shadow_report(Options(Path("t.yaml")), None, None)
    assert "pipeline download -c t.yaml" in error.value.hint
    for symbol in config.symbols:
        write_table(LAYOUT.merged(symbol), read_table(LAYOUT.merged(symbol), "merge").slice(0, 100))
    with pytest.raises(BadInput, match="are not on file"):
        compare(config, LAYOUT)


def test_another_config_is_told(config: Config) -> None:
    write(paper_run(config))
    other = config.model_copy(update={"seed": config.seed + 1})
    # Rules are named by their config: they are not those that decided either.
    with pytest.raises(BadInput, match="the config has changed"):
        compare(other, LAYOUT)


def test_the_command_writes_a_page_and_one_line_of_json(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    write(paper_run(config))
    shadow_report(Options(Path("t.yaml"), json=True), "shadow", None)
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is True and told["trades"]["missed"] == 0
    page = Path(told["report"]).read_text()
    assert "Trades in both" in page and "<script" not in page
    with pytest.raises(BadInput, match="no bar of a live run"):
        compare(config, LAYOUT, "live")


def test_the_page_of_a_rehearsal_leaves_that_of_the_market_alone(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    records = paper_run(config)
    write(records)
    shadow_report(Options(Path("t.yaml")), None, None)
    page = LAYOUT.run / "serve" / "shadow-report.html"
    page.write_text("of the market")
    for kind, body in records:
        if kind == "START":
            body["exchange"] = "rehearsal"
    write(records)
    capsys.readouterr()
    shadow_report(Options(Path("t.yaml"), json=True), None, str(LAYOUT.journal))
    told = json.loads(capsys.readouterr().out)
    assert told["exchange"] == "rehearsal"
    assert Path(told["report"]) == LAYOUT.run / "serve" / "rehearsal" / "shadow-report.html"
    assert "Checks" in Path(told["report"]).read_text() and page.read_text() == "of the market"


def test_live_orders_give_latencies_and_shortfall(config: Config) -> None:
    records = paper_run(config)
    start = next(body for kind, body in records if kind == "START")
    start["mode"] = "live"
    place = next(n for n, (kind, body) in enumerate(records) if kind == "BAR" and body["s"]["BTCUSDT"]["order"])
    bar = records[place][1]
    close = Decimal(str(bar["s"]["BTCUSDT"]["close"]))
    intent = {"id": "a", "symbol": "BTCUSDT", "leg": "entry", "side": "BUY", "qty": "2", "bar": bar["t"], "base": "BTC"}
    half = {"id": "a", "qty": "1", "price": str(close * Decimal("1.0005")), "fee": "0.001", "fee_asset": "BTC"}
    records[place + 1 : place + 1] = [
        ("INTENT", intent),
        ("SENT", {"id": "a", "time": bar["at"] + 17}),
        ("OUTCOME", {"id": "a", "event": "acknowledge", "at": bar["at"] + 40}),
        ("FILL", half | {"trade_id": 1, "at": bar["at"] + 41}),
        ("FILL", half | {"trade_id": 2, "at": bar["at"] + 60}),
    ]
    bar["age_ms"] = 5.0
    write(records)
    report = compare(config, LAYOUT)
    parts = {part: one.p50 for part, one in report.latency["entry"].items()}
    # A fill that is whole; and a bar's age at the decision belongs to the whole way.
    assert parts == {"sent": 17.0, "answered": 23.0, "filled": 43.0, "whole": 65.0}
    assert "bar closed → entry filled, ms" in table(report)
    costs = report.costs["entry"]
    assert costs.realised == pytest.approx(5.0)
    assert costs.fees == pytest.approx(10.005)
    assert costs.expected == 1.0 and costs.unfilled == 0.0
