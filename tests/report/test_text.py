"""Figures, dates and the verdict in words."""

from typing import Any

import pytest

from pipeline.report import text


def metrics(total: float = 0.2, hold: float = 0.1, p: float | None = 0.01, trades: int = 200, **more: Any) -> Any:
    own = {"total_return": total, "trades": trades}
    return {
        "period": {"start": "2024-01-01T00:00:00Z", "end": "2025-01-01T00:00:00Z", "bars": 8784},
        "split_time": "2024-07-01T00:00:00Z",
        "thresholds": {"chosen_by": "grid"},
        "headline_part": "evaluation",
        "headline": own,
        "buy_and_hold": {"evaluation": {"total_return": hold}},
        "random_entry": None if p is None else {"n": 999, "p_value": p},
        "counts": {"bars": 8784, "ambiguous_bars": 0, "filled_bars": 0},
        "in_sample": False,
        **more,
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1234, "+12.3 %"), (-0.1234, "−12.3 %"), (0.0, "0.0 %"), (-0.0004, "0.0 %"), (12.0, "+1,200.0 %"), (None, "–")],
)
def test_a_fraction_is_shown_as_percent(value: float | None, shown: str) -> None:
    assert text.percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.5, "1,234.50"), (-2, "−2"), (-0.001, "0.00"), (0, "0"), (None, "–")]
)
def test_a_number_has_thousands_and_a_true_minus(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


def test_a_sentence_of_the_metrics_is_set_as_the_page_is() -> None:
    sentence = "+2.33 (90% interval -0.31 to 5.33) from 2023-08-31 on, out-of-sample"
    assert text.typeset(sentence) == "+2.33 (90 % interval −0.31 to 5.33) from 2023-08-31 on, out-of-sample"


def test_the_verdict_names_the_period_the_rival_and_the_random_strategies() -> None:
    assert text.verdict(metrics(total=-0.123, hold=0.45, p=0.371)) == (
        "After costs the strategy made −12.3 % from 1 Jul 2024 to 31 Dec 2024; buy & hold made +45.0 %; "
        "370 of 999 random strategies with the same exposure did at least as well."
    )


def test_the_verdict_without_trades_says_so() -> None:
    assert "made no trades" in text.verdict(metrics(total=0.0, trades=0))


@pytest.mark.parametrize(
    ("given", "mood", "word"),
    [
        (metrics(), "good", "Better than luck"),
        (metrics(hold=0.3), "fair", "holding earned more"),
        (metrics(p=None), "fair", "not tested"),
        (metrics(p=0.3), "bad", "No better than luck"),
        (metrics(total=-0.1, hold=-0.5), "bad", "lost money"),
        (metrics(trades=0), "bad", "Nothing was traded"),
        (metrics(in_sample=True), "bad", "In sample"),
    ],
)
def test_praise_needs_profit_more_than_holding_and_more_than_luck(given: Any, mood: str, word: str) -> None:
    found, why = text.meaning(given)
    assert (found, word in why) == (mood, True)


def test_warnings_name_what_weakens_the_figures() -> None:
    assert text.warnings(metrics()) == []
    counts = {"bars": 100, "ambiguous_bars": 7, "filled_bars": 5}
    found = " ".join(text.warnings(metrics(trades=6, in_sample=True, counts=counts)))
    assert all(words in found for words in ("In sample", "Only 6 trades", "In 7 bars", "5.0 %"))
    assert "No pair of thresholds" in text.warnings(metrics(thresholds={"chosen_by": "config"}))[0]
    assert "no separate evaluation part" in text.warnings(metrics(headline_part="all", split_time=None))[0]
    split = metrics(headline_part="all", split_time="2024-07-01T00:00:00Z")
    assert "config's: if they were set by looking" in text.warnings(split)[0]


@pytest.mark.parametrize(
    ("days", "shown"), [(0.25, "6 h"), (2.5, "2.5 d"), (99.96, "100 d"), (225.4, "225 d"), (1956.9, "1,957 d")]
)
def test_a_span_of_years_is_told_in_days_and_not_in_powers_of_ten(days: float, shown: str) -> None:
    assert text.duration(days * 86_400_000) == shown
