"""Bars, rules and signals for tests of the trading core."""

import numpy as np

from pipeline.trading.bars import Bars
from pipeline.trading.market import Market, market_of, signals_of
from pipeline.trading.rules import Rules
from pipeline.trading.simulation import Simulation, simulate


def market(*rows: tuple[float, float, float, float], filled: tuple[int, ...] = ()) -> Bars:
    """Bars from (open, high, low, close); those numbered in `filled` are made up."""
    prices = np.array(rows, float).T
    flags = np.zeros(len(rows), bool)
    flags[list(filled)] = True
    return Bars(*(np.ascontiguousarray(column) for column in prices), flags)


def random_market(n: int, seed: int, volatility: float = 0.01, jumps: bool = True) -> Bars:
    """A random walk whose opens gap away from the closes, with made-up bars now and then."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, volatility, n)))
    open_ = np.r_[100.0, close[:-1]] * (np.exp(rng.normal(0, volatility / 2, n)) if jumps else 1)
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, volatility / 2, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, volatility / 2, n)))
    filled = rng.random(n) < 0.03
    for t in np.flatnonzero(filled[1:]) + 1:
        open_[t] = high[t] = low[t] = close[t] = close[t - 1]
    filled[0] = False
    return Bars(open_, high, low, close, filled)


def rules(**changes: object) -> Rules:
    """Long only, all the cash, no costs, no exits but the opposite signal; with changes."""
    return Rules()._replace(**changes)


def trade(bars: Bars, buy: np.ndarray, sell: np.ndarray, rules_: Rules, cash: float) -> Simulation:
    """Simulate one symbol's bars and flags."""
    return simulate(market_of(bars, signals_of(buy, sell)), rules_, cash)


def as_market(bars: Bars, buy: np.ndarray, sell: np.ndarray, **context: np.ndarray) -> Market:
    """One symbol's market."""
    return market_of(bars, signals_of(buy, sell), **context)


def at(n: int, *bars: int) -> np.ndarray:
    """bool [n], True at the given bars."""
    flags = np.zeros(n, bool)
    flags[list(bars)] = True
    return flags


def marks_around(bars: Bars, seed: int, width: float = 0.004) -> np.ndarray:
    """Mark prices [3, n] beside bars: they wander about the last price and follow part of its wicks."""
    rng = np.random.default_rng(seed + 7)
    n = len(bars.close)
    off = np.exp(rng.normal(0, width, n))
    open_, close = bars.open * off, bars.close * off
    high = np.maximum(open_, close) + rng.uniform(0, 1, n) * (bars.high - np.maximum(bars.open, bars.close))
    low = np.minimum(open_, close) - rng.uniform(0, 1, n) * (np.minimum(bars.open, bars.close) - bars.low)
    return np.array([open_, high, low])
