"""Where vectorbt's semantics coincide with ours, its trades are ours.

Runs where vectorbt is installed or VECTORBT_PYTHON names an interpreter that has it; skips, visibly, elsewhere.
"""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from trading.markets import random_market, rules, trade

N = 20_000


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "simulate.py"
    spec = importlib.util.spec_from_file_location("benchmark_simulate", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.peer_python() is None:
        pytest.skip("vectorbt is not installed and VECTORBT_PYTHON is not set")
    return module


@pytest.mark.slow
def test_trades_equal_vectorbts(benchmark: ModuleType) -> None:
    bars = random_market(N, 11, 0.004, jumps=False)
    bars = bars._replace(filled=np.zeros(N, bool))
    score = np.convolve(np.random.default_rng(2).normal(size=N + 19), np.ones(20) / np.sqrt(20), "valid")
    data = {name: getattr(bars, name) for name in ("open", "high", "low", "close")} | {"score": score}
    costs = {"fees": 0.001, "slippage": 0.0002}
    runs = [{"buy": 1.0, "sell": -1.0, **costs}, {"buy": 1.5, "sell": -1e9, "fees": 0.001, "sl_stop": 0.008}]
    signals_only, stop_only = benchmark.run_peer(benchmark.peer_python(), data, runs, repeats=1)

    ours = trade(bars, score >= 1.0, score <= -1.0, rules(taker_fee=0.001, slip=0.0002), benchmark.CASH).trades
    # The last trade, open at the end of the data, is closed by us and marked by vectorbt.
    assert len(ours) == len(signals_only["entry"]) > 100
    np.testing.assert_array_equal(ours["entry_bar"], signals_only["entry"])
    np.testing.assert_array_equal(ours["exit_bar"], signals_only["exit"])
    for field in ("entry_price", "exit_price", "pnl"):
        np.testing.assert_allclose(ours[field][:-1], signals_only[field][:-1], rtol=1e-9, atol=1e-7)

    stop = rules(taker_fee=0.001, stop_loss=0.008)
    ours = trade(bars, score >= 1.5, np.zeros(N, bool), stop, benchmark.CASH).trades
    theirs = set(zip(stop_only["entry"], stop_only["exit"], strict=True))
    assert len(ours) > 20
    only_ours = {(e, x) for e, x in zip(ours["entry_bar"], ours["exit_bar"], strict=True)} - theirs
    # vectorbt looks at stops from the bar after the entry; we look at the entry bar too.
    assert len(only_ours) <= 2 and all(entry == exit_ for entry, exit_ in only_ours)
    assert benchmark.agreement(ours, stop_only) > 0.9


@pytest.mark.slow
@pytest.mark.skipif("PIPELINE_REAL_DATA" not in os.environ, reason="PIPELINE_REAL_DATA is not set")
def test_each_stop_leaves_at_vectorbts_bar_and_price_on_real_minutes(benchmark: ModuleType) -> None:
    data = benchmark.year_of_minutes(Path(os.environ["PIPELINE_REAL_DATA"]))
    daily, entries = benchmark.episodes(data)
    flat = benchmark.same_stops(benchmark.peer_python(), benchmark.flat_at(daily, entries))
    for name, (ours, theirs) in flat.items():
        assert len(ours) == len(theirs["entry"]) == 365, name
        for field, peer in (("entry_bar", "entry"), ("exit_bar", "exit")):
            np.testing.assert_array_equal(ours[field], theirs[peer], err_msg=name)
        for field in ("entry_price", "exit_price"):
            np.testing.assert_allclose(ours[field], theirs[field], rtol=1e-9, err_msg=name)
    # Where the entry bar moves, we look at it and vectorbt does not: no other trade differs.
    for name, (ours, theirs) in benchmark.same_stops(benchmark.peer_python(), daily).items():
        np.testing.assert_array_equal(ours["entry_bar"], theirs["entry"], err_msg=name)
        differs = (ours["exit_bar"] != theirs["exit"]) | ~np.isclose(ours["exit_price"], theirs["exit_price"], 1e-9)
        at = ours["entry_bar"][differs]
        assert differs.sum() < 30 and np.all(daily["high"][at] > daily["open"][at]), name
