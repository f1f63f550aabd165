"""How long TA-Lib's recursive functions remember: bars until what came before weighs less than a thousandth.

An average that is updated by x ← x + a·(new − x) never forgets: after n bars what came before still weighs
(1 − a)^n. Of k such averages one inside the other, the slowest with rate a, it weighs at most the chance of fewer
than k successes in n trials of chance a. The memory is the least n at which that is below `NEGLIGIBLE`; it comes on
top of the bars that TA-Lib needs for its first value, from which the averages start.
Sums since the first bar (OBV, AD, VWAP …) remember all of it, whatever the number of bars: for them there is none.
"""

from collections.abc import Callable, Mapping
from math import comb

NEGLIGIBLE = 1e-3

Parameters = Mapping[str, int | float]
# How many averages stand one inside the other, and the rate of the slowest.
Cascade = tuple[int, float]

SINCE_THE_FIRST_BAR = {"AD", "CUMSUM", "NVI", "OBV", "PVI", "PVT", "VWAP", "WAD"}

# Kaufman's average at its slowest, in a market without direction: the square of an EMA of 30.
_KAMA_RATE = (2 / 31) ** 2
# The Hilbert transform's period goes through four averages with a fifth of the new value each.
_HILBERT: Cascade = (4, 0.2)


def _ema(period: float) -> float:
    return 2.0 / (period + 1.0)


def _wilder(period: float) -> float:
    return 1.0 / period


# TA-Lib's moving averages by number; those that are not here are windows. 11 is a function's own default, of which
# Wilder's (KDJ) is the slowest.
_AVERAGES: dict[int, Callable[[float], Cascade]] = {
    1: lambda p: (1, _ema(p)),  # EMA
    3: lambda p: (2, _ema(p)),  # DEMA
    4: lambda p: (3, _ema(p)),  # TEMA
    6: lambda p: (1, _KAMA_RATE),  # KAMA
    7: lambda p: (2, 0.025),  # MAMA with its default limits
    8: lambda p: (6, _ema(p)),  # T3
    11: lambda p: (1, _wilder(p)),
    12: lambda p: (1, _ema(p)),  # ZLEMA
    13: lambda p: (1, _wilder(p)),  # RMA
}

# name → (averages one inside the other, rate of a period, parameters that are periods of them)
_BY_PERIOD: dict[str, tuple[int, Callable[[float], float], tuple[str, ...]]] = {
    **dict.fromkeys(
        ("ATR", "CMO", "DX", "MINUS_DI", "MINUS_DM", "NATR", "PLUS_DI", "PLUS_DM", "RMA"), (1, _wilder, ("timeperiod",))
    ),
    **dict.fromkeys(("RSI", "RVI", "STOCHRSI", "SUPERTREND"), (1, _wilder, ("timeperiod",))),
    **dict.fromkeys(("ADX", "ADXR"), (2, _wilder, ("timeperiod",))),
    **dict.fromkeys(("CVI", "EFI", "EMA", "ERI", "ZLEMA"), (1, _ema, ("timeperiod",))),
    "DEMA": (2, _ema, ("timeperiod",)),
    "TEMA": (3, _ema, ("timeperiod",)),
    "TRIX": (3, _ema, ("timeperiod",)),
    "T3": (6, _ema, ("timeperiod",)),
    "ADOSC": (1, _ema, ("fastperiod", "slowperiod")),
    "MASSI": (2, _ema, ("fastperiod",)),
    "MACD": (2, _ema, ("fastperiod", "slowperiod", "signalperiod")),
    "SMI": (3, _ema, ("fastperiod", "slowperiod", "signalperiod")),
    "TSI": (2, _ema, ("firstperiod", "secondperiod")),
}

# name → pairs of parameters (kind of average, its period) in groups, one inside the other
_BY_KIND: dict[str, tuple[tuple[tuple[str, str], ...], ...]] = {
    "APO": ((("matype", "fastperiod"), ("matype", "slowperiod")),),
    "PPO": ((("matype", "fastperiod"), ("matype", "slowperiod")),),
    "PVO": ((("matype", "fastperiod"), ("matype", "slowperiod")),),
    "BBANDS": ((("matype", "timeperiod"),),),
    "MA": ((("matype", "timeperiod"),),),
    "MAVP": ((("matype", "maxperiod"),),),
    "MACDEXT": ((("fastmatype", "fastperiod"), ("slowmatype", "slowperiod")), (("signalmatype", "signalperiod"),)),
    "KDJ": ((("slowk_matype", "slowk_period"),), (("slowd_matype", "slowd_period"),)),
    "STOCH": ((("slowk_matype", "slowk_period"),), (("slowd_matype", "slowd_period"),)),
    "STOCHF": ((("fastd_matype", "fastd_period"),),),
    "STOCHRSI": ((("fastd_matype", "fastd_period"),),),
}

_OTHERS: dict[str, Callable[[Parameters], Cascade]] = {
    "HA": lambda p: (1, 0.5),
    "KAMA": lambda p: (1, _KAMA_RATE),
    "KC": lambda p: (1, min(_ema(p["timeperiod"]), _wilder(p["atrperiod"]))),
    "MACDFIX": lambda p: (2, min(_ema(26), _ema(p["signalperiod"]))),
    "MAMA": lambda p: (2, 0.5 * p["slowlimit"]),
    # A stop closes at least this share of its distance with each bar, and begins anew at each turn.
    "SAR": lambda p: (1, p["acceleration"]),
    "SAREXT": lambda p: (1, min(p["accelerationinitlong"], p["accelerationinitshort"])),
    **dict.fromkeys(
        ("HT_DCPERIOD", "HT_DCPHASE", "HT_PHASOR", "HT_SINE", "HT_TRENDLINE", "HT_TRENDMODE"), lambda p: _HILBERT
    ),
}


def memory_bars(function: str, parameters: Parameters) -> int:
    """Bars after its first value until what came before weighs less than `NEGLIGIBLE`; 0 for windows.

    function, parameters: a TA-Lib function's name and all its parameters.
    """
    cascades: list[Cascade] = []
    if function in _BY_PERIOD:
        count, rate, names = _BY_PERIOD[function]
        cascades.append((count, min(rate(parameters[name]) for name in names)))
    if function in _OTHERS:
        cascades.append(_OTHERS[function](parameters))
    for group in _BY_KIND.get(function, ()):
        side = [_AVERAGES[int(parameters[kind])](parameters[p]) for kind, p in group if parameters[kind] in _AVERAGES]
        if side:
            cascades.append((max(count for count, _ in side), min(rate for _, rate in side)))
    if not cascades:
        return 0
    return _bars(sum(count for count, _ in cascades), min(rate for _, rate in cascades))


def _bars(count: int, rate: float) -> int:
    if not 0.0 < rate < 1.0:
        return 0  # no smoothing, or a stop that stands still
    high = count
    while _weight(high, count, rate) > NEGLIGIBLE:
        high *= 2
    low = high // 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _weight(middle, count, rate) <= NEGLIGIBLE else (middle + 1, high)
    return low


def _weight(bars: int, count: int, rate: float) -> float:
    # Fewer than `count` successes in `bars` trials.
    return sum(comb(bars, j) * rate**j * (1.0 - rate) ** (bars - j) for j in range(min(count, bars + 1)))
