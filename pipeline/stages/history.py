"""Reads signals, bars and gate inputs into the market that the trading core lives through."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import Layout, read_schema, read_table
from pipeline.config import Config, utc_ms
from pipeline.config.meta import second_columns
from pipeline.config.trading import Filters
from pipeline.errors import BadInput
from pipeline.market import candles, marks
from pipeline.stages.times import iso
from pipeline.trading.market import MARKS, Market, market_of, signals_of

# Of one column, whatever its numbers are.
Array = npt.NDArray[Any]
PRICES = ("open", "high", "low", "close")
# What happens within a bar, rather than stands at it: there is none of it where a symbol has no bars.
FLOWS = ("volume", "funding")


@dataclass(frozen=True)
class History:
    """All symbols on one time grid, in the order of their names.

    times: open times in ms [n]. market: [symbols, n]. first, stop: each symbol's own bars. in_sample: bars that
    the models learned from, bool [symbols, n]. marked: symbols whose mark price is known.
    """

    symbols: list[str]
    times: npt.NDArray[np.int64]
    market: Market
    first: list[int]
    stop: list[int]
    in_sample: npt.NDArray[np.bool_]
    marked: list[str] = field(default_factory=list)

    def own_times(self, symbol: int) -> npt.NDArray[np.int64]:
        """Open times of one symbol's own bars."""
        return self.times[self.first[symbol] : self.stop[symbol]]


