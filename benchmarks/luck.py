"""What significance says where the truth is known: searches over noise, intervals of PBO, paired comparisons.

    python benchmarks/luck.py

No speed and no peer: shares that ought to be what they claim. Everything is seeded.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SEARCHES, PAIRS, MARKETS, DRAWS = 1000, 1000, 100, 100
YEAR = 365


def searches(true_sharpe: float) -> None:
    """The best of 100 strategies over two years of days, one of which has skill, or none."""
    from pipeline.evaluation.significance import deflated

    rng, rows = np.random.default_rng(11), []
    for _ in range(SEARCHES):
        returns = rng.normal(0, 0.02, (2 * YEAR, 100))
        returns[:, 0] += true_sharpe * 0.02 / YEAR**0.5
        sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1) * YEAR**0.5
        best = int(sharpes.argmax())
        found = deflated(returns[:, best], sharpes)
        rows.append((found.sharpe > 1.5, found.psr >= 0.95, found.passes, best == 0, found.power))  # type: ignore[operator]
    above, probable, proven, right, power = np.mean(rows, axis=0)
    print(
        f"{SEARCHES} searches, one strategy of 100 with a true Sharpe ratio of {true_sharpe:g}: best above 1.5 in "
        f"{above:.1%}, PSR passes {probable:.1%}, DSR passes {proven:.1%}; that one is the best in {right:.0%}; "
        f"power said {power:.0%}"
    )


def intervals(name: str, make: Callable[[np.random.Generator], Array]) -> None:
    """How often the 90 % interval of PBO holds its mean over all markets of a kind, and that of a plain bootstrap."""
    from pipeline.evaluation import overfitting

    rng, found, plain = np.random.default_rng(1), [], []
    for seed in range(MARKETS):
        returns = make(rng)
        found.append(overfitting.pbo(returns, draws=DRAWS, seed=seed))
        drawn = np.random.default_rng(seed).integers(0, len(returns), (DRAWS, len(returns)))
        shares = [overfitting.pbo(returns[rows], draws=0).pbo for rows in drawn]
        plain.append(np.quantile(shares, [0.05, 0.95]))
    values = np.array([one.pbo for one in found])
    truth = values.mean()
    held = np.mean([one.low <= truth <= one.high for one in found])
    width = np.mean([one.high - one.low for one in found])
    naive = np.mean([low <= truth <= high for low, high in plain])
    print(
        f"PBO, {name}: mean {truth:.2f}, single figures {values.min():.2f} to {values.max():.2f}; the 90 % interval "
        f"holds the mean in {held:.0%}, mean width {width:.2f}; that of a bootstrap of the whole history in {naive:.0%}"
    )


def comparisons() -> None:
    """p-values of strategies that are equally good, on a market with fat tails that both live in."""
    from pipeline.evaluation.bootstrap import better

    p, held = [], []
    for seed in range(PAIRS):
        rng = np.random.default_rng(seed)
        market = 0.015 * rng.standard_t(4, YEAR)
        found = better(*(market + 0.006 * rng.standard_t(4, YEAR) for _ in range(2)), draws=400, seed=seed)
        p.append(found.p_value)
        held.append(found.low <= 0 <= found.high)
    below = ", ".join(f"p ≤ {level:g} in {np.mean(np.array(p) <= level):.1%}" for level in (0.01, 0.05, 0.1, 0.5))
    print(f"{PAIRS} pairs equally good: {below}; the 90 % interval holds 0 in {np.mean(held):.1%}")


def main() -> None:
    """Print the shares."""
    for sharpe in (0, 3):
        searches(sharpe)
    comparisons()
    level = np.linspace(-0.05, 0.05, 100)
    skilled = np.where(np.arange(100) == 0, 0.1, 0.0)
    intervals("100 strategies of noise", lambda rng: rng.normal(size=(1000, 100)))
    intervals(
        "noise that shares half its variance", lambda rng: rng.normal(size=(1000, 1)) + rng.normal(size=(1000, 100))
    )
    intervals("one with skill among 100", lambda rng: rng.normal(size=(1000, 100)) + skilled)
    intervals("100 from bad to good", lambda rng: rng.normal(size=(1000, 100)) + level)


if __name__ == "__main__":
    main()
