"""The signals stage on hand-made predictions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from builders import bars, random_walk

from pipeline.artifacts import Layout, read_table, write_table
from pipeline.config import Config
from pipeline.errors import BadInput, MissingInput
from pipeline.stages import signals

N = 50


def config(**signals_section: object) -> Config:
    steps = [{"combine": {"columns": ["up_lgbm", "down_lgbm"]}}, {"threshold": {"buy": 0.2, "sell": -0.2}}]
    return Config.model_validate({"name": "test", "signals": {"steps": steps, **signals_section}})


def write_merged(layout: Layout, filled: tuple[int, ...] = ()) -> pa.Table:
    table = bars(random_walk(N))
    flags = np.zeros(N, bool)
    flags[list(filled)] = True
    table = table.set_column(table.schema.get_field_index("is_filled"), "is_filled", pa.array(flags))
    write_table(layout.merged("BTCUSDT"), table)
    return table


def write_scores(path: Path, times: pa.ChunkedArray, up: list[float], **extra: pa.Array) -> None:
    up_scores = np.asarray(up, np.float32)
    write_table(path, pa.table({"open_time": times, "up_lgbm": up_scores, "down_lgbm": 1 - up_scores, **extra}))


def test_signals_cover_the_predicted_bars_and_none_is_on_a_made_up_bar(workspace: Path) -> None:
    layout = Layout("test")
    merged = write_merged(layout, filled=(12,))
    write_scores(layout.rolling("BTCUSDT"), merged["open_time"].slice(10, 5), [0.9, 0.1, 0.9, 0.5, np.nan])
    summary = signals.run(config(), layout)
    table = read_table(layout.signals("BTCUSDT"), "signals")
    assert table.column_names == ["open_time", "up_lgbm", "down_lgbm", "trade_score", "buy_signal", "sell_signal"]
    assert table["open_time"].equals(merged["open_time"].slice(10, 5).cast(table["open_time"].type))
    assert table["buy_signal"].to_pylist() == [True, False, False, False, False]
    assert table["sell_signal"].to_pylist() == [False, True, False, False, False]
    assert summary.figures["buy signals"] == 1 and not summary.warnings


def test_bars_between_predictions_have_no_score(workspace: Path) -> None:
    layout = Layout("test")
    times = write_merged(layout)["open_time"]
    write_scores(
        layout.rolling("BTCUSDT"),
        pa.chunked_array([times.slice(3, 1).chunk(0), times.slice(6, 1).chunk(0)]),
        [0.9, 0.9],
    )
    signals.run(config(), layout)
    table = read_table(layout.signals("BTCUSDT"), "signals")
    assert table["buy_signal"].to_pylist() == [True, False, False, True]
    assert np.isnan(table["trade_score"].to_numpy()[1:3]).all()


def test_predict_passes_in_sample_on(workspace: Path) -> None:
    layout = Layout("test")
    times = write_merged(layout)["open_time"].slice(0, 3)
    write_scores(layout.predictions("BTCUSDT"), times, [0.9, 0.1, 0.5], in_sample=pa.array([True, True, False]))
    signals.run(config(predictions="predict"), layout)
    assert read_table(layout.signals("BTCUSDT"), "signals")["in_sample"].to_pylist() == [True, True, False]


def test_no_signal_at_all_is_a_warning_with_range_and_thresholds(workspace: Path) -> None:
    layout = Layout("test")
    write_scores(layout.rolling("BTCUSDT"), write_merged(layout)["open_time"], [0.5] * N)
    [warning] = signals.run(config(), layout).warnings
    assert warning == "BTCUSDT: no signal at all; trade_score ranges over [0, 0], thresholds are buy 0.2 and sell -0.2"


def test_missing_predictions_name_the_stage_to_run(workspace: Path) -> None:
    write_merged(Layout("test"))
    with pytest.raises(MissingInput) as error:
        signals.plan(config(), Layout("test"))
    assert "pipeline predict-rolling" in error.value.hint
    with pytest.raises(MissingInput) as error:
        signals.plan(config(predictions="predict"), Layout("test"))
    assert "run `pipeline predict`" in error.value.hint


def test_unknown_column_is_refused_before_anything_is_written(workspace: Path) -> None:
    layout = Layout("test")
    write_scores(layout.rolling("BTCUSDT"), write_merged(layout)["open_time"], [0.5] * N)
    with pytest.raises(BadInput, match="no column 'up_lgb'") as error:
        signals.run(config(steps=[{"threshold": {"column": "up_lgb", "buy": 1, "sell": 0}}]), layout)
    assert error.value.hint == "did you mean 'up_lgbm'?"
    assert not layout.signals("BTCUSDT").exists()


def test_predictions_of_other_bars_are_refused(workspace: Path) -> None:
    layout = Layout("test")
    write_merged(layout)
    write_scores(layout.rolling("BTCUSDT"), bars(random_walk(9), start_ms=1_000_000_000_000)["open_time"], [0.5] * 9)
    with pytest.raises(BadInput, match="has bars that"):
        signals.run(config(), layout)


def test_plan_says_what_would_be_written_and_writes_nothing(workspace: Path) -> None:
    layout = Layout("test")
    write_scores(layout.rolling("BTCUSDT"), write_merged(layout)["open_time"], [0.5] * N)
    plan = signals.plan(config(), layout)
    assert plan.rows == N
    assert plan.columns == ["up_lgbm", "down_lgbm", "trade_score", "buy_signal", "sell_signal"]
    assert not layout.signals("BTCUSDT").exists()
