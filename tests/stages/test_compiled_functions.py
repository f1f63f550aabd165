"""What `labels` and `simulate` call is in libraries of machine code, with the arguments that they call it with."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from builders import bars, random_walk

from pipeline.artifacts import Layout, write_table
from pipeline.compiled import Compiled
from pipeline.config import Config
from pipeline.config.labels import HighLow2
from pipeline.labels import high_low2
from pipeline.stages import compiled_functions, simulate, simulate_functions


def kinds(arguments: tuple[Any, ...]) -> list[Any]:
    """What has to be the same for the same machine code."""
    return [
        (one.dtype, one.ndim, one.flags.c_contiguous, one.flags.aligned)
        if isinstance(one, np.ndarray)
        else (type(one), kinds(one))
        if isinstance(one, tuple)
        # Machine code takes a number of numpy's as Python's.
        else float
        if isinstance(one, float)
        else type(one)
        for one in arguments
    ]


def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """By name of each compiled function that is called from now on, the kinds of its arguments."""
    called: dict[str, list[Any]] = {}
    own = Compiled.__call__

    def call(function: Compiled, *arguments: Any) -> Any:
        called[function.__name__] = kinds(arguments)
        return own(function, *arguments)

    monkeypatch.setattr(Compiled, "__call__", call)
    return called


@pytest.mark.parametrize("rows", [300, 30_000], ids=["in one piece", "in threads"])
def test_highlow2_calls_nothing_else(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    called = calls(monkeypatch)
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.001, rows)))
    high_low2.compute(HighLow2(thresholds=[0.5], tolerance=0.2, horizon=20), 20, close, close * 1.0005, close * 0.9995)
    assert called == {one.function.__name__: kinds(one.example) for one in compiled_functions.entries()}


def test_simulate_calls_nothing_else_for_one_symbol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout("test", raw=tmp_path / "raw", data=tmp_path / "data", models=tmp_path / "MODELS")
    merged = bars(random_walk(400, 1, 0.004), step_ms=3_600_000)
    score = np.random.default_rng(1).normal(size=400)
    write_table(layout.merged("BTCUSDT"), merged)
    columns = {"open_time": merged["open_time"], "trade_score": score}
    columns |= {"buy_signal": score >= 0.8, "sell_signal": score <= -0.8}
    write_table(layout.signals("BTCUSDT"), pa.table(columns))
    steps = [{"threshold": {"column": "trade_score", "buy": 0.8, "sell": -0.8}}]
    called = calls(monkeypatch)
    simulate.run(Config.model_validate({"name": "test", "interval": "1h", "signals": {"steps": steps}}), layout)
    assert called == {one.function.__name__: kinds(one.example) for one in simulate_functions.entries()}
