"""What live trading calls is in the library of machine code, with the arguments that it calls it with."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live.bench import ONE, Bench
from live.test_portfolio import play
from live.test_strategy import PLAIN, by_time, tables

from pipeline.compiled import Compiled, compiled
from pipeline.config import Config
from pipeline.features import compute
from pipeline.live import compiled_functions
from pipeline.live.shadow import ShadowTrader, shadow_rules
from pipeline.live.strategy import Strategy
from pipeline.machine_code import Entry

SIGNALS = {
    "predictions": "features",
    "steps": [
        {"smooth": {"columns": ["close_return_3"], "name": "score", "window": 4}},
        {"threshold": {"column": "score", "buy": 0.001, "sell": -0.001}},
    ],
}
FEATURES = [
    *PLAIN["features"],
    {"stats": {"functions": ["skew"], "inputs": ["close"], "windows": [10]}},
    {"talib": {"functions": ["SMA", "RSI"], "inputs": ["close"], "periods": [5, 14]}},
    {"talib": {"functions": ["EMA"], "inputs": ["close"], "periods": [5, 9], "relative": "rel", "log": True}},
    {"stats": {"functions": ["std"], "inputs": ["close"], "windows": [5], "timeframe": "4h"}},
    {"time": {"fields": ["hour"], "cyclic": True}},
    {"divergence": {"oscillators": ["rsi"], "windows": [10]}},
]
GATED = {"risk": {"enabled": True, "gates": {"rsi": {"column": "close_RSI_14", "low": 30, "high": 70}}}}


def kinds(arguments: tuple[Any, ...]) -> list[Any]:
    """What has to be the same for the same machine code."""
    flat = [one for own in arguments for one in (own if isinstance(own, tuple) else (own,))]
    return [
        (one.dtype, one.ndim, one.flags.c_contiguous, one.flags.aligned)
        if isinstance(one, np.ndarray)
        else "whole"
        if isinstance(one, int | np.integer)
        else "number"
        for one in flat
    ]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[Any]]]:
    """Kinds of arguments of every compiled function that Python calls, by its name."""
    found: dict[str, list[list[Any]]] = {}
    own = Compiled.__call__

    def call(function: Compiled, *arguments: Any) -> Any:
        name = f"{function.__module__}.{function.__name__}"
        if kinds(arguments) not in found.setdefault(name, []):
            found[name].append(kinds(arguments))
        return own(function, *arguments)

    monkeypatch.setattr(Compiled, "__call__", call)
    return found


def missing(called: dict[str, list[list[Any]]]) -> list[Any]:
    """What is called and not in the library."""
    known = {
        f"{one.function.__module__}.{one.function.__name__}": kinds(one.example)
        for one in compiled_functions.entries()
    }  # fmt: skip
    return [(name, own) for name, all_ in called.items() for own in all_ if known.get(name) != own]


def test_trading_on_paper_calls_nothing_else(called: dict[str, list[list[Any]]]) -> None:
    config = Config.model_validate(PLAIN | {"features": FEATURES, "signals": SIGNALS} | GATED)
    merged = tables(120)
    at = by_time(config, merged)
    origin = list(at)[80]
    strategy = Strategy(config, None, {symbol: table.slice(0, 80) for symbol, table in merged.items()}, origin)
    # As the watch for drift does.
    compute(config, merged["AAA"])
    trader = ShadowTrader(2, shadow_rules(config, origin), 1000.0)
    for time, bars in at.items():
        if time >= origin:
            trader.update(strategy.update(time, bars))
    names = {name.rsplit(".", 1)[1] for name in called}
    assert {"step_once", "_refusals", "_loop", "smooth_step", "carry_out", "see", "advance"} <= names
    assert missing(called) == []


def test_trading_live_calls_nothing_else(called: dict[str, list[list[Any]]]) -> None:
    bench = Bench()
    play(
        bench, [(0, 0, True), (3, 0, True), (4, 1, False), (1, 2, True), (3, 0, True), (5, 3, False), (2, 1, True)] * 8
    )
    assert ONE in bench.config.symbols
    assert {"close_once", "book_entry", "book_exit"} <= {name.rsplit(".", 1)[1] for name in called}
    assert missing(called) == []


@compiled(cache=False)
def halved(number: float) -> float:
    """Stands for all of them."""
    return number / 2


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "code-a-b-0123.so"
    monkeypatch.setattr(compiled_functions, "library", lambda: path)
    monkeypatch.setattr(compiled_functions, "entries", lambda: [Entry(halved, (1.0,), float)])
    return path


def test_without_a_library_numba_is_called(kept: Path) -> None:
    assert not compiled_functions.install()
    kept.write_bytes(b"damaged")
    assert not compiled_functions.install()
    assert halved(3.0) == 1.5


@pytest.mark.skipif(not (shutil.which("ld") or shutil.which("cc")), reason="needs a linker")
def test_a_library_is_made_once_and_takes_the_place_of_older_ones(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, other = kept.with_name("code-a-b-9876.so"), kept.with_name("code-a-c-9876.so")
    for path in (kept, older, other):
        path.write_bytes(b"cut off")
    assert compiled_functions.make() == f"{kept} is made"
    assert sorted(path.name for path in kept.parent.iterdir()) == sorted([kept.name, other.name])
    assert compiled_functions.make() == f"{kept} is there"
    assert compiled_functions.install()
    monkeypatch.setattr(Compiled, "dispatcher", property(lambda _: pytest.fail("numba was asked")))
    assert halved(3.0) == 1.5


def test_what_keeps_it_from_being_made_is_told(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(kept.parent))
    assert compiled_functions.make() == "machine code cannot be kept: there is no linker (ld or cc)"
