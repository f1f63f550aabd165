"""What an account did by kind of market: every day in one of three and one of two, by the month before it."""

import numpy as np
import pytest

from pipeline.evaluation.regimes import DAYS_BEFORE, by_regime

DAY_MS = 86_400_000


def test_each_day_is_calm_or_wild_and_rising_or_falling_by_the_month_before() -> None:
    rng = np.random.default_rng(0)
    # A hundred calm days that rise, then a hundred wild ones that fall.
    market = np.concatenate([rng.normal(0.004, 0.002, 100), rng.normal(-0.01, 0.04, 100)])
    own = np.where(np.arange(200) < 100, 0.001, -0.002) + rng.normal(0, 1e-4, 200)
    times = DAY_MS * np.arange(-1, 200)
    found = by_regime(times, np.cumprod(np.append(1, 1 + own)), 50 * np.cumprod(np.append(1, 1 + market)))
    days = {name: one["days"] for name, one in found.items()}
    known = 200 - DAYS_BEFORE
    assert days["calm"] + days["between"] + days["wild"] == days["rising"] + days["falling"] == known
    assert abs(days["calm"] - known / 3) <= 1 and abs(days["wild"] - known / 3) <= 1
    # A thousandth a day while it is calm, and less when it is wild.
    assert found["wild"]["total_return"] < 0
    assert 0.04 < found["calm"]["total_return"] < 1.001 ** days["calm"]
    assert found["rising"]["buy_and_hold"] > 0 and (found["calm"]["sharpe"] or 0) > 10
    both = (1 + found["rising"]["total_return"]) * (1 + found["falling"]["total_return"])
    assert both == pytest.approx(np.prod(1 + own[DAYS_BEFORE:]))


def test_what_comes_later_changes_no_days_trend() -> None:
    rng = np.random.default_rng(1)
    market = rng.normal(0, 0.02, 200)
    times = DAY_MS * np.arange(-1, 200)
    whole = by_regime(times, np.ones(201), np.cumprod(np.append(1, 1 + market)))
    shorter = by_regime(times[:-1], np.ones(200), np.cumprod(np.append(1, 1 + market[:-1])))
    apart = {name: whole[name]["days"] - shorter[name]["days"] for name in ("rising", "falling")}
    assert sorted(apart.values()) == [0, 1]


def test_short_or_ruined_accounts_have_no_regimes() -> None:
    times = DAY_MS * np.arange(80)
    assert by_regime(times, np.ones(80), np.ones(80)) == {}
    times = DAY_MS * np.arange(200)
    assert by_regime(times, np.append(np.ones(199), 0.0), np.ones(200)) == {}
