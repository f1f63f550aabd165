"""Replays through the live strategy equal the batch stages to the last bit, however often they are restarted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import START_MS
from live.batch import HOUR, LAYOUT, MODELS, RULES, config, run_batch, write_downloads

from pipeline.artifacts import read_table, write_table
from pipeline.config import Config
from pipeline.errors import BadInput, CheckFailed
from pipeline.market import candles
from pipeline.stages import serve
from pipeline.stages.runner import Options


def replayed(declared: Config, span: tuple[str, str], restart_every: int | None = None) -> dict[str, serve.Parity]:
    """The parity table of a replay, by what is compared."""
    _, table = serve.run_replay(serve.within(declared, span), LAYOUT, restart_every)
    return {line.what: line for line in table}


def assert_equal(table: dict[str, serve.Parity]) -> None:
    assert {what: line.line() for what, line in table.items() if line.differing} == {}
    assert all(line.compared for line in table.values())


def test_models_over_gaps_and_higher_timeframes(workspace: Path) -> None:
    declared = config(MODELS)
    write_downloads(declared, 2400, native="1h")
    run_batch(declared)
    table = replayed(declared, ("2024-01-01", "2024-02-01"))
    assert_equal(table)
    assert "trades.parquet" in table and table["trade ledger"].compared > 16 * 20
    assert table["features"].compared == 2 * 2400 * 11
    # From inside, and built anew again and again.
    table = replayed(declared, ("2024-01-03T07:35", "2024-01-08"), 500)
    assert_equal(table)
    assert "trades.parquet" not in table and table["trade ledger"].compared > 16 * 10


@pytest.mark.parametrize("method", ["isotonic", "sigmoid", "venn_abers"])
def test_calibrated_scores_whose_wide_intervals_are_passed_over(workspace: Path, method: str) -> None:
    # A number beside a yes or no, so that intervals of both kinds are lived through.
    train = MODELS["train"] | {"end": "2024-01-05", "calibration": {"method": method}}
    labels = [*MODELS["labels"][:1], {"fixed_horizon": {"horizons": [12]}}]
    combine = {"columns": ["up_gb", "return_12_gb"], "coefficient": 0.1}
    steps = [
        {"combine": combine},
        {"abstain": {"models": ["up_gb", "return_12_gb"], "max_width": 0.86, "column": "trade_score"}},
        {"threshold": {"column": "sure_score", "buy": 0.02, "sell": 0.01}},
    ]
    signals = {"predictions": "predict", "steps": steps}
    intervals = {"window": 100, "least": 30, "rate": 0.05, "coverage": 0.8}
    declared = config(MODELS, train=train, labels=labels, signals=signals, intervals=intervals)
    write_downloads(declared, 2400, native="1h")
    run_batch(declared)
    table = replayed(declared, ("2024-01-01", "2024-02-01"))
    assert_equal(table)
    assert_equal(replayed(declared, ("2024-01-06T07:35", "2024-01-08"), 150))
    made = read_table(LAYOUT.signals("BTCUSDT"), "signals")
    passed_over = np.isnan(made["sure_score"].to_numpy()) & ~np.isnan(made["trade_score"].to_numpy())
    fresh = made["open_time"].to_numpy() >= np.datetime64("2024-01-06")
    assert 0.05 < passed_over[fresh].mean() < 0.95


@pytest.mark.parametrize("restart_every", [None, 500, 37])
def test_rules_with_every_gate_and_a_symbol_that_begins_later(workspace: Path, restart_every: int | None) -> None:
    declared = config(RULES)
    write_downloads(declared, 1500, late=130)
    run_batch(declared)
    table = replayed(declared, ("2024-01-01", "2024-04-01"), restart_every)
    assert_equal(table)
    trades = pq.read_table(LAYOUT.run / "serve/replay/trades.parquet")
    assert set(trades["symbol"].to_pylist()) == {"BTCUSDT", "ETHUSDT"}
    metrics = json.loads((LAYOUT.simulation / "metrics.json").read_text())
    refused = metrics["signals"]["refused"]
    assert {"outside_session", "cool_down", "min_score", "correlated_exposure", "maintenance"} <= set(refused)


@pytest.mark.parametrize("restart_every", [None, 61])
def test_a_symbol_that_ends_at_a_settlement_of_funding_pays_it_once(workspace: Path, restart_every: int | None) -> None:
    # Nobody can leave its position any more, and impact counts by the volume of the bar at the end: there is none.
    simulate = RULES["simulate"] | {"costs": {"impact": 0.5}, "exits": {}}
    declared = config(RULES, risk={"enabled": False}, simulate=simulate)
    write_downloads(declared, 400)
    end = START_MS + 240 * HOUR
    (path,) = LAYOUT.bars("synthetic", "spot", "ETHUSDT", "1h").glob("*.parquet")
    bars = pq.read_table(path)
    write_table(path, bars.filter(pa.array(candles.times_ms(bars) <= end)))
    run_batch(declared)
    assert_equal(replayed(declared, ("2024-01-01", "2024-04-01"), restart_every))
    trades = pq.read_table(LAYOUT.simulation / "trades.parquet").to_pylist()
    (last,) = [one for one in trades if one["symbol"] == "ETHUSDT" and one["exit_reason"] == "end"]
    assert last["entry_time"].timestamp() * 1000 < end


def test_futures_that_are_liquidated_by_the_mark_price_of_one_symbol(workspace: Path) -> None:
    download = {"source": "synthetic", "market": "um", "funding": True}
    futures = {"leverage": 20, "exits": {}, "filters": {"default": {"tick_size": 0.05}}}
    declared = config(RULES, download=download, risk={}, sizing={"fraction": 0.5}, simulate=RULES["simulate"] | futures)
    write_downloads(declared, 900, late=130)
    for symbol in declared.symbols:
        spot = LAYOUT.bars("synthetic", "spot", symbol, "1h")
        own = spot.parents[2] / "um" / symbol / "1h"
        spot.rename(own)
        if symbol == "BTCUSDT":
            for path in own.glob("*.parquet"):
                table = pq.read_table(path, columns=["open_time", "open", "high", "low", "close"])
                # Its wicks reach where the last price does not, and it lacks some bars.
                low = pa.array(table["low"].to_numpy() * np.random.default_rng(1).uniform(0.94, 1.0, len(table)))
                write_table(
                    own.with_name("1h-mark") / path.name,
                    table.set_column(3, "low", low).filter(pa.array(np.arange(len(table)) % 97 > 0)),
                )
    run_batch(declared)
    for restart_every in (None, 61):
        table = replayed(declared, ("2024-01-01", "2024-04-01"), restart_every)
        assert_equal(table)
    metrics = json.loads((LAYOUT.simulation / "metrics.json").read_text())
    assert metrics["liquidation_price"] == {"BTCUSDT": "mark", "ETHUSDT": "last"}
    assert metrics["exit_reasons"]["liquidation"] > 3


def test_thresholds_and_stops_that_simulate_chose(workspace: Path) -> None:
    grid = {"buy": {"start": 0.2, "stop": 0.6, "n": 3}, "sell": {"start": -0.6, "stop": -0.2, "n": 3}}
    chosen = {"grid": {**grid, "min_trades": 1, "stop_loss": [0.011, 0.03]}, "exits": {}, "random_entries": 20}
    declared = config(RULES, symbols=["BTCUSDT"], risk={}, simulate=chosen)
    write_downloads(declared, 1000)
    run_batch(declared)
    used = json.loads((LAYOUT.simulation / "metrics.json").read_text())["thresholds"]
    assert used["chosen_by"] == "grid" and used["used"]["stop_loss"] in (0.011, 0.03)
    assert_equal(replayed(declared, ("2024-01-01", "2024-04-01"), 300))


def test_the_replay_files_tell_what_was_decided(workspace: Path) -> None:
    declared = config(RULES)
    write_downloads(declared, 700)
    run_batch(declared)
    serve.run_replay(serve.within(declared, ("2024-01-01", "2024-04-01")), LAYOUT)
    decisions = pq.read_table(LAYOUT.run / "serve/replay/decisions.parquet").to_pylist()
    trades = pq.read_table(LAYOUT.run / "serve/replay/trades.parquet").to_pylist()
    times = sorted({row["open_time"] for row in decisions})
    before = {time: times[k - 1] for k, time in enumerate(times) if k}
    at = {(row["open_time"], row["symbol"]): row for row in decisions}
    assert len(decisions) == 2 * len(times) == 2 * 700
    for trade in trades:
        # What fills at a bar's open was ordered at the close before it.
        assert at[before[trade["entry_time"]], trade["symbol"]]["order"] == trade["side"]
    reversals = [trade for trade in trades if trade["exit_reason"] == "signal"]
    assert reversals
    for trade in reversals:
        assert any(
            row["exit"] == "signal" for row in decisions
            if row["symbol"] == trade["symbol"] and row["open_time"] < trade["exit_time"]
        )  # fmt: skip
    assert {"outside_session", "min_score"} <= {row["gate"] for row in decisions}


def _nudge(path: Path, name: str, row: int) -> None:
    # The smallest change there is.
    table = pq.read_table(path)
    values = table.column(name).to_numpy().copy()
    if values.dtype == bool:
        values[row] = not values[row]
    else:
        values[row] = np.nextafter(values[row], values.dtype.type(np.inf))
    write_table(path, table.set_column(table.schema.get_field_index(name), name, pa.array(values)))


@pytest.mark.parametrize(
    ("path", "column", "what"),
    [
        (LAYOUT.features("BTCUSDT"), "close_RSI_14", "features"),
        (LAYOUT.signals("ETHUSDT"), "smooth_score", "scores"),
        (LAYOUT.signals("BTCUSDT"), "buy_signal", "signals"),
        (LAYOUT.simulation / "trades.parquet", "pnl", "trades.parquet"),
    ],
)
def test_one_altered_bit_in_a_batch_file_is_found(workspace: Path, path: Path, column: str, what: str) -> None:
    declared = config(RULES)
    write_downloads(declared, 400)
    run_batch(declared)
    _nudge(path, column, 5 if path.name == "trades.parquet" else 300)
    table = replayed(declared, ("2024-01-01", "2024-04-01"))
    assert table[what].differing >= 1
    assert what != "features" or (table[what].differing == 1 and 1 <= table[what].bits < 32)


def test_command_ends_with_1_if_something_differs(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = workspace / "t.yaml"
    file = RULES | {"download": {"source": "synthetic", "market": "um", "funding": True}}
    path.write_text(json.dumps({key: value for key, value in file.items() if key != "name"}))
    declared = config(RULES)
    write_downloads(declared, 400)
    run_batch(declared)
    options = Options(path)
    serve.serve_replay(options, ("2024-01-05", "2024-01-12"), 50)
    out = capsys.readouterr().out
    assert "features" in out and "trade ledger" in out and out.count("equal") == 7
    _nudge(LAYOUT.features("BTCUSDT"), "close_RSI_14", 300)
    with pytest.raises(CheckFailed, match="features"):
        serve.serve_replay(options, ("2024-01-05", "2024-01-15"))
    assert "close_RSI_14 at 2024-01-13" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("span", "changes", "says"),
    [
        (("soon", "2024-02-01"), {}, "'soon' is not a time"),
        (("2024-02-01", "2024-01-01"), {}, "is not after"),
        (("2024-01-01", "2024-02-01"), {"signals": MODELS["signals"] | {"predictions": "rolling"}}, "walk-forward"),
        (("2025-01-01", "2025-02-01"), {}, "0 bars"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(
    workspace: Path, span: tuple[str, str], changes: dict[str, Any], says: str
) -> None:
    declared = config(RULES)
    write_downloads(declared, 100)
    run_batch(declared)
    with pytest.raises(BadInput, match=says):
        replayed(config(RULES, **changes), span)


def _real(real_data: Path, symbol: str, interval: str, start: str, end: str) -> dict[str, Any]:
    file = {"path": str(real_data / "spot" / f"{symbol}_{interval}.parquet"), "columns": {"trades": "count"}}
    if interval != "1m":
        del file["columns"]
    return {"download": {"source": "parquet", "start": start, "end": end, "file": file}, "interval": interval}


REAL_FEATURES = [
    {"talib": {"functions": ["SMA", "EMA"], "periods": [5, 15, 60], "relative": "rel_diff", "relative_base": "last"}},
    {"talib": {"functions": ["RSI", "ROC"], "periods": [14, 60]}},
    {"talib": {"functions": ["ATR", "ADX", "CCI"], "periods": [14]}},
    {"talib": {"functions": ["RSI"], "periods": [14], "timeframe": "1h"}},
    {"stats": {"functions": ["skew", "slope"], "windows": [30]}},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interval", "start", "span", "train_end"),
    [
        ("1m", "2021-05-15", ("2021-05-16", "2021-05-23"), "2021-05-18"),
        ("5m", "2024-05-01", ("2024-06-01", "2024-07-01"), "2024-06-01"),
    ],
)
def test_real_bars_the_crash_of_may_2021_and_a_month_of_2024(
    workspace: Path, real_data: Path, interval: str, start: str, span: tuple[str, str], train_end: str
) -> None:
    from pipeline.stages.runner import run_stage

    real = _real(real_data, "BTCUSDT", interval, start, span[1])
    train = MODELS["train"] | {"end": train_end}
    exits = {"stop_atr": 3, "atr": "high_low_close_ATR_14", "max_bars": "8h"}
    risk = {"gates": {"trend": {"column": "close_ROC_60"}, "cool_down": "15m"}}
    simulate = {"direction": "both", "exits": exits, "random_entries": 20}
    changes = {**real, "symbols": ["BTCUSDT"], "merge": {"timeframes": ["4h"], "max_filled": 0.5}, "train": train}
    declared = config(MODELS, **changes, features=REAL_FEATURES, risk=risk, simulate=simulate)
    run_stage("download", declared, LAYOUT)
    run_batch(declared)
    times = candles.times_ms(read_table(LAYOUT.merged("BTCUSDT"), "merge", ["open_time"]))
    for restart_every in (None, 500):
        table = replayed(declared, span, restart_every)
        assert_equal(table)
        assert table["trade ledger"].compared > 16 * 30 and table["equity"].compared > len(times) / 4
