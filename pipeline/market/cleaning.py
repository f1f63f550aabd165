"""Bars from any source made into one clean table, or refused with the row that is wrong.

Sources stamp in seconds, milliseconds, microseconds (Binance spot archives since 2025) or nanoseconds,
repeat rows at page borders, and sometimes hold a row that no market made. What can be understood
without guessing is normalised; everything else is an error that shows the row.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import TIME
from pipeline.config import INTERVALS, interval_ms
from pipeline.errors import BadInput
from pipeline.market.candles import COLUMNS, PRICES, SCHEMA, iso, time_array

REQUIRED = (*PRICES, "volume")
# Numbers below these are seconds, milliseconds, microseconds; the rest are nanoseconds. Each bound is the
# year 1973 in its own unit and 5138 in the one above, so no time of a crypto market is ambiguous.
_UNIT_BOUNDS = np.array([1e11, 1e14, 1e17])
# 2000 to 2200: anything else is not a time but some other number, or a time in another unit.
_EARLIEST_MS, _LATEST_MS = 946_684_800_000, 7_258_118_400_000
# A bar may be snapped to the grid if it is off by less than this share of its length.
_SNAP_SHARE = 4
# So many bars must agree on a spacing before it is taken for the file's interval.
_SPACING_SAMPLE = 8

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def clean(table: pa.Table, interval: str, source: str, *, snap: bool = False) -> pa.Table:
    """A bar table with `candles.SCHEMA`: ascending, unique, on the grid, every value possible.

    table: `open_time` as numbers (s, ms, µs or ns, told apart row by row) or timestamps, prices and
    volume; the other columns may be absent or null and become 0. Rows in any order.
    source: named in errors. snap: move bars that are off the grid by less than a quarter of a bar.
    Raises BadInput: a column is missing; a value is not finite, a price not positive, a volume negative,
    high and low do not enclose open and close; conflicting duplicates; bars off the grid or of another
    interval. The message shows the row, counted from 1.
    """
    missing = [name for name in ("open_time", *REQUIRED) if name not in table.column_names]
    if missing:
        raise BadInput(
            f"{source}: no column '{missing[0]}'",
            f"it has: {', '.join(table.column_names)}; map it: download.file.columns: {{{missing[0]}: theirs}}",
        )
    times = times_in_ms(table.column("open_time"), source)
    values = {name: _numbers(table, name, source) for name in COLUMNS}
    _check_values(times, values, source)
    step = interval_ms(interval)
    _check_spacing(times, step, interval, source)
    times = _on_grid(times, step, interval, source, snap)
    times, values = _unique(times, values, source)
    return pa.table([time_array(times), *(pa.array(values[name]) for name in COLUMNS)], schema=SCHEMA)


def absent_columns(table: pa.Table) -> list[str]:
    """Columns that `clean` fills with zeros because the source has nothing in them."""
    return [n for n in COLUMNS if n not in table.column_names or table.column(n).null_count == table.num_rows > 0]


def times_in_ms(column: pa.ChunkedArray, source: str) -> Ints:
    """Times of any unit as int64 milliseconds [n], rounded down; numbers are judged row by row.

    Raises BadInput: a time is missing, not a number, or not in 2000 to 2199 (another unit, another column).
    """
    kind = column.type
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise BadInput(f"{source}: row {row + 1} has no open_time", "delete the row, or mend it")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        naive = column if pa.types.is_timestamp(kind) else pc.cast(column, pa.timestamp("ms"))
        times = pc.cast(pc.cast(naive, TIME, safe=False), pa.int64()).to_numpy()
    elif pa.types.is_integer(kind):
        numbers = column.to_numpy()
        unit = np.searchsorted(_UNIT_BOUNDS, np.abs(numbers.astype(np.float64)), side="right")
        whole = numbers.astype(np.int64)
        times = np.where(unit == 0, whole * (unit == 0) * 1000, whole // np.array([1, 1, 1000, 1_000_000])[unit])
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pc.cast(column, pa.float64()).to_numpy()
        unit = np.searchsorted(_UNIT_BOUNDS, np.abs(numbers), side="right")
        # A double holds today's milliseconds to about 0.0002: less than that is noise, not time.
        exact = np.floor(np.round(numbers * np.array([1e3, 1.0, 1e-3, 1e-6])[unit], 2))
        times = np.nan_to_num(exact, nan=0).clip(0, 2.0 * _LATEST_MS).astype(np.int64)
    else:
        raise BadInput(
            f"{source}: open_time holds {kind} such as {str(column[0])!r}, not times",
            "give numbers since 1970, or ISO dates",
        )
    outside = (times < _EARLIEST_MS) | (times >= _LATEST_MS)
    if outside.any():
        row = int(np.argmax(outside))
        # Python's dates end with the year 9999; Parquet's do not.
        wild = pa.types.is_timestamp(kind) and not 0 <= times[row] < 1e14
        shown = f"{times[row]} ms" if wild else column[row]
        raise BadInput(
            f"{source}: row {row + 1}: open_time {shown} is not the time of a bar (2000 to 2199)",
            "which unit is it in, and is it the right column? see download.file.timestamp_unit and columns",
        )
    return np.asarray(times, np.int64)


def _numbers(table: pa.Table, name: str, source: str) -> Floats:
    if name not in table.column_names:
        return np.zeros(table.num_rows)
    try:
        column = pc.cast(table.column(name), pa.float64())
    except pa.ArrowException as error:
        raise BadInput(
            f"{source}: column '{name}' holds something that is not a number: {str(error).splitlines()[0]}",
            "mend the file, or see download.file.delimiter",
        ) from None
    values: Floats = np.asarray(column.to_numpy(), np.float64)
    if name in REQUIRED or not column.null_count:
        return values
    # Null means that the source does not know; NaN that is written out stays, and is refused below.
    return np.where(column.is_null().to_numpy(), 0.0, values)


def _check_values(times: Ints, values: dict[str, Floats], source: str) -> None:
    for name in COLUMNS:
        column = values[name]
        with np.errstate(invalid="ignore"):
            good = np.isfinite(column) & ((column > 0) if name in PRICES else (column >= 0))
        if not good.all():
            row = int(np.argmin(good))
            what = "must be above zero" if name in PRICES else "must not be negative"
            if not np.isfinite(column[row]):
                what = "is missing or not a finite number"
            raise BadInput(
                f"{source}: row {row + 1} ({iso(int(times[row]))}): {name} = {column[row]:.12g} {what}",
                "no market made this bar: delete the row, or fetch the file again",
            )
    low, high = values["low"], values["high"]
    for name in ("high", "open", "close"):
        good = (values[name] >= low) & (values[name] <= high)
        if not good.all():
            row = int(np.argmin(good))
            what = "is below low" if name == "high" else "is outside [low, high]"
            raise BadInput(
                f"{source}: row {row + 1} ({iso(int(times[row]))}): {name} = {values[name][row]:.12g} {what}"
                f" (low = {low[row]:.12g}, high = {high[row]:.12g})",
                "are the columns in the right order? otherwise delete the row, or fetch the file again",
            )


def _check_spacing(times: Ints, step: int, interval: str, source: str) -> None:
    steps = np.diff(times)
    if (steps < 0).any():
        steps = np.diff(np.sort(times))
    # The usual case is settled without counting each spacing.
    if np.count_nonzero(steps == step) * 2 >= len(steps):
        return
    steps = steps[steps > 0]
    if len(steps) < _SPACING_SAMPLE:
        return
    spacings, counts = np.unique(steps, return_counts=True)
    commonest = int(spacings[np.argmax(counts)])
    if counts.max() * 2 < len(steps):
        return
    found = next((name for name in INTERVALS if interval_ms(name) == commonest), None)
    if found:
        raise BadInput(
            f"{source}: holds {found} bars, not {interval}: that is the commonest spacing of its rows",
            f"set `interval: {found}`, or give the file of {interval} bars",
        )


def _on_grid(times: Ints, step: int, interval: str, source: str, snap: bool) -> Ints:
    off = (times + step // 2) % step - step // 2
    if not off.any():
        return times
    if snap:
        far = np.abs(off) * _SNAP_SHARE >= step
        if not far.any():
            return times - off
        row, how = int(np.argmax(far)), f"too far from the {interval} grid to be snapped"
    else:
        row, how = int(np.argmax(off != 0)), f"not on the {interval} grid"
    raise BadInput(
        f"{source}: row {row + 1}: open_time {iso(int(times[row]))} is {how} (off by {off[row] / 1000:g} s)",
        "set `merge.on_misaligned: snap` if its clock is a little off, or download.file.utc_offset for another zone",
    )


def _unique(times: Ints, values: dict[str, Floats], source: str) -> tuple[Ints, dict[str, Floats]]:
    steps = np.diff(times)
    if (steps > 0).all():
        return times, values
    order = np.argsort(times, kind="stable")
    times = times[order]
    same = times[1:] == times[:-1]
    different = np.zeros(len(same), np.bool_)
    for name in COLUMNS:
        column = values[name][order]
        different |= same & (column[1:] != column[:-1])
    if different.any():
        row = int(np.argmax(different))
        rows = [int(order[row]), int(order[row + 1])]
        shown = "\n".join(
            f"         row {r + 1}: " + ", ".join(f"{name} {values[name][r]:.12g}" for name in COLUMNS) for r in rows
        )
        raise BadInput(
            f"{source}: two different bars at {iso(int(times[row]))}"
            f" ({int(different.sum())} such times in all):\n{shown}",
            _which_is_wrong(rows, values),
        )
    keep = np.concatenate(([True], ~same))
    return times[keep], {name: values[name][order][keep] for name in COLUMNS}


def _which_is_wrong(rows: list[int], values: dict[str, Floats]) -> str:
    # The usual cause: a source that stores the current bar and later adds it again, closed.
    growing = ("high", "volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
    for early, late in (rows, rows[::-1]):
        inside = all(values[n][early] <= values[n][late] for n in growing)
        if inside and values["low"][early] >= values["low"][late] and values["open"][early] == values["open"][late]:
            return f"row {early + 1} looks like the same bar stored before it closed; delete it, and its like"
    return "delete the wrong one; identical duplicates are dropped by themselves"
