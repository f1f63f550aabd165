"""Metrics against empyrical (with our annualisation) and by hand."""

import empyrical
import numpy as np
import pyarrow as pa
import pytest
from builders import START_MS
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.durations import bars_per_year
from pipeline.evaluation.performance import drawdowns, performance
from pipeline.trading.ledger import trade_table
from pipeline.trading.records import TRADE

HOUR = 3_600_000


def trades(*rows: tuple[int, int, float, float]) -> pa.Table:
    """Long trades of quantity 1, bought at 100, from (entry bar, exit bar, pnl, fees)."""
    records = np.zeros(len(rows), TRADE)
    for record, (entry, exit_, pnl, fees) in zip(records, rows, strict=True):
        record["side"], record["entry_bar"], record["exit_bar"], record["reason"] = 1, entry, exit_, 1
        record["entry_price"], record["exit_price"], record["qty"] = 100, 100 + pnl + fees, 1
        record["fees"], record["pnl"], record["return_"] = fees, pnl, pnl / 100
    return trade_table("BTCUSDT", records, times(200))


def times(n: int) -> np.ndarray:
    return START_MS + HOUR * np.arange(n, dtype=np.int64)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(30, 3000), st.floats(-0.001, 0.001), st.sampled_from(["1m", "5m", "1h", "1d"])
)
def test_ratios_equal_empyrical(seed: int, n: int, drift: float, interval: str) -> None:
    returns = np.random.default_rng(seed).standard_t(4, n) * 0.0005 + drift * 0.1
    equity = 10_000 * np.cumprod(np.r_[1.0, 1 + returns])
    got = performance(times(n + 1), equity, trades(), interval)
    year = bars_per_year(interval)
    expected = {
        "total_return": empyrical.cum_returns_final(returns),
        "volatility": empyrical.annual_volatility(returns, annualization=year),
        "sharpe": empyrical.sharpe_ratio(returns, annualization=year),
        "sortino": empyrical.sortino_ratio(returns, annualization=year),
        "max_drawdown": empyrical.max_drawdown(returns),
    }
    growth = year / n * np.log(equity[-1] / equity[0])
    if abs(growth) < 200:
        expected["annual_return"] = empyrical.annual_return(returns, annualization=year)
        expected["calmar"] = empyrical.calmar_ratio(returns, annualization=year)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-11), name


def test_ratios_equal_ffn() -> None:
    # ffn 1.4.1 on the same curve: calc_total_return, calc_max_drawdown, calc_sharpe and calc_sortino_ratio with
    # nperiods=8760. (Its dependencies, yfinance among them, are not worth having in every test environment.)
    returns = np.random.default_rng(0).normal(0.0003, 0.01, 500)
    got = performance(times(501), 100 * np.cumprod(np.r_[1, 1 + returns]), trades(), "1h")
    expected = {
        "total_return": -0.010113746971382231,
        "max_drawdown": -0.20623881833025115,
        "sharpe": 0.2868966854757224,
        "sortino": 0.4033063192407755,
    }
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-9), name


def test_a_year_is_365_days_of_24_hours() -> None:
    equity = np.array([100.0, 101.0, 100.0, 102.0])
    returns = equity[1:] / equity[:-1] - 1
    assert performance(times(4), equity, trades(), "1h")["sharpe"] == pytest.approx(
        returns.mean() / returns.std(ddof=1) * np.sqrt(365 * 24)
    )


def test_drawdown_lasts_from_its_peak_to_recovery() -> None:
    equity = np.array([100, 110, 105, 99, 104, 110, 109, 108, 120], float)
    got = performance(times(9), equity, trades(), "1h")
    assert got["max_drawdown"] == pytest.approx(-0.1)
    assert got["max_drawdown_bars"] == 4
    assert drawdowns(equity)[-1] == 0


def test_drawdown_without_recovery_lasts_to_the_end() -> None:
    assert performance(times(4), np.array([100.0, 90, 80, 85]), trades(), "1h")["max_drawdown_bars"] == 3


def test_trade_figures_by_hand() -> None:
    got = performance(times(101), np.full(101, 1000.0), trades((10, 20, 30, 1), (30, 35, -10, 2), (40, 40, 5, 1)), "1h")
    assert got["trades"] == 3
    assert got["win_rate"] == pytest.approx(2 / 3)
    assert got["profit_factor"] == pytest.approx(3.5)
    assert got["expectancy"] == pytest.approx(0.25 / 3)
    assert got["avg_bars_held"] == 5
    assert got["fees"] == 4
    assert got["exposure"] == pytest.approx((10 + 5 + 1) / 100)
    assert got["turnover"] == pytest.approx((300 + 131 + 92 + 106) / 1000 / (100 / 8760))


def test_exposure_counts_overlapping_trades_once_and_only_the_period() -> None:
    got = performance(times(11), np.full(11, 1.0), trades((1, 4, 1, 0), (2, 5, 1, 0), (8, 30, 1, 0)), "1h")
    assert got["exposure"] == pytest.approx((4 + 3) / 10)


def test_nothing_traded_leaves_ratios_undefined_and_the_return_zero() -> None:
    got = performance(times(50), np.full(50, 1000.0), trades(), "1h")
    assert got["total_return"] == 0 and got["max_drawdown"] == 0 and got["exposure"] == 0 and got["trades"] == 0
    for name in ("sharpe", "sortino", "calmar", "win_rate", "profit_factor", "expectancy", "avg_bars_held"):
        assert got[name] is None, name


def test_no_loss_leaves_the_profit_factor_undefined() -> None:
    assert performance(times(50), np.full(50, 1.0), trades((1, 2, 5, 0)), "1h")["profit_factor"] is None


def test_equity_below_zero_leaves_ratios_undefined() -> None:
    got = performance(times(3), np.array([100.0, -5, -6]), trades(), "1h")
    assert got["sharpe"] is None and got["annual_return"] is None and got["total_return"] == pytest.approx(-1.06)


def test_one_bar_is_no_period() -> None:
    assert performance(times(1), np.array([100.0]), trades(), "1h")["total_return"] == 0
