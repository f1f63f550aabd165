"""A seeded market with the habits of a real one, for demonstrations and tests without a network.

It has regimes, volatility that clusters, fat tails, a daily profile of volume, outages of the exchange,
symbols that move together, and if wanted a weak pattern that can be learned: buyers' pressure drifts
slowly, shows in the takers' share of the volume, and pushes the price a little (`edge`).

A bar's values depend on the settings, the symbol and its time alone, never on the range asked for, so
downloads may be made piece by piece. Each month is simulated by itself, in 1-minute steps (1-second
steps for 1-second bars), between prices at its two ends that a monthly random walk has set; higher
intervals are made of the minutes, so all of them agree.
"""

import datetime as dt
import math
import zlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import TIME
from pipeline.config import interval_ms, utc_ms
from pipeline.config.sources import SyntheticSource
from pipeline.errors import BadInput
from pipeline.market.candles import COLUMNS, PRICES, SCHEMA, iso, time_array
from pipeline.market.marks import SCHEMA as MARKS
from pipeline.market.timeframes import resample

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ORIGIN = (2017, 1)
MINUTE, HOUR, DAY, YEAR = 60_000, 3_600_000, 86_400_000, 31_536_000_000
# Share of a symbol's variance that is the whole market's.
_COMMON = 0.5
# Buyers' pressure is forgotten after this long, so that a pattern of hours arises.
_PRESSURE_MS = 8 * HOUR
# At edge 1, one standard deviation of pressure moves the price by so much of a minute's volatility.
_PUSH = 0.15
_QUOTE_PER_MINUTE = 500_000.0
_DEGREES_OF_FREEDOM = 4
# Share of a wick of the last price that the mark price goes along with.
_MARK_FOLLOWS = 0.3
# calm, trending up, trending down, wild: volatility, drift in volatilities of a day
_REGIMES = np.array([(0.6, 0.0), (0.9, 0.15), (1.0, -0.15), (1.7, 0.0)])


def bars(source: SyntheticSource, symbol: str, interval: str, start_ms: int, end_ms: int) -> pa.Table:
    """Bars with open times in [start_ms, end_ms); bars during outages are absent.

    Returns `candles.SCHEMA`, ascending. Raises BadInput: the range is empty or begins before 2017.
    """
    origin = _month_start(0)
    if start_ms < origin:
        raise BadInput(
            f"download.start: the synthetic market begins at {iso(origin)}, not at {iso(start_ms)}",
            "choose a later start",
        )
    if end_ms <= start_ms:
        raise BadInput(f"download: the range {iso(start_ms)} to {iso(end_ms)} is empty", "let end be after start")
    step, higher = _step(interval), interval_ms(interval)
    pieces = []
    for month in range(_month_of(start_ms), _month_of(end_ms - 1) + 1):
        times, values = _month(source, symbol, month, step)
        if higher != step:
            times, values = resample(values, times, step, higher)
            # As an exchange would tell them: the last bits of a sum are nobody's volume.
            values |= {name: np.round(values[name], 8) for name in COLUMNS if name not in PRICES}
        rows = slice(*np.searchsorted(times, [start_ms, end_ms]))
        pieces.append(
            pa.table([time_array(times[rows]), *(pa.array(values[name][rows]) for name in COLUMNS)], schema=SCHEMA)
        )
    return pa.concat_tables(pieces).combine_chunks()


