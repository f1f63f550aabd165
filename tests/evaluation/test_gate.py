"""The gate's checks, one limit at a time, and what the ledger of promotions amounts to."""

import json
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.gate import Gate
from pipeline.errors import BadInput
from pipeline.evaluation.gate import (
    STEPS,
    Record,
    champion_check,
    days_check,
    longest_loss,
    luck_checks,
    record_checks,
    record_of,
    search_checks,
    step_check,
)
from pipeline.evaluation.overfitting import pbo
from pipeline.evaluation.promotions import Entry, Promotions, standing
from pipeline.evaluation.significance import deflated
from pipeline.evaluation.trials import Search

DAY_MS = 86_400_000
GOOD = Record(100, 0.52, 1.3, 10, -0.1499, 0.2, False, tuple(range(300)), (0.001, 0.0005) * 150)


def failed(record: Record, gate: Gate | None = None) -> list[str]:
    return [check.name for check in record_checks(record, gate or Gate()) if not check.passed]


def test_record_at_every_limit_passes() -> None:
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("out of sample", {"in_sample": True}),
        ("trades", {"trades": 99}),
        ("win rate", {"win_rate": 0.5199}),
        ("win rate", {"win_rate": None}),
        ("profit factor", {"profit_factor": 1.299}),
        ("drawdown", {"max_drawdown": -0.15}),
        ("losses in a row", {"losses_in_a_row": 11}),
        ("net profit", {"total_return": 0.0}),
    ],
)
def test_record_beyond_one_limit_fails_that_check_alone(name: str, change: dict[str, float]) -> None:
    assert failed(replace(GOOD, **change)) == [name]  # type: ignore[arg-type]


def test_trades_without_a_loss_have_the_best_profit_factor_and_no_trades_have_none() -> None:
    assert failed(replace(GOOD, win_rate=1.0, profit_factor=None)) == []
    assert "profit factor" in failed(replace(GOOD, trades=0, win_rate=None, profit_factor=None))


@given(st.lists(st.sampled_from([-1.0, 0.0, 2.0]), max_size=40))
def test_longest_loss_is_the_longest_run_without_a_profit(pnl: list[float]) -> None:
    runs = [len(list(run)) for is_loss, run in groupby(profit <= 0 for profit in pnl) if is_loss]
    assert longest_loss(pnl) == max(runs, default=0)


def test_record_is_of_days_and_of_trades_and_survives_json() -> None:
    times = DAY_MS // 2 * np.arange(9)  # half days: the last is the first half of day 4
    equity = np.array([100, 101, 102, 99, 102.0, 103, 104, 105, 110])
    record = record_of(times, equity, [2.0, -1.0, -1.0, 5.0])
    assert (record.trades, record.win_rate, record.profit_factor, record.losses_in_a_row) == (4, 0.5, 3.5, 2)
    assert record.days == (0, 1, 2, 3, 4)
    assert np.prod(1 + np.array(record.returns)) == pytest.approx(1.1) and record.total_return == pytest.approx(0.1)
    assert record.max_drawdown == pytest.approx(99 / 102 - 1)
    assert Record.from_json(json.loads(json.dumps(record.json()))) == record


def test_equity_that_was_used_up_has_no_daily_returns_and_no_evidence() -> None:
    record = record_of(DAY_MS * np.arange(30), np.linspace(10, -1, 30), [-11.0])
    assert record.returns == () == record.days
    luck = luck_checks(deflated(record.returns, [1.0]), None, 0, Gate())
    assert [check.passed for check in luck] == [False, True]


def test_grid_whose_overfitting_was_not_measured_fails() -> None:
    luck = luck_checks(deflated(GOOD.returns, [1.0]), None, 400, Gate())
    assert [check.passed for check in luck] == [True, False]


def test_luck_fails_the_deflated_ratio_and_a_wide_interval_fails_overfitting() -> None:
    returns = np.random.default_rng(3).normal(0, 0.01, (730, 50))
    sharpes = np.sqrt(365) * returns.mean(0) / returns.std(0, ddof=1)
    best = returns[:, sharpes.argmax()]
    checks = luck_checks(deflated(best, sharpes), asdict(pbo(returns, periods=730, draws=50)), 50, Gate())
    assert [check.name for check in checks if not check.passed] == ["deflated Sharpe ratio", "overfitting"]
    skilled = returns + np.where(np.arange(50) == 7, 0.003, 0.0)
    sharpes = np.sqrt(365) * skilled.mean(0) / skilled.std(0, ddof=1)
    checks = luck_checks(deflated(skilled[:, 7], sharpes), asdict(pbo(skilled, periods=730, draws=50)), 50, Gate())
    assert all(check.passed for check in checks)


def days(returns: np.ndarray, first: int = 0) -> Record:
    return replace(GOOD, days=tuple(range(first, first + len(returns))), returns=tuple(returns.tolist()))


def test_another_strategy_has_to_be_better_than_the_champion() -> None:
    rng = np.random.default_rng(1)
    market = rng.normal(0, 0.01, 400)
    champion, better = days(market), days(market + rng.normal(0.002, 0.002, 400))
    assert champion_check(better, champion, False, Gate(), 0).passed
    assert not champion_check(champion, better, False, Gate(), 0).passed
    like = days(market + rng.normal(0, 0.002, 400))
    assert not champion_check(like, champion, False, Gate(), 0).passed
    assert champion_check(champion, None, False, Gate(), 0).passed


