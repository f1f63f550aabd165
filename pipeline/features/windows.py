"""Values of a window of bars: one compiled function for each, called for every row of a table and for
the newest bar of a stream alike, so that both give the same bits.

`value(code, p, x, a, b)` sees rows a…b−1 of the input columns x [k, n] and nothing else.
"""

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Floats = npt.NDArray[np.float64]

CODES = {
    name: number
    for number, name in enumerate(
        "mean std skew kurtosis lsbm fmax area slope return log_return lag difference ratio "
        "parkinson garman_klass rogers_satchell yang_zhang realized "
        "poc_distance value_area_position poc_share value_area_low value_area_high "
        "midpoint cloud_a cloud_b cloud_distance "
        "buy_share imbalance average_trade_size volume_ratio delta "
        "correlation beta return_spread rank zscore minmax percent_b bandwidth "
        "itb_vwap itb_std itb_mean itb_span itb_share".split()
    )
}
(
    MEAN, STD, SKEW, KURTOSIS, LSBM, FMAX, AREA, SLOPE, RETURN, LOG_RETURN, LAG, DIFFERENCE, RATIO,
    PARKINSON, GARMAN_KLASS, ROGERS_SATCHELL, YANG_ZHANG, REALIZED,
    POC_DISTANCE, VALUE_AREA_POSITION, POC_SHARE, VALUE_AREA_LOW, VALUE_AREA_HIGH,
    MIDPOINT, CLOUD_A, CLOUD_B, CLOUD_DISTANCE,
    BUY_SHARE, IMBALANCE, AVERAGE_TRADE_SIZE, VOLUME_RATIO, DELTA,
    CORRELATION, BETA, RETURN_SPREAD, RANK, ZSCORE, MINMAX, PERCENT_B, BANDWIDTH,
    ITB_VWAP, ITB_STD, ITB_MEAN, ITB_SPAN, ITB_SHARE,
) = range(len(CODES))  # fmt: skip

_LN2 = 0.6931471805599453


@compiled(nogil=True)
def _mean(x: Floats, a: int, b: int) -> float:
    total = 0.0
    for i in range(a, b):
        total += x[i]
    return total / (b - a)


@compiled(nogil=True)
def _moment(x: Floats, a: int, b: int, mean: float, power: int) -> float:
    total = 0.0
    for i in range(a, b):
        total += (x[i] - mean) ** power
    return total / (b - a)


@compiled(nogil=True)
def _flat(x: Floats, a: int, b: int) -> bool:
    for i in range(a + 1, b):
        if x[i] != x[a]:
            return False
    return True


@compiled(nogil=True)
def _statistic(code: int, p: Floats, x: Floats, a: int, b: int) -> float:
    n = b - a
    mean = _mean(x, a, b)
    if code == MEAN:
        return mean
    if code == STD:
        return 0.0 if _flat(x, a, b) else np.sqrt(_moment(x, a, b, mean, 2))
    if code in (SKEW, KURTOSIS):
        least = 3 if code == SKEW else 4
        if p[0] == 0.0 and n < least:
            return np.nan
        if _flat(x, a, b):
            return 0.0
        second = _moment(x, a, b, mean, 2)
        if code == SKEW:
            skew = _moment(x, a, b, mean, 3) / second**1.5
            return skew if p[0] != 0.0 else skew * np.sqrt(n * (n - 1.0)) / (n - 2.0)
        excess = _moment(x, a, b, mean, 4) / (second * second) - 3.0
        return excess if p[0] != 0.0 else (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * excess + 6.0)
    if code == LSBM:
        longest = run = 0
        for i in range(a, b):
            run = run + 1 if x[i] < mean else 0
            longest = max(longest, run)
        return float(longest)
    if code == FMAX:
        top = a
        for i in range(a + 1, b):
            if x[i] > x[top]:
                top = i
        return (top - a) / n
    if code == AREA:
        last, size, net = x[b - 1], 0.0, 0.0
        for i in range(a, b):
            size += abs(x[i] - last)
            net += x[i] - last
        return (size + net) / size - 1.0 if size > 0.0 else 0.0
    # SLOPE: least squares on 0, 1, …
    if n < 2:
        return 0.0
    middle, top_sum, bottom_sum = (n - 1) / 2.0, 0.0, 0.0
    for i in range(a, b):
        top_sum += (i - a - middle) * (x[i] - mean)
        bottom_sum += (i - a - middle) ** 2
    return top_sum / bottom_sum