def funding(source: SyntheticSource, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
    """Funding rates every eight hours in [start_ms, end_ms): `open_time`, `funding_rate`."""
    every = 8 * HOUR
    times, rates = [], []
    for month in range(_month_of(max(start_ms, _month_start(0))), _month_of(end_ms - 1) + 1):
        slots = np.arange(_month_start(month), _month_start(month + 1), every, dtype=np.int64)
        times.append(slots)
        rates.append(np.round(1e-4 + 1e-4 * _random(source, symbol, month, "funding").standard_normal(len(slots)), 8))
    all_times, all_rates = np.concatenate(times), np.concatenate(rates)
    rows = slice(*np.searchsorted(all_times, [start_ms, end_ms]))
    schema = pa.schema([("open_time", TIME), ("funding_rate", pa.float64())])
    return pa.table([time_array(all_times[rows]), pa.array(all_rates[rows])], schema=schema)


def marks(source: SyntheticSource, symbol: str, interval: str, start_ms: int, end_ms: int) -> pa.Table:
    """Mark prices of the bars with open times in [start_ms, end_ms), `marks.SCHEMA`: smooth, around the last price.

    It closes at the mean of the last three minutes' closes, opens where it closed before, and follows part of the way
    where the last price went beyond its own open and close.
    """
    step, higher = _step(interval), interval_ms(interval)
    pieces = []
    for month in range(_month_of(start_ms), _month_of(end_ms - 1) + 1):
        times, last = _month(source, symbol, month, step)
        before = [np.concatenate((last["close"][:1].repeat(k), last["close"][: len(times) - k])) for k in (1, 2)]
        close = (last["close"] + before[0] + before[1]) / 3
        open_ = np.concatenate((last["open"][:1], close[:-1]))
        above = last["high"] - np.maximum(last["open"], last["close"])
        below = np.minimum(last["open"], last["close"]) - last["low"]
        values = {
            "open": open_,
            "high": np.maximum(open_, close) + _MARK_FOLLOWS * above,
            "low": np.minimum(open_, close) - _MARK_FOLLOWS * below,
            "close": close,
        }
        decimals = _decimals(source)
        values = {name: np.maximum(np.round(one, decimals), 10.0**-decimals) for name, one in values.items()}
        if higher != step:
            none = dict.fromkeys(COLUMNS[len(PRICES) :], np.zeros(len(times)))
            times, values = resample(values | none, times, step, higher)
        rows = slice(*np.searchsorted(times, [start_ms, end_ms]))
        pieces.append(
            pa.table([time_array(times[rows]), *(pa.array(values[name][rows]) for name in PRICES)], schema=MARKS)
        )
    return pa.concat_tables(pieces).combine_chunks()


def _decimals(source: SyntheticSource) -> int:
    return max(0, 6 - math.floor(math.log10(source.start_price)))


def _step(interval: str) -> int:
    return 1_000 if interval == "1s" else MINUTE


def _month(source: SyntheticSource, symbol: str, month: int, step: int) -> tuple[Ints, dict[str, Floats]]:
    """All bars of one month at the simulation's step."""
    start, end = _month_start(month), _month_start(month + 1)
    times = np.arange(start, end, step, dtype=np.int64)
    n = len(times)
    deviation, drift = _volatility(source, symbol, month, times, step)
    shocks = math.sqrt(_COMMON) * _shocks(source, "", month, n) + math.sqrt(1 - _COMMON) * _shocks(
        source, symbol, month, n
    )
    pressure = _pressure(source, symbol, month, n, step)
    push = _PUSH * source.edge * math.sqrt(step / MINUTE)
    # Pressure as of the bar before moves this one. It adds to the volatility over hours, not to that of a bar.
    pushed = shocks.copy()
    pushed[1:] += push * pressure[:-1]
    returns = deviation * pushed + drift

    # Bend the path so that it ends at the month's anchor. Bending in proportion to the variance passed
    # turns a random walk into a bridge plus an independent end: a random walk again.
    first, last = _anchors(source, symbol, month)
    weight = np.cumsum(deviation**2)
    path = np.cumsum(returns)
    close = first + path + (last - first - path[-1]) * weight / weight[-1]
    opens = np.concatenate(([first], close[:-1]))
    values = _prices(source, symbol, month, opens, close, deviation)
    values |= _volumes(source, symbol, month, times, step, values, deviation, shocks, pressure)
    keep = ~_outages(source, month, times)
    return times[keep], {name: column[keep] for name, column in values.items()}


def _anchors(source: SyntheticSource, symbol: str, month: int) -> tuple[float, float]:
    """Log prices at the start and the end of a month: a walk from the start price at the origin."""

    def walk(name: str) -> Floats:
        return np.array([_random(source, name, m, "anchor").standard_normal() for m in range(month + 1)])

    shocks = math.sqrt(_COMMON) * walk("") + math.sqrt(1 - _COMMON) * walk(symbol)
    months = np.diff([_month_start(m) for m in range(month + 2)]) / YEAR
    path = math.log(source.start_price) + np.cumsum(source.annual_volatility * np.sqrt(months) * shocks)
    return float(path[-2]) if month else math.log(source.start_price), float(path[-1])


def _volatility(source: SyntheticSource, symbol: str, month: int, times: Ints, step: int) -> tuple[Floats, Floats]:
    """Standard deviation and drift of each step's log return."""
    waves = np.zeros(len(times))
    for scale, width in ((0.35, DAY), (0.3, 4 * HOUR), (0.2, HOUR // 2)):
        waves += scale * (
            0.7 * _waves(source, "", month, times, width) + 0.7 * _waves(source, symbol, month, times, width)
        )
    hours = (times % DAY) / HOUR
    profile = 1 + 0.25 * np.cos((hours - 15) / 24 * 2 * math.pi)
    regime = _REGIMES[_regimes(source, month, times)]
    typical = source.annual_volatility * math.sqrt(step / YEAR)
    # The waves' own mean square is divided out.
    level = np.exp(waves - 0.25) * profile * regime[:, 0] / 1.05
    drift = regime[:, 1] * source.annual_volatility * math.sqrt(DAY / YEAR) * (step / DAY)
    return typical * level, drift


def _waves(source: SyntheticSource, symbol: str, month: int, times: Ints, width: int) -> Floats:
    """Smooth noise of unit size: random knots every `width` ms, joined by lines, also across months."""

    def knots(m: int) -> Floats:
        count = (_month_start(m + 1) - _month_start(m)) // width
        return _random(source, symbol, m, f"waves{width}").standard_normal(count)

    start = _month_start(month)
    here = np.concatenate((knots(month), knots(month + 1)[:1]))
    return np.interp(times - start, np.arange(len(here)) * float(width), here) * 1.2


def _regimes(source: SyntheticSource, month: int, times: Ints) -> Ints:
    """Number of the regime in force at each time: about four a month, the same for all symbols."""
    random = _random(source, "", month, "regimes")
    start, end = _month_start(month), _month_start(month + 1)
    borders = np.sort(random.integers(start // DAY, end // DAY, 3)) * DAY
    kinds = random.choice(len(_REGIMES), 4, p=[0.35, 0.25, 0.2, 0.2])
    return np.asarray(kinds[np.searchsorted(borders, times, side="right")], np.int64)


def _shocks(source: SyntheticSource, symbol: str, month: int, n: int) -> Floats:
    """Fat-tailed noise of unit variance [n]."""
    scale = math.sqrt((_DEGREES_OF_FREEDOM - 2) / _DEGREES_OF_FREEDOM)
    return np.clip(_random(source, symbol, month, "shocks").standard_t(_DEGREES_OF_FREEDOM, n) * scale, -15, 15)


def _pressure(source: SyntheticSource, symbol: str, month: int, n: int, step: int) -> Floats:
    """Buyers' pressure: noise averaged over the last hours, unit size [n]."""
    width = _PRESSURE_MS // step
    total = np.cumsum(_random(source, symbol, month, "pressure").standard_normal(n + width))
    return (total[width:] - total[:-width]) / math.sqrt(width)


def _prices(
    source: SyntheticSource, symbol: str, month: int, opens: Floats, close: Floats, deviation: Floats
) -> dict[str, Floats]:
    """Rounded prices; the highs and lows are those of a Brownian path from open to close."""
    random = _random(source, symbol, month, "range")
    move, spread = close - opens, 2 * deviation**2
    up = (move + np.sqrt(move**2 - spread * np.log1p(-random.random(len(move))))) / 2
    down = (move - np.sqrt(move**2 - spread * np.log1p(-random.random(len(move))))) / 2
    decimals = _decimals(source)
    tick = 10.0**-decimals
    logs = {"open": opens, "high": opens + up, "low": opens + down, "close": close}
    return {name: np.maximum(np.round(np.exp(log), decimals), tick) for name, log in logs.items()}


def _volumes(
    source: SyntheticSource,
    symbol: str,
    month: int,
    times: Ints,
    step: int,
    prices: dict[str, Floats],
    deviation: Floats,
    shocks: Floats,
    pressure: Floats,
) -> dict[str, Floats]:
    """Volume grows with volatility and with the move; the takers' share leans with the pressure."""
    random = _random(source, symbol, month, "volumes")
    typical = source.annual_volatility * math.sqrt(step / YEAR)
    weekend = np.where((times // DAY + 4) % 7 % 6 == 0, 0.7, 1.0)
    noise = 0.5 * random.standard_normal(len(times))
    quote = (
        _QUOTE_PER_MINUTE * step / MINUTE * weekend * deviation / typical * np.exp(0.3 * np.abs(shocks) + noise - 0.4)
    )
    lean = 0.05 * pressure + 0.06 * shocks + 0.06 * random.standard_normal(len(times))
    share = np.clip(0.5 + lean, 0.02, 0.98)
    average = (prices["open"] + prices["high"] + prices["low"] + prices["close"]) / 4
    volume = np.round(quote / average, 6)
    taker = np.round(volume * share, 6)
    return {
        "volume": volume,
        "quote_volume": np.round(volume * average, 4),
        "trades": np.ceil(quote / 800),
        "taker_buy_volume": taker,
        "taker_buy_quote_volume": np.round(taker * average, 4),
    }


def _outages(source: SyntheticSource, month: int, times: Ints) -> npt.NDArray[np.bool_]:
    """Steps without a bar, the same for all symbols: the exchange was down."""
    random = _random(source, "", month, "outages")
    start, end = _month_start(month), _month_start(month + 1)
    down = np.zeros(len(times), np.bool_)
    for _ in range(random.poisson(source.outages_per_year * (end - start) / YEAR)):
        begin = start + random.random() * (end - start)
        length = min(max(90 * math.exp(0.8 * random.standard_normal()), 10), 720) * MINUTE
        down |= (times >= begin) & (times < begin + length)
    return down


def _random(source: SyntheticSource, symbol: str, month: int, purpose: str) -> np.random.Generator:
    # One stream per purpose: drawing more from one never shifts another.
    words = [source.seed % 2**64, month, zlib.crc32(symbol.encode()), zlib.crc32(purpose.encode())]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words)))


def _month_start(month: int) -> int:
    years, rest = divmod(ORIGIN[1] - 1 + month, 12)
    return utc_ms(f"{ORIGIN[0] + years:04d}-{rest + 1:02d}-01")


def _month_of(time_ms: int) -> int:
    moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    return (moment.year - ORIGIN[0]) * 12 + moment.month - ORIGIN[1]