def test_the_same_strategy_trained_anew_must_not_be_worse() -> None:
    rng = np.random.default_rng(2)
    market = rng.normal(0, 0.01, 400)
    champion = days(market[:380])
    longer = days(market)  # the same returns where both have any
    assert champion_check(longer, champion, True, Gate(), 0).passed
    assert not champion_check(longer, champion, False, Gate(), 0).passed
    worse = days(market - rng.normal(0.003, 0.002, 400))
    assert not champion_check(worse, champion, True, Gate(), 0).passed


def test_champion_is_compared_on_the_days_of_both_only() -> None:
    rng = np.random.default_rng(4)
    market = rng.normal(0, 0.01, 60)
    # Great returns on days of which the champion has none.
    own = days(np.concatenate([market, np.full(200, 0.05)]), first=100)
    assert not champion_check(own, days(market, first=100), False, Gate(), 0).passed
    few = champion_check(days(market), days(market, first=31), True, Gate(), 0)
    assert not few.passed and few.found == "29 days in common"


@given(st.sampled_from(STEPS), st.sampled_from(STEPS[1:]))
def test_no_step_is_left_out(stage: str, to: str) -> None:
    assert step_check(stage, to).passed == (STEPS.index(to) <= STEPS.index(stage) + 1)


def test_days_have_to_be_lived() -> None:
    assert days_check("days", 7.0, 7, "").passed and not days_check("days", 6.99, 7, "").passed


def entry(action: str, bundle: str, stage: str, current: str | None, previous: str | None = None) -> Entry:
    return Entry(action, bundle, stage, current, previous, "2024-01-01T00:00:00+00:00", "2024-01-01", "me", {"f": "0"})


def test_ledger_is_read_as_written_and_an_altered_line_shows(tmp_path: Path) -> None:
    book = Promotions(tmp_path / "promotions.jsonl")
    lines = [entry("promote", "a", stage, "a") for stage in STEPS[1:]]
    for line in lines:
        book.append(line)
    assert book.read() == lines and book.standing().champion == "a"
    path = tmp_path / "promotions.jsonl"
    text = path.read_text()
    for damaged in (text.replace('"a"', '"b"', 1), text.split("\n", 1)[1], text.replace("shadow", "live", 1)):
        path.write_text(damaged)
        with pytest.raises(BadInput, match=r"promotions\.jsonl: line 1 is damaged"):
            book.read()


def test_champion_before_comes_back_and_what_was_left_does_not() -> None:
    lines = [
        entry("promote", "a", "live", "a"),
        entry("promote", "b", "live", "b", "a"),
        entry("promote", "c", "live", "c", "b"),
        entry("rollback", "b", "live", "b", "c"),
    ]
    before, after = standing(lines[:3]), standing(lines)
    assert before.champions == ["a", "b", "c"] and before.stages["b"] == "retired" and before.kept == {"b", "c"}
    assert after.champions == ["a", "b"] and after.current == "b"
    assert after.stages == {"a": "retired", "b": "live", "c": "retired"}


def test_retrained_bundles_are_candidates_and_need_not_be_kept() -> None:
    known = standing([entry("retrain", "a", "candidate", "a"), entry("retrain", "b", "candidate", "b", "a")])
    assert known.champion is None and known.currents == ["a", "b"] and known.kept == set()
    held = standing([entry("promote", "a", "live", "a"), entry("retrain", "b", "candidate", "a", "a")])
    assert held.champion == "a" == held.current and held.kept == {"a"}


@pytest.mark.parametrize(
    ("held", "asking", "gives_way"),
    [
        ("candidate", "candidate", True),
        ("shadow", "candidate", True),
        ("testnet", "shadow", False),
        ("testnet", "testnet", True),
        ("live", "testnet", False),
        ("live", "live", True),
    ],
)
def test_what_sends_orders_gives_way_only_to_what_may(held: str, asking: str, gives_way: bool) -> None:
    known = standing([entry("promote", "a", held, "a")])
    assert known.gives_way("b", asking) == gives_way and known.gives_way("a", asking)
    assert standing([]).gives_way("b", asking)


@pytest.mark.parametrize(
    ("search", "passes", "said"),
    [
        (Search(60, False), False, "has not come to its end"),
        (Search(60, True, False), True, "none of 60 sets was chosen"),
        (Search(60, True, True, "sharpe", {"pbo": 0.4, "low": 0.1, "high": 0.7, "sentence": ""}), True, "to 0.700"),
        (Search(60, True, True, "sharpe", {"pbo": 0.4, "low": 0.1, "high": 0.71, "sentence": "s"}), False, "PBO 0.400"),
        (Search(3, True, True, "sharpe", None), False, "no PBO of 3 sets"),
        (Search(60, True, True, "log_loss", None), True, "by log loss"),
    ],
)
def test_search_that_chose_by_luck_or_does_not_tell_fails(search: Search, passes: bool, said: str) -> None:
    (check,) = search_checks(search, Gate())
    assert (check.passed, check.name) == (passes, "overfitting of the search") and said in check.found


def test_without_a_search_there_is_nothing_to_check() -> None:
    assert search_checks(None, Gate()) == []
