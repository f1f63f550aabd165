"""Closed trades as the contract's table: one row a trade, in words and times instead of codes and bar numbers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.trading.records import EXIT_REASONS

TIME = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("side", pa.string()),
        ("entry_time", TIME),
        ("entry_price", pa.float64()),
        ("exit_time", TIME),
        ("exit_price", pa.float64()),
        ("qty", pa.float64()),
        ("fees", pa.float64()),
        ("pnl", pa.float64()),
        ("return", pa.float64()),
        ("exit_reason", pa.string()),
        ("bars_held", pa.int64()),
        ("mae", pa.float64()),
        ("mfe", pa.float64()),
    ]
)


def trade_table(symbols: Sequence[str], trades: np.ndarray, times_ms: npt.NDArray[np.int64]) -> pa.Table:
    """The trades (records TRADE [m]) as a table, in the order of their exits.

    symbols: names, by the trades' symbol numbers. times_ms: open times of the bars that the trades' bar
    numbers count. Entry and exit time are the open times of the bars in which the fills happened.
    """
    return pa.table(
        [
            pa.array([symbols[number] for number in trades["symbol"]], pa.string()),
            pa.array(np.where(trades["side"] > 0, "long", "short").tolist(), pa.string()),
            pa.array(times_ms[trades["entry_bar"]], pa.int64()).cast(TIME),
            trades["entry_price"],
            pa.array(times_ms[trades["exit_bar"]], pa.int64()).cast(TIME),
            trades["exit_price"],
            trades["qty"],
            trades["fees"],
            trades["pnl"],
            trades["return_"],
            pa.array([EXIT_REASONS[code] for code in trades["reason"]], pa.string()),
            trades["exit_bar"] - trades["entry_bar"],
            trades["mae"],
            trades["mfe"],
        ],
        schema=SCHEMA,
    )
