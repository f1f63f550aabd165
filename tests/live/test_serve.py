"""`pipeline serve` as a whole: the market of a local exchange, over its own sockets, held to the batch stages."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from live import batch

from pipeline.artifacts import read_table, write_table, write_text
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput
from pipeline.live.journal import open_reader
from pipeline.market.candles import column, iso, times_ms
from pipeline.stages.retrain import store_bundle
from pipeline.stages.runner import Options
from pipeline.stages.serve_live import serve
from pipeline.stages.serve_session import Session
from pipeline.stages.serve_wish import Wish
from pipeline.testing import LocalExchange, Setup

BARS = 1500
# Two symbols, each with missing bars and a silence of thirty, one of them reference to both; higher timeframes.
SPOT: dict[str, Any] = batch.MODELS | {
    "merge": {"symbols": ["BTCUSDT"], "timeframes": ["1h", "4h"], "max_filled": 0.5},
    "simulate": {"direction": "long", "exits": {"stop_loss": 0.01, "max_bars": "8h"}, "random_entries": 0},
    "serve": {"capital": 10_000},
}
FROM, TO = "2024-01-04T12:00", "2024-01-05T12:00"


@pytest.fixture
def trained(tmp_path, monkeypatch) -> Config:
    """A config whose batch stages have run, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    simulate = SPOT["simulate"] | {"start": FROM, "end": TO}
    declared = batch.config(SPOT, simulate=simulate)
    batch.write_downloads(declared, BARS)
    for path in batch.LAYOUT.raw.rglob("*.parquet"):
        write_table(path, as_on_the_wire(read_table(path, "download")))
    batch.run_batch(declared)
    # JSON is YAML.
    Path("t.yaml").write_text(json.dumps(declared.model_dump(mode="json", exclude_unset=True)))
    return declared


def as_on_the_wire(bars: pa.Table) -> pa.Table:
    """Prices and amounts with as many digits as an exchange gives them, and a market that takes our orders whole."""
    prices = ("open", "high", "low", "close")
    digits = {"trades": 0} | dict.fromkeys(prices, 2)
    for place, name in enumerate(bars.column_names):
        if name != "open_time":
            whole = bars[name] if name in prices else pc.multiply(bars[name], 10_000)
            bars = bars.set_column(place, name, pc.round(whole, digits.get(name, 8)))
    return bars


def rehearse(**wish: Any) -> None:
    serve(Options(Path("t.yaml")), Wish(rehearse=(FROM, TO), **wish))


def records(folder: str = "rehearsal") -> list[tuple[str, dict[str, Any]]]:
    reader = open_reader(Path(f"data/t/serve/{folder}/journal.sqlite"), "t")
    try:
        return [(kind, dict(body)) for _, kind, body in reader.read()]
    finally:
        reader.close()


def assert_equal_to_the_batch_stages(declared: Config) -> None:
    bars = [body for kind, body in records() if kind == "BAR"]
    times = [body["t"] for body in bars]
    step = declared.step_ms
    assert times == list(range(times[0], times[0] + len(times) * step, step)), "each bar once, and in order"
    compared = 0
    for symbol in declared.symbols:
        signals = pq.read_table(batch.LAYOUT.signals(symbol))
        score = dict(zip(times_ms(signals).tolist(), column(signals, "smooth_score").tolist(), strict=True))
        buy = dict(zip(times_ms(signals).tolist(), signals["buy_signal"].to_pylist(), strict=True))
        for body in bars:
            mine, theirs = body["s"][symbol]["score"], score[body["t"]]
            assert mine == theirs or (mine is None and math.isnan(theirs)), f"{symbol} {iso(body['t'])}"
            assert bool(body["s"][symbol]["signal"] & 1) == (buy[body["t"]] and not body["s"][symbol]["filled"])
            compared += 1
    assert compared == 288 * len(declared.symbols)
    mine = pq.read_table("data/t/serve/rehearsal/trades.parquet").to_pylist()
    simulated = pq.read_table("data/t/simulation/trades.parquet").to_pylist()
    theirs = [trade for trade in simulated if trade["exit_reason"] != "end"]
    assert len(theirs) > 3
    assert [{key: one[key] for key in theirs[0]} for one in mine] == theirs


