"""`pipeline promote`, `rollback` and `bundles`: no bundle goes a step without evidence, and none without a trace."""

import contextlib
import datetime as dt
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evaluation.leaks import world
from evaluation.leaks.test_planted_features import PLANTS, planted

from pipeline import cli
from pipeline.artifacts import Layout, read_json, read_table, write_json, write_table
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput
from pipeline.evaluation.promotions import PROMOTE, RETRAIN
from pipeline.live.journal import create
from pipeline.live.journal_chain import encode
from pipeline.live.merging import bars_of
from pipeline.live.portfolio import Portfolio
from pipeline.live.preflight import of_bundle
from pipeline.live.shadow import shadow_rules
from pipeline.live.strategy import Strategy, columns_of
from pipeline.live.trading import PaperTrader
from pipeline.market import candles
from pipeline.stages import retrain, standing
from pipeline.stages.past_bundle import load_past
from pipeline.stages.serve_minds import _made
from pipeline.stages.serve_models import allowed, config_hash, evidence
from pipeline.stages.serve_wish import Wish
from pipeline.stages.verify import certify

LAYOUT: Layout = world.LAYOUT
NOW = dt.datetime(2023, 2, 10, tzinfo=dt.UTC)
STEP = 900_000
BEGIN, END = utc_ms("2023-01-20"), utc_ms("2023-01-28")
CHANGES: dict[str, Any] = {"gate": {"days_of": "bundle"}, "serve": {"capital": 500}}


