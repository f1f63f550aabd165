"""Check 2: all data after t is replaced by other data; nothing at or before t may change."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.market.candles import PRICES

Floats = npt.NDArray[np.float64]
# Standard deviation of the logarithm by which prices and amounts are multiplied.
_PRICE_NOISE, _AMOUNT_NOISE = 0.05, 1.0


def perturbed(table: pa.Table, future: npt.NDArray[np.bool_], seed: int) -> pa.Table:
    """The table with other numbers in all float columns of the rows in `future`, bool [n]; nulls and NaN stay.

    Bars stay bars: prices of a row share one factor per group of open, high, low, close, with a little more spread;
    every other column gets factors of its own. Zeros become positive where they can (volume), so that a leak that
    waits for a volume sees one.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(future)
    groups: dict[str, Floats] = {}
    for place, name in enumerate(table.schema.names):
        column = table.column(name)
        if not pa.types.is_floating(column.type):
            continue
        values = column.combine_chunks().to_numpy(zero_copy_only=False).copy()
        if _price(name):
            prefix = name.rsplit("_", 1)[0] if "_" in name else ""
            if prefix not in groups:
                groups[prefix] = np.exp(rng.normal(0, _PRICE_NOISE, len(rows)))
            spread = {"high": 1.002, "low": 0.998}.get(name.rsplit("_", 1)[-1], 1.0)
            values[rows] *= groups[prefix] * spread
        else:
            values[rows] = (values[rows] + (values[rows] == 0)) * np.exp(rng.normal(0, _AMOUNT_NOISE, len(rows)))
        array = pa.array(values, column.type, mask=np.isnan(values) if column.null_count else None)
        table = table.set_column(place, table.schema.field(place), array)
    return table


def _price(name: str) -> bool:
    return name.rsplit("_", 1)[-1] in PRICES
