"""ADWIN and Page-Hinkley find what river finds, at the same value; PSI and KS are what scipy and hand say."""

import doctest
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift as river_drift
from scipy import stats

from pipeline.models.drift import adwin, page_hinkley
from pipeline.models.drift.adwin import Adwin
from pipeline.models.drift.ks import independent_values, ks_distance, ks_p_value
from pipeline.models.drift.page_hinkley import PageHinkley
from pipeline.models.drift.psi import psi


def _streams() -> list[list[float]]:
    rng = np.random.default_rng(0)
    jumps = [np.concatenate([rng.normal(a, s, int(n)) for a in rng.normal(0, 2, 6)]).tolist()
             for s, n in ((0.1, 300), (1.0, 500), (3.0, 900))]  # fmt: skip
    ramp = (rng.normal(0, 0.3, 3000) + np.linspace(0, 2, 3000)).tolist()
    coins = (rng.random(4000) < np.repeat([0.1, 0.3, 0.25, 0.1], 1000)).astype(float).tolist()
    return [*jumps, ramp, coins, rng.random(3000).tolist()]


def _documented() -> list[float]:
    rng = random.Random(12345)
    return rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)


def _found(detector, stream: list[float]) -> list[int]:
    return [t for t, value in enumerate(stream) if detector.update(value)]


def _river(detector, stream: list[float]) -> list[int]:
    found = []
    for t, value in enumerate(stream):
        detector.update(value)
        if detector.drift_detected:
            found.append(t)
    return found


def test_the_examples_of_the_documentation_hold() -> None:
    for module in (adwin, page_hinkley):
        assert doctest.testmod(module).failed == 0


def test_rivers_documented_stream_is_found_where_river_finds_it() -> None:
    # reference values: ADWIN 1023, PageHinkley 1006 (river 0.26.1).
    assert _found(Adwin(), _documented()) == [1023]
    assert _found(PageHinkley(), _documented()) == [1006]


@pytest.mark.parametrize("settings_", [{}, {"delta": 0.2}, {"clock": 1}, {"delta": 1e-5, "clock": 7}])
def test_adwin_cuts_where_river_cuts(settings_: dict[str, float]) -> None:
    for stream in _streams():
        mine, theirs = Adwin(**settings_), river_drift.ADWIN(**settings_)
        for t, value in enumerate(stream):
            detected = mine.update(value)
            theirs.update(value)
            assert (detected, mine.width) == (theirs.drift_detected, theirs.width), t
            assert mine.mean == pytest.approx(theirs.estimation, abs=1e-9)


@pytest.mark.parametrize("settings_", [{}, {"delta": 0.05, "threshold": 8.0}, {"threshold": 2.0}])
def test_page_hinkley_rises_where_rivers_does(settings_: dict[str, float]) -> None:
    found = 0
    for stream in _streams():
        mine = _found(PageHinkley(**settings_), stream)
        assert mine == _river(river_drift.PageHinkley(mode="up", **settings_), stream)
        found += len(mine)
    assert found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 1500))
def test_a_detector_goes_on_from_its_saved_state(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    stream = np.concatenate([rng.normal(m, 0.5, 400) for m in (0, 1, 0, 2)]).tolist()
    for make in (Adwin, lambda: PageHinkley(threshold=5)):
        whole, first, second = make(), make(), make()
        expected = _found(whole, stream)
        found = _found(first, stream[:cut])
        second.restore(json.loads(json.dumps(first.save())))
        found += [cut + t for t in _found(second, stream[cut:])]
        assert found == expected and second.save() == whole.save()


def test_adwin_tells_the_direction() -> None:
    for sign in (1, -1):
        detector = Adwin()
        assert _found(detector, [0.0, 0.1] * 500) == []
        for value in [sign * 0.5] * 200:
            if detector.update(value):
                break
        assert detector.detected and detector.rise * sign > 0.1


def test_page_hinkley_is_silent_when_the_mean_falls() -> None:
    assert _found(PageHinkley(threshold=5), [1.0, 1.1] * 300 + [0.0] * 600) == []


def test_psi_by_hand() -> None:
    assert psi(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(-0.25 * np.log(0.5) + 0.25 * np.log(1.5))
    assert psi(np.array([0.2, 0.8]), np.array([0.2, 0.8])) == 0
    # An empty bin is far away, not infinitely far.
    assert 4 < psi(np.array([0.5, 0.5]), np.array([0.0, 1.0])) < 5
    table = np.array([[0.5, 0.5], [0.2, 0.8]])
    assert psi(table, table[::-1]).shape == (2,)


@pytest.mark.parametrize("n", [20, 200, 2000])
def test_ks_p_values_are_scipys(n: int) -> None:
    for distance in np.array([0.3, 1.0, 1.5, 2.5]) / n**0.5:
        assert ks_p_value(distance, n) == pytest.approx(stats.kstwo.sf(distance, n), abs=0.012, rel=0.2)
    assert ks_p_value(0.0, n) == 1.0


def test_ks_distance_is_scipys_where_the_points_are_all_the_values() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=300), rng.normal(0.3, 1, 200)
    points = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (a, b)]
    assert ks_distance(*shares) == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_independent_values_counts_independent_values() -> None:
    rng = np.random.default_rng(2)
    distances = [stats.ks_1samp(rng.random(250), stats.uniform.cdf).statistic for _ in range(400)]
    assert independent_values(float(np.mean(distances))) == pytest.approx(250, rel=0.15)
