"""Each rule just inside its limit, on it, and just beyond it."""

import math

import numpy as np
import pytest
from trading.markets import as_market, at, market, rules

from pipeline.config.risk import Risk
from pipeline.trading.bars import Bars
from pipeline.trading.core import step_once
from pipeline.trading.gates import INPUTS, GateRules, gate_rules, refusal, refusals, windows_at
from pipeline.trading.market import market_of, signals_of
from pipeline.trading.reasons import BREAKER_CODES, CODES, COUNT, REASONS
from pipeline.trading.records import EXIT_REASONS, TRADE, halt, new_account, new_positions, reset
from pipeline.trading.rules import DAY_MS, Rules
from pipeline.trading.simulation import Simulation, simulate

EPSILON = 1e-9
FLAT = (100.0, 100.0, 100.0, 100.0)
WORDS = list(REASONS)


def gate(gates: GateRules, side: int = 1, **values: float) -> str:
    """The word of the gate that refuses a bar whose other inputs are all zero."""
    inputs = np.zeros(len(INPUTS))
    for name, value in values.items():
        inputs[INPUTS.index(name)] = value
    return WORDS[refusal(inputs, side, gates)]


def test_there_are_at_least_25_rules_and_each_has_a_word_and_a_sentence() -> None:
    breakers = [word for word in BREAKER_CODES if word]
    assert len([w for w in WORDS if w not in ("traded", "lapsed")]) + len(breakers) >= 25
    assert all(" " in sentence for sentence in REASONS.values())


@pytest.mark.parametrize(
    ("gates", "name", "limit", "word", "passes_above"),
    [
        (GateRules(uses_score=True, min_score=70, full_score=0.5), "score", 0.35, "min_score", True),
        (GateRules(uses_volume=True, min_volume=0.5), "volume_ratio", 0.5, "low_volume", True),
        (GateRules(uses_rsi=True, rsi_high=70), "rsi", 70, "rsi_extreme", False),
        (GateRules(uses_spread=True, max_spread_bps=10), "spread_bps", 10, "wide_spread", False),
        (GateRules(uses_depth=True, min_depth=5000), "depth_quote", 5000, "thin_book", True),
        (GateRules(max_price_age=5), "price_age_s", 5, "stale_price", False),
        (GateRules(max_balance_age=60), "balance_age_s", 60, "stale_balance", False),
        (GateRules(max_clock_skew=0.5), "clock_skew_s", 0.5, "clock_skew", False),
    ],
)
def test_gates_at_their_limit(gates: GateRules, name: str, limit: float, word: str, passes_above: bool) -> None:
    sign = 1 if passes_above else -1
    assert gate(gates, **{name: limit + sign * EPSILON}) == "traded"
    assert gate(gates, **{name: limit}) == "traded"
    assert gate(gates, **{name: limit - sign * 1e-6}) == word
    assert gate(gates, **{name: math.nan}) in (word, "missing_input"), "what is not known is not passed"


def test_short_entries_are_gated_by_the_other_side() -> None:
    rsi = GateRules(uses_rsi=True, rsi_low=30, rsi_high=70)
    assert gate(rsi, -1, rsi=30) == "traded" and gate(rsi, -1, rsi=30 - EPSILON) == "rsi_extreme"
    trend = GateRules(uses_trend=True)
    assert gate(trend, 1, trend=EPSILON) == "traded" and gate(trend, -1, trend=EPSILON) == "against_trend"
    assert gate(trend, 1, trend=0.0) == gate(trend, -1, trend=0.0) == "against_trend"


def test_reward_over_risk_depends_on_the_regime() -> None:
    ratio = GateRules(
        uses_reward_risk=True, reward_risk_trending=1.2, reward_risk_ranging=1.6, uses_regime=True, trending_from=25
    )
    assert gate(ratio, regime=25, stop_distance=0.02, target_distance=0.024) == "traded"
    assert gate(ratio, regime=25, stop_distance=0.02, target_distance=0.0239) == "reward_risk"
    assert gate(ratio, regime=25 - EPSILON, stop_distance=0.02, target_distance=0.024) == "reward_risk"
    assert gate(ratio, regime=24, stop_distance=0.02, target_distance=0.032) == "traded"
    assert gate(ratio, regime=24, stop_distance=math.inf, target_distance=1) == "missing_input"


