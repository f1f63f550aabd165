"""The least that a score takes: 61 of TA-Lib's handles in one generated line, then LightGBM's C function.

No merging, no checks, no signals, no trading: what `online.py` holds the whole step against, in a process of its own
that has imported TA-Lib, numpy and LightGBM's library, and nothing else.
"""

import ctypes
import importlib.util
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FUNCTIONS = ("SMA", "EMA", "RSI", "ROC", "STDDEV", "MAX")
PERIODS = (5, 10, 15, 30, 45, 60, 90, 120, 180, 240)
# Of LightGBM's C interface: C_API_DTYPE_FLOAT32, C_API_PREDICT_NORMAL; all trees.
_FLOAT32, _NORMAL, _ALL = 0, 0, -1


def bare(folder: Path, models: Sequence[str], count: int, bars: int) -> Callable[[int], Callable[[], None]]:
    """Number of a bar → a function that makes the scores of `count` symbols at it.

    folder: with `bars.npy`, of which all but the last bars are history. models: files in it.
    """
    import numpy as np
    from talib import stream

    prices = np.load(folder / "bars.npy")
    high, low, close = (np.ascontiguousarray(row[:-bars]) for row in prices)
    make = _maker()
    calls = [(getattr(stream, name), period) for name in FUNCTIONS for period in PERIODS]
    row = ctypes.create_string_buffer(4 * (len(calls) + 1))
    scores = [_score(folder / name, row, len(calls) + 1) for name in models]
    symbols = []
    for _ in range(count):
        updates = [function(close, timeperiod=period).update for function, period in calls]
        updates.append(stream.ATR(high, low, close, timeperiod=14).update)
        symbols.append(make(struct.Struct(f"{len(updates)}f").pack_into, row, *updates))
    arrived = [dict(zip(("high", "low", "close"), bar, strict=True)) for bar in prices[:, -bars:].T.tolist()]

    def step(number: int) -> Callable[[], None]:
        bar = dict(arrived[number])

        def due() -> None:
            high, low, close = bar["high"], bar["low"], bar["close"]
            for features in symbols:
                features(high, low, close)
                for score in scores:
                    score()

        return due

    return step


def _maker() -> Callable[..., Callable[[float, float, float], None]]:
    # The generated line: all symbols share its code, each has handles of its own.
    handles = [f"u{number}" for number in range(len(FUNCTIONS) * len(PERIODS))]
    values = ", ".join(f"{handle}(close)" for handle in handles)
    source = (
        f"def make(pack, row, {', '.join(handles)}, atr):\n"
        f"    def features(high, low, close):\n"
        f"        pack(row, 0, {values}, atr(high, low, close))\n"
        f"    return features\n"
    )
    scope: dict[str, Any] = {}
    exec(source, scope)
    return scope["make"]  # type: ignore[no-any-return]


def _score(path: Path, row: ctypes.Array[ctypes.c_char], features: int) -> Callable[[], float]:
    spec = importlib.util.find_spec("lightgbm")
    assert spec is not None and spec.origin is not None
    library = ctypes.CDLL(str(Path(spec.origin).parent / "lib/lib_lightgbm.so"))
    trees, booster, config = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
    text = path.read_bytes()
    assert not library.LGBM_BoosterLoadModelFromString(text, ctypes.byref(trees), ctypes.byref(booster))
    assert not library.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster, _NORMAL, 0, _ALL, _FLOAT32, ctypes.c_int32(features), b"num_threads=1", ctypes.byref(config)
    )
    length, score = ctypes.c_int64(), ctypes.c_double()
    predict, given = library.LGBM_BoosterPredictForMatSingleRowFast, ctypes.c_void_p(ctypes.addressof(row))
    out = ctypes.byref(length), ctypes.byref(score)

    def predicted() -> float:
        assert not predict(config, given, *out)
        return score.value

    return predicted


if __name__ == "__main__":
    import sys

    from idle import answer

    answer({}, bare(Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3]), int(sys.argv[4])), lambda number: None)