def read_history(config: Config, layout: Layout) -> History:
    """Everything that `simulate` trades on.

    Raises BadInput: bars and signals do not belong together, fewer than two bars lie in the range, or a
    column that a rule needs is missing.
    """
    symbols = sorted(config.symbols)
    marked = [s for s in symbols if marks.COLUMNS[0] in read_schema(layout.merged(s), "merge").names]
    parts = [_read(config, layout, symbol, marked) for symbol in symbols]
    start = min(int(times[0]) for times, _ in parts)
    bars = (max(int(times[-1]) for times, _ in parts) - start) // config.step_ms + 1
    first = [int((times[0] - start) // config.step_ms) for times, _ in parts]
    stop = [begin + len(times) for begin, (times, _) in zip(first, parts, strict=True)]
    names = list(parts[0][1])
    columns = {
        name: np.stack([_spread(name, own[name], begin, bars) for begin, (_, own) in zip(first, parts, strict=True)])
        for name in names
    }
    in_sample = columns.pop("in_sample") > 0
    filled = columns.pop("filled") > 0
    for number, (begin, end) in enumerate(zip(first, stop, strict=True)):
        filled[number, :begin] = filled[number, end:] = True
    times = start + np.arange(bars, dtype=np.int64) * config.step_ms
    return History(symbols, times, _market(config, columns, filled, start), first, stop, in_sample, marked)


def _market(config: Config, columns: dict[str, Array], filled: npt.NDArray[np.bool_], start: int) -> Market:
    from pipeline.trading.bars import Bars
    from pipeline.trading.correlation import daily_correlation

    symbols = sorted(config.symbols)
    bars = [
        Bars(*(columns[name][number] for name in PRICES), filled[number])  # type: ignore[call-arg]
        for number in range(len(symbols))
    ]
    names = ("volume", "volatility", "atr", "score", "funding", "right_long", "right_short")
    context = {name: columns[name] for name in names}
    context |= {"refuse_long": columns["refuse_long"], "refuse_short": columns["refuse_short"]}
    if MARKS[0] in columns:
        context["marks"] = np.stack([columns[name] for name in MARKS])
    context["filters"] = np.array([_filters(config, symbol) for symbol in symbols])
    if len(symbols) > 1 and config.risk.enabled and config.risk.limits.correlated_exposure is not None:
        context["correlation"] = daily_correlation(columns["close"], start, config.step_ms)
    return market_of(bars, columns["signal"], **context)


def _spread(name: str, values: Array, first: int, bars: int) -> Array:
    # Before a symbol's first bar and after its last there are made-up bars, on which nothing is traded.
    if first == 0 and len(values) == bars:
        return values
    if name in FLOWS or values.dtype != np.float64:
        return np.pad(values, (first, bars - first - len(values)))
    return np.pad(values, (first, bars - first - len(values)), "edge")


def _filters(config: Config, symbol: str) -> list[float]:
    one = config.simulate.filters.get(symbol, config.simulate.filters.get("default", Filters()))
    return [one.tick_size, one.step_size, one.min_qty, one.max_qty or 0.0, one.min_notional]


def _read(
    config: Config, layout: Layout, symbol: str, marked: list[str]
) -> tuple[npt.NDArray[np.int64], dict[str, Array]]:
    from pipeline.signals import threshold_step
    from pipeline.trading.volatility import Forecast

    path = layout.signals(symbol)
    score = threshold_step(config.signals).column
    extra = ["in_sample"] if "in_sample" in read_schema(path, "signals").names else []
    judges = {side: name for name, (_, side) in second_columns(config).items()} if config.sizing.probability else {}
    wanted = ["open_time", *dict.fromkeys([score, *judges.values()]), "buy_signal", "sell_signal", *extra]
    signals = read_table(path, "signals", wanted)
    present = read_schema(layout.merged(symbol), "merge").names
    amounts = [name for name in ("quote_volume", "volume", "funding_rate") if name in present]
    own_marks = list(MARKS) if symbol in marked else []
    merged = read_table(layout.merged(symbol), "merge", ["open_time", *PRICES, "is_filled", *amounts, *own_marks])
    times, grid = candles.times_ms(signals), candles.times_ms(merged)
    first = int(np.searchsorted(grid, times[0]))
    if not np.array_equal(grid[first : first + len(times)], times):
        raise BadInput(f"{path}: its bars are not those of {layout.merged(symbol)}", "run `pipeline signals` again")
    start = np.searchsorted(times, utc_ms(config.simulate.start)) if config.simulate.start else 0
    stop = np.searchsorted(times, utc_ms(config.simulate.end)) if config.simulate.end else len(times)
    if stop - start < 2:
        raise BadInput(
            f"simulate: {max(stop - start, 0)} bars of {symbol} lie between simulate.start and simulate.end",
            f"{path} covers {iso(int(times[0]))} to {iso(int(times[-1]))}",
        )
    rows, bars = slice(int(start), int(stop)), slice(first + int(start), first + int(stop))
    filled = merged["is_filled"].to_numpy()
    close = candles.column(merged, "close")
    columns: dict[str, Array] = {name: candles.column(merged, name)[bars] for name in PRICES}
    columns["filled"] = filled[bars].astype(np.int8)
    if marked:
        columns |= _marks(layout.merged(symbol), merged, bars, filled, own_marks)
    seen = signals["in_sample"].to_numpy()[rows] if extra else np.zeros(rows.stop - rows.start)
    columns["in_sample"] = seen.astype(np.int8)
    columns["score"] = candles.column(signals, score)[rows]
    columns["signal"] = signals_of(signals["buy_signal"].to_numpy()[rows], signals["sell_signal"].to_numpy()[rows])
    for name, side in (("right_long", 1), ("right_short", -1)):
        unknown = np.full(rows.stop - rows.start, np.nan if judges else 0.0)
        columns[name] = candles.column(signals, judges[side])[rows] if side in judges else unknown
    columns["volume"] = _quote_volume(merged, amounts, close)[bars]
    # From the first merged bar, as live: a forecast does not begin anew where a simulation does.
    columns["volatility"] = Forecast(config.sizing, config.interval).over(close, filled)[bars]
    columns["funding"] = np.zeros(rows.stop - rows.start)
    if config.simulate.funding:
        columns["funding"] = _funding(layout, symbol, merged, config.step_ms)[bars]
    columns |= _gates(config, layout, symbol, times[rows], columns)
    return times[rows], columns


def _marks(
    path: Path, merged: pa.Table, bars: slice, filled: npt.NDArray[np.bool_], own_marks: list[str]
) -> dict[str, Array]:
    # A symbol without them has its last price in their place, beside others that have them.
    columns: dict[str, Array] = {
        name: candles.column(merged, name if own_marks else price)[bars]
        for name, price in zip(MARKS, PRICES, strict=False)
    }
    if own_marks:
        try:
            marks.check(columns, ~filled[bars], candles.times_ms(merged)[bars])
        except BadInput as error:
            raise BadInput(f"{path}: {error.message}", error.hint) from None
    return columns


def _quote_volume(merged: pa.Table, amounts: list[str], close: Array) -> Array:
    if "quote_volume" in amounts:
        quote = candles.column(merged, "quote_volume")
        if np.isfinite(quote).any():
            return np.nan_to_num(quote)
    return np.nan_to_num(candles.column(merged, "volume") * close) if "volume" in amounts else np.zeros(len(close))


def _funding(layout: Layout, symbol: str, merged: pa.Table, step_ms: int) -> Array:
    # merge carries the last rate forward; it is paid at the times of settlement, every eight hours.
    if "funding_rate" not in merged.schema.names:
        raise BadInput(
            f"{layout.merged(symbol)}: no column 'funding_rate', which simulate.funding pays",
            "set download.funding and merge.funding, and run `pipeline download` and `pipeline merge` again",
        )
    due = candles.times_ms(merged) % (8 * 3_600_000) < step_ms
    return np.where(due, np.nan_to_num(candles.column(merged, "funding_rate")), 0.0)


def _gates(
    config: Config, layout: Layout, symbol: str, times: npt.NDArray[np.int64], columns: dict[str, Array]
) -> dict[str, Array]:
    from pipeline.trading.gates import distances, gate_columns, gate_rules, refusals, windows_at
    from pipeline.trading.rules import rules_of

    wanted = gate_columns(config.risk)
    atr_name = config.simulate.exits.atr
    read = _features(layout, symbol, times, sorted({*wanted.values(), *([atr_name] if atr_name else [])}))
    atr = read[atr_name] if atr_name else np.zeros(len(times))
    closes = times + config.step_ms
    rules = rules_of(config.simulate, config.interval)
    stop, target = distances(columns["close"], atr, rules)
    inputs = {name: read[column] for name, column in wanted.items()}
    inputs |= {"close_time_ms": closes.astype(np.float64), "score": columns["score"]}
    inputs |= {"stop_distance": stop, "target_distance": target, "window": windows_at(config.risk, closes)}
    long_codes, short_codes = refusals(inputs, len(times), gate_rules(config.risk))
    return {"atr": np.nan_to_num(atr), "refuse_long": long_codes, "refuse_short": short_codes}


def _features(layout: Layout, symbol: str, times: npt.NDArray[np.int64], names: list[str]) -> dict[str, Array]:
    if not names:
        return {}
    path = layout.features(symbol)
    table = read_table(path, "features", ["open_time", *names])
    own = candles.times_ms(table)
    first = int(np.searchsorted(own, times[0]))
    if not np.array_equal(own[first : first + len(times)], times):
        raise BadInput(f"{path}: its bars are not those of {layout.signals(symbol)}", "run `pipeline features` again")
    return {name: candles.column(table, name)[first : first + len(times)] for name in names}
