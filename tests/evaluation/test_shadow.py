"""Realised trades beside simulated ones, and the verdict on a shadow run."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.shadow import (
    Difference,
    Limits,
    Matching,
    Pair,
    ShadowRun,
    match_trades,
    quantile,
    shadow_checks,
    spread,
)

HOUR = 3_600_000
ALL = {name: Difference(10) for name in ("close", "score", "signal", "gate", "order", "exit", "equity")}


def trade(entry: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "side": "long", "entry_time": entry * HOUR, "entry_price": 100.0,
        "exit_time": (entry + 2) * HOUR, "exit_price": 102.0, "qty": 1.0, "fees": 0.2, "pnl": 1.8, "return": 0.018,
        "exit_reason": "signal", "bars_held": 2, "mae": -0.01, "mfe": 0.03,
    } | changes  # fmt: skip


def run(**changes: Any) -> ShadowRun:
    same = match_trades([trade()], [trade()])
    return replace(ShadowRun("shadow", 10, 0, 0, ALL, same, [1.0, 2.0]), **changes)


def failed(found: ShadowRun, limits: Limits | None = None) -> list[str]:
    return [check.name for check in shadow_checks(found, limits) if not check.passed]


def test_equal_trades_and_bars_pass() -> None:
    assert failed(run()) == []
    assert failed(run(mode="live")) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"same_config": False}, "config"),
        ({"bars": 0}, "bars compared"),
        ({"absent": 1}, "bars on file"),
        ({"late": 1}, "late bars"),
        ({"age_ms": [6000.0]}, "age of bars at p99"),
        ({"fields": ALL | {"score": Difference(10, 1, "x")}}, "score of each bar"),
        ({"fields": {key: value for key, value in ALL.items() if key != "equity"}}, "equity of each bar"),
        ({"trades": match_trades([trade(mfe=0.031)], [trade()])}, "trades equal to a simulation"),
        ({"trades": match_trades([], [trade()])}, "missed trades"),
        ({"trades": match_trades([trade()], [])}, "extra trades"),
    ],
)
def test_on_paper_every_difference_fails(changes: dict[str, Any], name: str) -> None:
    assert name in failed(run(**changes))


def test_at_an_exchange_prices_may_differ_a_little_and_bars_may_not() -> None:
    worse = match_trades([trade(entry_price=100.05, exit_price=101.95)], [trade()])
    assert failed(run(mode="live", trades=worse)) == []
    much = match_trades([trade(entry_price=100.5, exit_price=101.5)], [trade()])
    assert failed(run(mode="live", trades=much)) == ["prices worse than simulated"]
    assert failed(run(mode="live", trades=match_trades([], [trade()]))) == ["trades in both"]
    assert failed(run(mode="live", fields=ALL | {"close": Difference(3, 1, "x")})) == ["close of each bar"]
    assert failed(run(mode="live", fields=ALL | {"gate": Difference(3, 1, "x")})) == []


@pytest.mark.parametrize(("side", "entry", "exit_"), [("long", 10.0, -20.0), ("short", -10.0, 20.0)])
def test_slippage_is_positive_where_it_costs(side: str, entry: float, exit_: float) -> None:
    realised = trade(side=side, entry_price=100.1, exit_price=102.0 * 1.002)
    pair = Pair(realised, trade(side=side))
    assert pair.entry_bps == pytest.approx(entry)
    assert pair.exit_bps == pytest.approx(exit_)


def test_the_nearest_entry_is_the_pair_and_each_is_used_once() -> None:
    realised = [trade(1), trade(5), trade(9, symbol="ETHUSDT")]
    simulated = [trade(2), trade(5), trade(6), trade(9, side="short", symbol="ETHUSDT")]
    found = match_trades(realised, simulated, HOUR)
    assert [(p.realised["entry_time"], p.simulated["entry_time"]) for p in found.pairs] == [
        (HOUR, 2 * HOUR),
        (5 * HOUR, 5 * HOUR),
    ]
    assert [one["entry_time"] for one in found.missed] == [6 * HOUR, 9 * HOUR]
    assert [one["symbol"] for one in found.extra] == ["ETHUSDT"]


@given(st.lists(st.integers(0, 12), max_size=8), st.lists(st.integers(0, 12), max_size=8), st.integers(0, 3))
def test_every_trade_is_in_exactly_one_place(mine: list[int], theirs: list[int], near: int) -> None:
    found = match_trades([trade(t) for t in mine], [trade(t) for t in theirs], near * HOUR)
    assert isinstance(found, Matching)
    times = [p.realised["entry_time"] // HOUR for p in found.pairs] + [t["entry_time"] // HOUR for t in found.extra]
    assert sorted(times) == sorted(mine)
    times = [p.simulated["entry_time"] // HOUR for p in found.pairs] + [t["entry_time"] // HOUR for t in found.missed]
    assert sorted(times) == sorted(theirs)
    assert all(abs(p.realised["entry_time"] - p.simulated["entry_time"]) <= near * HOUR for p in found.pairs)
    # Nothing is left on both sides that could have been a pair.
    for extra in found.extra:
        assert all(abs(extra["entry_time"] - missed["entry_time"]) > near * HOUR for missed in found.missed)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40), st.floats(0.001, 1.0))
def test_a_quantile_is_the_one_that_numpy_calls_inverted_cdf(values: list[float], share: float) -> None:
    assert quantile(values, share) == np.quantile(values, share, method="inverted_cdf")


def test_of_nothing_there_is_no_distribution() -> None:
    none = spread([])
    assert none.count == 0 and none.p50 != none.p50 and none.mean != none.mean
