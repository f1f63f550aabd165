"""What a market order pays beside the fee, how much of it a bar can fill, and in which lots."""

import numba
import numpy as np

from pipeline.trading.rules import Rules


@numba.njit(cache=True, error_model="numpy", inline="always")
def slippage(notional: float, volume: float, volatility: float, rules: Rules) -> float:
    """Fraction of the price that a market order pays: slippage, half the spread, and its own impact.

    notional, volume: of the order and the bar, quote asset. volatility: of a bar. The impact is the
    square-root law Y·σ·√(Q/V); without volume it is not known, and left out.
    Source: Tóth et al. (2011), Anomalous price impact and the critical nature of liquidity.
    """
    result = rules.slip
    if rules.slip_volatility > 0 and volatility > 0:
        result += rules.slip_volatility * volatility
    if rules.impact > 0 and volume > 0 and volatility > 0:
        result += rules.impact * volatility * np.sqrt(notional / volume)
    return result


@numba.njit(cache=True, error_model="numpy", inline="always")
def floor_to_step(qty: float, step: float) -> float:
    """The largest multiple of `step` not above `qty`; `qty` itself without a step.

    A quantity that is a multiple but for the last bit (0.3 of 0.1) is that multiple. Steps below 1 are
    powers of ten at the exchange: dividing by their inverse, a whole number, gives the float nearest to
    the decimal.
    """
    if step <= 0:
        return qty
    inverse = np.rint(1 / step)
    lots = np.floor(qty / step * (1 + 1e-15) + 1e-9)
    return lots / inverse if step < 1 and abs(inverse * step - 1) < 1e-9 else lots * step