def test_a_shadow_run_decides_and_trades_as_the_batch_stages_to_the_last_bit(trained):
    rehearse()
    assert_equal_to_the_batch_stages(trained)
    decisions = pq.read_table("data/t/serve/rehearsal/decisions.parquet")
    assert decisions.num_rows == 288 * 2 and not any(decisions["late"].to_pylist())


def test_restarts_change_nothing(trained):
    rehearse(bars=101)
    for _ in range(2):
        rehearse(bars=101, resume=True)
    assert_equal_to_the_batch_stages(trained)
    kinds = [kind for kind, _ in records()]
    assert kinds.count("START") == 3 and kinds.count("STOP") == 3


def test_a_live_rehearsal_holds_what_the_exchange_holds_and_protects_it(trained):
    rehearse(live=True, yes=True)
    story = records()
    sent = [body for kind, body in story if kind == "INTENT"]
    assert {body["leg"] for body in sent} == {"entry", "stop", "exit"}
    ids = [body["id"] for body in sent]
    assert len(ids) == len(set(ids))
    # After each entry's fill comes its stop, before anything else is sent.
    legs = [body["leg"] for body in sent]
    for number, leg in enumerate(legs[:-1]):
        if leg == "entry" and any(kind == "FILL" and body["id"] == ids[number] for kind, body in story):
            symbol = sent[number]["symbol"]
            after = [body["leg"] for body in sent[number + 1 :] if body["symbol"] == symbol]
            assert after[:1] == ["stop"]
    trades = [body for kind, body in story if kind == "TRADE"]
    assert len(trades) > 3 and {trade["exit_reason"] for trade in trades} <= {"signal", "stop_loss", "max_bars"}
    assert [trade["number"] for trade in trades] == list(range(len(trades)))


def scores_of_batch(declared: Config, symbol: str) -> dict[int, float]:
    signals = pq.read_table(batch.LAYOUT.signals(symbol))
    return dict(zip(times_ms(signals).tolist(), column(signals, "smooth_score").tolist(), strict=True))


def test_another_bundle_decides_from_one_bar_to_the_next(trained, monkeypatch):
    first = scores_of_batch(trained, "BTCUSDT")
    one = store_bundle(batch.LAYOUT, batch.LAYOUT)
    algorithms = [{"name": "gb", "rounds": 25, "params": {"num_leaves": 5, "min_data_in_leaf": 20}}]
    other = batch.config(
        SPOT, train=SPOT["train"] | {"algorithms": [*algorithms, *SPOT["train"]["algorithms"][1:]]},
        simulate=SPOT["simulate"] | {"start": FROM, "end": TO},
    )  # fmt: skip
    batch.run_batch(other, "labels")
    second = scores_of_batch(other, "BTCUSDT")
    two = store_bundle(batch.LAYOUT, batch.LAYOUT)
    assert one != two
    write_text(batch.LAYOUT.current, f"{one}\n")
    asked = []

    def current(session: Session) -> str:
        asked.append(1)
        return one if len(asked) < 3 else two

    monkeypatch.setattr(Session, "_current", current)
    rehearse()
    story = records()
    (swap,) = [number for number, (kind, _) in enumerate(story) if kind == "BUNDLE"]
    bars = [(number, body) for number, (kind, body) in enumerate(story) if kind == "BAR"]
    assert sum(number < swap for number, _ in bars) > 10 and sum(number > swap for number, _ in bars) > 10
    differing = 0
    for number, body in bars:
        before = number < swap
        score, theirs = body["s"]["BTCUSDT"]["score"], (first if before else second)[body["t"]]
        assert body["bundle"] == (one if before else two)
        assert score == theirs or (score is None and math.isnan(theirs))
        differing += first[body["t"]] != second[body["t"]]
    assert differing > 100


