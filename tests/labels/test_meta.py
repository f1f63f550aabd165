"""`meta` labels: right is what earns more than it costs, on each side."""

import numpy as np
import pytest
from builders import bars, random_walk

from pipeline.config.labels import Meta, TripleBarrier
from pipeline.config.model import Config
from pipeline.labels import compute, label_names, meta, triple_barrier

PRICES = random_walk(600, 3, 0.004)


def _arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = bars(PRICES)
    close, high, low = (table.column(name).to_numpy() for name in ("close", "high", "low"))
    return close, high, low


@pytest.mark.parametrize(("side", "sign"), [("long", 1.0), ("short", -1.0)])
def test_a_trade_is_right_if_it_earns_more_than_it_costs_at_its_barrier(side: str, sign: float) -> None:
    close, high, low = _arrays()
    spec = Meta(horizon=24, profit_take=1.5, stop_loss=1.0, cost=0.003, side=side)
    (label,) = meta.compute(spec, 24, 50, close, high, low)
    barrier = TripleBarrier(horizon=24, profit_take=1.5, stop_loss=1.0, side=side)
    sigma = triple_barrier.volatility(close, 50)
    won = triple_barrier.compute(barrier, 24, 50, close, high, low)
    rights = 0
    for t in np.flatnonzero(label.known):
        end = label.end[t]
        if won.values[t]:
            earned = 1.5 * sigma[t]
        elif end < t + 24:
            earned = -sigma[t]
        else:
            held = sign * (close[end] / close[t] - 1)
            earned = held if abs(held) < 1.5 * sigma[t] else np.nan
        if np.isfinite(earned):
            assert label.values[t] == (earned > 0.003)
            rights += int(earned > 0.003)
    assert 20 < rights < 500
    assert not label.known[-1] and label.known[100]


def test_both_sides_make_two_labels_and_both_can_be_wrong() -> None:
    entry = {"meta": {"horizon": 12, "side": "both", "cost": 0.01, "name": "ok"}}
    config = Config.model_validate({"interval": "1h", "labels": [entry]})
    assert label_names(config) == ["ok_long", "ok_short"]
    table = compute(config, bars(PRICES, step_ms=3_600_000))
    assert table.column_names == ["open_time", "ok_long", "ok_long_end", "ok_short", "ok_short_end"]
    long, short = (np.array(table[name].to_pylist(), object) for name in ("ok_long", "ok_short"))
    known = [a is not None and b is not None for a, b in zip(long, short, strict=True)]
    assert any(a is False and b is False for a, b, k in zip(long, short, known, strict=True) if k)
    assert not any(a and b for a, b, k in zip(long, short, known, strict=True) if k)
