"""The simulate stage on hand-made bars and signals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from builders import START_MS, bars, random_walk

from pipeline.artifacts import Layout, read_table, write_table
from pipeline.config import Config
from pipeline.config.serve import Entry
from pipeline.config.sources import Download
from pipeline.errors import BadInput, MissingInput
from pipeline.stages import simulate
from pipeline.trading.ledger import SCHEMA

N = 6000
HOUR = 3_600_000
GRID = {"buy": {"start": 0.2, "stop": 1.6, "n": 6}, "sell": {"start": -1.6, "stop": -0.2, "n": 5}}


def config(symbols: tuple[str, ...] = ("BTCUSDT",), **simulate_section: object) -> Config:
    steps = [{"threshold": {"column": "trade_score", "buy": 0.8, "sell": -0.8}}]
    section = {"random_entries": 200, **simulate_section}
    return Config.model_validate(
        {"name": "test", "interval": "1h", "symbols": list(symbols), "signals": {"steps": steps}, "simulate": section}
    )


def write_inputs(
    layout: Layout, symbol: str = "BTCUSDT", seed: int = 1, n: int = N, start: int = 0, future: int | None = None
) -> None:
    """Bars and a score that knows a little of the next hours; everything from `future` on is another world."""
    close, score = random_walk(n, seed, 0.004), np.random.default_rng(seed).normal(size=n)
    score[:-5] += 60 * (np.log(close[5:]) - np.log(close[:-5]))
    if future is not None:
        close[future:] = random_walk(n - future, seed + 77, 0.004, close[future - 1])
        score[future:] = np.random.default_rng(seed + 78).normal(size=n - future)
        score[future - 5 : future] = 0
    else:
        score[n // 2 - 5 : n // 2] = 0
    merged = bars(close, step_ms=HOUR, start_ms=START_MS + start * HOUR)
    write_table(layout.merged(symbol), merged)
    columns = {
        "open_time": merged["open_time"],
        "trade_score": score,
        "buy_signal": score >= 0.8,
        "sell_signal": score <= -0.8,
    }
    write_table(layout.signals(symbol), pa.table(columns))


def run(layout: Layout, config_: Config) -> tuple[Any, pa.Table, pa.Table]:
    simulate.run(config_, layout)
    metrics = json.loads((layout.simulation / "metrics.json").read_text())
    tables = [read_table(layout.simulation / f"{name}.parquet", "simulate") for name in ("trades", "equity")]
    return metrics, tables[0], tables[1]


def test_files_have_the_contracts_columns(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    metrics, trades, equity = run(layout, config(grid=GRID))
    assert trades.schema.equals(SCHEMA)
    assert equity.column_names == ["open_time", "equity", "cash", "position_qty", "drawdown"]
    assert equity.num_rows == N == metrics["period"]["bars"]
    assert list(metrics) == [
        "name", "interval", "symbols", "period", "split_time", "thresholds", "headline_part", "headline", "parts",
        "buy_and_hold", "random_entry", "grid", "by_symbol", "by_month", "by_regime", "counts", "signals",
        "exit_reasons", "costs", "liquidation_price", "costs_paid", "in_sample", "trials", "trials_this_run",
        "stress", "significance",
    ]  # fmt: skip
    assert metrics["period"] == {"start": "2024-01-01T00:00:00Z", "end": "2024-09-07T00:00:00Z", "bars": N}
    curve = (layout.simulation / "equity.csv").read_text().splitlines()
    assert curve[0] == "open_time,equity,buy_and_hold,drawdown" and 1000 < len(curve) <= 2001


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (GRID, "chosen by grid, not those of signals: buy 0.8, sell -0.8)"),
        (GRID | {"use": False}, "buy 0.8, sell -0.8 (chosen by config)"),
    ],
)
def test_the_summary_says_when_the_thresholds_of_signals_are_not_traded(
    workspace: Path, grid: dict[str, object], says: str
) -> None:
    layout = Layout("test")
    write_inputs(layout)
    assert simulate.run(config(grid=grid), layout).figures["thresholds"].endswith(says)


def test_figures_agree_with_the_tables(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    metrics, trades, equity = run(layout, config(exits={"stop_loss": 0.02, "take_profit": 0.03}))
    total = equity["equity"].to_numpy()
    assert total[-1] == pytest.approx(10_000 + trades["pnl"].to_numpy().sum(), abs=0.005)
    assert metrics["headline_part"] == "all" and metrics["split_time"] is None and metrics["grid"] is None
    assert metrics["headline"]["total_return"] == pytest.approx(total[-1] / 10_000 - 1)
    assert metrics["headline"]["trades"] == trades.num_rows == sum(metrics["exit_reasons"].values()) > 50
    assert np.prod([1 + r for r in metrics["by_month"].values()]) == pytest.approx(total[-1] / 10_000)
    assert metrics["by_symbol"]["BTCUSDT"] == metrics["headline"]
    days = {name: kind["days"] for name, kind in metrics["by_regime"].items()}
    assert days["rising"] + days["falling"] == days["calm"] + days["between"] + days["wild"] > 150
    assert metrics["trials"] == 1 and not (layout.simulation / "grid.parquet").exists()


def test_parts_chain_to_the_whole(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    metrics, trades, _ = run(layout, config(grid=GRID))
    parts = metrics["parts"]
    product = (1 + parts["selection"]["total_return"]) * (1 + parts["evaluation"]["total_return"])
    assert product == pytest.approx(1 + parts["all"]["total_return"])
    assert parts["selection"]["trades"] + parts["evaluation"]["trades"] == parts["all"]["trades"] == trades.num_rows
    assert metrics["headline"] == parts["evaluation"] and metrics["headline_part"] == "evaluation"


def test_grid_row_of_the_chosen_pair_agrees_with_the_parts(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    metrics, _, _ = run(layout, config(grid=GRID))
    grid = read_table(layout.simulation / "grid.parquet", "simulate").to_pylist()
    used = metrics["thresholds"]["used"]
    assert metrics["thresholds"]["chosen_by"] == "grid"
    [row] = [row for row in grid if (row["buy"], row["sell"]) == (used["buy"], used["sell"])]
    for part in ("selection", "evaluation"):
        for name in (
            "total_return",
            "sharpe",
            "sortino",
            "calmar",
            "max_drawdown",
            "trades",
            "win_rate",
            "profit_factor",
        ):
            assert row[f"{part}_{name}"] == pytest.approx(metrics["parts"][part][name], rel=1e-6), (part, name)
    assert row["selection_sharpe"] == max(r["selection_sharpe"] for r in grid if r["selection_trades"] >= 10)
    assert metrics["grid"] == {"sets": 30, "qualified": 30, "metric": "sharpe"} and metrics["trials"] == 31


def test_the_choice_does_not_look_at_the_evaluation_part(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    one, _, _ = run(layout, config(grid=GRID))
    first = read_table(layout.simulation / "grid.parquet", "simulate")
    write_inputs(layout, future=N // 2)
    two, _, _ = run(layout, config(grid=GRID))
    second = read_table(layout.simulation / "grid.parquet", "simulate")
    assert one["thresholds"] == two["thresholds"] and one["parts"]["selection"] == two["parts"]["selection"]
    assert one["parts"]["evaluation"] != two["parts"]["evaluation"]
    for name in first.column_names:
        if not name.startswith("evaluation_"):
            assert first[name].equals(second[name]), name


def test_two_runs_write_the_same_bytes(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    contents = []
    for workers in (1, 2):
        simulate.run(config(grid=GRID).model_copy(update={"workers": workers}), layout)
        contents.append({path.name: path.read_bytes() for path in sorted(layout.simulation.iterdir())})
    assert contents[0] == contents[1]


def test_nobody_qualifies_falls_back_to_the_configured_thresholds_with_a_warning(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    summary = simulate.run(config(grid={**GRID, "min_trades": 100_000}), layout)
    metrics = json.loads((layout.simulation / "metrics.json").read_text())
    assert (
        metrics["thresholds"]["used"] == {"buy": 0.8, "sell": -0.8} and metrics["thresholds"]["chosen_by"] == "config"
    )
    assert metrics["grid"]["qualified"] == 0 and metrics["headline_part"] == "evaluation"
    assert any("those of `signals` are used" in warning for warning in summary.warnings)


def test_grid_that_is_not_used_is_still_reported(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    metrics, _, _ = run(layout, config(grid={**GRID, "use": False}))
    assert metrics["thresholds"]["chosen_by"] == "config" and metrics["headline_part"] == "all"
    assert metrics["grid"]["sets"] == 30


def test_no_trades_at_all_is_a_result_with_a_warning(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    table = read_table(layout.signals("BTCUSDT"), "signals")
    never = pa.array(np.zeros(N, bool))
    for name in ("buy_signal", "sell_signal"):
        table = table.set_column(table.schema.get_field_index(name), name, never)
    write_table(layout.signals("BTCUSDT"), table)
    summary = simulate.run(config(), layout)
    metrics = json.loads((layout.simulation / "metrics.json").read_text())
    assert metrics["headline"]["trades"] == 0 and metrics["headline"]["total_return"] == 0
    assert metrics["headline"]["sharpe"] is None and metrics["exit_reasons"] == {}
    assert metrics["random_entry"]["p_value"] == 1
    [warning] = summary.warnings
    assert warning.startswith("no trades at all: scores range BTCUSDT -") and "buy 0.8 and sell -0.8" in warning


def test_a_grid_over_stops_and_sizes_is_traded_with_the_best_of_all_sets(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    wider = {**GRID, "stop_loss": [0.02, 0.1], "fraction": [0.5, 1.0]}
    metrics, _, _ = run(layout, config(grid=wider))
    table = read_table(layout.simulation / "grid.parquet", "simulate")
    assert table.num_rows == 4 * 30 == metrics["grid"]["sets"] and metrics["trials"] == 121
    used = metrics["thresholds"]["used"]
    assert set(used) == {"buy", "sell", "stop_loss", "fraction"}
    rows = [row for row in table.to_pylist() if row["selection_trades"] >= 10]
    best = max(rows, key=lambda row: row["selection_sharpe"])
    assert {name: best[name] for name in used} == used
    for part in ("selection", "evaluation"):
        assert best[f"{part}_total_return"] == pytest.approx(metrics["parts"][part]["total_return"], rel=1e-9)


def test_several_symbols_share_the_capital_and_add_up(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout, "BTCUSDT", seed=1)
    write_inputs(layout, "ETHUSDT", seed=2, n=N - 500, start=300)
    metrics, trades, equity = run(layout, config(("BTCUSDT", "ETHUSDT"), grid=GRID))
    total = equity["equity"].to_numpy()
    assert total[0] == 10_000
    np.testing.assert_allclose(total, equity["BTCUSDT_equity"].to_numpy() + equity["ETHUSDT_equity"].to_numpy())
    assert total[-1] == pytest.approx(10_000 + trades["pnl"].to_numpy().sum(), abs=0.005)
    assert set(trades["symbol"].to_pylist()) == {"BTCUSDT", "ETHUSDT"} == set(metrics["by_symbol"])
    assert np.all(np.diff(trades["exit_time"].cast(pa.int64()).to_numpy()) >= 0)
    counts = [metrics["by_symbol"][s]["trades"] for s in metrics["by_symbol"]]
    assert sum(counts) == metrics["headline"]["trades"]


def test_a_symbol_outside_the_evaluation_part_keeps_its_cash(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout, "BTCUSDT", seed=1)
    write_inputs(layout, "ETHUSDT", seed=2, n=200, start=0)
    metrics, _, _ = run(layout, config(("BTCUSDT", "ETHUSDT"), grid=GRID))
    assert metrics["by_symbol"]["ETHUSDT"]["trades"] == 0


def test_range_of_dates_is_respected(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    metrics, _, equity = run(layout, config(start="2024-02-01", end="2024-03-01"))
    assert metrics["period"] == {"start": "2024-02-01T00:00:00Z", "end": "2024-03-01T00:00:00Z", "bars": 29 * 24}
    assert equity.num_rows == 29 * 24


def test_range_without_bars_is_refused(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    with pytest.raises(BadInput, match="0 bars of BTCUSDT lie between"):
        simulate.run(config(start="2030-01-01"), layout)
    assert not layout.simulation.exists()


def test_signals_of_other_bars_are_refused(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    write_table(layout.merged("BTCUSDT"), bars(random_walk(N), step_ms=HOUR, start_ms=START_MS + 60_000))
    with pytest.raises(BadInput, match="run `pipeline signals` again"):
        simulate.run(config(), layout)


def test_missing_signals_name_the_stage_to_run(workspace: Path) -> None:
    with pytest.raises(MissingInput, match="run `pipeline signals` first"):
        simulate.plan(config(), Layout("test"))


def test_in_sample_scores_are_called_so(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    table = read_table(layout.signals("BTCUSDT"), "signals")
    write_table(layout.signals("BTCUSDT"), table.append_column("in_sample", pa.array(np.arange(N) < N // 4)))
    assert simulate.run(config(), layout).warnings[0].startswith("in sample")
    assert simulate.run(config(grid=GRID), layout).warnings == [], "the evaluation part is out of sample"


def test_the_knowing_score_beats_random_entries_and_noise_does_not(workspace: Path) -> None:
    layout = Layout("test")
    write_inputs(layout)
    knowing, _, _ = run(layout, config(costs={"taker_fee": 0, "slippage_bps": 0}))
    write_inputs(layout, future=10)
    noise, _, _ = run(layout, config(costs={"taker_fee": 0, "slippage_bps": 0}))
    assert knowing["random_entry"]["p_value"] < 0.01 < noise["random_entry"]["p_value"]


def test_what_only_live_trading_does_is_said(workspace: Path) -> None:
    layout, plain = Layout("test"), config()
    write_inputs(layout)
    live = plain.serve.model_copy(
        update={"entry": Entry(plan="post_only"), "exit": Entry(plan="twap"), "percentage_used_for_trade": 20.0}
    )
    told = simulate.run(plain.model_copy(update={"serve": live}), layout).warnings
    assert [warning.split(" ")[0] for warning in told] == [
        "serve.entry.plan:", "serve.exit.plan:", "serve.percentage_used_for_trade:",
    ]  # fmt: skip
    assert simulate.run(plain, layout).warnings == []
    limit = plain.serve.model_copy(update={"entry": Entry(plan="post_only"), "limit_price_adjustment": -0.001})
    [note] = simulate.plan(plain.model_copy(update={"serve": limit}), layout).notes
    assert note.startswith("serve.limit_price_adjustment")


def add_marks(layout: Layout, symbol: str, **changes: Any) -> None:
    """A mark price that goes a tenth below each low; changes: a column's values by row."""
    table = read_table(layout.merged(symbol), "merge")
    low = table["low"].to_numpy() * 0.9
    columns = {"mark_open": table["open"].to_numpy(), "mark_high": table["high"].to_numpy(), "mark_low": low}
    for name, (row, value) in changes.items():
        columns[name] = columns[name].copy()
        columns[name][row] = value
    for name, values in (columns | {"mark_close": table["close"].to_numpy()}).items():
        table = table.append_column(name, pa.array(values))
    write_table(layout.merged(symbol), table)