@compiled(nogil=True)
def _volatility(code: int, x: Floats, a: int, b: int) -> float:
    # x: open, high, low, close. Per bar, not annualised.
    total = 0.0
    if code == PARKINSON:  # Parkinson (1980)
        for i in range(a, b):
            total += np.log(x[1, i] / x[2, i]) ** 2
        return np.sqrt(total / (4.0 * _LN2 * (b - a)))
    if code == GARMAN_KLASS:  # Garman & Klass (1980)
        for i in range(a, b):
            total += 0.5 * np.log(x[1, i] / x[2, i]) ** 2 - (2.0 * _LN2 - 1.0) * np.log(x[3, i] / x[0, i]) ** 2
        return np.sqrt(max(total / (b - a), 0.0))
    if code == ROGERS_SATCHELL:  # Rogers & Satchell (1991)
        return np.sqrt(max(_rogers_satchell(x, a, b), 0.0))
    if code == REALIZED:
        for i in range(a + 1, b):
            total += np.log(x[3, i] / x[3, i - 1]) ** 2
        return np.sqrt(total / (b - a - 1))
    # Yang & Zhang (2000); the first row gives only its close.
    n = b - a - 1
    overnight = day = 0.0
    for i in range(a + 1, b):
        overnight += np.log(x[0, i] / x[3, i - 1])
        day += np.log(x[3, i] / x[0, i])
    overnight, day = overnight / n, day / n
    between = within = 0.0
    for i in range(a + 1, b):
        between += (np.log(x[0, i] / x[3, i - 1]) - overnight) ** 2
        within += (np.log(x[3, i] / x[0, i]) - day) ** 2
    k = 0.34 / (1.34 + (n + 1.0) / (n - 1.0))
    return np.sqrt(max(between / (n - 1) + k * within / (n - 1) + (1.0 - k) * _rogers_satchell(x, a + 1, b), 0.0))


@compiled(nogil=True)
def _rogers_satchell(x: Floats, a: int, b: int) -> float:
    total = 0.0
    for i in range(a, b):
        total += np.log(x[1, i] / x[3, i]) * np.log(x[1, i] / x[0, i])
        total += np.log(x[2, i] / x[3, i]) * np.log(x[2, i] / x[0, i])
    return total / (b - a)


@compiled(nogil=True)
def _profile(code: int, p: Floats, x: Floats, a: int, b: int) -> float:
    # x: high, low, close, volume. Each bar's volume lies at its typical price; ties go to the lower bin.
    bins = int(p[0])
    bottom, top = x[1, a], x[0, a]
    for i in range(a, b):
        bottom, top = min(bottom, x[1, i]), max(top, x[0, i])
    close = x[2, b - 1]
    if top <= bottom:
        return 1.0 if code == POC_SHARE else 0.5 if code == VALUE_AREA_POSITION else 0.0
    volume = np.zeros(bins)
    width, total = (top - bottom) / bins, 0.0
    for i in range(a, b):
        typical = (x[0, i] + x[1, i] + x[2, i]) / 3.0
        volume[max(0, min(int((typical - bottom) / width), bins - 1))] += x[3, i]
        total += x[3, i]
    if total <= 0.0:
        return 0.0 if code != VALUE_AREA_POSITION else 0.5
    poc = 0
    for j in range(1, bins):
        if volume[j] > volume[poc]:
            poc = j
    if code == POC_DISTANCE:
        return close / (bottom + (poc + 0.5) * width) - 1.0
    if code == POC_SHARE:
        return volume[poc] / total
    # The value area grows from the point of control, by the larger neighbour, until it holds 70 %.
    low, high, held = poc, poc, volume[poc]
    while held < 0.7 * total and (low > 0 or high < bins - 1):
        below = volume[low - 1] if low > 0 else -1.0
        above = volume[high + 1] if high < bins - 1 else -1.0
        if above > below:
            high += 1
            held += above
        else:
            low -= 1
            held += below
    floor, ceiling = bottom + low * width, bottom + (high + 1) * width
    if code == VALUE_AREA_LOW:
        return close / floor - 1.0
    if code == VALUE_AREA_HIGH:
        return close / ceiling - 1.0
    return (close - floor) / (ceiling - floor)


