"""How often the gate lets pure luck into shadow, and how often skill: its own checks on searches over noise.

    python benchmarks/noise_gate.py [searches]

Each search makes 100 strategies over two years of days, sized to a volatility of 15 % a year, that hold for three days
at a time, and asks the gate for the one with the best Sharpe ratio. The interval of PBO, a third of a second each, is
made where everything else passes, which decides, and for the first 100 searches, which show what it does by itself.
Everything is seeded; two processes.
"""

import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

SEARCHES, STRATEGIES, DAYS, HOLD_DAYS, YEAR = 1000, 100, 730, 3, 365
VOLATILITY, PROCESSES, SEED, DAY_MS, PBO_OF = 0.15, 2, 11, 86_400_000, 100
NAIVE, PBO = "a Sharpe ratio above 1.5, the naive test", "overfitting"
Array = np.ndarray[Any, Any]


def judge(returns: Array, number: int) -> tuple[dict[str, bool], bool]:
    """What the gate says of the best of a search, by check; and whether that is the first of the strategies.

    returns: daily [days, strategies]. number: of the search. PBO is missing where it was not asked for.
    """
    from dataclasses import asdict

    from pipeline.config.gate import Gate
    from pipeline.evaluation.gate import champion_check, luck_checks, passed, record_checks, record_of
    from pipeline.evaluation.overfitting import pbo
    from pipeline.evaluation.significance import deflated

    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1) * YEAR**0.5
    best = int(sharpes.argmax())
    chosen = returns[:, best]
    equity = np.concatenate([[1.0], np.cumprod(1 + chosen)])
    # A trade is three days' change of the equity.
    pnl = np.diff(equity[np.append(np.arange(0, DAYS, HOLD_DAYS), DAYS)])
    record = record_of(DAY_MS * np.arange(DAYS + 1), equity, pnl)
    gate, evidence = Gate(), deflated(record.returns, sharpes)
    dsr, _ = luck_checks(evidence, None, STRATEGIES, gate)
    checks = [*record_checks(record, gate), dsr, champion_check(record, None, False, gate, number)]
    if number < PBO_OF or passed(checks):
        checks.append(luck_checks(evidence, asdict(pbo(returns, periods=DAYS, seed=number)), STRATEGIES, gate)[1])
    shown = {check.name: check.passed for check in checks}
    return shown | {NAIVE: bool(sharpes[best] > 1.5)}, best == 0


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
    names = [name for name in found[0][0] if name not in (NAIVE, PBO)]
    shares = {name: _mean(checks[name] for checks, _ in found) for name in (NAIVE, *names)}
    first = [checks[PBO] for part in parts for checks, _ in part.result()[: PBO_OF // PROCESSES]]
    shares[f"overfitting (the first {len(first)})"] = _mean(first)
    whole = [PBO in checks and all(checks[name] for name in (*names, PBO)) for checks, _ in found]
    shares["**the gate: all of them**"] = _mean(whole)
    skilled = (passed and is_best for passed, (_, is_best) in zip(whole, found, strict=True))
    return shares | {"the gate, and it is the one with skill": _mean(skilled)}


def _mean(passed: Iterable[bool]) -> float:
    return float(np.mean(list(passed)))


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
