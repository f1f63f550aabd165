"""What holds for every kind of label."""

import numpy as np
import pyarrow as pa
import pytest
from builders import bars, random_walk

from pipeline.config.model import Config
from pipeline.errors import BadInput
from pipeline.labels import compute, label_names
from pipeline.labels.triple_barrier import cusum_events
from pipeline.market import candles

ALL = [
    {"highlow": {"horizons": [10, 30], "thresholds": [0.3]}},
    {"highlow2": {"function": "high", "thresholds": [0.3, 0.6], "tolerance": 0.5, "horizon": 20}},
    {"highlow2": {"function": "low", "thresholds": [0.3], "tolerance": 0.5, "horizon": 20}},
    {"topbot2": {"function": "top", "level": 0.005, "tolerances": [0.2], "names": ["top"]}},
    {"topbot2": {"function": "bot", "level": 0.005, "tolerances": [0.2], "names": ["bot"]}},
    {"fixed_horizon": {"horizons": [5]}},
    {"fixed_horizon": {"horizons": [5], "threshold": 0.001}},
    {"fixed_horizon": {"horizons": [5], "log": True}},
    {"triple_barrier": {"horizon": 15, "volatility_span": 20, "output": "return"}},
    {"triple_barrier": {"horizon": 15, "volatility_span": 20, "name": "short", "side": "short"}},
    {"triple_barrier": {"horizon": 15, "volatility_span": 20, "name": "cusum", "events": "cusum", "output": "class"}},
]


def _config(labels: list[dict]) -> Config:
    return Config.model_validate({"labels": labels})


@pytest.fixture(scope="module")
def market() -> pa.Table:
    return bars(random_walk(1500, seed=5))


@pytest.mark.parametrize("entry", ALL, ids=lambda e: next(iter(e)))
def test_a_label_known_on_a_prefix_never_changes_and_no_later_bar_matters(entry, market):
    config = _config([entry])
    whole = compute(config, market)
    for cut in (400, 1000):
        # The future is not only missing but different: everything after the cut is another market.
        other = pa.concat_tables([market.slice(0, cut), bars(random_walk(500, seed=cut, start=300.0))])
        other = other.set_column(0, "open_time", market.column("open_time").slice(0, cut + 500))
        last = market.column("open_time")[cut - 1]
        for changed in (compute(config, market.slice(0, cut)), compute(config, other)):
            for name in label_names(config):
                ends, values = whole.column(f"{name}_end"), whole.column(name)
                decided = [i for i in range(cut) if ends[i].is_valid and ends[i].as_py() <= last.as_py()]
                assert decided, name
                assert changed.column(name).take(decided).equals(values.take(decided))
                assert changed.column(f"{name}_end").take(decided).equals(ends.take(decided))


@pytest.mark.parametrize("entry", ALL, ids=lambda e: next(iter(e)))
def test_values_and_ends_are_null_together_and_ends_never_lie_before_the_row(entry, market):
    table = compute(_config([entry]), market)
    for name in table.schema.names[1::2]:
        end = table.column(f"{name}_end")
        assert table.column(name).is_null().equals(end.is_null())
        times = candles.times_ms(market)
        valid = end.is_valid().to_numpy()
        assert np.all(end.cast(pa.int64()).drop_null().to_numpy() > times[valid])
        assert end.null_count > 0, "the last rows are unknown, never False"


def test_triple_barrier_takes_profit_stops_or_runs_out_of_time():
    close = np.array([100, 101, 100, 101, 100, 103, 100, 97, 100, 100.0])
    config = _config(
        [{"triple_barrier": {"horizon": 1, "volatility_span": 3, "profit_take": 1, "stop_loss": 1, "output": "class"}}]
    )
    values = compute(config, bars(close, spread=0)).column("triple_barrier").to_pylist()
    assert values[4] == 1 and values[5] == -1 and values[8] == 0 and values[9] is None


def test_cusum_events_start_anew_after_each_event():
    close = np.array([100, 101, 102, 103, 104.0])
    assert cusum_events(close, np.full(5, 0.015)).tolist() == [False, False, True, False, True]


def test_a_horizon_longer_than_the_data_is_refused():
    with pytest.raises(BadInput, match=r"horizon of 60 bars is longer than the data \(50 rows\)"):
        compute(_config([{"fixed_horizon": {"horizons": [60]}}]), bars(random_walk(50)))


def test_a_label_made_twice_is_refused():
    with pytest.raises(BadInput, match="'return_5' is made twice"):
        label_names(_config([{"fixed_horizon": {"horizons": [5]}}, {"fixed_horizon": {"horizons": [5]}}]))


def test_durations_become_bars_and_odd_ones_are_refused():
    assert label_names(_config([{"fixed_horizon": {"horizons": ["1h"]}}])) == ["return_60"]
    with pytest.raises(BadInput, match="not a whole number of 1m bars"):
        label_names(_config([{"fixed_horizon": {"horizons": ["90s"]}}]))