@compiled(nogil=True)
def _middle(x: Floats, a: int, b: int) -> float:
    top, bottom = x[0, a], x[1, a]
    for i in range(a + 1, b):
        top, bottom = max(top, x[0, i]), min(bottom, x[1, i])
    return (top + bottom) / 2.0


@compiled(nogil=True)
def _ichimoku(code: int, p: Floats, x: Floats, a: int, b: int) -> float:
    # x: high, low, close. p: tenkan, kijun, senkou_b, shift. The cloud over a bar was drawn `shift` bars ago.
    close = x[2, b - 1]
    if code == MIDPOINT:
        return close / _middle(x, a, b) - 1.0
    then = b - int(p[3])
    span_a = (_middle(x, then - int(p[0]), then) + _middle(x, then - int(p[1]), then)) / 2.0
    if code == CLOUD_A:
        return close / span_a - 1.0
    span_b = _middle(x, then - int(p[2]), then)
    if code == CLOUD_B:
        return close / span_b - 1.0
    top, bottom = max(span_a, span_b), min(span_a, span_b)
    return (close - top) / close if close > top else (close - bottom) / close if close < bottom else 0.0


@compiled(nogil=True)
def _flow(code: int, x: Floats, a: int, b: int) -> float:
    # x: volume, taker_buy_volume, trades. Without volume: neutral.
    volume = bought = trades = 0.0
    for i in range(a, b):
        volume += x[0, i]
        bought += x[1, i]
        trades += x[2, i]
    if code == DELTA:
        return 2.0 * bought - volume
    if volume <= 0.0:
        return 0.5 if code == BUY_SHARE else 0.0 if code == IMBALANCE else 1.0
    if code == BUY_SHARE:
        return bought / volume
    if code == IMBALANCE:
        return (2.0 * bought - volume) / volume
    if code == VOLUME_RATIO:
        return x[0, b - 1] * (b - a) / volume
    # AVERAGE_TRADE_SIZE: of the last bar against that of the window.
    if trades <= 0.0 or x[2, b - 1] <= 0.0:
        return 1.0
    return (x[0, b - 1] / x[2, b - 1]) / (volume / trades)


@compiled(nogil=True)
def _cross(code: int, x: Floats, a: int, b: int) -> float:
    # x: own price, reference price; one return per pair of rows.
    n = b - a - 1
    if code == RETURN_SPREAD:
        return x[0, b - 1] / x[0, a] - x[1, b - 1] / x[1, a]
    own = other = 0.0
    for i in range(a + 1, b):
        own += x[0, i] / x[0, i - 1] - 1.0
        other += x[1, i] / x[1, i - 1] - 1.0
    own, other = own / n, other / n
    both = own_square = other_square = 0.0
    for i in range(a + 1, b):
        u, v = x[0, i] / x[0, i - 1] - 1.0 - own, x[1, i] / x[1, i - 1] - 1.0 - other
        both += u * v
        own_square += u * u
        other_square += v * v
    if other_square <= 0.0 or (code == CORRELATION and own_square <= 0.0):
        return 0.0
    return both / other_square if code == BETA else both / np.sqrt(own_square * other_square)


