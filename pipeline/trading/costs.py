"""What a market order pays beside the fee."""

import numpy as np

from pipeline.trading.compiled import compiled
from pipeline.trading.rules import Rules


@compiled(inline="always")
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
