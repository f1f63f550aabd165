"""PBO, 12 blocks, 100 strategies over 1,000 periods: ours against plain loops and against purgedcv.

    pip install purgedcv        # the extra `test` has it
    python benchmarks/significance.py

The plain loop takes each combination of blocks, cuts the matrix in two and asks NumPy for mean and deviation of all
strategies at once; the loop of the definition asks for each strategy by itself, as purgedcv does.
"""

import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from measure import best_of, report

BLOCKS, STRATEGIES, PERIODS = 12, 100, 1000
Array = np.ndarray[Any, Any]


def by_combination(returns: Array) -> float:
    """The loop over combinations, all strategies at once."""
    from scipy.stats import rankdata

    parts = np.array_split(np.arange(len(returns)), BLOCKS)
    worse = []
    for chosen in combinations(range(BLOCKS), BLOCKS // 2):
        inside = returns[np.concatenate([parts[k] for k in chosen])]
        outside = returns[np.concatenate([parts[k] for k in range(BLOCKS) if k not in chosen])]
        best = np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1))
        rank = rankdata(outside.mean(axis=0) / outside.std(axis=0, ddof=1))[best]
        worse.append(rank / (returns.shape[1] + 1) < 0.5)
    return float(np.mean(worse))


def by_strategy(returns: Array) -> float:
    """The loop over combinations and strategies."""
    parts = np.array_split(np.arange(len(returns)), BLOCKS)
    worse = []
    for chosen in combinations(range(BLOCKS), BLOCKS // 2):
        own = np.concatenate([parts[k] for k in chosen])
        other = np.concatenate([parts[k] for k in range(BLOCKS) if k not in chosen])
        inside = [row[own].mean() / row[own].std(ddof=1) for row in returns.T]
        outside = [row[other].mean() / row[other].std(ddof=1) for row in returns.T]
        rank = 1 + sum(value < outside[int(np.argmax(inside))] for value in outside)
        worse.append(rank / (returns.shape[1] + 1) < 0.5)
    return float(np.mean(worse))


def busy(function: Callable[[], float], repeats: int) -> tuple[float, float]:
    """What the function found, and seconds of processor time of its fastest call: all here run on one core, and
    those that take half a minute would wait for others longer than those that take a millisecond."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        value = function()
        taken.append(time.process_time() - start)
    return value, min(taken)


def main() -> None:
    """Time them, check that they agree, print the ratios."""
    from pipeline.evaluation.bootstrap import better
    from pipeline.evaluation.effective_trials import effective_trials
    from pipeline.evaluation.overfitting import pbo

    returns = np.random.default_rng(0).normal(0, 0.02, (PERIODS, STRATEGIES))
    pbo(returns, BLOCKS, draws=0)  # loads the compiled code
    value, ours = busy(lambda: pbo(returns, BLOCKS, draws=0).pbo, 20)
    peers: dict[str, tuple[Callable[[], float], int]] = {
        "loop, strategy by strategy": (lambda: by_strategy(returns), 1),
        "loop, all strategies at once": (lambda: by_combination(returns), 3),
    }
    try:
        from purgedcv import probability_of_backtest_overfitting
    except ImportError:
        print("purgedcv is not installed: no ratio")
    else:
        peers["purgedcv"] = (lambda: float(probability_of_backtest_overfitting(returns.T, BLOCKS).pbo), 1)
    found = {value}
    for name, (function, repeats) in peers.items():
        value, seconds = busy(function, repeats)
        found.add(value)
        report(f"PBO against {name}", ours, seconds, 1 / 200, of=name)
        print(f"{'':<44} {seconds / ours:,.0f} x faster (goal 200 x)")
    print(f"PBO by all of them: {', '.join(f'{value:.12g}' for value in sorted(found))}")
    interval = best_of(lambda: pbo(returns, BLOCKS), 3)
    print(f"PBO with its interval, 200 draws: {interval:.3f} s")
    print(f"effective number of the trials: {best_of(lambda: effective_trials(returns), 3):.3f} s")
    print(f"A better than B, 2,000 draws: {best_of(lambda: better(returns[:, 0], returns[:, 1]), 3):.3f} s")


if __name__ == "__main__":
    main()