def test_a_damaged_bundle_is_not_taken_and_the_old_one_goes_on(trained, monkeypatch, capsys):
    one = store_bundle(batch.LAYOUT, batch.LAYOUT)
    write_text(batch.LAYOUT.current, f"{one}\n")
    bad = batch.LAYOUT.bundles / "20240101T0000-bad"
    shutil.copytree(batch.LAYOUT.bundles / one, bad)
    model = next(bad.glob("*.txt"))
    model.write_text(model.read_text().replace("tree", "tee", 1))
    asked = []

    def current(session: Session) -> str:
        asked.append(1)
        return one if len(asked) < 2 else bad.name

    monkeypatch.setattr(Session, "_current", current)
    rehearse()
    assert {body["bundle"] for kind, body in records() if kind == "BAR"} == {one}
    log = Path("data/t/serve/rehearsal/serve.log").read_text()
    assert "SHA-256" in log and log.count("not taken") == 1


def test_orders_of_one_exchange_are_not_looked_for_at_another(trained, monkeypatch):
    rehearse(live=True, yes=True, bars=2)
    shutil.copytree("data/t/serve/rehearsal", "kept")
    setup = Setup(("BTCUSDT", "ETHUSDT"), "5m", batch.LAYOUT.raw / "synthetic" / "spot", 0, utc_ms(FROM), utc_ms(TO))
    with LocalExchange(setup) as exchange:
        monkeypatch.setenv("PIPELINE_BINANCE_KEY", exchange.key)
        monkeypatch.setenv("PIPELINE_BINANCE_SECRET", exchange.secret)
        options = Options(Path("t.yaml"), overrides=[f"serve.exchange={exchange.url}"])
        with pytest.raises(BadInput, match="live trading at rehearsal"):
            serve(options, Wish(live=True, yes=True, store="kept/journal.sqlite"))


def test_once_decides_the_bars_that_have_closed_and_ends(trained):
    setup = Setup(("BTCUSDT", "ETHUSDT"), "5m", batch.LAYOUT.raw / "synthetic" / "spot", 0, utc_ms(FROM), utc_ms(TO))
    with LocalExchange(setup) as exchange:
        options = Options(Path("t.yaml"), overrides=[f"serve.exchange={exchange.url}"])
        serve(options, Wish(once=True))
        exchange.step(7)
        serve(options, Wish(once=True))
        serve(options, Wish(once=True))
    times = [body["t"] for kind, body in records("") if kind == "BAR"]
    step = trained.step_ms
    assert times == list(range(utc_ms(FROM) - step, utc_ms(FROM) + 7 * step, step))
    late = [body["late"] for kind, body in records("") if kind == "BAR"]
    # The bars that closed while nobody looked are lived through, and enter nothing.
    assert late[1:] == [True] * 6 + [False]


def test_a_wrong_key_is_bad_input_and_nothing_is_traded(trained, monkeypatch):
    # Exit 2 and not 3, the exchange's: systemd starts again after 3, and would show a wrong key to Binance for ever.
    monkeypatch.setenv("PIPELINE_BINANCE_KEY", "k" * 64)
    monkeypatch.setenv("PIPELINE_BINANCE_SECRET", "s" * 64)
    setup = Setup(("BTCUSDT", "ETHUSDT"), "5m", batch.LAYOUT.raw / "synthetic" / "spot", 0, utc_ms(FROM), utc_ms(TO))
    with LocalExchange(setup) as exchange:
        options = Options(Path("t.yaml"), overrides=[f"serve.exchange={exchange.url}"])
        with pytest.raises(BadInput, match="refuses the key"):
            serve(options, Wish(live=True, yes=True, once=True))
