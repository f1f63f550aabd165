"""Paths without direction: what a model scores on them is what it knows of volatility alone.

Labels that ask whether the price touches a level mostly ask how volatile the market is: on a driftless random walk
a model reaches an AUC of 0.75 without any knowledge of direction. The same model on these paths is the null beside
its score.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
PRICES = ("open", "high", "low", "close")


def without_direction(table: pa.Table, seed: int) -> pa.Table:
    """Merged bars whose returns keep their size and lose their sign.

    Each bar is flipped or not by a coin: a flipped bar goes as far down as it went up, its high and low change
    places, and buyers and sellers with them. Volume, its clustering and that of volatility stay. Columns of
    reference symbols (`ETHUSDT_close`) are flipped by the same coins.
    """
    n = table.num_rows
    flipped = np.random.default_rng(seed).random(n) < 0.5
    columns = {name: _numbers(table, name) if name != "open_time" else None for name in table.schema.names}
    made: dict[str, Floats] = {}
    prefixes = {name.removesuffix("close") for name in table.schema.names if name == "close" or name.endswith("_close")}
    for prefix in sorted(prefixes):
        close = columns[f"{prefix}close"]
        assert close is not None
        before = np.concatenate([close[:1], close[:-1]])
        with np.errstate(divide="ignore", invalid="ignore"):
            moves = {
                name: np.log(values / before)
                for name in PRICES
                if (values := columns.get(f"{prefix}{name}")) is not None
            }
        start = close[np.flatnonzero(np.isfinite(close))[0]] if np.isfinite(close).any() else np.nan
        signed = np.where(flipped, -moves["close"], moves["close"])
        path = start * np.exp(np.cumsum(np.nan_to_num(signed)))
        path_before = np.concatenate([[start], path[:-1]])
        swapped = {"high": "low", "low": "high"}
        for name, move in moves.items():
            other = moves.get(swapped.get(name, name), move)
            made[f"{prefix}{name}"] = path_before * np.exp(np.where(flipped, -other, move))
    for name, total in (("taker_buy_volume", "volume"), ("taker_buy_quote_volume", "quote_volume")):
        bought, whole = columns.get(name), columns.get(total)
        if bought is not None and whole is not None:
            made[name] = np.where(flipped, whole - bought, bought)
    for name, values in made.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values.astype(np.float64)))
    return table


def _numbers(table: pa.Table, name: str) -> Floats | None:
    column = table.column(name).combine_chunks()
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return None
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
