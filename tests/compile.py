"""Compiles the trading core before the tests run, once instead of in each of their processes at the same time."""

import numpy as np
from trading.markets import random_market

from pipeline.trading.grid import scan_thresholds
from pipeline.trading.market import market_of, signals_of
from pipeline.trading.rules import Rules
from pipeline.trading.simulation import simulate

N = 200
bars, score = random_market(N, 1), np.random.default_rng(1).normal(size=N)
simulate(market_of(bars, signals_of(score > 1, score < -1)), Rules(), 1000.0)
scan_thresholds(
    market_of(bars, np.zeros(N, np.uint8), score=score), (np.ones(1), -np.ones(1)), Rules(), 1000.0, split=N // 2,
    workers=1,
)  # fmt: skip