def test_session_and_windows() -> None:
    risk = Risk.model_validate(
        {"gates": {"session": {"start": "08:00", "end": "20:00"}, "windows": [
            {"start": "2024-01-01T12:00", "end": "2024-01-01T13:00"},
            {"start": "2024-01-01T12:30", "end": "2024-01-01T14:00", "kind": "maintenance"},
        ]}}
    )  # fmt: skip
    start = 1_704_067_200_000  # 2024-01-01
    hours = np.array([7.99, 8, 12, 12.5, 13, 14, 19.99, 20])
    closes = (start + hours * 3_600_000).astype(np.int64)
    codes, _ = refusals(
        {"close_time_ms": closes.astype(float), "window": windows_at(risk, closes)}, len(hours), gate_rules(risk)
    )
    assert [WORDS[code] for code in codes] == [
        "outside_session", "traded", "event", "maintenance", "maintenance", "traded", "traded", "outside_session",
    ]  # fmt: skip


def path(*closes: float) -> Bars:
    """Bars that open where the last one closed, without excursions beyond."""
    opens = (closes[0], *closes[:-1])
    return market(*((o, max(o, c), min(o, c), c) for o, c in zip(opens, closes, strict=True)))


def bought(closes: list[float], rules_: Rules) -> Simulation:
    n = len(closes)
    return simulate(as_market(path(*closes), at(n, 0), at(n)), rules_, 10_000.0)


@pytest.mark.parametrize(("close", "trips"), [(92 + 1e-6, False), (92, True), (92 - 1e-6, True)])
def test_daily_loss_at_its_limit(close: float, trips: bool) -> None:
    result = bought([100, 100, close, close, close], rules(daily_loss=0.08, reset_next_day=False))
    assert (int(result.account["halted"][0]) == BREAKER_CODES["daily_loss"]) is trips
    assert (EXIT_REASONS[result.trades[0]["reason"]] == "breaker") is trips
    assert result.trades[0]["exit_bar"] == (3 if trips else 4)


@pytest.mark.parametrize(("close", "trips"), [(105 + 1e-6, False), (105, True), (105 - 1e-6, True)])
def test_intraday_drawdown_counts_from_the_days_highest_equity(close: float, trips: bool) -> None:
    result = bought([100, 100, 150, close, close, close], rules(drawdown=0.30, reset_next_day=False))
    assert (int(result.account["halted"][0]) == BREAKER_CODES["drawdown"]) is trips


def test_a_tripped_breaker_latches_until_the_next_day_or_for_good() -> None:
    closes = [100.0, 100.0, 90.0] + [90.0] * 60
    n = len(closes)
    one = as_market(path(*closes), np.ones(n, bool), np.zeros(n, bool))
    hourly = rules(daily_loss=0.08, step_ms=3_600_000)
    entries = simulate(one, hourly, 10_000.0).trades["entry_bar"].tolist()
    assert entries == [1, 25], "out on day one, back on day two"
    for_good = simulate(one, hourly._replace(reset_next_day=False), 10_000.0)
    assert for_good.trades["entry_bar"].tolist() == [1]
    assert for_good.refused[CODES["halted"]] > 50


def test_the_day_begins_at_utc_midnight_of_the_data() -> None:
    closes = [100.0, 100.0, 95.0, 90.0, 90.0]
    n = len(closes)
    one = as_market(path(*closes), at(n, 0), at(n))
    # Midnight lies between bars 2 and 3: 5 % are lost on either day, 10 % on no single one.
    rules_ = rules(daily_loss=0.08, step_ms=3_600_000, origin_ms=DAY_MS - 3 * 3_600_000, reset_next_day=False)
    assert simulate(one, rules_, 10_000.0).account["halted"][0] == 0
    assert simulate(one, rules_._replace(origin_ms=0), 10_000.0).account["halted"][0] != 0


def test_losses_in_a_row_pause_entries_for_so_many_bars() -> None:
    n = 40
    closes = [100 - 0.5 * t for t in range(n)]
    buy, sell = np.arange(n) % 2 == 0, np.arange(n) % 2 == 1
    trades = simulate(as_market(path(*closes), buy, sell), rules(losses_in_a_row=3, pause=10), 10_000.0).trades
    exits = trades["exit_bar"]
    waited = np.diff(np.r_[trades["entry_bar"]])
    assert (waited[:2] == 2).all() and trades["entry_bar"][3] == exits[2] + 11
    free = simulate(as_market(path(*closes), buy, sell), rules(), 10_000.0).trades
    assert len(free) > len(trades)