@compiled(nogil=True)
def _place(code: int, x: Floats, a: int, b: int) -> float:
    last = x[b - 1]
    if _flat(x, a, b):
        return 0.0 if code in (ZSCORE, BANDWIDTH) else 0.5
    if code in (PERCENT_B, BANDWIDTH):
        # Bollinger's bands: two standard deviations about the mean.
        mean = _mean(x, a, b)
        width = 4.0 * np.sqrt(_moment(x, a, b, mean, 2))
        return width / mean if code == BANDWIDTH else (last - mean) / width + 0.5
    if code == RANK:
        below = equal = 0
        for i in range(a, b):
            below += x[i] < last
            equal += x[i] == last
        return (below + 0.5 * equal) / (b - a)
    if code == ZSCORE:
        mean = _mean(x, a, b)
        return (last - mean) / np.sqrt(_moment(x, a, b, mean, 2))
    low = high = x[a]
    for i in range(a + 1, b):
        low, high = min(low, x[i]), max(high, x[i])
    return (last - low) / (high - low)


@compiled(nogil=True)
def _itb(code: int, x: Floats, a: int, b: int) -> float:
    # x: price, volume or high, low or taker volume, volume: as the code says.
    if code == ITB_MEAN:
        return _mean(x[0], a, b)
    if code == ITB_STD:
        return np.sqrt(_moment(x[0], a, b, _mean(x[0], a, b), 2))
    total = weight = 0.0
    for i in range(a, b):
        if code == ITB_VWAP:
            total += x[0, i] * x[1, i]
            weight += x[1, i]
        elif code == ITB_SPAN:
            total += x[0, i] - x[1, i]
            weight += 1.0
        elif x[1, i] > 0.0:
            total += x[0, i] / x[1, i]
            weight += 1.0
    return total / weight if weight > 0.0 else np.nan


@compiled(nogil=True)
def value(code: int, p: Floats, x: Floats, a: int, b: int) -> float:
    """Value of rows a…b−1 of x [k, n]. p: parameters of the code."""
    if code <= SLOPE:
        return _statistic(code, p, x[0], a, b)
    if code == RETURN:
        return x[0, b - 1] / x[0, a] - 1.0
    if code == LOG_RETURN:
        return np.log(x[0, b - 1] / x[0, a])
    if code == LAG:
        return x[0, a]
    if code == DIFFERENCE:
        return x[0, b - 1] - x[0, a]
    if code == RATIO:
        return x[0, b - 1] / x[1, b - 1]
    if code <= REALIZED:
        return _volatility(code, x, a, b)
    if code <= VALUE_AREA_HIGH:
        return _profile(code, p, x, a, b)
    if code <= CLOUD_DISTANCE:
        return _ichimoku(code, p, x, a, b)
    if code <= DELTA:
        return _flow(code, x, a, b)
    if code <= RETURN_SPREAD:
        return _cross(code, x, a, b)
    if code <= BANDWIDTH:
        return _place(code, x[0], a, b)
    # The ancestor's set: a window of p[0] bars against the whole window, in percent.
    base = _itb(code, x, a, b)
    now = _itb(code, x, max(a, b - int(p[0])), b)
    return 100.0 * (now - base) / base if base != 0.0 else 0.0


@compiled(nogil=True)
def rolling(code: int, p: Floats, x: Floats, window: int, minimum: int, result: Floats) -> None:
    """`value` at every row, over the last `window` rows, NaN until there are `minimum`, into `result` [n]."""
    for t in range(x.shape[1]):
        a = max(0, t + 1 - window)
        result[t] = value(code, p, x, a, t + 1) if t + 1 - a >= minimum else np.nan


@compiled(nogil=True)
def newest(
    codes: npt.NDArray[np.int64],
    parameters: Floats,
    windows: npt.NDArray[np.int64],
    minima: npt.NDArray[np.int64],
    x: Floats,
    stop: int,
    values: Floats,
) -> None:
    """`value` of several windows that end before row `stop` of x [k, n], into `values` [m]; NaN where too short.

    codes, windows, minima [m]; parameters [m, p].
    """
    for j in range(len(codes)):
        a = max(0, stop - windows[j])
        values[j] = value(codes[j], parameters[j], x, a, stop) if stop - a >= minima[j] else np.nan
