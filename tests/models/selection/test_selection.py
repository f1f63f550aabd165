"""Planted features are kept and noise is dropped; nothing after the window matters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.selection import Selection
from pipeline.models.selection import Selected, select
from pipeline.models.selection.clustered_importance import clusters
from pipeline.models.selection.mrmr import evidence

METHODS = ("mrmr", "permutation", "shadow")


def slow(rng: np.random.Generator, n: int, k: int, span: int) -> np.ndarray:
    """Autocorrelated columns [n, k], as windows over bars are."""
    noise = rng.normal(size=(n + span, k))
    total = np.cumsum(noise, axis=0)
    return ((total[span:] - total[:-span]) / np.sqrt(span)).astype(np.float32)


def window(seed: int, n: int = 4000, regression: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Ten columns: 2 is linear in the outcome, 5 decides by its size, 7 repeats 2; the others are noise."""
    rng = np.random.default_rng(seed)
    x = slow(rng, n, 10, 12)
    x[:, 7] = x[:, 2] + 0.1 * rng.normal(size=n).astype(np.float32)
    drive = 0.9 * x[:, 2] + 1.2 * (np.abs(x[:, 5]) - 0.8) + rng.normal(size=n)
    return x, drive if regression else (drive > 0.3).astype(np.float64)


def chosen(x: np.ndarray, y: np.ndarray, seed: int = 0, **section: object) -> Selected:
    late = np.arange(len(x)) >= 0.8 * len(x)
    overlap = (np.arange(len(x)) >= 0.8 * len(x) - 12) & ~late
    classification = len(np.unique(y)) == 2
    return select(x, y, classification, late, overlap, Selection.model_validate(section), seed)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_planted_features_are_kept_and_noise_is_dropped(method: str, seed: int) -> None:
    kept = set(chosen(*window(seed), method=method).columns.tolist())
    assert 5 in kept and kept & {2, 7}
    assert len(kept - {2, 5, 7}) <= (0 if method == "shadow" else 1)  # of seven, one may pass by luck


@pytest.mark.parametrize("method", METHODS)
def test_numbers_are_learned_from_as_well(method: str) -> None:
    kept = chosen(*window(3, regression=True), method=method).columns.tolist()
    assert set(kept) & {2, 7} and 5 in kept


@pytest.mark.parametrize("method", METHODS)
def test_of_noise_alone_one_feature_is_left_and_said_to_be_no_better(method: str) -> None:
    rng = np.random.default_rng(1)
    x = slow(rng, 4000, 8, 24)
    y = (slow(rng, 4000, 1, 24)[:, 0] > 0).astype(np.float64)  # as slow as the features, and unrelated
    found = chosen(x, y, method=method)
    assert found.passed <= 1 and found.kept == 1


def test_shuffled_shadows_would_let_slow_noise_pass() -> None:
    # Why shadows are shifted: a slow feature fits a slow label by chance, better than any shuffled copy does.
    from pipeline.models.selection.evidence import small_model

    rng = np.random.default_rng(1)
    x = slow(rng, 4000, 8, 200)
    y = (slow(rng, 4000, 1, 200)[:, 0] > 0).astype(np.float64)
    both = np.concatenate([x, rng.permutation(x)], axis=1)
    gain = small_model(both, y, True, np.arange(4000), 0).feature_importance("gain")
    assert (gain[:8] > gain[8:].max()).sum() >= 4
    assert chosen(x, y, method="shadow").passed <= 1


@pytest.mark.parametrize("method", METHODS)
def test_keep_limits_the_number_and_ranks_the_repeated_feature_last(method: str) -> None:
    found = chosen(*window(5), method=method, keep=2)
    assert found.kept == 2
    if method != "shadow":  # which knows no redundancy
        assert set(found.columns.tolist()) in ({2, 5}, {7, 5})


@pytest.mark.parametrize("method", METHODS)
def test_the_same_rows_give_the_same_choice(method: str) -> None:
    x, y = window(2, n=2000)
    assert chosen(x, y, method=method) == chosen(x.copy(order="F"), y, method=method)
    assert sorted(chosen(x, y, method=method).ranking) == list(range(10))


def test_no_more_rows_than_asked_for_are_looked_at() -> None:
    x, y = window(2, n=3000)
    thin = chosen(x[::3], y[::3], method="mrmr")
    assert chosen(x, y, method="mrmr", max_rows=1000) == thin


def test_mutual_information_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import mutual_info_score

    from pipeline.models.selection import mrmr

    x, y = window(4, n=3000)
    bins = [mrmr._bins(x[:, j].astype(np.float64)) for j in range(10)]
    theirs = [mutual_info_score(b, y) for b in bins]
    hot = mrmr._one_hot(np.column_stack(bins), mrmr.BINS)
    target = mrmr._one_hot(y.astype(np.int64)[:, None], 2)
    np.testing.assert_allclose(mrmr._information(hot.T @ target, mrmr.BINS, 2)[:, 0], theirs, atol=1e-12)
    assert evidence(x, y, True, 0).ranking[0] in (2, 5, 7)


def test_columns_that_go_together_share_a_cluster() -> None:
    x, _ = window(0)
    groups = clusters(np.column_stack([x, -x[:, 4], np.ones(len(x), np.float32)]).astype(np.float32))
    assert groups[2] == groups[7] and groups[4] == groups[10]
    assert len(np.unique(groups)) == 10


def test_permutation_importance_wants_a_later_part() -> None:
    x, y = window(0, n=1000)
    with pytest.raises(ValueError, match="later ones"):
        select(x, y, True, np.zeros(1000, bool), np.zeros(1000, bool), Selection(method="permutation"), 0)
