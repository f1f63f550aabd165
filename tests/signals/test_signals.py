"""Scores to signals: against pandas, and the stream against the batch."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.trading import Combine, Signals, Smooth, Threshold
from pipeline.errors import BadInput, ConfigError
from pipeline.signals import SignalStream, check_columns, compute, threshold_step
from pipeline.signals.combine import combine
from pipeline.signals.smooth import smooth
from pipeline.signals.threshold import threshold

scores = st.lists(st.one_of(st.floats(-5, 5), st.just(math.nan)), min_size=1, max_size=60)


def combined(up: float, down: float, **options: object) -> float:
    return float(combine(up, down, Combine(columns=["up", "down"], **options)))


def chain(*steps: dict) -> Signals:
    return Signals.model_validate({"steps": list(steps)})


def test_difference_is_up_less_down() -> None:
    assert combined(0.75, 0.25, combine="difference") == 0.5


def test_relative_is_the_share_of_up_scaled_to_one() -> None:
    assert combined(0.3, 0.1, combine="relative") == pytest.approx(0.5)


def test_relative_of_nothing_is_zero() -> None:
    assert combined(0.0, 0.0, combine="relative") == 0.0


def test_larger_takes_up_on_a_tie() -> None:
    assert [combined(*pair, combine="larger") for pair in ((0.4, 0.4), (0.3, 0.4), (0.4, 0.3))] == [0.4, -0.4, 0.4]


def test_score_is_scaled_then_shifted() -> None:
    assert combined(0.75, 0.25, coefficient=2, constant=-0.5) == 0.5


@pytest.mark.parametrize("how", ["difference", "relative", "larger"])
def test_an_unknown_score_stays_unknown(how: str) -> None:
    assert math.isnan(combined(math.nan, 0.1, combine=how)) and math.isnan(combined(0.1, math.nan, combine=how))


@settings(max_examples=200, deadline=None)
@given(scores, st.integers(1, 12))
def test_simple_smoothing_is_pandas_rolling_mean(values: list[float], window: int) -> None:
    series = pd.Series(values)
    expected = series.rolling(window, min_periods=max(1, window // 2)).mean().where(series.notna())
    got = smooth(series.to_numpy()[:, None], Smooth(columns=["a"], window=window))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.floats(1.5, 20))
def test_exponential_smoothing_is_pandas_ewm(values: list[float], span: float) -> None:
    series = pd.Series(values)
    expected = series.ewm(span=span, min_periods=max(1, int(span // 2)), adjust=False).mean()
    got = smooth(series.to_numpy()[:, None], Smooth(columns=["a"], window=span))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(scores, st.floats(1.5, 20))
def test_over_unknown_scores_the_weight_of_the_past_decays(values: list[float], span: float) -> None:
    # Weights as pandas documents them for gaps; pandas 3.1.1 itself gives 0.25 for [1, NaN, 0] at span 3, not 1/3.
    alpha, average, since, known = 2 / (span + 1), math.nan, 0, 0
    got = smooth(np.array(values)[:, None], Smooth(columns=["a"], window=span))
    for value, found in zip(values, got, strict=True):
        since += 1
        if math.isnan(value):
            assert math.isnan(found)
            continue
        past = (1 - alpha) ** since if known else 0.0
        average = ((past * average if known else 0.0) + alpha * value) / (past + alpha)
        since, known = 0, known + 1
        expected = average if known >= max(1, int(span // 2)) else math.nan
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_point_threshold_makes_ones_of_the_column_mean() -> None:
    columns = np.array([[0.2, 0.6], [0.2, 0.4], [np.nan, 1.0]])
    got = smooth(columns, Smooth(columns=["a", "b"], point_threshold=0.4))
    assert got[:2].tolist() == [1.0, 0.0] and np.isnan(got[2])


def test_thresholds_include_their_value_and_exclude_nan_and_made_up_bars() -> None:
    score = [0.5, 0.4, -0.5, -0.4, np.nan, 0.9]
    buy, sell = threshold(score, [False] * 5 + [True], Threshold(buy=0.5, sell=-0.5))
    assert buy.tolist() == [True, False, False, False, False, False]
    assert sell.tolist() == [False, False, True, False, False, False]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=80),
    st.sampled_from(["difference", "relative", "larger"]),
    st.sampled_from([None, 1, 5, 4.5]),
    st.sampled_from([None, 0.2]),
)
def test_stream_equals_batch_to_the_last_bit(rows: list, how: str, window: float | None, point: float | None) -> None:
    signals = chain(
        {"combine": {"columns": ["up", "down"], "name": "raw", "combine": how, "coefficient": 1.7, "constant": 0.01}},
        {"smooth": {"columns": ["raw", "up"], "name": "smooth", "window": window, "point_threshold": point}},
        {"threshold": {"column": "smooth", "buy": 0.3, "sell": 0.1}},
    )
    up = np.array([r[0] if not r[2] else np.nan for r in rows])
    down, filled = np.array([r[1] for r in rows]), np.array([r[3] for r in rows])
    batch = compute(signals, {"up": up, "down": down}, filled)
    stream = SignalStream(signals)
    for t in range(len(rows)):
        bar = stream.update({"up": up[t], "down": down[t]}, bool(filled[t]))
        assert list(bar) == list(batch)
        for name, value in bar.items():
            assert np.array_equal(batch[name][t], value, equal_nan=True), name


def test_a_step_reads_what_earlier_steps_made() -> None:
    signals = chain(
        {"combine": {"columns": ["up", "down"], "name": "raw"}},
        {"smooth": {"columns": ["raw"], "name": "score", "window": 3}},
        {"threshold": {"column": "score", "buy": 1, "sell": 0}},
    )
    assert check_columns(signals, ["down", "up", "other"], "file") == ["up", "down"]


def test_unknown_column_names_the_nearest() -> None:
    signals = chain({"combine": {"columns": ["high_10_lgb", "low_10_lgbm"]}}, {"threshold": {"buy": 1, "sell": 0}})
    with pytest.raises(BadInput) as error:
        check_columns(signals, ["high_10_lgbm", "low_10_lgbm"], "rolling/BTCUSDT.parquet")
    assert "signals.steps[0].combine: no column 'high_10_lgb' in rolling/BTCUSDT.parquet" in error.value.message
    assert error.value.hint == "did you mean 'high_10_lgbm'?"


def test_a_score_may_not_take_a_predictions_name() -> None:
    signals = chain(
        {"combine": {"columns": ["a", "b"], "name": "a"}}, {"threshold": {"column": "a", "buy": 1, "sell": 0}}
    )
    with pytest.raises(BadInput, match="'a' is a prediction's name"):
        check_columns(signals, ["a", "b"], "file")


@pytest.mark.parametrize("count", [0, 2])
def test_there_must_be_exactly_one_threshold_step(count: int) -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        threshold_step(chain(*[{"threshold": {"buy": 1, "sell": 0}}] * count))