def test_cool_down_counts_from_the_exit() -> None:
    n = 20
    one = as_market(path(*[100.0] * n), at(n, 0, 4, 5, 6, 7), at(n, 2))
    result = simulate(one, rules(cool_down=3), 1000.0)
    assert result.trades["exit_bar"][0] == 3
    assert result.trades["entry_bar"].tolist() == [1, 7], "the signals of bars 4 and 5 come too early"
    assert result.refused[CODES["cool_down"]] == 2


def test_entries_of_a_day_are_counted() -> None:
    n = 48
    buy, sell = np.arange(n) % 2 == 0, np.arange(n) % 2 == 1
    one = as_market(path(*[100.0] * n), buy, sell)
    trades = simulate(one, rules(entries_per_day=3, step_ms=3_600_000), 1000.0).trades
    assert np.bincount((trades["entry_bar"] - 1) // 24).tolist() == [3, 3]


def two(scores: tuple[float, float], rules_: Rules, **context: np.ndarray) -> Simulation:
    n = 6
    bars = [path(*[100.0] * n), path(*[50.0] * n)]
    signal = np.stack([signals_of(at(n, 0), at(n))] * 2)
    score = np.repeat(np.array(scores)[:, None], n, axis=1)
    return simulate(market_of(bars, signal, score=score, **context), rules_, 1000.0)


def test_open_positions_go_to_the_strongest_score_and_equal_ones_to_the_first_name() -> None:
    one = rules(open_positions=1, fraction=0.5)
    assert two((0.1, -0.9), one).trades["symbol"].tolist() == [1]
    assert two((0.9, -0.1), one).trades["symbol"].tolist() == [0]
    assert two((0.5, 0.5), one).trades["symbol"].tolist() == [0]
    assert two((math.nan, 0.1), one).trades["symbol"].tolist() == [1]
    assert two((0.5, 0.5), one).refused[CODES["open_positions"]] == 1


def test_total_exposure_cuts_the_second_order_to_what_is_left() -> None:
    trades = two((0.9, 0.1), rules(fraction=0.6, total_exposure=0.8)).trades
    spent = dict(zip(trades["symbol"].tolist(), (trades["qty"] * trades["entry_price"]).tolist(), strict=True))
    assert spent == {0: pytest.approx(600), 1: pytest.approx(200)}


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.7, 1.0])
def test_correlated_exposure_fills_the_limit_exactly(rho: float) -> None:
    matrix = np.array([[[1, rho], [rho, 1]]])
    result = two((0.9, 0.1), rules(fraction=0.4, correlated_exposure=0.5), correlation=matrix)
    spent = {t["symbol"]: t["qty"] * t["entry_price"] / 1000 for t in result.trades}
    w = np.array([spent.get(0, 0.0), spent.get(1, 0.0)])
    assert math.sqrt(w @ matrix[0] @ w) <= 0.5 + 1e-12
    room = -0.4 * rho + math.sqrt(0.25 - 0.16 * (1 - rho**2))
    assert w[1] == pytest.approx(min(0.4, room))


def test_a_breaker_can_be_tripped_and_reset_by_hand() -> None:
    n = 6
    one = as_market(path(*[100.0] * n), np.ones(n, bool), np.zeros(n, bool))
    account, positions, trades = new_account(1000.0), new_positions(1), np.empty(20, TRADE)
    refused, record = np.zeros(COUNT, np.int64), rules().array()

    def live(bar: int) -> None:
        step_once(account, positions, trades, refused, one.signal[:, bar].copy(), bar, bar, one, record)

    live(0)
    live(1)
    assert positions["side"][0] == 1
    halt(account, BREAKER_CODES["reconciliation"])
    live(2)
    assert EXIT_REASONS[positions["leave"][0]] == "breaker"
    live(3)
    assert positions["side"][0] == 0 and positions["enter"][0] == 0
    reset(account)
    live(4)
    assert positions["enter"][0] == 1
