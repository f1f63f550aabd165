"""Paths without direction keep everything but the direction."""

import numpy as np
import pyarrow as pa
from builders import bars, random_walk

from pipeline.config import Config
from pipeline.evaluation.null_model import without_direction
from pipeline.evaluation.scores import classification_scores
from pipeline.market import candles, merging
from pipeline.stages.null_run import null_path


def market(n: int = 4000, seed: int = 1) -> pa.Table:
    table = bars(random_walk(n, seed))
    volume = np.random.default_rng(seed).lognormal(size=n)
    table = table.set_column(table.schema.get_field_index("volume"), "volume", pa.array(volume))
    other = random_walk(n, seed + 1)
    other[:50] = np.nan
    return table.append_column("taker_buy_volume2", pa.array(volume)).append_column("ETHUSDT_close", pa.array(other))


def column(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()


def test_returns_keep_their_size_and_bars_stay_bars() -> None:
    table = market()
    null = without_direction(table, 3)
    close, other = column(table, "close"), column(null, "close")
    assert np.allclose(np.abs(np.diff(np.log(other))), np.abs(np.diff(np.log(close))), atol=1e-12)
    flipped = np.sign(np.diff(other)) != np.sign(np.diff(close))
    assert 0.4 < flipped.mean() < 0.6
    open_, high, low = (column(null, name) for name in ("open", "high", "low"))
    assert (low <= np.minimum(open_, other) * (1 + 1e-12)).all()
    assert (high >= np.maximum(open_, other) * (1 - 1e-12)).all()
    span, before = column(table, "high") / column(table, "low"), high / low
    assert np.allclose(span, before)
    assert null.column("volume").equals(table.column("volume")) and null.schema.equals(table.schema)


def test_the_seed_decides_and_reference_symbols_flip_along() -> None:
    table = market()
    paths = [column(without_direction(table, seed), "close") for seed in (3, 3, 4)]
    assert np.array_equal(paths[0], paths[1]) and not np.array_equal(paths[0], paths[2])
    null = without_direction(table, 3)
    own = np.sign(np.diff(column(null, "close"))) != np.sign(np.diff(column(table, "close")))
    reference = np.sign(np.diff(column(null, "ETHUSDT_close"))) != np.sign(np.diff(column(table, "ETHUSDT_close")))
    assert np.array_equal(own[60:], reference[60:])


def test_sellers_become_buyers_where_a_bar_is_flipped() -> None:
    table = bars(random_walk(500, 2))
    bought = 0.3 * column(table, "volume")
    place = table.schema.get_field_index("taker_buy_volume")
    table = table.set_column(place, "taker_buy_volume", pa.array(bought))
    share = column(without_direction(table, 1), "taker_buy_volume") / column(table, "volume")
    assert set(np.round(share[np.isfinite(share)], 9)) == {0.3, 0.7}


def test_a_pattern_in_the_direction_is_gone() -> None:
    rng = np.random.default_rng(0)
    # Momentum: a return has the sign of the one before it, seven times of ten.
    signs = np.cumprod(np.where(rng.random(5000) < 0.7, 1.0, -1.0))
    close = 100 * np.exp(np.cumsum(signs * rng.uniform(0.001, 0.002, 5000)))
    table = bars(close)

    def auc(of: pa.Table) -> float:
        moves = np.diff(np.log(column(of, "close")))
        found = classification_scores(moves[1:] > 0, moves[:-1])["auc"]
        assert found is not None
        return float(found)

    assert auc(table) > 0.65
    assert abs(auc(without_direction(table, 5)) - 0.5) < 0.03


def test_higher_bars_are_those_of_the_path_itself() -> None:
    settings = Config.model_validate({"interval": "5m", "merge": {"timeframes": ["1h"]}})
    table = bars(random_walk(600, 3, 0.003), step_ms=300_000)
    held = merging.aligned(merging.resampled(table, "5m", "1h"), "1h", candles.times_ms(table), "5m")
    for name, values in held.items():
        table = table.append_column(f"1h_{name}", pa.array(values))
    path = null_path(settings, table, 1)
    close, high = column(path, "close"), column(path, "high")
    assert not np.array_equal(close, column(table, "close"))
    hours = np.arange(11, 600)
    last = (hours + 1) // 12 * 12 - 1
    assert np.array_equal(column(path, "1h_close")[hours], close[last])
    assert np.array_equal(column(path, "1h_high")[hours], [high[i - 11 : i + 1].max() for i in last])


def test_a_walk_forward_reports_what_volatility_alone_is_worth(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from pathlib import Path

    from pipeline.artifacts import read_json
    from pipeline.stages.chain import run_chain
    from pipeline.stages.runner import Options

    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("""
interval: 1h
download: {source: synthetic, start: "2022-01-01", end: "2023-01-01", synthetic: {edge: 0.0}}
features: [{talib: {functions: [NATR, RSI], periods: [6, 24]}}]
labels: [{highlow2: {function: high, thresholds: [2.0], tolerance: 0.5, horizon: 24, names: [up]}}]
train: {algorithms: [{name: gb, rounds: 30, params: {num_leaves: 7}}]}
predict_rolling: {train_length: 200d, prediction_size: 80d, steps: 2}
""")
    assert Config  # the config above is complete
    run_chain(Options(Path("c.yaml")), last="predict-rolling", in_place=True)
    pooled = read_json(Path("data/c/rolling/folds.json"), "predict-rolling")["pooled"]["up_gb"]
    assert 0.5 < pooled["null_auc"] < 0.9
