"""No signal where an interval is too wide or unknown; the same bar by bar."""

import numpy as np
import pytest

from pipeline.config.trading import Signals
from pipeline.errors import BadInput
from pipeline.signals import SignalStream, check_columns, compute

SIGNALS = Signals.model_validate(
    {
        "steps": [
            {"combine": {"columns": ["up_gb", "down_gb"]}},
            {"abstain": {"models": ["up_gb", "down_gb"], "max_width": 0.5}},
            {"threshold": {"column": "sure_score", "buy": 0.0, "sell": -0.1}},
        ]
    }
)
READ = ["up_gb", "down_gb", "up_gb_low", "up_gb_high", "down_gb_low", "down_gb_high"]


def _columns(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    columns = {name: rng.random(n) for name in READ}
    for name in READ[2:]:
        columns[name][rng.random(n) < 0.1] = np.nan
    columns["up_gb_high"][:5] = np.inf
    return columns


def test_the_steps_read_both_ends_of_every_interval() -> None:
    assert check_columns(SIGNALS, READ, "the file") == READ
    with pytest.raises(BadInput, match=r"signals\.steps\[1\]\.abstain: no column 'down_gb_low' in the file"):
        check_columns(SIGNALS, [*READ[:4], "down_gb_high"], "the file")


def test_a_wide_or_unknown_interval_leaves_no_score_and_no_signal() -> None:
    columns = _columns(500)
    made = compute(SIGNALS, columns, np.zeros(500, bool))
    width = {name: columns[f"{name}_high"] - columns[f"{name}_low"] for name in ("up_gb", "down_gb")}
    sure = (width["up_gb"] <= 0.5) & (width["down_gb"] <= 0.5)
    assert 50 < sure.sum() < 450
    assert np.array_equal(np.isnan(made["sure_score"]), ~sure)
    assert np.array_equal(made["sure_score"][sure], made["trade_score"][sure])
    assert not (made["buy_signal"] | made["sell_signal"])[~sure].any()
    assert np.array_equal(made["buy_signal"][sure], made["trade_score"][sure] >= 0)


def test_an_interval_of_just_the_width_allowed_is_believed() -> None:
    columns = {name: np.array([0.25]) for name in READ} | {"up_gb_high": np.array([0.75])}
    assert compute(SIGNALS, columns, np.zeros(1, bool))["sure_score"][0] == 0
    columns["up_gb_high"] = np.nextafter(columns["up_gb_high"], 1)
    assert np.isnan(compute(SIGNALS, columns, np.zeros(1, bool))["sure_score"][0])


def test_bar_by_bar_it_is_the_same() -> None:
    columns = _columns(300)
    filled = np.arange(300) % 17 == 0
    whole, stream = compute(SIGNALS, columns, filled), SignalStream(SIGNALS)
    for t in range(300):
        one = stream.update({name: float(values[t]) for name, values in columns.items()}, bool(filled[t]))
        for name, value in one.items():
            assert np.array(value).tobytes() == whole[name][t].tobytes(), (name, t)
