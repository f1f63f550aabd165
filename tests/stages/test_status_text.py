"""The status of a running `serve`, as text."""

from pipeline.stages.status_text import status_text


def test_what_rounding_leaves_of_the_cash_is_not_a_negative_nothing() -> None:
    text = status_text({"name": "demo", "mode": "shadow", "equity": 10_177.13, "cash": -1.8e-12, "day_pnl": -0.001})
    assert "free 0.00" in text
    assert "today +0.00" in text
