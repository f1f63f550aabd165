"""The core's records as plain values for the journal, and back, to the last bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.errors import BadInput
from pipeline.trading.records import EXIT_REASONS
from pipeline.trading.rules import Rules


def trade_of(trade: np.void, symbol: str, rules: Rules) -> dict[str, Any]:
    """A closed trade as plain values, named as in trades.parquet; times in ms."""
    return {
        "symbol": symbol,
        "side": "long" if trade["side"] > 0 else "short",
        "entry_time": rules.origin_ms + int(trade["entry_bar"]) * rules.step_ms,
        "entry_price": float(trade["entry_price"]),
        "exit_time": rules.origin_ms + int(trade["exit_bar"]) * rules.step_ms,
        "exit_price": float(trade["exit_price"]),
        "qty": float(trade["qty"]),
        "fees": float(trade["fees"]),
        "pnl": float(trade["pnl"]),
        "return": float(trade["return_"]),
        "exit_reason": EXIT_REASONS[int(trade["reason"])],
        "bars_held": int(trade["exit_bar"]) - int(trade["entry_bar"]),
        "mae": float(trade["mae"]),
        "mfe": float(trade["mfe"]),
    }


def plain(record: np.void, kind: np.dtype) -> dict[str, Any]:
    """The fields of a record; floats in hexadecimal, which JSON keeps exactly."""
    # Only what is not nought: most of a flat symbol's fields are.
    assert kind.names is not None
    values = {name: float(record[name]).hex() if kind[name].kind == "f" else int(record[name]) for name in kind.names}
    return {name: value for name, value in values.items() if value not in (0, "0x0.0p+0")}


def restored(values: Mapping[str, Any], kind: np.dtype, into: np.void) -> np.void:
    """A record as `plain` has it, written into one. Raises BadInput: it has fields that this version does not know."""
    assert kind.names is not None
    if wrong := set(values) - set(kind.names):
        raise BadInput(
            f"journal: the saved state has fields that this version does not know: {', '.join(sorted(wrong))}",
            "flatten with the version that wrote it, then start anew",
        )
    for name in kind.names:
        value = values.get(name, 0)
        into[name] = float.fromhex(value) if isinstance(value, str) else value
    return into
