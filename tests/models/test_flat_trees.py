"""LightGBM's trees walked in one block: the same bits as LightGBM's, or None."""

import math
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.flat_trees import FlatTrees, flat_trees, together

K = 5


def model(seed: int = 0, rounds: int = 20, **settings: Any) -> lgb.Booster:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(0, 1, (400, K)), 2)
    x[:, 1] *= rng.random(400) > 0.5
    x[rng.random((400, K)) < 0.05] = np.nan
    y = np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, 1]) + rng.normal(0, 0.3, 400) > 0
    chosen = {"objective": "binary", "num_leaves": 15, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1}
    return lgb.train(chosen | settings, lgb.Dataset(x, y.astype(float), free_raw_data=False), rounds)


def rows_at_thresholds(flat: FlatTrees, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (n, K)).astype(np.float32)
    for k in range(K):
        own = flat.splits["threshold"][flat.splits["feature"] == k]
        # That of a split between numbers and none is the largest double.
        own = own[np.abs(own) < 1e30]
        if len(own):
            rows[:, k] = np.where(rng.random(n) < 0.7, rng.choice(own, n), rows[:, k])
    rows[rng.random((n, K)) < 0.1] = 0.0
    rows[rng.random((n, K)) < 0.05] = np.float32(1e-35)
    rows[rng.random((n, K)) < 0.05] = np.float32(-9e-36)
    return rows


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([{}, {"objective": "regression"}, {"num_leaves": 2}, {"sigmoid": 1.7}, {"learning_rate": 3.0}]),
)
def test_scores_have_the_bits_of_lightgbm(seed: int, chosen: dict[str, Any]) -> None:
    booster = model(seed, **chosen)
    flat = flat_trees(booster.model_to_string())
    assert flat is not None
    for row in rows_at_thresholds(flat, 200, seed):
        assert flat.score(row) == booster.predict(row.reshape(1, -1), num_threads=1)[0]


def test_models_side_by_side_read_their_own_columns_of_many_rows() -> None:
    boosters = [model(1), model(2, min_data_in_leaf=1000), model(3, objective="regression")]
    flats = [flat_trees(booster.model_to_string()) for booster in boosters]
    places = [np.arange(K), np.arange(K), np.arange(K)[::-1] + 1]
    both = together([(flat, columns) for flat, columns in zip(flats, places, strict=True) if flat is not None])
    rows = np.concatenate([rows_at_thresholds(both, 300, 4), np.full((300, 1), 0.1, np.float32)], axis=1)
    rows[7, 0], rows[8, K] = np.nan, np.nan
    scores = np.empty((300, 3))
    both.score_rows(rows, np.arange(K), scores)
    assert np.isnan(scores[7]).all() and not np.isnan(scores[8, :2]).any()
    rows[7, 0], rows[8, K] = 0.0, 0.0
    both.score_rows(rows, np.arange(K + 1), scores)
    wanted = [booster.predict(rows[:, own], num_threads=1) for booster, own in zip(boosters, places, strict=True)]
    assert scores.tobytes() == np.column_stack(wanted).tobytes()


def test_what_is_no_number_has_no_score() -> None:
    flat = flat_trees(model().model_to_string())
    assert flat is not None
    for wrong in (np.nan, np.inf, -np.inf):
        row = np.zeros(K, np.float32)
        row[3] = wrong
        assert math.isnan(flat.score(row))


def test_a_model_that_learnt_nothing_is_its_constant() -> None:
    booster = model(min_data_in_leaf=1000)
    flat = flat_trees(booster.model_to_string())
    assert flat is not None and not len(flat.splits)
    assert flat.score(np.zeros(K, np.float32)) == booster.predict(np.zeros((1, K)))[0]


@pytest.mark.parametrize(
    "chosen",
    [
        {"categorical_feature": [1], "objective": "regression"},
        {"zero_as_missing": True},
        {"objective": "poisson"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"linear_tree": True, "objective": "regression"},
    ],
    ids=lambda chosen: next(iter(chosen)),
)
def test_what_is_not_known_is_left_to_lightgbm(chosen: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x = np.abs(np.round(rng.normal(0, 2, (500, K))))
    y = (x[:, 1] % 2 == 0).astype(float) + x[:, 0]
    y = y if chosen.get("objective") else (y > 1).astype(float)
    settings = {"objective": "binary", "verbosity": -1, "num_leaves": 8, "min_data_in_leaf": 5} | chosen
    booster = lgb.train(settings, lgb.Dataset(x, y), 5)
    assert flat_trees(booster.model_to_string()) is None
