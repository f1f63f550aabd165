"""Weights of training rows: equal to the book, to brute force, and what they do to a fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.training import Algorithm
from pipeline.models.fitting import binned_rows, fit
from pipeline.models.samples import Samples, Target
from pipeline.models.sequential_bootstrap import draw_chances, sequential_bootstrap
from pipeline.models.weights import (
    Weighting,
    average_uniqueness,
    exponential_decay,
    linear_decay,
    row_weights,
)

# reference_values.json, "uniqueness": AFML snippets 4.3 to 4.6, after mlfinlab's test_sampling.
SPANS = np.array([[0, 3], [2, 4], [4, 6]])


def _spans(seed: int, n: int, longest: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 40, n)
    return np.column_stack([first, first + rng.integers(1, longest + 1, n)])


def _brute_uniqueness(spans: np.ndarray) -> np.ndarray:
    indicator = np.zeros((spans.max(), len(spans)))
    for label, (first, stop) in enumerate(spans):
        indicator[first:stop, label] = 1
    with np.errstate(invalid="ignore"):
        share = indicator / indicator.sum(axis=1, keepdims=True)
    return np.array([share[a:b, i].mean() for i, (a, b) in enumerate(spans)])


def test_uniqueness_is_that_of_the_book() -> None:
    unique = average_uniqueness(SPANS)
    assert np.round(unique, 4).tolist() == [0.8333, 0.75, 1.0]
    cells = SPANS[:, 1] - SPANS[:, 0]
    assert round(float(np.average(unique, weights=cells)), 4) == 0.8571


def test_chances_of_the_second_draw_are_those_of_the_book() -> None:
    chances = draw_chances(SPANS, np.array([1]))
    assert np.round(chances, 8).tolist() == [0.35714286, 0.21428571, 0.42857143]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_uniqueness_equals_the_indicator_matrix(seed: int, n: int) -> None:
    spans = _spans(seed, n)
    np.testing.assert_allclose(average_uniqueness(spans), _brute_uniqueness(spans), atol=1e-12)
    np.testing.assert_allclose(average_uniqueness(spans + 10**12), _brute_uniqueness(spans), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25))
def test_the_sequential_bootstrap_draws_by_the_chances_of_the_definition(seed: int, n: int) -> None:
    spans = _spans(seed, n)
    order = np.argsort(spans[:, 0], kind="stable")
    luck = np.random.default_rng(seed).random(2 * n)
    drawn = sequential_bootstrap(spans, 2 * n, seed)
    for k, chosen in enumerate(drawn):
        edges = np.cumsum(draw_chances(spans, drawn[:k])[order])
        place = int(np.flatnonzero(order == chosen)[0])
        assert (edges[place - 1] if place else 0.0) - 1e-9 <= luck[k] <= edges[place] + 1e-9


def test_the_sequential_bootstrap_draws_less_overlapping_labels_than_chance() -> None:
    # The book's Monte Carlo (4.5.4): ten labels of up to five bars that begin within a hundred.
    ours, plain = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 100, 10)
        spans = np.column_stack([first, first + rng.integers(1, 6, 10)])
        ours.append(average_uniqueness(spans[sequential_bootstrap(spans, 10, seed)]).mean())
        plain.append(average_uniqueness(spans[rng.integers(0, 10, 10)]).mean())
    assert np.mean(ours) > np.mean(plain) + 0.03


def test_decay_runs_from_one_down_to_what_was_asked_for() -> None:
    times = np.arange(1000) * 60_000
    line = linear_decay(np.ones(1000), times, 0.25)
    assert line[-1] == 1.0 and line[0] == pytest.approx(0.25, abs=1e-3)
    assert np.all(np.diff(line) > 0)
    np.testing.assert_allclose(np.diff(line), np.diff(line)[0], rtol=1e-9)
    half = exponential_decay(times, 100 * 60_000)
    assert half[-1] == 1.0 and half[-101] == pytest.approx(0.5) and half[-201] == pytest.approx(0.25)


def test_decay_passes_more_slowly_where_labels_overlap() -> None:
    # AFML snippet 4.11 by hand: uniqueness 1, 1/2, 1/2 and the oldest down to 0: 1/2, 3/4, 1.
    found = linear_decay(np.array([1.0, 0.5, 0.5]), np.array([1, 2, 3]), 0.0)
    np.testing.assert_allclose(found, [0.5, 0.75, 1.0])


@pytest.mark.parametrize("wrong", [[[3, 3]], [[0, 1], [5, 4]]])
def test_a_label_that_spans_no_bar_is_refused(wrong: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=f"label {len(wrong) - 1} spans no bar"):
        average_uniqueness(np.array(wrong))


def _samples(weighting: Weighting, n: int = 1200, symbols: int = 2) -> Samples:
    # Two symbols at the same times; the second half of the first symbol's labels last four times as long.
    rng = np.random.default_rng(0)
    features = np.asfortranarray(rng.normal(size=(n, 3)).astype(np.float32))
    part = n // symbols
    times = np.tile(np.arange(part, dtype=np.int64) * 60_000, symbols)
    length = np.where(np.arange(n) % part < part // 2, 2, 8)
    target = Target(
        (features[:, 0] + rng.normal(size=n) > 0).astype(float), np.ones(n, bool), times + length * 60_000, True
    )
    number = np.repeat(np.arange(symbols, dtype=np.int32), part)
    return Samples(
        ["a", "b", "c"], features, times, number, np.arange(n), np.ones(n, bool), {"up": target}, 60_000,
        weighting=weighting,
    )  # fmt: skip


def test_labels_of_other_symbols_do_not_make_a_row_less_unique() -> None:
    samples = _samples(Weighting(uniqueness=True))
    rows = np.arange(1200)
    both, alone = row_weights(samples, "up", rows, 0), row_weights(samples, "up", rows[:600], 0)
    assert both is not None and alone is not None
    np.testing.assert_allclose(both[:600], alone)
    assert both.mean() == pytest.approx(1.0)
    # Three labels at a bar in the first half, nine in the second.
    assert both[100] / both[500] == pytest.approx(3.0)


def test_weights_know_nothing_but_the_rows_that_are_fitted() -> None:
    samples = _samples(Weighting(uniqueness=True, bootstraps=2, oldest=0.5, half_life_ms=60_000_000))
    rows = np.arange(0, 300)
    target = samples.targets["up"]
    target.end_ms[700:] += 10**9
    before = row_weights(samples, "up", rows, 1)
    target.end_ms[400:] += 10**10
    assert np.array_equal(before, row_weights(samples, "up", rows, 1))


def test_without_weighting_there_are_no_weights() -> None:
    assert row_weights(_samples(Weighting()), "up", np.arange(10), 0) is None


@pytest.mark.parametrize("kind", ["lightgbm", "linear"])
@pytest.mark.parametrize("balanced", [None, "balanced"])
def test_a_weight_of_two_is_a_row_twice(kind: str, balanced: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = _samples(Weighting(), symbols=1)
    rows = np.arange(1200)
    double = np.where(rows % 3 == 0, 2.0, 1.0)
    twice = np.sort(np.concatenate([rows, rows[rows % 3 == 0]]))
    # LightGBM estimates the rows of a leaf from its weight, so only trees that no such limit binds are the same.
    params = {"num_leaves": 3, "min_data_in_leaf": 1} if kind == "lightgbm" else {"tol": 1e-10}
    algorithm = Algorithm(name="m", kind=kind, rounds=20 if kind == "lightgbm" else 500, params=params,
                          class_weight=balanced)  # fmt: skip
    binned = binned_rows(samples, [algorithm], None, 1).get("m")
    monkeypatch.setattr("pipeline.models.fitting.row_weights", lambda *_: double)
    weighted = fit(samples, binned, "up", algorithm, rows, 0).predict(samples.features)
    monkeypatch.setattr("pipeline.models.fitting.row_weights", lambda *_: None)
    repeated = fit(samples, binned, "up", algorithm, twice, 0).predict(samples.features)
    np.testing.assert_allclose(weighted, repeated, atol=1e-6 if kind == "lightgbm" else 2e-3)