def test_the_mark_price_liquidates_where_merge_has_it_and_the_figures_say_so(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout("test")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write_inputs(layout, symbol)
    declared = config(("BTCUSDT", "ETHUSDT"), leverage=12).model_copy(
        update={"download": Download(source="synthetic", market="um")}
    )
    declared = declared.model_copy(update={"sizing": declared.sizing.model_copy(update={"fraction": 0.4})})
    metrics, trades, _ = run(layout, declared)
    assert metrics["liquidation_price"] == {"BTCUSDT": "last", "ETHUSDT": "last"}
    before = trades.filter(pc.equal(trades["exit_reason"], "liquidation")).num_rows
    add_marks(layout, "BTCUSDT")
    summary = simulate.run(declared, layout)
    assert summary.figures["liquidation by"] == "BTCUSDT mark price, ETHUSDT last price"
    assert [w for w in summary.warnings if w.startswith("ETHUSDT: liquidation looks at the last price")]
    metrics, trades, _ = run(layout, declared)
    assert metrics["liquidation_price"] == {"BTCUSDT": "mark", "ETHUSDT": "last"}
    ended = trades.filter(pc.equal(trades["symbol"], "BTCUSDT"))["exit_reason"].to_pylist()
    assert before < len(ended) and set(ended) <= {"liquidation"}, "each bar goes beyond"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"mark_low": (slice(100, 103), np.nan)},
            "3 bars have no possible mark price, the first that of 2024-01-05T04:00Z",
        ),
        ({"mark_low": (7, -1.0)}, "1 bars have no possible mark price, the first that of 2024-01-01T07:00Z"),
        ({"mark_high": (9, 1e-9)}, "1 bars have no possible mark price, the first that of 2024-01-01T09:00Z"),
    ],
)
def test_a_mark_price_that_cannot_be_is_refused(workspace: Path, changes: dict[str, Any], says: str) -> None:
    layout = Layout("test")
    write_inputs(layout)
    add_marks(layout, "BTCUSDT", **changes)
    with pytest.raises(BadInput, match=f"merged/BTCUSDT.parquet: {says}"):
        simulate.run(config(), layout)
