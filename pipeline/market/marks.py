"""The mark price of futures: what its series is called, its table, and how it joins the bars.

Futures are liquidated by the mark price, not by the last one. An exchange publishes it as klines without volume; kept
are its four prices. A series of it goes by the name of its interval and a suffix: `1m-mark`.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import TIME
from pipeline.errors import BadInput
from pipeline.market import cleaning
from pipeline.market.candles import PRICES, column, iso, times_ms

COLUMNS = tuple(f"mark_{name}" for name in PRICES)
SCHEMA = pa.schema([("open_time", TIME), *((name, pa.float64()) for name in PRICES)])
_SUFFIX = "-mark"


def series_of(interval: str) -> str:
    """Name of the series of the mark price's bars."""
    return interval + _SUFFIX


def interval_of(series: str) -> str:
    """The interval of a series' bars, of the mark price or of trades."""
    return series.removesuffix(_SUFFIX)


def is_mark(series: str) -> bool:
    """Whether a series is of the mark price."""
    return series.endswith(_SUFFIX)


def of_klines(bars: pa.Table, source: str) -> pa.Table:
    """`SCHEMA` of clean klines of the mark price. Raises BadInput: they have volume, so that they are of trades."""
    volume = column(bars, "volume")
    if volume.any():
        row = int(np.argmax(volume != 0))
        raise BadInput(
            f"{source}: bar of {iso(int(times_ms(bars)[row]))} has volume ({volume[row]:.12g}), mark prices have none",
            "these are bars of trades; name those of the mark price",
        )
    return bars.select(SCHEMA.names)


def clean(table: pa.Table, interval: str, source: str, *, snap: bool = False) -> pa.Table:
    """`SCHEMA` of a table of times and prices, or it is refused as bars are: see `cleaning.clean`."""
    volume = pa.array(np.zeros(table.num_rows))
    return cleaning.clean(table.append_column("volume", volume), interval, source, snap=snap).select(SCHEMA.names)


def beside(marks: pa.Table, bars: pa.Table) -> tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.bool_]]:
    """Columns of the mark price beside the bars of a complete grid, and where it was not known.

    There the bar's own prices stand in its place, as if there were no mark price.
    """
    times, own = times_ms(bars), times_ms(marks)
    rows = np.clip(np.searchsorted(own, times), 0, max(len(own) - 1, 0))
    missing = own[rows] != times if len(own) else np.ones(len(times), np.bool_)
    columns = {}
    for name, price in zip(COLUMNS, PRICES, strict=True):
        values = column(marks, price)[rows] if len(own) else np.zeros(len(times))
        columns[name] = np.where(missing, column(bars, price), values)
    return columns, missing


def check(
    columns: dict[str, npt.NDArray[np.float64]], real: npt.NDArray[np.bool_], times: npt.NDArray[np.int64]
) -> None:
    """Refuse mark prices that cannot be. columns: `COLUMNS` but the close, [n]; real: bars that are not made up [n].

    Raises BadInput: on a real bar one is missing, not positive, or high and low do not enclose the open; it names the
    first such bar, and how many there are.
    """
    open_, high, low = (columns[name] for name in COLUMNS[:3])
    with np.errstate(invalid="ignore"):
        good = np.isfinite(open_) & np.isfinite(high) & (low > 0) & (low <= open_) & (open_ <= high)
    bad = real & ~good
    if bad.any():
        row = int(np.argmax(bad))
        raise BadInput(
            f"{int(bad.sum()):,} bars have no possible mark price, the first that of {iso(int(times[row]))}:"
            f" open {open_[row]:.12g}, high {high[row]:.12g}, low {low[row]:.12g}",
            "mend the source, then `pipeline download` and `pipeline merge` again; or write download.mark_price: false",
        )
