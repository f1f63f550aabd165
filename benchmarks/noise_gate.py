"""How often the gate lets pure luck into shadow, and how often skill: its own checks on searches over noise.

    python benchmarks/noise_gate.py [searches]

Each search makes 100 strategies over two years of days, sized to a volatility of 15 % a year, that hold for three days
at a time, and asks the gate for the one with the best Sharpe ratio. Everything is seeded; two processes.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

SEARCHES, STRATEGIES, DAYS, HOLD_DAYS, YEAR = 1000, 100, 730, 3, 365
VOLATILITY, PROCESSES, SEED, DAY_MS = 0.15, 2, 11, 86_400_000
Array = np.ndarray[Any, Any]


def judge(returns: Array, seed: int) -> tuple[dict[str, bool], bool]:
    """What the gate says of the best of a search, by check; and whether that is the first of the strategies.

    returns: daily [days, strategies].
    """
    from dataclasses import asdict

    from pipeline.config.gate import Gate
    from pipeline.evaluation.gate import champion_check, luck_checks, record_checks, record_of
    from pipeline.evaluation.overfitting import pbo
    from pipeline.evaluation.significance import deflated

    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1) * YEAR**0.5
    best = int(sharpes.argmax())
    chosen = returns[:, best]
    equity = np.concatenate([[1.0], np.cumprod(1 + chosen)])
    # A trade is three days' change of the equity.
    pnl = np.diff(equity[np.append(np.arange(0, DAYS, HOLD_DAYS), DAYS)])
    record = record_of(DAY_MS * np.arange(DAYS + 1), equity, pnl)
    gate, overfitting = Gate(), asdict(pbo(returns, periods=DAYS, seed=seed))
    checks = [
        *record_checks(record, gate),
        *luck_checks(deflated(record.returns, sharpes), overfitting, gate),
        champion_check(record, None, False, gate, seed),
    ]
    shown = {check.name: check.passed for check in checks}
    shown["a Sharpe ratio above 1.5, the naive test"] = bool(sharpes[best] > 1.5)
    return shown, best == 0


def _share(true_sharpe: float, searches: int, part: int) -> list[tuple[dict[str, bool], bool]]:
    # One generator for all searches, those of benchmarks/luck.py: each process draws them all, and judges its own.
    rng, daily, found = np.random.default_rng(SEED), VOLATILITY / YEAR**0.5, []
    for number in range(searches):
        returns = rng.normal(0, daily, (DAYS, STRATEGIES))
        if number % PROCESSES == part:
            returns[:, 0] += true_sharpe * daily / YEAR**0.5
            found.append(judge(returns, number))
    return found


def study(true_sharpe: float, searches: int) -> dict[str, float]:
    """Share of the searches whose best passes each check, all of them, and all of them by skill.

    true_sharpe: of a year, of one of the strategies; the others know nothing.
    """
    with ProcessPoolExecutor(PROCESSES) as pool:
        parts = [pool.submit(_share, true_sharpe, searches, part) for part in range(PROCESSES)]
        found = [one for part in parts for one in part.result()]
    naive = "a Sharpe ratio above 1.5, the naive test"
    shares = {name: float(np.mean([checks[name] for checks, _ in found])) for name in found[0][0]}
    whole = [all(passed for name, passed in checks.items() if name != naive) for checks, _ in found]
    shares["the gate: all of them"] = float(np.mean(whole))
    skilled = [passed and is_best for passed, (_, is_best) in zip(whole, found, strict=True)]
    return shares | {"the gate, and it is the one with skill": float(np.mean(skilled))}


def main() -> None:
    """Print the table."""
    searches = int(sys.argv[1]) if len(sys.argv) > 1 else SEARCHES
    noise, skill = study(0.0, searches), study(3.0, searches)
    print(f"| {searches:,} searches of {STRATEGIES} | none has skill | one has a true Sharpe ratio of 3 |")
    print("|---|---|---|")
    for name in noise:
        print(f"| {name} | {noise[name]:.1%} | {skill[name]:.1%} |")


if __name__ == "__main__":
    main()
