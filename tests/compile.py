"""Compiles what tests call before they run, once instead of in each of their processes at the same time.

`compile.py core`, which takes longest: the trading core for one symbol. `compile.py others`: for several, and what
labels, models and evaluation run. The rest is in the libraries of machine code, whose build leaves it behind.
"""

import sys

import numpy as np
from trading.markets import random_market

from pipeline.config.labels import TopBot2
from pipeline.evaluation import baselines, overfitting
from pipeline.labels import high_low, top_bot2, triple_barrier
from pipeline.models import calibration, sequential_bootstrap
from pipeline.signals import smooth
from pipeline.trading.grid import scan_thresholds
from pipeline.trading.market import market_of, signals_of
from pipeline.trading.rules import Rules
from pipeline.trading.simulation import simulate

N = 200
RNG = np.random.default_rng(1)
bars, score = random_market(N, 1), RNG.normal(size=N)


def core() -> None:
    """One symbol: a run, and a grid of thresholds."""
    simulate(market_of(bars, signals_of(score > 1, score < -1)), Rules(), 1000.0)
    scan_thresholds(
        market_of(bars, np.zeros(N, np.uint8), score=score), (np.ones(1), -np.ones(1)), Rules(), 1000.0, split=N // 2,
        workers=1,
    )  # fmt: skip


def others() -> None:
    """Several symbols, and what is small."""
    both = np.stack([score, -score])
    simulate(market_of([bars, random_market(N, 2)], signals_of(both > 1, both < -1)), Rules(), 1000.0)
    price = bars.close
    top_bot2.compute(TopBot2(level=0.02, tolerances=[0.1]), price)
    triple_barrier.cusum_events(price, np.full(N, 0.01))
    high_low.future_max(price, 5)
    smooth.simple(score, 3, 1)
    smooth.exponential(score, 0.5, 1)
    came = RNG.random(N) < 0.5
    calibration.fit_isotonic(score, came)
    calibration.fit_venn_abers(score, came)
    first = np.arange(N)
    sequential_bootstrap.sequential_bootstrap(np.stack([first, first + 3], axis=1), 5, 1)
    held = baselines.Holdings(np.array([5, 9]), np.array([1, 1]))
    baselines.random_growth(bars, held, Rules(), 1.0, 2, 1)
    overfitting.splits(RNG.normal(size=(N, 4)), 4)


if __name__ == "__main__":
    {"core": core, "others": others}[sys.argv[1]]()
