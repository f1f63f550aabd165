"""How much to spend on an entry: one method, then the caps. Amounts in the quote asset, fee included.

Properties that tests hold on random input: 0 ≤ size ≤ every cap; more volatility, a wider stop or a smaller
probability that the trade is right never gives a larger size; an input that is not a number gives 0.
"""

import math

import numpy as np

from pipeline.trading.compiled import compiled
from pipeline.trading.records import Account
from pipeline.trading.rules import ANY_PROBABILITY, FIXED_QUOTE, KELLY, LINEAR, RISK_PER_TRADE, VOLATILITY_TARGET, Rules


@compiled(inline="always")
def wanted(account: Account, volatility: float, stop_distance: float, rules: Rules) -> float:
    """What the sizing method would spend, before any cap.

    volatility: forecast of one bar's standard deviation. stop_distance: of the entry price; infinite
    without a stop. 0 where an input that the method needs is missing, or past trades show no edge.
    """
    equity = account.equity
    if rules.sizing == FIXED_QUOTE:
        size = rules.quote
    elif rules.sizing == VOLATILITY_TARGET:
        size = equity * min(rules.fraction, rules.target_volatility / volatility) if volatility > 0 else 0.0
    elif rules.sizing == KELLY:
        size = equity * kelly_fraction(account, rules)
    elif rules.sizing == RISK_PER_TRADE:
        size = equity * rules.risk / stop_distance if stop_distance > 0 else 0.0
    else:
        size = equity * rules.fraction
    return size if size > 0 and np.isfinite(size) else 0.0


@compiled()
def kelly_fraction(account: Account, rules: Rules) -> float:
    """Part of the growth-optimal share p − (1 − p)/b of the closed trades, capped; 0 without an edge.

    p is the win rate, b the mean win over the mean loss, both shrunk towards a fair coin by
    `kelly_prior` trades' worth of doubt; until so many are closed, `kelly_start` is used.
    Source: Kelly (1956); fractional Kelly after Thorp (2006).
    """
    count = account.wins + account.losses
    if count < rules.kelly_prior:
        return rules.kelly_start
    doubt = rules.kelly_prior
    p = (account.wins + 0.5 * doubt) / (count + doubt)
    win = account.win_returns / account.wins if account.wins > 0 else 0.0
    loss = account.loss_returns / account.losses if account.losses > 0 else 0.0
    if not win > 0:
        return 0.0
    payoff = (count * (win / loss) + doubt) / (count + doubt) if loss > 0 else np.inf
    edge = p - (1 - p) / payoff
    return min(rules.kelly_cap, rules.kelly_share * edge) if edge > 0 else 0.0


@compiled()
def trust(probability: float, rules: Rules) -> float:
    """Part of the size, 0 to 1, that a probability that the trade is right is worth; 0 if it is not a number.

    linear: from 0 at `probability_floor` to 1 at `probability_full`. normal: 2Φ(z) − 1 with
    z = (p − floor) / √(p (1 − p)), which for a floor of one half is the source's bet size.
    Source: López de Prado, Advances in Financial Machine Learning (2018), 10.3.
    """
    if rules.probability == ANY_PROBABILITY:
        return 1.0
    if not probability > rules.probability_floor:
        return 0.0
    if rules.probability == LINEAR:
        return min(1.0, (probability - rules.probability_floor) / (rules.probability_full - rules.probability_floor))
    if probability >= 1:
        return 1.0
    z = (probability - rules.probability_floor) / math.sqrt(probability * (1 - probability))
    return math.erf(z / math.sqrt(2.0))