@pytest.fixture
def market(workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The chain's files with a certificate, in a folder of its own, and a simulation that earned well."""
    monkeypatch.setattr(standing, "now", lambda: NOW)
    declared = world.config(**CHANGES)
    kept = tmp_path_factory.getbasetemp() / "certified"
    if not kept.is_dir():
        with contextlib.chdir(tempfile.mkdtemp(dir=kept.parent)):
            world.made(kept.parent / "chain")
            certify(declared, LAYOUT, "fast")
            shutil.move(Path.cwd(), kept)
    shutil.copytree(kept, ".", dirs_exist_ok=True)
    Path("t.yaml").write_text(declared.model_dump_json(exclude_none=True))
    earned(0.003)
    return declared


def earned(mean: float, trades: int = 150, seed: int = 5) -> None:
    """Write the results of a simulation over 300 days: that much a day, and so many trades, two in three won."""
    path = LAYOUT.simulation / "metrics.json"
    metrics = read_json(path, "simulate")
    metrics["significance"]["overfitting"] = {"pbo": 0.1, "low": 0.0, "high": 0.5, "sentence": "PBO 0.10"}
    write_json(path, metrics)
    start = utc_ms(metrics["split_time"])
    returns = np.random.default_rng(seed).normal(mean, 0.005, 300)
    times = candles.time_array(start + 86_400_000 * np.arange(-1, 300))
    write_table(
        LAYOUT.simulation / "equity.parquet",
        pa.table({"open_time": times, "equity": 1000 * np.cumprod(np.append(1, 1 + returns))}),
    )
    pnl = np.where(np.arange(trades) % 3 == 0, -1.0, 1.0)
    exits = candles.time_array(start + 86_400_000 * np.arange(trades))
    write_table(LAYOUT.simulation / "trades.parquet", pa.table({"exit_time": exits, "pnl": pnl}))


def stored(day: int = 1) -> str:
    """A bundle whose data end on a day of February."""
    path = LAYOUT.trained / "manifest.json"
    write_json(path, read_json(path, "train") | {"created": f"2023-02-{day:02}T00:00:00Z"})
    name = retrain.store_bundle(LAYOUT, LAYOUT)
    standing.enter(LAYOUT, RETRAIN, name, "candidate", True, "2023-02-01", {})
    return name


def made(bundle: str, stage: str) -> None:
    """Let a bundle have a stage, as if the gate had let it."""
    standing.enter(LAYOUT, PROMOTE, bundle, stage, True, "2023-02-01", retrain.content(LAYOUT, bundle))


def pipeline(*arguments: str) -> int:
    """Exit code of a command line."""
    sys.argv = ["pipeline", *arguments]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def stage_of(bundle: str) -> str:
    return standing.promotions(LAYOUT).standing().stage(bundle)


def lived(declared: Config, bundle: str, exchange: str = "live", mode: str = "shadow") -> list[tuple[str, dict]]:
    """What `serve` writes down of a bundle on paper from BEGIN to END."""
    merged = {symbol: read_table(LAYOUT.merged(symbol), "merge") for symbol in declared.symbols}
    past = load_past(declared, LAYOUT, bundle)
    start = {"mode": mode, "bundle": bundle, "config": config_hash(declared), "interval": "15m", "origin": BEGIN,
             "capital": 1000.0, "fresh": True, "exchange": exchange}  # fmt: skip
    records: list[tuple[str, dict]] = [("START", start)]
    portfolio = Portfolio(declared.symbols, shadow_rules(declared, 0, past.variant), 0.0)
    portfolio.add("START", start)
    trader = PaperTrader(portfolio)
    cut = {s: table.slice(0, int(candles.times_ms(table).searchsorted(BEGIN))) for s, table in merged.items()}
    strategy = Strategy(declared, past.bundle, cut, BEGIN, past.thresholds)
    names = [name for name in columns_of(declared) if name != "is_filled"]
    bars = {s: {bar.open_time_ms: bar for bar in bars_of(table, names)} for s, table in merged.items()}
    for time in range(BEGIN, END, STEP):
        outlook = strategy.update(time, {symbol: own[time] for symbol, own in bars.items()})
        facts = {"at": time + STEP + 5, "bundle": bundle, "late": False, "age_ms": 5.0}
        for effect in trader.on_bar(outlook, {}, facts):
            records.append((effect.kind, json.loads(encode(effect.kind, effect.body))))  # type: ignore[union-attr]
            portfolio.advance(effect.body)  # type: ignore[union-attr]
    return records


def write(records: list[tuple[str, dict]]) -> None:
    for leftover in LAYOUT.journal.parent.glob("journal*"):
        leftover.unlink()
    create(LAYOUT.journal, [(kind, encode(kind, body)) for kind, body in records])


def test_great_backtest_of_a_leak_is_refused_by_verify_and_by_the_gate(
    chain: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(standing, "now", lambda: NOW)
    # The label says that the price will rise by so much: whoever knows it takes the profit.
    simulate = {"random_entries": 0, "exits": {"take_profit": 0.008, "max_bars": 12}}
    train = {**world.TRAIN, "exclude": []}
    declared = world.config(planted(PLANTS["label used as feature"]), train=train, simulate=simulate, **CHANGES)
    world.run(declared, *world.CHAIN)
    Path("t.yaml").write_text(declared.model_dump_json(exclude_none=True))
    headline = read_json(LAYOUT.simulation / "metrics.json", "simulate")["headline"]
    assert headline["total_return"] > 0.1 and headline["win_rate"] > 0.8 and headline["sharpe"] > 5
    assert pipeline("verify", "-c", "t.yaml", "--fast") == 1
    assert "truncation: leak" in capsys.readouterr().err
    assert pipeline("promote", "-c", "t.yaml") == 1
    out = capsys.readouterr()
    assert "FAIL  certificate" in out.out and "truncation: leak" in out.out
    assert "promote trained to shadow: certificate" in out.err
    assert not LAYOUT.bundles.exists() and not LAYOUT.current.exists()
    assert not standing.ledger_path(LAYOUT).exists()


@pytest.fixture
def chain(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    world.made(tmp_path_factory.getbasetemp() / "chain")


def test_what_was_trained_becomes_a_bundle_in_shadow(market: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline("promote", "-c", "t.yaml", "--dry-run") == 0
    assert not LAYOUT.bundles.exists() and not LAYOUT.current.exists()
    assert pipeline("promote", "-c", "t.yaml") == 0
    (bundle,) = [path.name for path in LAYOUT.bundles.iterdir()]
    assert standing.named(LAYOUT) == bundle and stage_of(bundle) == "shadow"
    (entry,) = standing.promotions(LAYOUT).read()
    assert entry.at == NOW.isoformat() and entry.evidence["manifest.json"] and entry.until.startswith("2023-02-01")
    assert all(check["passed"] for check in entry.checks) and len(entry.checks) > 12
    capsys.readouterr()
    assert pipeline("bundles", "-c", "t.yaml") == 0
    shown = capsys.readouterr().out.splitlines()
    assert bundle in shown[1] and " shadow " in shown[1] and "current" in shown[1] and "valid" in shown[1]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda: earned(0.003, trades=99), "trades"),
        (lambda: earned(0.0005), "deflated Sharpe ratio"),
        (lambda: Path("t.yaml").write_text(world.config(**CHANGES, seed=4).model_dump_json()), "config"),
    ],
)
def test_failed_check_is_named_and_nothing_changes(
    market: Config, capsys: pytest.CaptureFixture[str], change: Any, names: str
) -> None:
    change()
    bundle = stored()
    before = standing.ledger_path(LAYOUT).read_bytes()
    assert pipeline("promote", "-c", "t.yaml", "--to", "shadow") == 1
    assert f"promote {bundle} to shadow: {names} failed" in capsys.readouterr().err
    assert standing.ledger_path(LAYOUT).read_bytes() == before and stage_of(bundle) == "candidate"


def test_bundle_that_is_not_there_is_named(market: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline("promote", "nosuch", "-c", "t.yaml") == 2
    said = capsys.readouterr().err
    assert "there is no bundle 'nosuch'" in said and "`pipeline bundles" in said


def test_expired_bundle_is_refused(
    market: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored()
    monkeypatch.setattr(standing, "now", lambda: NOW + dt.timedelta(days=37))
    assert pipeline("promote", "-c", "t.yaml") == 1
    assert "age failed" in capsys.readouterr().err


def test_gate_is_tried_on_old_bars_as_of_a_day_and_nothing_comes_of_it(
    market: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.models import bundle as bundles

    bundle = stored()
    monkeypatch.setattr(standing, "now", lambda: NOW + dt.timedelta(days=400))
    assert pipeline("promote", "-c", "t.yaml", "--as-of", "2023-02-10") == 0
    shown = capsys.readouterr().out
    assert "as of 2023-02-10" in shown and "stays candidate" in shown and "FAIL" not in shown
    entry = standing.promotions(LAYOUT).read()[-1]
    assert (entry.action, entry.bundle, entry.stage, entry.evidence["as of"]) == (
        "as of", bundle, "candidate", "2023-02-10",
    )  # fmt: skip
    assert stage_of(bundle) == "candidate" and len(entry.checks) > 12
    # What sends orders asks the ledger, which knows of no step.
    assert evidence(market, LAYOUT, bundle, bundles.load(LAYOUT.bundles / bundle))[1] == "candidate"
    assert pipeline("promote", "-c", "t.yaml") == 1
    assert "to shadow: age failed" in capsys.readouterr().err
    for day in ("2023-01-31", "2025-01-01", "yesterday"):
        assert pipeline("promote", "-c", "t.yaml", "--as-of", day) == 2
    before = standing.ledger_path(LAYOUT).read_bytes()
    assert pipeline("promote", "-c", "t.yaml", "--as-of", "2023-02-10", "--dry-run") == 0
    assert standing.ledger_path(LAYOUT).read_bytes() == before


def test_what_the_gate_said_of_another_day_explains_no_current(market: Config) -> None:
    LAYOUT.current.parent.mkdir(parents=True, exist_ok=True)
    bundle = retrain.store_bundle(LAYOUT, LAYOUT)
    assert pipeline("promote", "-c", "t.yaml", "--as-of", "2023-02-05") == 0
    known = standing.promotions(LAYOUT).standing()
    assert (known.current, dict(known.stages)) == (None, {}) and standing.named(LAYOUT) is None
    LAYOUT.current.write_text(f"{bundle}\n")
    assert standing.unexplained(LAYOUT, known) is not None


def test_damaged_model_file_is_seen_before_the_step_is_taken(
    market: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(LAYOUT.trained.glob("*.txt"))
    path.write_text(path.read_text() + " ")
    assert pipeline("promote", "-c", "t.yaml", "--dry-run") == 1
    assert "models failed" in (said := capsys.readouterr()).err and f"{path}: altered or damaged" in said.out
    path.unlink()
    assert pipeline("promote", "trained", "-c", "t.yaml") == 1
    assert "missing" in capsys.readouterr().out and not LAYOUT.bundles.exists()


def test_trials_that_were_made_later_count(market: Config, capsys: pytest.CaptureFixture[str]) -> None:
    earned(0.0008)
    stored()
    assert pipeline("promote", "-c", "t.yaml", "--dry-run", "--json") == 0
    capsys.readouterr()
    from pipeline.stages.trials import record

    tries = [({"number": number}, 1, "sharpe", 1.0) for number in range(1000)]
    record(market, LAYOUT, "simulate", ("signals",), [], tries, "2023-02-01", [1.0, 2.0])
    assert pipeline("promote", "-c", "t.yaml", "--dry-run") == 1
    assert "deflated Sharpe ratio failed" in capsys.readouterr().err


def test_what_a_search_found_reaches_the_gate(market: Config, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.evaluation.trials import ENDED, SEARCH, Trial
    from pipeline.stages.trials import ledger

    def ended(high: float) -> Trial:
        figures = {"pbo": 0.5, "low": 0.1, "high": high, "sentence": "In 50 % of the halvings …"}
        what = {"chose": True, "objective": "sharpe", "overfitting": figures}
        return Trial(ENDED, "c", "d", "1", 0, what, 200, "pbo", 0.5, "2023-02-01", None, 4.0)

    earned(0.0013)
    stored()
    sets = [Trial(SEARCH, "c", "d", "1", 0, {"values": k}, 1, "sharpe", 1.0, "2023-02-01") for k in range(200)]
    ledger(LAYOUT).append(sets)
    assert pipeline("promote", "-c", "t.yaml", "--dry-run") == 1
    assert "deflated Sharpe ratio, overfitting of the search failed" in capsys.readouterr().err
    # Two hundred sets that trade as four would: what luck shows is less.
    ledger(LAYOUT).append([ended(0.8)])
    assert pipeline("promote", "-c", "t.yaml", "--dry-run") == 1
    assert "to shadow: overfitting of the search failed" in capsys.readouterr().err
    ledger(LAYOUT).append([ended(0.6)])
    assert pipeline("promote", "-c", "t.yaml", "--dry-run") == 0
    assert "PBO 0.500, interval 0.100 to 0.600, of 200 sets" in capsys.readouterr().out


def test_steps_need_days_on_paper_that_equal_a_simulation(market: Config, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = stored()
    assert pipeline("promote", "-c", "t.yaml", "--to", "live") == 1
    assert "step" in capsys.readouterr().err
    assert pipeline("promote", "-c", "t.yaml") == 0
    assert pipeline("promote", "-c", "t.yaml") == 1
    assert "days in shadow, replay in shadow failed" in capsys.readouterr().err
    records = lived(market, bundle)
    assert sum(len(body.get("trades", ())) for _, body in records) > 3
    # A rehearsal's days are none; nor is a run that differs from its simulation evidence.
    write([(kind, {**body, "exchange": "rehearsal"} if kind == "START" else body) for kind, body in records])
    assert pipeline("promote", "-c", "t.yaml") == 1
    assert "to testnet: days in shadow failed" in capsys.readouterr().err
    traded = next(body for _, body in records if body.get("trades"))
    traded["trades"][0]["exit_price"] *= 1.0001
    write(records)
    assert pipeline("promote", "-c", "t.yaml") == 1
    assert "to testnet: in shadow: trades equal to a simulation failed" in capsys.readouterr().err
    traded["trades"][0]["exit_price"] /= 1.0001
    write(lived(market, bundle))
    assert pipeline("promote", "-c", "t.yaml") == 0
    assert stage_of(bundle) == "testnet" and standing.named(LAYOUT) == bundle
    assert "shadow-report shadow" in standing.promotions(LAYOUT).read()[-1].evidence
    assert pipeline("promote", "-c", "t.yaml") == 1
    assert "to live: days on the testnet, replay on the testnet failed" in capsys.readouterr().err


def test_days_of_another_bundle_count_if_the_config_says_so(market: Config) -> None:
    first, second = stored(1), stored(2)
    made(second, "shadow")
    write(lived(market, first))
    declared = world.config(**CHANGES | {"gate": {"days_of": "config"}})
    assert pipeline("promote", "-c", "t.yaml", "--to", "testnet") == 1
    Path("t.yaml").write_text(declared.model_dump_json(exclude_none=True))
    # The journal's run was made with the config as it was: only the days count, its replay is of another config.
    from pipeline.stages.promote import judge

    checks = {check.name: check.passed for check in judge(declared, LAYOUT, second, "testnet").checks}
    assert checks["days in shadow"]


def test_live_needs_days_on_the_testnet_and_a_small_capital(market: Config) -> None:
    from pipeline.stages.promote import judge

    bundle = stored()
    made(bundle, "testnet")
    generous = market.model_copy(update={"gate": market.gate.model_copy(update={"testnet_days": 7.9})})
    write([*lived(market, bundle), *lived(market, bundle, "testnet", "live")])

    def found(declared: Config) -> dict[str, bool]:
        return {check.name: check.passed for check in judge(declared, LAYOUT, bundle, "live").checks}

    assert found(generous)["days on the testnet"] and found(generous)["capital"]
    assert not found(market)["days on the testnet"]
    rich = generous.model_copy(update={"serve": market.serve.model_copy(update={"capital": 5000.0})})
    assert not found(rich)["capital"]


def test_altered_ledger_and_a_current_written_by_hand_are_noticed(
    market: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.models import bundle as bundles

    one, two = stored(1), stored(2)
    made(one, "live")
    loaded = bundles.load(LAYOUT.bundles / one)
    assert evidence(market, LAYOUT, one, loaded) == (None, "live")
    assert of_bundle(loaded.manifest, None, "live", False, False, allowed("live"))[1].passed
    assert evidence(market.model_copy(update={"seed": 9}), LAYOUT, one, loaded)[1] == "live"  # promoted without a hash
    LAYOUT.current.write_text(two + "\n")
    _, promoted = evidence(market, LAYOUT, two, loaded)
    assert promoted == f"nothing: current names {two}, and the last entry of the ledger {one}"
    assert of_bundle(loaded.manifest, None, promoted, False, False, allowed("live"))[1].passed is False
    merged = {symbol: read_table(LAYOUT.merged(symbol), "merge") for symbol in market.symbols}
    with pytest.raises(BadInput, match="promoted to nothing: current names"):
        _made(market, LAYOUT, Wish(live=True), merged, BEGIN, False, two)
    assert pipeline("promote", two, "-c", "t.yaml") == 1
    assert "ledger" in capsys.readouterr().err
    assert pipeline("rollback", "-c", "t.yaml", "--to", one) == 0
    assert evidence(market, LAYOUT, one, loaded)[1] == "live"
    path = standing.ledger_path(LAYOUT)
    path.write_text(path.read_text().replace('"candidate"', '"live"'))
    assert "promotions.jsonl: line 1 is damaged" in str(evidence(market, LAYOUT, one, loaded)[1])
    assert pipeline("promote", "-c", "t.yaml") == 2


def test_rollback_goes_to_the_champion_before_and_no_further_than_the_gate_has(
    market: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = stored(1), stored(2), stored(3)
    made(one, "live")
    made(two, "live")
    assert pipeline("rollback", "-c", "t.yaml", "--to", three) == 2
    assert "never was live" in capsys.readouterr().err
    assert pipeline("rollback", "-c", "t.yaml", "--dry-run") == 0
    assert standing.named(LAYOUT) == two
    assert pipeline("rollback", "-c", "t.yaml") == 0
    assert standing.named(LAYOUT) == one and stage_of(one) == "live" and stage_of(two) == "retired"
    entry = standing.promotions(LAYOUT).read()[-1]
    assert (entry.action, entry.bundle, entry.previous) == ("rollback", one, two)
    assert pipeline("rollback", "-c", "t.yaml") == 2
    assert "no live bundle before" in capsys.readouterr().err


def test_rollback_without_any_bundle_says_so(market: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline("rollback", "-c", "t.yaml") == 2
    said = capsys.readouterr().err
    assert "no bundle to go back to" in said and "nothing" not in said


def test_rollback_refuses_what_was_pruned_or_altered(market: Config, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = stored(1), stored(2)
    made(one, "live")
    made(two, "live")
    model = next((LAYOUT.bundles / one).glob("*.txt"))
    text = model.read_text()
    model.write_text(text + " ")
    assert pipeline("rollback", "-c", "t.yaml") == 1
    assert "a file was altered" in capsys.readouterr().err
    model.write_text(text)
    shutil.rmtree(LAYOUT.bundles / one)
    assert pipeline("rollback", "-c", "t.yaml") == 2
    assert "was pruned" in capsys.readouterr().err and standing.named(LAYOUT) == two


def test_before_anything_is_live_rollback_goes_to_the_bundle_before(market: Config) -> None:
    one, _ = stored(1), stored(2)
    assert pipeline("rollback", "-c", "t.yaml") == 0
    assert standing.named(LAYOUT) == one and stage_of(one) == "candidate"


def test_pruning_spares_what_is_on_its_way_and_what_a_rollback_goes_to(market: Config) -> None:
    names = [stored(day) for day in range(1, 6)]
    made(names[0], "live")
    made(names[1], "live")
    made(names[2], "shadow")
    retrain.prune_bundles(LAYOUT, 1)
    assert sorted(path.name for path in LAYOUT.bundles.iterdir()) == names[:3]


def test_challenger_of_the_same_strategy_takes_over_only_by_the_gate(
    market: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    one = stored(1)
    made(one, "live")
    path = LAYOUT.trained / "manifest.json"
    write_json(path, read_json(path, "train") | {"created": "2023-02-02T00:00:00Z"})
    two = retrain.store_bundle(LAYOUT, LAYOUT)
    assert pipeline("promote", "-c", "t.yaml") == 0
    assert stage_of(two) == "shadow" and standing.named(LAYOUT) == one
    assert pipeline("bundles", "-c", "t.yaml", "--json") == 0
    rows = {row["bundle"]: row["part"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["bundles"]}
    assert rows == {one: "champion, current", two: "challenger"}
    earned(0.001, seed=6)
    write_json(path, read_json(path, "train") | {"created": "2023-02-03T00:00:00Z"})
    worse = retrain.store_bundle(LAYOUT, LAYOUT)
    assert pipeline("promote", worse, "-c", "t.yaml") == 1
    assert "against the champion" in capsys.readouterr().err
