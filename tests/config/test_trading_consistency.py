"""Rules that contradict each other are refused before anything runs, with the key and the reason."""

from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError

SOUND = "signals: {steps: [{threshold: {buy: 1.0, sell: -1.0}}]}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("simulate: {initial_cash: 0}", "initial_cash"),
        ("simulate: {leverage: 3}", "simulate.leverage: 3 on the spot market"),
        ("download: {market: um}\nsimulate: {leverage: 20, exits: {stop_loss: 0.06}}", "lies beyond liquidation"),
        (
            "download: {market: um}\nsimulate: {leverage: 2, direction: short, exits: {stop_loss: 0.6}}",
            "lies beyond liquidation",
        ),
        ("simulate: {funding: true}", "simulate.funding: there are no rates to pay"),
        ("sizing: {method: risk_per_trade}", "sizing.method: risk_per_trade sizes by the stop's distance"),
        ("sizing: {fraction: 1.5}", "sizing.fraction: 1.5 of the equity is more than simulate.leverage"),
        ("sizing: {method: fixed_quote}", "fixed_quote needs quote"),
        ("sizing: {method: fixed_quote, quote: 20000}", "sizing.quote: 20000 is more than simulate.initial_cash"),
        ("sizing: {garch_alpha: 0.3, garch_beta: 0.8}", "variance explodes"),
        (
            "risk: {limits: {order_notional: 4}}\nsimulate: {filters: {default: {min_notional: 5}}}",
            "risk.limits.order_notional: 4 is below min_notional 5",
        ),
        ("simulate: {filters: {default: {min_notional: 20000}}}", "is more than simulate.initial_cash can buy"),
        ("simulate: {filters: {default: {min_qty: 2, max_qty: 1}}}", "no order could be sent"),
        ("simulate: {filters: {ETHUSDT: {min_qty: 1}}}", "is none of the symbols BTCUSDT"),
        ("risk: {gates: {reward_risk: {}}}", "needs a stop to divide by"),
        ("risk: {gates: {reward_risk: {}}}\nsimulate: {exits: {stop_loss: 0.02}}", "needs a target"),
        (
            "risk: {gates: {reward_risk: {}}}\nsimulate: {exits: {stop_loss: 0.02, take_profit: 0.02}}",
            "every entry would be refused",
        ),
        ("risk: {gates: {rsi: {column: r, low: 70, high: 30}}}", "low (70) must be below high (30)"),
        ("risk: {gates: {session: {start: '20:00', end: '08:00'}}}", "sessions do not cross midnight"),
        ("risk: {gates: {windows: [{start: '2024-01-02', end: '2024-01-01'}]}}", "must be before end"),
        ("simulate: {exits: {stop_loss: 0.02, stop_atr: 2, atr: a}}", "contradict each other"),
        ("simulate: {exits: {stop_atr: 2}}", "stop_atr needs atr"),
        ("simulate: {exits: {break_even_after: 0.01, break_even_offset: 0.02}}", "break_even_offset must be below"),
        (
            "simulate: {grid: {buy: {start: 0, stop: 1, n: 2}, sell: {start: -1, stop: 0, n: 2}, fraction: [0]}}",
            "above 0",
        ),
        ("risk: {breakers: {daily_los: 0.1}}", "daily_loss"),
    ],
)
def test_contradictions_are_refused_with_the_key_and_the_reason(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(SOUND + text + "\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "interval: 1d",  # waiting times shorter than a bar are rounded up
        "download: {market: um}\nsimulate: {leverage: 20, exits: {stop_loss: 0.04}}",
        "risk: {gates: {reward_risk: {}}}\nsimulate: {exits: {stop_loss: 0.02, take_profit: 0.024}}",
        "risk: {enabled: false}",
    ],
)
def test_sound_rules_load(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(SOUND + text + "\n")
    load_config(path)
